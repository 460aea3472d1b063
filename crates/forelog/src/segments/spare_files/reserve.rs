//! The file `reserve`, with which a log can still roll when the disk is full.

use super::{Spare, SpareFiles};
use crate::error::Fault;
use crate::format::file_names::RESERVE;
use crate::storage::{File, FileRef};

/// Size of `reserve`: enough for a header and for the frames that a roll carries after a few commits.
const RESERVE_BYTES: u64 = 1 << 20;

/// The file `reserve`, kept open so that a roll needs no descriptor for it.
#[derive(Default)]
pub struct Reserve {
    pub file: Option<FileRef>,
    /// A roll is using the file, which may become a segment at any moment.
    pub is_taken: bool,
}

impl SpareFiles {
    pub(super) fn take_reserve(&self, need: u64) -> Result<Option<Spare>, Fault> {
        let (file, len) = {
            let mut reserve = self.reserve();
            let file = match reserve.file.take() {
                Some(file) => file,
                None => self.storage.open(RESERVE, true)?,
            };
            let len = file.len()?;
            if len < need {
                reserve.file = Some(file);
                return Ok(None);
            }
            reserve.is_taken = true;
            (file, len)
        };
        let spare = Spare { name: RESERVE.into(), file, len, room: len, recycled: false, filled: false };
        if let Err(fault) = blank(&*spare.file, len) {
            self.take_back(spare, false);
            return Err(fault);
        }
        Ok(Some(spare))
    }

    /// Creates `reserve` if it is missing and there is space for it, and keeps it open. If anything fails, it is left for a
    /// later attempt.
    pub fn remake_reserve(&self) {
        let len = RESERVE_BYTES.min(self.segment_bytes);
        self.inventory().reserved = true;
        {
            let mut reserve = self.reserve();
            if reserve.is_taken || reserve.file.is_some() {
                return;
            }
            match self.storage.open(RESERVE, true).and_then(|file| Ok((file.len()?, file))) {
                Ok((found, file)) if (len..=RESERVE_BYTES).contains(&found) => {
                    reserve.file = Some(file);
                    return;
                }
                // A crash may have kept the name and lost the length. A longer file was not made by this code.
                Ok(_) if self.storage.remove(RESERVE).is_ok() => {}
                Err(fault) if fault.is_not_found() => {}
                _ => return,
            }
        }
        // The file gets its name only once it is complete, because a roll may take the reserve at any moment.
        let Ok(spare) = self.create(len) else { return };
        let is_whole = spare.file.sync().is_ok();
        let mut reserve = self.reserve();
        if is_whole && self.storage.rename(&spare.name, RESERVE).is_ok() {
            reserve.file = Some(spare.file);
        } else {
            let _ = self.storage.remove(&spare.name);
        }
    }

    /// Whether [`SpareFiles::prepare_reserve`] has work to do.
    pub fn wants_reserve(&self) -> bool {
        let inventory = self.inventory();
        inventory.awake && !inventory.reserved && !inventory.preparing && !inventory.closed
    }

    /// Creates `reserve`, blocking. If there is no space for it, the log works without one.
    pub fn prepare_reserve(&self) {
        if let Some(_under_way) = self.begin() {
            self.remake_reserve();
        }
    }

    /// Makes [`SpareFiles::close`] delete `reserve` as well.
    pub fn need_no_reserve(&self) {
        self.inventory().unneeded = true;
    }
}

/// Overwrites with zeroes whatever an interrupted roll left in a file.
///
/// The next roll makes the zeroes durable together with its header, so recovery can recognise what a later crash tears. If
/// the file held stale bytes, half of a lost frame could be mistaken for them and come back later.
fn blank(file: &dyn File, len: u64) -> Result<(), Fault> {
    let mut piece = vec![0; 64 << 10];
    let mut at = 0;
    while let Some(data) = file.next_data(at).filter(|data| data.start < len) {
        at = data.start;
        let want = (data.end.min(len) - at).min(piece.len() as u64) as usize;
        let n = file.read_at(&mut piece[..want], at)?;
        if n == 0 {
            break;
        }
        if piece[..n].iter().any(|b| *b != 0) {
            piece[..n].fill(0);
            file.write_at(&piece[..n], at).map_err(|short| short.fault)?;
        }
        at += n as u64;
    }
    Ok(())
}
