//! Groups on a full disk: what is acknowledged is acknowledged, or its flush says why not; dead letters wait for room.

use super::common::ledger::Ledger;
use super::common::storage::open_faulty;
use super::common::watchdog::watchdog;
use super::common::{backends, copy_of_a_moment, directory, small, values};
use super::*;
use ringlane::io::faulty::Faults;
use std::collections::BTreeSet;

const RECORDS: u64 = 600;
/// Segments in the reserve of a log.
const RESERVE: u64 = 5;
/// This one nobody can process.
const REJECTED: u64 = 7;

/// An engine whose group has everything to do yet, on a disk that a producer has filled.
fn filled(path: &Path, options: Options, faults: &Faults) -> (Engine, Producer, Ledger) {
    let engine = open_faulty(path, options, faults).unwrap();
    let topic = create(&engine, 1, GroupOptions::shared());
    fill(&engine, &topic, 0..RECORDS);
    let bulk = engine.create_topic("bulk", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut ledger = Ledger::default();
    faults.limit_space(Some(4 << 20));
    ledger.send_until_error(&producer, &bulk, 0);
    ledger.assert_no_space();
    faults.limit_space(Some(0));
    (engine, producer, ledger)
}

/// Each acknowledgement is flushed on its own, more of them than the reserve has room for; after a kill on the full disk none
/// that was flushed comes back. Then there is room again, and everything goes on.
#[test]
fn acknowledgements_go_on_and_dead_letters_wait() {
    let _watchdog = watchdog(300, "a group on a full disk");
    for backend in backends() {
        let (directory, faults) = (directory(), Faults::new());
        // Without power-safe overwrite each group fills its page, so that segments are soon full.
        let options = small().backend(backend).lanes(Some(1)).power_safe_overwrite(false);
        let (engine, producer, mut ledger) = filled(directory.path(), options.clone(), &faults);
        let segments = || engine.stats().lanes[0].segments;
        let mut member = join(&engine);
        let before = segments();
        let (mut kept, mut refused) = (BTreeSet::new(), 0);
        let mut acknowledged = Vec::new();
        for Taken { number, id, .. } in take(&mut member, RECORDS as usize) {
            if number == REJECTED {
                member.reject(id).unwrap();
                continue;
            }
            member.ack(id).unwrap();
            acknowledged.push(number);
            match member.flush() {
                Ok(()) => kept.extend(acknowledged.drain(..)),
                Err(error) => {
                    assert_eq!(error.code(), "no-space", "{error}");
                    assert!(error.is_retriable());
                    refused += 1;
                }
            }
        }
        assert!(kept.len() as u64 > RECORDS / 2, "{backend:?}: {} were flushed, {refused} were not", kept.len());
        let written = segments() - before;
        assert!(written > RESERVE, "{backend:?}: {written} segments were filled");
        // There is no room for it among the dead letters, however often that is tried.
        for _ in 0..5 {
            nothing_comes(&mut member);
            assert_eq!(lag(&engine), 1, "it stays unfinished");
        }
        assert_eq!(engine.stats().poisoned, None);

        // A kill, on the full disk; and opened again, on the full disk.
        let copy = copy_of_a_moment(directory.path());
        let killed = open_faulty(copy.path(), options.clone(), &faults).unwrap();
        let mut other = join(&killed);
        for Taken { number, .. } in taken(&other.poll(Duration::from_millis(300)).unwrap()) {
            assert!(!kept.contains(&number) && number != REJECTED, "{number} was flushed, and comes back");
        }
        assert!((1..=RECORDS - kept.len() as u64).contains(&lag(&killed)), "{} of {RECORDS} are left", lag(&killed));
        drop(other);
        killed.close().unwrap();

        // Room again: the dead letter gets through, and everything else.
        faults.limit_space(None);
        let bulk = engine.topic("bulk").unwrap();
        ledger.send_until_success(&producer, &bulk, 0);
        while lag(&engine) > 0 {
            nothing_comes(&mut member);
        }
        let dead = engine.topic("g.dlq").unwrap();
        assert_eq!(values(&engine, &dead, 0), [REJECTED.to_string().into_bytes()]);
        fill(&engine, &engine.topic("t").unwrap(), RECORDS..RECORDS + 3);
        take(&mut member, 3).iter().for_each(|taken| member.ack(taken.id).unwrap());
        member.flush().unwrap();
        assert_eq!(lag(&engine), 0);
        member.close();
        drop(producer);
        engine.close().unwrap();
        assert!(!verify(directory.path(), &mut |_| {}).unwrap().is_damaged());
    }
}
