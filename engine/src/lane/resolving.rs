//! Opening: what became of transactions that were on their way when the engine ended.
//!
//! | in the logs | then it is |
//! |---|---|
//! | a decision | what was decided; parts without an end are published, or discarded, before anything else |
//! | no decision, and a part is missing | rolled back: nobody was told that it is prepared |
//! | no decision, all parts, to be committed at once | rolled back: nobody was told that it is committed |
//! | no decision, all parts | prepared, as before |
//! | records that no part names | discarded: the transaction was open |
//!
//! Invariant: a log that ends before a part that a decision names is damaged; the part was durable before the decision.

use super::state::LogState;
use super::transactions::{Decided, Participant, TransactionKey, TransactionOutcome};
use crate::canary::{self, Canary};
use crate::log::position::Position;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A log and where it ends, as far as that is known.
pub(crate) struct LogEnd<'a> {
    pub(crate) log: u32,
    pub(crate) end: Option<Position>,
    pub(crate) state: &'a mut LogState,
}

/// A part that is to be ended as was decided in another log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) key: TransactionKey,
    pub(crate) outcome: TransactionOutcome,
}

/// A part that was durable when its transaction was decided, and is not there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MissingPart {
    pub(crate) part: Participant,
}

/// Decides what nobody was told of, and says what is left to be ended, in the order of the decisions.
pub(crate) fn resolve(logs: &mut [LogEnd<'_>]) -> Result<Vec<Unfinished>, MissingPart> {
    let mut decisions: Vec<Decided> = logs.iter().flat_map(|log| log.state.transactions.decided().cloned()).collect();
    if canary::sings(Canary::ForgetDecision) {
        decisions.clear();
    }
    decisions.sort_by_key(|decided| decided.decided_ms);
    let ends: HashMap<u32, Position> = logs.iter().filter_map(|log| Some((log.log, log.end?))).collect();
    for Decided { participants, .. } in &decisions {
        let is_missing = |part: &&Participant| ends.get(&part.log).is_some_and(|end| *end <= part.position);
        if let Some(part) = participants.iter().find(is_missing) {
            return Err(MissingPart { part: *part });
        }
    }
    let decided: HashSet<TransactionKey> = decisions.iter().map(|decided| decided.key).collect();
    let mut parts: BTreeMap<TransactionKey, Vec<usize>> = BTreeMap::new();
    for (at, log) in logs.iter().enumerate() {
        for prepared in log.state.transactions.prepared() {
            parts.entry(prepared.key).or_default().push(at);
        }
    }
    for (key, at) in parts.iter().filter(|(key, _)| !decided.contains(key)) {
        let first = logs[at[0]].state.transactions.get(*key).expect("just seen");
        let is_prepared = at.len() >= first.participants as usize && !first.commits;
        if is_prepared && !canary::sings(Canary::ForgetPrepared) {
            continue;
        }
        let (id, decided_ms, outcome) = (first.id.clone(), first.prepared_ms, TransactionOutcome::RolledBack);
        let decided = Decided { key: *key, id, outcome, decided_ms, participants: Vec::new() };
        at.iter().for_each(|at| logs[*at].state.give_up_part(*key));
        logs[at[0]].state.transactions.decide(decided);
    }
    for log in logs {
        log.state.discard_orphans();
    }
    let is_unfinished = |decided: &Decided| parts.contains_key(&decided.key);
    let unfinished = |decided: Decided| Unfinished { key: decided.key, outcome: decided.outcome };
    Ok(decisions.into_iter().filter(is_unfinished).map(unfinished).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::state::{UNDECIDED_MS, Withheld};
    use crate::lane::transactions::Prepared;
    use crate::log::origin::Origin;
    use crate::log::position::Identity;

    const KEY: TransactionKey = TransactionKey { log: 0, generation: 1, number: 5 };

    fn frame(log: u32) -> Identity {
        Identity { log, position: Position(64) }
    }

    /// A log with a record that is withheld for the transaction.
    fn log_of(log: u32) -> LogState {
        let mut state = LogState::default();
        let (origin, due_ms) = (Origin::default(), UNDECIDED_MS);
        let withheld = Withheld { slot: log, count: 1, due_ms, frame_bytes: 184, timestamp_max_ms: 1, origin };
        state.withhold(frame(log), withheld);
        state
    }

    fn prepare(state: &mut LogState, log: u32, commits: bool) {
        let (id, checker, frames) = ("a".into(), "".into(), vec![frame(log)]);
        let prepared =
            Prepared { key: KEY, id, checker, prepared_ms: 3, participants: 2, commits, frames, acks: vec![] };
        state.transactions.prepare(prepared).unwrap();
    }

    fn resolve_two(states: &mut [LogState; 2], ends: [u64; 2]) -> Result<Vec<Unfinished>, MissingPart> {
        let end = |(log, (state, end))| LogEnd { log, end: Some(Position(end)), state };
        let mut logs: Vec<LogEnd<'_>> = (0..).zip(states.iter_mut().zip(ends)).map(end).collect();
        resolve(&mut logs)
    }

    fn outcomes(states: &[LogState; 2]) -> Vec<TransactionOutcome> {
        states.iter().flat_map(|state| state.transactions.decided()).map(|decided| decided.outcome).collect()
    }

    #[test]
    fn each_row_of_the_table() {
        // Open.
        let mut states = [log_of(0), log_of(1)];
        assert_eq!(resolve_two(&mut states, [4096, 4096]), Ok(vec![]));
        assert!(states.iter().all(|state| state.withheld_records() == 0 && state.cancelled.of(0, 0).count() <= 1));
        // A part is missing.
        let mut states = [log_of(0), log_of(1)];
        prepare(&mut states[1], 1, false);
        assert_eq!(resolve_two(&mut states, [4096, 4096]), Ok(vec![]));
        assert_eq!(outcomes(&states), [TransactionOutcome::RolledBack]);
        assert!(states.iter().all(|state| state.withheld_records() == 0));
        // All parts: prepared, or on its way to being committed.
        for (commits, left) in [(false, 1), (true, 0)] {
            let mut states = [log_of(0), log_of(1)];
            prepare(&mut states[0], 0, commits);
            prepare(&mut states[1], 1, commits);
            assert_eq!(resolve_two(&mut states, [4096, 4096]), Ok(vec![]));
            assert_eq!(outcomes(&states).len(), 1 - left);
            assert!(states.iter().all(|state| state.withheld_records() == left as u64));
        }
    }

    #[test]
    fn what_was_decided_is_ended_and_a_part_that_is_missing_then_is_damage() {
        let part = Participant { log: 1, position: Position(4096), checksum: 7 };
        let outcome = TransactionOutcome::Committed;
        let decided = Decided { key: KEY, id: "a".into(), outcome, decided_ms: 9, participants: vec![part] };
        let mut states = [LogState::default(), log_of(1)];
        prepare(&mut states[1], 1, true);
        states[0].transactions.decide(decided.clone());
        assert_eq!(resolve_two(&mut states, [9000, 9000]), Ok(vec![Unfinished { key: KEY, outcome }]));
        assert_eq!(states[1].withheld_records(), 1);
        let mut states = [LogState::default(), LogState::default()];
        states[0].transactions.decide(decided);
        assert_eq!(resolve_two(&mut states, [9000, 9000]), Ok(vec![]), "it was ended, and a checkpoint says so");
        assert_eq!(resolve_two(&mut states, [9000, 4096]), Err(MissingPart { part }));
    }
}
