//! What was gathered of a partition, and the frames of the copy that it becomes.
//!
//! Invariants:
//! - Records come out as they went in, in the same order. Frames of records that go on where the one before them ends
//!   become one; all others stay as they are.
//! - Checksums are made of what was read and checked, before it lies in memory: what goes bad there is told.

use crate::log::frame::{FrameHeader, Kind};
use crate::record::RECORD_ALIGNMENT;
use std::collections::VecDeque;

/// Frames of records become one up to so many bytes: one frame costs a reader less than many, and its index is
/// smaller. Not more, for what goes bad on the disk is lost by the frame.
const JOINED_BYTES_MAX: usize = 16 << 10;

/// See the module.
#[derive(Default)]
pub(super) struct Gathered {
    frames: VecDeque<Frame>,
    /// The bodies of the frames, and of those that were taken out, one behind the other.
    bodies: Vec<u8>,
    taken: usize,
}

/// One frame of the copy.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    body_bytes: usize,
    pub(super) body_checksum: u32,
}

impl Gathered {
    /// Adds a frame whose checksums were just checked.
    pub(super) fn push(&mut self, header: &FrameHeader, body: &[u8]) {
        self.bodies.extend_from_slice(body);
        if let Some(last) = self.frames.back_mut()
            && last.body_bytes.is_multiple_of(RECORD_ALIGNMENT)
            && last.body_bytes + body.len() <= JOINED_BYTES_MAX
            && let Some(kind) = join(last.kind, header.kind)
        {
            let body_checksum = crc32c::crc32c_append(last.body_checksum, body);
            *last = Frame { kind, body_bytes: last.body_bytes + body.len(), body_checksum };
        } else {
            let FrameHeader { kind, body_checksum, .. } = *header;
            self.frames.push_back(Frame { kind, body_bytes: body.len(), body_checksum });
        }
    }

    /// Takes the next frame out, with its body. That stays in memory until all are out.
    pub(super) fn pop(&mut self) -> Option<(Frame, &[u8])> {
        let frame = self.frames.pop_front()?;
        let start = self.taken;
        self.taken += frame.body_bytes;
        Some((frame, &self.bodies[start..self.taken]))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.frames.capacity() * size_of::<Frame>() + self.bodies.capacity()
    }
}

/// What two frames of records become that follow each other. The append time is the later one: so old are both at most.
fn join(first: Kind, second: Kind) -> Option<Kind> {
    let Kind::Records { slot, count, base_offset, append_time_ms, origin } = first else { return None };
    let Kind::Records { slot: also, count: more, base_offset: then, append_time_ms: later, origin: next } = second
    else {
        return None;
    };
    let follows = slot == also && then == base_offset + u64::from(count) && next == origin.plus(count);
    let (count, append_time_ms) = (count.checked_add(more)?, append_time_ms.max(later));
    follows.then_some(Kind::Records { slot, count, base_offset, append_time_ms, origin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::frame::WithheldReason;
    use crate::log::origin::Origin;
    use crate::log::position::Position;

    fn records(base_offset: u64, count: u32, append_time_ms: i64) -> Kind {
        let origin = Origin { producer: 1, epoch: 1, sequence: base_offset };
        Kind::Records { slot: 3, count, base_offset, append_time_ms, origin }
    }

    fn header(kind: Kind, body: &[u8]) -> FrameHeader {
        let (position, durable) = (Position::default(), Position::default());
        let (body_bytes, body_checksum) = (body.len() as u32, crc32c::crc32c(body));
        FrameHeader { kind, position, durable, body_bytes, previous_checksum: 0, body_checksum, header_checksum: 0 }
    }

    /// What frames become of these: their kinds and the bytes of their bodies. Each body is another byte's.
    fn joined(frames: &[(Kind, usize)]) -> Vec<(Kind, usize)> {
        let mut gathered = Gathered::default();
        let mut bodies = Vec::new();
        for (number, &(kind, bytes)) in frames.iter().enumerate() {
            let body = vec![number as u8; bytes];
            gathered.push(&header(kind, &body), &body);
            bodies.extend(body);
        }
        let (mut all, mut read) = (Vec::new(), Vec::new());
        while let Some((frame, body)) = gathered.pop() {
            assert_eq!(crc32c::crc32c(body), frame.body_checksum);
            all.push((frame.kind, body.len()));
            read.extend_from_slice(body);
        }
        assert_eq!(read, bodies);
        all
    }

    #[test]
    fn records_that_follow_each_other_become_one_frame_of_the_latest_time() {
        let frames = [(records(5, 1, 30), 64), (records(6, 2, 50), 128), (records(8, 1, 40), 64)];
        assert_eq!(joined(&frames), [(records(5, 4, 50), 256)]);
    }

    #[test]
    fn what_does_not_follow_stays_a_frame_of_its_own() {
        let (reason, origin) = (WithheldReason::Delayed, Origin::default());
        let withheld = Kind::Withheld { slot: 3, count: 1, due_ms: 0, append_time_ms: 0, reason, origin };
        // Behind offset 1 some is missing, and between 4 and 5 stands what was withheld.
        let frames = [
            (records(0, 2, 0), 64),
            (records(3, 1, 0), 64),
            (records(4, 1, 0), 64),
            (withheld, 64),
            (records(5, 1, 0), 64),
        ];
        assert_eq!(
            joined(&frames),
            [(records(0, 2, 0), 64), (records(3, 2, 0), 128), (withheld, 64), (records(5, 1, 0), 64),]
        );
        // Another producer's, another epoch's, and one whose number does not follow.
        let other = |producer, epoch, sequence| Kind::Records {
            slot: 3,
            count: 1,
            base_offset: 1,
            append_time_ms: 0,
            origin: Origin { producer, epoch, sequence },
        };
        for next in [other(2, 1, 1), other(1, 2, 1), other(1, 1, 2)] {
            assert_eq!(joined(&[(records(0, 1, 0), 64), (next, 64)]).len(), 2, "{next:?}");
        }
        // No record begins where the first ends.
        assert_eq!(joined(&[(records(0, 1, 0), 60), (records(1, 1, 0), 64)]).len(), 2);
    }

    #[test]
    fn frames_become_no_larger_than_the_bound() {
        let each = 1 << 10;
        let frames: Vec<_> = (0..40).map(|at| (records(at, 1, 0), each)).collect();
        let per_frame = JOINED_BYTES_MAX / each;
        let sizes: Vec<_> = joined(&frames).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(sizes, [per_frame * each, per_frame * each, (40 - 2 * per_frame) * each]);
        // What was larger before stays as it is.
        let large = [(records(0, 9, 0), 2 * JOINED_BYTES_MAX), (records(9, 1, 0), 64)];
        assert_eq!(joined(&large), large);
    }

    #[test]
    fn what_goes_bad_in_memory_does_not_match_its_checksum() {
        let mut gathered = Gathered::default();
        for at in 0..3 {
            gathered.push(&header(records(at, 1, 0), &[at as u8; 64]), &[at as u8; 64]);
        }
        gathered.bodies[64 + 7] ^= 1;
        let (frame, body) = gathered.pop().unwrap();
        assert_ne!(crc32c::crc32c(body), frame.body_checksum);
    }
}
