//! The child: works on the file system that is recorded, or reads what a cut has left.

use super::journal::Journal;
use crate::history::{Answer, Call, CrashKind, Durability, Event, From, Happening, Outcome, Read, TopicNumber, Value};
use crate::kill::{Message, Random, monotonic_ns, say, say_panics};
use crate::value::{bytes_of, number_of};
use crate::witness::{self, receipt_outcome, refusal, wait_until_published, wall_ms};
use ringlane::{
    BatchHandle, Consumer, ConsumerOptions, Engine, Error, Options, Producer, ProducerOptions, Receipt, Record,
    Retention, SendHandle, Start, Topic, TopicOptions,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How the process of a child ends when it was to meet an error of the device: the engine told of it, and
/// refused everything after it.
pub(super) const TOLD: i32 = 10;
/// The file system itself takes nothing more.
pub(super) const FILE_SYSTEM_GAVE_UP: i32 = 11;

const PARTITIONS: u32 = 3;
const BATCH_RECORDS_MAX: u64 = 8;
const DELAY_MS_MAX: u64 = 30;
/// Records that are on their way when a child vanishes.
const ON_THEIR_WAY: u64 = 10;
/// Operations before an error of the device may come.
const OPERATIONS_BEFORE_ERROR: u64 = 15;
/// How often a child gives up records of its own topic.
const DELETIONS: u32 = 3;
const DELETION_INTERVAL: Duration = Duration::from_millis(20);
/// Of a partition, where a topic is bounded.
const KEPT_BYTES: u64 = 32 << 10;
/// A child waits so long for a copy.
const CLEANING_MAX: Duration = Duration::from_millis(1500);
/// Numbers of one child are below those of the next.
const NUMBERS_OF_A_CHILD: u64 = 1_000_000;

/// What a child is to do; one argument on its command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Send, read, create and delete.
    Work(Work),
    /// Open what is left, say all that can be read, see that it goes on.
    Read {
        directory: PathBuf,
        /// Topics that may be there.
        topics: Vec<TopicNumber>,
        lanes: u32,
    },
}

/// The work of one child.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) directory: PathBuf,
    /// Where the history goes.
    pub(super) journal: PathBuf,
    /// Children before this one.
    pub(super) number: u32,
    pub(super) seed: u64,
    /// Of each thread.
    pub(super) operations: u64,
    /// Topics that are there. The child deletes the oldest of several, and gives up records of the newest.
    pub(super) topics: Vec<TopicNumber>,
    pub(super) lanes: u32,
    /// How the child before ended, unless it closed.
    pub(super) crashed: Option<CrashKind>,
    /// Close at the end, or vanish in the midst of sending.
    pub(super) closes: bool,
    /// Say when there is something to fail: the device will then fail once.
    pub(super) awaits_error: bool,
    /// Say of records that were only handed over that they are acknowledged. Must be found.
    pub(super) lies: bool,
    /// A fault for the engine.
    pub(super) canary: Option<String>,
}

impl Work {
    /// Where the device is to fail once it may do so as if it were full, and then a call may be made again.
    fn unless_expected(&self, done: ringlane::Result<()>) -> ringlane::Result<()> {
        done.or_else(|error| if self.awaits_error && error.is_retriable() { Ok(()) } else { Err(error) })
    }
}

/// Does what the parent ordered. Gives the code that the process ends with.
///
/// # Errors
/// The order cannot be read, or what must not fail failed.
pub fn run_child(order: &str) -> Result<i32, String> {
    // SAFETY: changes a setting of this process only. A child does not outlive its parent.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    say_panics();
    match serde_json::from_str(order).map_err(|error| format!("the order: {error}"))? {
        Order::Work(order) => work(&order),
        Order::Read { directory, topics, lanes } => {
            read(&directory, &topics, lanes).map(|()| 0).map_err(|error| format!("{error} [{}]", error.code()))
        }
    }
}

/// Opens what is left, says everything that can be read, and sees that the engine goes on.
fn read(directory: &std::path::Path, topics: &[TopicNumber], lanes: u32) -> ringlane::Result<()> {
    let witness = Witness::new(None, 0, false);
    let engine = Engine::open(directory, options(lanes))?;
    witness.happen(Happening::Reopened);
    witness.list(&engine, topics)?;
    wait_until_published(&engine, trouble)?;
    witness.happen(Happening::Settled { wall_ms: wall_ms() });
    witness.list(&engine, topics)?;
    let topic = engine.create_topic("afterwards", TopicOptions::new())?;
    engine.producer(ProducerOptions::new())?.send(&topic, Record::new(b"one more"))?.wait()?;
    engine.close()
}

fn work(order: &Work) -> Result<i32, String> {
    set_canary(order.canary.as_deref())?;
    let journal = Journal::open(&order.journal).map_err(|error| format!("the history's file: {error}"))?;
    let witness = Witness::new(Some(journal), u64::from(order.number), order.lies);
    match witness.work(order) {
        Ok(code) => Ok(code),
        Err(error) => Err(format!("child {}: {error} [{}]", order.number, error.code())),
    }
}

#[cfg(feature = "canaries")]
fn set_canary(name: Option<&str>) -> Result<(), String> {
    use ringlane::canary::{Canary, set_for_the_process};
    let Some(name) = name else { return Ok(()) };
    let canary = Canary::ALL.into_iter().find(|canary| canary.name() == name);
    set_for_the_process(Some(canary.ok_or_else(|| format!("no canary is called {name}"))?));
    Ok(())
}

#[cfg(not(feature = "canaries"))]
fn set_canary(name: Option<&str>) -> Result<(), String> {
    name.map_or(Ok(()), |name| Err(format!("built without canaries, so without {name}")))
}

fn trouble(text: String) {
    say(|| Message::Trouble(text));
}

/// Says everything that is done: into the journal, or to the parent.
struct Witness {
    journal: Option<Mutex<Journal>>,
    operation: AtomicU64,
    value: AtomicU64,
    process: AtomicU32,
    lies: bool,
}

/// A send that is under way.
struct Sending {
    operation: u64,
    handle: ringlane::Result<SendHandle>,
}

impl Witness {
    fn new(journal: Option<Journal>, number: u64, lies: bool) -> Witness {
        let first = number * NUMBERS_OF_A_CHILD;
        Witness {
            journal: journal.map(Mutex::new),
            operation: AtomicU64::new(first),
            value: AtomicU64::new(first),
            process: AtomicU32::new(first as u32),
            lies,
        }
    }

    fn say(&self, events: Vec<Event>) {
        let Some(journal) = &self.journal else {
            return events.into_iter().for_each(|event| say(|| Message::Event(event)));
        };
        let written = journal.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).write(&events);
        if let Err(error) = written {
            eprintln!("the history's file: {error}");
            // SAFETY: ends the process, as a crash does. Nothing can be written down any more, so nothing
            // must happen any more.
            unsafe { libc::_exit(FILE_SYSTEM_GAVE_UP) };
        }
    }

    fn happen(&self, happening: Happening) {
        self.say(vec![Event::World { at_ns: monotonic_ns(), happening }]);
    }

    fn invocation(&self, process: u32, call: Call) -> (u64, Event) {
        let operation = self.operation.fetch_add(1, Relaxed);
        (operation, Event::Invoke { at_ns: monotonic_ns(), operation, process, call })
    }

    fn invoke(&self, process: u32, call: Call) -> u64 {
        let (operation, event) = self.invocation(process, call);
        self.say(vec![event]);
        operation
    }

    fn complete(&self, operation: u64, outcome: Outcome) {
        self.say(vec![Event::Complete { at_ns: monotonic_ns(), operation, outcome }]);
    }

    fn call<T>(&self, call: Call, run: impl FnOnce() -> ringlane::Result<T>) -> ringlane::Result<T> {
        let operation = self.invoke(self.process.fetch_add(1, Relaxed), call);
        let result = run();
        self.complete(operation, result.as_ref().map_or_else(refusal, |_| Outcome::done()));
        result
    }

    fn sent(&self, operation: u64, result: &ringlane::Result<Receipt>) {
        if !self.lies {
            self.complete(operation, result.as_ref().map_or_else(refusal, receipt_outcome));
        }
    }

    /// Says everything that can be read.
    fn list(&self, engine: &Engine, topics: &[TopicNumber]) -> ringlane::Result<()> {
        for number in topics {
            let Ok(topic) = engine.topic(&name_of(*number)) else {
                self.happen(Happening::TopicMissing { topic: *number });
                continue;
            };
            let value = |bytes: Option<&[u8]>, _| value_of(bytes);
            witness::contents(engine, &topic, *number, value, |contents| self.happen(contents))?;
        }
        Ok(())
    }

    fn work(&self, order: &Work) -> ringlane::Result<i32> {
        if let Some(kind) = order.crashed {
            self.happen(Happening::Crash { kind, keeps: Durability::Synced });
        }
        let engine = Engine::open(&order.directory, options(order.lanes))?;
        self.happen(Happening::Reopened);
        self.list(&engine, &order.topics)?;
        let number = order.number;
        let create = Call::CreateTopic { topic: number, partitions: PARTITIONS, dead_letters_of: None };
        let name = name_of(number);
        let topic = self.call(create, || engine.create_topic(&name, TopicOptions::new().partitions(PARTITIONS)))?;
        let scene = Scene {
            synced: engine.producer(ProducerOptions::new())?,
            buffered: engine.producer(ProducerOptions::new().durability(ringlane::Durability::Buffered))?,
            topic,
            engine,
        };
        let engine = &scene.engine;
        match self.threads(&scene, order) {
            Err(error) if order.awaits_error => {
                self.stays_poisoned(&scene, &error, order);
                return Ok(TOLD);
            }
            result => result?,
        }
        if !order.awaits_error {
            wait_for_the_cleaner(engine);
        }
        if order.closes {
            self.call(Call::Close, || engine.close())?;
            return Ok(0);
        }
        let mut worker = self.worker(&scene, order, 9);
        let _on_their_way: Vec<_> = (0..ON_THEIR_WAY).map(|_| worker.start(None, Durability::Synced)).collect();
        // SAFETY: ends the process, as a crash does: nothing is closed.
        unsafe { libc::_exit(0) };
    }

    fn worker<'a>(&'a self, scene: &'a Scene, order: &Work, number: u64) -> Worker<'a> {
        let random = Random(order.seed.wrapping_mul(31).wrapping_add(number));
        // Between two producers there is no order, so they are two clients.
        let process = self.process.fetch_add(2, Relaxed);
        Worker { witness: self, scene, number: order.number, random, process }
    }

    /// All threads, until their operations are done or the first error.
    fn threads(&self, scene: &Scene, order: &Work) -> ringlane::Result<()> {
        let worker = |number| self.worker(scene, order, number);
        let (first, second, third, reader) = (worker(0), worker(1), worker(2), worker(3));
        std::thread::scope(|scope| {
            let threads = [
                scope.spawn(move || first.send(order)),
                scope.spawn(move || second.send(order)),
                scope.spawn(move || third.send(order)),
                scope.spawn(move || reader.read(order.operations)),
                scope.spawn(move || self.give_up(scene, order)),
            ];
            let results = threads.map(|thread| thread.join().expect("no thread panics"));
            results.into_iter().collect()
        })
    }

    /// Gives up the oldest topic, and records: the older half of those of the newest topic, and of the child's own what
    /// is there by now. Children with odd numbers also bound the newest one.
    fn give_up(&self, scene: &Scene, order: &Work) -> ringlane::Result<()> {
        let engine = &scene.engine;
        if let [oldest, _, ..] = order.topics[..] {
            let call = Call::DeleteTopic { topic: oldest };
            order.unless_expected(self.call(call, || engine.delete_topic(&name_of(oldest))))?;
        }
        if let Some(&newest) = order.topics.last() {
            order.unless_expected(self.delete_records(engine, &engine.topic(&name_of(newest))?, newest, 2))?;
            if order.number % 2 == 1 {
                let call = Call::SetRetention { topic: newest, bounded: true, finished: false };
                let retention = Retention::new().retention_bytes(KEPT_BYTES);
                order.unless_expected(self.call(call, || engine.set_retention(&name_of(newest), retention)))?;
            }
        }
        for _ in 0..DELETIONS {
            std::thread::sleep(DELETION_INTERVAL);
            order.unless_expected(self.delete_records(engine, &scene.topic, order.number, 1))?;
        }
        Ok(())
    }

    /// Gives up one record of so many in each partition.
    fn delete_records(&self, engine: &Engine, topic: &Topic, number: TopicNumber, one_of: u64) -> ringlane::Result<()> {
        for partition in 0..topic.partitions() {
            let info = topic.partition_info(partition)?;
            let before = info.first_offset + (info.next_offset - info.first_offset) / one_of;
            let call = Call::DeleteRecords { topic: number, partition, before };
            let operation = self.invoke(self.process.fetch_add(1, Relaxed), call);
            let result = engine.delete_records(topic, partition, before);
            let answer = |offset: &u64| Outcome::Ok(Answer::Position { offset: *offset });
            self.complete(operation, result.as_ref().map_or_else(refusal, answer));
            result?;
        }
        Ok(())
    }

    /// The engine told of an error of the device: nothing is accepted any more, and what was durable can be read.
    fn stays_poisoned(&self, scene: &Scene, first: &Error, order: &Work) {
        let engine = &scene.engine;
        let told = |what: &str, error: Option<Error>| {
            if !error.as_ref().is_some_and(Error::is_fatal) {
                let said = error.map_or("it was done".to_owned(), |error| format!("{error} [{}]", error.code()));
                trouble(format!("after an error of the device ({first}), {what}: {said}"));
            }
        };
        if !first.is_fatal() && !first.is_unknown_outcome() {
            trouble(format!("an error of the device became: {first} [{}]", first.code()));
        }
        let mut worker = self.worker(scene, order, 8);
        told("a send", worker.send_and_wait(None, Durability::Synced).err());
        told("sync", self.call(Call::Sync, || engine.sync()).err());
        let other = Call::CreateTopic { topic: u32::MAX, partitions: 1, dead_letters_of: None };
        told("a new topic", self.call(other, || engine.create_topic("not-any-more", TopicOptions::new())).err());
        if let Err(error) = worker.read(5) {
            trouble(format!("after an error of the device, reading: {error}"));
        }
        told("close", self.call(Call::Close, || engine.close()).err());
    }
}

/// What all threads work on.
struct Scene {
    synced: Producer,
    buffered: Producer,
    topic: Topic,
    engine: Engine,
}

/// One thread's work on the topic of this child.
struct Worker<'a> {
    witness: &'a Witness,
    scene: &'a Scene,
    number: TopicNumber,
    random: Random,
    process: u32,
}

impl Worker<'_> {
    fn filler(&mut self) -> usize {
        // So much that a child fills a segment and rolls on.
        let most = if self.random.below(3) == 0 { 45_000 } else { 900 };
        self.random.below(most) as usize
    }

    fn partition(&mut self) -> Option<u32> {
        (self.random.below(2) == 0).then(|| self.random.below(u64::from(PARTITIONS)) as u32)
    }

    /// A record that will be sent: its partition, its bytes, and its invocation.
    fn announce(&mut self, durability: Durability, visible_at_ms: Option<i64>) -> (Option<u32>, Vec<u8>, u64, Event) {
        let value = self.witness.value.fetch_add(1, Relaxed);
        let bytes = bytes_of(value, self.filler());
        let partition = self.partition();
        let call =
            Call::Send { topic: self.number, partition, value, durability, visible_at_ms, transaction: None, by: None };
        let process = self.process + u32::from(durability == Durability::Buffered);
        let (operation, event) = self.witness.invocation(process, call);
        (partition, bytes, operation, event)
    }

    fn start(&mut self, visible_at_ms: Option<i64>, durability: Durability) -> Sending {
        let (partition, bytes, operation, event) = self.announce(durability, visible_at_ms);
        self.witness.say(vec![event]);
        let mut record = Record { partition, ..Record::new(&bytes) };
        if let Some(due_ms) = visible_at_ms {
            record = record.visible_at(due_ms);
        }
        let producer = if durability == Durability::Buffered { &self.scene.buffered } else { &self.scene.synced };
        let handle = producer.send(&self.scene.topic, record);
        if self.witness.lies {
            self.witness.complete(operation, Outcome::done());
        }
        Sending { operation, handle }
    }

    fn finish(&self, sending: Sending) -> ringlane::Result<()> {
        let result = sending.handle.and_then(SendHandle::wait);
        self.witness.sent(sending.operation, &result);
        result.map(drop)
    }

    fn send_and_wait(&mut self, visible_at_ms: Option<i64>, durability: Durability) -> ringlane::Result<()> {
        let sending = self.start(visible_at_ms, durability);
        self.finish(sending)
    }

    fn send(mut self, order: &Work) -> ringlane::Result<()> {
        for number in 0..order.operations {
            if order.awaits_error && number == OPERATIONS_BEFORE_ERROR {
                say(|| Message::Ready);
            }
            let done = match self.random.below(10) {
                0..=3 => self.send_and_wait(None, Durability::Synced),
                4 | 5 => self.send_batch(),
                6 => {
                    let several: Vec<_> = (0..4).map(|_| self.start(None, Durability::Synced)).collect();
                    several.into_iter().map(|sending| self.finish(sending)).fold(Ok(()), Result::and)
                }
                7 => self.send_and_wait(None, Durability::Buffered),
                8 => {
                    let due_ms = wall_ms() + self.random.below(DELAY_MS_MAX) as i64;
                    self.send_and_wait(Some(due_ms), Durability::Synced)
                }
                _ => self.witness.call(Call::Sync, || self.scene.engine.sync()),
            };
            order.unless_expected(done)?;
        }
        Ok(())
    }

    fn send_batch(&mut self) -> ringlane::Result<()> {
        let count = 1 + self.random.below(BATCH_RECORDS_MAX);
        let announced: Vec<_> = (0..count).map(|_| self.announce(Durability::Synced, None)).collect();
        let operations: Vec<u64> = announced.iter().map(|(_, _, operation, _)| *operation).collect();
        self.witness.say(announced.iter().map(|(_, _, _, event)| event.clone()).collect());
        let records: Vec<_> = announced
            .iter()
            .map(|(partition, bytes, ..)| Record { partition: *partition, ..Record::new(bytes) })
            .collect();
        let result = self.scene.synced.send_batch(&self.scene.topic, &records).and_then(BatchHandle::wait);
        let outcomes = match &result {
            Ok(receipts) => receipts.iter().map(receipt_outcome).collect(),
            // Some may be there: which, only reading tells.
            Err(error) => vec![Outcome::Unknown { code: error.code().to_owned() }; operations.len()],
        };
        let at_ns = monotonic_ns();
        let completions = operations.into_iter().zip(outcomes).map(|(operation, outcome)| Event::Complete {
            at_ns,
            operation,
            outcome,
        });
        self.witness.say(completions.collect());
        result.map(drop)
    }

    /// What is seen here must never be gone, whatever the device loses.
    fn read(mut self, polls: u64) -> ringlane::Result<()> {
        let mut consumer = self.scene.engine.consumer(ConsumerOptions::new())?;
        for partition in 0..PARTITIONS {
            let call = Call::Assign { topic: self.number, partition, from: From::Beginning };
            let operation = self.witness.invoke(self.process, call);
            consumer.assign(&self.scene.topic, partition, Start::Beginning)?;
            let offset = consumer.position(&self.scene.topic, partition).unwrap_or(0);
            self.witness.complete(operation, Outcome::Ok(Answer::Position { offset }));
        }
        for _ in 0..polls {
            let operation = self.witness.invoke(self.process, Call::Poll { transaction: None });
            let records = match consumer.poll(Duration::from_millis(self.random.below(10))) {
                Err(error @ Error::Truncated { partition, to, .. }) => {
                    self.witness.complete(operation, refusal(&error));
                    self.go_on_behind(&mut consumer, partition, to)?;
                    continue;
                }
                polled => polled?,
            };
            let mut reads: Vec<Read> = Vec::new();
            for record in &records {
                let (partition, read) = (record.partition(), (record.offset(), value_of(record.value())));
                match reads.last_mut().filter(|last| last.partition == partition) {
                    Some(last) => last.records.push(read),
                    None => reads.push(Read { topic: self.number, partition, records: vec![read] }),
                }
            }
            self.witness.complete(operation, Outcome::Ok(Answer::Polled { reads, wall_ms: Some(wall_ms()) }));
        }
        Ok(())
    }

    /// Records were given up where this one reads, and perhaps more while it goes on.
    fn go_on_behind(&self, consumer: &mut Consumer, partition: u32, mut to: u64) -> ringlane::Result<()> {
        let topic = self.number;
        loop {
            self.witness.happen(Happening::truncated(topic, partition, to));
            let call = Call::Seek { topic, partition, from: From::Offset(to) };
            let operation = self.witness.invoke(self.process, call);
            match consumer.seek(&self.scene.topic, partition, Start::Offset(to)) {
                Err(error @ Error::Truncated { to: further, .. }) => {
                    self.witness.complete(operation, refusal(&error));
                    to = further;
                }
                sought => {
                    sought?;
                    let offset = consumer.position(&self.scene.topic, partition).unwrap_or(to);
                    self.witness.complete(operation, Outcome::Ok(Answer::Position { offset }));
                    return Ok(());
                }
            }
        }
    }
}

/// Gives the cleaner a while: what was given up has made segments sparse, and earlier numbers of lanes left small ones.
fn wait_for_the_cleaner(engine: &Engine) {
    let begun = Instant::now();
    while engine.stats().cleaner.copies == 0 && begun.elapsed() < CLEANING_MAX {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A topic's name; no other topic ever has it.
fn name_of(number: TopicNumber) -> String {
    format!("topic-{number}")
}

/// A record's number. Bytes that were never sent have one that nobody sent, which the checker finds.
fn value_of(bytes: Option<&[u8]>) -> Value {
    bytes.and_then(number_of).unwrap_or(Value::MAX)
}

/// Small segments, so that a short recording fills, seals and recycles them.
fn options(lanes: u32) -> Options {
    Options::new()
        .lanes(Some(lanes))
        .segment_bytes_first(1 << 20)
        .segment_bytes_max(1 << 20)
        .record_bytes_max(64 << 10)
        .batch_bytes(16 << 10)
        .tail_cache_bytes(4 << 20)
        .index_cache_bytes(1 << 20)
        .flush_interval_ms(5)
        .lock_wait_ms(30_000)
}
