//! A record that kills whoever processes it: real processes, which end by `abort` and by a signal, and the options that a
//! group has if nobody sets any.

use super::common::child::{say, start};
use super::common::{directory, small, values};
use super::*;
use std::collections::BTreeMap;

const RECORDS: u64 = 24;
const PARTITIONS: u32 = 2;
/// In the middle of its partition.
const POISON: u64 = 10;
/// Of a group, by default.
const DELIVERIES_MAX: u32 = 16;

/// A child: processes records until one kills it, or nothing is left to do.
pub(super) fn work(path: &Path) {
    // SAFETY: changes a setting of this process only: its deaths leave no dumps.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    let engine = Engine::open(path, small()).unwrap();
    let mut member = join(&engine);
    while lag(&engine) > 0 {
        for Taken { number, count, id } in taken(&member.poll(Duration::from_millis(20)).unwrap()) {
            say(&format!("{number} {count}"));
            match (number, count % 2) {
                (POISON, 0) => std::process::abort(),
                // SAFETY: nothing is there, which ends the process: as a wrong pointer in the application would.
                (POISON, _) => unsafe { std::ptr::without_provenance_mut::<u64>(64).write_volatile(1) },
                _ => {}
            }
            member.ack(id).unwrap();
        }
    }
    member.flush().unwrap();
    say("done");
    member.close();
    engine.close().unwrap();
}

/// All lives of the application, until nothing is left to do.
fn every_delivery_of_one_record_ends_the_process(group: GroupOptions) {
    let directory = directory();
    let (engine, topic) = begin(directory.path(), PARTITIONS, group);
    fill(&engine, &topic, 0..RECORDS);
    engine.close().unwrap();
    let (mut counts, mut deaths) = (BTreeMap::<u64, Vec<u32>>::new(), 0);
    loop {
        let mut process = start("work", directory.path().to_str().unwrap());
        let said: Vec<String> = std::iter::from_fn(|| process.hear()).collect();
        let is_done = said.last().is_some_and(|line| line == "done");
        for line in said.iter().filter(|line| *line != "done") {
            let (number, count) = line.split_once(' ').unwrap();
            counts.entry(number.parse().unwrap()).or_default().push(count.parse().unwrap());
        }
        let status = process.end();
        assert_eq!(status.success(), is_done, "{status}: {said:?}");
        if is_done {
            break;
        }
        assert!(said.last().unwrap().starts_with(&format!("{POISON} ")), "{status}: {said:?}");
        deaths += 1;
    }
    assert_eq!(deaths, DELIVERIES_MAX);
    assert_eq!(counts[&POISON], (1..=DELIVERIES_MAX).collect::<Vec<_>>(), "each one was counted");
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), (0..RECORDS).collect::<Vec<_>>(), "all were processed");
    let engine = Engine::open(directory.path(), small()).unwrap();
    let dead = engine.topic("g.dlq").unwrap();
    let letters: Vec<_> = (0..dead.partitions()).flat_map(|partition| values(&engine, &dead, partition)).collect();
    assert_eq!(letters, [POISON.to_string().into_bytes()], "and no other");
    assert_eq!(lag(&engine), 0);
    engine.close().unwrap();
}

#[test]
fn in_a_shared_group_it_is_a_dead_letter_after_its_sixteenth_delivery_and_no_other_is() {
    every_delivery_of_one_record_ends_the_process(GroupOptions::shared());
}

#[test]
fn in_an_ordered_group_it_is_a_dead_letter_after_its_sixteenth_delivery_and_no_other_is() {
    every_delivery_of_one_record_ends_the_process(GroupOptions::ordered());
}
