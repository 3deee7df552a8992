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
//! | 3 | a valid frame anywhere whose D is above B             | damage  | B was durable                    |
//! | 4 | a valid frame more than W behind B                    | damage  | it waited until B was durable    |
//! | 5 | a valid frame more than W behind its own D            | damage  | the lane never writes such a one |
//! | 6 | B lies before the end that the manifest gives         | damage  | recovery or sealing had read it  |
//! | 7 | a valid frame that does not continue the one before   | damage  | the one before was another       |
//!
//! Each row is a test below.

use super::frame::FrameHeader;
use super::position::Position;

/// What a valid frame proves about the bad place `bad`, if it proves damage.
pub(crate) fn accuse(bad: Position, window_bytes: u64, witness: &FrameHeader) -> Option<String> {
    let FrameHeader { position, durable, .. } = *witness;
    if durable > bad {
        return Some(format!("the frame at {position} says that everything below {durable} was durable"));
    }
    if witness.end().since(durable) > window_bytes {
        return Some(format!(
            "the frame at {position} lies more than the window of {window_bytes} bytes behind its own durable position {durable}"
        ));
    }
    if position > bad && witness.end().since(bad) > window_bytes {
        return Some(format!(
            "the frame at {position} lies more than the window of {window_bytes} bytes behind; it was written only when this was durable"
        ));
    }
    None
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
    const B: Position = Position(10_000);

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
        assert!(accuse(B, W, &frame(10_400, 10_008)).unwrap().contains("was durable"));
        assert!(accuse(B, W, &frame(50_000, 50_000)).unwrap().contains("was durable"));
    }

    #[test]
    fn row_4_a_frame_beyond_the_window_proves_damage() {
        assert!(accuse(B, W, &frame(10_000 + W, 10_000)).is_some());
    }

    #[test]
    fn row_5_a_frame_beyond_its_own_window_is_impossible() {
        assert!(accuse(B, W, &frame(9_990, 8_000)).unwrap().contains("its own durable position"));
    }

    #[test]
    fn row_6_what_was_sealed_had_been_read() {
        assert!(accuse_sealed(B, Position(10_008)).is_some());
        assert_eq!(accuse_sealed(B, B), None);
    }

    #[test]
    fn row_7_a_broken_chain_proves_damage() {
        assert!(accuse_chain(4, &frame(9_000, 9_000)).is_some());
        assert_eq!(accuse_chain(5, &frame(9_000, 9_000)), None);
    }
}
