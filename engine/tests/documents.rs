//! The examples of README.md, docs/DELIVERY.md and docs/TRANSACTIONS.md: they stand here too, are run, and do what is said of them.

#![allow(clippy::unwrap_used)]

mod common;

use common::{directory, options, small, values};
use ringlane::*;

const README: &str = include_str!("../../README.md");
const DELIVERY: &str = include_str!("../../docs/DELIVERY.md");
const TRANSACTIONS: &str = include_str!("../../docs/TRANSACTIONS.md");
const HERE: &str = include_str!("documents.rs");

/// What stands in the documents, example by example.
mod example {
    pub(crate) mod readme {
        use ringlane::{ConsumerOptions, Engine, Options, ProducerOptions, Record, Start, TopicOptions};
        use std::time::Duration;

        fn main() -> ringlane::Result<()> {
            let engine = Engine::open("data", Options::new())?;
            let orders = engine.create_topic("orders", TopicOptions::new().partitions(4))?;

            let producer = engine.producer(ProducerOptions::new())?;
            let receipt = producer.send(&orders, Record::new(b"paid").key(b"order-7"))?.wait()?;
            println!("partition {}, offset {:?}", receipt.partition, receipt.offset);

            let mut consumer = engine.consumer(ConsumerOptions::new())?;
            consumer.assign_all(&orders, Start::Beginning)?;
            for record in &consumer.poll(Duration::from_secs(1))? {
                println!("{:?} = {:?}", record.key(), record.value());
            }
            engine.close()
        }

        pub(crate) fn run() -> ringlane::Result<()> {
            main()
        }
    }

    pub(crate) mod topic_that_may_be_there {
        use ringlane::{Engine, Error, Topic, TopicOptions};

        #[rustfmt::skip]
        pub(crate) fn run(engine: &Engine) -> ringlane::Result<Topic> {
            let orders = match engine.topic("orders") {
                Err(Error::UnknownTopic { .. }) => engine.create_topic("orders", TopicOptions::new().partitions(4))?,
                there => there?,
            };
            Ok(orders)
        }
    }

    pub(crate) mod reading {
        use ringlane::{Consumer, Result, Start, Topic};
        use std::time::Duration;

        /// Reads all that is there; says whether it is everything.
        fn read_all(consumer: &mut Consumer, orders: &Topic) -> Result<bool> {
            consumer.assign_all(orders, Start::Beginning)?;
            loop {
                let records = consumer.poll(Duration::ZERO)?;
                if records.is_empty() {
                    break;
                }
                for record in &records {
                    println!("{:?}: {:?}", record.origin(), record.value()); // work on it
                }
                for finding in consumer.take_findings() {
                    eprintln!("{finding}");
                }
            }
            for (range, reason) in consumer.explain_missing()? {
                eprintln!("{} to {} of producer {}: {reason}", range.first, range.last, range.producer);
                eprintln!("{}", reason.advice());
            }
            let report = consumer.continuity().unwrap_or_default();
            eprintln!("{report}");
            Ok(report.is_continuous())
        }

        pub(crate) fn run(consumer: &mut Consumer, orders: &Topic) -> Result<bool> {
            read_all(consumer, orders)
        }
    }

    pub(crate) mod checking {
        use ringlane::{ContinuityChecker, ContinuityOptions, ContinuityReport, Origin, Result, TopicPartition};

        /// Rows of a table in the order of their offsets: offset, origin, and whether the record was late.
        fn check_table(rows: &[(u64, Origin, bool)]) -> Result<ContinuityReport> {
            let orders = TopicPartition::new("orders", 0);
            let mut checker = ContinuityChecker::new(ContinuityOptions::new())?;
            let offset = rows.first().map_or(0, |(offset, ..)| *offset);
            // Nothing was given up before offset 0, so there each producer's numbers begin at 0.
            checker.begin(orders, offset, offset == 0);
            for (offset, origin, is_late) in rows {
                checker.observe(orders, *offset, *origin, *is_late);
            }
            for finding in checker.take_findings() {
                eprintln!("{finding}");
            }
            Ok(checker.report())
        }

        pub(crate) fn run(rows: &[(u64, Origin, bool)]) -> Result<ContinuityReport> {
            check_table(rows)
        }
    }

    pub(crate) mod auditing {
        use ringlane::{AuditOptions, Engine, Result};

        /// Whether every order that was ever acknowledged is there, or gone as somebody wanted it.
        fn nothing_is_lost(engine: &Engine) -> Result<bool> {
            let report = engine.audit(&AuditOptions::new().topic("orders"), &mut |_| {})?;
            println!("{report}");
            for partition in &report.partitions {
                for group in partition.groups.iter().filter(|group| group.unfinished > 0) {
                    println!("{} has {} orders to go", group.group, group.unfinished);
                }
            }
            Ok(!report.has_loss())
        }

        pub(crate) fn run(engine: &Engine) -> Result<bool> {
            nothing_is_lost(engine)
        }
    }

    pub(crate) mod sending {
        use ringlane::{Producer, Receipt, Record, Result, Topic};
        use std::time::Duration;

        /// Sends a record until it is there, or cannot be.
        fn send_until_there(producer: &Producer, orders: &Topic, record: Record<'_>) -> Result<Receipt> {
            loop {
                match producer.send(orders, record).and_then(|handle| handle.wait()) {
                    // It is not there: the buffer or the disk is full, or too many records are delayed.
                    Err(error) if error.is_retriable() => std::thread::sleep(Duration::from_millis(100)),
                    outcome => return outcome,
                }
            }
        }

        pub(crate) fn run(producer: &Producer, orders: &Topic, record: Record<'_>) -> Result<Receipt> {
            send_until_there(producer, orders, record)
        }
    }

    pub(crate) mod importing {
        use ringlane::{Engine, ProducerOptions, Record, Result, Topic};

        /// Sends the lines that are not there yet. Each is there once, whatever ended the runs before.
        fn import(engine: &Engine, orders: &Topic, lines: &[&[u8]]) -> Result<u64> {
            let producer = engine.producer(ProducerOptions::new().name("import"))?;
            let next = producer.last_sent(orders, 0)?.map_or(0, |last| last.sequence + 1);
            let mut handles = Vec::new();
            for (number, line) in (0..).zip(lines).skip(next as usize) {
                handles.push(producer.send(orders, Record::new(line).partition(0).sequence(number))?);
            }
            for handle in handles {
                handle.wait()?;
            }
            Ok(next)
        }

        pub(crate) fn run(engine: &Engine, orders: &Topic, lines: &[&[u8]]) -> Result<u64> {
            import(engine, orders, lines)
        }
    }

    pub(crate) mod paying {
        use ringlane::{Engine, ProducerOptions, Receipt, Record, Result, Topic};

        /// May be called as often as somebody is in doubt.
        fn pay(engine: &Engine, orders: &Topic) -> Result<Receipt> {
            let producer = engine.producer(ProducerOptions::new())?;
            let record = Record::new(b"paid").key(b"order-7").message_id(b"payment-4711");
            let receipt = producer.send(orders, record)?.wait()?;
            if receipt.duplicate {
                println!("it was there already, at offset {:?}", receipt.offset);
            }
            Ok(receipt)
        }

        pub(crate) fn run(engine: &Engine, orders: &Topic) -> Result<Receipt> {
            pay(engine, orders)
        }
    }

    pub(crate) mod working {
        use ringlane::{Engine, Error, GroupOptions, MemberOptions, Result, Start};
        use std::time::Duration;

        /// How the work on an order went.
        enum Work {
            Done,
            /// Perhaps it goes well another time.
            Failed,
            /// Nobody can do it.
            Impossible,
        }

        /// Works all orders off; says how many were done.
        fn work_off(engine: &Engine, mut work: impl FnMut(Option<&[u8]>) -> Work) -> Result<u64> {
            let options = GroupOptions::shared().topic("orders", Start::Beginning).max_deliveries(5);
            match engine.create_group("billing", options) {
                Err(Error::GroupExists { .. }) => {}
                created => created?,
            }
            let mut member = engine.join_group("billing", MemberOptions::new())?;
            let mut done = 0;
            loop {
                let deliveries = member.poll(Duration::from_secs(1))?;
                if deliveries.is_empty() {
                    break;
                }
                for delivery in &deliveries {
                    match work(delivery.record.value()) {
                        Work::Done => {
                            member.ack(delivery.id())?;
                            done += 1;
                        }
                        Work::Failed => member.nack(delivery.id(), None)?,
                        Work::Impossible => member.reject(delivery.id())?,
                    }
                }
            }
            member.flush()?; // from here on it is durable what was done
            member.close();
            Ok(done)
        }

        /// With words for how the work went.
        pub(crate) fn run(engine: &Engine, work: &mut dyn FnMut(&[u8]) -> &'static str) -> Result<u64> {
            work_off(engine, |value| match work(value.unwrap_or_default()) {
                "failed" => Work::Failed,
                "impossible" => Work::Impossible,
                _ => Work::Done,
            })
        }
    }

    pub(crate) mod queue {
        use ringlane::{Engine, Error, GroupConsumer, GroupOptions, Result, Retention, Start, TopicOptions};
        use std::time::Duration;

        /// A work queue: each order stays until billing and shipping are done with it, and no longer.
        fn queue(engine: &Engine) -> Result<()> {
            let retention = Retention::new().keep_unfinished(true).drop_finished(true);
            engine.create_topic("orders", TopicOptions::new().partitions(4).retention(retention))?;
            for group in ["billing", "shipping"] {
                engine.create_group(group, GroupOptions::shared().topic("orders", Start::Beginning))?;
            }
            Ok(())
        }

        /// What a poll says when something was given up all the same.
        fn poll(member: &mut GroupConsumer) -> Result<usize> {
            match member.poll(Duration::from_secs(1)) {
                Ok(deliveries) => {
                    let count = deliveries.len();
                    member.ack_all(&deliveries)?;
                    Ok(count)
                }
                Err(Error::Truncated { topic, partition, from, to }) => {
                    eprintln!("{topic}, partition {partition}: offsets {from} to {to} went before they were finished");
                    Ok(0)
                }
                Err(error) => Err(error),
            }
        }

        pub(crate) fn begin(engine: &Engine) -> Result<()> {
            queue(engine)
        }

        pub(crate) fn run(member: &mut GroupConsumer) -> Result<usize> {
            poll(member)
        }
    }

    pub(crate) mod once {
        use ringlane::{Deliveries, GroupConsumer, Once, Result};
        use std::time::Duration;

        /// Pays what was ordered, each order once, however often it was sent or delivered.
        fn pay_once(member: &GroupConsumer, orders: &Deliveries, mut pay: impl FnMut(&[u8])) -> Result<()> {
            for order in orders {
                // What the application calls this work by: here the key, an order's number.
                let token = order.record.key().unwrap_or_default();
                match member.once(order.id(), token)? {
                    Once::Fresh => pay(token),
                    Once::Duplicate => {}
                    Once::InProgress { .. } => {
                        // Somebody works on it: later it is either done or free.
                        member.nack(order.id(), Some(Duration::from_millis(100)))?;
                        continue;
                    }
                }
                member.ack(order.id())?; // records the token, in the same frame of the log
            }
            Ok(())
        }

        pub(crate) fn run(member: &GroupConsumer, orders: &Deliveries, paid: &mut Vec<Vec<u8>>) -> Result<()> {
            pay_once(member, orders, |order| paid.push(order.to_vec()))
        }
    }

    pub(crate) mod filtering {
        use ringlane::{ConsumerOptions, Engine, Error, Filter, GroupOptions};
        use ringlane::{Header, ProducerOptions, Record, Result, Start};
        use std::time::Duration;

        /// Counts what was paid elsewhere than in `region`, and has a group bill it.
        fn paid_elsewhere(engine: &Engine, region: &str) -> Result<usize> {
            let orders = engine.topic("orders")?;
            let headers = [Header { name: "region", value: b"us" }];
            let record = Record::new(b"order-7").tag("paid").headers(&headers);
            engine.producer(ProducerOptions::new())?.send(&orders, record)?.wait()?;

            let filter = Filter::tag("paid").and(!Filter::header_equals("region", region));
            let group = GroupOptions::shared().topic("orders", Start::Beginning).filter(filter.clone());
            match engine.create_group("billing-abroad", group) {
                Err(Error::GroupExists { .. }) => {}
                created => created?,
            }
            let mut consumer = engine.consumer(ConsumerOptions::new().filter(filter))?;
            consumer.assign_all(&orders, Start::Beginning)?;
            Ok(consumer.poll(Duration::from_secs(1))?.len())
        }

        pub(crate) fn run(engine: &Engine, region: &str) -> Result<usize> {
            paid_elsewhere(engine, region)
        }
    }

    pub(crate) mod awaiting {
        use ringlane::{GroupConsumer, Result};

        /// Works records off until the engine is closed or the group deleted.
        async fn work_off(mut member: GroupConsumer) -> Result<()> {
            loop {
                let deliveries = member.poll_async().await?;
                for delivery in &deliveries {
                    println!("{:?}", delivery.record.value()); // work on it
                    member.ack(delivery.id())?;
                }
            }
        }

        pub(crate) fn run(member: GroupConsumer) -> impl Future<Output = Result<()>> {
            work_off(member)
        }
    }

    pub(crate) mod tracing {
        use ringlane::{
            ConsumerInterceptor, DeliveryEnd, EndedDeliveries, Error, InterceptorResult, MemberOptions,
            ProducerInterceptor, ProducerOptions, Receipt, Sending,
        };
        use std::sync::Arc;

        /// Prints what becomes of records, and marks each with a trace.
        struct Tracing;

        impl ProducerInterceptor for Tracing {
            fn on_send(&self, sending: &mut Sending<'_>) -> InterceptorResult {
                let trace = format!("trace-{}", sending.number()); // of your tracing library
                println!("{trace} begins, to {}", sending.topic());
                sending.add_header("trace", trace);
                Ok(())
            }

            fn on_receipt(&self, number: u64, receipt: &Receipt) {
                println!("trace-{number} is at {:?}", receipt.offset);
            }

            fn on_failure(&self, number: u64, topic: &str, error: &Error) {
                println!("trace-{number}, to {topic}: {error}");
            }
        }

        impl ConsumerInterceptor for Tracing {
            fn on_end(&self, ended: &EndedDeliveries<'_>) {
                if ended.end != DeliveryEnd::Acknowledged {
                    println!("{} did not process {:?} of {}", ended.group, ended.offsets, ended.topic);
                }
            }
        }

        /// A producer that is not held up by what goes wrong with its traces, and a member that sees to it that there are some.
        fn traced() -> (ProducerOptions, MemberOptions) {
            let tracing = Arc::new(Tracing);
            let producer = ProducerOptions::new().interceptor_best_effort(tracing.clone());
            (producer, MemberOptions::new().interceptor(tracing))
        }

        pub(crate) fn run() -> (ProducerOptions, MemberOptions) {
            traced()
        }
    }

    pub(crate) mod all_or_nothing {
        use ringlane::{Error, Producer, Record, Result, Topic, TransactionOptions};

        /// An order and its invoice: nobody ever sees one without the other.
        fn order(producer: &Producer, orders: &Topic, invoices: &Topic, number: &str) -> Result<()> {
            let mut transaction = producer.begin(TransactionOptions::new().id(number))?;
            transaction.send(orders, Record::new(number.as_bytes()).key(number.as_bytes()))?;
            transaction.send(invoices, Record::new(number.as_bytes()).key(number.as_bytes()))?;
            match transaction.commit() {
                Ok(_) => Ok(()),
                // Whether it happened is known when the engine is open again: ask `engine.transaction(number)` then.
                Err(error @ Error::UnknownOutcome { .. }) => Err(error),
                // It did not happen: nobody sees anything of it.
                Err(error) => Err(error),
            }
        }

        pub(crate) fn run(producer: &Producer, orders: &Topic, invoices: &Topic, number: &str) -> Result<()> {
            order(producer, orders, invoices, number)
        }
    }

    pub(crate) mod transforming {
        use ringlane::{GroupConsumer, Producer, Record, Result, Topic, TransactionOptions};
        use std::time::Duration;

        /// Works off what a poll gives; each record of the group's topics has one result in `results`, whatever happens.
        fn transform(member: &mut GroupConsumer, producer: &Producer, results: &Topic) -> Result<usize> {
            let deliveries = member.poll(Duration::from_secs(1))?;
            if deliveries.is_empty() {
                return Ok(0);
            }
            let mut transaction = producer.begin(TransactionOptions::new())?;
            for delivery in &deliveries {
                let result = delivery.record.value().unwrap_or_default().to_ascii_uppercase();
                transaction.send(results, Record::new(&result))?;
                transaction.ack(member, delivery.id())?;
            }
            transaction.commit()?;
            Ok(deliveries.len())
        }

        pub(crate) fn run(member: &mut GroupConsumer, producer: &Producer, results: &Topic) -> Result<usize> {
            transform(member, producer, results)
        }
    }

    pub(crate) mod half_messages {
        use ringlane::{
            CheckAnswer, CheckerOptions, Engine, HalfTransaction, LocalOutcome, Producer, Record, Result, Topic,
            TransactionOptions,
        };
        use std::sync::Arc;

        /// Once, after opening: what an earlier process left undecided is asked at once.
        fn register(engine: &Engine, database: Arc<Database>) -> Result<()> {
            engine.register_checker("orders", CheckerOptions::new(), move |half: &HalfTransaction| {
                match database.has_order(&half.id) {
                    Ok(true) => CheckAnswer::Commit,
                    // It was prepared before the order was written; and who would have written it is gone.
                    Ok(false) => CheckAnswer::RollBack,
                    Err(_) => CheckAnswer::Unknown,
                }
            })
        }

        /// The order is in the database if, and only if, its message is published.
        fn place(producer: &Producer, orders: &Topic, database: &Database, number: &str) -> Result<()> {
            let options = TransactionOptions::new().id(number).checker("orders");
            producer.send_in_transaction(orders, Record::new(number.as_bytes()), options, |id| {
                match database.insert_order(id) {
                    Ok(()) => LocalOutcome::Commit,
                    Err(refused) if refused.is_final() => LocalOutcome::RollBack,
                    // Perhaps it was written: the checker looks.
                    Err(_) => LocalOutcome::Unknown,
                }
            })?;
            Ok(())
        }

        /// As much of a database as the example needs.
        #[derive(Default)]
        pub(crate) struct Database {
            pub(crate) orders: std::sync::Mutex<std::collections::BTreeSet<String>>,
        }

        pub(crate) struct Refused(bool);

        impl Refused {
            fn is_final(&self) -> bool {
                self.0
            }
        }

        impl Database {
            fn has_order(&self, id: &str) -> std::result::Result<bool, Refused> {
                Ok(self.orders.lock().unwrap().contains(id))
            }

            /// One that begins with `lost` is written, and its answer is lost; one that begins with `bad` is refused.
            fn insert_order(&self, id: &str) -> std::result::Result<(), Refused> {
                if id.starts_with("bad") {
                    return Err(Refused(true));
                }
                self.orders.lock().unwrap().insert(id.to_owned());
                if id.starts_with("lost") { Err(Refused(false)) } else { Ok(()) }
            }
        }

        pub(crate) fn run(
            engine: &Engine,
            producer: &Producer,
            orders: &Topic,
            database: &Arc<Database>,
            numbers: &[&str],
        ) -> Result<()> {
            numbers.iter().try_for_each(|number| place(producer, orders, database, number))?;
            register(engine, database.clone())
        }
    }

    pub(crate) mod redrive {
        use ringlane::{Engine, Redrive, Result};

        /// Hands all that failed out again; says how many records are only left as dead letters.
        fn try_again(engine: &Engine) -> Result<u64> {
            loop {
                let done = engine.redrive("billing", &Redrive::All)?;
                println!("{} records are available again", done.redriven);
                if !done.is_full {
                    return Ok(done.gone);
                }
                // As many are unfinished as may be: go on when members have finished some.
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
        }

        pub(crate) fn run(engine: &Engine) -> Result<u64> {
            try_again(engine)
        }
    }
}

/// Lines without their indentation, which differs.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

/// The Rust in a document.
fn examples(document: &str) -> Vec<Vec<&str>> {
    let blocks = document.split("```rust\n").skip(1);
    blocks.map(|block| lines(block.split("```").next().unwrap())).collect()
}

#[test]
fn each_example_stands_here() {
    let here = lines(HERE);
    for (document, count) in [(README, 2), (DELIVERY, 13), (TRANSACTIONS, 3)] {
        let examples = examples(document);
        assert_eq!(examples.len(), count);
        for example in examples {
            let stands_here = here.windows(example.len()).any(|lines| lines == example);
            assert!(stands_here, "not in engine/tests/documents.rs, or not the same:\n{}", example.join("\n"));
        }
    }
}

/// The only one here that needs a working directory.
#[test]
fn the_readme_makes_a_directory_and_a_topic_once() {
    if !common::is_about(Backend::IoUring) {
        return;
    }
    let directory = directory();
    std::env::set_current_dir(directory.path()).unwrap();
    example::readme::run().unwrap();
    assert_eq!(example::readme::run().unwrap_err().code(), "topic-exists");
    let engine = Engine::open(directory.path().join("data"), options()).unwrap();
    let orders = example::topic_that_may_be_there::run(&engine).unwrap();
    assert_eq!(orders.partitions(), 4);
    engine.delete_topic("orders").unwrap();
    assert_ne!(example::topic_that_may_be_there::run(&engine).unwrap().id(), orders.id());
    engine.close().unwrap();
}

/// A new engine with the topic `orders` of one partition.
fn orders(directory: &std::path::Path) -> (Engine, Topic) {
    let engine = Engine::open(directory, small()).unwrap();
    let orders = engine.topic("orders").or_else(|_| engine.create_topic("orders", TopicOptions::new())).unwrap();
    (engine, orders)
}

#[test]
fn who_reads_knows_whether_it_is_everything() {
    let directory = directory();
    let (engine, topic) = orders(directory.path());
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let delayed = Record::new(b"later").visible_at(4_000_000_000_000);
    let cancelled = producer.send(&topic, delayed).unwrap().wait().unwrap();
    producer.cancel(cancelled.id).unwrap();
    producer.send(&topic, delayed).unwrap().wait().unwrap();
    producer.send(&topic, Record::new(b"now")).unwrap().wait().unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    assert!(example::reading::run(&mut consumer, &topic).unwrap());
    let report = consumer.continuity().unwrap();
    assert_eq!((report.records, report.missing.cancelled, report.missing.pending), (1, 1, 1));
    // Who begins anew without having asked does not know why they were missing.
    consumer.poll(std::time::Duration::ZERO).unwrap();
    consumer.seek(&topic, 0, Start::Beginning).unwrap();
    assert!(consumer.continuity().unwrap().is_continuous(), "they were explained");
    consumer.poll(std::time::Duration::ZERO).unwrap();
    consumer.seek(&topic, 0, Start::Beginning).unwrap();
    assert_eq!(consumer.continuity().unwrap().missing.forgotten, 2);
    engine.close().unwrap();
}

#[test]
fn a_table_is_checked_by_the_origins_in_it() {
    let origin = |sequence| Origin { producer: 1, epoch: 1, sequence };
    let whole = [(0, origin(0), false), (1, origin(2), false), (2, origin(1), true)];
    assert!(example::checking::run(&whole).unwrap().is_continuous());
    assert_eq!(example::checking::run(&whole[1..2]).unwrap().missing.unexplained, 0, "begun in the middle");
    let without_the_first = [(0, origin(1), false)];
    assert_eq!(example::checking::run(&without_the_first).unwrap().missing.unexplained, 1);
    let twice = [(0, origin(0), false), (1, origin(0), false)];
    assert_eq!(example::checking::run(&twice).unwrap().findings.duplicates, 1);
}

/// One may be delayed at a time; the second waits until the first is taken back.
#[test]
fn what_is_refused_for_now_is_sent_until_it_is_there() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small().withheld_records_max(1)).unwrap();
    let topic = engine.create_topic("orders", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let delayed = Record::new(b"v").visible_at(4_000_000_000_000);
    let first = example::sending::run(&producer, &topic, delayed).unwrap();
    let refused = producer.send(&topic, delayed).unwrap().wait().unwrap_err();
    assert!(refused.is_retriable());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| example::sending::run(&producer, &topic, delayed));
        producer.cancel(first.id).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().origin.sequence, 1);
    });
    let refused = example::sending::run(&producer, &topic, Record::new(b"v").partition(1)).unwrap_err();
    assert_eq!(refused.code(), "invalid-partition", "it does not try that for ever");
    engine.close().unwrap();
}

#[test]
fn an_import_goes_on_where_the_last_one_was_killed() {
    let directory = directory();
    let (engine, topic) = orders(directory.path());
    let lines: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
    assert_eq!(example::importing::run(&engine, &topic, &lines[..3]).unwrap(), 0);
    let killed = common::copy_of_a_moment(directory.path());
    engine.close().unwrap();
    let (engine, topic) = orders(killed.path());
    assert_eq!(example::importing::run(&engine, &topic, &lines).unwrap(), 3);
    assert_eq!(example::importing::run(&engine, &topic, &lines).unwrap(), 5, "nothing is left");
    assert_eq!(values(&engine, &topic, 0), lines);
    engine.close().unwrap();
}

#[test]
fn who_is_in_doubt_sends_again_and_it_is_there_once() {
    let directory = directory();
    let (engine, topic) = orders(directory.path());
    let first = example::paying::run(&engine, &topic).unwrap();
    assert!(!first.duplicate);
    let killed = common::copy_of_a_moment(directory.path());
    engine.close().unwrap();
    let (engine, topic) = orders(killed.path());
    assert_eq!(example::paying::run(&engine, &topic).unwrap(), Receipt { duplicate: true, ..first });
    assert_eq!(values(&engine, &topic, 0), [b"paid"]);
    engine.close().unwrap();
}

#[test]
fn what_is_to_be_done_is_done_once_or_is_a_dead_letter() {
    use example::working::run;
    let directory = directory();
    let (engine, topic) = orders(directory.path());
    let group = GroupOptions::shared().topic("orders", Start::Beginning).max_deliveries(5);
    engine.create_group("billing", group.retry_delay(std::time::Duration::ZERO, std::time::Duration::ZERO)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for value in ["good", "late", "bad", "impossible"] {
        producer.send(&topic, Record::new(value.as_bytes())).unwrap().wait().unwrap();
    }
    let mut tried = std::collections::BTreeMap::new();
    let mut work = |value: &[u8]| {
        let times = tried.entry(String::from_utf8(value.to_vec()).unwrap()).or_insert(0);
        *times += 1;
        match (value, *times) {
            (b"impossible", _) => "impossible",
            (b"bad", _) | (b"late", 1) => "failed",
            _ => "done",
        }
    };
    assert_eq!(run(&engine, &mut work).unwrap(), 2);
    common::wait_until("they are dead letters", || engine.groups()[0].partitions[0].lag == 0);
    let killed = common::copy_of_a_moment(directory.path());
    engine.close().unwrap();
    let (engine, _) = orders(killed.path());
    assert_eq!(run(&engine, &mut work).unwrap(), 0, "nothing is left");
    let expected = [("bad", 5), ("good", 1), ("impossible", 1), ("late", 2)];
    assert!(tried.iter().map(|(value, times)| (&**value, *times)).eq(expected), "{tried:?}");
    let mut dead_letters = values(&engine, &engine.topic("billing.dlq").unwrap(), 0);
    dead_letters.sort();
    assert_eq!(dead_letters, [&b"bad"[..], b"impossible"]);
    engine.close().unwrap();
}

#[test]
fn a_queue_keeps_what_is_not_done_and_says_what_went() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    example::queue::begin(&engine).unwrap();
    let topic = engine.topic("orders").unwrap();
    assert!(topic.retention().keep_unfinished && topic.retention().drop_finished);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for _ in 0..4 {
        producer.send(&topic, Record::new(b"paid").partition(0)).unwrap().wait().unwrap();
    }
    engine.delete_records(&topic, 0, 1).unwrap();
    let mut member = engine.join_group("shipping", MemberOptions::new()).unwrap();
    let mut polls = Vec::new();
    while !polls.contains(&0) || polls.iter().sum::<usize>() < 3 {
        polls.push(example::queue::run(&mut member).unwrap());
    }
    assert_eq!(polls.iter().sum::<usize>(), 3, "one went");
    member.close();
    let lost = |name: &str| engine.describe_group(name).unwrap().partitions[0].lost;
    assert_eq!(lost("shipping"), 1);
    engine.close().unwrap();
}

#[test]
fn what_was_sent_twice_is_paid_once() {
    let directory = directory();
    let (engine, topic) = orders(directory.path());
    engine.create_group("billing", GroupOptions::ordered().topic("orders", Start::Beginning)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for key in ["order-1", "order-2", "order-1"] {
        producer.send(&topic, Record::new(b"paid").key(key.as_bytes())).unwrap().wait().unwrap();
    }
    let mut member = engine.join_group("billing", MemberOptions::new()).unwrap();
    let mut paid = Vec::new();
    while engine.describe_group("billing").unwrap().partitions.iter().any(|partition| partition.lag > 0) {
        let orders = member.poll(std::time::Duration::from_secs(20)).unwrap();
        example::once::run(&member, &orders, &mut paid).unwrap();
        member.flush().unwrap();
    }
    assert_eq!(paid, [b"order-1", b"order-2"]);
    drop(member);
    engine.close().unwrap();
}

#[test]
fn what_was_paid_elsewhere_is_found_and_billed() {
    let directory = directory();
    let (engine, topic) = orders(directory.path());
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(b"order-6").tag("refunded")).unwrap().wait().unwrap();
    assert_eq!(example::filtering::run(&engine, "eu").unwrap(), 1);
    assert_eq!(example::filtering::run(&engine, "us").unwrap(), 0);
    let mut member = engine.join_group("billing-abroad", MemberOptions::new()).unwrap();
    assert_eq!(member.poll(std::time::Duration::from_secs(20)).unwrap().len(), 2);
    drop(member);
    engine.close().unwrap();
}

#[test]
fn records_are_awaited_until_the_group_is_deleted() {
    let directory = directory();
    let (engine, topic) = orders(directory.path());
    engine.create_group("billing", GroupOptions::shared().topic("orders", Start::Beginning)).unwrap();
    let mut working =
        std::pin::pin!(example::awaiting::run(engine.join_group("billing", MemberOptions::new()).unwrap()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(working.as_mut().poll(&mut context).is_pending());
    engine.producer(ProducerOptions::new()).unwrap().send(&topic, Record::new(b"v")).unwrap().wait().unwrap();
    while engine.describe_group("billing").unwrap().partitions[0].lag > 0 {
        assert!(working.as_mut().poll(&mut context).is_pending());
    }
    engine.delete_group("billing").unwrap();
    let std::task::Poll::Ready(ended) = working.poll(&mut context) else { panic!("there is no group any more") };
    assert_eq!(ended.unwrap_err().code(), "group-deleted");
    engine.close().unwrap();
}

#[test]
fn an_audit_says_whether_every_order_is_there() {
    let directory = directory();
    let (engine, topic) = orders(directory.path());
    engine.create_group("billing", GroupOptions::shared().topic("orders", Start::Beginning)).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(b"paid")).unwrap().wait().unwrap();
    assert!(example::auditing::run(&engine).unwrap());
    engine.close().unwrap();
}

#[test]
fn what_is_traced_carries_its_trace() {
    let directory = directory();
    let (engine, topic) = orders(directory.path());
    engine.create_group("g", GroupOptions::shared().topic("orders", Start::Beginning)).unwrap();
    let (producer, member) = example::tracing::run();
    engine.producer(producer).unwrap().send(&topic, Record::new(b"v")).unwrap().wait().unwrap();
    let mut member = engine.join_group("g", member).unwrap();
    let deliveries = member.poll(std::time::Duration::from_secs(20)).unwrap();
    let delivery = deliveries.iter().next().unwrap();
    let traces: Vec<_> = delivery.record.headers().map(|header| (header.name, header.value)).collect();
    assert_eq!(traces, [("trace", &b"trace-0"[..])]);
    member.reject(delivery.id()).unwrap();
    engine.close().unwrap();
}

#[test]
fn what_became_a_dead_letter_is_tried_again() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let orders = engine.create_topic("orders", TopicOptions::new()).unwrap();
    engine.create_group("billing", GroupOptions::shared().topic("orders", Start::Beginning)).unwrap();
    engine.producer(ProducerOptions::new()).unwrap().send(&orders, Record::new(b"1")).unwrap().wait().unwrap();
    let mut member = engine.join_group("billing", MemberOptions::new()).unwrap();
    for delivery in &member.poll(std::time::Duration::from_secs(20)).unwrap() {
        member.reject(delivery.id()).unwrap();
    }
    let lag = || engine.describe_group("billing").unwrap().partitions[0].lag;
    common::wait_until("it is a dead letter", || lag() == 0);
    assert_eq!((example::redrive::run(&engine).unwrap(), lag()), (0, 1));
    drop(member);
    engine.close().unwrap();
}

#[test]
fn the_transactions_of_the_documents() {
    let directory = directory();
    let (engine, orders) = orders(directory.path());
    let invoices = engine.create_topic("invoices", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    example::all_or_nothing::run(&producer, &orders, &invoices, "one").unwrap();
    let again = example::all_or_nothing::run(&producer, &orders, &invoices, "one").unwrap_err();
    assert_eq!(again.code(), "transaction-exists");
    assert_eq!(
        (values(&engine, &orders, 0), values(&engine, &invoices, 0)),
        (vec![b"one".to_vec()], vec![b"one".to_vec()])
    );

    let results = engine.create_topic("results", TopicOptions::new()).unwrap();
    engine.create_group("upper", GroupOptions::shared().topic("invoices", Start::Beginning)).unwrap();
    let mut member = engine.join_group("upper", MemberOptions::new()).unwrap();
    assert_eq!(example::transforming::run(&mut member, &producer, &results).unwrap(), 1);
    assert_eq!(values(&engine, &results, 0), [b"ONE".to_vec()]);
    assert_eq!(engine.groups()[0].partitions[0].lag, 0);

    let database = std::sync::Arc::<example::half_messages::Database>::default();
    example::half_messages::run(&engine, &producer, &orders, &database, &["two", "bad", "lost"]).unwrap();
    assert_eq!(values(&engine, &orders, 0), [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(engine.transaction("lost").unwrap().state, TransactionState::Prepared);
    engine.close().unwrap();
    let (engine, orders) = self::orders(directory.path());
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    example::half_messages::run(&engine, &producer, &orders, &database, &[]).unwrap();
    common::wait_until("the checker was asked", || values(&engine, &orders, 0).len() == 3);
    assert_eq!(engine.transaction("bad").unwrap().state, TransactionState::RolledBack);
    engine.close().unwrap();
}
