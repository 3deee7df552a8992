//! A process that consumes, transforms and produces; and whether what it produced is there exactly once.

use super::common::{values, wait_until};
use super::killing::{Break, Heard, Life, Random, Verdict, open};
use ringlane::{
    CheckAnswer, CheckerOptions, DeliveryId, Engine, GroupConsumer, GroupOptions, HalfTransaction, MemberOptions, Once,
    Producer, ProducerOptions, Record, Start, Topic, TopicOptions, Transaction, TransactionOptions,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where a process may be killed.
pub(super) const STEPS: [&str; 6] = ["taken", "sent", "acknowledged", "prepared", "committed", "left-undecided"];

/// What a process may do wrong.
pub(super) const BREAKS: [Break; 3] = [
    ("acknowledges-apart", "taken", "is not there"),
    ("sends-apart", "sent", "is there 2 times"),
    ("without-tokens", "committed", "is there 2 times"),
];

const CHECKER: &str = "transform";
const PARTITIONS: u32 = 4;
/// Records that are added at once, where there is nothing left to do.
const RECORDS: u32 = 30;
/// Every so many-th record is sent twice, and is the same work.
const TWICE: u32 = 5;

struct Topics {
    input: Topic,
    output: Topic,
}

fn topics(engine: &Engine) -> Topics {
    let topic = |name: &str| {
        let create = || engine.create_topic(name, TopicOptions::new().partitions(PARTITIONS));
        engine.topic(name).or_else(|_| create()).unwrap()
    };
    let topics = Topics { input: topic("in"), output: topic("out") };
    if engine.groups().is_empty() {
        // None becomes a dead letter, however many processes it has outlived.
        let group = GroupOptions::shared().max_deliveries(100_000).retry_delay(Duration::ZERO, Duration::ZERO);
        engine.create_group("g", group.topic("in", Start::Beginning)).unwrap();
    }
    topics
}

/// Transforms until it is killed.
pub(super) fn live(life: &Life) {
    let engine = life.engine();
    let topics = topics(&engine);
    register_checker(&engine);
    let fills = AtomicU32::new(0);
    let fill_again = || fill(&engine, &topics.input, life.number, fills.fetch_add(1, Ordering::SeqCst));
    fill_again();
    life.tell("works");
    // One member, or three at the same time.
    std::thread::scope(|scope| {
        for thread in 0..if life.number.is_multiple_of(2) { 1 } else { 3 } {
            let (engine, topics, fill_again) = (&engine, &topics, &fill_again);
            scope.spawn(move || {
                let seed = (u64::from(life.number) << 8) | thread;
                let never_done = |_: &Worker<'_>| {
                    fill_again();
                    false
                };
                Worker::join(life, engine, topics, seed).work(never_done);
            });
        }
    });
}

/// Without a database either answer is right, as long as it is one: what is rolled back comes again.
fn register_checker(engine: &Engine) {
    let (first, interval) = (Duration::ZERO, Duration::from_millis(2));
    let checker = |half: &HalfTransaction| match (half.id.bytes().map(u32::from).sum::<u32>() % 3, half.unknown) {
        (0, _) => CheckAnswer::Commit,
        (1, 0) => CheckAnswer::Unknown,
        _ => CheckAnswer::RollBack,
    };
    engine.register_checker(CHECKER, CheckerOptions::new().first(first).interval(interval), checker).unwrap();
}

/// Adds records; some come twice, in the same partition.
fn fill(engine: &Engine, topic: &Topic, life: u32, fill: u32) {
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for number in 0..RECORDS {
        let is_twice = number.is_multiple_of(TWICE);
        let value = format!("{life}-{fill}-{number}{}", if is_twice { "-twice" } else { "" });
        for _ in 0..if is_twice { 2 } else { 1 } {
            let record = Record::new(value.as_bytes()).partition(number % PARTITIONS);
            drop(producer.send(topic, record).unwrap());
        }
    }
    producer.flush().unwrap();
}

/// A member of the group, and what it does.
struct Worker<'life> {
    life: &'life Life,
    topics: &'life Topics,
    member: GroupConsumer,
    producer: Producer,
    random: Random,
}

impl<'life> Worker<'life> {
    fn join(life: &'life Life, engine: &Engine, topics: &'life Topics, seed: u64) -> Self {
        let member = engine.join_group("g", MemberOptions::new()).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        Worker { life, topics, member, producer, random: Random(seed) }
    }

    /// Until nothing comes and `is_done`.
    fn work(&mut self, is_done: impl Fn(&Self) -> bool) {
        loop {
            let polled = self.member.poll(Duration::from_millis(20)).unwrap();
            let taken: Vec<(DeliveryId, String)> = polled
                .iter()
                .map(|delivery| (delivery.id(), String::from_utf8(delivery.record.value().unwrap().to_vec()).unwrap()))
                .collect();
            drop(polled);
            if taken.is_empty() && is_done(self) {
                return;
            }
            let mut rest = &taken[..];
            while !rest.is_empty() {
                let count = (1 + self.random.below(4) as usize).min(rest.len());
                let (part, others) = rest.split_at(count);
                self.transform(part);
                rest = others;
            }
        }
    }

    /// Some deliveries in one transaction.
    fn transform(&mut self, deliveries: &[(DeliveryId, String)]) {
        if self.life.does_wrong("acknowledges-apart") {
            deliveries.iter().for_each(|(id, _)| self.member.ack(*id).unwrap());
            self.member.flush().unwrap();
        }
        self.life.at("taken");
        let mut transaction = self.producer.begin(TransactionOptions::new().checker(CHECKER)).unwrap();
        let mut done = Vec::new();
        for (id, value) in deliveries {
            if self.send(&mut transaction, *id, value) {
                done.push(&**value);
            }
        }
        self.life.at("acknowledged");
        match self.random.below(8) {
            0 => transaction.roll_back().unwrap(),
            1 => drop(transaction),
            2 => {
                transaction.prepare().unwrap();
                drop(transaction);
                self.life.at("left-undecided");
            }
            3 => {
                transaction.prepare().unwrap();
                transaction.roll_back().unwrap();
            }
            4 | 5 => {
                transaction.prepare().unwrap();
                self.life.at("prepared");
                self.commit(transaction, &done);
            }
            _ => self.commit(transaction, &done),
        }
    }

    /// What one delivery becomes; `false`: it is given back.
    fn send(&mut self, transaction: &mut Transaction, id: DeliveryId, value: &str) -> bool {
        let is_twice = value.ends_with("-twice") && !self.life.does_wrong("without-tokens");
        let once = if is_twice { self.member.once(id, value.as_bytes()) } else { Ok(Once::Fresh) };
        match once {
            Ok(Once::Fresh) => {
                let record = Record::new(value.as_bytes()).key(value.as_bytes());
                match self.life.does_wrong("sends-apart") {
                    true => drop(self.producer.send(&self.topics.output, record).unwrap().wait().unwrap()),
                    false => transaction.send(&self.topics.output, record).unwrap(),
                }
            }
            Ok(Once::Duplicate) => {}
            Ok(Once::InProgress { .. }) => {
                self.member.nack(id, None).unwrap();
                return false;
            }
            // It was acknowledged, apart.
            Err(_) if !self.life.breaks.is_empty() => {}
            Err(error) => panic!("{value}: {error}"),
        }
        self.life.at("sent");
        if !self.life.does_wrong("acknowledges-apart") {
            transaction.ack(&self.member, id).unwrap();
        }
        true
    }

    fn commit(&self, mut transaction: Transaction, done: &[&str]) {
        transaction.commit().unwrap();
        done.iter().for_each(|value| self.life.tell(&format!("done {value}")));
        self.life.at("committed");
    }
}

/// After a kill: does the rest of the work, and compares.
pub(super) fn look(path: &Path, lanes: u32, heard: &Heard) -> Verdict {
    let engine = open(path, lanes);
    let topics = topics(&engine);
    let left = engine.transactions().len();
    register_checker(&engine);
    let life = Life::of_the_parent(path, lanes);
    let lag = || engine.describe_group("g").unwrap().partitions.iter().map(|partition| partition.lag).sum::<u64>();
    let mut worker = Worker::join(&life, &engine, &topics, 1);
    worker.work(|_| engine.transactions().is_empty() && lag() == 0);
    worker.member.close();
    wait_until("all are decided", || engine.transactions().is_empty());
    engine.sync().unwrap();
    let counts = |topic: &Topic| {
        let mut counts = BTreeMap::<String, u32>::new();
        let values = (0..PARTITIONS).flat_map(|partition| values(&engine, topic, partition));
        values.for_each(|value| *counts.entry(String::from_utf8(value).unwrap()).or_default() += 1);
        counts
    };
    let (input, output) = (counts(&topics.input), counts(&topics.output));
    let mut wrong = judge(&input, &output);
    if let Ok(dead) = engine.topic("g.dlq") {
        wrong.extend(counts(&dead).keys().map(|value| format!("{value} is a dead letter")));
    }
    engine.close().unwrap();
    let figures = format!(
        "{} records in, {} of them twice, {} out; the processes were answered of {} of them that they are finished; \
         {left} transactions were left to the last look",
        input.values().sum::<u32>(),
        input.values().filter(|count| **count == 2).count(),
        output.len(),
        heard.with("done").count(),
    );
    Verdict { wrong, figures }
}

/// What does not agree.
fn judge(input: &BTreeMap<String, u32>, output: &BTreeMap<String, u32>) -> Vec<String> {
    let lost = input.keys().filter(|value| !output.contains_key(*value));
    let invented = output.keys().filter(|value| !input.contains_key(*value));
    let repeated = output.iter().filter(|(_, count)| **count > 1);
    let lost = lost.map(|value| format!("{value} was consumed, and what becomes of it is not there"));
    let invented = invented.map(|value| format!("{value} came out, and was never in"));
    let repeated = repeated.map(|(value, count)| format!("what becomes of {value} is there {count} times"));
    lost.chain(invented).chain(repeated).collect()
}
