//! Torn or damaged? Judging a bad place by what valid frames say of it.
//!
//! A crash leaves a torn tail: groups that were in flight, none of them acknowledged. Damage hits what
//! was acknowledged. The two look alike at the bad place B itself, so the valid frames around it are
//! asked. D is the durable position a frame carries; W bounds how far the lane ever runs ahead of D.
//!
//! | # | what is seen                                          | verdict | because                          |
//! |---|-------------------------------------------------------|---------|----------------------------------|
//! | 1 | no valid frame behind B, no D above B                 | torn    | nothing says B was ever durable  |
//! | 2 | a valid frame behind B, its D at or below B           | torn    | writes complete in any order     |
//! | 3 | a valid frame anywhere whose D is behind B's frame    | damage  | B was durable                    |
//! | 4 | a valid frame more than W behind B's frame            | damage  | it waited until B was durable    |
//! | 5 | a valid frame more than W behind its own D            | damage  | the lane never writes such a one |
//! | 6 | B lies before the end that the manifest gives         | damage  | recovery or sealing had read it  |
//! | 7 | a valid frame that does not continue the one before   | damage  | the one before was another       |
//!
//! The durable position moves by pages, so it may lie within a frame: then that frame's end was not durable
//! yet, and its beginning alone was acknowledged to nobody.
//!
//! Each row is a test below.

use super::frame::{FrameHeader, HEADER_BYTES_MAX};
use super::position::Position;
use crate::io::PAGE;

/// A place where a frame should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPlace {
    pub(crate) position: Position,
    /// The end of its frame, where the header is whole.
    pub(crate) end: Option<Position>,
}

impl BadPlace {
    /// Whether the frame was durable, header and body, when this was the durable position.
    pub(crate) fn was_durable_at(&self, durable: Position) -> bool {
        match self.end {
            Some(end) => durable >= end,
            // Nobody knows how long the frame is. Its header at least is longer than what a page boundary
            // can cut off before it; elsewhere the durable position is always the end of a frame.
            None => {
                durable > self.position && (self.header_is_below(durable) || !durable.0.is_multiple_of(PAGE as u64))
            }
        }
    }

    fn header_is_below(&self, durable: Position) -> bool {
        durable >= self.position.advance(HEADER_BYTES_MAX as u64)
    }
}

/// What a valid frame proves about the bad place `bad`, if it proves damage.
pub(crate) fn accuse(bad: BadPlace, window_bytes: u64, witness: &FrameHeader) -> Option<String> {
    let FrameHeader { position, durable, .. } = *witness;
    if bad.was_durable_at(durable) {
        return Some(format!("the frame at {position} says that everything below {durable} was durable"));
    }
    if let Some(reason) = accuse_itself(window_bytes, witness) {
        return Some(reason);
    }
    let frame_end = bad.end.unwrap_or(bad.position.advance(HEADER_BYTES_MAX as u64));
    if position > bad.position && witness.end().since(frame_end) > window_bytes {
        return Some(format!(
            "the frame at {position} lies more than the window of {window_bytes} bytes behind; it was written only when this was durable"
        ));
    }
    None
}

/// What a valid frame proves about itself: a lane never writes such a one.
pub(crate) fn accuse_itself(window_bytes: u64, frame: &FrameHeader) -> Option<String> {
    let FrameHeader { position, durable, .. } = *frame;
    if durable > position {
        return Some(format!(
            "the frame at {position} says that everything below {durable} was durable, itself included"
        ));
    }
    (frame.end().since(durable) > window_bytes).then(|| {
        format!(
            "the frame at {position} lies more than the window of {window_bytes} bytes behind its own durable position {durable}"
        )
    })
}

/// What the manifest's end of a sealed segment proves.
pub(crate) fn accuse_sealed(bad: Position, end: Position) -> Option<String> {
    (bad < end).then(|| format!("the manifest says that the segment's frames reach to {end}"))
}

/// What a frame proves that does not continue the chain.
pub(crate) fn accuse_chain(expected: u32, frame: &FrameHeader) -> Option<String> {
    (frame.previous_checksum != expected).then(|| {
        format!(
            "the frame at {} follows a frame with checksum {:08x}, but the one before it has {expected:08x}",
            frame.position, frame.previous_checksum
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::frame::Kind;
    use super::*;

    const W: u64 = 1000;
    const B: BadPlace = BadPlace { position: Position(10_000), end: Some(Position(10_100)) };
    /// The header is damaged as well.
    const B_ALL: BadPlace = BadPlace { end: None, ..B };

    fn frame(position: u64, durable: u64) -> FrameHeader {
        FrameHeader {
            kind: Kind::Mark,
            position: Position(position),
            durable: Position(durable),
            body_bytes: 0,
            previous_checksum: 5,
            body_checksum: 0,
            header_checksum: 0,
        }
    }

    #[test]
    fn row_1_frames_before_the_bad_place_accuse_nobody() {
        assert_eq!(accuse(B, W, &frame(9_000, 9_000)), None);
        assert_eq!(accuse(B, W, &frame(9_500, 9_000)), None);
    }

    #[test]
    fn row_2_a_later_write_may_land_first() {
        assert_eq!(accuse(B, W, &frame(10_400, 10_000)), None);
        assert_eq!(accuse(B, W, &frame(10_400, 9_600)), None);
    }

    #[test]
    fn row_3_a_durable_position_above_it_proves_damage() {
        assert!(accuse(B, W, &frame(10_400, 10_100)).unwrap().contains("was durable"));
        assert!(accuse(B, W, &frame(50_000, 50_000)).unwrap().contains("was durable"));
        assert!(accuse(B_ALL, W, &frame(10_400, 10_040)).unwrap().contains("was durable"));
    }

    /// A frame of 60 KiB went out in two writes. The first was durable when the next frame was encoded, and
    /// that one landed before the power went; the second was not. Opening called it damage, and refused.
    /// (Simulator, seed 1264 of its first day.)
    #[test]
    fn a_durable_position_within_a_frame_says_nothing_of_its_end() {
        let long = BadPlace { position: Position(10_000), end: Some(Position(13_000)) };
        assert_eq!(accuse(long, 10_000, &frame(13_000, 12_288)), None);
        assert!(accuse(long, 10_000, &frame(13_000, 13_000)).is_some());
        let header_is_cut = BadPlace { position: Position(12_272), end: None };
        assert_eq!(accuse(header_is_cut, 10_000, &frame(13_000, 12_288)), None);
        assert!(accuse(header_is_cut, 10_000, &frame(13_000, 12_280)).is_some(), "no page ends there");
    }

    #[test]
    fn row_4_a_frame_beyond_the_window_proves_damage() {
        assert!(accuse(B, W, &frame(10_100 + W, 10_100)).is_some());
        assert!(accuse(B_ALL, 10 * W, &frame(10_100 + 10 * W, 10_000)).is_some());
    }

    #[test]
    fn row_5_a_frame_beyond_its_own_window_is_impossible() {
        assert!(accuse(B, W, &frame(9_990, 8_000)).unwrap().contains("its own durable position"));
    }

    #[test]
    fn row_6_what_was_sealed_had_been_read() {
        assert!(accuse_sealed(B.position, Position(10_008)).is_some());
        assert_eq!(accuse_sealed(B.position, B.position), None);
    }

    #[test]
    fn row_7_a_broken_chain_proves_damage() {
        assert!(accuse_chain(4, &frame(9_000, 9_000)).is_some());
        assert_eq!(accuse_chain(5, &frame(9_000, 9_000)), None);
    }
}
