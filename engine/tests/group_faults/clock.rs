//! Clocks that jump: leases do not notice, and delays are prolonged by none.

use super::common::clock::{MovedClock, open};
use super::common::{directory, small, wait_until};
use super::*;

const DAY_MS: i64 = 86_400_000;

/// The wall clock is set forward by a year, and back by two: the lease runs on, and ends when its time has passed.
#[test]
fn leases_do_not_depend_on_the_wall_clock() {
    let (directory, clock) = (directory(), MovedClock::new());
    let engine = open(directory.path(), small(), &clock);
    let topic = create(&engine, 1, GroupOptions::shared());
    fill(&engine, &topic, 0..3);
    let mut member = join(&engine);
    let held = take(&mut member, 3);
    let mut other = join(&engine);
    for (at, jump_ms) in [365 * DAY_MS, -2 * 365 * DAY_MS].into_iter().enumerate() {
        clock.jump(jump_ms);
        nothing_comes(&mut other);
        member.extend(held[2].id, Duration::from_secs(30)).unwrap();
        member.ack(held[at].id).unwrap();
    }
    clock.pass(31_000);
    let again = take(&mut other, 1);
    assert_eq!((again[0].number, again[0].count), (2, 2));
    assert_eq!(member.ack(held[2].id).unwrap_err().code(), "lease-lost");
    other.ack(again[0].id).unwrap();
    other.flush().unwrap();
    drop((member, other));
    engine.close().unwrap();
}

/// The story: what waited for a second try was due by the wall clock alone. One that was set back by a day, as by somebody
/// who corrects it, had it wait for a day, and what is behind it in an ordered group too.
#[test]
fn a_wall_clock_that_is_set_back_prolongs_no_delay() {
    for group in [GroupOptions::shared(), GroupOptions::ordered()] {
        let (directory, clock) = (directory(), MovedClock::new());
        let engine = open(directory.path(), small(), &clock);
        let topic = create(&engine, 1, group);
        fill(&engine, &topic, 0..1);
        let mut member = join(&engine);
        for count in 1..4 {
            let failed = take(&mut member, 1);
            assert_eq!(failed[0].count, count);
            member.nack(failed[0].id, Some(Duration::from_secs(60))).unwrap();
            clock.jump(-DAY_MS);
            clock.pass(50_000);
            nothing_comes(&mut member);
            clock.pass(11_000);
        }
        assert_eq!(take(&mut member, 1)[0].number, 0);
        drop(member);
        engine.close().unwrap();
    }
}

/// Set forward, it ends delays early, which loses nothing: the failure counts all the same. And what waits while nobody has
/// the engine open is due by the wall clock of then.
#[test]
fn delays_outlast_the_process_and_a_wall_clock_that_is_set_forward() {
    let (directory, clock) = (directory(), MovedClock::new());
    let engine = open(directory.path(), small(), &clock);
    let topic = create(&engine, 1, GroupOptions::shared());
    fill(&engine, &topic, 0..2);
    let mut member = join(&engine);
    for Taken { id, .. } in take(&mut member, 2) {
        member.nack(id, Some(Duration::from_secs(3600))).unwrap();
    }
    nothing_comes(&mut member);
    clock.jump(DAY_MS);
    let again = take(&mut member, 2);
    assert!(again.iter().all(|taken| taken.count == 2), "{again:?}");
    again.iter().for_each(|taken| member.nack(taken.id, Some(Duration::from_secs(3600))).unwrap());
    member.close();
    engine.close().unwrap();
    clock.pass(1_000_000);
    let engine = open(directory.path(), small(), &clock);
    let mut member = join(&engine);
    nothing_comes(&mut member);
    clock.pass(2_700_000);
    let again = take(&mut member, 2);
    assert!(again.iter().all(|taken| taken.count == 3), "{again:?}");
    again.iter().for_each(|taken| member.ack(taken.id).unwrap());
    wait_until("both are finished", || lag(&engine) == 0);
    drop(member);
    engine.close().unwrap();
}
