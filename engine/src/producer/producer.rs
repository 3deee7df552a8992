//! The producer: checks a record, chooses its partition, and appends it to its lane's accumulator.

use super::accumulator::{Accumulator, Adding, Appended};
use super::batch::{Batch, make_room};
use super::handle::{BatchHandle, SendHandle};
use super::identity::{LastSent, ProducerIdentity};
use super::receipt::{Durability, Receipt, RecordId};
use super::sink::{Note, NotedRecords, OutcomeSink};
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::interceptor::{Added, Interceptors, ProducerInterceptor};
use crate::io::delay_ms;
use crate::lane::shared::{Message, Reply};
use crate::log::origin::Origin;
use crate::partition::shared::TopicShared;
use crate::record::{Record, Visibility};
use crate::sync::lock;
use crate::topic::Topic;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Options of [`Engine::producer`](crate::Engine::producer).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerOptions {
    /// How far a record has come when its receipt is given. Default: synced.
    pub durability: Durability,
    /// The name that the producer goes on under after a restart. Opening the same name again fences whoever had it. Only
    /// letters, digits, `.`, `_` and `-`, up to 249. Default: none.
    pub name: Option<String>,
    /// How long a send waits at most while the send buffer is full, ms; then it is `QueueFull`. 0: it never waits. Default:
    /// what the engine was opened with ([`Options::max_block_ms`](crate::Options)).
    pub max_block_ms: Option<u64>,
    pub(crate) interceptors: Interceptors<dyn ProducerInterceptor>,
}

impl ProducerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the durability.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets how long a send waits at most while the send buffer is full, ms.
    #[must_use]
    pub fn max_block_ms(mut self, max_block_ms: u64) -> Self {
        self.max_block_ms = Some(max_block_ms);
        self
    }

    /// Adds an interceptor behind those that are there. Where it fails, so does the call.
    #[must_use]
    pub fn interceptor(mut self, interceptor: Arc<dyn ProducerInterceptor>) -> Self {
        self.interceptors.add(interceptor.name().into(), interceptor, false);
        self
    }

    /// Adds an interceptor behind those that are there. Where it fails, that is counted
    /// ([`Stats::interceptor_failures`](crate::Stats)), and passed over.
    #[must_use]
    pub fn interceptor_best_effort(mut self, interceptor: Arc<dyn ProducerInterceptor>) -> Self {
        self.interceptors.add(interceptor.name().into(), interceptor, true);
        self
    }
}

/// Sends records. Cheap to clone; clones share their buffers, and all calls may come from any thread.
///
/// One with a name is the same producer after a restart: its numbers go on, [`Producer::last_sent`] says how far it came,
/// and what it sends again with the same number is not written twice. Who opens the name last has it; the calls of
/// whoever had it before end with [`Error::ProducerFenced`].
///
/// ```
/// # fn main() -> ringlane::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// use ringlane::{Engine, Options, ProducerOptions, Record, TopicOptions};
/// let engine = Engine::open(directory.path(), Options::new())?;
/// let orders = engine.create_topic("orders", TopicOptions::new())?;
/// let producer = engine.producer(ProducerOptions::new())?;
/// let receipt = producer.send(&orders, Record::new(b"one"))?.wait()?;
/// assert_eq!(receipt.offset, Some(0));
/// # engine.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    engine: Arc<EngineInner>,
    identity: ProducerIdentity,
    /// One for each lane.
    accumulators: Arc<[Arc<Accumulator>]>,
    interceptors: Interceptors<dyn ProducerInterceptor>,
    /// Sends that interceptors were shown.
    sends: Arc<AtomicU64>,
}

impl Producer {
    pub(crate) fn new(engine: Arc<EngineInner>, options: &ProducerOptions, identity: ProducerIdentity) -> Producer {
        let accumulators = engine
            .lanes
            .iter()
            .map(|lane| {
                Arc::new(Accumulator::new(
                    lane.clone(),
                    options.durability,
                    identity.clone(),
                    engine.options.batch_bytes,
                    engine.options.buffer_bytes_max,
                    Duration::from_millis(options.max_block_ms.unwrap_or(engine.options.max_block_ms)),
                    engine.spare.clone(),
                ))
            })
            .collect();
        let (interceptors, sends) = (options.interceptors.clone(), Arc::default());
        Producer { engine, identity, accumulators, interceptors, sends }
    }

    pub(crate) fn engine(&self) -> &Arc<EngineInner> {
        &self.engine
    }

    pub(crate) fn identity(&self) -> &ProducerIdentity {
        &self.identity
    }

    /// Whether interceptors look at what it sends.
    pub(crate) fn is_watched(&self) -> bool {
        !self.interceptors.is_empty()
    }

    /// Shows a record to the interceptors: under which number, and what they add to it.
    pub(crate) fn show(&self, topic: &Topic, record: &Record<'_>) -> Result<(u64, Added)> {
        let number = self.sends.fetch_add(1, Ordering::Relaxed);
        let failures = &self.engine.interceptor_failures;
        Ok((number, self.interceptors.on_send(number, topic.name(), record, failures)?))
    }

    /// Tells the interceptors what became of a record that they were shown.
    pub(crate) fn tell(&self, number: u64, topic: &str, outcome: Result<&Receipt, &Error>) {
        self.interceptors.on_outcome(number, topic, outcome, &self.engine.interceptor_failures);
    }

    /// Where a record goes, and its size there.
    pub(crate) fn place_of<'a>(
        &self,
        topic: &'a Topic,
        record: &Record<'_>,
    ) -> Result<(&'a Arc<TopicShared>, u32, usize)> {
        let (shared, partition) = self.partition_of(topic, record)?;
        Ok((shared, partition, record.encoded_size(self.engine.options.record_bytes_max)?))
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.identity.named.as_ref().map(|named| &*named.name)
    }

    /// How often its name was opened up to this one; 0 without a name.
    pub fn epoch(&self) -> u32 {
        self.identity.epoch
    }

    /// The last record that this producer, or an earlier one of the same name, has in a partition. What is asked of a
    /// producer that was just opened is complete: nothing of the earlier ones is on its way any more. Durable on return.
    ///
    /// # Errors
    /// `InvalidArgument` for a producer without a name; `ProducerFenced`, `UnknownProducer`, `InvalidPartition`,
    /// `TopicDeleted`, and what stops the engine: `Poisoned`, `Closed`, `Forked`.
    pub fn last_sent(&self, topic: &Topic, partition: u32) -> Result<Option<LastSent>> {
        self.engine.check_fork()?;
        self.identity.check()?;
        if self.identity.named.is_none() {
            return Err(Error::InvalidArgument {
                name: "producer",
                value: "without a name".to_owned(),
                reason: "only a producer with a name is the same one after a restart; set `ProducerOptions::name`"
                    .to_owned(),
            });
        }
        self.engine.check_topic(&topic.shared)?;
        let partition = topic.partition(partition)?;
        let lane = &self.engine.lanes[partition.lane as usize];
        lane.check()?;
        let last = Arc::new(Mutex::new(None));
        let (producer, slot) = (self.identity.id(), partition.slot);
        let (reply, answer) = Reply::pair();
        lane.push(Message::LastSent { producer, slot, last: last.clone(), reply });
        answer.wait()?;
        let last = lock(&last).take();
        Ok(last.filter(|last| last.next > 0).map(|last| LastSent {
            sequence: last.next - 1,
            epoch: last.epoch,
            message_id: last.message_id.map(|id| id.to_vec()),
        }))
    }

    /// Sends a record. Returns when the record is in the send buffer; the handle knows when it is
    /// durable. Blocks only while the buffer is full, at most [`ProducerOptions::max_block_ms`].
    ///
    /// # Errors
    /// The record is refused, nothing was sent: `RecordTooLarge`, `InvalidArgument` (its number or message id),
    /// `InvalidPartition`, `TopicDeleted`, `ProducerFenced`, `UnknownProducer`, `QueueFull`, `Interceptor`, `Poisoned`,
    /// `Closed`, `Forked`.
    #[inline]
    pub fn send(&self, topic: &Topic, record: Record<'_>) -> Result<SendHandle> {
        match self.interceptors.is_empty() {
            true => self.send_from(topic, &record, None),
            false => self.send_intercepted(topic, &record),
        }
    }

    /// Sends a record that was written by somebody: for repair.
    pub(crate) fn send_from(&self, topic: &Topic, record: &Record<'_>, given: Option<Origin>) -> Result<SendHandle> {
        self.add(topic, record, given, |adding, place, timestamp_ms| SendHandle {
            batch: adding.batch().clone(),
            part: place.part,
            index: place.index,
            timestamp_ms,
        })
    }

    /// [`Producer::send`] for the C library: its outcome goes to a sink, with `user_data`.
    #[doc(hidden)]
    #[inline]
    pub fn send_noted<S: OutcomeSink + 'static>(
        &self,
        topic: &Topic,
        record: &Record<'_>,
        sink: &Arc<S>,
        user_data: u64,
    ) -> Result<()> {
        let note =
            |place: Appended, timestamp_ms| Note { user_data, timestamp_ms, part: place.part, index: place.index };
        if self.interceptors.is_empty() {
            return self.add(topic, record, None, |adding, place, timestamp_ms| {
                adding.note(sink, note(place, timestamp_ms));
            });
        }
        let SendHandle { batch, part, index, timestamp_ms } = self.send_intercepted(topic, record)?;
        let (sink, notes) = (Arc::downgrade(sink), vec![note(Appended { part, index }, timestamp_ms)]);
        let noted = NotedRecords::new(batch.clone(), notes);
        batch.on_complete(Box::new(move |_| {
            if let Some(sink) = sink.upgrade() {
                sink.tell(noted);
            }
        }));
        Ok(())
    }

    /// Adds a record to the open batch of its lane; `keep` is what is kept of it.
    #[inline(always)]
    fn add<T>(
        &self,
        topic: &Topic,
        record: &Record<'_>,
        given: Option<Origin>,
        keep: impl FnOnce(&mut Adding<'_>, Appended, i64) -> T,
    ) -> Result<T> {
        if record.sequence.is_some() && given.is_none() {
            self.check_numbered(topic, record)?;
        }
        let partition = self.partition_of(topic, record)?;
        let size = record.encoded_size(self.engine.options.record_bytes_max)?;
        let timestamp_ms = record.timestamp_ms.unwrap_or_else(|| self.engine.clock.wall_ms());
        let due_ms = self.due_ms(record);
        let mut adding = self.accumulators[lane_of(partition)].adding()?;
        let place = adding.push(partition, record, size, timestamp_ms, due_ms, given);
        let kept = keep(&mut adding, place, timestamp_ms);
        adding.finish();
        Ok(kept)
    }

    /// Sends records to one topic in one hand-over.
    ///
    /// # Errors
    /// As [`Producer::send`]: none of the records is sent. If the buffer stays full or the engine fails when some of them
    /// are, the handle tells of each: that error is the outcome of those that are not ([`BatchHandle::outcomes`]).
    pub fn send_batch(&self, topic: &Topic, records: &[Record<'_>]) -> Result<BatchHandle> {
        match self.interceptors.is_empty() {
            true => self.send_all(records, |_| topic),
            false => self.send_all_intercepted(records.len(), |at| (topic, &records[at])),
        }
    }

    /// [`Producer::send_batch`] of records that are put together where they are looked at, twice each. For the C library,
    /// which has them in another form: written down here first, they cost a batch a third of its time.
    #[doc(hidden)]
    pub fn send_batch_with(&self, topic: &Topic, records: &impl RecordSource) -> Result<BatchHandle> {
        match self.interceptors.is_empty() {
            true => self.send_all(records, |_| topic),
            false => self.send_batch(topic, &(0..records.count()).map(|at| records.get(at)).collect::<Vec<_>>()),
        }
    }

    /// Sends records to any topics in one hand-over for each lane.
    ///
    /// # Errors
    /// As [`Producer::send_batch`].
    pub fn send_many(&self, records: &[(&Topic, Record<'_>)]) -> Result<BatchHandle> {
        match self.interceptors.is_empty() {
            true => self.send_all(records, |at| records[at].0),
            false => self.send_all_intercepted(records.len(), |at| (records[at].0, &records[at].1)),
        }
    }

    #[cold]
    fn send_intercepted(&self, topic: &Topic, record: &Record<'_>) -> Result<SendHandle> {
        let number = self.sends.fetch_add(1, Ordering::Relaxed);
        let (interceptors, failures) = (self.interceptors.clone(), self.engine.interceptor_failures.clone());
        let added = interceptors.on_send(number, topic.name(), record, &failures)?;
        let sent = self.send_from(topic, &Record { headers: &added.with(record), ..*record }, None);
        match &sent {
            Err(error) => interceptors.on_outcome(number, topic.name(), Err(error), &failures),
            Ok(handle) => {
                let topic = topic.shared.name.clone();
                handle.when_complete(move |outcome| {
                    interceptors.on_outcome(number, &topic, outcome.as_ref(), &failures);
                });
            }
        }
        sent
    }

    #[cold]
    fn send_all_intercepted<'a>(
        &self,
        count: usize,
        record_at: impl Fn(usize) -> (&'a Topic, &'a Record<'a>),
    ) -> Result<BatchHandle> {
        let first = self.sends.fetch_add(count as u64, Ordering::Relaxed);
        let (interceptors, failures) = (self.interceptors.clone(), self.engine.interceptor_failures.clone());
        let topics: Arc<[Arc<str>]> = (0..count).map(|at| record_at(at).0.shared.name.clone()).collect();
        let end = |at: usize, outcome: Result<&Receipt, &Error>| {
            interceptors.on_outcome(first + at as u64, &topics[at], outcome, &failures);
        };
        let mut added = Vec::with_capacity(count);
        for at in 0..count {
            let (topic, record) = record_at(at);
            match interceptors.on_send(first + at as u64, topic.name(), record, &failures) {
                Ok(headers) => added.push(headers),
                Err(error) => {
                    (0..at).for_each(|before| end(before, Err(&error)));
                    return Err(error);
                }
            }
        }
        let headers: Vec<_> = added.iter().enumerate().map(|(at, added)| added.with(record_at(at).1)).collect();
        let records: Vec<_> =
            headers.iter().enumerate().map(|(at, headers)| Record { headers, ..*record_at(at).1 }).collect();
        let sent = self.send_all(&records[..], |at| record_at(at).0);
        match &sent {
            Err(error) => (0..count).for_each(|at| end(at, Err(error))),
            Ok(handle) => {
                let (interceptors, topics, failures) = (interceptors.clone(), topics.clone(), failures.clone());
                handle.when_complete(move |at, outcome| {
                    interceptors.on_outcome(first + at as u64, &topics[at], outcome.as_ref(), &failures);
                });
            }
        }
        sent
    }

    /// All records are checked before the first one is sent.
    #[inline]
    fn send_all<'t, S: RecordSource + ?Sized>(
        &self,
        records: &S,
        topic_at: impl Fn(usize) -> &'t Topic,
    ) -> Result<BatchHandle> {
        let count = records.count();
        let mut placed = Vec::with_capacity(count);
        let now = self.engine.clock.wall_ms();
        let mut checked: Option<&Topic> = None;
        for at in 0..count {
            let (topic, record) = (topic_at(at), records.get(at));
            if !checked.is_some_and(|checked| std::ptr::eq(checked, topic)) {
                self.check_topic(topic)?;
                checked = Some(topic);
            }
            if record.sequence.is_some() {
                self.check_numbered(topic, &record)?;
            }
            record.encoded_size(self.engine.options.record_bytes_max)?;
            placed.push(choose_partition(topic, &record)?);
        }
        let mut handle = BatchHandle::default();
        if let [accumulator] = &*self.accumulators {
            let sent = self.send_to_lane(accumulator, &placed, records, now, |at, batch, place, timestamp_ms| {
                handle.push(batch, place.part, place.index, at.len() as u32, timestamp_ms);
            });
            match sent {
                Err(error) if handle.is_empty() => return Err(error),
                Err(error) => {
                    let refused = Batch::refused(error);
                    handle.push(&refused, 0, 0, (count - handle.len()) as u32, now);
                }
                Ok(()) => {}
            }
            return Ok(handle);
        }
        // One lane's lock at a time: two senders must not wait for each other's.
        let mut sent: Vec<Option<(Arc<Batch>, Appended, i64)>> = (0..count).map(|_| None).collect();
        for (lane, accumulator) in self.accumulators.iter().enumerate() {
            let is_its = |placed: &Placed<'_>| lane_of(*placed) == lane;
            if !placed.iter().any(is_its) {
                continue;
            }
            let put = |at: Range<usize>, batch: &Arc<Batch>, place: Appended, timestamp_ms| {
                for (nth, at) in at.enumerate() {
                    let place = Appended { index: place.index + nth as u32, ..place };
                    sent[at] = Some((batch.clone(), place, timestamp_ms));
                }
            };
            if let Err(error) = self.send_to_lane(accumulator, &placed, records, now, put) {
                if sent.iter().all(Option::is_none) {
                    return Err(error);
                }
                let refused = Batch::refused(error);
                for (at, sent) in sent.iter_mut().enumerate().filter(|(at, _)| is_its(&placed[*at])) {
                    sent.get_or_insert_with(|| (refused.clone(), Appended { part: 0, index: at as u32 }, now));
                }
            }
        }
        for sent in sent {
            let (batch, place, timestamp_ms) = sent.expect("every record has a lane");
            handle.push(&batch, place.part, place.index, 1, timestamp_ms);
        }
        Ok(handle)
    }

    /// Hands a lane those of the records that are its own; `put` is told where each is. After an error some are there.
    #[inline]
    fn send_to_lane<S: RecordSource + ?Sized>(
        &self,
        accumulator: &Arc<Accumulator>,
        placed: &[Placed<'_>],
        records: &S,
        now: i64,
        mut put: impl FnMut(Range<usize>, &Arc<Batch>, Appended, i64),
    ) -> Result<()> {
        let bytes_max = self.engine.options.record_bytes_max;
        let lane = accumulator.lane() as usize;
        let mut adding = accumulator.adding()?;
        let mut at = 0;
        while let Some(partition) = placed.get(at) {
            let first = at;
            at += 1;
            if lane_of(*partition) != lane {
                continue;
            }
            if adding.is_long() {
                adding.finish();
                adding = accumulator.adding()?;
            }
            let record = records.get(first);
            // Once more: it is what decides how much is written, and nobody can promise that the caller's memory stays.
            let size = record.encoded_size(bytes_max)?;
            let (timestamp_ms, due_ms) = (record.timestamp_ms.unwrap_or(now), self.due_ms(&record));
            let place = adding.push(*partition, &record, size, timestamp_ms, due_ms, None);
            if record.is_at_once_and_new() {
                // Most others are like it, and go where it went.
                adding.grow(|bytes| {
                    let goes_there = |to: &Placed<'_>| to.1 == partition.1 && Arc::ptr_eq(to.0, partition.0);
                    if !placed.get(at).is_some_and(goes_there) {
                        return false;
                    }
                    let record = records.get(at);
                    let Ok(size) = record.encoded_size(bytes_max) else { return false };
                    let is_like_it = record.is_at_once_and_new() && record.timestamp_ms.unwrap_or(now) == timestamp_ms;
                    if is_like_it {
                        make_room(bytes, size, accumulator.batch_bytes());
                        record.encode_into(bytes, size, timestamp_ms);
                        at += 1;
                    }
                    is_like_it
                });
            }
            put(first..at, adding.batch(), place, timestamp_ms);
        }
        adding.finish();
        Ok(())
    }

    /// Waits until everything that this producer and its clones sent before has its outcome; an error
    /// is that of the last batch. What is said of one record only, `SequenceGap` and `ReceiptForgotten`, its own handle
    /// says.
    ///
    /// # Errors
    /// Those of [`SendHandle::wait`], but for these two.
    pub fn flush(&self) -> Result<()> {
        self.engine.check_fork()?;
        let mut result = Ok(());
        for (accumulator, lane) in self.accumulators.iter().zip(&self.engine.lanes) {
            if let Some(batch) = accumulator.last() {
                let outcome = batch.wait().parts.as_ref().map(drop).map_err(Error::clone);
                if outcome.is_err() {
                    // It was refused, perhaps, while those before it are still on their way.
                    let _ = lane.ask(|reply| Message::Sync { reply });
                }
                // One lane's error is no reason not to wait for the others.
                result = result.and(outcome);
            }
        }
        result
    }

    /// Takes back a delayed record that is not visible yet. Durable on return.
    ///
    /// # Errors
    /// `NotWithheld` if it was published or cancelled before, or never was.
    pub fn cancel(&self, id: RecordId) -> Result<()> {
        self.engine.check_fork()?;
        self.engine.ask_of_withheld(id, |identity, reply| Message::Cancel { identity, reply })
    }

    /// When a record becomes visible, if that is not at once.
    #[inline]
    fn due_ms(&self, record: &Record<'_>) -> Option<i64> {
        match record.visibility {
            Visibility::Now => None,
            Visibility::At(time_ms) => Some(time_ms),
            Visibility::After(delay) => {
                Some(self.engine.clock.wall_ms_rounded_up().saturating_add_unsigned(delay_ms(delay)))
            }
        }
    }

    #[inline]
    fn partition_of<'a>(&self, topic: &'a Topic, record: &Record<'_>) -> Result<Placed<'a>> {
        self.check_topic(topic)?;
        choose_partition(topic, record)
    }

    /// Whether anything can be sent to a topic.
    #[inline]
    fn check_topic(&self, topic: &Topic) -> Result<()> {
        self.engine.check_fork()?;
        self.identity.check()?;
        self.engine.check_topic(&topic.shared)
    }

    /// Whether a record may bring its number.
    #[cold]
    fn check_numbered(&self, topic: &Topic, record: &Record<'_>) -> Result<()> {
        let invalid = |reason: &str| {
            let value = record.sequence.unwrap_or_default().to_string();
            Err(Error::InvalidArgument { name: "sequence", value, reason: reason.to_owned() })
        };
        if self.identity.named.is_none() {
            return invalid("only a producer with a name numbers its records itself; set `ProducerOptions::name`");
        }
        if record.partition.is_none() && record.key.is_none() && topic.partitions() > 1 {
            return invalid("numbers count within a partition; give the record its partition, or a key");
        }
        Ok(())
    }
}

/// Records that are sent in one hand-over, in whatever form they are.
///
/// A record is put together where it is looked at, twice: `get` is to be inlined.
#[doc(hidden)]
pub trait RecordSource {
    /// How many there are.
    fn count(&self) -> usize;
    /// One of them.
    fn get(&self, at: usize) -> Record<'_>;
}

impl RecordSource for [Record<'_>] {
    #[inline(always)]
    fn count(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn get(&self, at: usize) -> Record<'_> {
        self[at]
    }
}

impl RecordSource for [(&Topic, Record<'_>)] {
    #[inline(always)]
    fn count(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn get(&self, at: usize) -> Record<'_> {
        self[at].1
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => write!(f, "Producer({name}, epoch {})", self.epoch()),
            None => write!(f, "Producer"),
        }
    }
}

/// Where a record goes: a topic, and the number of the partition.
type Placed<'a> = (&'a Arc<TopicShared>, u32);

/// The lane of a partition.
#[inline]
fn lane_of((topic, partition): Placed<'_>) -> usize {
    topic.partitions[partition as usize].lane as usize
}

/// The partition of a record: its own, that of its key, or each in turn.
#[inline(always)]
fn choose_partition<'a>(topic: &'a Topic, record: &Record<'_>) -> Result<Placed<'a>> {
    let shared = &topic.shared;
    let partitions = shared.partitions.len() as u32;
    let index = match (record.partition, record.key) {
        (Some(partition), _) if partition >= partitions => {
            return Err(Error::InvalidPartition { topic: shared.name.to_string(), partition, partitions });
        }
        (Some(partition), _) => partition,
        (None, _) if partitions == 1 => 0,
        (None, Some(key)) => partition_of_key(key, partitions),
        (None, None) => shared.turn.fetch_add(1, Ordering::Relaxed) % partitions,
    };
    Ok((shared, index))
}

/// The partition of a key: CRC32C of the key, scaled. The same in every language.
pub(crate) fn partition_of_key(key: &[u8], partitions: u32) -> u32 {
    ((u64::from(crc32c::crc32c(key)) * u64::from(partitions)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_all_partitions_and_stay() {
        let mut counts = [0; 7];
        for key in 0..7_000u32 {
            counts[partition_of_key(&key.to_le_bytes(), 7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert_eq!(partition_of_key(b"order-7", 4), partition_of_key(b"order-7", 4));
    }
}
