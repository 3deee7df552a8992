//! Anomalies of the numbers that records have.

use super::Case;
use super::script::*;
use ringlane_proof::checker::Anomaly::*;
use ringlane_proof::history::*;

/// Partition 0, and producer 1, which the engine calls 7.
const ID: u32 = 7;

fn origin(epoch: u32, sequence: u64) -> Origin {
    Origin { producer: ID, epoch, sequence }
}

fn opened(script: &mut Script, producer: ProducerNumber, id: u32, epoch: u32) {
    let operation = script.call(0, Call::OpenProducer { producer, name: 0 });
    script.end(operation, Outcome::Ok(Answer::Opened { id, epoch }));
}

fn numbered(offset: Option<u64>, origin: Origin, duplicate: bool) -> Outcome {
    let numbered = Some(Numbered { origin, duplicate });
    Outcome::Ok(Answer::Receipt { partition: 0, offset, durability: Durability::Synced, numbered })
}

fn send_as(value: Value, given: Option<u64>, due_ms: Option<i64>) -> Call {
    let mut call = send(0, value);
    let Call::Send { by, visible_at_ms, .. } = &mut call else { unreachable!() };
    (*by, *visible_at_ms) = (Some(Author { producer: 1, sequence: given }), due_ms);
    call
}

fn sent_as(script: &mut Script, value: Value, given: Option<u64>, offset: u64, origin: Origin) {
    let operation = script.call(0, send_as(value, given, None));
    script.end(operation, numbered(Some(offset), origin, false));
}

fn repeat(script: &mut Script, value: Value, outcome: Outcome) {
    let operation = script.call(0, Call::Repeat { value, durability: Durability::Synced });
    script.end(operation, outcome);
}

fn last_sent(script: &mut Script, sequence: Option<u64>) {
    let operation = script.call(0, Call::LastSent { producer: 1, topic: 0, partition: 0 });
    script.end(operation, Outcome::Ok(Answer::LastSent { sequence }));
}

fn listed(script: &mut Script, records: &[(u64, Value)], origins: &[Origin], missing: &[(u64, u64, Reason)]) {
    script.contents(0, records);
    let missing = missing.iter().map(|(first, last, reason)| Missing {
        producer: ID,
        first: *first,
        last: *last,
        reason: *reason,
    });
    let missing = missing.collect();
    script.happen(Happening::Origins { topic: 0, partition: 0, origins: origins.to_vec(), missing });
}

/// Three records of which the second is delayed.
fn three(script: &mut Script) {
    opened(script, 1, ID, 1);
    sent_as(script, 1, Some(0), 0, origin(1, 0));
    let delayed = script.call(0, send_as(2, Some(1), Some(5_000)));
    script.end(delayed, numbered(None, origin(1, 1), false));
    sent_as(script, 3, Some(2), 1, origin(1, 2));
}

pub fn cases() -> Vec<Case> {
    vec![
        Case(&[NumberTwice], |script, bad| {
            opened(script, 1, ID, 1);
            sent_as(script, 1, None, 0, origin(1, 0));
            sent_as(script, 2, None, 1, origin(1, u64::from(!bad)));
        }),
        // The answer to a repeat, and nobody repeated it.
        Case(&[NumberTwice], |script, bad| {
            opened(script, 1, ID, 1);
            let operation = script.call(0, send_as(1, Some(0), None));
            script.end(operation, numbered(Some(0), origin(1, 0), bad));
        }),
        Case(&[Misnumbered], |script, bad| {
            opened(script, 1, ID, 1);
            sent_as(script, 1, None, 0, origin(1, 0));
            sent_as(script, 2, Some(1), 1, origin(1, if bad { 2 } else { 1 }));
        }),
        // More than it can have.
        Case(&[Misnumbered], |script, bad| {
            opened(script, 1, ID, 1);
            sent_as(script, 1, Some(0), 0, origin(1, 0));
            last_sent(script, Some(if bad { 1 } else { 0 }));
        }),
        Case(&[NumberGap], |script, bad| {
            opened(script, 1, ID, 1);
            sent_as(script, 1, None, 0, origin(1, 0));
            sent_as(script, 2, None, 1, origin(1, if bad { 2 } else { 1 }));
            // It was refused.
            script.refused(0, send_as(3, None, None));
            script.crash();
            listed(script, &[(0, 1), (1, 2)], &[origin(1, 0), origin(1, if bad { 2 } else { 1 })], &[]);
        }),
        Case(&[NumberLost], |script, bad| {
            three(script);
            script.crash();
            let reason = if bad { Reason::Unknown } else { Reason::Pending };
            listed(script, &[(0, 1), (1, 3)], &[origin(1, 0), origin(1, 2)], &[(1, 1, reason)]);
        }),
        Case(&[WrongReason], |script, bad| {
            three(script);
            script.crash();
            let reason = if bad { Reason::Cancelled } else { Reason::Pending };
            listed(script, &[(0, 1), (1, 3)], &[origin(1, 0), origin(1, 2)], &[(1, 1, reason)]);
        }),
        Case(&[WrongReason], |script, bad| {
            three(script);
            if !bad {
                script.done(0, Call::Cancel { value: 2 });
            }
            script.crash();
            let reason = if bad { Reason::Expired } else { Reason::Cancelled };
            listed(script, &[(0, 1), (1, 3)], &[origin(1, 0), origin(1, 2)], &[(1, 1, reason)]);
        }),
        // The reader was not told.
        Case(&[WrongReason], |script, bad| {
            three(script);
            script.crash();
            let told = [(1, 1, Reason::Pending)];
            listed(script, &[(0, 1), (1, 3)], &[origin(1, 0), origin(1, 2)], if bad { &[] } else { &told });
        }),
        Case(&[ForgottenNumber], |script, bad| {
            opened(script, 1, ID, 1);
            sent_as(script, 1, None, 0, origin(1, 0));
            script.crash();
            opened(script, 1, ID, 2);
            last_sent(script, (!bad).then_some(0));
        }),
        Case(&[ForgottenNumber], |script, bad| {
            opened(script, 1, ID, 1);
            opened(script, 1, ID, if bad { 1 } else { 2 });
        }),
        Case(&[ForgottenNumber], |script, bad| {
            opened(script, 1, ID, 1);
            sent_as(script, 1, Some(0), 0, origin(1, 0));
            let gap = Outcome::Failed { code: "sequence-gap".into() };
            repeat(script, 1, if bad { gap } else { numbered(Some(0), origin(1, 0), true) });
        }),
        Case(&[WrittenAgain], |script, bad| {
            opened(script, 1, ID, 1);
            sent_as(script, 1, Some(0), 0, origin(1, 0));
            repeat(script, 1, numbered(Some(0), origin(1, 0), !bad));
        }),
        // What was refused, or is not known, may be written when it is sent again.
        Case(&[LostWrite], |script, bad| {
            opened(script, 1, ID, 1);
            script.refused(0, send_as(1, Some(0), None));
            repeat(script, 1, numbered(Some(0), origin(1, 0), false));
            script.crash();
            match bad {
                true => listed(script, &[], &[], &[]),
                false => listed(script, &[(0, 1)], &[origin(1, 0)], &[]),
            }
        }),
        Case(&[FencedWrite], |script, bad| {
            opened(script, 1, ID, 1);
            let late = script.call(0, send_as(1, None, None));
            opened(script, 1, ID, 2);
            last_sent(script, (!bad).then_some(0));
            script.end(late, numbered(Some(0), origin(1, 0), false));
        }),
        Case(&[FencedWrite], |script, bad| {
            opened(script, 1, ID, 1);
            opened(script, 1, ID, 2);
            sent_as(script, 1, None, 0, origin(if bad { 2 } else { 1 }, 0));
            sent_as(script, 2, None, 1, origin(1, 1));
        }),
        Case(&[Malformed], |script, bad| {
            opened(script, 1, ID, 1);
            sent_as(script, 1, Some(0), 0, origin(1, 0));
            repeat(script, if bad { 2 } else { 1 }, numbered(Some(0), origin(1, 0), true));
        }),
    ]
}
