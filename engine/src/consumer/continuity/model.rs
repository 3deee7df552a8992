//! The checker against a naive model, and against a simulated log.

use super::*;
use crate::log::origin::Origin;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

const PARTITIONS: usize = 2;
const PRODUCERS: u32 = 3;

fn name(partition: usize) -> TopicPartition<'static> {
    TopicPartition::new(["orders", "payments"][partition], partition as u32)
}

fn checker() -> ContinuityChecker {
    ContinuityChecker::new(ContinuityOptions::new()).unwrap()
}

/// One number, or one change of epoch, of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    Missing(u64),
    Duplicate(u64, u64),
    Reorder(u64, u64),
    Closed(u64, u64),
    Change(u32, u32, u64),
    Back(u32, u32, u64),
}

/// What findings say, number by number.
fn facts(findings: &[ContinuityFinding]) -> Vec<(u32, u32, Fact)> {
    let mut facts = Vec::new();
    for finding in findings {
        let mut say = |fact| facts.push((finding.partition, finding.producer, fact));
        match finding.what {
            Discontinuity::Gap { first_missing, last_missing } => {
                (first_missing..=last_missing).for_each(|number| say(Fact::Missing(number)));
            }
            Discontinuity::Duplicate { first, last } => {
                (first..=last).zip(finding.offset..).for_each(|(number, at)| say(Fact::Duplicate(number, at)));
            }
            Discontinuity::Reorder { first, last } => {
                (first..=last).zip(finding.offset..).for_each(|(number, at)| say(Fact::Reorder(number, at)));
            }
            Discontinuity::GapClosed { first, last, .. } => {
                (first..=last).zip(finding.offset..).for_each(|(number, at)| say(Fact::Closed(number, at)));
            }
            Discontinuity::EpochChange { from, to, sequence } => say(Fact::Change(from, to, sequence)),
            Discontinuity::EpochBack { from, to, sequence } => say(Fact::Back(from, to, sequence)),
            what => panic!("{what:?} without a bound that was reached"),
        }
    }
    facts
}

/// One producer in one partition: all numbers that were seen, and nothing clever.
#[derive(Default)]
struct NaiveProducer {
    seen: HashSet<u64>,
    explained: HashSet<u64>,
    pending: HashSet<u64>,
    base: Option<u64>,
    highest: Option<u64>,
    epoch: u32,
}

impl NaiveProducer {
    fn missing(&self) -> Vec<u64> {
        let (Some(base), Some(highest)) = (self.base, self.highest) else { return Vec::new() };
        (base..=highest).filter(|number| !self.seen.contains(number) && !self.explained.contains(number)).collect()
    }

    fn observe(&mut self, offset: u64, origin: Origin, is_late: bool) -> Vec<Fact> {
        let (number, epoch) = (origin.sequence, origin.epoch);
        if self.seen.contains(&number) || self.explained.contains(&number) {
            return vec![Fact::Duplicate(number, offset)];
        }
        let mut facts = Vec::new();
        if self.highest.is_some_and(|highest| number < highest) {
            if !is_late {
                facts.push(Fact::Reorder(number, offset));
            } else if self.base.is_some_and(|base| number >= base) {
                facts.push(Fact::Closed(number, offset));
            }
        } else {
            let before = self.missing();
            let had = self.highest.replace(number);
            if self.base.is_none() && !is_late {
                self.base = Some(number);
            }
            facts.extend(self.missing().into_iter().filter(|n| *n != number && !before.contains(n)).map(Fact::Missing));
            match (had, epoch.cmp(&self.epoch)) {
                (Some(_), std::cmp::Ordering::Greater) => facts.push(Fact::Change(self.epoch, epoch, number)),
                (Some(_), std::cmp::Ordering::Less) => facts.push(Fact::Back(self.epoch, epoch, number)),
                _ => {}
            }
            self.epoch = epoch;
        }
        self.seen.insert(number);
        facts
    }
}

/// All producers of one partition.
#[derive(Default)]
struct NaivePartition {
    is_whole: bool,
    producers: BTreeMap<u32, NaiveProducer>,
}

/// What a stream of records does; each number is taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    /// The next numbers.
    Send { count: u64 },
    /// Numbers that nobody will see unless they come by `Publish`.
    Skip { count: u64 },
    /// A run that begins with some number that was given already.
    Again { back: u64, count: u64, is_late: bool },
    /// A delayed record ahead of all.
    Ahead { skip: u64 },
    /// The epoch changes.
    Epoch { up: bool },
    /// Reading begins elsewhere.
    Seek { offset: u64, is_whole: bool },
    /// Somebody says why something is missing.
    Resolve { which: usize, part: (u64, u64), reason: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..5).prop_map(|count| Step::Send { count }),
        3 => (1u64..6).prop_map(|count| Step::Skip { count }),
        4 => (0u64..20, 1u64..8, any::<bool>()).prop_map(|(back, count, is_late)| Step::Again { back, count, is_late }),
        1 => (0u64..4).prop_map(|skip| Step::Ahead { skip }),
        1 => any::<bool>().prop_map(|up| Step::Epoch { up }),
        1 => (0u64..3, any::<bool>()).prop_map(|(offset, is_whole)| Step::Seek { offset, is_whole }),
        2 => (0usize..8, (0u64..4, 0u64..6), 0usize..5)
            .prop_map(|(which, part, reason)| Step::Resolve { which, part, reason }),
    ]
}

proptest! {
    /// Whatever comes, it says what a set of all numbers says, whether it is fed in runs or one by one.
    #[test]
    fn it_says_what_a_set_of_all_numbers_says(
        steps in prop::collection::vec((0..PARTITIONS, 0..PRODUCERS, step()), 0..120),
    ) {
        let (mut in_runs, mut one_by_one) = (checker(), checker());
        let mut model: [NaivePartition; PARTITIONS] = Default::default();
        let mut next = [[(0u64, 5u32); PRODUCERS as usize]; PARTITIONS];
        let mut offsets = [0u64; PARTITIONS];
        let (mut records, mut forgotten, mut explained) = (0, 0, [0; 5]);
        for (partition, producer, step) in steps {
            let (number, epoch) = &mut next[partition][producer as usize];
            let naive = &mut model[partition];
            let (first, count, is_late) = match step {
                Step::Send { count } => {
                    *number += count;
                    (*number - count, count, false)
                }
                Step::Skip { count } => {
                    *number += count;
                    continue;
                }
                Step::Again { back, count, is_late } => (number.saturating_sub(back), count, is_late),
                Step::Ahead { skip } => {
                    *number += skip + 1;
                    (*number - 1, 1, true)
                }
                Step::Epoch { up } => {
                    *epoch = if up { *epoch + 1 } else { epoch.saturating_sub(1) };
                    continue;
                }
                Step::Seek { offset, is_whole } => {
                    in_runs.begin(name(partition), offset, is_whole);
                    one_by_one.begin(name(partition), offset, is_whole);
                    for producer in naive.producers.values() {
                        forgotten += producer.missing().iter().filter(|n| !producer.pending.contains(n)).count() as u64;
                    }
                    *naive = NaivePartition { is_whole: is_whole && offset == 0, ..Default::default() };
                    continue;
                }
                Step::Resolve { which, part: (skip, length), reason } => {
                    let open: Vec<_> = in_runs.missing().collect();
                    let Some(range) = open.get(which % open.len().max(1)) else { continue };
                    // Wider than the range too: what is not missing there stays what it is.
                    let wider = MissingRange { first: range.first.saturating_sub(2) + skip, last: range.first + length, ..range.clone() };
                    if wider.first > wider.last {
                        continue;
                    }
                    let why = MissingReason::ALL[reason];
                    let naive = model[range.partition as usize].producers.get_mut(&range.producer).unwrap();
                    let concerned: Vec<u64> = naive.missing().into_iter()
                        .filter(|n| (wider.first..=wider.last).contains(n))
                        .filter(|n| why != MissingReason::Pending || !naive.pending.contains(n))
                        .collect();
                    prop_assert_eq!(in_runs.resolve(&wider, why), concerned.len() as u64);
                    prop_assert_eq!(one_by_one.resolve(&wider, why), concerned.len() as u64);
                    explained[reason] += concerned.len() as u64;
                    if why == MissingReason::Pending {
                        naive.pending.extend(concerned);
                    } else {
                        naive.explained.extend(concerned);
                    }
                    continue;
                }
            };
            let origin = Origin { producer, epoch: *epoch, sequence: first };
            // What `Again` reaches beyond the next number is used up.
            *number = (*number).max(first + count);
            let base_offset = offsets[partition];
            offsets[partition] += count;
            records += count;
            in_runs.observe_run(name(partition), base_offset, count as u32, origin, is_late);
            let is_whole = naive.is_whole;
            let naive = naive.producers.entry(producer).or_insert_with(|| {
                NaiveProducer { base: is_whole.then_some(0), ..Default::default() }
            });
            let mut expected = Vec::new();
            for at in 0..count {
                let origin = Origin { sequence: first + at, ..origin };
                one_by_one.observe(name(partition), base_offset + at, origin, is_late);
                expected.extend(naive.observe(base_offset + at, origin, is_late));
            }
            let (found, found_singly) = (in_runs.take_findings(), one_by_one.take_findings());
            prop_assert_eq!(&found, &found_singly);
            let expected: Vec<_> = expected.into_iter().map(|fact| (partition as u32, producer, fact)).collect();
            prop_assert_eq!(facts(&found), expected);
        }
        let mut missing: Vec<_> = in_runs.missing().flat_map(|range| {
            (range.first..=range.last).map(move |n| (range.partition, range.producer, n, range.is_pending))
        }).collect();
        missing.sort_unstable();
        let mut expected = Vec::new();
        for (partition, naive) in model.iter().enumerate() {
            for (producer, naive) in &naive.producers {
                let of_producer = naive.missing().into_iter();
                expected.extend(of_producer.map(|n| (partition as u32, *producer, n, naive.pending.contains(&n))));
            }
        }
        prop_assert_eq!(&missing, &expected);
        let report = in_runs.report();
        prop_assert_eq!(&report, &one_by_one.report());
        prop_assert_eq!(report.records, records);
        prop_assert_eq!(report.missing.forgotten, forgotten);
        let MissingCounts { cancelled, expired, corrupt, unknown, .. } = report.missing;
        prop_assert_eq!(&[cancelled, expired, corrupt, unknown][..], &explained[1..]);
        prop_assert_eq!(report.missing.pending, missing.iter().filter(|(.., is_pending)| *is_pending).count() as u64);
        prop_assert_eq!(report.missing.unexplained + report.missing.pending, missing.len() as u64);
        prop_assert_eq!(report.records_not_judged + report.findings_dropped, 0);
    }
}

/// A record in a simulated log.
#[derive(Clone, Copy, Debug)]
struct Stored {
    origin: Origin,
    is_late: bool,
}

/// A partition as the engine would write it: numbers are given at the append, delayed records come later, in any order.
/// Returns the records by offset, and what is still withheld.
fn simulate(acts: &[(u32, u8)]) -> (Vec<Stored>, Vec<Origin>) {
    let (mut log, mut withheld) = (Vec::new(), Vec::new());
    let mut next: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    for (producer, act) in acts {
        let (epoch, sequence) = next.entry(*producer).or_default();
        let origin = Origin { producer: *producer, epoch: *epoch, sequence: *sequence };
        match act {
            0..10 => log.push(Stored { origin, is_late: false }),
            10..14 => withheld.push(origin),
            14..18 => {
                if !withheld.is_empty() {
                    let origin = withheld.remove(*sequence as usize % withheld.len());
                    log.push(Stored { origin, is_late: true });
                }
                continue;
            }
            _ => {
                *epoch += 1;
                continue;
            }
        }
        *sequence += 1;
    }
    (log, withheld)
}

fn acts(producers: u32) -> impl Strategy<Value = Vec<(u32, u8)>> {
    prop::collection::vec((0..producers, 0u8..19), 0..150)
}

proptest! {
    /// No false alarm in a log where all is well, wherever reading begins: what is missing is withheld.
    #[test]
    fn where_all_is_well_nothing_is_found_but_what_is_withheld(acts in acts(3), start in 0usize..100) {
        let (log, withheld) = simulate(&acts);
        let start = start.min(log.len());
        let mut checker = checker();
        checker.begin(name(0), start as u64, true);
        for (offset, stored) in log.iter().enumerate().skip(start) {
            checker.observe(name(0), offset as u64, stored.origin, stored.is_late);
        }
        let report = checker.report();
        let FindingCounts { duplicates, reorders, epochs_back, .. } = report.findings;
        prop_assert_eq!((duplicates, reorders, epochs_back), (0, 0, 0));
        let open: Vec<_> = checker.missing().collect();
        for range in &open {
            for number in range.first..=range.last {
                prop_assert!(withheld.iter().any(|o| (o.producer, o.sequence) == (range.producer, number)), "{:?}", range);
            }
            checker.resolve(range, MissingReason::Pending);
        }
        prop_assert!(checker.report().is_continuous());
    }

    /// A record that was not delayed and vanishes is missing in the end, unless it was before the first one that its
    /// reader saw, or behind the last one.
    #[test]
    fn what_vanishes_is_missing(acts in acts(3), start in 0usize..100, vanishing in prop::collection::vec(0usize..150, 1..10)) {
        let (log, _) = simulate(&acts);
        let start = start.min(log.len());
        let mut checker = checker();
        checker.begin(name(0), start as u64, true);
        let is_seen = |at: &usize| *at >= start && !vanishing.contains(at);
        let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
        for at in (0..log.len()).filter(is_seen) {
            let Stored { origin, is_late } = log[at];
            checker.observe(name(0), at as u64, origin, is_late);
            last.entry(origin.producer).and_modify(|n: &mut u64| *n = origin.sequence.max(*n)).or_insert(origin.sequence);
            if !is_late {
                first.entry(origin.producer).or_insert(origin.sequence);
            }
        }
        for at in (start..log.len()).filter(|at| !is_seen(at)) {
            let Origin { producer, sequence, .. } = log[at].origin;
            let from = if start == 0 { Some(&0) } else { first.get(&producer) };
            let is_between = from.is_some_and(|from| sequence > *from || start == 0)
                && last.get(&producer).is_some_and(|last| sequence < *last);
            let is_missing = checker.missing()
                .any(|range| range.producer == producer && (range.first..=range.last).contains(&sequence));
            prop_assert_eq!(is_missing, is_between, "{:?}", log[at]);
        }
    }

    /// With little room it forgets, keeps its bounds, says so, and still says nothing wrong.
    #[test]
    fn little_room_makes_it_forget_and_not_lie(
        acts in acts(12),
        producers_max in 1usize..8,
        missing_ranges_max in 1usize..8,
        findings_max in 1usize..400,
    ) {
        let (log, _) = simulate(&acts);
        let options = ContinuityOptions { producers_max, missing_ranges_max, findings_max };
        let mut checker = ContinuityChecker::new(options).unwrap();
        checker.begin(name(0), 0, true);
        let (mut gap_numbers, mut taken) = (0, 0);
        for (offset, stored) in log.iter().enumerate() {
            checker.observe(name(0), offset as u64, stored.origin, stored.is_late);
            let findings = checker.take_findings();
            taken += findings.len() as u64;
            prop_assert!(findings.len() <= findings_max);
            gap_numbers += findings.iter().map(|finding| match finding.what {
                Discontinuity::Gap { first_missing, last_missing } => last_missing - first_missing + 1,
                _ => 0,
            }).sum::<u64>();
            let report = checker.report();
            prop_assert!(report.producers <= producers_max);
            prop_assert!(checker.missing().count() <= missing_ranges_max);
            let FindingCounts { duplicates, reorders, epochs_back, .. } = report.findings;
            prop_assert_eq!((duplicates, reorders, epochs_back), (0, 0, 0));
            let found = &report.findings;
            let counted = found.gaps + found.gaps_closed + found.epoch_changes + found.ranges_forgotten
                + found.producers_forgotten;
            prop_assert_eq!(counted, taken + report.findings_dropped);
            if report.findings_dropped == 0 {
                prop_assert_eq!(
                    gap_numbers,
                    report.missing.unexplained + report.missing.forgotten + found.gaps_closed
                );
            }
        }
        let report = checker.report();
        prop_assert_eq!(report.records, log.len() as u64);
        let forgot = report.findings.ranges_forgotten + report.findings.producers_forgotten > 0;
        prop_assert!(!forgot || !report.is_continuous());
    }
}
