//! The checker against a model: histories that are right give no finding, each class of wrong is found,
//! and the work grows as the history does.
//!
//! `RINGLANE_CHECKER_CASES` sets the number of histories (default 400).

#![allow(clippy::unwrap_used, unreachable_pub)]

mod model;
mod mutations;
mod random;

use model::Model;
use proptest::prelude::*;
use random::Random;
use ringlane_proof::checker::check;
use ringlane_proof::history::{Event, History};
use std::collections::BTreeMap;

fn cases() -> u32 {
    std::env::var("RINGLANE_CHECKER_CASES").map_or(400, |text| text.parse().unwrap())
}

fn history(events: Vec<Event>) -> History {
    let mut history = History::new();
    events.into_iter().for_each(|event| history.push(event));
    history
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_history_that_is_right_gives_no_finding(seed: u64, steps in 1usize..2_000) {
        let report = check(&Model::history(seed, steps));
        prop_assert!(report.findings.is_empty(), "{:#?}", report.findings);
    }
}

#[test]
fn each_class_of_wrong_is_found_whenever_it_is_there() {
    let mut found: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..u64::from(cases()) {
        let steps = if seed % 4 == 0 { 150 } else { 600 };
        let good = Model::history(seed, steps).events().to_vec();
        for mutation in mutations::ALL {
            let mut bad = good.clone();
            if !(mutation.2)(&mut bad, &mut Random(seed)) {
                continue;
            }
            let report = check(&history(bad));
            let is_found = report.findings.iter().any(|finding| mutation.1.contains(&finding.anomaly));
            assert!(is_found, "seed {seed}, {}: {:#?}", mutation.0, report.findings);
            *found.entry(mutation.0).or_default() += 1;
        }
    }
    for mutation in mutations::ALL {
        let times = found.get(mutation.0).copied().unwrap_or(0);
        println!("{times:>5} times found: {}", mutation.0);
        assert!(times >= cases() / 20, "{}: too few of these histories have a place for it: {times}", mutation.0);
    }
}

#[test]
fn twice_the_history_is_twice_the_work() {
    // Without crashes nothing is listed again and again, so that the length is what the seed says.
    for seed in 0..20 {
        let long = Model::history(seed, 8_000).events().to_vec();
        let cost = |events: &[Event]| check(&history(events.to_vec())).steps as f64 / weight(events) as f64;
        let (half, whole) = (cost(&long[..long.len() / 2]), cost(&long));
        assert!(whole < half * 1.25, "seed {seed}: {half} steps for each entry, and {whole} in twice the history");
    }
}

/// How long a history is: its events and the records that they list.
fn weight(events: &[Event]) -> usize {
    use ringlane_proof::history::{Answer, Happening, Outcome};
    let listed = |event: &Event| match event {
        Event::World { happening: Happening::Contents { records, .. }, .. } => records.len(),
        Event::World { happening: Happening::GroupContents { pending, dead_lettered, .. }, .. } => {
            pending.len() + dead_lettered.len()
        }
        Event::Complete { outcome: Outcome::Ok(Answer::Polled { reads, .. }), .. } => {
            reads.iter().map(|read| 1 + read.records.len()).sum()
        }
        Event::Complete { outcome: Outcome::Ok(Answer::Taken { deliveries, .. }), .. } => deliveries.len(),
        _ => 0,
    };
    events.iter().map(|event| 1 + listed(event)).sum()
}

/// The checker of the other side takes one operation at a time of a process, and balanced brackets.
#[test]
fn exports_are_histories_there_too() {
    for seed in 0..50 {
        let mut text = Vec::new();
        Model::history(seed, 800).write_edn(&mut text).unwrap();
        let mut going = std::collections::HashMap::new();
        for (number, line) in String::from_utf8(text).unwrap().lines().enumerate() {
            let word = |key: &str| {
                let rest = line.split_once(key).unwrap_or_else(|| panic!("no {key} in {line}")).1;
                rest.trim_start().split([',', ' ']).next().unwrap().to_owned()
            };
            assert_eq!(word(":index "), number.to_string());
            for (open, close) in [('{', '}'), ('[', ']')] {
                assert_eq!(line.matches(open).count(), line.matches(close).count(), "{line}");
            }
            let (process, kind, f) = (word(":process "), word(":type "), word(":f "));
            let before = match kind.as_str() {
                ":invoke" => going.insert(process, f.clone()),
                // Whoever does not know how its call ended does nothing any more.
                ":info" => going.insert(process, "over".to_owned()),
                _ => going.remove(&process),
            };
            let expected = if kind == ":invoke" { None } else { Some(f) };
            assert_eq!(before, expected, "{line}");
        }
    }
}
