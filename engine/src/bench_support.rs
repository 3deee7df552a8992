//! What the micro-benchmarks in benches/ need of the inside. Not part of the API.

use crate::error::Result;
use crate::log::frame::{FrameContext, FrameHeader, Kind};
use crate::log::origin::Origin;
use crate::log::position::Position;
use crate::partition::index::{PartitionIndex, Run};
use crate::record::Record;

/// Encodes a record behind what `target` holds, as a sender's thread does.
pub fn encode(record: &Record<'_>, target: &mut Vec<u8>) -> Result<()> {
    let size = record.encoded_size(usize::MAX)?;
    record.encode_into(target, size, record.timestamp_ms.unwrap_or(0));
    Ok(())
}

/// The checksum of a frame's body.
pub fn body_checksum(body: &[u8]) -> u32 {
    crc32c::crc32c(body)
}

const FRAME_POSITION: Position = Position(8192);

fn frame_context() -> FrameContext {
    FrameContext::new(0, 1, 0x5eed)
}

/// A whole frame around records that [`encode`] wrote.
pub fn frame(count: u32, body: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        kind: Kind::Records { slot: 0, count, base_offset: 0, append_time_ms: 0, origin: Origin::default() },
        position: FRAME_POSITION,
        durable: FRAME_POSITION,
        body_bytes: body.len() as u32,
        previous_checksum: 0,
        body_checksum: body_checksum(body),
        header_checksum: 0,
    };
    let mut bytes = vec![0; header.total_bytes() as usize];
    header.encode(&frame_context(), &mut bytes);
    bytes[header.kind.header_bytes()..][..body.len()].copy_from_slice(body);
    bytes
}

/// Checks header and body of a frame that [`frame`] made, and gives the body, as a cold read does.
pub fn open_frame(bytes: &[u8]) -> Option<&[u8]> {
    FrameHeader::decode_whole(&frame_context(), FRAME_POSITION, bytes).ok().map(|(_, body)| body)
}

/// A partition's resident index.
pub struct Index(PartitionIndex);

impl Index {
    /// `runs` runs of `count` records each, none adjacent to the next: the most there is to search.
    pub fn of_runs(runs: u64, count: u32) -> Index {
        let mut index = PartitionIndex::default();
        for number in 0..runs {
            let base_offset = number * u64::from(count);
            let position = Position(4096 + number * 8192);
            let timestamp_max_ms = base_offset as i64;
            let run = Run { base_offset, count, first: 0, position, bytes: 4096, timestamp_max_ms, publication: None };
            index.push(run, true);
        }
        Index(index)
    }

    /// Where in the log the run that holds `offset` stands.
    pub fn position_of_offset(&self, offset: u64) -> Option<u64> {
        self.0.runs_from(offset).next().map(|run| run.position.0)
    }

    /// Where in the log the first run that reaches a time stands.
    pub fn position_of_time(&self, timestamp_ms: i64) -> Option<u64> {
        self.0.run_at_time(timestamp_ms).map(|run| run.position.0)
    }
}
