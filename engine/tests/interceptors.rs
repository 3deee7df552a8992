//! Interceptors: who is called when, and what a failure of theirs does to the call.

#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_says, directory, small, wait_until};
use ringlane::*;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// What was called, in order. Shared by the interceptors of a test.
#[derive(Default)]
struct Calls(Mutex<Vec<String>>);

impl Calls {
    fn note(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Waits for so many calls.
    fn wait(&self, count: usize) -> Vec<String> {
        wait_until("all calls came", || self.0.lock().unwrap().len() >= count);
        self.take()
    }
}

/// How it fails, while it does.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Error,
    Panic,
}

/// Notes each call; fails as long as it is told to.
struct Noting {
    name: &'static str,
    calls: Arc<Calls>,
    fault: Fault,
    fails: AtomicBool,
}

impl Noting {
    fn new(name: &'static str, calls: &Arc<Calls>, fault: Option<Fault>) -> Arc<Noting> {
        let (fault, fails) = (fault.unwrap_or(Fault::Error), AtomicBool::new(fault.is_some()));
        Arc::new(Noting { name, calls: calls.clone(), fault, fails })
    }

    fn call(&self, call: String) -> InterceptorResult {
        self.calls.note(format!("{} {call}", self.name));
        match (self.fails.load(Ordering::SeqCst), self.fault) {
            (false, _) => Ok(()),
            (true, Fault::Error) => Err("no trace".into()),
            (true, Fault::Panic) => panic!("no trace"),
        }
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}

impl ProducerInterceptor for Noting {
    fn name(&self) -> &str {
        self.name
    }

    fn on_send(&self, sending: &mut Sending<'_>) -> InterceptorResult {
        let before: Vec<_> = sending.headers().map(|header| header.name.to_owned()).collect();
        let call = format!("sends {} to {}, {before:?}", text(sending.record().value), sending.topic());
        sending.add_header(self.name, sending.number().to_string());
        self.call(call)
    }

    fn on_receipt(&self, number: u64, receipt: &Receipt) {
        let _ = self.call(format!("{number} is at {}", receipt.offset.unwrap()));
    }

    fn on_failure(&self, number: u64, topic: &str, error: &Error) {
        let _ = self.call(format!("{number} to {topic}: {}", error.code()));
    }
}

impl ConsumerInterceptor for Noting {
    fn name(&self) -> &str {
        self.name
    }

    fn on_poll(&self, records: &Records) -> InterceptorResult {
        self.call(format!("polls {:?}", records.iter().map(|record| text(record.value())).collect::<Vec<_>>()))
    }

    fn on_deliver(&self, group: &str, deliveries: &Deliveries) -> InterceptorResult {
        let values: Vec<_> = deliveries.iter().map(|delivery| text(delivery.record.value())).collect();
        self.call(format!("{group} delivers {values:?}"))
    }

    fn on_end(&self, ended: &EndedDeliveries<'_>) {
        let EndedDeliveries { group, topic, partition, offsets, end, .. } = ended;
        let _ = self.call(format!("{group}: {topic}-{partition} @{offsets:?} {end:?}"));
    }
}

fn begin(path: &Path) -> (Engine, Topic) {
    let engine = Engine::open(path, small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    (engine, topic)
}

fn failures(engine: &Engine) -> u64 {
    engine.stats().interceptor_failures
}

/// The values of all records, with the names and values of their headers.
fn read_all(engine: &Engine, topic: &Topic) -> Vec<(String, Vec<String>)> {
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign_all(topic, Start::Beginning).unwrap();
    let records = consumer.poll(Duration::ZERO).unwrap();
    let headers = |record: &RecordView<'_>| {
        record.headers().map(|header| format!("{}={}", header.name, text(Some(header.value)))).collect()
    };
    records.iter().map(|record| (text(record.value()), headers(&record))).collect()
}

#[test]
fn producers_interceptors_are_called_in_their_order_and_add_headers() {
    let directory = directory();
    let (engine, topic) = begin(directory.path());
    let calls = Arc::new(Calls::default());
    let options = ProducerOptions::new()
        .interceptor(Noting::new("a", &calls, None))
        .interceptor_best_effort(Noting::new("b", &calls, None));
    assert_eq!(options, options.clone());
    let producer = engine.producer(options).unwrap();
    let own = [Header { name: "own", value: b"1" }];
    producer.send(&topic, Record::new(b"x").headers(&own)).unwrap().wait().unwrap();
    assert_eq!(
        calls.wait(4),
        [r#"a sends x to t, ["own"]"#, r#"b sends x to t, ["own", "a"]"#, "a 0 is at 0", "b 0 is at 0"]
    );
    // A clone goes on with the numbers.
    producer.clone().send(&topic, Record::new(b"y")).unwrap().wait().unwrap();
    assert_eq!(calls.wait(4)[2..], ["a 1 is at 1", "b 1 is at 1"]);
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        read_all(&engine, &topic),
        [("x".to_owned(), strings(&["own=1", "a=0", "b=0"])), ("y".to_owned(), strings(&["a=1", "b=1"]))]
    );
    engine.close().unwrap();
}

#[test]
fn a_send_whose_interceptor_fails_is_not_sent_and_those_before_it_learn_it() {
    let directory = directory();
    let (engine, topic) = begin(directory.path());
    for (fault, words) in [(Fault::Error, "no trace"), (Fault::Panic, "it panicked: no trace")] {
        let calls = Arc::new(Calls::default());
        let failing = Noting::new("failing", &calls, Some(fault));
        let options = ProducerOptions::new()
            .interceptor(Noting::new("a", &calls, None))
            .interceptor(failing.clone())
            .interceptor(Noting::new("c", &calls, None));
        let producer = engine.producer(options).unwrap();
        let error = producer.send(&topic, Record::new(b"x")).unwrap_err();
        assert_says(&error, "interceptor", &["`failing`", "on_send", words, "nothing was sent", "best effort"]);
        assert_eq!(
            (error.code(), error.is_retriable(), error.is_fatal(), error.is_unknown_outcome()),
            ("interceptor", false, false, false)
        );
        assert_eq!(calls.take(), ["a sends x to t, []", r#"failing sends x to t, ["a"]"#, "a 0 to t: interceptor"]);

        // Of several none is sent, and the first, which all were shown, is told to all.
        let failing_at_b = Noting::new("failing", &calls, None);
        struct AtB(Arc<Noting>, Fault);
        impl ProducerInterceptor for AtB {
            fn name(&self) -> &str {
                "at b"
            }
            fn on_send(&self, sending: &mut Sending<'_>) -> InterceptorResult {
                match (sending.record().value, self.1) {
                    (Some(b"b"), Fault::Error) => Err("no b".into()),
                    (Some(b"b"), Fault::Panic) => panic!("no b"),
                    _ => Ok(()),
                }
            }
            fn on_failure(&self, number: u64, topic: &str, error: &Error) {
                self.0.on_failure(number, topic, error);
            }
        }
        let options = ProducerOptions::new().interceptor(Arc::new(AtB(failing_at_b, fault)));
        let producer = engine.producer(options).unwrap();
        let records = [Record::new(b"a"), Record::new(b"b"), Record::new(b"c")];
        assert_says(&producer.send_batch(&topic, &records).unwrap_err(), "interceptor", &["`at b`", "no b"]);
        let pairs = records.map(|record| (&topic, record));
        assert_says(&producer.send_many(&pairs).unwrap_err(), "interceptor", &["`at b`", "no b"]);
        assert_eq!(calls.take(), ["failing 0 to t: interceptor", "failing 3 to t: interceptor"]);
    }
    assert_eq!(topic.partition_info(0).unwrap().next_offset, 0, "nothing was sent");
    assert_eq!(failures(&engine), 0);
    // No number was used up.
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    assert_eq!(producer.send(&topic, Record::new(b"x")).unwrap().wait().unwrap().origin.sequence, 0);
    engine.close().unwrap();
}

#[test]
fn one_that_is_best_effort_fails_no_send_and_what_it_added_does_not_count() {
    let directory = directory();
    let (engine, topic) = begin(directory.path());
    let calls = Arc::new(Calls::default());
    for (count, fault) in [Fault::Error, Fault::Panic].into_iter().enumerate() {
        let options = ProducerOptions::new()
            .interceptor_best_effort(Noting::new("failing", &calls, Some(fault)))
            .interceptor(Noting::new("b", &calls, None));
        let producer = engine.producer(options).unwrap();
        producer.send(&topic, Record::new(b"x")).unwrap().wait().unwrap();
        let shown = calls.wait(4);
        assert_eq!(shown[..2], ["failing sends x to t, []", "b sends x to t, []"]);
        assert_eq!(shown[3], format!("b 0 is at {count}"), "a panic when told keeps nobody from being told");
    }
    assert_eq!(read_all(&engine, &topic)[1].1, ["b=0"]);
    // Two failed sends, and the panic of the one that was told of a receipt.
    assert_eq!(failures(&engine), 3);
    engine.close().unwrap();
}

/// Whose records are sent together learns the outcome of each, by its number.
#[test]
fn each_record_of_a_batch_has_its_outcome() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small().lanes(Some(2))).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    let calls = Arc::new(Calls::default());
    let options = ProducerOptions::new().interceptor(Noting::new("a", &calls, None));
    let producer = engine.producer(options).unwrap();
    let values: Vec<_> = (0..6_u32).map(|number| (number % 2, number.to_string())).collect();
    let records: Vec<_> =
        values.iter().map(|(partition, value)| Record::new(value.as_bytes()).partition(*partition)).collect();
    producer.send_batch(&topic, &records).unwrap().wait_done().unwrap();
    let shown = calls.wait(12);
    assert!(shown[..6].iter().all(|call| call.starts_with("a sends")), "all are shown before one is sent: {shown:?}");
    let mut told = shown[6..].to_vec();
    told.sort();
    let expected: Vec<_> = (0..6).map(|number| format!("a {number} is at {}", number / 2)).collect();
    assert_eq!(told, expected);
    // What is refused for what it is, is told at once.
    let wrong = [Record::new(b"x"), Record::new(b"y").partition(9)];
    producer.send_batch(&topic, &wrong).unwrap_err();
    assert_eq!(calls.take()[2..], ["a 6 to t: invalid-partition", "a 7 to t: invalid-partition"]);
    producer.send(&topic, Record::new(b"y").partition(9)).unwrap_err();
    assert_eq!(calls.take()[1..], ["a 8 to t: invalid-partition"]);
    engine.close().unwrap();
    producer.send(&topic, Record::new(b"z")).unwrap_err();
    assert_eq!(calls.take()[1..], ["a 9 to t: closed"]);
}

/// All that was sent is told of before the engine is closed, failures too.
#[test]
fn what_is_under_way_when_the_engine_closes_is_told() {
    let directory = directory();
    let (engine, topic) = begin(directory.path());
    let calls = Arc::new(Calls::default());
    let options = ProducerOptions::new().name("p").interceptor(Noting::new("a", &calls, None));
    let producer = engine.producer(options).unwrap();
    let gap = producer.send(&topic, Record::new(b"x").partition(0).sequence(5)).unwrap();
    let sent = producer.send(&topic, Record::new(b"y").partition(0)).unwrap();
    engine.close().unwrap();
    // The first may be told before the second is sent.
    let mut told: Vec<String> = calls.take().into_iter().filter(|call| !call.contains(" sends ")).collect();
    told.sort();
    assert_eq!(told, ["a 0 to t: sequence-gap", "a 1 is at 0"]);
    assert_eq!(gap.wait().unwrap_err().code(), "sequence-gap");
    sent.wait().unwrap();
}

#[test]
fn a_poll_whose_interceptor_fails_loses_nothing() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let send = |value: &'static [u8], partition| {
        producer.send(&topic, Record::new(value).partition(partition)).unwrap().wait().unwrap();
    };
    (0..2).for_each(|partition| send(b"first", partition));
    for (fault, words) in [(Fault::Error, "no trace"), (Fault::Panic, "it panicked: no trace")] {
        let calls = Arc::new(Calls::default());
        let failing = Noting::new("failing", &calls, Some(fault));
        let options = ConsumerOptions::new()
            .interceptor(Noting::new("a", &calls, None))
            .interceptor(failing.clone())
            .max_poll_records(3);
        let mut consumer = engine.consumer(options).unwrap();
        consumer.assign_all(&topic, Start::Beginning).unwrap();
        for _ in 0..3 {
            let error = consumer.poll(SOON).unwrap_err();
            assert_says(&error, "interceptor", &["`failing`", "on_poll", words, "stays where it was"]);
            assert_eq!([0, 1].map(|partition| consumer.position(&topic, partition)), [Some(0), Some(0)]);
        }
        failing.fails.store(false, Ordering::SeqCst);
        let mut values = Vec::new();
        let end = |partition| topic.partition_info(partition).unwrap().next_offset;
        while values.len() < (end(0) + end(1)) as usize {
            let records = consumer.poll(SOON).unwrap();
            values.extend(records.iter().map(|record| (record.partition(), record.offset())));
        }
        values.sort_unstable();
        let expected: Vec<_> =
            (0..2).flat_map(|partition| (0..end(partition)).map(move |at| (partition, at))).collect();
        assert_eq!(values, expected, "each record once");
        // What was given once was checked once.
        assert!(consumer.take_findings().is_empty());
        let report = consumer.continuity().unwrap();
        assert_eq!((report.records, report.is_continuous()), (end(0) + end(1), true));
        assert!(calls.take().iter().all(|call| call.contains("polls")));
        // An empty poll calls nobody.
        assert!(consumer.poll(Duration::ZERO).unwrap().is_empty());
        assert!(calls.take().is_empty());
        (0..2).for_each(|partition| send(b"more", partition));
    }
    assert_eq!(failures(&engine), 0);

    let calls = Arc::new(Calls::default());
    let options = ConsumerOptions::new().interceptor_best_effort(Noting::new("failing", &calls, Some(Fault::Panic)));
    let mut consumer = engine.consumer(options).unwrap();
    consumer.assign_all(&topic, Start::Offset(1)).unwrap();
    assert!(!consumer.poll(SOON).unwrap().is_empty());
    assert_eq!(failures(&engine), 1);
    engine.close().unwrap();
}

/// Records that are read from a file come again as well, after the end of the log left the memory.
#[test]
fn what_a_poll_read_from_files_comes_again() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small().tail_cache_bytes(4 << 20)).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let value = vec![7; 4 << 10];
    for _ in 0..50 {
        producer.send_batch(&topic, &vec![Record::new(&value); 40]).unwrap().wait_done().unwrap();
    }
    let calls = Arc::new(Calls::default());
    let failing = Noting::new("failing", &calls, None);
    let options = ConsumerOptions::new().interceptor(failing.clone()).max_poll_records(170);
    let mut consumer = engine.consumer(options).unwrap();
    consumer.assign_all(&topic, Start::Beginning).unwrap();
    let mut offsets = Vec::new();
    while offsets.len() < 2_000 {
        failing.fails.fetch_xor(true, Ordering::SeqCst);
        match consumer.poll(SOON) {
            Ok(records) => offsets.extend(records.iter().map(|record| record.offset())),
            Err(error) => assert_eq!(error.code(), "interceptor"),
        }
        calls.take();
    }
    assert_eq!(offsets, (0..2_000).collect::<Vec<_>>());
    assert!(consumer.continuity().unwrap().is_continuous());
    engine.close().unwrap();
}

#[test]
fn deliveries_whose_interceptor_fails_are_handed_out_again_uncounted() {
    for (kind, name) in [(GroupOptions::shared(), "shared"), (GroupOptions::ordered(), "ordered")] {
        let directory = directory();
        let (engine, topic) = begin(directory.path());
        let group = kind.topic("t", Start::Beginning).retry_delay(Duration::ZERO, Duration::ZERO);
        engine.create_group(name, group).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        producer
            .send_batch(&topic, &[Record::new(b"a"), Record::new(b"b"), Record::new(b"c")])
            .unwrap()
            .wait()
            .unwrap();
        let calls = Arc::new(Calls::default());
        let failing = Noting::new("failing", &calls, None);
        let options = MemberOptions::new().interceptor(Noting::new("a", &calls, None)).interceptor(failing.clone());
        let mut member = engine.join_group(name, options).unwrap();
        let fail = |member: &mut GroupConsumer, is_failing| {
            failing.fails.store(is_failing, Ordering::SeqCst);
            member.poll(SOON)
        };
        for _ in 0..5 {
            let error = fail(&mut member, true).unwrap_err();
            assert_says(
                &error,
                "interceptor",
                &["`failing`", "on_deliver", "no trace", "handed out again", "no failure"],
            );
            assert_eq!(member.in_flight(), 0);
        }
        assert_eq!(calls.take().len(), 10);
        let deliveries = fail(&mut member, false).unwrap();
        let shown: Vec<_> =
            deliveries.iter().map(|delivery| (delivery.record.offset(), delivery.delivery_count)).collect();
        assert_eq!(shown, [(0, 1), (1, 1), (2, 1)], "{name}");
        assert_eq!(calls.take(), ["a", "failing"].map(|who| format!(r#"{who} {name} delivers ["a", "b", "c"]"#)));
        // One that was given back by its member is counted, and stays so.
        let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id()).collect();
        member.nack(ids[0], None).unwrap();
        assert_eq!(calls.take(), ["a", "failing"].map(|who| format!("{who} {name}: t-0 @0..1 Nacked")));
        assert_eq!(fail(&mut member, true).unwrap_err().code(), "interceptor");
        calls.take();
        let again = fail(&mut member, false).unwrap();
        assert_eq!(again.iter().map(|delivery| delivery.delivery_count).collect::<Vec<_>>(), [2], "{name}");
        calls.take();
        member.ack_through(ids[1]).unwrap();
        let ended = |call: &str| ["a", "failing"].map(|who| format!("{who} {name}: t-0 @{call}"));
        let pieces = ["0..1 Acknowledged", "1..2 Acknowledged"].map(ended).concat();
        assert_eq!(calls.take(), pieces, "{name}: two leases, two pieces");
        member.release(ids[2]).unwrap();
        assert_eq!(calls.take(), ended("2..3 Released"), "{name}");
        // A call that came too late ended nothing.
        member.ack(ids[2]).unwrap_err();
        assert!(calls.take().is_empty());
        let last = fail(&mut member, false).unwrap();
        calls.take();
        member.reject(last.iter().next().unwrap().id()).unwrap();
        assert_eq!(calls.take(), ended("2..3 Rejected"), "{name}");
        member.close();
        assert_eq!(failures(&engine), 0);
        engine.close().unwrap();
    }
}

/// A lease that ran out while the interceptor had the deliveries was ended then: they are not given back twice.
#[test]
fn a_panic_that_comes_after_the_lease_gives_nothing_back_twice() {
    struct Slow(Engine);
    impl ConsumerInterceptor for Slow {
        fn on_deliver(&self, group: &str, _deliveries: &Deliveries) -> InterceptorResult {
            let in_flight = || self.0.describe_group(group).unwrap().partitions[0].in_flight;
            wait_until("the lease has run out", || in_flight() == 0);
            panic!("too late");
        }
    }
    let directory = directory();
    let (engine, topic) = begin(directory.path());
    let group = GroupOptions::shared().topic("t", Start::Beginning).retry_delay(Duration::ZERO, Duration::ZERO);
    engine.create_group("g", group).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(b"a")).unwrap().wait().unwrap();
    let slow = Arc::new(Slow(engine.clone()));
    let options = MemberOptions::new().lease(Duration::from_millis(1)).interceptor(slow);
    let mut member = engine.join_group("g", options).unwrap();
    assert_says(&member.poll(SOON).unwrap_err(), "interceptor", &["Slow", "too late"]);
    member.close();
    let mut member = engine.join_group("g", MemberOptions::new()).unwrap();
    let deliveries = member.poll(SOON).unwrap();
    assert_eq!(deliveries.len(), 1);
    member.ack_all(&deliveries).unwrap();
    member.flush().unwrap();
    assert_eq!(engine.describe_group("g").unwrap().partitions[0].lag, 0);
    engine.close().unwrap();
}

#[test]
fn acknowledging_goes_on_where_who_is_told_panics() {
    let directory = directory();
    let (engine, topic) = begin(directory.path());
    engine.create_group("g", GroupOptions::shared().topic("t", Start::Beginning)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(b"a")).unwrap().wait().unwrap();
    let calls = Arc::new(Calls::default());
    let failing = Noting::new("failing", &calls, Some(Fault::Panic));
    let options = MemberOptions::new().interceptor_best_effort(failing);
    let mut member = engine.join_group("g", options).unwrap();
    let deliveries = member.poll(SOON).unwrap();
    member.ack_all(&deliveries).unwrap();
    member.flush().unwrap();
    assert_eq!((engine.describe_group("g").unwrap().partitions[0].lag, failures(&engine)), (0, 2));
    engine.close().unwrap();
}
