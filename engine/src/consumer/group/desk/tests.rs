//! Each rule of the desk by itself. What they come to together: `world.rs`.

use super::*;
use crate::consumer::group::retry::RetryPolicy;
use crate::consumer::group::taken::{Cause, DeadLetter, GivenBack, Pause, Taken, Want};
use crate::lane::state::OFFSET_MAX;

const NOW_MS: i64 = 1_790_000_000_000;
const NACKED: Cause = Cause::Nacked { delay_ms: None };
const NACKED_AT_ONCE: Cause = Cause::Nacked { delay_ms: Some(0) };

fn options(kind: GroupKind) -> DeskOptions {
    let retry = RetryPolicy { first_delay_ms: 100, ..RetryPolicy::default() };
    DeskOptions { reserve: 1000, retry, ..DeskOptions::new(kind) }
}

fn opened(options: DeskOptions, progress: Progress, next_offset: u64, is_clean: bool) -> Desk {
    let mut desk = Desk::open(progress, options, Opening { next_offset, is_clean });
    if options.kind == GroupKind::Ordered {
        desk.assign(Some(0), Cause::Released, NOW_MS);
    }
    desk
}

/// With the limit at 1000.
fn desk(kind: GroupKind) -> Desk {
    let mut desk = opened(options(kind), Progress::begin(0).unwrap(), 0, true);
    let limit = desk.raise_limit().unwrap();
    desk.limit_durable(limit.ticket);
    desk
}

fn want(next_offset: u64, count_max: u64) -> Want {
    Want { member: 0, now_ms: NOW_MS, next_offset, count_max, has_others: false }
}

fn range(taken: &Taken) -> Range<u64> {
    assert_eq!(taken.ranges.len(), 1, "{taken:?}");
    taken.ranges[0].clone()
}

/// Takes what was handed out before, counts it, and says what is handed out.
fn retaken(desk: &mut Desk, want: Want) -> Vec<(u64, u32)> {
    let counting = desk.take(want).counting.expect("something was handed out before");
    desk.counted(counting.ticket).iter().map(|retried| (retried.offset, retried.attempts.deliveries)).collect()
}

fn finish(desk: &mut Desk, range: Range<u64>) -> Vec<ProgressChange> {
    let mut changes = Vec::new();
    desk.finish([range], &mut changes);
    changes
}

#[test]
fn nothing_is_handed_out_above_the_durable_limit() {
    let mut desk = opened(options(GroupKind::Shared), Progress::begin(7).unwrap(), 0, true);
    let taken = desk.take(want(5000, 2000));
    let limit = taken.limit.unwrap();
    assert_eq!((taken.pause, limit.change), (Some(Pause::LimitPending), ProgressChange::HandOutTo { offset: 1007 }));
    assert_eq!(desk.take(want(5000, 2000)).limit, None, "it was asked for");
    desk.limit_durable(Ticket(99));
    assert_eq!(desk.take(want(5000, 2000)).pause, Some(Pause::LimitPending));
    desk.limit_durable(limit.ticket);
    let taken = desk.take(want(5000, 500));
    assert_eq!((range(&taken), taken.limit), (7..507, None), "half of it is left");
    let taken = desk.take(want(5000, 1));
    let limit = taken.limit.clone().unwrap();
    assert_eq!((range(&taken), limit.change), (507..508, ProgressChange::HandOutTo { offset: 1508 }));
    assert_eq!(range(&desk.take(want(5000, 2000))), 508..1007);
    desk.limit_durable(limit.ticket);
    assert_eq!(range(&desk.take(want(5000, 2000))), 1007..1508);
}

/// The limit of before the reset was durable before it, and the reset after; the log ends between them and the limit
/// of after it.
#[test]
fn a_limit_that_was_asked_for_before_a_reset_is_none_after_it() {
    let mut desk = opened(options(GroupKind::Shared), Progress::begin(0).unwrap(), 0, true);
    let before = desk.raise_limit().unwrap();
    assert_eq!(desk.reset(0), Ok(ProgressChange::Reset { position: 0 }));
    let after = desk.raise_limit().unwrap();
    assert_eq!(before.change, after.change);
    desk.limit_durable(before.ticket);
    assert_eq!(desk.take(want(10, 10)).pause, Some(Pause::LimitPending));
    desk.limit_durable(after.ticket);
    assert_eq!(range(&desk.take(want(10, 10))), 0..10);
}

#[test]
fn so_much_is_unfinished_and_no_more() {
    let mut desk = desk(GroupKind::Shared);
    desk.options.unfinished_max = 10;
    assert_eq!(range(&desk.take(want(100, 50))), 0..10);
    assert_eq!(desk.take(want(100, 50)).pause, Some(Pause::WindowFull));
    finish(&mut desk, 5..8);
    assert_eq!(range(&desk.take(want(100, 50))), 10..13);
    assert_eq!(retaken_after(&mut desk, 0..1, Cause::Released), [(0, 2)], "what is in the window may be handed out");
}

fn retaken_after(desk: &mut Desk, offsets: Range<u64>, cause: Cause) -> Vec<(u64, u32)> {
    desk.give_back(offsets, cause, NOW_MS);
    retaken(desk, want(desk.cursor, 50))
}

#[test]
fn each_pause_says_why() {
    let mut shared = desk(GroupKind::Shared);
    assert_eq!(shared.take(want(0, 9)).pause, Some(Pause::Empty));
    assert_eq!(shared.take(want(1, 0)).pause, None, "nothing was asked for");
    shared.take(want(2, 9));
    assert_eq!(shared.take(want(2, 9)).pause, Some(Pause::InFlight));
    shared.give_back(0..1, NACKED, NOW_MS);
    let held_back = Pause::HeldBack { due_ms: Some(NOW_MS + 100) };
    assert_eq!(shared.take(want(2, 9)).pause, Some(held_back));
    shared.give_back(1..2, Cause::Released, NOW_MS);
    shared.take(want(2, 9));
    assert_eq!(shared.take(want(2, 9)).pause, Some(Pause::Counting));
    let mut ordered = desk(GroupKind::Ordered);
    assert_eq!(ordered.take(Want { member: 1, ..want(9, 9) }).pause, Some(Pause::NotOwner));
    ordered.take(want(2, 2));
    ordered.give_back(0..1, NACKED, NOW_MS);
    assert_eq!(ordered.take(want(9, 9)).pause, Some(held_back));
    assert_eq!(retaken(&mut ordered, Want { now_ms: NOW_MS + 100, ..want(9, 9) }), [(0, 2)]);
    assert_eq!(ordered.take(want(9, 9)).pause, Some(Pause::HeldBack { due_ms: None }));
}

#[test]
fn what_failed_waits_for_its_time_and_then_comes_first() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(10, 5));
    let given = desk.give_back(3..4, NACKED, NOW_MS);
    let attempts = Attempts { due_ms: NOW_MS + 100, was_nacked: true, ..once(Reason::Nacked) };
    assert_eq!(given.changes, [ProgressChange::Attempt { offset: 3, attempts }]);
    desk.give_back(1..2, Cause::Nacked { delay_ms: Some(50) }, NOW_MS);
    assert_eq!((desk.next_due(NOW_MS), desk.next_due(NOW_MS + 70)), (Some(NOW_MS + 50), Some(NOW_MS + 70)));
    assert_eq!(range(&desk.take(want(10, 2))), 5..7, "nothing is due");
    let taken = desk.take(Want { now_ms: NOW_MS + 100, ..want(10, 4) });
    assert_eq!(range(&taken), 7..9);
    let offsets: Vec<u64> = desk.counted(taken.counting.unwrap().ticket).iter().map(|retried| retried.offset).collect();
    assert_eq!((offsets, desk.next_due(NOW_MS)), (vec![1, 3], None));
    let given = desk.give_back(3..4, NACKED, NOW_MS);
    let twice = Attempts { deliveries: 2, failures: 2, due_ms: NOW_MS + 200, ..attempts };
    assert_eq!(given.changes, [ProgressChange::Attempt { offset: 3, attempts: twice }], "the delay grows");
}

#[test]
fn a_raised_count_is_durable_before_it_is_handed_out_and_is_a_claim_until_then() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(3, 3));
    desk.give_back(0..2, Cause::LeaseEnded, NOW_MS);
    let counting = desk.take(want(3, 9)).counting.unwrap();
    let counted = Attempts { deliveries: 2, is_handed_out: true, ..once(Reason::LeaseEnded) };
    let change = |offset, attempts| ProgressChange::Attempt { offset, attempts };
    assert_eq!(counting.changes, [change(0, counted), change(1, counted)]);
    assert_eq!(desk.take(Want { member: 1, ..want(3, 9) }).pause, Some(Pause::Counting), "it is claimed");
    assert_eq!((desk.in_flight(), desk.available(3)), (1, 0));
    assert_eq!(desk.member_left(1), []);
    assert_eq!(desk.member_left(0), [0, 1].map(|offset| change(offset, once(Reason::LeaseEnded))), "not delivered");
    let again = desk.take(Want { member: 1, ..want(3, 9) }).counting.unwrap();
    assert_eq!(desk.counted(counting.ticket), [], "the count that is durable is not the newest");
    assert_eq!(desk.counted(again.ticket).len(), 2);
    assert_eq!(desk.in_flight(), 3);
}

#[test]
fn what_is_finished_while_it_is_counted_is_not_handed_out() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(4, 4));
    desk.give_back(0..4, Cause::Released, NOW_MS);
    let counting = desk.take(want(4, 4)).counting.unwrap();
    finish(&mut desk, 1..2);
    assert_eq!((desk.truncate(1), desk.in_flight()), (1, 0));
    let handed_out: Vec<u64> = desk.counted(counting.ticket).iter().map(|retried| retried.offset).collect();
    assert_eq!((handed_out, desk.in_flight()), (vec![2, 3], 2));
    assert_eq!(desk.counted(counting.ticket), [], "once");
}

#[test]
fn a_release_is_no_failure() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(1, 1));
    for deliveries in 2..100 {
        assert_eq!(retaken_after(&mut desk, 0..1, Cause::Released), [(0, deliveries)]);
    }
    assert_eq!(desk.progress().attempts(0).unwrap().failures, 0);
}

#[test]
fn what_was_not_delivered_is_not_counted() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(9, 9));
    assert_eq!(desk.give_back(4..9, Cause::NotDelivered, NOW_MS), GivenBack::default());
    assert_eq!(range(&desk.take(want(9, 9))), 4..9);
    assert_eq!(retaken_after(&mut desk, 3..4, Cause::MemberLeft), [(3, 2)]);
    assert_eq!(retaken_after(&mut desk, 3..4, Cause::NotDelivered), [(3, 2)]);
}

#[test]
fn after_so_many_failures_it_is_a_dead_letter() {
    for cause in [NACKED_AT_ONCE, Cause::LeaseEnded, Cause::MemberLeft] {
        for max_deliveries in [1, 2, 16] {
            let mut desk = desk(GroupKind::Shared);
            desk.options.retry.max_deliveries = max_deliveries;
            desk.take(want(1, 1));
            for deliveries in 2..=max_deliveries {
                assert_eq!(retaken_after(&mut desk, 0..1, cause), [(0, deliveries)]);
            }
            let given = desk.give_back(0..1, cause, NOW_MS);
            let attempts = desk.progress().attempts(0).unwrap();
            assert_eq!((attempts.deliveries, attempts.failures), (max_deliveries, max_deliveries));
            assert_eq!(given.dead_letters, [DeadLetter { offset: 0, attempts }]);
            let taken = desk.take(want(1, 1));
            assert_eq!((taken.pause, taken.dead_letters), (Some(Pause::InFlight), vec![]), "it is told once");
            desk.dead_letter_failed(0);
            assert_eq!(desk.take(want(1, 1)).dead_letters, given.dead_letters);
            assert_eq!(finish(&mut desk, 0..1), [ProgressChange::Finish { from: 0, to: 1 }]);
            desk.dead_letter_failed(0);
            assert_eq!(
                (desk.take(want(1, 1)), desk.position()),
                (Taken { pause: Some(Pause::Empty), ..Taken::default() }, 1)
            );
        }
    }
}

#[test]
fn a_rejected_record_is_a_dead_letter_even_if_the_process_ends_now() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(2, 2));
    let given = desk.give_back(0..1, Cause::Rejected, NOW_MS);
    assert_eq!(given.dead_letters, [DeadLetter { offset: 0, attempts: once(Reason::Rejected) }]);
    for is_clean in [true, false] {
        let mut desk = opened(desk.options, desk.progress().clone(), 2, is_clean);
        assert_eq!(desk.take(want(2, 9)).dead_letters, given.dead_letters);
    }
}

#[test]
fn ranges_stay_ranges_until_they_are_taken_again() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(1000, 900));
    for cause in [Cause::Released, Cause::LeaseEnded, Cause::MemberLeft, Cause::NotDelivered] {
        let from = desk.returned.offsets();
        assert_eq!(desk.give_back(from..from + 200, cause, NOW_MS), GivenBack::default(), "nothing is logged");
    }
    assert_eq!((desk.returned.iter().count(), desk.in_flight(), desk.available(1000)), (4, 100, 900));
    assert_eq!(desk.give_back(0..1000, Cause::Released, NOW_MS), GivenBack::default());
    assert_eq!(desk.in_flight(), 0, "what was given back is not given back again");
    let taken = desk.take(want(1000, 700));
    let failures = |change: &ProgressChange| match change {
        ProgressChange::Attempt { attempts, .. } => (attempts.failures, attempts.reason),
        _ => panic!("{change:?}"),
    };
    let changes = taken.counting.unwrap().changes;
    assert_eq!(
        [0, 200, 400].map(|index| failures(&changes[index])),
        [(0, Reason::Released), (1, Reason::LeaseEnded), (1, Reason::MemberLeft)]
    );
    assert_eq!((&taken.ranges[0], changes.len()), (&(600..700), 600));
}

#[test]
fn what_failed_more_than_three_times_goes_alone_and_others_have_their_turn() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(2, 2));
    for _ in 0..3 {
        assert_eq!(retaken_after(&mut desk, 0..2, NACKED_AT_ONCE).len(), 2, "together");
    }
    desk.give_back(0..2, NACKED_AT_ONCE, NOW_MS);
    let offsets = |taken: &Taken| taken.counting.as_ref().map(|counting| (counting.changes.len(), counting.is_alone));
    assert_eq!(desk.take(Want { has_others: true, ..want(2, 9) }).pause, Some(Pause::Alone));
    let taken = desk.take(want(20, 9));
    assert_eq!((offsets(&taken), &taken.ranges[..]), (Some((1, true)), &[][..]));
    let taken = desk.take(want(20, 9));
    assert_eq!((offsets(&taken), range(&taken)), (None, 2..11));
    let taken = desk.take(want(20, 9));
    assert_eq!((offsets(&taken), &taken.ranges[..]), (Some((1, true)), &[][..]));
}

#[test]
fn ordered_a_nacked_record_holds_back_what_is_behind_it() {
    let mut desk = desk(GroupKind::Ordered);
    desk.take(want(100, 5));
    desk.give_back(3..4, NACKED_AT_ONCE, NOW_MS);
    desk.give_back(1..2, NACKED, NOW_MS);
    desk.give_back(4..5, Cause::Released, NOW_MS);
    let later = Want { now_ms: NOW_MS + 100, ..want(100, 5) };
    assert_eq!(desk.take(want(100, 5)).pause, Some(Pause::HeldBack { due_ms: Some(NOW_MS + 100) }));
    assert_eq!(retaken(&mut desk, later), [(1, 2)]);
    assert_eq!(desk.take(later).pause, Some(Pause::HeldBack { due_ms: None }), "not finished yet");
    finish(&mut desk, 1..2);
    assert_eq!(retaken(&mut desk, later), [(3, 2)]);
    assert_eq!(desk.give_back(3..4, Cause::Rejected, NOW_MS).dead_letters.len(), 1);
    assert_eq!(desk.take(later).pause, Some(Pause::HeldBack { due_ms: None }), "its dead letter is not written yet");
    finish(&mut desk, 3..4);
    let counting = desk.take(later).counting.unwrap();
    assert_eq!(desk.take(later).pause, Some(Pause::Counting), "what is behind it comes later");
    assert_eq!(desk.counted(counting.ticket)[0].offset, 4);
    assert_eq!(range(&desk.take(later)), 5..10);
}

#[test]
fn ordered_what_is_given_back_overtakes_the_claims_behind_it() {
    let mut desk = desk(GroupKind::Ordered);
    desk.take(want(2, 2));
    desk.give_back(1..2, Cause::Released, NOW_MS);
    let counting = desk.take(want(2, 2)).counting.unwrap();
    desk.give_back(0..1, Cause::Released, NOW_MS);
    assert_eq!(desk.counted(counting.ticket), []);
    assert_eq!(retaken(&mut desk, want(2, 2)), [(0, 2), (1, 2)]);
}

#[test]
fn ordered_what_is_counted_first_is_not_overtaken() {
    let mut desk = desk(GroupKind::Ordered);
    desk.take(want(4, 4));
    desk.give_back(1..2, Cause::NotDelivered, NOW_MS);
    desk.give_back(0..1, Cause::Released, NOW_MS);
    let taken = desk.take(want(9, 9));
    assert_eq!((taken.ranges.len(), desk.counted(taken.counting.unwrap().ticket).len()), (0, 1));
    assert_eq!(desk.take(want(9, 9)).ranges, [1..2, 4..9]);
}

#[test]
fn ordered_a_partition_that_moves_is_handed_out_again_in_order() {
    let mut desk = desk(GroupKind::Ordered);
    desk.take(want(100, 10));
    finish(&mut desk, 4..6);
    desk.give_back(2..3, Cause::LeaseEnded, NOW_MS);
    let counting = desk.take(want(100, 10)).counting.unwrap();
    desk.assign(Some(1), Cause::Released, NOW_MS);
    assert_eq!(desk.counted(counting.ticket), []);
    assert_eq!(desk.take(want(100, 10)).pause, Some(Pause::NotOwner));
    let handed_out = retaken(&mut desk, Want { member: 1, ..want(100, 10) });
    assert_eq!(handed_out, [0, 1, 2, 3, 6, 7, 8, 9].map(|offset| (offset, 2)));
    assert_eq!(desk.assign(Some(1), Cause::Released, NOW_MS), GivenBack::default(), "it has it already");
}

#[test]
fn what_may_have_been_handed_out_before_a_crash_is_counted() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(10, 6));
    finish(&mut desk, 2..4);
    desk.give_back(0..1, NACKED, NOW_MS);
    // Six were handed out, ten were there, the limit is beyond.
    let mut desk = opened(desk.options, desk.progress().clone(), 10, false);
    assert_eq!((desk.in_flight(), desk.available(12)), (0, 9));
    let taken = desk.take(want(12, 9));
    let counted = Attempts { deliveries: 2, is_handed_out: true, ..once(Reason::Crashed) };
    let changes = [1, 4, 5, 6, 7, 8, 9].map(|offset| ProgressChange::Attempt { offset, attempts: counted });
    assert_eq!(range(&taken), 10..12, "nobody saw these, though they are below the limit");
    assert_eq!(taken.counting.unwrap().changes, changes, "also those that were not: nobody knows");
    // It was on its way for the second time, and now for the third.
    let mut desk = opened(desk.options, desk.progress().clone(), 12, false);
    let counted = Attempts { deliveries: 3, failures: 2, ..counted };
    assert_eq!(
        desk.take(want(12, 1)).counting.unwrap().changes,
        [ProgressChange::Attempt { offset: 1, attempts: counted }]
    );
}

#[test]
fn after_a_clean_close_counts_are_what_they_were() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(20, 8));
    desk.give_back(6..8, Cause::NotDelivered, NOW_MS);
    desk.give_back(0..1, Cause::MemberLeft, NOW_MS);
    finish(&mut desk, 2..4);
    let change = |offset, reason| ProgressChange::Attempt { offset, attempts: once(reason) };
    assert_eq!(
        desk.close(NOW_MS),
        [
            change(0, Reason::MemberLeft),
            change(1, Reason::Released),
            change(4, Reason::Released),
            change(5, Reason::Released)
        ]
    );
    assert_eq!((desk.close(NOW_MS), desk.in_flight()), (vec![], 0));
    let mut desk = opened(desk.options, desk.progress().clone(), 20, true);
    assert_eq!(desk.limit, 1000, "what was reserved still is");
    let taken = desk.take(want(20, 8));
    assert_eq!((range(&taken), taken.counting.unwrap().changes.len()), (6..10, 4));
}

#[test]
fn what_the_partition_gives_up_is_forgotten() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(20, 10));
    finish(&mut desk, 1..3);
    desk.give_back(3..4, NACKED, NOW_MS);
    desk.give_back(4..5, Cause::Rejected, NOW_MS);
    desk.give_back(5..6, Cause::Released, NOW_MS);
    assert_eq!((desk.truncate(8), desk.position(), desk.in_flight()), (6, 8, 2));
    assert_eq!(desk.truncate(8), 0);
    assert_eq!((desk.next_due(NOW_MS), desk.available(20)), (None, 10));
    assert_eq!((desk.truncate(15), desk.in_flight()), (7, 0));
    assert_eq!(range(&desk.take(want(20, 10))), 15..20);
    assert_eq!(desk.truncate(5000), 4985);
    assert_eq!(desk.take(want(5001, 1)).pause, Some(Pause::LimitPending), "beyond it, a limit is wanted anew");
}

/// Opening after a crash: what a transaction that is prepared acknowledges is nobody's, whatever was tried with it.
#[test]
fn what_a_transaction_holds_is_in_flight_from_the_beginning() {
    for is_clean in [true, false] {
        let mut desk = desk(GroupKind::Shared);
        desk.take(want(10, 8));
        assert_eq!(retaken_after(&mut desk, 3..4, NACKED_AT_ONCE), [(3, 2)]);
        let later = Want { now_ms: NOW_MS + 100, ..want(10, 0) };
        if is_clean {
            desk.close(NOW_MS);
        }
        let mut desk = opened(desk.options, desk.progress().clone(), 10, is_clean);
        desk.hold(2..5);
        assert_eq!((desk.in_flight(), desk.available(10)), (3, 7));
        let taken = desk.take(Want { count_max: 20, ..later });
        let offsets: Vec<u64> =
            desk.counted(taken.counting.unwrap().ticket).iter().map(|retried| retried.offset).collect();
        assert!(!offsets.iter().any(|offset| (2..5).contains(offset)), "{offsets:?}");
        // Committed: finished. Rolled back: it comes again, and its count goes on.
        finish(&mut desk, 2..3);
        desk.give_back(3..5, Cause::Nacked { delay_ms: Some(0) }, NOW_MS);
        assert_eq!(retaken(&mut desk, Want { count_max: 20, ..later }), [(3, 3), (4, 2)]);
        assert_eq!(desk.progress().attempts(3).unwrap().failures, 2);
    }
}

#[test]
fn a_reset_goes_anywhere_and_begins_anew() {
    let mut desk = desk(GroupKind::Ordered);
    desk.take(want(20, 10));
    desk.give_back(3..4, NACKED, NOW_MS);
    assert_eq!(desk.reset(2), Ok(ProgressChange::Reset { position: 2 }));
    assert_eq!((desk.in_flight(), desk.available(20)), (0, 18));
    let limit = desk.raise_limit().unwrap();
    desk.limit_durable(limit.ticket);
    assert_eq!(range(&desk.take(want(20, 10))), 2..12, "the owner keeps it");
    desk.reset(OFFSET_MAX).unwrap_err();
}

#[test]
fn only_what_was_handed_out_is_finished() {
    let mut desk = desk(GroupKind::Shared);
    desk.take(want(20, 10));
    assert_eq!(finish(&mut desk, 8..15), [ProgressChange::Finish { from: 8, to: 10 }]);
    assert_eq!(finish(&mut desk, 9..15), [], "finished before");
    assert_eq!(finish(&mut desk, 15..18), []);
    let mut changes = Vec::new();
    assert_eq!(desk.finish([0..2, 4..5], &mut changes), 3);
    assert_eq!((changes.len(), desk.in_flight(), desk.position()), (2, 5, 2));
}
