//! The consumer by assignment.
//!
//! Invariants:
//! - It shows durable records only, each partition in the order of its offsets, none left out: records
//!   that are gone are `Truncated`, records that are damaged are `Damaged`, never silence.
//! - It reads on the thread that polls.

use super::continuity::explain::explain;
use super::continuity::{
    ContinuityChecker, ContinuityFinding, ContinuityOptions, ContinuityReport, MissingRange, MissingReason,
    TopicPartition,
};
use super::filter::{self, Filter};
use super::records::{FrameRun, Records};
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::interceptor::{ConsumerInterceptor, Interceptors};
use crate::partition::read_ahead::ReadAhead;
use crate::partition::reader::{Chunk, Next, PartitionReader};
use crate::partition::sealed;
use crate::partition::shared::{Partition, TopicShared};
use crate::sync::{Signal, now};
use crate::topic::Topic;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Options of [`Engine::consumer`](crate::Engine::consumer).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerOptions {
    /// Most records of one poll. Default 10,000.
    pub max_poll_records: usize,
    /// A poll takes no further stretch of the log when it has so many bytes. Default 4 MiB.
    pub max_poll_bytes: usize,
    /// Most memory for what is read ahead of the consumer where it reads from files, all its partitions
    /// together (a single larger run of records is read all the same). Up to as much again is kept to be
    /// used again. Default 4 MiB; at least 64 KiB.
    pub read_ahead_bytes_max: usize,
    /// The bounds of the check of what is read: whether a record is missing, there twice, or out of its place, by the
    /// numbers of its producer. See [`Consumer::take_findings`]. `None`: nothing is checked. Default: checked.
    pub continuity: Option<ContinuityOptions>,
    /// Which records are wanted; others are passed over. All of them are checked for continuity. Default: all.
    pub filter: Option<Filter>,
    pub(crate) interceptors: Interceptors<dyn ConsumerInterceptor>,
}

/// Smallest `read_ahead_bytes_max`.
const READ_AHEAD_BYTES_FLOOR: usize = 64 << 10;

impl Default for ConsumerOptions {
    fn default() -> Self {
        ConsumerOptions {
            max_poll_records: 10_000,
            max_poll_bytes: 4 << 20,
            read_ahead_bytes_max: 4 << 20,
            continuity: Some(ContinuityOptions::new()),
            filter: None,
            interceptors: Interceptors::default(),
        }
    }
}

impl ConsumerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most records of one poll.
    #[must_use]
    pub fn max_poll_records(mut self, count: usize) -> Self {
        self.max_poll_records = count;
        self
    }

    /// Sets the bytes after which a poll ends.
    #[must_use]
    pub fn max_poll_bytes(mut self, bytes: usize) -> Self {
        self.max_poll_bytes = bytes;
        self
    }

    /// Sets the memory for what is read ahead.
    #[must_use]
    pub fn read_ahead_bytes_max(mut self, bytes: usize) -> Self {
        self.read_ahead_bytes_max = bytes;
        self
    }

    /// Sets the bounds of the check of what is read, or leaves it out.
    #[must_use]
    pub fn continuity(mut self, continuity: Option<ContinuityOptions>) -> Self {
        self.continuity = continuity;
        self
    }

    /// Sets which records are wanted.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Adds an interceptor behind those that are there. Where it fails, so does the call.
    #[must_use]
    pub fn interceptor(mut self, interceptor: Arc<dyn ConsumerInterceptor>) -> Self {
        self.interceptors.add(interceptor.name().into(), interceptor, false);
        self
    }

    /// Adds an interceptor behind those that are there. Where it fails, that is counted
    /// ([`Stats::interceptor_failures`](crate::Stats)), and passed over.
    #[must_use]
    pub fn interceptor_best_effort(mut self, interceptor: Arc<dyn ConsumerInterceptor>) -> Self {
        self.interceptors.add(interceptor.name().into(), interceptor, true);
        self
    }
}

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first record that is kept.
    Beginning,
    /// Behind the last record that is visible now.
    End,
    /// This offset; it may lie one behind the last record, and further on it is waited for.
    Offset(u64),
    /// The first record whose timestamp is at or after this time (ms since 1970-01-01 UTC); the end if
    /// there is none.
    Timestamp(i64),
}

impl std::str::FromStr for Start {
    type Err = &'static str;

    /// `beginning`, `end`, `offset:N`, `timestamp:MS`.
    fn from_str(text: &str) -> std::result::Result<Start, &'static str> {
        let start = match text.split_once(':') {
            None if text == "beginning" => Some(Start::Beginning),
            None if text == "end" => Some(Start::End),
            Some(("offset", number)) => number.parse().ok().map(Start::Offset),
            Some(("timestamp", number)) => number.parse().ok().map(Start::Timestamp),
            _ => None,
        };
        start.ok_or("expected beginning, end, offset:N or timestamp:MS")
    }
}

struct Assignment {
    reader: PartitionReader,
    topic: Arc<TopicShared>,
    /// Its place with the checker, if there is one.
    checked_as: u32,
}

impl AsMut<PartitionReader> for Assignment {
    fn as_mut(&mut self) -> &mut PartitionReader {
        &mut self.reader
    }
}

/// Reads partitions. One thread at a time; it may move from thread to thread.
pub struct Consumer {
    engine: Arc<EngineInner>,
    options: ConsumerOptions,
    assignments: Vec<Assignment>,
    /// Which partition is first in the next poll: each gets its turn.
    turn: usize,
    ahead: ReadAhead,
    signal: Arc<Signal>,
    checker: Option<ContinuityChecker>,
    /// Bytes of what the last look passed over, because nothing of it was wanted.
    skipped_bytes: usize,
    /// What was read, wanted or not, and not yet shown to the interceptors.
    taken: Vec<(Arc<Partition>, Chunk)>,
    /// From outside: the manifest whose segments were looked up, or an earlier one.
    sequence: u64,
}

impl Consumer {
    pub(crate) fn new(engine: Arc<EngineInner>, options: ConsumerOptions) -> Result<Consumer> {
        if options.max_poll_records == 0 || options.max_poll_bytes == 0 {
            return Err(Error::InvalidArgument {
                name: "max_poll_records and max_poll_bytes",
                value: "0".to_owned(),
                reason: "at least 1".to_owned(),
            });
        }
        if options.read_ahead_bytes_max < READ_AHEAD_BYTES_FLOOR {
            return Err(Error::InvalidArgument {
                name: "read_ahead_bytes_max",
                value: options.read_ahead_bytes_max.to_string(),
                reason: format!("at least {READ_AHEAD_BYTES_FLOOR}"),
            });
        }
        options.filter.as_ref().map_or(Ok(()), Filter::check)?;
        let ahead = ReadAhead::new(options.read_ahead_bytes_max);
        let signal = Arc::new(Signal::default());
        let checker = options.continuity.clone().map(ContinuityChecker::new).transpose()?;
        let sequence = engine.sequence_seen();
        let (assignments, turn, skipped_bytes, taken) = (Vec::new(), 0, 0, Vec::new());
        Ok(Consumer { engine, options, assignments, turn, ahead, signal, checker, skipped_bytes, taken, sequence })
    }

    /// Begins to read a partition; if it is assigned already, goes on at `start`.
    ///
    /// # Errors
    /// `InvalidPartition`, `TopicDeleted`, `Truncated` (an offset that is no longer kept), `Damaged`, `Io`.
    pub fn assign(&mut self, topic: &Topic, partition: u32, start: Start) -> Result<()> {
        self.engine.check_fork()?;
        self.engine.check_topic(&topic.shared)?;
        let shared = topic.partition(partition)?.clone();
        // A topic that is deleted meanwhile may not be readable any more.
        let offset = loop {
            let first_offset = shared.index().first_offset;
            let resolved = resolve(&shared, start);
            match topic.shared.check().and(resolved) {
                Err(error) if may_have_moved(&error) && self.engine.has_moved_on(&mut self.sequence)? => {}
                Err(error) if may_have_moved(&error) && self.engine.is_gone(&topic.shared) => {
                    return Err(topic.shared.gone());
                }
                Err(error) if may_have_moved(&error) && self.engine.has_given_up(&shared, first_offset) => {}
                Err(error) => return Err(error),
                Ok(offset) => break offset,
            }
        };
        let checked_as = self.begin_check(&shared, offset);
        match self.find(topic, partition) {
            Some(at) => {
                self.assignments[at].reader.seek(offset, &mut self.ahead);
                self.assignments[at].checked_as = checked_as;
            }
            None => {
                shared.watch(&self.signal);
                let reader = PartitionReader::new(shared, offset);
                self.assignments.push(Assignment { reader, topic: topic.shared.clone(), checked_as });
            }
        }
        Ok(())
    }

    /// Assigns every partition of a topic.
    ///
    /// # Errors
    /// As [`Consumer::assign`].
    pub fn assign_all(&mut self, topic: &Topic, start: Start) -> Result<()> {
        (0..topic.partitions()).try_for_each(|partition| self.assign(topic, partition, start))
    }

    /// Stops reading a partition.
    pub fn unassign(&mut self, topic: &Topic, partition: u32) {
        if let Some(at) = self.find(topic, partition) {
            let mut gone = self.assignments.swap_remove(at);
            gone.reader.seek(0, &mut self.ahead);
            gone.reader.partition.unwatch(&self.signal);
            if let Some(checker) = &mut self.checker {
                checker.end(TopicPartition::new(&gone.reader.partition.topic, partition));
            }
        }
    }

    /// What is checked begins at an offset.
    fn begin_check(&mut self, partition: &Partition, offset: u64) -> u32 {
        let Some(checker) = &mut self.checker else { return 0 };
        let name = TopicPartition::new(&partition.topic, partition.partition);
        // Nothing is given up behind an offset of 0 before it was looked at.
        checker.begin(name, offset, offset == 0);
        checker.place_of(name, offset)
    }

    /// Takes what was found since the last time in the numbers of the records that polls gave: gaps, records that came
    /// twice or out of their place, changes of epochs. At most `findings_max` wait; they are counted all the same.
    pub fn take_findings(&mut self) -> Vec<ContinuityFinding> {
        self.checker.as_mut().map(ContinuityChecker::take_findings).unwrap_or_default()
    }

    /// What was checked so far, in figures; `None` if nothing is.
    pub fn continuity(&self) -> Option<ContinuityReport> {
        self.checker.as_ref().map(ContinuityChecker::report)
    }

    /// Asks the log about all numbers that are missing, and gives those that it was news of, with the reason. What is
    /// pending stays open, and is asked about anew each time; all else is missing no more. Reads the partitions where gaps
    /// are, in part or whole.
    ///
    /// # Errors
    /// What stops the engine; `TopicDeleted`.
    pub fn explain_missing(&mut self) -> Result<Vec<(MissingRange, MissingReason)>> {
        self.engine.check_fork()?;
        let Some(checker) = &mut self.checker else { return Ok(Vec::new()) };
        let mut explained = Vec::new();
        for range in checker.missing().collect::<Vec<_>>() {
            let is_its = |assignment: &&Assignment| {
                let partition = &assignment.reader.partition;
                partition.partition == range.partition && partition.topic == range.topic
            };
            let Some(assignment) = self.assignments.iter().find(is_its) else { continue };
            assignment.topic.check()?;
            let (partition, offset) = (&assignment.reader.partition, assignment.reader.offset);
            let mut next = range.first;
            while next <= range.last {
                let numbers = (next, range.last);
                let mut reasons = explain(&self.engine, partition, range.producer, numbers, offset)?;
                if reasons.iter().any(|(_, reason)| reason.is_loss()) && self.engine.is_followed() {
                    // The look at the manifest may bring the news that explains it. A deletion that stands in the log
                    // takes what is withheld along.
                    self.engine.refresh()?;
                    if self.engine.is_gone(&assignment.topic) {
                        return Err(assignment.topic.gone());
                    }
                    self.engine.has_given_up(partition, offset);
                    reasons = explain(&self.engine, partition, range.producer, numbers, offset)?;
                }
                let Some(((_, last), _)) = reasons.last() else { break };
                next = last.saturating_add(1);
                for ((first, last), reason) in reasons {
                    let Some(part) = range.part(first, last) else { continue };
                    if checker.resolve(&part, reason) > 0 {
                        explained.push((part, reason));
                    }
                }
            }
        }
        Ok(explained)
    }

    /// Goes to another place in a partition that is assigned.
    ///
    /// # Errors
    /// As [`Consumer::assign`]; `InvalidArgument` if the partition is not assigned.
    pub fn seek(&mut self, topic: &Topic, partition: u32, start: Start) -> Result<()> {
        if self.find(topic, partition).is_none() {
            return Err(Error::InvalidArgument {
                name: "partition",
                value: partition.to_string(),
                reason: "not assigned to this consumer; assign it first".to_owned(),
            });
        }
        self.assign(topic, partition, start)
    }

    /// The offset of the next record of a partition that a poll will give; `None` if it is not assigned.
    pub fn position(&self, topic: &Topic, partition: u32) -> Option<u64> {
        self.find(topic, partition).map(|at| self.assignments[at].reader.offset)
    }

    /// The next records; waits up to `timeout` for the first one. Empty after the timeout: with a filter it may have
    /// passed over records then, and not be at the end ([`Consumer::position`] says where it is).
    ///
    /// # Errors
    /// `Truncated` where records are no longer kept: seek, and go on. `Damaged` where acknowledged data
    /// cannot be read. `TopicDeleted` until its partitions are unassigned. `Interceptor`: nothing was given, and the
    /// position is as before. `Closed` when the engine is closed and everything was read.
    pub fn poll(&mut self, timeout: Duration) -> Result<Records> {
        self.engine.check_fork()?;
        let mut deadline = None;
        loop {
            let seen = self.signal.look();
            let records = self.next_records()?;
            if !records.is_empty() {
                return Ok(records);
            }
            let has_skipped = self.skipped_bytes > 0;
            if !has_skipped && self.is_to_look_again(seen)? {
                continue;
            }
            if timeout.is_zero() {
                return Ok(records);
            }
            let now = now();
            let deadline = *deadline.get_or_insert_with(|| now.checked_add(timeout));
            let left = deadline.map_or(Duration::from_secs(3600), |deadline| deadline.saturating_duration_since(now));
            if left.is_zero() {
                return Ok(records);
            }
            if !has_skipped {
                self.signal.wait(seen, left.min(self.engine.sleep_max()));
            }
        }
    }

    /// The next records, as a future that needs no particular runtime: ready when there is at least one. Dropping it
    /// loses nothing: what it did not give stands where it was. It has no timeout; runtimes have theirs.
    ///
    /// It waits for news without a thread; what must be read from files is read by the thread that polls it.
    ///
    /// # Errors
    /// As [`Consumer::poll`]. `ReadOnly`: from outside nobody is told of news; poll with a timeout. `InvalidArgument`:
    /// nothing is assigned.
    pub fn poll_async(&mut self) -> NextRecords<'_> {
        NextRecords { consumer: self }
    }

    /// Nothing was found: whether there is news since the signal was looked at.
    fn is_to_look_again(&self, seen: u32) -> Result<bool> {
        if self.engine.is_closed() {
            return Err(Error::Closed { what: "the engine" });
        }
        // From outside nobody is told of what comes: whoever waits looks for it.
        self.engine.refresh_if_due()?;
        Ok(self.signal.look() != seen)
    }

    /// What is there now, shown to the interceptors. Where one fails, the next poll reads it again.
    fn next_records(&mut self) -> Result<Records> {
        let polled = self.poll_whatever_moves();
        match self.options.interceptors.is_empty() {
            true => polled,
            false => self.intercept(polled),
        }
    }

    #[cold]
    fn intercept(&mut self, polled: Result<Records>) -> Result<Records> {
        let shown = match &polled {
            Ok(records) if !records.is_empty() => {
                self.options.interceptors.on_poll(records, &self.engine.interceptor_failures)
            }
            _ => Ok(()),
        };
        for (partition, chunk) in std::mem::take(&mut self.taken) {
            let is_its = |assignment: &&mut Assignment| Arc::ptr_eq(&assignment.reader.partition, &partition);
            let Some(assignment) = self.assignments.iter_mut().find(is_its) else { continue };
            match (&shown, &mut self.checker) {
                (Ok(()), Some(checker)) => check(checker, assignment.checked_as, &chunk),
                (Ok(()), None) => {}
                (Err(_), _) => {
                    let first = assignment.reader.offset.min(chunk.first_offset());
                    assignment.reader.seek(first, &mut self.ahead);
                }
            }
        }
        shown.and(polled)
    }

    /// From outside: a file that is used for something else by now looks damaged to who still reads it as what it
    /// was.
    fn poll_whatever_moves(&mut self) -> Result<Records> {
        let mut is_explained = false;
        loop {
            match self.poll_now() {
                Err(error) if may_have_moved(&error) => {
                    // The look at the manifest may bring the news that explains the error.
                    if !self.engine.has_moved_on(&mut self.sequence)? {
                        if let Some(gone) = self.assignments.iter().find(|gone| self.engine.is_gone(&gone.topic)) {
                            return Err(gone.topic.gone());
                        }
                        let has_given_up = |Assignment { reader, .. }: &Assignment| {
                            self.engine.has_given_up(&reader.partition, reader.offset)
                        };
                        // Once: what explains it for one partition explains nothing for another one.
                        let explained = self.assignments.iter().filter(|given| has_given_up(given)).count() > 0;
                        if !explained || std::mem::replace(&mut is_explained, true) {
                            return Err(error);
                        }
                    }
                    for Assignment { reader, .. } in &mut self.assignments {
                        reader.seek(reader.offset, &mut self.ahead);
                    }
                }
                polled => return polled,
            }
        }
    }

    fn poll_now(&mut self) -> Result<Records> {
        self.ahead.collect(false);
        self.skipped_bytes = 0;
        loop {
            let mut records = Records::default();
            let waiting = self.take(&mut records)?;
            if waiting.is_some() || !self.ahead.is_idle() {
                self.ahead.plan(&mut self.assignments);
            }
            match waiting {
                Some(at) if records.is_empty() && self.skipped_bytes < self.options.max_poll_bytes => {
                    match self.ahead.is_idle() {
                        true => self.assignments[at].reader.read_alone(&mut self.ahead)?,
                        false => self.ahead.collect(true),
                    }
                }
                _ => return Ok(records),
            }
        }
    }

    /// Takes what is in memory. Names a partition that waits for a read, if one does.
    fn take(&mut self, records: &mut Records) -> Result<Option<usize>> {
        let (mut waiting, mut bytes) = (None, self.skipped_bytes);
        let count = self.assignments.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let assignment = &mut self.assignments[at];
            loop {
                let room = self.options.max_poll_records.saturating_sub(records.len());
                if room == 0 || bytes >= self.options.max_poll_bytes {
                    self.turn = (at + 1) % count;
                    return Ok(waiting);
                }
                let room = u32::try_from(room).unwrap_or(u32::MAX);
                // A filter stops by itself when it has found as many.
                let count_max = if self.options.filter.is_some() { u32::MAX } else { room };
                // Deleted in the midst of a read: that read may have met what the segment is used for now.
                let next = assignment.reader.next(count_max, &mut self.ahead);
                match assignment.topic.check().and(next) {
                    Ok(Next::Chunk(mut chunk)) => {
                        let partition = &assignment.reader.partition;
                        let filter = self.options.filter.as_ref();
                        let wanted = filter.map(|filter| filter::wanted(filter, partition, &mut chunk, room));
                        bytes += chunk.bytes().len();
                        if !self.options.interceptors.is_empty() {
                            // What one of them refuses was not seen.
                            self.taken.push((partition.clone(), chunk.clone()));
                        } else if let Some(checker) = &mut self.checker {
                            check(checker, assignment.checked_as, &chunk);
                        }
                        let Some(wanted) = wanted else {
                            records.push(partition.clone(), chunk);
                            continue;
                        };
                        if wanted.is_empty() {
                            self.skipped_bytes += chunk.bytes().len();
                        }
                        assignment.reader.offset = chunk.first_offset() + u64::from(chunk.count);
                        wanted.into_iter().for_each(|part| records.push(assignment.reader.partition.clone(), part));
                    }
                    Ok(Next::Elsewhere) => {
                        waiting.get_or_insert(at);
                        break;
                    }
                    Ok(Next::End) => break,
                    // What was read before is given first; the error comes with the next poll.
                    Err(error) if records.is_empty() => return Err(error),
                    Err(_) => return Ok(waiting),
                }
            }
        }
        Ok(waiting)
    }

    fn find(&self, topic: &Topic, partition: u32) -> Option<usize> {
        self.assignments
            .iter()
            .position(|assigned| assigned.topic.id == topic.id() && assigned.reader.partition.partition == partition)
    }
}

/// What [`Consumer::poll_async`] waits for.
#[must_use = "a future does nothing unless it is awaited"]
#[derive(Debug)]
pub struct NextRecords<'a> {
    consumer: &'a mut Consumer,
}

/// Of the task that waits for a consumer's signal: there is one consumer for each.
const TASK: u32 = 0;

impl Future for NextRecords<'_> {
    type Output = Result<Records>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let consumer = &mut *self.get_mut().consumer;
        consumer.engine.check_fork()?;
        if consumer.engine.is_followed() {
            let (path, how) = (consumer.engine.path.clone(), "read-only");
            return Poll::Ready(Err(Error::ReadOnly {
                path,
                how,
                advice: "nobody tells of news; poll with a timeout",
            }));
        }
        if consumer.assignments.is_empty() {
            let reason = "nothing is assigned, and nothing will come; assign it first".to_owned();
            return Poll::Ready(Err(Error::InvalidArgument { name: "partition", value: "none".to_owned(), reason }));
        }
        loop {
            let seen = consumer.signal.look();
            let records = consumer.next_records()?;
            if !records.is_empty() {
                return Poll::Ready(Ok(records));
            }
            if consumer.skipped_bytes > 0 {
                // Others have their turn.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !consumer.is_to_look_again(seen)? && consumer.signal.wake_task(seen, TASK, context.waker()) {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for NextRecords<'_> {
    fn drop(&mut self) {
        self.consumer.signal.forget_task(TASK);
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        for assignment in &self.assignments {
            assignment.reader.partition.unwatch(&self.signal);
        }
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consumer({} partitions)", self.assignments.len())
    }
}

/// Shows the checker what was read.
fn check(checker: &mut ContinuityChecker, checked_as: u32, chunk: &Chunk) {
    chunk.each_frame(|FrameRun { base_offset, count, origin, is_late }| {
        checker.observe_run_at(checked_as, base_offset, count, origin, is_late);
    });
}

/// Whether an error may mean that the records are elsewhere by now.
fn may_have_moved(error: &Error) -> bool {
    matches!(error, Error::Damaged { .. } | Error::Io(_))
}

/// The offset that a start means now.
pub(super) fn resolve(partition: &Arc<Partition>, start: Start) -> Result<u64> {
    let (first_offset, next_offset) = {
        let index = partition.index();
        (index.first_offset, index.next_offset)
    };
    match start {
        Start::Beginning => Ok(first_offset),
        Start::End => Ok(next_offset),
        Start::Offset(offset) if offset < first_offset => Err(Error::Truncated {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            from: offset,
            to: first_offset,
        }),
        Start::Offset(offset) => Ok(offset),
        Start::Timestamp(timestamp_ms) => offset_at_time(partition, timestamp_ms, first_offset, next_offset),
    }
}

/// The first offset whose record has a timestamp at or after a time.
fn offset_at_time(partition: &Arc<Partition>, timestamp_ms: i64, first_offset: u64, next_offset: u64) -> Result<u64> {
    let in_sealed = {
        let index = partition.index();
        index.timestamp_before_ms >= timestamp_ms
    };
    // The run's largest timestamp reaches the time; which of its records does first is read from them.
    let run_offset = if in_sealed {
        let found = sealed::runs_at_time(partition, timestamp_ms)?;
        found.and_then(|(_, runs)| {
            runs.iter().find(|run| run.timestamp_max_ms >= timestamp_ms).map(|run| run.base_offset)
        })
    } else {
        None
    };
    let run_offset = match run_offset {
        Some(offset) => Some(offset),
        None => partition.index().run_at_time(timestamp_ms).map(|run| run.base_offset),
    };
    let Some(run_offset) = run_offset else { return Ok(next_offset) };
    let mut reader = PartitionReader::new(partition.clone(), run_offset.max(first_offset));
    let mut ahead = ReadAhead::new(0);
    loop {
        let chunk = match reader.next_chunk(u32::MAX, &mut ahead) {
            // Given up while it was looked for: what is left comes after it.
            Err(Error::Truncated { to, .. }) => {
                reader.seek(to, &mut ahead);
                continue;
            }
            chunk => chunk?,
        };
        let Some(chunk) = chunk else { return Ok(next_offset) };
        let mut records = Records::default();
        records.push(partition.clone(), chunk);
        if let Some(found) = records.iter().find(|record| record.timestamp_ms() >= timestamp_ms) {
            return Ok(found.offset());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Start;

    #[test]
    fn all_starts_are_understood() {
        assert_eq!("beginning".parse(), Ok(Start::Beginning));
        assert_eq!("end".parse(), Ok(Start::End));
        assert_eq!("offset:12".parse(), Ok(Start::Offset(12)));
        assert_eq!("timestamp:-5".parse(), Ok(Start::Timestamp(-5)));
        for bad in ["", "start", "12", "offset:", "offset:-1", "offset:1:2", "timestamp:now", "Beginning"] {
            bad.parse::<Start>().unwrap_err();
        }
    }
}
