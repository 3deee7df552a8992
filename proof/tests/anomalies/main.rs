//! For each anomaly a history that has it, and its twin that differs in one thing and is good.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod logs;
mod numbers;
mod queues;
mod script;
mod transactions;

use ringlane_proof::checker::{Anomaly, check};
use ringlane_proof::history::History;
use script::Script;
use std::collections::BTreeSet;

/// What a bad history must show: exactly these, the first being what the case is about. The function
/// writes the bad history or the good one.
struct Case(&'static [Anomaly], fn(&mut Script, bool));

fn cases() -> Vec<Case> {
    [logs::cases(), numbers::cases(), transactions::cases(), queues::cases()].into_iter().flatten().collect()
}

fn history(case: &Case, bad: bool) -> History {
    let mut script = Script::new();
    case.1(&mut script, bad);
    script.history
}

#[test]
fn each_anomaly_is_found_in_its_bad_history_and_nothing_in_its_twin() {
    for (number, case) in cases().iter().enumerate() {
        let expected: BTreeSet<_> = case.0.iter().collect();
        let bad = check(&history(case, true));
        let found: BTreeSet<_> = bad.findings.iter().map(|finding| &finding.anomaly).collect();
        assert_eq!(found, expected, "case {number}, {:?}, the bad history: {bad:#?}", case.0[0]);
        let good = check(&history(case, false));
        assert!(good.findings.is_empty(), "case {number}, {:?}, the good twin: {good:#?}", case.0[0]);
    }
}

#[test]
fn there_is_a_case_for_each_anomaly() {
    let covered: BTreeSet<_> = cases().iter().map(|case| case.0[0]).collect();
    let missing: Vec<_> = Anomaly::ALL.iter().filter(|anomaly| !covered.contains(anomaly)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn findings_name_what_they_are_about_and_are_the_same_each_time() {
    for case in cases() {
        let history = history(&case, true);
        let report = check(&history);
        assert_eq!(report, check(&history));
        for finding in &report.findings {
            assert!(finding.index <= history.events().len(), "{finding}");
            let json = serde_json::to_value(finding).unwrap();
            assert_eq!(json["anomaly"], finding.anomaly.name());
            assert!(finding.to_string().starts_with(finding.anomaly.name()), "{finding}");
        }
    }
}

#[test]
fn histories_survive_json_lines() {
    for case in cases() {
        for bad in [false, true] {
            let history = history(&case, bad);
            let mut lines = Vec::new();
            history.write(&mut lines).unwrap();
            let read = History::read(&lines[..]).unwrap();
            assert_eq!(read.events(), history.events());
            // The writer was killed in the middle of its last line.
            let cut = History::read(&lines[..lines.len() - 1]).unwrap();
            assert_eq!(cut.events(), &history.events()[..history.events().len() - 1]);
        }
    }
    let error = History::read(&b"{\"invoke\":{}}\n"[..]).unwrap_err();
    assert!(error.to_string().contains("line 1 is no event"), "{error}");
}
