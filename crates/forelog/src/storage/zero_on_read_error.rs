//! A storage that reads past bad blocks. Bytes that the disk fails to return read as zeroes, and the failure is remembered.
//!
//! Neither a frame nor a page of zeroes is valid, so unreadable bytes count as damaged ones.

use super::layer::{Layer, Layered};
use super::{File, Storage};
use crate::error::Fault;
use crate::util::limits::PAGE;
use std::sync::{Arc, Mutex, PoisonError};

/// A storage whose unreadable bytes read as zeroes.
pub type ZeroOnReadError = Layered<Leniency>;

/// The layer that replaces unreadable bytes. It remembers the first read error.
#[derive(Default)]
pub struct Leniency {
    first: Mutex<Option<Fault>>,
}

impl ZeroOnReadError {
    pub fn new(storage: Arc<dyn Storage>) -> ZeroOnReadError {
        Layered::over(storage, Leniency::default())
    }

    /// Returns the first read error.
    pub fn fault(&self) -> Option<Fault> {
        self.layer.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Layer for Leniency {
    fn read_at(&self, file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
        let fault = match file.read_at(buffer, offset) {
            Err(fault) if fault.errno.is_some() => fault,
            other => return other,
        };
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
        let len = (file.len()?.saturating_sub(offset)).min(buffer.len() as u64) as usize;
        let mut at = 0;
        while at < len {
            let page_end = (offset + at as u64 + 1).next_multiple_of(PAGE) - offset;
            let page = &mut buffer[at..len.min(page_end as usize)];
            match file.read_at(page, offset + at as u64) {
                Ok(n) => page[n..].fill(0),
                Err(fault) if fault.errno.is_none() => return Err(fault),
                Err(_) => page.fill(0),
            }
            at += page.len();
        }
        Ok(len)
    }
}
