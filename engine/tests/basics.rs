//! Sending, reading, reopening, on every backend.

#![allow(clippy::unwrap_used)]

mod common;

use common::{backends, directory, drain, options, read_from, small, values};
use ringlane::*;
use std::time::Duration;

#[test]
fn what_is_sent_is_read_and_is_there_after_reopening() {
    for backend in backends() {
        let directory = directory();
        let engine = Engine::open(directory.path(), options().backend(backend)).unwrap();
        let topic = engine.create_topic("orders", TopicOptions::new().partitions(3)).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        for number in 0..30u32 {
            let value = number.to_string();
            let headers = [Header { name: "n", value: value.as_bytes() }];
            let record = Record::new(value.as_bytes()).key(b"k").headers(&headers).partition(number % 3);
            let receipt = producer.send(&topic, record).unwrap().wait().unwrap();
            assert_eq!(receipt.offset, Some(u64::from(number / 3)));
            assert_eq!((receipt.durability, receipt.partition), (Durability::Synced, number % 3));
        }
        let expected: Vec<Vec<u8>> = (0..10u32).map(|n| (n * 3 + 1).to_string().into_bytes()).collect();
        assert_eq!(values(&engine, &topic, 1), expected);
        engine.close().unwrap();
        assert_eq!(engine.topic("orders").unwrap().name(), "orders");
        assert!(matches!(producer.send(&topic, Record::new(b"late")), Err(Error::Closed { .. })));

        let engine = Engine::open(directory.path(), options().backend(backend)).unwrap();
        assert!(engine.recovery().clean && !engine.recovery().created, "{:?}", engine.recovery());
        let topic = engine.topic("orders").unwrap();
        assert_eq!(values(&engine, &topic, 1), expected, "{backend:?}");
        let receipt = engine
            .producer(ProducerOptions::new())
            .unwrap()
            .send(&topic, Record::new(b"more").partition(1))
            .unwrap()
            .wait()
            .unwrap();
        assert_eq!(receipt.offset, Some(10));
        engine.close().unwrap();
    }
}

/// A batch that began in one segment and ended in the next was shown to readers only when all of it was
/// durable, and by then the first segment could be sealed: its index lacked the batch's first run, and a
/// reader found a hole. Many parts in each batch make batches that straddle segments frequent.
#[test]
fn a_batch_over_two_segments_is_in_both_indexes() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(16)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let value = vec![1; 500];
    let records: Vec<_> = (0..1600).map(|n| Record::new(&value).partition(n % 16)).collect();
    for _ in 0..20 {
        producer.send_batch(&topic, &records).unwrap().wait_done().unwrap();
    }
    for partition in 0..16 {
        let offsets: Vec<u64> =
            read_from(&engine, &topic, partition, Start::Beginning).into_iter().map(|(offset, _)| offset).collect();
        assert_eq!(offsets, (0..2000).collect::<Vec<_>>());
    }
    engine.close().unwrap();
}

#[test]
fn many_segments_are_sealed_indexed_and_read_cold() {
    for backend in backends() {
        let directory = directory();
        let options = small().backend(backend);
        let engine = Engine::open(directory.path(), options.clone()).unwrap();
        let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        let value = |n: u64| {
            let mut value = vec![b'x'; 900];
            value[..8].copy_from_slice(&n.to_le_bytes());
            value
        };
        let count = 12_000u64;
        let mut handles = Vec::new();
        for n in 0..count {
            let bytes = value(n);
            let record = Record::new(&bytes).partition((n % 2) as u32).timestamp_ms(n as i64);
            handles.push(producer.send(&topic, record).unwrap());
        }
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.wait().unwrap().offset, Some(n as u64 / 2));
        }
        let check = |engine: &Engine| {
            let topic = engine.topic("t").unwrap();
            for partition in 0..2u64 {
                let all = read_from(engine, &topic, partition as u32, Start::Beginning);
                assert_eq!(all.len() as u64, count / 2);
                for (offset, read) in all {
                    assert_eq!(read, value(offset * 2 + partition));
                }
                for offset in [0, 1, 17, 3000, count / 2 - 1] {
                    let (found, read) =
                        read_from(engine, &topic, partition as u32, Start::Offset(offset)).swap_remove(0);
                    assert_eq!((found, read), (offset, value(offset * 2 + partition)));
                }
                for time in [0, 5, 777, 9_000, count - 1] {
                    let expected = (time.saturating_sub(partition)).div_ceil(2);
                    let found = read_from(engine, &topic, partition as u32, Start::Timestamp(time as i64));
                    if expected < count / 2 {
                        assert_eq!(found[0].0, expected, "time {time} partition {partition}");
                    } else {
                        assert!(found.is_empty());
                    }
                }
            }
            assert_eq!(read_from(engine, &topic, 0, Start::Timestamp(count as i64)), []);
        };
        check(&engine);
        engine.close().unwrap();
        let report = verify(directory.path(), &mut |_| {}).unwrap();
        assert!(!report.is_damaged(), "{report:?}");
        assert_eq!(report.records, count);
        let engine = Engine::open(directory.path(), options).unwrap();
        check(&engine);
        engine.close().unwrap();
    }
}

/// The clock of the timestamps stands still for 4 ms at a time: a delay that began by it ended early by as much.
#[test]
fn a_delay_is_no_shorter_than_was_asked_for() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(1)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    for delay in (0..20).map(|round| Duration::from_micros(10_000 + 250 * round)) {
        let begun = std::time::Instant::now();
        let record = Record::new(b"later").visible_after(delay);
        producer.send(&topic, record).unwrap().wait().unwrap();
        assert_eq!(consumer.poll(Duration::from_secs(20)).unwrap().len(), 1);
        assert!(begun.elapsed() >= delay, "{:?} of {delay:?}", begun.elapsed());
    }
}

#[test]
fn delayed_records_become_visible_in_time_and_can_be_cancelled() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let delayed = |value: &'static [u8], ms| Record::new(value).visible_after(Duration::from_millis(ms));
    let late = producer.send(&topic, delayed(b"late", 200)).unwrap().wait().unwrap();
    let cancelled = producer.send(&topic, delayed(b"cancelled", 100)).unwrap().wait().unwrap();
    let far = producer.send(&topic, delayed(b"far", 3_600_000)).unwrap().wait().unwrap();
    assert_eq!((late.offset, cancelled.offset), (None, None));
    let now = producer.send(&topic, Record::new(b"now")).unwrap().wait().unwrap();
    assert_eq!(now.offset, Some(0));
    producer.cancel(cancelled.id).unwrap();
    assert_eq!(producer.cancel(cancelled.id), Err(Error::NotWithheld));
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Offset(1)).unwrap();
    let records = consumer.poll(Duration::from_secs(20)).unwrap();
    assert_eq!(records.iter().next().unwrap().value(), Some(&b"late"[..]));
    drop(records);
    assert_eq!(producer.cancel(late.id), Err(Error::NotWithheld));
    assert_eq!(engine.stats().withheld_records, 1);
    engine.close().unwrap();

    // The far one survives, and the published one is still where it was.
    let engine = Engine::open(directory.path(), options()).unwrap();
    let topic = engine.topic("t").unwrap();
    assert_eq!(values(&engine, &topic, 0), [b"now".to_vec(), b"late".to_vec()]);
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    // What lies apart on the disk may come in two polls.
    let mut late = Vec::new();
    while late.len() < 2 {
        let records = consumer.poll(Duration::from_secs(20)).unwrap();
        assert!(!records.is_empty(), "after {late:?}");
        late.extend(records.iter().map(|record| record.is_late()));
    }
    assert_eq!(late, [false, true]);
    drop(consumer);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let headers = [Header { name: "cause", value: b"test" }];
    engine.publish_withheld(far.id, &headers).unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Offset(2)).unwrap();
    let records = consumer.poll(Duration::from_secs(20)).unwrap();
    let record = records.iter().next().unwrap();
    assert_eq!(record.value(), Some(&b"far"[..]));
    assert_eq!(record.headers().collect::<Vec<_>>(), headers);
    assert_eq!(producer.cancel(far.id), Err(Error::NotWithheld));
    engine.close().unwrap();
}

#[test]
fn a_follower_is_woken() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign_all(&topic, Start::End).unwrap();
    let follower = std::thread::spawn(move || {
        let records = consumer.poll(Duration::from_secs(60)).unwrap();
        let values: Vec<_> = records.iter().map(|record| record.value().unwrap().to_vec()).collect();
        drop(records);
        (values, drain(&mut consumer))
    });
    std::thread::sleep(Duration::from_millis(30));
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(b"hello")).unwrap().wait().unwrap();
    assert_eq!(follower.join().unwrap().0, [b"hello"]);
    engine.close().unwrap();
}

#[test]
fn deleted_topics_leave_nothing_and_their_segments_are_used_again() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for round in 0..6 {
        let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
        let value = vec![round as u8; 10_000];
        let records: Vec<_> = (0..400).map(|_| Record::new(&value)).collect();
        producer.send_batch(&topic, &records).unwrap().wait().unwrap();
        assert_eq!(values(&engine, &topic, 0).len(), 400);
        engine.delete_topic("t").unwrap();
        assert!(matches!(producer.send(&topic, Record::new(b"x")), Err(Error::TopicDeleted { .. })));
        assert!(matches!(engine.topic("t"), Err(Error::UnknownTopic { .. })));
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while engine.stats().segments_recycled == 0 && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let stats = engine.stats();
    assert!(stats.segments < 24, "about 4 MiB a round, retired each time: {} segments", stats.segments);
    engine.close().unwrap();
    let engine = Engine::open(directory.path(), small()).unwrap();
    assert!(engine.topics().is_empty());
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    assert_eq!(values(&engine, &topic, 0).len(), 0);
    engine.close().unwrap();
}

#[test]
fn buffered_records_get_their_receipt_at_once_and_are_durable_after_sync() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options().flush_interval_ms(60_000)).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new().durability(Durability::Buffered)).unwrap();
    let receipt = producer.send(&topic, Record::new(b"a")).unwrap().wait().unwrap();
    assert_eq!((receipt.durability, receipt.offset), (Durability::Buffered, Some(0)));
    assert!(values(&engine, &topic, 0).is_empty(), "consumers see durable records only");
    engine.sync().unwrap();
    assert_eq!(values(&engine, &topic, 0), [b"a"]);
    engine.close().unwrap();
}

#[test]
fn several_lanes_and_callbacks_and_awaiting() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options().lanes(Some(3))).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(7)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    for n in 0..700u32 {
        let sender = sender.clone();
        let bytes = n.to_le_bytes();
        producer
            .send(&topic, Record::new(&bytes))
            .unwrap()
            .on_complete(move |receipt| sender.send(receipt.unwrap().offset.unwrap()).unwrap());
    }
    producer.flush().unwrap();
    let mut offsets: Vec<u64> = (0..700).map(|_| receiver.recv_timeout(Duration::from_secs(30)).unwrap()).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..700).map(|n| n / 7).collect::<Vec<_>>());
    let many: Vec<_> = (0..70u32).map(|n| (&topic, Record::new(b"v").partition(n % 7))).collect();
    let receipts = producer.send_many(&many).unwrap().wait().unwrap();
    for (n, receipt) in receipts.iter().enumerate() {
        assert_eq!((receipt.partition, receipt.offset), (n as u32 % 7, Some(100 + n as u64 / 7)));
    }
    let mut total = 0;
    for partition in 0..7 {
        total += values(&engine, &topic, partition).len();
    }
    assert_eq!(total, 770);
    engine.close().unwrap();
    let engine = Engine::open(directory.path(), options()).unwrap();
    assert_eq!(values(&engine, &engine.topic("t").unwrap(), 6).len(), 110);
}

/// Everybody may be nicer than before, so this wish is always granted.
#[test]
fn lanes_run_with_the_niceness_that_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path(), options().lane_nice(19)).unwrap();
    assert_eq!(engine.stats().lanes[0].nice, 19);
    engine.close().unwrap();
    let error = Engine::open(directory.path(), options().lane_nice(20)).unwrap_err();
    assert!(matches!(error, ringlane::Error::InvalidArgument { name: "lane_nice", .. }), "{error}");
}

/// A run of the suite that is about a backend must not run on another by mistake.
#[test]
fn the_backend_that_was_asked_for_is_the_one_that_runs() {
    for backend in backends() {
        let directory = directory();
        let engine = Engine::open(directory.path(), options().backend(backend)).unwrap();
        let io = engine.stats().io;
        let expected = match backend {
            ringlane::Backend::IoUring => ("io_uring", true),
            ringlane::Backend::Plain => ("plain", true),
            _ => ("plain", false),
        };
        assert_eq!((io.backend, io.direct), expected, "{backend:?}: {}", io.reason);
        engine.close().unwrap();
    }
}

/// The story: each opening begins a segment of its own, and what an opening found in the one before was kept at
/// its full length: 200 openings for one record each took 459 MB.
#[test]
fn many_openings_for_a_record_each_take_little_disk() {
    let directory = directory();
    let disk_bytes = || {
        let files = std::fs::read_dir(directory.path()).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    let mut first = 0;
    for round in 0..30u64 {
        let engine = Engine::open(directory.path(), small()).unwrap();
        if round == 0 {
            engine.create_topic("t", TopicOptions::new()).unwrap();
        }
        let topic = engine.topic("t").unwrap();
        let producer = engine.producer(ProducerOptions::new()).unwrap();
        let receipt = producer.send(&topic, Record::new(b"one").partition(0)).unwrap().wait().unwrap();
        assert_eq!(receipt.offset, Some(round));
        assert!(engine.stats().disk_bytes <= first + (30 << 20), "the figure follows");
        engine.close().unwrap();
        if round == 0 {
            first = disk_bytes();
        }
    }
    // What is prepared ahead may differ by a few segments; 29 segments of 1 MiB would be more.
    let grown = disk_bytes().saturating_sub(first);
    assert!(grown < 8 << 20, "{grown} bytes more for 29 records");
    let engine = Engine::open(directory.path(), small()).unwrap();
    assert_eq!(values(&engine, &engine.topic("t").unwrap(), 0).len(), 30);
    engine.close().unwrap();
    assert!(!verify(directory.path(), &mut |_| {}).unwrap().is_damaged());
}

/// Some records of a batch are refused and the others are there: each has its own outcome, whoever waits.
#[test]
fn each_record_of_a_batch_has_its_own_outcome() {
    let directory = directory();
    let options = small().lanes(Some(2)).withheld_records_max(1);
    let engine = Engine::open(directory.path(), options).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    // The lane of partition 1 may withhold one frame; that of partition 0 has nothing to withhold.
    let later = || Record::new(b"later").partition(1).visible_after(Duration::from_secs(3_600));
    producer.send(&topic, later()).unwrap().wait().unwrap();
    let records = [Record::new(b"now").partition(0), later(), Record::new(b"now").partition(0)];
    let refused = |outcome: &ringlane::Result<Receipt>| matches!(outcome, Err(Error::TooMany { .. }));

    let outcomes = producer.send_batch(&topic, &records).unwrap().outcomes();
    assert_eq!(outcomes.iter().map(refused).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(outcomes[2].as_ref().unwrap().offset, Some(1));

    let mut awaited = std::pin::pin!(producer.send_batch(&topic, &records).unwrap());
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    let outcome = loop {
        match awaited.as_mut().poll(&mut context) {
            std::task::Poll::Ready(outcome) => break outcome,
            std::task::Poll::Pending => std::thread::park(),
        }
    };
    assert!(matches!(outcome, Err(Error::TooMany { .. })));
    assert_eq!(values(&engine, &topic, 0).len(), 4);
    engine.close().unwrap();
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

/// In a batch, records that are alike go one behind the other without being looked at anew; those that are not go their own
/// way in between.
#[test]
fn a_batch_of_all_kinds_of_records_arrives_as_it_was_sent() {
    for lanes in [1, 2] {
        let directory = directory();
        let engine = Engine::open(directory.path(), options().lanes(Some(lanes))).unwrap();
        let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
        let producer = engine.producer(ProducerOptions::new().name("p")).unwrap();
        let values: Vec<Vec<u8>> = (0..3_000usize).map(|at| vec![at as u8; at * 7 % 190]).collect();
        let headers = [Header { name: "h", value: b"1" }];
        let ids: Vec<String> = (0..values.len()).map(|at| format!("id-{at}")).collect();
        let records: Vec<Record<'_>> = (0..values.len())
            .map(|at| {
                let record = Record { partition: Some((at / 50 % 2) as u32), ..Record::new(&values[at]) };
                match at % 97 {
                    3 => Record { value: None, ..record },
                    11 | 12 => record.key(b"key"),
                    23 => Record { headers: &headers, ..record },
                    31 => record.tag("tag"),
                    41 => record.message_id(ids[at].as_bytes()),
                    53 | 54 => Record { timestamp_ms: Some(77), ..record },
                    61 => record.visible_after(Duration::from_millis(1)),
                    _ => record,
                }
            })
            .collect();
        let receipts = producer.send_batch(&topic, &records).unwrap().wait().unwrap();
        assert_eq!(receipts.len(), records.len());
        let mut left: std::collections::BTreeMap<(u32, u64), usize> = std::collections::BTreeMap::new();
        let mut delayed = 0;
        for (at, receipt) in receipts.iter().enumerate() {
            assert_eq!(Some(receipt.partition), records[at].partition);
            match receipt.offset {
                Some(offset) => assert!(left.insert((receipt.partition, offset), at).is_none()),
                None => delayed += 1,
            }
        }
        assert_eq!(delayed, records.iter().filter(|record| record.visibility != Visibility::Now).count());
        let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
        consumer.assign_all(&topic, Start::Beginning).unwrap();
        while !left.is_empty() {
            let polled = consumer.poll(Duration::from_secs(20)).unwrap();
            assert!(!polled.is_empty(), "{} are missing", left.len());
            for view in polled.iter() {
                let Some(at) = left.remove(&(view.partition(), view.offset())) else {
                    assert!(view.is_late(), "nobody sent it");
                    continue;
                };
                let record = &records[at];
                assert_eq!(
                    (view.value(), view.key(), view.message_id()),
                    (record.value, record.key, record.message_id)
                );
                assert_eq!(view.tag(), record.tag);
                assert!(record.timestamp_ms.is_none_or(|time| time == view.timestamp_ms()));
                let own: Vec<_> = view.headers().filter(|header| header.name != TAG_HEADER).collect();
                assert_eq!(own, record.headers);
            }
        }
        // One that is refused: none is sent.
        let mut wrong = records.clone();
        let long = [0; 200];
        wrong[2_990].message_id = Some(&long);
        let records_of = |stats: Stats| stats.lanes.iter().map(|lane| lane.records).sum::<u64>();
        let before = records_of(engine.stats());
        assert_eq!(producer.send_batch(&topic, &wrong).unwrap_err().code(), "invalid-argument");
        assert_eq!(records_of(engine.stats()), before);
    }
}

/// What sinks were told, by number.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<(u64, Result<Receipt>)>>);

impl OutcomeSink for Told {
    fn room(&self) -> NoteRoom {
        NoteRoom::default()
    }

    fn tell(&self, records: NotedRecords) {
        self.0.lock().unwrap().extend((0..records.len()).map(|at| records.outcome(at)));
        assert!(records.into_room().capacity() > 0);
    }
}

/// The C library's queues are such sinks.
#[test]
fn a_sink_is_told_once_of_each_of_its_records_in_their_order() {
    struct Passing;
    impl ProducerInterceptor for Passing {}
    let wait_for = |told: &Told, count: usize| {
        let begun = std::time::Instant::now();
        while told.0.lock().unwrap().len() < count {
            assert!(begun.elapsed() < Duration::from_secs(20), "{} of {count}", told.0.lock().unwrap().len());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    for intercepted in [false, true] {
        let directory = directory();
        let engine = Engine::open(directory.path(), options()).unwrap();
        let topic = engine.create_topic("t", TopicOptions::new().partitions(1)).unwrap();
        let options = match intercepted {
            true => ProducerOptions::new().interceptor(std::sync::Arc::new(Passing)),
            false => ProducerOptions::new(),
        };
        let producer = engine.producer(options).unwrap();
        let [one, other, gone] = [(); 3].map(|()| std::sync::Arc::new(Told::default()));
        let record = Record::new(b"v");
        for number in 0..3_000 {
            let sink = if number % 3 == 0 { &other } else { &one };
            producer.send_noted(&topic, &record, sink, number).unwrap();
            producer.send_noted(&topic, &record, &gone, number).unwrap();
        }
        drop(gone);
        producer.flush().unwrap();
        wait_for(&one, 2_000);
        wait_for(&other, 1_000);
        let numbers_of = |told: &Told| -> Vec<(u64, u64)> {
            let told = told.0.lock().unwrap();
            told.iter().map(|(number, outcome)| (*number, outcome.as_ref().unwrap().offset.unwrap())).collect()
        };
        let (one_has, other_has) = (numbers_of(&one), numbers_of(&other));
        assert_eq!(one_has.len() + other_has.len(), 3_000, "each once");
        assert!(one_has.iter().all(|(number, offset)| number % 3 != 0 && *offset == 2 * number), "its own, in order");
        assert!(other_has.iter().all(|(number, offset)| number % 3 == 0 && *offset == 2 * number));
        // With interceptors each is told of alone, by the callback thread or, if it is there before the call returns, by
        // the one that sends.
        assert!(intercepted || (one_has.is_sorted() && other_has.is_sorted()));

        // What is refused is told by the call, and by nobody else.
        engine.close().unwrap();
        assert_eq!(producer.send_noted(&topic, &record, &one, 0).unwrap_err().code(), "closed");
        assert_eq!(one.0.lock().unwrap().len(), 2_000);
    }
}
