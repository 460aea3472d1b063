//! The results of a salvaging reader: every record in a good frame, the holes between them, and nothing else.

use super::history::{broken, Held};
use super::oracle::{Expected, Made};
use crate::read::reader::{Hole, ReadPlan, Reader};
use crate::segments::catalog::Catalog;
use crate::testing::sim::SimDisk;
use std::sync::Arc;

/// The positions that were returned, and the holes.
pub type Salvaged = (Vec<u64>, Vec<Hole>);

/// Reads `from..=to` past all damage. Each record is compared with what was appended. Records and holes together must be every position
/// once, in order.
pub fn salvage(disk: &SimDisk, catalog: &Arc<Catalog>, expected: &Expected, from: u64, to: u64, block_bytes: usize) -> Held<Salvaged> {
    let mut reader = Reader::new(Arc::new(disk.clone()), catalog.clone(), ReadPlan { past_damage: true, ..(from..=to).into() });
    let (mut given, mut holes, mut next) = (Vec::new(), Vec::new(), from);
    loop {
        let block = match reader.next_block(block_bytes) {
            Ok(Some(block)) => block,
            Ok(None) if next == to + 1 || from > to => return Ok((given, holes)),
            Ok(None) => return broken(format!("salvaging {from} to {to} ended before {next}")),
            Err(error) => return broken(format!("salvaging {from} to {to}: {error:?}")),
        };
        for hole in &block.holes {
            if hole.first != next || hole.last < hole.first || hole.last > to {
                return broken(format!("a hole from {next} to {to} is reported as {hole:?}"));
            }
            next = hole.last + 1;
        }
        holes.extend_from_slice(&block.holes);
        if !block.is_empty() && block.first_position != next {
            return broken(format!("salvaged records start at {}, expected {next}", block.first_position));
        }
        for record in &block {
            let right = expected.tags.get(next as usize).is_some_and(|tag| Made::new(next, *tag).is(record));
            if !right || next > to {
                return broken(format!("position {next} is salvaged with another record than was appended"));
            }
            given.push(next);
            next += 1;
        }
    }
}
