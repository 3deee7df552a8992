//! Killing the process again and again, on the real ring: what was acknowledged is there, once, for ever.
//!
//! A child opens the engine and sends from several threads, synchronously and asynchronously, at once and
//! delayed, and cancels some of what is delayed. It says every acknowledgement. The parent kills it with
//! SIGKILL at a random moment, opens the engine itself, and compares.
//!
//! Checked after each kill: every acknowledged record stands at its offset, no record stands twice,
//! offsets are dense, an offset once seen keeps its record, nothing appears after its cancelling was
//! acknowledged. At the end: every delayed record that was acknowledged and not cancelled has appeared.
//!
//! `RINGLANE_KILL_ROUNDS` sets the rounds for each backend (default 8), `RINGLANE_KILL_SEED` the moments.

#![allow(clippy::unwrap_used)]

mod common;

use common::{child, directory, small};
use ringlane::*;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 5;
const ROUNDS_PER_LOG: u64 = 20;

#[test]
fn killed_again_and_again_nothing_acknowledged_is_lost() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let rounds = number("RINGLANE_KILL_ROUNDS", 8);
    let seed = number("RINGLANE_KILL_SEED", 20_261_123);
    for backend in common::backends() {
        let backend = common::name_of(backend);
        let mut directory = directory();
        let mut history = History::default();
        let mut random = Random(seed);
        for round in 0..rounds {
            // Everything is read after each kill: now and then a fresh log keeps that quick.
            if round > 0 && round % ROUNDS_PER_LOG == 0 {
                directory = common::directory();
                history = History { totals: history.totals, ..History::default() };
            }
            let mut process = child::start("send", &format!("{backend} {round} {}", directory.path().display()));
            let kill_after = Duration::from_micros(500 + random.next() % 120_000);
            let mut kill_at = None;
            while let Some(line) = process.hear() {
                match line.as_str() {
                    "ready" => kill_at = Some(Instant::now() + kill_after),
                    line => history.note(line),
                }
                if kill_at.is_some_and(|at| Instant::now() >= at) {
                    process.kill();
                    kill_at = None;
                }
            }
            let context = format!("{backend}, seed {seed}, round {round}");
            let is_last = round + 1 == rounds || (round + 1) % ROUNDS_PER_LOG == 0;
            history.check(directory.path(), backend, &context, is_last);
            if round % 4 == 0 {
                let report = verify(directory.path(), &mut |_| {}).unwrap();
                assert!(!report.is_damaged(), "{context}: {report:?}");
            }
        }
        let [acknowledged, delayed, cancelled, records] = history.totals;
        println!(
            "{backend}: {rounds} kills, {acknowledged} acknowledged, {delayed} delayed, {cancelled} cancelled, {records} records in all"
        );
        assert!(acknowledged > rounds as usize, "the children hardly got to send");
    }
}

/// What children said, and what was read.
#[derive(Default)]
struct History {
    /// Content to place.
    acknowledged: HashMap<String, (u32, u64)>,
    delayed: HashSet<String>,
    cancelling: HashSet<String>,
    cancelled: HashSet<String>,
    seen: BTreeMap<(u32, u64), String>,
    /// Acknowledged, delayed, cancelled, and all records, of the logs that are done.
    totals: [usize; 4],
}

impl History {
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["sent", content, partition, offset] => {
                let place = (partition.parse().unwrap(), offset.parse().unwrap());
                assert_eq!(self.acknowledged.insert(content.to_owned(), place), None);
            }
            ["delayed", content] => assert!(self.delayed.insert(content.to_owned())),
            ["cancelling", content] => assert!(self.cancelling.insert(content.to_owned())),
            ["cancelled", content] => assert!(self.cancelled.insert(content.to_owned())),
            _ => panic!("the child said {line:?}"),
        }
    }

    fn check(&mut self, path: &Path, backend: &str, context: &str, last: bool) {
        let engine = Engine::open(path, small().backend(backend.parse().unwrap())).unwrap();
        let Ok(topic) = engine.topic("t") else {
            assert!(self.acknowledged.is_empty() && self.delayed.is_empty(), "{context}: the topic is gone");
            return engine.close().unwrap();
        };
        if last {
            let deadline = Instant::now() + Duration::from_secs(60);
            while engine.stats().withheld_records > 0 {
                assert!(Instant::now() < deadline, "{context}: delayed records stay withheld");
                std::thread::sleep(Duration::from_millis(5));
            }
            engine.sync().unwrap();
        }
        let mut now = BTreeMap::new();
        let mut contents = HashSet::new();
        for partition in 0..topic.partitions() {
            let records = common::read_from(&engine, &topic, partition, Start::Beginning);
            for (expected, (offset, value)) in records.into_iter().enumerate() {
                assert_eq!(offset, expected as u64, "{context}: offsets of partition {partition} are dense");
                let content = String::from_utf8(value).unwrap();
                let content = content.split('.').next().unwrap().to_owned();
                assert!(contents.insert(content.clone()), "{context}: {content} stands twice");
                assert!(!self.cancelled.contains(&content), "{context}: {content} was cancelled");
                now.insert((partition, offset), content);
            }
        }
        for (place, content) in &self.seen {
            assert_eq!(now.get(place), Some(content), "{context}: {place:?} was seen before");
        }
        for (content, place) in &self.acknowledged {
            assert_eq!(now.get(place), Some(content), "{context}: acknowledged at {place:?}");
        }
        if last {
            let undecided = |content: &&String| !self.cancelling.contains(*content);
            for content in self.delayed.iter().filter(undecided) {
                assert!(contents.contains(content), "{context}: delayed record {content} never appeared");
            }
        }
        self.seen = now;
        if last {
            let counts = [self.acknowledged.len(), self.delayed.len(), self.cancelled.len(), self.seen.len()];
            for (total, count) in self.totals.iter_mut().zip(counts) {
                *total += count;
            }
        }
        engine.close().unwrap();
    }
}

#[test]
#[ignore = "what the children of this test run"]
fn child() {
    let Some((_, argument)) = child::order() else { return };
    let words: Vec<&str> = argument.splitn(3, ' ').collect();
    let [backend, round, path] = words[..] else { panic!("{argument}") };
    let engine = Engine::open(path, small().backend(backend.parse().unwrap()).flush_interval_ms(5)).unwrap();
    let topic = match engine.topic("t") {
        Ok(topic) => topic,
        Err(_) => engine.create_topic("t", TopicOptions::new().partitions(PARTITIONS)).unwrap(),
    };
    child::say("ready");
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    std::thread::scope(|scope| {
        for sender in 0..3 {
            let (producer, topic) = (producer.clone(), topic.clone());
            scope.spawn(move || {
                for number in 0u32.. {
                    let content = format!("{round}-s{sender}-{number}");
                    // Filler behind the dot makes segments fill and roll.
                    let value = format!("{content}.{}", "x".repeat((number as usize * 37) % 3000));
                    let receipt = producer.send(&topic, Record::new(value.as_bytes())).unwrap().wait().unwrap();
                    child::say(&format!("sent {content} {} {}", receipt.partition, receipt.offset.unwrap()));
                }
            });
        }
        let (asynchronous, async_topic) = (producer.clone(), topic.clone());
        scope.spawn(move || {
            let mut waiting = std::collections::VecDeque::new();
            for number in 0u32.. {
                let content = format!("{round}-a-{number}");
                let value = format!("{content}.{}", "y".repeat(900));
                let record = Record::new(value.as_bytes()).partition(number % PARTITIONS);
                waiting.push_back((content, asynchronous.send(&async_topic, record).unwrap()));
                if waiting.len() >= 40 {
                    let (content, handle) = waiting.pop_front().unwrap();
                    let receipt = handle.wait().unwrap();
                    child::say(&format!("sent {content} {} {}", receipt.partition, receipt.offset.unwrap()));
                }
            }
        });
        scope.spawn(move || {
            for number in 0u64.. {
                let content = format!("{round}-d-{number}");
                let record = Record::new(content.as_bytes()).visible_after(Duration::from_millis(number % 40));
                let receipt = producer.send(&topic, record).unwrap().wait().unwrap();
                child::say(&format!("delayed {content}"));
                if number % 3 == 0 {
                    child::say(&format!("cancelling {content}"));
                    if producer.cancel(receipt.id).is_ok() {
                        child::say(&format!("cancelled {content}"));
                    }
                }
            }
        });
    });
}

/// A small generator, so that the moments follow from the seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}
