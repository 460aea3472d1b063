//! The simulated disk, the campaign of random histories over it, and tests that need the whole engine.

pub mod campaign;
#[cfg(test)]
pub mod format_page;
#[cfg(test)]
pub mod log;
pub mod sim;
