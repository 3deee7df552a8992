//! Groups and topics that are deleted under their members, and members that die in the middle of their work.

use super::common::{directory, small, wait_until};
use super::*;
use std::sync::mpsc::channel;

/// Who waits learns it at once, and every call on what is held says it: nothing is acknowledged in a group that is gone.
/// One of the same name, created later, is another group.
#[test]
fn a_group_that_is_deleted_under_its_members_tells_them_in_each_call() {
    for group in [GroupOptions::shared(), GroupOptions::ordered()] {
        let directory = directory();
        let (engine, topic) = begin(directory.path(), 1, group.clone());
        fill(&engine, &topic, 0..4);
        let mut member = join(&engine);
        let held = take(&mut member, 4);
        member.ack(held[0].id).unwrap();
        let mut waiting = join(&engine);
        std::thread::scope(|scope| {
            let (waits, is_waiting) = channel();
            let waiter = scope.spawn(move || {
                waits.send(()).unwrap();
                waiting.poll(Duration::from_secs(3600)).map(drop)
            });
            is_waiting.recv().unwrap();
            engine.delete_group("g").unwrap();
            assert_eq!(waiter.join().unwrap().unwrap_err().code(), "group-deleted");
        });
        let id = held[1].id;
        for result in [
            member.ack(id),
            member.ack_through(id).map(drop),
            member.nack(id, None),
            member.reject(id),
            member.release(id),
            member.extend(id, SOON),
            member.flush(),
            member.poll(Duration::ZERO).map(drop),
        ] {
            assert_eq!(result.unwrap_err().code(), "group-deleted");
        }
        engine.create_group("g", group.topic("t", Start::Beginning)).unwrap();
        assert_eq!(member.ack(id).unwrap_err().code(), "group-deleted", "it is another one");
        let mut other = join(&engine);
        assert!(take(&mut other, 4).iter().all(|taken| taken.count == 1), "it inherits nothing");
        // What the member of the old one held does not concern the new one.
        drop(member);
        assert_eq!(other.in_flight(), 4);
        other.close();
        engine.close().unwrap();
        let engine = Engine::open(directory.path(), small()).unwrap();
        assert_eq!(lag(&engine), 4);
        engine.close().unwrap();
    }
}

/// The other topics of the group go on.
#[test]
fn a_topic_that_is_deleted_under_a_member_is_read_no_more() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let gone = engine.create_topic("gone", TopicOptions::new()).unwrap();
    let group = GroupOptions::shared().topic("gone", Start::Beginning);
    let topic = create(&engine, 1, group);
    fill(&engine, &gone, 0..2);
    let mut member = join(&engine);
    let held = take(&mut member, 2);
    engine.delete_topic("gone").unwrap();
    // It may have been processed; nobody asks for it any more.
    member.ack(held[0].id).unwrap();
    member.nack(held[1].id, Some(Duration::ZERO)).unwrap();
    member.flush().unwrap();
    fill(&engine, &topic, 10..12);
    let left = take(&mut member, 2);
    assert_eq!(left.iter().map(|taken| taken.number).collect::<Vec<_>>(), [10, 11]);
    left.iter().for_each(|taken| member.ack(taken.id).unwrap());
    nothing_comes(&mut member);
    member.close();
    engine.close().unwrap();
    let engine = Engine::open(directory.path(), small()).unwrap();
    assert_eq!(lag(&engine), 0);
    engine.close().unwrap();
}

/// Its thread panics with records in its hands: they are handed to another one, once more counted; what it acknowledged
/// before is done.
#[test]
fn a_member_whose_thread_breaks_down_hands_on_what_it_held() {
    for group in [GroupOptions::shared(), GroupOptions::ordered()] {
        let directory = directory();
        let (engine, topic) = begin(directory.path(), 1, group);
        fill(&engine, &topic, 0..3);
        std::thread::scope(|scope| {
            let broken = scope.spawn(|| {
                let mut member = join(&engine);
                let held = take(&mut member, 3);
                member.ack(held[0].id).unwrap();
                panic!("on purpose, in the middle of record 1");
            });
            assert!(broken.join().is_err());
        });
        let mut member = join(&engine);
        let again = take(&mut member, 2);
        assert_eq!(again.iter().map(|taken| (taken.number, taken.count)).collect::<Vec<_>>(), [(1, 2), (2, 2)]);
        again.iter().for_each(|taken| member.ack(taken.id).unwrap());
        wait_until("all is finished", || lag(&engine) == 0);
        drop(member);
        engine.close().unwrap();
    }
}
