//! Transactions on a full disk: what is new is refused and rolled back; what is prepared stays so, and is decided as soon as
//! there is room, over several lanes too.

use super::common::ledger::{Ledger, PATIENCE};
use super::common::storage::open_faulty;
use super::common::transaction::{named, prepared, send};
use super::common::watchdog::watchdog;
use super::common::{backends, copy_of_a_moment, directory, small, values, wait_until};
use ringlane::io::faulty::Faults;
use ringlane::*;
use std::time::{Duration, Instant};

/// Records of each transaction: for two partitions of `t`, so that with two lanes both have a part.
const RECORDS: u32 = 2;
/// More transactions than the reserve has room for decisions. (It grows with them, by less than a page each.)
const PREPARED: usize = 2_000;

fn id_of(number: usize) -> String {
    format!("{number:04}")
}

/// How many records of transactions are visible, by transaction.
fn published(engine: &Engine) -> Vec<(String, u32)> {
    let topic = engine.topic("t").unwrap();
    let mut found = std::collections::BTreeMap::<String, u32>::new();
    for partition in 0..topic.partitions() {
        for value in values(engine, &topic, partition) {
            if let Some((id, _)) = String::from_utf8(value).ok().as_deref().and_then(|value| value.split_once('/')) {
                *found.entry(id.to_owned()).or_default() += 1;
            }
        }
    }
    found.into_iter().collect()
}

/// Each of them wholly, and in their order no other one.
#[track_caller]
fn assert_published(engine: &Engine, ids: &[String]) {
    let expected: Vec<_> = ids.iter().map(|id| (id.clone(), RECORDS)).collect();
    let start = Instant::now();
    while published(engine) != expected {
        assert!(start.elapsed() < PATIENCE, "{} of {} are published", published(engine).len(), expected.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_new_is_refused_and_what_is_prepared_is_decided_when_there_is_room() {
    let _watchdog = watchdog(400, "transactions on a full disk");
    for backend in backends() {
        for lanes in [1, 2] {
            let (directory, faults) = (directory(), Faults::new());
            // Without power-safe overwrite each group fills its page, so that segments are soon full.
            let options = small().backend(backend).lanes(Some(lanes)).power_safe_overwrite(false);
            let engine = open_faulty(directory.path(), options.clone(), &faults).unwrap();
            let topic = engine.create_topic("t", TopicOptions::new().partitions(4)).unwrap();
            let bulk = engine.create_topic("bulk", TopicOptions::new().partitions(lanes)).unwrap();
            let producer = engine.producer(ProducerOptions::new()).unwrap();
            let prepare = |number| drop(prepared(&producer, &topic, named(&id_of(number)), RECORDS));
            std::thread::scope(|scope| {
                for thread in 0..8 {
                    let prepare = &prepare;
                    scope.spawn(move || (0..PREPARED).filter(|number| number % 8 == thread).for_each(prepare));
                }
            });
            let mut checked = Some(prepared(&producer, &topic, named("checked").checker("c"), RECORDS));
            // Open before the disk is full: small, and so large that some of it stands in the log.
            let mut small_one = producer.begin(named("small")).unwrap();
            send(&mut small_one, &topic, RECORDS);
            let mut large = producer.begin(named("large")).unwrap();
            let value = vec![b'v'; 60 << 10];
            for number in 0..40 {
                large.send(&topic, Record::new(&value).partition(number % 4)).unwrap();
            }
            faults.limit_space(Some(6 << 20));
            let mut ledger = Ledger::default();
            for partition in 0..lanes {
                ledger.send_until_error(&producer, &bulk, partition);
            }
            faults.limit_space(Some(0));
            // Where there is no room for something large there may be some for something small.
            for partition in 0..lanes {
                ledger.assert_no_space();
                while ledger.errors.is_empty() {
                    ledger.send(&producer, &bulk, partition, 1, 10);
                }
            }
            ledger.assert_no_space();

            // What is new, or open, is refused.
            let refused = |error: Error| {
                assert!(matches!(error, Error::NoSpace { .. }) && error.is_retriable(), "{error}");
            };
            refused(small_one.prepare().unwrap_err());
            assert_eq!(small_one.state(), TransactionState::RolledBack);
            refused(large.commit().unwrap_err());
            assert_eq!(large.state(), TransactionState::RolledBack);
            for prepares in [false, true] {
                let mut new = producer.begin(named("small")).unwrap();
                send(&mut new, &topic, RECORDS);
                // So large that some of it would stand in the log: it is refused there or at its end.
                let value = vec![b'v'; 200 << 10];
                let refusals: Vec<_> = (0..16)
                    .filter_map(|number| new.send(&topic, Record::new(&value).partition(number % 4)).err())
                    .collect();
                if new.state() == TransactionState::Open {
                    let end = if prepares { new.prepare() } else { new.commit().map(drop) };
                    refused(end.unwrap_err());
                }
                assert_eq!(new.state(), TransactionState::RolledBack);
                if let Some(error) = refusals.into_iter().next() {
                    refused(error);
                }
            }
            assert_eq!(published(&engine), []);

            // Decisions go on until there is no room for them either. What is not decided then stays prepared.
            let mut committed = Vec::new();
            let full = (0..PREPARED).map(id_of).find_map(|id| match engine.commit_transaction(&id) {
                Ok(()) => {
                    committed.push(id);
                    None
                }
                Err(error) => Some((id, error)),
            });
            let (id, error) =
                full.unwrap_or_else(|| panic!("{backend:?}: there was room for all {PREPARED} decisions"));
            refused(error);
            assert!(committed.len() > 100, "{backend:?}: only {} decisions", committed.len());
            assert_eq!(engine.transaction(&id).unwrap().state, TransactionState::Prepared);
            refused(engine.roll_back_transaction(&id).unwrap_err());
            assert_eq!(engine.transaction(&id).unwrap().state, TransactionState::Prepared);
            assert_eq!(engine.stats().transactions.prepared as usize, PREPARED + 1 - committed.len());
            assert_eq!(engine.stats().poisoned, None);

            // A checker is asked again, and that it could not be written is no answer.
            let commits = |_: &HalfTransaction| CheckAnswer::Commit;
            let eager = CheckerOptions::new().first(Duration::ZERO).interval(Duration::from_millis(20)).checks_max(1);
            let asks = || engine.stats().transactions.checks;
            engine.register_checker("c", eager, commits).unwrap();
            checked.as_mut().unwrap().commit().map(drop).map_err(refused).unwrap_err();
            drop(checked.take());
            wait_until("it is asked again", || asks() > 3);
            let info = engine.transaction("checked").unwrap();
            assert_eq!((info.state, info.checks), (TransactionState::Prepared, 0));

            // A kill, on the full disk, and opened again there: what was decided is, and everything else is prepared.
            let copy = copy_of_a_moment(directory.path());
            let killed = open_faulty(copy.path(), options, &faults).unwrap();
            assert_eq!(killed.transactions().len(), PREPARED + 1 - committed.len());
            killed.register_checker("c", eager, commits).unwrap();
            assert_eq!(killed.transaction(&committed[0]).unwrap().state, TransactionState::Committed);

            // Room again.
            faults.limit_space(None);
            for (engine, path) in [(&killed, copy.path()), (&engine, directory.path())] {
                let by_checker = "checked".to_owned();
                assert_published(engine, &[&committed[..], std::slice::from_ref(&by_checker)].concat());
                let start = Instant::now();
                while let Err(error) = engine.commit_transaction(&id) {
                    refused(error);
                    assert!(start.elapsed() < PATIENCE, "there is room, and it is refused");
                    std::thread::sleep(Duration::from_millis(50));
                }
                assert_published(engine, &[&committed[..], &[id.clone(), by_checker]].concat());
                for id in (committed.len() + 1..PREPARED).map(id_of) {
                    engine.roll_back_transaction(&id).unwrap();
                }
                assert_eq!(engine.transactions().len(), 0);
                wait_until("it is given up in all lanes", || engine.stats().withheld_records == 0);
                engine.close().unwrap();
                assert!(!verify(path, &mut |_| {}).unwrap().is_damaged());
            }
        }
    }
}
