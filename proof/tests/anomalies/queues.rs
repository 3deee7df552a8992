//! Anomalies of groups. Record `v` stands at offset `v` of partition 0.

use super::Case;
use super::script::*;
use ringlane_proof::checker::Anomaly::*;
use ringlane_proof::history::*;

fn three_sent(script: &mut Script) {
    for value in 0..3 {
        script.sent(0, 0, value, value);
    }
}

fn position(script: &mut Script, position: u64) {
    let question = Call::AcknowledgedPosition { group: GROUP, topic: 0, partition: 0 };
    let operation = script.call(2, question);
    script.end(operation, Outcome::Ok(Answer::Position { offset: position }));
}

fn acknowledge_position(script: &mut Script, position: u64) {
    script.done(1, Call::AcknowledgePosition { group: GROUP, topic: 0, partition: 0, position });
}

fn in_transaction(lease: LeaseNumber, transaction: u64) -> Call {
    Call::Settle { group: GROUP, lease, settling: Settling::Acknowledge, transaction: Some(transaction) }
}

fn once(script: &mut Script, lease: LeaseNumber, seen: TokenSeen) {
    let operation = script.call(1, Call::Once { group: GROUP, lease, token: 5 });
    script.end(operation, Outcome::Ok(Answer::Token { seen }));
}

const NACK: Settling = Settling::Nack { again_at_ms: 0 };

pub fn cases() -> Vec<Case> {
    vec![
        Case(&[Unexpected], |script, bad| {
            three_sent(script);
            let mut strange = delivery(1, 70, 1);
            strange.placed.value += 100 * u64::from(bad);
            script.take(1, &[strange]);
        }),
        Case(&[PositionWentBack], |script, bad| {
            three_sent(script);
            acknowledge_position(script, 2);
            script.crash();
            script.contents(0, &[(0, 0), (1, 1), (2, 2)]);
            position(script, if bad { 1 } else { 2 });
        }),
        // What was only seen may go back in a crash, and not otherwise.
        Case(&[PositionWentBack], |script, bad| {
            three_sent(script);
            script.call(1, Call::AcknowledgePosition { group: GROUP, topic: 0, partition: 0, position: 2 });
            position(script, 2);
            if !bad {
                script.crash();
            }
            position(script, 0);
        }),
        Case(&[QueueLost], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1), delivery(1, 71, 1)]);
            script.settle(1, 70, Settling::Acknowledge);
            script.group_contents(if bad { &[2] } else { &[1, 2] }, &[]);
        }),
        // Rejected, and neither dead nor pending.
        Case(&[QueueLost], |script, bad| {
            three_sent(script);
            acknowledge_position(script, 2);
            script.take(1, &[delivery(2, 70, 1)]);
            script.settle(1, 70, Settling::Reject);
            script.group_contents(&[], if bad { &[] } else { &[2] });
        }),
        // An acknowledgement that was refused is none.
        Case(&[QueueLost], |script, bad| {
            three_sent(script);
            acknowledge_position(script, 2);
            script.take(1, &[delivery(2, 70, 1)]);
            let acknowledge =
                Call::Settle { group: GROUP, lease: 70, settling: Settling::Acknowledge, transaction: None };
            let operation = script.call(1, acknowledge);
            if bad {
                script.end(operation, failed());
            }
            script.group_contents(&[], &[]);
        }),
        Case(&[DeliveredAfterAcknowledgement], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, if bad { Settling::Acknowledge } else { Settling::AcknowledgeLater });
            script.crash();
            script.contents(0, &[(0, 0), (1, 1), (2, 2)]);
            script.take(1, &[delivery(0, 71, 2)]);
        }),
        Case(&[DeliveredAfterAcknowledgement], |script, bad| {
            three_sent(script);
            acknowledge_position(script, 2);
            script.take(1, &[delivery(if bad { 1 } else { 2 }, 70, 1)]);
        }),
        // Acknowledged in a transaction: it counts when that is committed.
        Case(&[DeliveredAfterAcknowledgement], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            script.done(1, Call::Begin { transaction: 5 });
            script.done(1, in_transaction(70, 5));
            script.done(1, if bad { Call::Commit { transaction: 5 } } else { Call::RollBack { transaction: 5 } });
            script.take(1, &[delivery(0, 71, 2)]);
        }),
        Case(&[DeliveredAfterDeadLetter], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 16)]);
            script.happen(Happening::DeadLettered { group: GROUP, value: 0 });
            if !bad {
                script.done(2, Call::Redrive { group: GROUP, value: 0 });
            }
            script.take(1, &[delivery(0, 71, 17)]);
        }),
        Case(&[TwoLeases], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            if !bad {
                script.happen(Happening::LeaseExpired { group: GROUP, lease: 70 });
            }
            script.take(2, &[delivery(0, 71, 2)]);
        }),
        // By the clock, which the history reads as 100 ms.
        Case(&[TwoLeases], |script, bad| {
            three_sent(script);
            let until_ms = Some(if bad { 101 } else { 100 });
            script.take(1, &[Delivery { until_ms, ..delivery(0, 70, 1) }]);
            script.take(2, &[delivery(0, 71, 2)]);
        }),
        // A member that goes takes its leases with it.
        Case(&[TwoLeases], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            script.done(1, Call::Leave { group: GROUP, member: if bad { 2 } else { 1 } });
            script.take(3, &[delivery(0, 71, 2)]);
        }),
        Case(&[TwoLeases], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            script.take(2, &[delivery(1, if bad { 70 } else { 71 }, 1)]);
        }),
        Case(&[StaleSettlement], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            script.happen(Happening::LeaseExpired { group: GROUP, lease: 70 });
            script.take(2, &[delivery(0, 71, 2)]);
            script.settle(2, if bad { 70 } else { 71 }, Settling::Acknowledge);
        }),
        Case(&[StaleSettlement], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            if bad {
                script.crash();
            }
            script.settle(1, 70, Settling::Extend { until_ms: 2000 });
        }),
        // Acknowledging twice is no harm; giving back what is acknowledged is.
        Case(&[StaleSettlement], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, Settling::Acknowledge);
            script.settle(1, 70, if bad { NACK } else { Settling::Acknowledge });
        }),
        Case(&[Conservation], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, Settling::Acknowledge);
            script.group_contents(if bad { &[0, 1, 2] } else { &[1, 2] }, &[]);
        }),
        Case(&[Conservation], |script, bad| {
            three_sent(script);
            script.group_contents(&[0, 1, 2], if bad { &[1] } else { &[] });
        }),
        Case(&[Conservation], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            if bad {
                script.settle(1, 70, Settling::Acknowledge);
            }
            script.happen(Happening::DeadLettered { group: GROUP, value: 0 });
        }),
        Case(&[Conservation], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            script.happen(Happening::DeadLettered { group: GROUP, value: 0 });
            if !bad {
                script.done(2, Call::Redrive { group: GROUP, value: 0 });
                script.take(1, &[delivery(0, 71, 1)]);
            }
            script.happen(Happening::DeadLettered { group: GROUP, value: 0 });
        }),
        // Among the dead letters twice.
        Case(&[Duplicate], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1), delivery(1, 71, 1)]);
            script.crash();
            script.contents_of(1, 0, &[(0, 0), (1, if bad { 0 } else { 1 })]);
        }),
        Case(&[DeliveryCountWentBack], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 3)]);
            script.settle(1, 70, NACK);
            script.take(1, &[delivery(0, 71, if bad { 3 } else { 4 })]);
        }),
        // A release is not a failure; but nothing takes deliveries back.
        Case(&[DeliveryCountWentBack], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 3)]);
            script.settle(1, 70, Settling::Release);
            script.take(1, &[delivery(0, 71, if bad { 2 } else { 3 })]);
        }),
        Case(&[OrderViolated], |script, bad| {
            three_sent(script);
            if bad {
                script.happen(Happening::OrderedGroup { group: GROUP });
            }
            script.take(1, &[delivery(1, 70, 1)]);
            script.take(1, &[delivery(0, 71, 1)]);
        }),
        // A nacked record holds its partition back.
        Case(&[OrderViolated], |script, bad| {
            three_sent(script);
            script.happen(Happening::OrderedGroup { group: GROUP });
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, NACK);
            script.take(1, &[delivery(u64::from(bad), 71, 2)]);
        }),
        // Never handed out, and others behind it were.
        Case(&[OrderViolated], |script, bad| {
            three_sent(script);
            script.happen(Happening::OrderedGroup { group: GROUP });
            script.take(1, &[delivery(u64::from(bad), 70, 1)]);
            script.group_contents(&[0, 1, 2], &[]);
        }),
        // A flush confirms it; without one a crash may take it.
        Case(&[DeliveredAfterAcknowledgement], |script, bad| {
            created(script, false);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, Settling::AcknowledgeLater);
            script.done(1, Call::Confirm { group: GROUP, member: if bad { 1 } else { 2 } });
            script.crash();
            script.contents(0, &[(0, 0), (1, 1), (2, 2)]);
            script.take(1, &[delivery(0, 71, 2)]);
        }),
        // What was acknowledged before the flush only.
        Case(&[DeliveredAfterAcknowledgement], |script, bad| {
            created(script, false);
            script.take(1, &[delivery(0, 70, 1)]);
            if bad {
                script.settle(1, 70, Settling::AcknowledgeLater);
            }
            script.done(1, Call::Confirm { group: GROUP, member: 1 });
            if !bad {
                script.settle(1, 70, Settling::AcknowledgeLater);
            }
            script.crash();
            script.contents(0, &[(0, 0), (1, 1), (2, 2)]);
            script.take(1, &[delivery(0, 71, 2)]);
        }),
        // A group that is sent back gets everything once more.
        Case(&[DeliveredAfterAcknowledgement], |script, bad| {
            created(script, false);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, Settling::Acknowledge);
            if !bad {
                reset(script, 0);
            }
            script.take(1, &[delivery(0, 71, 2)]);
        }),
        // Recorded with the acknowledgement, and remembered for ever.
        Case(&[TokenForgotten], |script, bad| {
            created(script, false);
            script.take(1, &[delivery(0, 70, 1), delivery(1, 71, 1)]);
            once(script, 70, TokenSeen::Fresh);
            script.settle(1, 70, if bad { Settling::Acknowledge } else { Settling::Release });
            once(script, 71, TokenSeen::Fresh);
        }),
        Case(&[TokenUnused], |script, bad| {
            created(script, false);
            script.take(1, &[delivery(0, 70, 1), delivery(1, 71, 1)]);
            once(script, 70, TokenSeen::Fresh);
            script.settle(1, 70, if bad { Settling::Release } else { Settling::Acknowledge });
            once(script, 71, TokenSeen::Duplicate);
        }),
        Case(&[TooManyDeliveries], |script, bad| {
            created(script, false);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, NACK);
            script.take(1, &[delivery(0, 71, 2)]);
            script.settle(1, 71, if bad { NACK } else { Settling::Release });
            script.take(1, &[delivery(0, 72, 3)]);
        }),
        // A delivery that the engine did not survive has failed; one that it was closed over has not.
        Case(&[TooManyDeliveries], |script, bad| {
            created(script, false);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, NACK);
            script.take(1, &[delivery(0, 71, 2)]);
            if bad {
                script.happen(Happening::Crash { kind: CrashKind::Kill, keeps: Durability::Synced });
            } else {
                script.done(0, Call::Close);
            }
            script.happen(Happening::Reopened);
            script.contents(0, &[(0, 0), (1, 1), (2, 2)]);
            script.take(1, &[delivery(0, 72, 3)]);
        }),
        // By the clock of the history, which goes on by 10 ns with each event.
        Case(&[TwoLeases], |script, bad| {
            created(script, false);
            let lease_ms = Some(if bad { 50 } else { 1 });
            script.take(1, &[Delivery { until_ms: None, lease_ms, ..delivery(0, 70, 1) }]);
            script.take(2, &[Delivery { until_ms: None, lease_ms, ..delivery(0, 71, 2) }]);
        }),
        // Of two calls that overlap, the one that is heard of last may have been given the record first, and have lost it.
        Case(&[TwoLeases], |script, bad| {
            created(script, false);
            let first = script.call(1, Call::Take { group: GROUP, member: 1 });
            script.take(2, &[Delivery { until_ms: None, lease_ms: Some(50), ..delivery(0, 71, 2) }]);
            let lease_ms = Some(if bad { 50 } else { 1 });
            let deliveries = vec![Delivery { until_ms: None, lease_ms, ..delivery(0, 70, 1) }];
            script.end(first, Outcome::Ok(Answer::Taken { deliveries, wall_ms: Some(100) }));
        }),
        Case(&[LeaseLostEarly], |script, bad| {
            created(script, false);
            let lease_ms = Some(if bad { 50 } else { 1 });
            script.take(1, &[Delivery { until_ms: None, lease_ms, ..delivery(0, 70, 1) }]);
            let call =
                Call::Settle { group: GROUP, lease: 70, settling: Settling::AcknowledgeLater, transaction: None };
            let operation = script.call(1, call);
            script.end(operation, Outcome::Failed { code: "lease-lost".to_owned() });
        }),
        // Held back until it is finished, not only until it is handed out.
        Case(&[OrderViolated], |script, bad| {
            created_with(script, true, 3);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, if bad { NACK } else { Settling::Release });
            script.take(1, &[delivery(0, 71, 2)]);
            script.take(1, &[delivery(1, 72, 1)]);
        }),
        // It was handed out again, and finished, before the answer to the nack was heard.
        Case(&[OrderViolated], |script, bad| {
            created_with(script, true, 3);
            script.take(1, &[delivery(0, 70, 1)]);
            let nack = script.call(1, Call::Settle { group: GROUP, lease: 70, settling: NACK, transaction: None });
            if bad {
                script.end(nack, Outcome::done());
            } else {
                script.take(2, &[delivery(0, 71, 2)]);
                script.settle(2, 71, Settling::AcknowledgeLater);
                script.end(nack, Outcome::done());
            }
            script.take(2, &[delivery(1, 72, 1)]);
        }),
        Case(&[QueueLost], |script, bad| {
            created(script, false);
            script.contents(0, &[(0, 0), (1, 1), (2, 2)]);
            begins(script, 0);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, Settling::AcknowledgeLater);
            begins(script, if bad { 2 } else { 1 });
        }),
        // Only what every group has finished was to be given up.
        Case(&[QueueLost], |script, bad| {
            created(script, false);
            script.contents(0, &[(0, 0), (1, 1), (2, 2)]);
            begins(script, 0);
            script.done(0, Call::SetRetention { topic: 0, bounded: false, finished: true });
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, Settling::AcknowledgeLater);
            match bad {
                true => script.begins_at(0, 2, &[(2, 2)]),
                false => script.begins_at(0, 1, &[(1, 1), (2, 2)]),
            }
        }),
        Case(&[QueueLost], |script, bad| {
            created(script, false);
            script.contents(0, &[(0, 0), (1, 1), (2, 2)]);
            begins(script, if bad { 0 } else { 1 });
            script.take(1, &[delivery(1, 70, 1), delivery(2, 71, 1)]);
            script.settle(1, 70, Settling::AcknowledgeLater);
            script.settle(1, 71, Settling::AcknowledgeLater);
            script.happen(Happening::Drained { group: GROUP, topic: 0, partition: 0 });
        }),
        Case(&[WrongCause], |script, bad| {
            created(script, false);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, if bad { NACK } else { Settling::Reject });
            dead_letter(script, 0, (0, 0), 1, "rejected");
        }),
        Case(&[WrongCause], |script, bad| {
            created(script, false);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, NACK);
            script.take(1, &[delivery(0, 71, 2)]);
            script.settle(1, 71, NACK);
            dead_letter(script, 0, (0, 0), if bad { 1 } else { 2 }, "nacked");
        }),
        Case(&[Duplicate], |script, bad| {
            created(script, false);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, 70, Settling::Reject);
            dead_letter(script, 0, (0, 0), 1, "rejected");
            dead_letter(script, 0, (0, u64::from(bad)), 1, "rejected");
        }),
        Case(&[LostGroup], |script, bad| {
            created(script, false);
            if !bad {
                script.done(1, Call::DeleteGroup { group: GROUP });
            }
            script.happen(Happening::GroupMissing { group: GROUP });
        }),
        Case(&[DeletedGroup], |script, bad| {
            created(script, false);
            let operation = script.call(1, Call::DeleteGroup { group: GROUP });
            script.end(operation, if bad { Outcome::done() } else { failed() });
            script.happen(Happening::GroupThere { group: GROUP });
        }),
        Case(&[Malformed], |script, bad| {
            three_sent(script);
            script.take(1, &[delivery(0, 70, 1)]);
            script.settle(1, if bad { 71 } else { 70 }, Settling::Acknowledge);
        }),
    ]
}

/// A group whose records may fail twice, and the three records.
fn created(script: &mut Script, ordered: bool) {
    created_with(script, ordered, 2);
}

fn created_with(script: &mut Script, ordered: bool, max_deliveries: u32) {
    three_sent(script);
    let (group, dead_letters_kept) = (GROUP, true);
    script.done(0, Call::CreateGroup { group, ordered, max_deliveries, dead_letters_kept });
}

fn begins(script: &mut Script, position: u64) {
    script.happen(Happening::GroupAt { group: GROUP, topic: 0, partition: 0, position });
}

fn reset(script: &mut Script, offset: u64) {
    let operation = script.call(3, Call::ResetGroup { group: GROUP, topic: 0, partition: 0 });
    script.end(operation, Outcome::Ok(Answer::Position { offset }));
}

/// Record 0 among the dead letters.
fn dead_letter(script: &mut Script, value: Value, stands_at: (u32, u64), failures: u32, reason: &str) {
    let placed = Placed { topic: 0, partition: 0, offset: value, value };
    let (deliveries, reason) = (failures, reason.to_owned());
    let letter = DeadLetter { group: GROUP, placed, stands_at, deliveries, failures, reason };
    script.happen(Happening::DeadLetter(letter));
}
