//! The child: opens, says what it reads, then works until it is killed.

use super::message::{Lie, Message, Order, Random, monotonic_ns, say, say_panics};
use super::{groups, outbox};
use crate::history::{Answer, Call, Durability, Event, From, Happening, Outcome, Read, TopicNumber, Value};
use crate::value::{bytes_of, number_of};
use crate::witness::{self, numbered_of, refusal, wall_ms};
use ringlane::{
    Consumer, ConsumerOptions, Engine, Error, Options, Producer, ProducerOptions, Receipt, Record, Start, Topic,
    TopicOptions,
};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Records in flight from the asynchronous sender.
const IN_FLIGHT_MAX: usize = 40;
/// Largest batch.
const BATCH_RECORDS_MAX: u64 = 20;
/// Largest delay.
const DELAY_MS_MAX: u64 = 40;
/// The topic that stays.
const MAIN: &str = "main";
pub(super) const PARTITIONS: u32 = 5;

/// Does what the parent ordered, until it is killed. Returns after an order to settle.
///
/// # Errors
/// The order cannot be read, or the engine fails.
pub fn run_child(order: &str) -> Result<(), String> {
    let order: Order = serde_json::from_str(order).map_err(|error| format!("the order: {error}"))?;
    // SAFETY: changes a setting of this process only. A child does not outlive its parent.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    say_panics();
    let witness = Witness::new(&order);
    let result = witness.run(&order);
    if let Err(error) = &result {
        say(|| Message::Trouble(error.to_string()));
    }
    result.map_err(|error| error.to_string())
}

/// Says everything that is done.
pub(super) struct Witness {
    began_ns: u64,
    operation: AtomicU64,
    value: AtomicU64,
    process: AtomicU32,
    topic: AtomicU32,
    lie: Option<Lie>,
}

/// What a send is asked for.
#[derive(Clone, Copy, Default)]
struct Asked {
    partition: Option<u32>,
    durability: Durability,
    visible_at_ms: Option<i64>,
}

impl Witness {
    fn new(order: &Order) -> Witness {
        Witness {
            began_ns: order.began_ns,
            operation: AtomicU64::new(order.first_operation),
            value: AtomicU64::new(order.first_value),
            process: AtomicU32::new(order.first_process),
            topic: AtomicU32::new(order.first_topic),
            lie: order.lie,
        }
    }

    pub(super) fn at_ns(&self) -> u64 {
        monotonic_ns().saturating_sub(self.began_ns)
    }

    /// Whether this is one of the things that it says although they are not so.
    pub(super) fn lies(&self, lie: Lie) -> bool {
        self.lie == Some(lie)
    }

    pub(super) fn next_value(&self) -> Value {
        self.value.fetch_add(1, Relaxed)
    }

    pub(super) fn next_process(&self) -> u32 {
        self.process.fetch_add(1, Relaxed)
    }

    /// Says that a call is about to be made.
    pub(super) fn invoke(&self, process: u32, call: Call) -> u64 {
        let operation = self.operation.fetch_add(1, Relaxed);
        say(|| Message::Event(Event::Invoke { at_ns: self.at_ns(), operation, process, call }));
        operation
    }

    /// Says how it ended.
    pub(super) fn complete(&self, operation: u64, outcome: Outcome) {
        say(|| Message::Event(Event::Complete { at_ns: self.at_ns(), operation, outcome }));
    }

    pub(super) fn happen(&self, happening: Happening) {
        say(|| Message::Event(Event::World { at_ns: self.at_ns(), happening }));
    }

    /// A call with nothing to answer.
    pub(super) fn call(
        &self,
        process: u32,
        call: Call,
        run: impl FnOnce() -> ringlane::Result<()>,
    ) -> ringlane::Result<()> {
        let operation = self.invoke(process, call);
        let result = run();
        self.complete(operation, result.as_ref().map_or_else(refusal, |()| Outcome::done()));
        result
    }

    fn sending(&self, process: u32, topic: TopicNumber, value: Value, asked: Asked) -> u64 {
        let Asked { partition, durability, visible_at_ms } = asked;
        let durability = if self.lies(Lie::Receipts) { Durability::Synced } else { durability };
        self.invoke(
            process,
            Call::Send { topic, partition, value, durability, visible_at_ms, transaction: None, by: None },
        )
    }

    pub(super) fn sent(&self, operation: u64, result: &ringlane::Result<Receipt>) {
        let outcome = result.as_ref().map_or_else(refusal, |receipt| {
            let synced = self.lies(Lie::Receipts) || receipt.durability == ringlane::Durability::Synced;
            Outcome::Ok(Answer::Receipt {
                partition: receipt.partition,
                offset: receipt.offset,
                durability: if synced { Durability::Synced } else { Durability::Buffered },
                numbered: numbered_of(receipt),
            })
        });
        self.complete(operation, outcome);
    }

    fn run(&self, order: &Order) -> ringlane::Result<()> {
        let engine = Engine::open(&order.directory, options(order)?)?;
        self.happen(Happening::Reopened);
        if order.settle {
            return self.settle(&engine, order);
        }
        self.list(&engine, order)?;
        let main = self.topic(&engine, order, MAIN, PARTITIONS)?;
        let grouped = self.topic(&engine, order, groups::TOPIC, groups::PARTITIONS)?;
        groups::GROUPS.iter().try_for_each(|group| group.open(self, &engine, grouped.1))?;
        say(|| Message::Ready);
        self.work(&engine, &main, &grouped, order)
    }

    /// A topic that stays; it is created if it is not there.
    fn topic(
        &self,
        engine: &Engine,
        order: &Order,
        name: &str,
        partitions: u32,
    ) -> ringlane::Result<(Topic, TopicNumber)> {
        match (last_of_each_name(order).get(name), engine.topic(name)) {
            (Some(number), Ok(topic)) => Ok((topic, *number)),
            _ => self.create(engine, name, partitions),
        }
    }

    /// Says everything that can be read.
    fn list(&self, engine: &Engine, order: &Order) -> ringlane::Result<()> {
        let last = last_of_each_name(order);
        for (name, number) in &order.topics {
            // A name was used again only after the topic before was gone.
            let topic = engine.topic(name).ok().filter(|_| last[name.as_str()] == *number);
            let Some(topic) = topic else {
                self.happen(Happening::TopicMissing { topic: *number });
                continue;
            };
            let value = |bytes: Option<&[u8]>, offset| self.number(bytes, name, offset);
            witness::contents(engine, &topic, *number, value, |contents| self.happen(contents))?;
        }
        Ok(())
    }

    /// A record's number. Bytes that were never sent are said to be so.
    pub(super) fn number(&self, bytes: Option<&[u8]>, topic: &str, offset: u64) -> Value {
        bytes.and_then(number_of).unwrap_or_else(|| {
            say(|| Message::Trouble(format!("{topic} offset {offset}: these bytes were never sent")));
            Value::MAX
        })
    }

    /// The last child of a log: nothing is withheld any more, everything is read, the groups do what is left, the engine
    /// is closed.
    fn settle(&self, engine: &Engine, order: &Order) -> ringlane::Result<()> {
        witness::wait_until_published(engine, |text| say(|| Message::Trouble(text)))?;
        self.happen(Happening::Settled { wall_ms: wall_ms() });
        self.list(engine, order)?;
        if let (Some(number), Ok(_)) = (last_of_each_name(order).get(groups::TOPIC), engine.topic(groups::TOPIC)) {
            groups::GROUPS.iter().try_for_each(|group| group.drain(self, engine, *number))?;
        }
        engine.close()
    }

    fn create(&self, engine: &Engine, name: &str, partitions: u32) -> ringlane::Result<(Topic, TopicNumber)> {
        let number = self.topic.fetch_add(1, Relaxed);
        say(|| Message::Topic(name.to_owned(), number));
        let process = self.next_process();
        let operation = self.invoke(process, Call::CreateTopic { topic: number, partitions, dead_letters_of: None });
        let result = engine.create_topic(name, TopicOptions::new().partitions(partitions));
        self.complete(operation, result.as_ref().map_or_else(refusal, |_| Outcome::done()));
        Ok((result?, number))
    }

    /// All threads, until the first error. A kill ends them.
    fn work(
        &self,
        engine: &Engine,
        main: &(Topic, TopicNumber),
        grouped: &(Topic, TopicNumber),
        order: &Order,
    ) -> ringlane::Result<()> {
        let producer = engine.producer(ProducerOptions::new())?;
        let buffered = engine.producer(ProducerOptions::new().durability(ringlane::Durability::Buffered))?;
        let worker_on =
            |topic, number| Worker::new(self, engine, topic, order.seed.wrapping_mul(31).wrapping_add(number));
        let worker = |number| worker_on(main, number);
        let (first, second) = (worker(0), worker(1));
        let (asynchronous, batches, loose, delays) = (worker(2), worker(3), worker(4), worker(5));
        let (reader, other_reader, churn) = (worker(6), worker(7), worker(8));
        let numbering = worker(9);
        let named = outbox::open(&numbering, engine)?;
        let feeder = worker_on(grouped, 10);
        let members: Vec<_> = groups::GROUPS
            .into_iter()
            .flat_map(|group| (0..group.members).map(move |member| (group, 100 + member)))
            .map(|(group, number)| (group, worker_on(grouped, number)))
            .collect();
        std::thread::scope(|scope| {
            let producer = &producer;
            let mut threads = vec![
                scope.spawn(move || first.send_one_by_one(producer)),
                scope.spawn(move || second.send_one_by_one(producer)),
                scope.spawn(move || asynchronous.send_ahead(producer)),
                scope.spawn(move || batches.send_batches(producer)),
                scope.spawn(move || loose.send_buffered(&buffered)),
                scope.spawn(move || delays.delay_and_cancel(producer)),
                scope.spawn(move || outbox::send(numbering, &named, &order.outbox)),
                scope.spawn(move || reader.read()),
                scope.spawn(move || other_reader.read()),
                scope.spawn(move || churn.make_and_delete_topics(producer, last_of_each_name(order))),
                scope.spawn(move || groups::feed(feeder, producer)),
            ];
            threads.extend(
                members.into_iter().map(|(group, worker)| scope.spawn(move || groups::work_off(worker, group))),
            );
            threads.into_iter().try_for_each(|thread| match thread.join().expect("no thread panics") {
                Ok(never) => match never {},
                Err(error) => {
                    say(|| Message::Trouble(error.to_string()));
                    Err(error)
                }
            })
        })
    }
}

/// What a thread that ends only with an error returns.
pub(super) enum Never {}

/// One thread's work on the main topic.
pub(super) struct Worker<'a> {
    pub(super) witness: &'a Witness,
    pub(super) engine: &'a Engine,
    pub(super) topic: &'a Topic,
    pub(super) number: TopicNumber,
    pub(super) random: Random,
    pub(super) process: u32,
}

pub(super) type Work = ringlane::Result<Never>;

impl<'a> Worker<'a> {
    fn new(witness: &'a Witness, engine: &'a Engine, topic: &'a (Topic, TopicNumber), seed: u64) -> Worker<'a> {
        let (topic, number) = (&topic.0, topic.1);
        Worker { witness, engine, topic, number, random: Random(seed), process: witness.next_process() }
    }

    pub(super) fn value_bytes(&mut self) -> usize {
        let most = if self.random.below(10) == 0 { 20_000 } else { 900 };
        self.random.below(most) as usize
    }

    fn partition(&mut self) -> Option<u32> {
        (self.random.below(2) == 0).then(|| self.random.below(u64::from(self.topic.partitions())) as u32)
    }

    /// Says that a record will be sent: its number, its bytes, and the operation.
    fn announce(&mut self, asked: Asked) -> (Value, Vec<u8>, u64) {
        let value = self.witness.next_value();
        let bytes = bytes_of(value, self.value_bytes());
        (value, bytes, self.witness.sending(self.process, self.number, value, asked))
    }

    fn send_and_wait(&mut self, producer: &Producer, asked: Asked) -> ringlane::Result<(Value, Receipt)> {
        let (value, bytes, operation) = self.announce(asked);
        let record = Record { partition: asked.partition, ..Record::new(&bytes) };
        let record = match asked.visible_at_ms {
            Some(due_ms) => record.visible_at(due_ms),
            None => record,
        };
        let result = producer.send(self.topic, record).and_then(ringlane::SendHandle::wait);
        self.witness.sent(operation, &result);
        result.map(|receipt| (value, receipt))
    }

    fn send_one_by_one(mut self, producer: &Producer) -> Work {
        loop {
            let asked = Asked { partition: self.partition(), ..Asked::default() };
            self.send_and_wait(producer, asked)?;
        }
    }

    fn send_ahead(mut self, producer: &Producer) -> Work {
        let mut waiting = VecDeque::new();
        loop {
            let asked = Asked { partition: self.partition(), ..Asked::default() };
            let (_, bytes, operation) = self.announce(asked);
            let record = Record { partition: asked.partition, ..Record::new(&bytes) };
            match producer.send(self.topic, record) {
                Ok(handle) => waiting.push_back((operation, handle)),
                Err(error) => self.witness.sent(operation, &Err(error)),
            }
            if waiting.len() >= IN_FLIGHT_MAX
                && let Some((operation, handle)) = waiting.pop_front()
            {
                let result = handle.wait();
                self.witness.sent(operation, &result);
                result?;
            }
        }
    }

    fn send_batches(mut self, producer: &Producer) -> Work {
        loop {
            self.send_batch(producer)?;
        }
    }

    pub(super) fn send_batch(&mut self, producer: &Producer) -> ringlane::Result<()> {
        let count = 1 + self.random.below(BATCH_RECORDS_MAX);
        let mut records = Vec::new();
        let mut operations = Vec::new();
        for _ in 0..count {
            let asked = Asked { partition: self.partition(), ..Asked::default() };
            let (_, bytes, operation) = self.announce(asked);
            records.push((asked.partition, bytes));
            operations.push(operation);
        }
        let records: Vec<_> =
            records.iter().map(|(partition, bytes)| Record { partition: *partition, ..Record::new(bytes) }).collect();
        let result = producer.send_batch(self.topic, &records).and_then(ringlane::BatchHandle::wait);
        match &result {
            Ok(receipts) => {
                for (operation, receipt) in operations.iter().zip(receipts) {
                    self.witness.sent(*operation, &Ok(receipt.clone()));
                }
            }
            // Some may be there: which, only reading tells.
            Err(error) => {
                for operation in operations {
                    self.witness.complete(operation, Outcome::Unknown { code: error.code().to_owned() });
                }
            }
        }
        result.map(drop)
    }

    fn send_buffered(mut self, producer: &Producer) -> Work {
        loop {
            let asked = Asked { partition: self.partition(), durability: Durability::Buffered, ..Asked::default() };
            self.send_and_wait(producer, asked)?;
            if self.random.below(40) == 0 {
                self.witness.call(self.process, Call::Sync, || self.engine.sync())?;
            }
        }
    }

    pub(super) fn send_delayed(&mut self, producer: &Producer) -> ringlane::Result<(Value, Receipt)> {
        let due_ms = wall_ms() + self.random.below(DELAY_MS_MAX) as i64;
        let asked = Asked { partition: self.partition(), visible_at_ms: Some(due_ms), ..Asked::default() };
        self.send_and_wait(producer, asked)
    }

    fn delay_and_cancel(mut self, producer: &Producer) -> Work {
        loop {
            let (value, receipt) = self.send_delayed(producer)?;
            if self.random.below(3) == 0 {
                let cancelled = self.witness.call(self.process, Call::Cancel { value }, || producer.cancel(receipt.id));
                match cancelled {
                    Ok(()) | Err(Error::NotWithheld) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn read(mut self) -> Work {
        let mut consumer = self.engine.consumer(ConsumerOptions::new())?;
        for partition in 0..PARTITIONS {
            let start = if self.random.below(2) == 0 { Start::Beginning } else { Start::End };
            self.place(&mut consumer, partition, start, false)?;
        }
        loop {
            self.poll(&mut consumer)?;
            if self.random.below(30) == 0 {
                let partition = self.random.below(u64::from(PARTITIONS)) as u32;
                let next = consumer.position(self.topic, partition).unwrap_or(0);
                let back = self.random.below(next + 1);
                self.place(&mut consumer, partition, Start::Offset(back), true)?;
            }
        }
    }

    fn place(&self, consumer: &mut Consumer, partition: u32, start: Start, seek: bool) -> ringlane::Result<()> {
        let topic = self.number;
        let from = match start {
            Start::Beginning => From::Beginning,
            Start::End => From::End,
            Start::Offset(offset) => From::Offset(offset),
            Start::Timestamp(time_ms) => From::Timestamp(time_ms),
        };
        let call = if seek { Call::Seek { topic, partition, from } } else { Call::Assign { topic, partition, from } };
        let operation = self.witness.invoke(self.process, call);
        let result = if seek {
            consumer.seek(self.topic, partition, start)
        } else {
            consumer.assign(self.topic, partition, start)
        };
        let offset = consumer.position(self.topic, partition);
        let answer = offset.map_or(Answer::Done, |offset| Answer::Position { offset });
        self.witness.complete(operation, result.as_ref().map_or_else(refusal, |()| Outcome::Ok(answer)));
        result
    }

    fn poll(&mut self, consumer: &mut Consumer) -> ringlane::Result<()> {
        let operation = self.witness.invoke(self.process, Call::Poll { transaction: None });
        let records = consumer.poll(Duration::from_millis(self.random.below(4)));
        let records = match records {
            Ok(records) => records,
            Err(error) => {
                self.witness.complete(operation, refusal(&error));
                return Err(error);
            }
        };
        let mut reads: Vec<Read> = Vec::new();
        for record in &records {
            let value = self.witness.number(record.value(), record.topic(), record.offset());
            let (partition, read) = (record.partition(), (record.offset(), value));
            match reads.last_mut().filter(|last| last.partition == partition) {
                Some(last) => last.records.push(read),
                None => reads.push(Read { topic: self.number, partition, records: vec![read] }),
            }
        }
        if reads.is_empty() {
            let nothing = |partition| Read { topic: self.number, partition, records: Vec::new() };
            reads = (0..PARTITIONS).map(nothing).collect();
        }
        self.witness.complete(operation, Outcome::Ok(Answer::Polled { reads, wall_ms: Some(wall_ms()) }));
        Ok(())
    }

    fn make_and_delete_topics(mut self, producer: &Producer, mut left: HashMap<&str, TopicNumber>) -> Work {
        loop {
            let name = format!("topic-{}", self.random.below(3));
            // Left by a child before.
            if let (Some(number), Ok(_)) = (left.remove(name.as_str()), self.engine.topic(&name)) {
                self.delete(&name, number)?;
            }
            let partitions = 1 + self.random.below(3) as u32;
            let (topic, number) = self.witness.create(self.engine, &name, partitions)?;
            for _ in 0..self.random.below(12) {
                let value = self.witness.next_value();
                let bytes = bytes_of(value, self.value_bytes());
                let operation = self.witness.sending(self.process, number, value, Asked::default());
                let result = producer.send(&topic, Record::new(&bytes)).and_then(ringlane::SendHandle::wait);
                self.witness.sent(operation, &result);
                result?;
            }
            if self.random.below(4) == 0 {
                // Some stay for a while, so that a kill finds them.
                std::thread::sleep(Duration::from_millis(self.random.below(10)));
            }
            self.delete(&name, number)?;
        }
    }

    fn delete(&self, name: &str, number: TopicNumber) -> ringlane::Result<()> {
        self.witness.call(self.process, Call::DeleteTopic { topic: number }, || self.engine.delete_topic(name))
    }
}

/// The number that a name stands for if there is a topic of that name.
fn last_of_each_name(order: &Order) -> HashMap<&str, TopicNumber> {
    order.topics.iter().map(|(name, number)| (name.as_str(), *number)).collect()
}

fn options(order: &Order) -> ringlane::Result<Options> {
    let mut options = Options::new()
        .lanes(Some(order.lanes))
        .segment_bytes_first(1 << 20)
        .segment_bytes_max(1 << 20)
        .record_bytes_max(256 << 10)
        .tail_cache_bytes(4 << 20)
        .index_cache_bytes(1 << 20)
        .flush_interval_ms(5)
        .lock_wait_ms(30_000);
    options.set("backend", &order.backend)?;
    Ok(options)
}
