//! Retention by what groups have finished, and what groups are told of records that went before.

#![allow(clippy::unwrap_used)]

mod common;

use common::clock::{MovedClock, open};
use common::storage::{is_segment, open_faulty};
use common::watchdog::watchdog;
use common::{copy_of_a_moment, directory, small, wait_until};
use ringlane::io::faulty::{Effect, Fault, Faults, Operation};
use ringlane::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const HOUR_MS: i64 = 3_600_000;
const SOON: Duration = Duration::from_secs(20);

/// An engine with a topic `t` that is kept so.
fn kept(path: &Path, clock: &Arc<MovedClock>, partitions: u32, retention: Retention) -> (Engine, Topic) {
    let engine = open(path, small(), clock);
    let topic = engine.create_topic("t", TopicOptions::new().partitions(partitions).retention(retention)).unwrap();
    (engine, topic)
}

fn queue() -> Retention {
    Retention::new().keep_unfinished(true).drop_finished(true)
}

fn create_group(engine: &Engine, name: &str) {
    engine.create_group(name, GroupOptions::shared().topic("t", Start::Beginning)).unwrap();
}

/// Sends so many records of 1 KiB.
fn fill(engine: &Engine, topic: &Topic, partition: u32, count: u64) {
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let value = vec![7u8; 1000];
    let send = |_| producer.send(topic, Record::new(&value).partition(partition)).unwrap();
    let handles: Vec<SendHandle> = (0..count).map(send).collect();
    handles.into_iter().for_each(|handle| drop(handle.wait().unwrap()));
}

/// Works off so many records, durably.
fn work_off(engine: &Engine, group: &str, count: u64) {
    let mut member = engine.join_group(group, MemberOptions::new().max_poll_records(50)).unwrap();
    let mut done = 0;
    while done < count {
        let deliveries = member.poll(SOON).unwrap();
        assert!(!deliveries.is_empty(), "{done} of {count} came");
        done += deliveries.len() as u64;
        member.ack_all(&deliveries).unwrap();
    }
    member.flush().unwrap();
    member.close();
}

fn first_offset(topic: &Topic, partition: u32) -> u64 {
    topic.partition_info(partition).unwrap().first_offset
}

/// Several passes of retention have looked at everything.
fn let_retention_look(engine: &Engine, clock: &MovedClock) {
    for _ in 0..3 {
        // It looks when the time has come, or when bounds are set; then it has asked, and the lane answers in order.
        clock.pass(2_000);
        let topic = engine.topic("t").unwrap();
        engine.set_retention("t", topic.retention()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        engine.sync().unwrap();
    }
}

fn position(engine: &Engine, group: &str, partition: usize) -> u64 {
    engine.describe_group(group).unwrap().partitions[partition].position
}

fn lost(engine: &Engine, group: &str) -> u64 {
    engine.describe_group(group).unwrap().partitions.iter().map(|partition| partition.lost).sum()
}

/// What a member is told until it is given something, or nothing more comes.
fn told(engine: &Engine, group: &str) -> Vec<(u64, u64)> {
    let mut member = engine.join_group(group, MemberOptions::new().max_poll_records(1)).unwrap();
    let mut told = Vec::new();
    loop {
        match member.poll(Duration::from_millis(50)) {
            Ok(_) => break,
            Err(Error::Truncated { from, to, .. }) => told.push((from, to)),
            Err(error) => panic!("{error}"),
        }
    }
    member.close();
    told
}

#[test]
fn what_every_group_has_finished_goes_and_what_one_has_not_stays() {
    let _watchdog = watchdog(120, "finished by all");
    let (scratch, clock) = (directory(), MovedClock::new());
    let (engine, topic) = kept(scratch.path(), &clock, 1, queue().retention_bytes(1));
    create_group(&engine, "fast");
    create_group(&engine, "slow");
    fill(&engine, &topic, 0, 4_000);
    work_off(&engine, "fast", 4_000);
    let_retention_look(&engine, &clock);
    assert_eq!(first_offset(&topic, 0), 0, "one has finished nothing, and there is more than one byte");
    work_off(&engine, "slow", 2_500);
    wait_until("what both have finished goes", || first_offset(&topic, 0) > 1_000);
    let_retention_look(&engine, &clock);
    assert!(first_offset(&topic, 0) <= position(&engine, "slow", 0));
    assert_eq!((lost(&engine, "fast"), lost(&engine, "slow")), (0, 0));
    // Closed and opened again, under another number of lanes, it goes on.
    engine.close().unwrap();
    let engine = open(scratch.path(), small().lanes(Some(2)), &clock);
    let topic = engine.topic("t").unwrap();
    assert_eq!(topic.retention(), queue().retention_bytes(1));
    let_retention_look(&engine, &clock);
    assert!((1_001..=2_500).contains(&first_offset(&topic, 0)));
    assert_eq!((told(&engine, "fast"), told(&engine, "slow")), (vec![], vec![]));
    // A group that is deleted holds nothing back.
    engine.delete_group("slow").unwrap();
    wait_until("the rest goes", || first_offset(&topic, 0) > 3_000);
    // And a group that comes later begins with what is there.
    create_group(&engine, "late");
    assert_eq!(position(&engine, "late", 0), first_offset(&topic, 0));
    assert_eq!(told(&engine, "late"), []);
    engine.close().unwrap();
    assert!(!verify(scratch.path(), &mut |_| {}).unwrap().is_damaged());
}

#[test]
fn where_no_group_reads_nothing_is_finished() {
    let _watchdog = watchdog(120, "no group");
    let (scratch, clock) = (directory(), MovedClock::new());
    let (engine, topic) = kept(scratch.path(), &clock, 2, queue());
    engine.create_topic("other", TopicOptions::new()).unwrap();
    engine.create_group("g", GroupOptions::shared().topic("other", Start::Beginning)).unwrap();
    fill(&engine, &topic, 0, 3_000);
    let_retention_look(&engine, &clock);
    assert_eq!(first_offset(&topic, 0), 0);
    // The bounds decide alone.
    engine.set_retention("t", queue().retention_bytes(1)).unwrap();
    wait_until("more than is kept goes", || first_offset(&topic, 0) > 0);
    engine.close().unwrap();
}

#[test]
fn only_what_is_durably_acknowledged_is_finished_and_each_partition_counts_alone() {
    let _watchdog = watchdog(120, "each partition");
    let (scratch, clock) = (directory(), MovedClock::new());
    let (engine, topic) = kept(scratch.path(), &clock, 2, queue());
    create_group(&engine, "g");
    fill(&engine, &topic, 1, 3_000);
    let mut member = engine.join_group("g", MemberOptions::new().max_in_flight_records(3_000)).unwrap();
    let mut held = Vec::new();
    while held.len() < 3_000 {
        let deliveries = member.poll(SOON).unwrap();
        held.extend(deliveries.iter().map(|delivery| delivery.id()));
    }
    let_retention_look(&engine, &clock);
    assert_eq!(first_offset(&topic, 1), 0, "handed out is not finished");
    // The first one stays in the way.
    held[1..].iter().for_each(|id| member.ack(*id).unwrap());
    member.flush().unwrap();
    let_retention_look(&engine, &clock);
    assert_eq!(first_offset(&topic, 1), 0);
    member.ack(held[0]).unwrap();
    member.flush().unwrap();
    wait_until("now it goes", || first_offset(&topic, 1) > 1_000);
    member.close();
    engine.close().unwrap();
}

#[test]
fn time_takes_what_is_old_or_what_is_old_and_finished() {
    let _watchdog = watchdog(120, "time");
    for keeps in [true, false] {
        let (scratch, clock) = (directory(), MovedClock::new());
        let hour = Retention::new().retention_ms(HOUR_MS as u64).keep_unfinished(keeps);
        let (engine, topic) = kept(scratch.path(), &clock, 1, hour);
        create_group(&engine, "g");
        fill(&engine, &topic, 0, 3_000);
        work_off(&engine, "g", 1_500);
        let_retention_look(&engine, &clock);
        assert_eq!(first_offset(&topic, 0), 0, "it is finished, and young");
        clock.pass(2 * HOUR_MS);
        wait_until("what is old goes", || first_offset(&topic, 0) >= if keeps { 900 } else { 3_000 });
        let_retention_look(&engine, &clock);
        let first = first_offset(&topic, 0);
        match keeps {
            true => {
                assert!(first <= 1_500, "{first}");
                assert_eq!(told(&engine, "g"), []);
                work_off(&engine, "g", 1_500);
                let_retention_look(&engine, &clock);
                assert_eq!(first_offset(&topic, 0), 3_000, "it is finished now");
            }
            false => {
                assert_eq!((first, told(&engine, "g")), (3_000, vec![(1_500, 3_000)]));
                assert_eq!((lost(&engine, "g"), told(&engine, "g")), (1_500, vec![]));
            }
        }
        engine.close().unwrap();
    }
}

/// Delayed records have no offsets yet: nobody has finished them, and nothing takes them.
#[test]
fn delayed_records_come_after_all_that_went_before_them() {
    let _watchdog = watchdog(120, "delayed");
    let (scratch, clock) = (directory(), MovedClock::new());
    let (engine, topic) = kept(scratch.path(), &clock, 1, queue());
    create_group(&engine, "g");
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let delayed = Record::new(b"delayed").partition(0).visible_after(Duration::from_secs(3_600));
    producer.send(&topic, delayed).unwrap().wait().unwrap();
    fill(&engine, &topic, 0, 3_000);
    work_off(&engine, "g", 3_000);
    wait_until("the others go", || first_offset(&topic, 0) > 1_000);
    clock.pass(HOUR_MS + 1_000);
    let mut member = engine.join_group("g", MemberOptions::new()).unwrap();
    let deliveries = member.poll(SOON).unwrap();
    let come: Vec<_> =
        deliveries.iter().map(|one| (one.record.offset(), one.record.value().unwrap().to_vec())).collect();
    assert_eq!(come, [(3_000, b"delayed".to_vec())]);
    member.ack_all(&deliveries).unwrap();
    member.close();
    drop(producer);
    engine.close().unwrap();
}

#[test]
fn the_bound_on_the_disk_takes_what_is_unfinished_and_each_group_is_told_once() {
    let _watchdog = watchdog(240, "the disk");
    let (scratch, clock) = (directory(), MovedClock::new());
    let bounded = small().disk_bytes_max(Some(32 * MIB)).at_disk_bound(DiskBound::DropOldest);
    let engine = open(scratch.path(), bounded, &clock);
    let topic = engine.create_topic("t", TopicOptions::new().retention(queue())).unwrap();
    create_group(&engine, "one");
    create_group(&engine, "two");
    fill(&engine, &topic, 0, 4_000);
    work_off(&engine, "one", 1_000);
    fill(&engine, &topic, 0, 40_000);
    wait_until("the oldest go", || first_offset(&topic, 0) > 4_000);
    drop(topic);
    engine.close().unwrap();
    // Without the bound nothing more goes.
    let engine = open(scratch.path(), small(), &clock);
    let first = first_offset(&engine.topic("t").unwrap(), 0);
    assert_eq!(told(&engine, "one"), [(1_000, first)]);
    assert_eq!(told(&engine, "one"), []);
    // A kill before the other is told, and a clean close; what the first was told of is in the log.
    engine.sync().unwrap();
    let killed = copy_of_a_moment(scratch.path());
    engine.close().unwrap();
    for (path, begins) in [(killed.path(), "killed"), (scratch.path(), "closed")] {
        let engine = open(path, small(), &clock);
        assert_eq!(told(&engine, "two"), [(0, first)], "{begins}");
        assert_eq!((lost(&engine, "one"), lost(&engine, "two")), (first - 1_000, first), "{begins}");
        engine.close().unwrap();
        let engine = open(path, small().lanes(Some(2)), &clock);
        assert_eq!((told(&engine, "one"), told(&engine, "two")), (vec![], vec![]), "{begins}");
        assert_eq!((lost(&engine, "one"), lost(&engine, "two")), (first - 1_000, first), "{begins}");
        engine.close().unwrap();
    }
}

/// The story: what was given up between the last poll and the closing of the engine, or before a member of the group
/// ever polled, nobody was told of when it was opened again.
#[test]
fn what_went_before_anybody_polled_is_told_after_opening_under_any_number_of_lanes() {
    let _watchdog = watchdog(120, "told after opening");
    let (scratch, clock) = (directory(), MovedClock::new());
    let (engine, topic) = kept(scratch.path(), &clock, 3, Retention::new());
    create_group(&engine, "g");
    create_group(&engine, "h");
    (0..3).for_each(|partition| fill(&engine, &topic, partition, 10));
    engine.delete_records(&topic, 2, 4).unwrap();
    engine.close().unwrap();
    // More goes in the next opening, in which nobody polls.
    let engine = open(scratch.path(), small().lanes(Some(3)), &clock);
    engine.delete_records(&engine.topic("t").unwrap(), 2, 7).unwrap();
    engine.close().unwrap();
    let engine = open(scratch.path(), small().lanes(Some(2)), &clock);
    assert_eq!((told(&engine, "g"), lost(&engine, "g")), (vec![(0, 7)], 7));
    // It is told although the member has records of other partitions to give.
    let mut member = engine.join_group("h", MemberOptions::new()).unwrap();
    let polled: Vec<_> = std::iter::repeat_with(|| member.poll(SOON).map(|all| all.len())).take(3).collect();
    let count: usize = polled.iter().flatten().sum();
    assert!(polled.iter().any(Result::is_err) && count <= 23, "{polled:?}");
    drop(member);
    // The number of lanes of the last opening is kept, and the log says who was told.
    engine.close().unwrap();
    let engine = open(scratch.path(), small(), &clock);
    assert_eq!((told(&engine, "g"), told(&engine, "h"), lost(&engine, "h")), (vec![], vec![], 7));
    engine.close().unwrap();
}

/// What the log gave up while a member still held it, and then acknowledged, is not told as lost at the next opening.
#[test]
fn what_was_acknowledged_too_late_for_the_log_is_not_told() {
    let _watchdog = watchdog(120, "acknowledged late");
    let (scratch, clock) = (directory(), MovedClock::new());
    let (engine, topic) = kept(scratch.path(), &clock, 1, Retention::new());
    create_group(&engine, "g");
    fill(&engine, &topic, 0, 10);
    let mut member = engine.join_group("g", MemberOptions::new()).unwrap();
    let deliveries = member.poll(SOON).unwrap();
    assert_eq!(deliveries.len(), 10);
    // Acknowledged and not flushed: the desk may hear of both in any order, the log of the truncation first.
    member.ack_all(&deliveries).unwrap();
    engine.delete_records(&topic, 0, 10).unwrap();
    let now = member.poll(Duration::ZERO).map(|all| all.len());
    assert!(matches!(now, Ok(0) | Err(Error::Truncated { .. })), "{now:?}");
    member.close();
    engine.close().unwrap();
    let engine = open(scratch.path(), small(), &clock);
    assert_eq!(told(&engine, "g"), []);
    engine.close().unwrap();
}

/// A group that reads a name begins with each topic that is created under it: what is sent before the members can read
/// it is kept for them.
#[test]
fn a_topic_that_is_created_again_is_kept_for_the_groups_that_name_it() {
    let _watchdog = watchdog(120, "created again");
    let (scratch, clock) = (directory(), MovedClock::new());
    let (engine, topic) = kept(scratch.path(), &clock, 2, queue());
    create_group(&engine, "g");
    engine.create_group("end", GroupOptions::ordered().topic("t", Start::End)).unwrap();
    fill(&engine, &topic, 0, 10);
    engine.delete_topic("t").unwrap();
    let again = TopicOptions::new().partitions(3).retention(queue().retention_bytes(1));
    let topic = engine.create_topic("t", again).unwrap();
    fill(&engine, &topic, 2, 3_000);
    let_retention_look(&engine, &clock);
    assert_eq!(first_offset(&topic, 2), 0, "nobody has read it");
    engine.close().unwrap();
    let engine = open(scratch.path(), small(), &clock);
    let topic = engine.topic("t").unwrap();
    work_off(&engine, "g", 3_000);
    assert_eq!((position(&engine, "g", 2), position(&engine, "end", 2)), (3_000, 0));
    work_off(&engine, "end", 3_000);
    wait_until("both have it", || first_offset(&topic, 2) > 1_000);
    engine.close().unwrap();
}

/// The catalog had the group, and the write with which it was to begin in its partitions failed.
#[test]
fn a_group_whose_creation_failed_half_way_begins_everywhere_when_it_is_joined() {
    let _watchdog = watchdog(120, "half a group");
    let (scratch, faults) = (directory(), Faults::new());
    let engine = open_faulty(scratch.path(), small().lanes(Some(3)), &faults).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(6)).unwrap();
    (0..6).for_each(|partition| fill(&engine, &topic, partition, 20));
    engine.delete_records(&topic, 4, 5).unwrap();
    let by_keeper = || std::thread::current().name() == Some("ringlane-keeper");
    let fault = Fault::new(Operation::Write, Effect::Fail(libc::EIO));
    // Lane 0 writes to the first segment: the catalog is there.
    faults.arm(fault.on(move |name| is_segment(name) && name != "segment-00000000" && !by_keeper()));
    let error = engine.create_group("g", GroupOptions::shared().topic("t", Start::Beginning)).unwrap_err();
    assert!(error.is_fatal() || error.is_unknown_outcome(), "{error}");
    assert_eq!(engine.join_group("g", MemberOptions::new()).unwrap_err().code(), "poisoned");
    engine.close().unwrap_err();
    for _ in 0..2 {
        let engine = Engine::open(scratch.path(), small()).unwrap();
        let info = engine.describe_group("g").unwrap();
        let positions: Vec<u64> = info.partitions.iter().map(|partition| partition.position).collect();
        assert_eq!(positions, [0, 0, 0, 0, 5, 0]);
        engine.close().unwrap();
    }
    let engine = Engine::open(scratch.path(), small()).unwrap();
    work_off(&engine, "g", 6 * 20 - 5);
    assert!(engine.groups()[0].partitions.iter().all(|partition| partition.lag == 0 && partition.lost == 0));
    engine.close().unwrap();
}
