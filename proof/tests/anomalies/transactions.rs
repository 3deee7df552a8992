//! Anomalies of transactions.

use super::Case;
use super::script::*;
use ringlane_proof::checker::Anomaly::*;
use ringlane_proof::history::*;

pub fn cases() -> Vec<Case> {
    vec![
        Case(&[InternalNonmonotonicSend, G0], |script, bad| {
            script.call(1, send(0, 3));
            script.transaction(0, 5, &[(0, 1), (0, 2)]);
            script.crash();
            script.contents(0, if bad { &[(0, 2), (1, 3), (2, 1)] } else { &[(0, 1), (1, 2), (2, 3)] });
        }),
        Case(&[InternalNonmonotonicSend], |script, bad| {
            script.transaction(0, 5, &[(0, 1), (0, 2)]);
            script.crash();
            script.contents(0, if bad { &[(0, 2), (1, 1)] } else { &[(0, 1), (1, 2)] });
        }),
        Case(&[G1a], |script, bad| {
            script.done(0, Call::Begin { transaction: 5 });
            script.sent_in(0, 5, 0, 1);
            script.done(0, Call::Prepare { transaction: 5 });
            script.done(0, Call::RollBack { transaction: 5 });
            script.crash();
            script.contents(0, &[(0, 1)][..usize::from(bad)]);
        }),
        // A commit that was refused is a rollback to readers.
        Case(&[G1a], |script, bad| {
            script.done(0, Call::Begin { transaction: 5 });
            script.sent_in(0, 5, 0, 1);
            let commit = script.call(0, Call::Commit { transaction: 5 });
            script.end(commit, if bad { failed() } else { Outcome::Unknown { code: "unknown-outcome".to_owned() } });
            script.crash();
            script.contents(0, &[(0, 1)]);
        }),
        Case(&[ReadBeforeCommit], |script, bad| {
            script.assign(1, 0);
            script.done(0, Call::Begin { transaction: 5 });
            script.sent_in(0, 5, 0, 1);
            script.done(0, Call::Prepare { transaction: 5 });
            if bad {
                script.poll(1, &[(0, &[(0, 1)])]);
            }
            script.done(0, Call::Commit { transaction: 5 });
            if !bad {
                script.poll(1, &[(0, &[(0, 1)])]);
            }
        }),
        // An undecided transaction.
        Case(&[ReadBeforeCommit], |script, bad| {
            script.done(0, Call::Begin { transaction: 5 });
            script.sent_in(0, 5, 0, 1);
            script.done(0, Call::Prepare { transaction: 5 });
            script.crash();
            script.contents(0, &[(0, 1)][..usize::from(bad)]);
        }),
        Case(&[TornTransaction], |script, bad| {
            script.done(0, Call::Begin { transaction: 5 });
            script.sent_in(0, 5, 0, 1);
            script.sent_in(0, 5, 1, 2);
            script.call(0, Call::Commit { transaction: 5 });
            script.crash();
            script.contents(0, &[(0, 1)]);
            script.contents(1, &[(0, 2)][..usize::from(!bad)]);
        }),
        // It is promised: then it is also unseen at the end.
        Case(&[TornTransaction, Unseen], |script, bad| {
            script.transaction(0, 5, &[(0, 1), (1, 2)]);
            script.settled();
            script.contents(0, &[(0, 1)]);
            script.contents(1, &[(0, 2)][..usize::from(!bad)]);
        }),
        // A committed transaction that left no trace.
        Case(&[Unseen], |script, bad| {
            script.transaction(0, 5, &[(0, 1)]);
            script.settled();
            script.contents(0, &[(0, 1)][..usize::from(!bad)]);
        }),
        // Its offset was known.
        Case(&[LostWrite], |script, bad| {
            script.done(0, Call::Begin { transaction: 5 });
            script.sent_in(0, 5, 0, 1);
            let commit = script.call(0, Call::Commit { transaction: 5 });
            let placed = vec![Placed { topic: 0, partition: 0, offset: 0, value: 1 }];
            script.end(commit, Outcome::Ok(Answer::Committed { placed }));
            script.crash();
            script.contents(0, &[(0, 1)][..usize::from(!bad)]);
        }),
        Case(&[DecidedTwice], |script, bad| {
            script.done(0, Call::Begin { transaction: 5 });
            script.done(0, Call::Commit { transaction: 5 });
            if bad {
                script.done(1, Call::RollBack { transaction: 5 });
            } else {
                script.refused(1, Call::RollBack { transaction: 5 });
                script.done(1, Call::Commit { transaction: 5 });
            }
        }),
        Case(&[DecidedByItself], |script, bad| {
            script.done(0, Call::Begin { transaction: 5 });
            script.done(0, Call::Prepare { transaction: 5 });
            if !bad {
                script.call(0, Call::Commit { transaction: 5 });
            }
            script.crash();
            script.happen(at(TransactionSeen::Committed));
        }),
        // Only one that was never said to be prepared may be rolled back by a crash.
        Case(&[DecidedByItself], |script, bad| {
            script.done(0, Call::Begin { transaction: 5 });
            if bad {
                script.done(0, Call::Prepare { transaction: 5 });
            } else {
                script.call(0, Call::Prepare { transaction: 5 });
            }
            script.crash();
            script.happen(at(TransactionSeen::RolledBack));
        }),
        Case(&[LostTransaction], |script, bad| {
            script.done(0, Call::Begin { transaction: 5 });
            script.done(0, Call::Prepare { transaction: 5 });
            script.crash();
            script.happen(at(if bad { TransactionSeen::Missing } else { TransactionSeen::Prepared }));
        }),
        Case(&[LostTransaction], |script, bad| {
            script.transaction(0, 5, &[]);
            script.crash();
            script.happen(at(if bad { TransactionSeen::Prepared } else { TransactionSeen::Committed }));
        }),
        // The answer of its commit was lost; afterwards it is promised.
        Case(&[Unseen], |script, bad| {
            script.done(0, Call::Begin { transaction: 5 });
            script.sent_in(0, 5, 0, 1);
            script.call(0, Call::Commit { transaction: 5 });
            script.crash();
            if bad {
                script.happen(at(TransactionSeen::Committed));
            }
            script.settled();
            script.contents(0, &[]);
        }),
        // What an undecided transaction acknowledges is handed to nobody else.
        Case(&[TwoLeases], |script, bad| {
            script.sent(0, 0, 0, 0);
            script.take(1, &[delivery(0, 70, 1)]);
            script.done(1, Call::Begin { transaction: 6 });
            let (group, settling) = (GROUP, Settling::Acknowledge);
            script.done(1, Call::Settle { group, lease: 70, settling, transaction: Some(6) });
            script.done(1, Call::Prepare { transaction: 6 });
            script.crash();
            if !bad {
                script.call(1, Call::RollBack { transaction: 6 });
            }
            script.take(2, &[delivery(0, 71, 2)]);
        }),
        Case(&[G0], |script, bad| {
            script.transaction(0, 5, &[(0, 1), (1, 2)]);
            script.transaction(1, 6, &[(0, 3), (1, 4)]);
            script.crash();
            script.contents(0, &[(0, 1), (1, 3)]);
            script.contents(1, if bad { &[(0, 4), (1, 2)] } else { &[(0, 2), (1, 4)] });
        }),
        // A record of somebody else in the middle of a transaction.
        Case(&[G0], |script, bad| {
            script.transaction(0, 5, &[(0, 1), (0, 2)]);
            script.call(1, send(0, 3));
            script.crash();
            script.contents(0, if bad { &[(0, 1), (1, 3), (2, 2)] } else { &[(0, 1), (1, 2), (2, 3)] });
        }),
        // Transaction 6 consumed what 5 wrote, and stands before it in the other partition.
        Case(&[G1c], |script, bad| {
            script.assign(1, 0);
            script.transaction(0, 5, &[(0, 1), (1, 2)]);
            script.done(1, Call::Begin { transaction: 6 });
            let poll = script.call(1, Call::Poll { transaction: Some(6) });
            script.end(poll, polled(&[(0, &[(0, 1)])], None));
            script.sent_in(1, 6, 1, 4);
            script.done(1, Call::Commit { transaction: 6 });
            script.crash();
            script.contents(0, &[(0, 1)]);
            script.contents(1, if bad { &[(0, 4), (1, 2)] } else { &[(0, 2), (1, 4)] });
        }),
        // The same with an acknowledgement.
        Case(&[G1c], |script, bad| {
            script.transaction(0, 5, &[(0, 0), (1, 2)]);
            script.take(1, &[delivery(0, 70, 1)]);
            script.done(1, Call::Begin { transaction: 6 });
            let (group, settling) = (GROUP, Settling::Acknowledge);
            script.done(1, Call::Settle { group, lease: 70, settling, transaction: Some(6) });
            script.sent_in(1, 6, 1, 4);
            script.done(1, Call::Commit { transaction: 6 });
            script.crash();
            script.contents(0, &[(0, 0)]);
            script.contents(1, if bad { &[(0, 4), (1, 2)] } else { &[(0, 2), (1, 4)] });
        }),
    ]
}

fn at(state: TransactionSeen) -> Happening {
    Happening::TransactionAt { transaction: 5, state }
}
