//! Reading the records of deliveries.

use crate::consumer::records::Records;
use crate::error::Result;
use crate::partition::read_ahead::ReadAhead;
use crate::partition::reader::PartitionReader;
use crate::partition::shared::Partition;
use std::sync::Arc;

/// One record alone. None, if the partition ends before it.
pub(super) fn read_one(partition: &Arc<Partition>, offset: u64) -> Result<Records> {
    let mut reader = PartitionReader::new(partition.clone(), offset);
    let mut records = Records::default();
    if let Some(chunk) = reader.next_chunk(1, &mut ReadAhead::new(0))? {
        records.push(partition.clone(), chunk);
    }
    Ok(records)
}
