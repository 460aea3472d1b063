//! The memory that a block's frames are read into: of the block, or lent for it.

/// The bytes that a block is made from, as they are in the segment.
pub enum Stored<'a> {
    Own(Vec<u8>),
    /// So many bytes of memory that was lent for the block.
    Lent(&'a mut [u8], usize),
}

impl<'a> Stored<'a> {
    /// Provides `len` bytes with any content: in `memory` if it has room for them.
    pub fn new(len: usize, memory: Option<&'a mut [u8]>) -> Self {
        match memory.filter(|memory| memory.len() >= len) {
            Some(memory) => Stored::Lent(memory, len),
            None => Stored::Own(vec![0; len]),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Stored::Own(bytes) => bytes,
            Stored::Lent(memory, len) => &memory[..*len],
        }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Stored::Own(bytes) => bytes,
            Stored::Lent(memory, len) => &mut memory[..*len],
        }
    }

    pub fn truncate(&mut self, to: usize) {
        match self {
            Stored::Own(bytes) => bytes.truncate(to),
            Stored::Lent(_, len) => *len = to.min(*len),
        }
    }

    /// Adds bytes with any content, up to `to` of them in all.
    pub fn grow(&mut self, to: usize) {
        match self {
            Stored::Own(bytes) => bytes.resize(to, 0),
            Stored::Lent(memory, len) if to <= memory.len() => *len = to,
            Stored::Lent(memory, len) => {
                let mut bytes = vec![0; to];
                bytes[..*len].copy_from_slice(&memory[..*len]);
                *self = Stored::Own(bytes);
            }
        }
    }
}
