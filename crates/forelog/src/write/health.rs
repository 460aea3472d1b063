//! Whether a log may be written, and what ends it: a failure that leaves the disk in doubt, or a directory that is no longer at its path.

use crate::error::{Code, Error, Fault, Result};
use crate::segments::attachment::Attachment;
use crate::segments::footer_writer::FooterWriter;
use crate::storage::FileRef;
use std::sync::Arc;

/// The health of a log that is open for writing. Once it has ended, nothing more is written until the log is opened again.
pub struct Health {
    pub attachment: Attachment,
    /// Name and file of the active segment, which must stay at the path. `None` while opening could not prove the segment, because it may
    /// have any name then.
    active: Option<(String, FileRef)>,
    /// Why nothing is written any more: the log is poisoned or detached.
    ended: Option<Error>,
    sealer: Arc<FooterWriter>,
}

impl Health {
    pub fn new(attachment: Attachment, sealer: Arc<FooterWriter>) -> Health {
        Health { attachment, active: None, ended: None, sealer }
    }

    /// Makes `file`, which has this `name`, the file that must stay at the path besides the directory and CONTROL.
    pub fn watch(&mut self, name: &str, file: &FileRef) {
        self.active = Some((name.to_owned(), file.clone()));
    }

    /// Returns why nothing is written any more, `None` while the log is in order.
    pub fn ended(&self) -> Option<&Error> {
        self.ended.as_ref()
    }

    /// # Errors
    /// `Poisoned` or `Detached` once the log has ended.
    pub fn check(&self) -> Result<()> {
        match &self.ended {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Poisons the log because of `fault`. The first failed fsync is final, and so is any failure that leaves unknown what reached the
    /// disk: afterwards the kernel may call pages clean that were never written, so no later success proves anything.
    pub fn poison(&mut self, fault: Fault) -> Error {
        self.end(fault.into())
    }

    /// Ends all writing until the log is reopened, whatever the cause. If the directory is no longer at its path, the log is detached
    /// instead of poisoned. A failed write or sync of a file poisons it all the same, because it leaves unknown what is on the disk,
    /// wherever the directory is.
    pub fn end(&mut self, why: Error) -> Error {
        let is_in_doubt = why.cause.as_ref().is_some_and(|fault| matches!(fault.syscall, "pwrite" | "fdatasync"));
        let detachment = if why.code == Code::Detached { Some(why.clone()) } else { self.detachment().filter(|_| !is_in_doubt) };
        if let Some(mut error) = detachment {
            error.cause = error.cause.clone().or_else(|| why.cause.clone());
            self.sealer.halt();
            return self.ended.get_or_insert(error).clone();
        }
        let poisoned = || {
            let mut error = Error::new(Code::Poisoned, format!("the log is poisoned until it is reopened: {why}"));
            (error.cause, error.segment, error.offset) = (why.cause.clone(), why.segment.clone(), why.offset);
            error
        };
        self.sealer.halt();
        self.ended.get_or_insert_with(poisoned).clone()
    }

    /// Completes the error of a step. After an error that heals the log can go on later; any other error ends all writing. If the directory
    /// is no longer at its path, every error does, because that does not heal.
    pub fn poison_unless_it_heals<T>(&mut self, step: Result<T>) -> Result<T> {
        step.map_err(|mut error| {
            if !error.heals() || self.detachment().is_some() {
                return self.end(error);
            }
            error.message += "; the log continues once the cause is gone";
            error
        })
    }

    fn detachment(&self) -> Option<Error> {
        self.attachment.whole(self.active.as_ref().map(|(name, file)| (name.as_str(), &**file)))
    }

    /// Ends the log if its directory, or a file that it keeps open there, is no longer at the path.
    ///
    /// # Errors
    /// `Poisoned` or `Detached` if the log has ended, also if it does so now.
    pub fn check_attached(&mut self) -> Result<()> {
        self.check()?;
        match self.detachment() {
            Some(error) => Err(self.end(error)),
            None => Ok(()),
        }
    }

    /// Ends the log if its directory is no longer at the path. Unlike [`Health::check_attached`], checks no file.
    ///
    /// # Errors
    /// `Poisoned` or `Detached` if the log has ended, also if it does so now.
    pub fn check_directory(&mut self) -> Result<()> {
        self.check()?;
        match self.attachment.directory() {
            Some(error) => Err(self.end(error)),
            None => Ok(()),
        }
    }
}
