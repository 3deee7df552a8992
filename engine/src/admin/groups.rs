//! Groups as they travel through the socket.
//!
//! Invariant: the name of a topic stands once for all its partitions that follow each other, so that a group of every
//! partition that an engine can have fits one message.

use crate::consumer::filter::Filter;
use crate::consumer::group::{GroupInfo, GroupKind, GroupOptions, GroupPartitionInfo, MemberOptions, Redrive};
use crate::log::codec::{Put, Reader};
use std::time::Duration;

/// Partitions of the groups of one answer to a list, unless the first group alone has more.
const PARTITIONS_PER_PAGE: usize = 20_000;

/// As many of the groups as one answer holds.
pub(crate) fn page(groups: impl Iterator<Item = GroupInfo>) -> Vec<GroupInfo> {
    let mut partitions = 0;
    let mut page: Vec<GroupInfo> = Vec::new();
    for group in groups.take(super::NAMES_PER_PAGE) {
        partitions += group.partitions.len();
        if !page.is_empty() && partitions > PARTITIONS_PER_PAGE {
            break;
        }
        page.push(group);
    }
    page
}

pub(crate) fn put_group(target: &mut Vec<u8>, info: &GroupInfo) {
    target.put_bytes(info.name.as_bytes());
    target.put_u32(info.id);
    info.kind.put(target);
    target.put_bytes(info.dead_letter_topic.as_bytes());
    target.put_bytes(info.filter.as_ref().map(Filter::to_string).unwrap_or_default().as_bytes());
    target.put_u64(info.members as u64);
    let topics: Vec<_> = info.partitions.chunk_by(|one, other| one.topic == other.topic).collect();
    target.put_u32(topics.len() as u32);
    for partitions in topics {
        target.put_bytes(partitions[0].topic.as_bytes());
        target.put_u32(partitions.len() as u32);
        for of in partitions {
            target.put_u32(of.partition);
            for figure in [of.position, of.next_offset, of.lag, of.in_flight, of.available, of.lost] {
                target.put_u64(figure);
            }
        }
    }
}

pub(crate) fn take_group(reader: &mut Reader<'_>) -> Option<GroupInfo> {
    let mut info = GroupInfo {
        name: text(reader)?,
        id: reader.u32()?,
        kind: GroupKind::take(reader)?,
        dead_letter_topic: text(reader)?,
        filter: match &*text(reader)? {
            "" => None,
            text => Some(Filter::read_back(text)?),
        },
        members: usize::try_from(reader.u64()?).ok()?,
        partitions: Vec::new(),
    };
    for _ in 0..reader.u32()? {
        let topic = text(reader)?;
        let count = reader.u32()?;
        if count == 0 || info.partitions.last().is_some_and(|before| before.topic == topic) {
            return None;
        }
        for _ in 0..count {
            info.partitions.push(GroupPartitionInfo {
                topic: topic.clone(),
                partition: reader.u32()?,
                position: reader.u64()?,
                next_offset: reader.u64()?,
                lag: reader.u64()?,
                in_flight: reader.u64()?,
                available: reader.u64()?,
                lost: reader.u64()?,
            });
        }
    }
    Some(info)
}

/// The options in the encoding that the catalog has. What they say is judged by who creates the group.
pub(crate) fn put_group_options(target: &mut Vec<u8>, options: &GroupOptions) {
    target.put_bytes(&options.encode());
}

pub(crate) fn take_group_options(reader: &mut Reader<'_>) -> Option<GroupOptions> {
    GroupOptions::read(reader.bytes()?)
}

pub(crate) fn put_member_options(target: &mut Vec<u8>, options: &MemberOptions) {
    target.put_u64(u64::try_from(options.lease.as_millis()).unwrap_or(u64::MAX));
    target.put_u64(options.max_poll_records as u64);
    target.put_u64(options.max_poll_bytes as u64);
    target.put_u64(options.max_in_flight_records);
    target.put_u64(options.max_in_flight_bytes);
}

/// What they say is judged by who joins.
pub(crate) fn take_member_options(reader: &mut Reader<'_>) -> Option<MemberOptions> {
    let options = MemberOptions::new().lease(Duration::from_millis(reader.u64()?));
    let options = options.max_poll_records(usize::try_from(reader.u64()?).ok()?);
    let options = options.max_poll_bytes(usize::try_from(reader.u64()?).ok()?);
    Some(options.max_in_flight_records(reader.u64()?).max_in_flight_bytes(reader.u64()?))
}

pub(crate) fn put_redrive(target: &mut Vec<u8>, what: &Redrive) {
    let (partition, offset) = match what {
        Redrive::All => return target.put_u8(0),
        Redrive::Letter { partition, offset } => {
            target.put_u8(1);
            (partition, offset)
        }
        Redrive::Record { topic, partition, offset } => {
            target.put_u8(2);
            target.put_bytes(topic.as_bytes());
            (partition, offset)
        }
    };
    target.put_u32(*partition);
    target.put_u64(*offset);
}

pub(crate) fn take_redrive(reader: &mut Reader<'_>) -> Option<Redrive> {
    Some(match reader.u8()? {
        0 => Redrive::All,
        1 => Redrive::Letter { partition: reader.u32()?, offset: reader.u64()? },
        2 => Redrive::Record { topic: text(reader)?, partition: reader.u32()?, offset: reader.u64()? },
        _ => return None,
    })
}

fn text(reader: &mut Reader<'_>) -> Option<String> {
    std::str::from_utf8(reader.bytes()?).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, partitions: usize) -> GroupInfo {
        let partition = |partition| GroupPartitionInfo {
            topic: "t".to_owned(),
            partition,
            position: 0,
            next_offset: 0,
            lag: 0,
            in_flight: 0,
            available: 0,
            lost: 0,
        };
        GroupInfo {
            name: name.to_owned(),
            id: 1,
            kind: GroupKind::Shared,
            dead_letter_topic: "d".to_owned(),
            filter: None,
            members: 0,
            partitions: (0..partitions as u32).map(partition).collect(),
        }
    }

    #[test]
    fn a_page_is_bounded_and_never_empty_while_there_are_groups() {
        let lengths = |sizes: &[usize]| page(sizes.iter().map(|size| group("g", *size))).len();
        assert_eq!(lengths(&[]), 0);
        assert_eq!(lengths(&[PARTITIONS_PER_PAGE + 1, 1]), 1, "one that is too large comes alone");
        assert_eq!(lengths(&[1, PARTITIONS_PER_PAGE]), 1);
        assert_eq!(lengths(&[1, PARTITIONS_PER_PAGE - 1]), 2);
        assert_eq!(lengths(&[0; 2 * super::super::NAMES_PER_PAGE]), super::super::NAMES_PER_PAGE);
    }

    /// The largest one that there can be.
    #[test]
    fn every_partition_of_an_engine_fits_one_message() {
        let mut bytes = Vec::new();
        put_group(&mut bytes, &group("g", crate::bounds::SLOTS_MAX as usize));
        let names = 1_000 * 300;
        assert!(bytes.len() + names < super::super::BODY_BYTES_MAX, "{}", bytes.len());
    }

    #[test]
    fn a_group_has_one_encoding() {
        let mut parts = Vec::new();
        put_group(&mut parts, &group("g", 0));
        let head = parts[..parts.len() - 4].to_vec();
        let topic = |count: u32| {
            let mut bytes = Vec::new();
            bytes.put_bytes(b"t");
            bytes.put_u32(count);
            bytes.extend(std::iter::repeat_n(0, count as usize * 52));
            bytes
        };
        let taken = |topics: &[Vec<u8>]| {
            let bytes = [&head[..], &(topics.len() as u32).to_le_bytes(), &topics.concat()].concat();
            take_group(&mut Reader::new(&bytes)).is_some()
        };
        assert!(taken(&[topic(1)]));
        assert!(!taken(&[topic(0)]), "a topic without partitions");
        assert!(!taken(&[topic(1), topic(1)]), "a topic in two pieces");
    }
}
