//! Opens a log for a handle: the one that this process has open already, the one on disk, or a view of it.

use super::Wal;
use crate::error::{Code, Error, Fault, Result};
use crate::log::commit_threads::{CommitThreads, COMMON};
use crate::log::registry::{self, DirectorySlot};
use crate::log::state::LogState;
use crate::log::{open, read_only, remote_writer};
use crate::maintenance::progress::JobProgress;
use crate::options::{Mode, Options};
use crate::recovery::directory::{named, prepare_dir};
use crate::recovery::evidence::refuse_unknown;
use crate::segments::attachment::detached_here;
use crate::storage::dir_handle::DirHandle;
use crate::storage::disk::Disk;
use crate::storage::lock::Lock;
use crate::storage::Storage;
use crate::util::locks::locked;
use crate::util::notify::Notify;
use crate::util::runtime::clock;
use crate::write::submission_queue::Client;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

impl Wal {
    pub(super) fn open_checked(dir: &Path, options: Options, notify: Arc<dyn Notify>, job: &Arc<JobProgress>) -> Result<Wal> {
        if options.mode == Mode::ReadOnly {
            return Wal::open_read_only(dir, options, notify, job);
        }
        prepare_dir(dir, options.create)?;
        let disk = Disk::new(dir, options.allow_unsafe_filesystem)?;
        Wal::open_on_with_progress(Arc::new(disk), dir, options, notify, job, &COMMON)
    }

    /// Opens the log in `storage`, whose lock is in `dir`, for a test.
    #[cfg(test)]
    pub fn open_on(
        storage: Arc<dyn Storage>,
        dir: &Path,
        options: Options,
        notify: Arc<dyn Notify>,
        threads: &'static CommitThreads,
    ) -> Result<Wal> {
        Wal::open_on_with_progress(storage, dir, options, notify, &Arc::default(), threads)
    }

    /// Opens the log in `storage`, whose lock is in `dir`.
    fn open_on_with_progress(
        storage: Arc<dyn Storage>,
        dir: &Path,
        options: Options,
        notify: Arc<dyn Notify>,
        job: &Arc<JobProgress>,
        threads: &'static CommitThreads,
    ) -> Result<Wal> {
        refuse_unknown(&*storage, options.create).map_err(|error| named(error, dir))?;
        let home = match storage.home() {
            Some(home) => home.clone(),
            // A simulated disk has its lock in a directory of its own.
            None => Arc::new(DirHandle::open(dir).map_err(|e| Fault::new("open", dir.to_string_lossy(), &e))?),
        };
        let slot = registry::slot(home.identity());
        let mut open_log = slot.open_log();
        let shared = match &open_log.shared {
            Some(shared) if shared.options != options => {
                let text = format!("the log is open in this process with other options: {}", shared.options.differences(&options));
                return Err(Error::new(Code::InvalidArg, text));
            }
            Some(shared) => match shared.detachment() {
                Some(why) => return Err(detached_here(&why)),
                None => shared.clone(),
            },
            None => {
                let lock = Lock::acquire(&home)?;
                let opened = open::open_with_progress(storage.clone(), &options, job, clock)?;
                lock.sign();
                let shared = LogState::start(storage, options, opened, lock, threads)?;
                open_log.shared = Some(shared.clone());
                shared
            }
        };
        open_log.handles += 1;
        drop(open_log);
        Ok(Wal::handle(shared, slot, notify))
    }

    /// Opens a handle of its own, even if the log is open elsewhere. It writes nothing and takes no lock.
    fn open_read_only(dir: &Path, options: Options, notify: Arc<dyn Notify>, job: &Arc<JobProgress>) -> Result<Wal> {
        prepare_dir(dir, false)?;
        // Nothing is written, so the locks and fsyncs of a network file system do not matter.
        let disk = Disk::new(dir, true)?;
        let home = disk.handle();
        let disk: Arc<dyn Storage> = Arc::new(disk);
        let view = read_only::open_beside_writer(&disk, job, || Lock::is_held(&home), clock).map_err(|error| named(error, dir))?;
        let shared = LogState::read_only(disk, options, view);
        if shared.remote.is_some() {
            remote_writer::watch_page(&shared);
        }
        let slot = Arc::new(DirectorySlot::default());
        {
            let mut open_log = slot.open_log();
            open_log.shared = Some(shared.clone());
            open_log.handles = 1;
        }
        Ok(Wal::handle(shared, slot, notify))
    }

    pub(super) fn handle(shared: Arc<LogState>, slot: Arc<DirectorySlot>, notify: Arc<dyn Notify>) -> Wal {
        let client = locked(&shared.submissions).join(Client::new(notify));
        Wal {
            shared,
            slot,
            client,
            closed: AtomicBool::new(false),
            outcome: Mutex::new(None),
            scrubs: Mutex::default(),
            claimant: Arc::default(),
        }
    }
}
