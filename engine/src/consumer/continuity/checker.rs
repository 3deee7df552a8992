//! The checker: many producers in many partitions.
//!
//! Invariants:
//! - A record that comes as expected costs a comparison with the last one of its partition, and no search.
//! - Memory is bounded by the options. What is forgotten for it is a finding and is counted.
//! - Each finding is counted, whether or not there is room to keep it.

use super::finding::{ContinuityFinding, Discontinuity};
use super::missing::{MissingRange, MissingReason};
use super::options::ContinuityOptions;
use super::ranges::{Range, Unseen};
use super::report::{ContinuityReport, FindingCounts, MissingCounts};
use super::seen::Seen;
use super::stream::{Stream, Verdict};
use crate::error::Result;
use crate::log::origin::Origin;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Names a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicPartition<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: u32,
}

impl<'a> TopicPartition<'a> {
    /// A partition of a topic.
    pub fn new(topic: &'a str, partition: u32) -> Self {
        TopicPartition { topic, partition }
    }
}

/// No partition, or no stream.
const NONE: u32 = u32::MAX;

/// A partition that is looked at.
#[derive(Debug)]
struct Watched {
    topic: Arc<str>,
    partition: u32,
    /// Each producer's first number is 0.
    is_whole: bool,
    /// The streams by producer.
    streams: BTreeMap<u32, u32>,
    /// The stream of the last record. It may have been forgotten meanwhile, and its place be somebody else's: it says
    /// whose it is.
    last_stream: u32,
}

/// Finds what is missing, comes twice, or comes out of its place, by the numbers that the engine gave to the records.
///
/// Feed it with all records of a partition in the order of their offsets, as a consumer reads them: one that filters
/// must feed also what it leaves out. Say where reading begins, at first and after each seek. Then take the findings, for
/// instance after each poll. One thread at a time.
///
/// ```
/// # fn main() -> ringlane::Result<()> {
/// use ringlane::{ContinuityChecker, ContinuityOptions, MissingReason, Origin, TopicPartition};
///
/// let orders = TopicPartition::new("orders", 0);
/// let mut checker = ContinuityChecker::new(ContinuityOptions::new())?;
/// checker.begin(orders, 0, true);
/// for (offset, sequence) in [(0, 0), (1, 1), (2, 4)] {
///     checker.observe(orders, offset, Origin { producer: 7, epoch: 1, sequence }, false);
/// }
/// for finding in checker.take_findings() {
///     println!("{finding}"); // orders-0 @2, producer 7 (epoch 1): numbers 2 to 3 are missing ...
/// }
/// // Whoever knows why says so.
/// for range in checker.missing().collect::<Vec<_>>() {
///     checker.resolve(&range, MissingReason::Cancelled);
/// }
/// assert!(checker.report().is_continuous());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ContinuityChecker {
    options: ContinuityOptions,
    /// By place; the places of partitions that were ended are in `free_partitions`.
    partitions: Vec<Watched>,
    free_partitions: Vec<u32>,
    by_name: BTreeMap<Arc<str>, BTreeMap<u32, u32>>,
    /// The partition of the last record.
    last_partition: u32,
    /// By place; those of no partition are in `free_streams`.
    streams: Vec<Stream>,
    free_streams: Vec<u32>,
    /// Where the last search for a stream to forget, or to take ranges from, ended.
    hand: usize,
    /// Ranges of all streams.
    ranges: usize,
    findings: VecDeque<ContinuityFinding>,
    records: u64,
    records_not_judged: u64,
    findings_dropped: u64,
    counts: FindingCounts,
    /// What is not missing any more, by reason, and what was forgotten.
    explained: MissingCounts,
}

impl ContinuityChecker {
    /// A checker that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` if a bound is 0, or above 2^31.
    pub fn new(options: ContinuityOptions) -> Result<ContinuityChecker> {
        options.check()?;
        Ok(ContinuityChecker {
            options,
            partitions: Vec::new(),
            free_partitions: Vec::new(),
            by_name: BTreeMap::new(),
            last_partition: NONE,
            streams: Vec::new(),
            free_streams: Vec::new(),
            hand: 0,
            ranges: 0,
            findings: VecDeque::new(),
            records: 0,
            records_not_judged: 0,
            findings_dropped: 0,
            counts: FindingCounts::default(),
            explained: MissingCounts::default(),
        })
    }

    /// Reading begins at an offset: at first, after a seek, and where a topic was deleted and created again. What was
    /// known of the partition is forgotten; what is missing and unexplained at that time counts as forgotten.
    ///
    /// `is_whole` says that nothing before this offset was ever given up. With offset 0 it means that each producer's
    /// numbers begin at 0. In all other cases a producer's first record that was not delayed shows where its
    /// numbers begin, and nothing before it is missed.
    pub fn begin(&mut self, partition: TopicPartition<'_>, offset: u64, is_whole: bool) {
        self.end(partition);
        let watched = Watched {
            topic: Arc::from(partition.topic),
            partition: partition.partition,
            is_whole: is_whole && offset == 0,
            streams: BTreeMap::new(),
            last_stream: NONE,
        };
        let topic = watched.topic.clone();
        let place = match self.free_partitions.pop() {
            Some(place) => {
                self.partitions[place as usize] = watched;
                place
            }
            None => {
                self.partitions.push(watched);
                self.partitions.len() as u32 - 1
            }
        };
        self.by_name.entry(topic).or_default().insert(partition.partition, place);
        self.last_partition = place;
    }

    /// The partition is no longer read. What is missing and unexplained at that time counts as forgotten.
    pub fn end(&mut self, partition: TopicPartition<'_>) {
        let Some(of_topic) = self.by_name.get_mut(partition.topic) else { return };
        let Some(place) = of_topic.remove(&partition.partition) else { return };
        if of_topic.is_empty() {
            self.by_name.remove(partition.topic);
        }
        self.last_partition = NONE;
        self.free_partitions.push(place);
        for (_, stream) in std::mem::take(&mut self.partitions[place as usize].streams) {
            self.free_stream(stream);
        }
    }

    /// A record was read. `is_late`: it was delayed, or withheld for another reason, and published by reference. A
    /// partition that was not begun is begun here, in the middle.
    #[inline]
    pub fn observe(&mut self, partition: TopicPartition<'_>, offset: u64, origin: Origin, is_late: bool) {
        self.observe_run(partition, offset, 1, origin, is_late);
    }

    /// Several records were read that follow each other in offsets and numbers, such as those of one frame. The same as
    /// one after the other, for the price of one.
    #[inline]
    pub fn observe_run(
        &mut self,
        partition: TopicPartition<'_>,
        base_offset: u64,
        count: u32,
        first: Origin,
        is_late: bool,
    ) {
        let is_last =
            |watched: &Watched| watched.partition == partition.partition && *watched.topic == *partition.topic;
        let place = match self.partitions.get(self.last_partition as usize).is_some_and(is_last) {
            true => self.last_partition,
            false => self.place_of(partition, base_offset),
        };
        self.observe_run_at(place, base_offset, count, first, is_late);
    }

    /// The place of a partition, for [`ContinuityChecker::observe_run_at`]. One that was not begun is begun here, in the
    /// middle. Good until the partition is begun anew, or ended.
    pub(crate) fn place_of(&mut self, partition: TopicPartition<'_>, offset: u64) -> u32 {
        self.find(partition).unwrap_or_else(|| {
            self.begin(partition, offset, false);
            self.last_partition
        })
    }

    /// The same as [`ContinuityChecker::observe_run`], for who knows the place of the partition.
    #[inline]
    pub(crate) fn observe_run_at(&mut self, place: u32, base_offset: u64, count: u32, first: Origin, is_late: bool) {
        self.last_partition = place;
        if let Some(watched) = self.partitions.get(place as usize)
            && let Some(stream) = self.streams.get_mut(watched.last_stream as usize)
            && (stream.partition, stream.producer) == (place, first.producer)
            && stream.goes_on_with(first)
        {
            stream.next = stream.next.saturating_add(u64::from(count));
            stream.is_recent = true;
            self.records += u64::from(count);
            return;
        }
        self.observe_searching(place, base_offset, count, first, is_late);
    }

    /// What was seen of all producers in the partition at a place.
    pub(crate) fn seen_at(&self, place: u32) -> impl Iterator<Item = Seen> {
        self.streams.iter().filter(move |stream| stream.partition == place).map(Seen::of)
    }

    pub(crate) fn bounds(&self) -> &ContinuityOptions {
        &self.options
    }

    /// Whether findings wait to be taken.
    #[inline]
    pub fn has_findings(&self) -> bool {
        !self.findings.is_empty()
    }

    /// Takes what was found since the last time, oldest first.
    pub fn take_findings(&mut self) -> Vec<ContinuityFinding> {
        std::mem::take(&mut self.findings).into()
    }

    /// What is missing now, what is pending included.
    pub fn missing(&self) -> impl Iterator<Item = MissingRange> {
        self.streams.iter().filter(|stream| stream.partition != NONE).flat_map(|stream| {
            let watched = &self.partitions[stream.partition as usize];
            stream.missing().map(move |range| MissingRange {
                topic: watched.topic.clone(),
                partition: watched.partition,
                producer: stream.producer,
                first: range.first,
                last: range.last,
                seen_at_offset: range.seen_at_offset,
                is_pending: range.kind == Unseen::Pending,
            })
        })
    }

    /// Says why numbers are missing. They are missing no more, except those that are [`MissingReason::Pending`]: these
    /// stay until their record comes, or another reason is given. Returns for how many numbers of the range it
    /// was news: those that came meanwhile, or were explained before, are passed over.
    pub fn resolve(&mut self, range: &MissingRange, reason: MissingReason) -> u64 {
        let name = TopicPartition::new(&range.topic, range.partition);
        let Some(watched) = self.find(name).map(|place| &self.partitions[place as usize]) else { return 0 };
        let Some(&place) = watched.streams.get(&range.producer) else { return 0 };
        let stream = &mut self.streams[place as usize];
        let ranges_before = stream.unseen.len();
        let overlapping: Vec<Range> = stream
            .missing()
            .filter(|open| open.first <= range.last && range.first <= open.last)
            .filter(|open| reason != MissingReason::Pending || open.kind != Unseen::Pending)
            .copied()
            .collect();
        let mut numbers = 0_u64;
        for open in overlapping {
            let Some(taken) = stream.unseen.take(open.first.max(range.first), open.last.min(range.last)) else {
                continue;
            };
            numbers = numbers.saturating_add(taken.numbers());
            if reason == MissingReason::Pending {
                stream.unseen.insert(Range { kind: Unseen::Pending, ..taken });
            }
        }
        self.ranges = self.ranges - ranges_before + stream.unseen.len();
        let count = match reason {
            MissingReason::Pending => None,
            MissingReason::Cancelled => Some(&mut self.explained.cancelled),
            MissingReason::Expired => Some(&mut self.explained.expired),
            MissingReason::Corrupt => Some(&mut self.explained.corrupt),
            MissingReason::Unknown => Some(&mut self.explained.unknown),
        };
        if let Some(count) = count {
            *count = count.saturating_add(numbers);
        }
        self.keep_ranges_bound(place, range.seen_at_offset);
        numbers
    }

    /// The state in figures. Looks at all that is missing.
    pub fn report(&self) -> ContinuityReport {
        let (mut missing, mut gaps_open) = (self.explained.clone(), 0);
        for range in self.streams.iter().flat_map(Stream::missing) {
            gaps_open += 1;
            let count = match range.kind {
                Unseen::Pending => &mut missing.pending,
                _ => &mut missing.unexplained,
            };
            *count = count.saturating_add(range.numbers());
        }
        ContinuityReport {
            records: self.records,
            partitions: self.partitions.len() - self.free_partitions.len(),
            producers: self.streams.len() - self.free_streams.len(),
            gaps_open,
            missing,
            findings: self.counts.clone(),
            records_not_judged: self.records_not_judged,
            findings_dropped: self.findings_dropped,
        }
    }

    // ----- records that are not as expected, or not by whom -----

    /// Looks for the producer, and judges.
    #[inline(never)]
    fn observe_searching(&mut self, place: u32, base_offset: u64, count: u32, first: Origin, is_late: bool) {
        let stream = match self.partitions[place as usize].streams.get(&first.producer) {
            Some(&stream) => {
                self.streams[stream as usize].is_recent = true;
                stream
            }
            None => self.new_stream(place, base_offset, first),
        };
        self.partitions[place as usize].last_stream = stream;
        self.records += u64::from(count);
        self.judge(stream, base_offset, count, first, is_late);
    }

    fn judge(&mut self, place: u32, base_offset: u64, count: u32, first: Origin, is_late: bool) {
        let (mut origin, mut offset, mut left) = (first, base_offset, u64::from(count));
        while left > 0 {
            let stream = &mut self.streams[place as usize];
            let ranges_before = stream.unseen.len();
            let (numbers, verdict) = stream.judge(origin, left, offset, is_late);
            self.ranges = self.ranges - ranges_before + stream.unseen.len();
            self.count(place, origin, offset, numbers, verdict);
            self.keep_ranges_bound(place, offset);
            origin.sequence = origin.sequence.saturating_add(numbers);
            offset = offset.saturating_add(numbers);
            left -= numbers;
        }
    }

    /// Makes findings of a verdict about so many numbers.
    fn count(&mut self, place: u32, origin: Origin, offset: u64, numbers: u64, verdict: Verdict) {
        let (first, last) = (origin.sequence, origin.sequence.saturating_add(numbers - 1));
        let what = match verdict {
            Verdict::New { missing, epoch_before } => {
                if let Some((first_missing, last_missing)) = missing {
                    self.counts.gaps += 1;
                    self.push(place, origin.epoch, offset, Discontinuity::Gap { first_missing, last_missing });
                }
                let (Some(from), to, sequence) = (epoch_before, origin.epoch, first) else { return };
                if from < to {
                    self.counts.epoch_changes += 1;
                    Discontinuity::EpochChange { from, to, sequence }
                } else {
                    self.counts.epochs_back += 1;
                    Discontinuity::EpochBack { from, to, sequence }
                }
            }
            Verdict::Duplicate => {
                self.counts.duplicates += numbers;
                Discontinuity::Duplicate { first, last }
            }
            Verdict::Reorder => {
                self.counts.reorders += numbers;
                Discontinuity::Reorder { first, last }
            }
            Verdict::Closes { gap_seen_at_offset } => {
                self.counts.gaps_closed += numbers;
                Discontinuity::GapClosed { first, last, gap_seen_at_offset }
            }
            Verdict::Expected => return,
            Verdict::NotJudged => {
                self.records_not_judged += numbers;
                return;
            }
        };
        self.push(place, origin.epoch, offset, what);
    }

    fn push(&mut self, place: u32, epoch: u32, offset: u64, what: Discontinuity) {
        let Stream { partition, producer, .. } = self.streams[place as usize];
        let Watched { topic, partition, .. } = &self.partitions[partition as usize];
        let finding = ContinuityFinding { topic: topic.clone(), partition: *partition, producer, epoch, offset, what };
        if self.findings.back_mut().is_some_and(|last| last.extend(&finding)) {
            return;
        }
        if self.findings.len() < self.options.findings_max {
            self.findings.push_back(finding);
        } else {
            self.findings_dropped += 1;
        }
    }

    fn find(&self, partition: TopicPartition<'_>) -> Option<u32> {
        self.by_name.get(partition.topic)?.get(&partition.partition).copied()
    }

    // ----- bounds -----

    /// A stream for a producer that was not seen in the partition, or was forgotten.
    fn new_stream(&mut self, partition: u32, offset: u64, origin: Origin) -> u32 {
        if self.streams.len() - self.free_streams.len() >= self.options.producers_max {
            self.forget_producer(offset);
        }
        let watched = &mut self.partitions[partition as usize];
        let stream = Stream::new(partition, origin, watched.is_whole);
        let place = match self.free_streams.pop() {
            Some(place) => {
                self.streams[place as usize] = stream;
                place
            }
            None => {
                self.streams.push(stream);
                self.streams.len() as u32 - 1
            }
        };
        watched.streams.insert(origin.producer, place);
        place
    }

    /// Forgets a producer that was not used for a while: a second chance for each that was. One that was used only once
    /// has none, so many of those do not drive out who goes on.
    fn forget_producer(&mut self, offset: u64) {
        let place = loop {
            self.hand = (self.hand + 1) % self.streams.len();
            let stream = &mut self.streams[self.hand];
            if stream.partition != NONE && !std::mem::take(&mut stream.is_recent) {
                break self.hand as u32;
            }
        };
        let stream = &self.streams[place as usize];
        let (partition, producer, epoch) = (stream.partition as usize, stream.producer, stream.epoch);
        let what = Discontinuity::ProducerForgotten { next: stream.next, missing: stream.numbers_missing() };
        self.counts.producers_forgotten += 1;
        self.push(place, epoch, offset, what);
        let watched = &mut self.partitions[partition];
        watched.streams.remove(&producer);
        // A producer that is new from now on may be this one.
        watched.is_whole = false;
        self.free_stream(place);
    }

    /// Gives the place of a stream free; what is unexplained of it is forgotten.
    fn free_stream(&mut self, place: u32) {
        let stream = &mut self.streams[place as usize];
        self.explained.forgotten = self.explained.forgotten.saturating_add(stream.numbers_unexplained());
        self.ranges -= stream.unseen.len();
        stream.unseen = Default::default();
        stream.partition = NONE;
        self.free_streams.push(place);
    }

    /// Forgets ranges if there are too many: of this stream if it has more than its share, of another one that has if
    /// not.
    fn keep_ranges_bound(&mut self, place: u32, offset: u64) {
        while self.ranges > self.options.missing_ranges_max {
            // As the sum is above the bound, at least one stream is above its share.
            let share = self.options.missing_ranges_max / (self.streams.len() - self.free_streams.len());
            let mut from = place as usize;
            while self.streams[from].unseen.len() <= share {
                self.hand = (self.hand + 1) % self.streams.len();
                from = self.hand;
            }
            let stream = &mut self.streams[from];
            let (Some(range), epoch) = (stream.forget_lowest(), stream.epoch) else { return };
            self.ranges -= 1;
            if range.kind == Unseen::Missing {
                self.explained.forgotten = self.explained.forgotten.saturating_add(range.numbers());
            }
            if range.kind.is_missing() {
                self.counts.ranges_forgotten += 1;
                let (first_missing, last_missing) = (range.first, range.last);
                self.push(from as u32, epoch, offset, Discontinuity::RangeForgotten { first_missing, last_missing });
            }
        }
    }
}
