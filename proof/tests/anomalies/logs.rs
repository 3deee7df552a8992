//! Anomalies of logs.

use super::Case;
use super::script::*;
use ringlane_proof::checker::Anomaly::*;
use ringlane_proof::history::*;

pub fn cases() -> Vec<Case> {
    vec![
        Case(&[Malformed], |script, bad| {
            let sync = script.call(0, Call::Sync);
            script.end(sync, Outcome::done());
            if bad {
                script.end(sync, Outcome::done());
            }
        }),
        Case(&[Malformed], |script, bad| {
            script.delayed(0, 0, 1, 500);
            script.done(0, Call::Cancel { value: if bad { 2 } else { 1 } });
        }),
        Case(&[Malformed], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.sent(0, 0, if bad { 1 } else { 2 }, u64::from(!bad));
        }),
        // Nobody asked for it: neither with a call, nor by bounds of the topic.
        Case(&[UnaskedTruncation], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.sent(0, 0, 2, 1);
            let operation = script.call(0, Call::DeleteRecords { topic: 0, partition: 0, before: 1 });
            script.end(operation, Outcome::Ok(Answer::Position { offset: if bad { 2 } else { 1 } }));
        }),
        Case(&[UnaskedTruncation], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.sent(0, 0, 2, 1);
            script.done(0, Call::SetRetention { topic: 0, bounded: !bad, finished: false });
            script.begins_at(0, 1, &[(1, 2)]);
        }),
        // The power went, and what was given up came back.
        Case(&[TruncationUndone], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.sent(0, 0, 2, 1);
            let operation = script.call(0, Call::DeleteRecords { topic: 0, partition: 0, before: 1 });
            script.end(operation, Outcome::Ok(Answer::Position { offset: 1 }));
            script.crash();
            match bad {
                true => script.contents(0, &[(0, 1), (1, 2)]),
                false => script.begins_at(0, 1, &[(1, 2)]),
            }
        }),
        Case(&[TruncationUndone], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.sent(0, 0, 2, 1);
            script.done(0, Call::SetRetention { topic: 0, bounded: true, finished: false });
            script.happen(Happening::Reported {
                topic: 0,
                partition: 0,
                first_offset: 0,
                count: 1,
                code: "truncated".into(),
            });
            match bad {
                true => script.contents(0, &[(0, 1), (1, 2)]),
                false => script.begins_at(0, 2, &[]),
            }
        }),
        Case(&[Unexpected], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.contents(0, &[(0, 1), (1, 2)][..if bad { 2 } else { 1 }]);
        }),
        // Read before it was sent: somebody gave out bytes that nobody had written.
        Case(&[Unexpected], |script, bad| {
            script.assign(1, 0);
            let read: &[(u64, u64)] = if bad { &[(0, 1)] } else { &[] };
            script.poll(1, &[(0, read)]);
            script.sent(0, 0, 1, 0);
        }),
        Case(&[Misplaced], |script, bad| {
            script.sent(0, 0, 1, 0);
            let operation = script.call(0, send(1, 2));
            script.end(operation, receipt(u32::from(!bad), Some(u64::from(bad)), Durability::Synced));
        }),
        // The end was cut off.
        Case(&[LostWrite], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.sent(0, 0, 2, 1);
            script.crash();
            script.contents(0, &[(0, 1), (1, 2)][..if bad { 1 } else { 2 }]);
        }),
        // A crash may take what was only buffered, but not what was synced since.
        Case(&[LostWrite], |script, bad| {
            script.buffered(0, 0, 1, 0);
            if bad {
                script.done(0, Call::Sync);
            }
            script.crash();
            script.contents(0, &[]);
        }),
        // A durable record makes everything below it durable.
        Case(&[LostWrite, InconsistentOffset, Duplicate], |script, bad| {
            script.buffered(0, 0, 1, 0);
            if bad {
                script.sent(1, 0, 2, 1);
            } else {
                let operation = script.call(1, send(0, 2));
                script.end(operation, Outcome::Unknown { code: "unknown-outcome".to_owned() });
            }
            script.crash();
            script.contents(0, &[(0, 2)]);
        }),
        // Readers passed it, and nobody ever saw it.
        Case(&[LostWrite, SkippedPoll], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.sent(0, 0, 2, 1);
            script.sent(0, 0, 3, 2);
            script.assign(1, 0);
            script.poll(1, &[(0, &[(0, 1)])]);
            if !bad {
                script.done(1, Call::Seek { topic: 0, partition: 0, from: From::Offset(2) });
            }
            script.poll(1, &[(0, &[(2, 3)])]);
        }),
        // It is there, but another record has taken its offset and the rest has moved.
        Case(&[LostWrite, InconsistentOffset, Duplicate], |script, bad| {
            for value in 1..=3 {
                script.sent(0, 0, value, value - 1);
            }
            script.crash();
            script.contents(0, if bad { &[(0, 1), (1, 3)] } else { &[(0, 1), (1, 2), (2, 3)] });
        }),
        // What the engine says is damaged is not lost in silence.
        Case(&[LostWrite, OffsetGap], |script, bad| {
            for value in 1..=3 {
                script.sent(0, 0, value, value - 1);
            }
            script.crash();
            if !bad {
                let code = "damaged".to_owned();
                script.happen(Happening::Reported { topic: 0, partition: 0, first_offset: 1, count: 1, code });
            }
            script.contents(0, &[(0, 1), (2, 3)]);
        }),
        Case(&[LostTopic], |script, bad| {
            if !bad {
                script.call(0, Call::DeleteTopic { topic: 0 });
            }
            script.crash();
            script.happen(Happening::TopicMissing { topic: 0 });
        }),
        // An unknown deletion that was seen not to have worked does not work later.
        Case(&[LostTopic], |script, bad| {
            script.call(0, Call::DeleteTopic { topic: 0 });
            script.crash();
            if bad {
                script.contents(0, &[]);
            }
            script.happen(Happening::TopicMissing { topic: 0 });
        }),
        Case(&[Unseen], |script, bad| {
            script.delayed(0, 0, 1, 500);
            script.settled();
            script.contents(0, &[(0, 1)][..usize::from(!bad)]);
        }),
        Case(&[Unseen], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.sent(0, 1, 2, 0);
            script.settled();
            script.contents(0, &[(0, 1)]);
            if !bad {
                script.contents(1, &[(0, 2)]);
            }
        }),
        Case(&[Duplicate], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.call(0, send(0, 2));
            script.crash();
            script.contents(0, &[(0, 1), (1, if bad { 1 } else { 2 })]);
        }),
        // Receipt and reader.
        Case(&[InconsistentOffset, NonmonotonicSend], |script, bad| {
            script.sent(0, 0, 1, 0);
            let operation = script.call(0, send(0, 2));
            script.end(operation, receipt(0, Some(u64::from(!bad)), Durability::Synced));
        }),
        // Two readers, and a crash between them.
        Case(&[InconsistentOffset, ReadUndone], |script, bad| {
            script.call(0, send(0, 1));
            script.call(1, send(0, 2));
            script.assign(2, 0);
            script.poll(2, &[(0, &[(0, 1)])]);
            script.crash();
            script.contents(0, if bad { &[(0, 2)] } else { &[(0, 1), (1, 2)] });
        }),
        // A buffered receipt's offset may name another record, but only after a crash.
        Case(&[InconsistentOffset], |script, bad| {
            script.buffered(0, 0, 1, 0);
            script.call(1, send(0, 2));
            if !bad {
                script.crash();
            }
            script.assign(2, 0);
            script.poll(2, &[(0, &[(0, 2)])]);
        }),
        Case(&[OffsetGap], |script, bad| {
            script.call(0, send(0, 1));
            script.call(0, send(0, 2));
            script.crash();
            script.contents(0, if bad { &[(1, 1)] } else { &[(0, 1)] });
        }),
        // Further than everything that was sent.
        Case(&[OffsetGap], |script, bad| {
            script.sent(0, 0, 1, if bad { 1 << 60 } else { 0 });
        }),
        Case(&[SkippedPoll], |script, bad| {
            three_sent_one_polled(script);
            script.poll(1, &[(0, if bad { &[(2, 3)] } else { &[(1, 2), (2, 3)] })]);
            if bad {
                script.assign(2, 0);
                script.poll(2, &[(0, &[(0, 1), (1, 2), (2, 3)])]);
            }
        }),
        Case(&[InternalSkippedPoll], |script, bad| {
            for value in 1..=3 {
                script.sent(0, 0, value, value - 1);
            }
            script.assign(1, 0);
            script.poll(1, &[(0, if bad { &[(0, 1), (2, 3)] } else { &[(0, 1), (1, 2), (2, 3)] })]);
            script.assign(2, 0);
            script.poll(2, &[(0, &[(0, 1), (1, 2), (2, 3)])]);
        }),
        Case(&[NonmonotonicPoll], |script, bad| {
            three_sent_one_polled(script);
            if !bad {
                script.assign(1, 0);
            }
            script.poll(1, &[(0, &[(0, 1), (1, 2)])]);
        }),
        Case(&[InternalNonmonotonicPoll, SkippedPoll], |script, bad| {
            three_sent_one_polled(script);
            script.poll(1, &[(0, if bad { &[(2, 3), (1, 2)] } else { &[(1, 2), (2, 3)] })]);
        }),
        Case(&[StalePoll], |script, bad| {
            script.assign(1, 0);
            if bad {
                script.sent(0, 0, 1, 0);
                script.poll(1, &[(0, &[])]);
            } else {
                // The poll began before the receipt came.
                let poll = script.call(1, Call::Poll { transaction: None });
                script.sent(0, 0, 1, 0);
                script.end(poll, polled(&[(0, &[])], None));
            }
        }),
        Case(&[UnassignedRead], |script, bad| {
            script.sent(0, 0, 1, 0);
            if !bad {
                script.assign(1, 0);
            }
            script.poll(1, &[(0, &[(0, 1)])]);
        }),
        // A crash takes consumers.
        Case(&[UnassignedRead], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.assign(1, 0);
            if bad {
                script.crash();
            }
            script.poll(1, &[(0, &[(0, 1)])]);
        }),
        Case(&[NonmonotonicSend], |script, bad| {
            let first = script.call(0, send(0, 1));
            let second = script.call(if bad { 0 } else { 1 }, send(0, 2));
            script.end(second, receipt(0, Some(0), Durability::Synced));
            script.end(first, receipt(0, Some(1), Durability::Synced));
        }),
        Case(&[AbortedRead], |script, bad| {
            let operation = script.call(0, send(0, 1));
            script.end(operation, if bad { failed() } else { Outcome::Unknown { code: "unknown-outcome".to_owned() } });
            script.crash();
            script.contents(0, &[(0, 1)]);
        }),
        Case(&[CancelledRead], |script, bad| {
            script.delayed(0, 0, 1, 500);
            let cancel = script.call(0, Call::Cancel { value: 1 });
            script.end(cancel, if bad { Outcome::done() } else { failed() });
            script.settled();
            script.contents(0, &[(0, 1)]);
        }),
        Case(&[EarlyRead], |script, bad| {
            script.delayed(0, 0, 1, 500);
            script.assign(1, 0);
            script.poll_at(1, &[(0, &[(0, 1)])], Some(if bad { 499 } else { 500 }));
        }),
        Case(&[ReadUndone], |script, bad| {
            script.call(0, send(0, 1));
            script.assign(1, 0);
            script.poll(1, &[(0, &[(0, 1)][..usize::from(bad)])]);
            script.crash();
            script.contents(0, &[]);
        }),
        // Who looked from outside was shown it before it was durable.
        Case(&[ReadUndone], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.call(0, send(0, 2));
            script.shown(0, &[(0, 1), (1, 2)][..1 + usize::from(bad)]);
            script.crash();
            script.contents(0, &[(0, 1)]);
        }),
        // Nothing is left out in what is shown outside, though its end may be old.
        Case(&[OffsetGap], |script, bad| {
            (0..3).for_each(|offset| script.sent(0, 0, 1 + offset, offset));
            script.shown(0, if bad { &[(0, 1), (2, 3)] } else { &[(0, 1), (1, 2)] });
        }),
        // A deletion may be newer than the look.
        Case(&[InconsistentOffset, Duplicate], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.sent(0, 0, 2, 1);
            script.done(0, Call::DeleteTopic { topic: 0 });
            script.shown(0, &[(0, if bad { 2 } else { 1 })]);
        }),
        Case(&[DeletedTopicRead], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.assign(1, 0);
            let poll = script.call(1, Call::Poll { transaction: None });
            script.done(0, Call::DeleteTopic { topic: 0 });
            if bad {
                script.end(poll, polled(&[(0, &[])], None));
                script.poll(1, &[(0, &[(0, 1)])]);
            } else {
                script.end(poll, polled(&[(0, &[(0, 1)])], None));
            }
        }),
        Case(&[DeletedTopicRead], |script, bad| {
            script.sent(0, 0, 1, 0);
            script.done(0, Call::DeleteTopic { topic: 0 });
            script.crash();
            if bad {
                script.contents(0, &[(0, 1)]);
            } else {
                script.happen(Happening::TopicMissing { topic: 0 });
            }
        }),
        Case(&[WeakReceipt], |script, bad| {
            let operation = script.call(0, send(0, 1));
            script.end(operation, receipt(0, Some(0), if bad { Durability::Buffered } else { Durability::Synced }));
        }),
    ]
}

fn three_sent_one_polled(script: &mut Script) {
    for value in 1..=3 {
        script.sent(0, 0, value, value - 1);
    }
    script.assign(1, 0);
    script.poll(1, &[(0, &[(0, 1)])]);
}
