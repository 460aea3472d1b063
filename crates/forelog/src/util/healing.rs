//! Which failed system calls leave the state of the log certain, and which do not.
//!
//! After a call of the first kind, the log rejects the waiting operations and goes on once the cause is gone. After one of
//! the second kind it is poisoned. The rules are data, and docs/errors.md shows them as a table.

use crate::error::Fault;
use std::io::ErrorKind;

/// The kind of thing that a failed call was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// A file that does not have its final name yet: a spare, `reserve`, or a new CURSORS. Recovery never reads one.
    Spare,
    /// A file under its final name, written through the page cache.
    Named,
    /// The active segment, by a write past the page cache, which includes the fsync.
    Direct,
    /// A name that the log is about to depend on.
    Name,
    /// A file that the log does not depend on: a spare that is being prepared, `reserve`, or a file that truncation
    /// removes.
    Unused,
}

/// The errors after which a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heals {
    /// Every error.
    Always,
    /// No error.
    Never,
    /// Errors of these kinds, each with its names on Linux.
    For(&'static [(ErrorKind, &'static str)]),
}

/// One row of the table: what the failure of certain calls on certain files means.
pub struct Rule {
    /// The system calls.
    pub calls: &'static [&'static str],
    /// The kinds of things that the call was made on. Empty if that does not matter.
    pub on: &'static [On],
    /// The things that the call was made on, in words.
    pub what: &'static str,
    /// The errors after which the log goes on.
    pub heals: Heals,
}

/// The system returns these errors before it accepts a byte. If an earlier piece of the same write succeeded, a fence excludes it. A write
/// past the page cache is always fenced off, because it also syncs: everything before it is durable, so only its own bytes are in doubt.
const WRITE: Heals = Heals::For(&[
    (ErrorKind::StorageFull, "ENOSPC"),
    (ErrorKind::QuotaExceeded, "EDQUOT"),
    (ErrorKind::FileTooLarge, "EFBIG"),
    (ErrorKind::ReadOnlyFilesystem, "EROFS"),
    (ErrorKind::PermissionDenied, "EACCES, EPERM"),
    (ErrorKind::OutOfMemory, "ENOMEM"),
    (ErrorKind::WouldBlock, "EAGAIN"),
    (ErrorKind::Interrupted, "EINTR"),
]);

/// The system returns these errors before it changes a name.
const RENAME: Heals = Heals::For(&[
    (ErrorKind::StorageFull, "ENOSPC"),
    (ErrorKind::QuotaExceeded, "EDQUOT"),
    (ErrorKind::ReadOnlyFilesystem, "EROFS"),
    (ErrorKind::PermissionDenied, "EACCES, EPERM"),
    (ErrorKind::NotFound, "ENOENT"),
    (ErrorKind::NotADirectory, "ENOTDIR"),
    (ErrorKind::IsADirectory, "EISDIR"),
    (ErrorKind::AlreadyExists, "EEXIST"),
    (ErrorKind::CrossesDevices, "EXDEV"),
    (ErrorKind::TooManyLinks, "EMLINK"),
    (ErrorKind::ResourceBusy, "EBUSY"),
    (ErrorKind::InvalidFilename, "ENAMETOOLONG"),
    (ErrorKind::OutOfMemory, "ENOMEM"),
]);

/// The rules, in the order of the table in docs/errors.md. The first rule that matches applies. A call that no rule names
/// poisons the log.
pub const RULES: [Rule; 9] = [
    Rule { calls: &["open", "fstat", "pread", "scandir", "getrandom"], on: &[], what: "anything", heals: Heals::Always },
    Rule { calls: &["fallocate", "ftruncate"], on: &[], what: "anything", heals: Heals::Always },
    Rule { calls: &["pwrite"], on: &[On::Spare], what: "a spare, `reserve` or a new `CURSORS`", heals: Heals::Always },
    Rule { calls: &["pwrite"], on: &[On::Named], what: "a segment, `CONTROL` or `CURSORS`", heals: WRITE },
    Rule { calls: &["pwrite"], on: &[On::Direct], what: "a segment, past the page cache", heals: WRITE },
    Rule { calls: &["rename"], on: &[On::Name], what: "a new segment or `CURSORS`", heals: RENAME },
    Rule { calls: &["rename", "unlink"], on: &[], what: "`reserve`, or a file that the log no longer needs", heals: Heals::Always },
    Rule { calls: &["fdatasync"], on: &[On::Unused], what: "a spare that is still empty: it is discarded", heals: Heals::Always },
    Rule { calls: &["fdatasync", "fsync"], on: &[], what: "anything", heals: Heals::Never },
];

impl Rule {
    fn matches(&self, call: &str, on: On) -> bool {
        self.calls.contains(&call) && (self.on.is_empty() || self.on.contains(&on))
    }

    /// Returns the rule as a row of the table in docs/errors.md.
    pub fn row(&self) -> [String; 4] {
        let calls = self.calls.iter().map(|call| format!("`{call}`")).collect::<Vec<_>>().join(", ");
        let (heals, poisons) = match self.heals {
            Heals::Always => ("every error".into(), "none".into()),
            Heals::Never => ("none".into(), "every error".into()),
            Heals::For(kinds) => (kinds.iter().map(|(_, names)| *names).collect::<Vec<_>>().join(", "), "every other error".into()),
        };
        [calls, self.what.into(), heals, poisons]
    }
}

impl Fault {
    /// Whether the state of the log is certain after this failure of a call on `on`, so that the log goes on once the cause
    /// is gone.
    pub fn heals(&self, on: On) -> bool {
        match RULES.iter().find(|rule| rule.matches(self.syscall, on)).map(|rule| rule.heals) {
            Some(Heals::Always) => true,
            Some(Heals::For(kinds)) => self.kind().is_some_and(|kind| kinds.iter().any(|(known, _)| *known == kind)),
            Some(Heals::Never) | None => false,
        }
    }

    /// Whether there was no space for a file of the requested size. A smaller file may still fit.
    pub fn wants_room(&self) -> bool {
        self.is_no_space() || self.kind() == Some(ErrorKind::FileTooLarge)
    }

    /// Whether the process or the system has no file descriptor left.
    pub fn is_out_of_descriptors(&self) -> bool {
        #[cfg(unix)]
        let known = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
        // ERROR_TOO_MANY_OPEN_FILES.
        #[cfg(not(unix))]
        let known = [4];
        self.errno.is_some_and(|errno| known.contains(&errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_errors_md_matches_the_table_of_what_heals() {
        let page = include_str!("../../../../docs/errors.md");
        let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let shown: Vec<_> =
            page.lines().skip_while(|line| !line.starts_with("| call ")).skip(2).take_while(|line| line.starts_with('|')).collect();
        let shown: Vec<_> = shown.into_iter().map(cells).collect();
        let rules: Vec<_> = RULES.iter().map(|rule| rule.row().to_vec()).collect();
        assert_eq!(shown, rules);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn errors_of_linux_heal_or_poison_by_call_and_file() {
        let fault = |call, errno| Fault::new(call, "file", &std::io::Error::from_raw_os_error(errno));
        const EIO: i32 = 5;
        const EROFS: i32 = 30;
        let all: Vec<i32> = (1..=133).collect();
        // Healing errors of a write: EPERM, EINTR, EAGAIN, ENOMEM, EACCES, EFBIG, ENOSPC, EROFS, EDQUOT.
        let write = [1, 4, 11, 12, 13, 27, 28, 30, 122];
        // Healing errors of a rename: EPERM, ENOENT, ENOMEM, EACCES, EBUSY, EEXIST, EXDEV, ENOTDIR, EISDIR, ENOSPC, EROFS,
        // EMLINK, ENAMETOOLONG, EDQUOT.
        let rename = [1, 2, 12, 13, 16, 17, 18, 20, 21, 28, EROFS, 31, 36, 122];
        let healing = |call: &'static str, on| all.iter().copied().filter(|errno| fault(call, *errno).heals(on)).collect::<Vec<_>>();
        assert_eq!(healing("pwrite", On::Named), write);
        assert_eq!(healing("rename", On::Name), rename);
        for on in [On::Spare, On::Named, On::Direct, On::Name, On::Unused] {
            assert_eq!((healing("open", on), healing("fallocate", on)), (all.clone(), all.clone()));
            let synced = if on == On::Unused { all.clone() } else { vec![] };
            assert_eq!((healing("fsync", on), healing("fdatasync", on)), (vec![], synced));
        }
        assert_eq!((healing("pwrite", On::Spare), healing("pwrite", On::Direct)), (all.clone(), write.to_vec()));
        assert_eq!((healing("unlink", On::Unused), healing("rename", On::Unused)), (all.clone(), all));
        assert!(!fault("a call that no rule names", EIO).heals(On::Named));
    }
}
