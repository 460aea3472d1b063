//! Brings one segment to the other directory: by a link, by a clone, or by a copy in steps.

use super::Backup;
use crate::error::Fault;
use crate::format::file_names::Name;
use crate::segments::footer_writer::{self, FooterState};
use crate::segments::log_ends::DurableEnd;
use crate::segments::segment_file::SegmentFile;
use crate::storage::{data_len, FileRef, Storage};

const PIECE: usize = 1 << 20;
/// A segment whose holes add up to more than this many bytes is copied with its holes.
const SPARSE: u64 = 1 << 20;

/// A segment that is to be copied, up to `len`.
pub struct PendingSegment {
    pub name: Name,
    pub len: u64,
}

/// The segment being copied.
pub struct Copying {
    from: FileRef,
    to: FileRef,
    pub at: u64,
}

/// How a segment was brought to the other directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CopyMethod {
    Link,
    Clone,
    Copy,
}

/// Whether nothing writes to a segment's file any more, because it has its footer. Only such a file may be shared by two logs.
fn is_finished(from: &dyn Storage, file: &str) -> std::result::Result<bool, Fault> {
    let SegmentFile { file, header: Ok(header), .. } = SegmentFile::open(from, file, false)? else { return Ok(false) };
    Ok(matches!(footer_writer::find_footer(&*file, header.seed())?, FooterState::Footer(_)))
}

impl Backup {
    /// Brings over a part of the next segment. Returns how the segment came once it is complete.
    pub fn bring(&mut self, cut: DurableEnd, budget: &mut u64) -> std::result::Result<Option<CopyMethod>, Fault> {
        let Some(PendingSegment { name, len }) = self.pending.last() else { return Ok(None) };
        let (file, id, len) = (name.file.clone(), name.id, *len);
        let from = self.origin.storage().clone();
        if self.copying.is_none() {
            let sealed = id < cut.segment;
            if sealed && self.can_link && is_finished(&*from, &file)? {
                if self.to.link(&*from, &file)? {
                    self.made.push((id, file.clone()));
                    // A later removal of the name sees the link, and does not recycle the file.
                    return self.is_whole(&*from, &file).map(|()| Some(CopyMethod::Link));
                }
                self.can_link = false;
            }
            if sealed && self.can_clone {
                if let Some(cloned) = self.to.clone_file(&*from, &file)? {
                    self.made.push((id, file.clone()));
                    cloned.sync()?;
                    return self.is_whole(&*from, &file).map(|()| Some(CopyMethod::Clone));
                }
                self.can_clone = false;
            }
            let source = from.open(&file, false)?;
            let sparse = data_len(&*source, len) + SPARSE < len;
            let to = self.to.create(&file, if sparse { 0 } else { len })?;
            self.made.push((id, file.clone()));
            if sparse {
                to.lengthen(len)?;
            }
            self.copying = Some(Copying { from: source, to, at: 0 });
        }
        let Some(copying) = &mut self.copying else { return Ok(None) };
        let mut buffer = vec![0; PIECE];
        while copying.at < len && *budget > 0 {
            // Holes stay holes: the copy reads as zeroes there, as it was created.
            let data = copying.from.next_data(copying.at).filter(|data| data.start < len);
            let data = data.unwrap_or(len..len);
            // If the file has become shorter meanwhile, so does the copy.
            let end = if data.is_empty() { copying.from.len()?.clamp(copying.at, len) } else { data.end.min(len) };
            copying.at = data.start.min(end);
            let want = PIECE.min((end - copying.at) as usize);
            let n = copying.from.read_at(&mut buffer[..want], copying.at)?;
            if n == 0 {
                if copying.at < len {
                    // Sealed segments give back the space that they do not use.
                    copying.to.shrink(copying.at);
                    if let Some(piece) = self.pending.last_mut() {
                        piece.len = copying.at;
                    }
                }
                break;
            }
            copying.to.write_at(&buffer[..n], copying.at).map_err(|short| short.fault)?;
            copying.at += n as u64;
            *budget = budget.saturating_sub(n as u64);
        }
        let len = self.pending.last().map_or(0, |piece| piece.len);
        if copying.at < len {
            return Ok(None);
        }
        copying.to.sync()?;
        self.copying = None;
        self.is_whole(&*from, &file).map(|()| Some(CopyMethod::Copy))
    }

    /// Fails if a segment lost its name while it was copied, because its file may have been overwritten as another segment.
    fn is_whole(&self, from: &dyn Storage, file: &str) -> std::result::Result<(), Fault> {
        from.open(file, false).map(|_| ())
    }
}
