//! What was acknowledged of a partition, as it travels through the socket.
//!
//! Invariant: producers stand in the order of their ids, ranges in that of their numbers and apart: a message has one
//! encoding.

use crate::lane::acknowledged::{Acknowledged, AcknowledgedBy, Numbers};
use crate::log::codec::{Put, Reader};

/// Producers of one answer.
const PRODUCERS_PER_PAGE: usize = 50_000;
/// Their ranges, unless the first producer alone has more.
const RANGES_PER_PAGE: usize = 100_000;

/// As many of the producers from an id on as one answer holds.
pub(crate) fn page(acknowledged: Acknowledged, from: u32) -> Acknowledged {
    let (mut ranges, mut producers) = (0, Vec::new());
    for by in acknowledged.producers.into_iter().filter(|by| by.producer >= from).take(PRODUCERS_PER_PAGE) {
        ranges += by.withheld.len() + by.cancelled.len();
        if !producers.is_empty() && ranges > RANGES_PER_PAGE {
            break;
        }
        producers.push(by);
    }
    Acknowledged { producers, ..acknowledged }
}

pub(crate) fn put_acknowledged(target: &mut Vec<u8>, acknowledged: &Acknowledged) {
    target.put_u32(acknowledged.topic);
    target.put_u64(acknowledged.next_offset);
    target.put_u8(u8::from(acknowledged.forgets_cancelled));
    target.put_u32(acknowledged.producers.len() as u32);
    for AcknowledgedBy { producer, epoch, next, withheld, cancelled } in &acknowledged.producers {
        target.put_u32(*producer);
        target.put_u32(*epoch);
        target.put_u64(*next);
        for ranges in [withheld, cancelled] {
            target.put_u32(ranges.len() as u32);
            for (first, last) in ranges {
                target.put_u64(*first);
                target.put_u64(*last);
            }
        }
    }
}

pub(crate) fn take_acknowledged(reader: &mut Reader<'_>) -> Option<Acknowledged> {
    let (topic, next_offset) = (reader.u32()?, reader.u64()?);
    let forgets_cancelled = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let mut acknowledged = Acknowledged { topic, next_offset, forgets_cancelled, producers: Vec::new() };
    for _ in 0..reader.u32()? {
        let by = AcknowledgedBy {
            producer: reader.u32()?,
            epoch: reader.u32()?,
            next: reader.u64()?,
            withheld: take_ranges(reader)?,
            cancelled: take_ranges(reader)?,
        };
        if acknowledged.producers.last().is_some_and(|before| before.producer >= by.producer) {
            return None;
        }
        acknowledged.producers.push(by);
    }
    Some(acknowledged)
}

fn take_ranges(reader: &mut Reader<'_>) -> Option<Vec<Numbers>> {
    let mut ranges: Vec<Numbers> = Vec::new();
    for _ in 0..reader.u32()? {
        let (first, last) = (reader.u64()?, reader.u64()?);
        // No number is the largest there can be.
        if first > last || last == u64::MAX || ranges.last().is_some_and(|(_, before)| *before >= first) {
            return None;
        }
        ranges.push((first, last));
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(producer: u32, ranges: u64) -> AcknowledgedBy {
        let withheld = (0..ranges).map(|at| (at * 2, at * 2)).collect();
        AcknowledgedBy { producer, next: 2 * ranges, withheld, ..AcknowledgedBy::default() }
    }

    #[test]
    fn a_page_is_bounded_and_never_empty_while_there_are_producers() {
        let of = |sizes: &[u64], from| {
            let producers = sizes.iter().enumerate().map(|(at, ranges)| by(at as u32, *ranges)).collect();
            let page = page(Acknowledged { producers, ..Acknowledged::default() }, from);
            page.producers.iter().map(|by| by.producer).collect::<Vec<_>>()
        };
        let many = RANGES_PER_PAGE as u64;
        assert_eq!(of(&[], 0), [0_u32; 0]);
        assert_eq!(of(&[0, 1, 2], 0), [0, 1, 2]);
        assert_eq!(of(&[0, 1, 2], 2), [2]);
        assert_eq!(of(&[many + 5, 1], 0), [0], "one that is too large comes alone");
        assert_eq!(of(&[1, many], 0), [0]);
        assert_eq!(of(&[1, many], 1), [1]);
        assert_eq!(of(&vec![0; PRODUCERS_PER_PAGE + 1], 0).len(), PRODUCERS_PER_PAGE);
    }

    /// The largest one that there can be: every withheld record of a lane, none beside another, and the cancelled ones.
    #[test]
    fn the_ranges_of_one_producer_fit_a_message() {
        let mut bytes = Vec::new();
        put_acknowledged(&mut bytes, &Acknowledged { producers: vec![by(0, 510_000)], ..Acknowledged::default() });
        assert!(bytes.len() + PRODUCERS_PER_PAGE * 24 < super::super::BODY_BYTES_MAX, "{}", bytes.len());
    }

    #[test]
    fn what_has_another_order_is_no_message() {
        let taken = |producers: Vec<AcknowledgedBy>| {
            let mut bytes = Vec::new();
            put_acknowledged(&mut bytes, &Acknowledged { producers, ..Acknowledged::default() });
            take_acknowledged(&mut Reader::new(&bytes)).is_some()
        };
        assert!(taken(vec![by(1, 2), by(2, 0)]));
        assert!(!taken(vec![by(2, 0), by(1, 2)]));
        assert!(!taken(vec![by(1, 0), by(1, 2)]));
        for ranges in [vec![(2, 1)], vec![(1, 2), (2, 3)], vec![(1, u64::MAX)]] {
            assert!(!taken(vec![AcknowledgedBy { cancelled: ranges, ..AcknowledgedBy::default() }]));
        }
    }
}
