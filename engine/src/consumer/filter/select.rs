//! The records of a chunk that a filter wants.
//!
//! Invariant: nothing is copied. Records that are wanted and follow each other are one part of the chunk, in its memory;
//! who iterates over the parts goes through that memory once.

use super::Filter;
use crate::consumer::records::Records;
use crate::partition::reader::Chunk;
use crate::partition::shared::Partition;
use std::sync::Arc;

/// The parts of a chunk with what is wanted, at most `count_max` records. The chunk ends behind the last record that was
/// looked at.
pub(in crate::consumer) fn wanted(
    filter: &Filter,
    partition: &Arc<Partition>,
    chunk: &mut Chunk,
    count_max: u32,
) -> Vec<Chunk> {
    let mut records = Records::default();
    records.push(partition.clone(), chunk.clone());
    let mut parts: Vec<Chunk> = Vec::new();
    let (mut seen, mut found) = (0, 0);
    // Whether the record before was wanted.
    let mut goes_on = false;
    for record in &records {
        if found == count_max {
            break;
        }
        let is_wanted = filter.matches(&record);
        match parts.last_mut() {
            Some(part) if is_wanted && goes_on => part.count += 1,
            _ if is_wanted => {
                let mut part = chunk.clone();
                (part.skip, part.count) = (chunk.skip + seen, 1);
                parts.push(part);
            }
            _ => {}
        }
        goes_on = is_wanted;
        found += u32::from(is_wanted);
        seen += 1;
    }
    chunk.count = seen;
    parts
}
