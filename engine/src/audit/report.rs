//! What an audit found, in figures and in words for people.
//!
//! Invariant: of each producer in each partition, all numbers that were acknowledged are counted once: as readable, or
//! as missing for one reason.

use crate::consumer::MissingReason;
use std::fmt;
use std::ops::Range;

/// What an [`Engine::audit`](crate::Engine::audit) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct AuditReport {
    /// All partitions of the topics that were looked at, but for those that were deleted meanwhile.
    pub partitions: Vec<PartitionAudit>,
}

/// A partition: what was acknowledged, what of it can be read, what groups have done with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PartitionAudit {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The first offset that was kept when reading began, or later, if records were given up meanwhile.
    pub first_offset: u64,
    /// Its end when the audit began.
    pub next_offset: u64,
    /// Records that were read.
    pub records: u64,
    /// Offsets in between that cannot be read. Each is a lost record.
    pub unreadable: u64,
    /// Which ones: the first 100 ranges.
    pub unreadable_offsets: Vec<Range<u64>>,
    /// What reading the first of them said.
    pub unreadable_reason: Option<String>,
    /// Records whose number had come before. Nothing is lost by that, and it should not be.
    pub duplicates: u64,
    /// Records that came behind larger numbers without having been delayed. The same holds; in a directory that was
    /// repaired it may be.
    pub reorders: u64,
    /// The numbers of all producers.
    pub numbers: NumberCounts,
    /// Each producer, in the order of their ids: those that have lost something, and others, up to 10,000.
    pub producers: Vec<ProducerAudit>,
    /// How many more there are, who have lost nothing unless there are more than 10,000 who have.
    pub producers_left_out: u64,
    /// The groups that read the partition.
    pub groups: Vec<GroupAudit>,
}

/// One producer in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ProducerAudit {
    /// Its id; 0 stands for all that have no name.
    pub producer: u32,
    /// Its name, unless it has none, or was deleted.
    pub name: Option<String>,
    /// Of its last record.
    pub epoch: u32,
    /// Its numbers.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub numbers: NumberCounts,
    /// Which of them are lost: the first 100 ranges.
    pub lost: Vec<LostNumbers>,
}

/// Consecutive numbers of a producer that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LostNumbers {
    /// The first one.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Corrupt or unknown.
    pub reason: MissingReason,
}

/// How many numbers were acknowledged, and what became of them. See [`MissingReason`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct NumberCounts {
    /// Records that the producer has been told are there.
    pub acknowledged: u64,
    /// They can be read.
    pub readable: u64,
    /// Withheld: they are to come.
    pub pending: u64,
    /// Withheld, and then cancelled.
    pub cancelled: u64,
    /// Given up, as somebody wanted it.
    pub expired: u64,
    /// The log has them, and they cannot be read. Loss.
    pub corrupt: u64,
    /// The log knows nothing of them. Loss.
    pub unknown: u64,
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GroupAudit {
    /// The group.
    pub group: String,
    /// All records below are finished, or were given up.
    pub position: u64,
    /// Records that are not finished.
    pub unfinished: u64,
    /// Of those, how many members hold now.
    pub in_flight: u64,
    /// Its dead letters of this partition that are kept in their topic; `None` if that cannot be read.
    pub dead_letters: Option<u64>,
    /// Offsets among the unfinished that cannot be read, as far as they are listed.
    pub unreadable: u64,
}

impl NumberCounts {
    /// Numbers of lost records.
    pub fn lost(&self) -> u64 {
        self.corrupt.saturating_add(self.unknown)
    }

    pub(super) fn count(&mut self, reason: MissingReason, numbers: u64) {
        let count = match reason {
            MissingReason::Pending => &mut self.pending,
            MissingReason::Cancelled => &mut self.cancelled,
            MissingReason::Expired => &mut self.expired,
            MissingReason::Corrupt => &mut self.corrupt,
            MissingReason::Unknown => &mut self.unknown,
        };
        *count = count.saturating_add(numbers);
    }

    fn add(&mut self, other: &NumberCounts) {
        self.acknowledged = self.acknowledged.saturating_add(other.acknowledged);
        self.readable = self.readable.saturating_add(other.readable);
        let NumberCounts { pending, cancelled, expired, corrupt, unknown, .. } = *other;
        let counts = [pending, cancelled, expired, corrupt, unknown];
        MissingReason::ALL.into_iter().zip(counts).for_each(|(reason, numbers)| self.count(reason, numbers));
    }
}

impl PartitionAudit {
    /// Whether a record that was acknowledged is lost.
    pub fn has_loss(&self) -> bool {
        self.unreadable > 0 || self.numbers.lost() > 0
    }

    /// Takes a producer in.
    pub(super) fn push(&mut self, producer: ProducerAudit) {
        self.numbers.add(&producer.numbers);
        self.producers.push(producer);
    }

    /// Leaves producers out, if there are too many: first those that have lost nothing.
    pub(super) fn keep(&mut self, producers_max: usize) {
        let excess = self.producers.len().saturating_sub(producers_max);
        if excess == 0 {
            return;
        }
        self.producers_left_out = excess as u64;
        self.producers.sort_by_key(|producer| producer.numbers.lost() == 0);
        self.producers.truncate(producers_max);
        self.producers.sort_by_key(|producer| producer.producer);
    }
}

impl AuditReport {
    /// Whether a record that was acknowledged is lost.
    pub fn has_loss(&self) -> bool {
        self.partitions.iter().any(PartitionAudit::has_loss)
    }

    /// The numbers of all producers in all partitions.
    pub fn numbers(&self) -> NumberCounts {
        let mut all = NumberCounts::default();
        self.partitions.iter().for_each(|partition| all.add(&partition.numbers));
        all
    }

    /// Offsets that cannot be read, in all partitions.
    pub fn unreadable(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.unreadable).sum()
    }
}

impl fmt::Display for AuditReport {
    /// The verdict, then a line for each thing that is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.numbers();
        match (self.has_loss(), numbers.lost().max(self.unreadable())) {
            (false, _) => write!(f, "nothing is lost: ")?,
            (true, 1) => write!(f, "A RECORD IS LOST: ")?,
            (true, lost) => write!(f, "{lost} RECORDS ARE LOST: ")?,
        }
        let NumberCounts { acknowledged, readable, pending, cancelled, expired, corrupt, unknown } = numbers;
        write!(
            f,
            "{acknowledged} acknowledged in {} partitions; {readable} readable, {pending} pending, {cancelled} cancelled, \
             {expired} expired, {corrupt} corrupt, {unknown} unknown",
            self.partitions.len()
        )?;
        self.partitions.iter().try_for_each(|partition| partition.write_problems(f))
    }
}

impl PartitionAudit {
    fn write_problems(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, .. } = self;
        if self.unreadable > 0 {
            write!(f, "\n{topic}-{partition}: {} offsets cannot be read:", self.unreadable)?;
            for Range { start, end } in &self.unreadable_offsets {
                write!(f, " {start} to {}", end - 1)?;
            }
            let reason = self.unreadable_reason.as_deref().unwrap_or_default();
            write!(f, " ({reason})")?;
        }
        for producer in self.producers.iter().filter(|producer| producer.numbers.lost() > 0) {
            match (&producer.name, producer.producer) {
                (Some(name), _) => write!(f, "\n{topic}-{partition}, producer `{name}` lost ")?,
                (None, 0) => write!(f, "\n{topic}-{partition}, producers without a name lost ")?,
                (None, id) => write!(f, "\n{topic}-{partition}, producer {id} lost ")?,
            }
            write!(f, "{} of {}:", producer.numbers.lost(), producer.numbers.acknowledged)?;
            for LostNumbers { first, last, reason } in &producer.lost {
                write!(f, " {first} to {last} ({reason})")?;
            }
            if let Some(lost) = producer.lost.first() {
                write!(f, "; {}", lost.reason.advice())?;
            }
        }
        if self.duplicates > 0 || self.reorders > 0 {
            let Self { duplicates, reorders, .. } = self;
            write!(
                f,
                "\n{topic}-{partition}: {duplicates} records came twice, {reorders} out of their place; run `ringlane verify`, \
                 and report it, unless `ringlane repair` wrote the directory"
            )?;
        }
        for GroupAudit { group, unreadable, .. } in self.groups.iter().filter(|group| group.unreadable > 0) {
            write!(f, "\n{topic}-{partition}, group `{group}`: {unreadable} unfinished records cannot be read")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(producer: u32, lost: u64) -> ProducerAudit {
        let numbers = NumberCounts { acknowledged: 10, readable: 10 - lost, unknown: lost, ..NumberCounts::default() };
        let reason = MissingReason::Unknown;
        let lost = (lost > 0).then(|| LostNumbers { first: 0, last: lost - 1, reason }).into_iter().collect();
        ProducerAudit { producer, numbers, lost, ..ProducerAudit::default() }
    }

    #[test]
    fn those_who_have_lost_something_are_kept_and_all_are_counted() {
        let mut partition = PartitionAudit { topic: "t".to_owned(), ..PartitionAudit::default() };
        for id in 0..9 {
            partition.push(producer(id, u64::from(id == 8)));
        }
        partition.keep(3);
        assert_eq!(partition.producers.iter().map(|kept| kept.producer).collect::<Vec<_>>(), [0, 1, 8]);
        assert_eq!((partition.producers_left_out, partition.numbers.acknowledged), (6, 90));
        let report = AuditReport { partitions: vec![partition] };
        let text = report.to_string();
        assert!(text.starts_with("A RECORD IS LOST: 90 acknowledged in 1 partitions; 89 readable"), "{text}");
        assert!(text.contains("t-0, producer 8 lost 1 of 10: 0 to 0 (unknown); run `ringlane verify`"), "{text}");
    }

    #[test]
    fn what_is_wrong_is_said_line_by_line() {
        let group = GroupAudit { group: "g".to_owned(), unreadable: 2, ..GroupAudit::default() };
        let partition = PartitionAudit {
            topic: "t".to_owned(),
            unreadable: 5,
            unreadable_offsets: vec![Range { start: 3, end: 8 }],
            unreadable_reason: Some("bad sector".to_owned()),
            duplicates: 1,
            groups: vec![group, GroupAudit { group: "h".to_owned(), ..GroupAudit::default() }],
            ..PartitionAudit::default()
        };
        let text = AuditReport { partitions: vec![partition] }.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("5 RECORDS ARE LOST: "), "{text}");
        assert_eq!(lines[1], "t-0: 5 offsets cannot be read: 3 to 7 (bad sector)");
        assert!(lines[2].starts_with("t-0: 1 records came twice, 0 out of their place"), "{text}");
        assert_eq!(lines[3], "t-0, group `g`: 2 unfinished records cannot be read");
        assert_eq!(lines.len(), 4, "nothing is wrong with the other group");
        assert!(AuditReport::default().to_string().starts_with("nothing is lost: 0 acknowledged"));
    }
}
