//! Each rule of the checker.

use super::*;
use crate::error::Error;
use crate::log::origin::Origin;
use Discontinuity::{Duplicate, EpochBack, EpochChange, Gap, GapClosed, ProducerForgotten, RangeForgotten, Reorder};

const ORDERS: TopicPartition<'static> = TopicPartition { topic: "orders", partition: 0 };

/// A checker, and the records of one partition with the offsets one behind the other.
struct Reader {
    checker: ContinuityChecker,
    offset: u64,
}

impl Reader {
    fn new(options: ContinuityOptions) -> Reader {
        Reader { checker: ContinuityChecker::new(options).unwrap(), offset: 0 }
    }

    /// Reads the whole partition.
    fn whole() -> Reader {
        let mut reader = Reader::new(ContinuityOptions::new());
        reader.checker.begin(ORDERS, 0, true);
        reader
    }

    /// Reads from the middle.
    fn middle() -> Reader {
        let mut reader = Reader { offset: 100, ..Reader::whole() };
        reader.checker.begin(ORDERS, 100, true);
        reader
    }

    fn read(&mut self, producer: u32, epoch: u32, sequence: u64, is_late: bool) -> Vec<Discontinuity> {
        self.checker.observe(ORDERS, self.offset, Origin { producer, epoch, sequence }, is_late);
        self.offset += 1;
        self.checker.take_findings().iter().map(|finding| finding.what).collect()
    }

    /// Producer 1 in epoch 1.
    fn on_time(&mut self, sequence: u64) -> Vec<Discontinuity> {
        self.read(1, 1, sequence, false)
    }

    fn late(&mut self, sequence: u64) -> Vec<Discontinuity> {
        self.read(1, 1, sequence, true)
    }

    fn open(&self) -> Vec<(u64, u64)> {
        self.checker.missing().map(|range| (range.first, range.last)).collect()
    }
}

#[test]
fn numbers_without_a_gap_are_no_finding() {
    let mut reader = Reader::whole();
    for sequence in 0..5 {
        for producer in [0, 7] {
            assert_eq!(reader.read(producer, 1, sequence, sequence == 3), []);
        }
    }
    let report = reader.checker.report();
    assert_eq!((report.records, report.producers, report.partitions), (10, 2, 1));
    assert!(report.is_continuous());
}

#[test]
fn a_gap_is_found_where_it_ends_and_says_where() {
    let mut reader = Reader::whole();
    reader.on_time(0);
    reader.checker.observe(ORDERS, 1, Origin { producer: 1, epoch: 1, sequence: 4 }, false);
    assert!(reader.checker.has_findings());
    let what = Gap { first_missing: 1, last_missing: 3 };
    let gap = ContinuityFinding { topic: "orders".into(), partition: 0, producer: 1, epoch: 1, offset: 1, what };
    assert_eq!(reader.checker.take_findings(), [gap]);
    assert!(!reader.checker.has_findings());
    let open: Vec<_> = reader.checker.missing().collect();
    assert_eq!((open.len(), open[0].first, open[0].last, open[0].seen_at_offset), (1, 1, 3, 1));
    let report = reader.checker.report();
    assert_eq!((report.gaps_open, report.missing.unexplained, report.is_continuous()), (1, 3, false));
}

#[test]
fn a_whole_partition_begins_at_number_0() {
    assert_eq!(Reader::whole().on_time(2), [Gap { first_missing: 0, last_missing: 1 }]);
    assert_eq!(Reader::whole().late(2), [Gap { first_missing: 0, last_missing: 1 }]);
}

#[test]
fn in_the_middle_the_first_number_that_was_not_delayed_is_the_base() {
    let mut reader = Reader::middle();
    // Sent long before the others: between it and the first one on time nothing is known.
    assert_eq!(reader.late(10), []);
    assert_eq!(reader.late(8), []);
    assert_eq!(reader.on_time(500), []);
    assert_eq!(reader.late(400), []);
    assert_eq!(reader.on_time(502), [Gap { first_missing: 501, last_missing: 501 }]);
    assert_eq!(reader.open(), [(501, 501)]);
    // What comes from before the base comes once, too, and nothing on time comes from there.
    assert_eq!(reader.late(400), [Duplicate { first: 400, last: 400 }]);
    assert_eq!(reader.late(8), [Duplicate { first: 8, last: 8 }]);
    assert_eq!(reader.on_time(300), [Reorder { first: 300, last: 300 }]);
}

#[test]
fn offset_0_is_the_beginning_only_if_nothing_was_given_up() {
    let mut reader = Reader::whole();
    reader.checker.begin(ORDERS, 0, false);
    assert_eq!(reader.on_time(7), []);
}

#[test]
fn a_partition_that_was_not_begun_is_begun_in_the_middle() {
    let mut reader = Reader::new(ContinuityOptions::new());
    assert_eq!(reader.on_time(7), []);
    assert_eq!(reader.on_time(9), [Gap { first_missing: 8, last_missing: 8 }]);
}

#[test]
fn a_number_that_comes_twice_is_a_duplicate() {
    let mut reader = Reader::whole();
    (0..4).for_each(|sequence| assert_eq!(reader.on_time(sequence), []));
    assert_eq!(reader.on_time(2), [Duplicate { first: 2, last: 2 }]);
    assert_eq!(reader.late(3), [Duplicate { first: 3, last: 3 }]);
    assert_eq!(reader.on_time(4), []);
    assert_eq!(reader.checker.report().findings.duplicates, 2);
}

#[test]
fn a_delayed_record_closes_its_gap_and_comes_once() {
    let mut reader = Reader::whole();
    reader.on_time(0);
    assert_eq!(reader.on_time(4), [Gap { first_missing: 1, last_missing: 3 }]);
    assert_eq!(reader.late(2), [GapClosed { first: 2, last: 2, gap_seen_at_offset: 1 }]);
    assert_eq!(reader.open(), [(1, 1), (3, 3)]);
    assert_eq!(reader.late(2), [Duplicate { first: 2, last: 2 }]);
    reader.late(1);
    reader.late(3);
    let report = reader.checker.report();
    assert_eq!((report.gaps_open, report.findings.gaps, report.findings.gaps_closed), (0, 1, 3));
    assert_eq!(report.findings.reorders, 0);
}

#[test]
fn an_old_number_that_was_not_delayed_is_a_reorder_and_no_longer_missing() {
    let mut reader = Reader::whole();
    reader.on_time(2);
    assert_eq!(reader.on_time(1), [Reorder { first: 1, last: 1 }]);
    assert_eq!(reader.open(), [(0, 0)]);
    assert_eq!(reader.on_time(3), []);
}

#[test]
fn epochs_change_without_a_gap_and_do_not_go_back() {
    let mut reader = Reader::whole();
    reader.on_time(0);
    reader.on_time(2);
    assert_eq!(reader.read(1, 3, 3, false), [EpochChange { from: 1, to: 3, sequence: 3 }]);
    // A delayed record of the epoch before.
    assert_eq!(reader.late(1), [GapClosed { first: 1, last: 1, gap_seen_at_offset: 1 }]);
    assert!(reader.checker.report().is_continuous());
    assert_eq!(reader.read(1, 2, 4, false), [EpochBack { from: 3, to: 2, sequence: 4 }]);
    assert!(!reader.checker.report().is_continuous());
}

#[test]
fn epochs_change_with_a_gap() {
    let mut reader = Reader::whole();
    let gap = Gap { first_missing: 0, last_missing: 0 };
    assert_eq!(reader.on_time(1), [gap]);
    let gap = Gap { first_missing: 2, last_missing: 2 };
    assert_eq!(reader.read(1, 2, 3, false), [gap, EpochChange { from: 1, to: 2, sequence: 3 }]);
}

#[test]
fn after_a_seek_all_begins_anew_and_open_gaps_count_as_forgotten() {
    let mut reader = Reader::whole();
    reader.on_time(0);
    reader.on_time(5);
    let open = reader.checker.missing().next().unwrap();
    reader.checker.resolve(&open.part(1, 1).unwrap(), MissingReason::Pending);
    reader.checker.begin(ORDERS, 0, true);
    assert_eq!(reader.on_time(0), []);
    assert_eq!(reader.on_time(1), []);
    let report = reader.checker.report();
    assert_eq!((report.gaps_open, report.missing.forgotten, report.missing.pending), (0, 3, 0));
    assert!(!report.is_continuous());
}

#[test]
fn a_partition_that_is_ended_is_forgotten() {
    let mut reader = Reader::whole();
    reader.on_time(0);
    reader.checker.end(ORDERS);
    reader.checker.end(ORDERS);
    assert_eq!(reader.checker.report().partitions, 0);
    assert_eq!(reader.checker.report().producers, 0);
    // Nothing is left of it, not even where the last record came from.
    assert_eq!(reader.on_time(1), []);
    assert_eq!(reader.checker.report().producers, 1);
    reader.checker.end(ORDERS);
    let others = TopicPartition::new("orders", 1);
    reader.checker.begin(others, 0, true);
    assert_eq!(reader.on_time(5), []);
    assert_eq!(reader.checker.report().partitions, 2);
}

#[test]
fn partitions_and_topics_are_told_apart() {
    let mut checker = ContinuityChecker::new(ContinuityOptions::new()).unwrap();
    let names = [("orders", 0), ("orders", 1), ("payments", 0), ("payment", 0)];
    for sequence in 0..10 {
        for (topic, partition) in names {
            let origin = Origin { producer: 1, epoch: 1, sequence };
            checker.observe(TopicPartition::new(topic, partition), sequence, origin, false);
        }
    }
    let report = checker.report();
    assert_eq!((report.partitions, report.producers, report.records), (4, 4, 40));
    assert!(report.is_continuous());
}

#[test]
fn reasons_close_what_is_missing_except_pending() {
    let mut reader = Reader::whole();
    reader.on_time(10);
    let open = reader.checker.missing().next().unwrap();
    let part = |first, last| open.part(first, last).unwrap();
    assert_eq!(reader.checker.resolve(&part(0, 3), MissingReason::Pending), 4);
    assert_eq!(reader.checker.resolve(&part(0, 3), MissingReason::Pending), 0);
    assert_eq!(reader.checker.resolve(&part(4, 4), MissingReason::Cancelled), 1);
    assert_eq!(reader.checker.resolve(&part(5, 6), MissingReason::Expired), 2);
    assert!(!reader.checker.report().is_continuous());
    assert_eq!(reader.checker.resolve(&part(7, 8), MissingReason::Expired), 2);
    assert_eq!(reader.checker.resolve(&part(9, 9), MissingReason::Cancelled), 1);
    assert!(reader.checker.report().is_continuous());
    let pending: Vec<_> = reader.checker.missing().collect();
    assert_eq!((pending.len(), pending[0].last, pending[0].is_pending), (1, 3, true));
    // It comes, or turns out to be lost.
    assert_eq!(reader.late(2), [GapClosed { first: 2, last: 2, gap_seen_at_offset: 0 }]);
    assert_eq!(reader.checker.resolve(&open, MissingReason::Corrupt), 3);
    assert_eq!(reader.checker.resolve(&open, MissingReason::Unknown), 0);
    let missing = reader.checker.report().missing;
    let MissingCounts { unexplained, pending, cancelled, expired, corrupt, unknown, forgotten } = missing;
    assert_eq!((unexplained, pending, cancelled, expired, corrupt), (0, 0, 2, 4, 3));
    assert_eq!((unknown, forgotten, missing.lost()), (0, 0, 3));
    // It was not to come any more.
    assert_eq!(reader.late(4), [Duplicate { first: 4, last: 4 }]);
}

#[test]
fn a_range_of_somewhere_else_resolves_nothing() {
    let mut reader = Reader::whole();
    reader.on_time(3);
    let open = reader.checker.missing().next().unwrap();
    let others = [
        MissingRange { topic: "others".into(), ..open.clone() },
        MissingRange { partition: 1, ..open.clone() },
        MissingRange { producer: 2, ..open.clone() },
        MissingRange { first: 3, last: 9, ..open.clone() },
    ];
    for other in others {
        assert_eq!(reader.checker.resolve(&other, MissingReason::Cancelled), 0, "{other:?}");
    }
    assert_eq!(reader.open(), [(0, 2)]);
}

#[test]
fn a_run_is_its_records_one_by_one() {
    let mut reader = Reader::whole();
    reader.on_time(0);
    reader.on_time(4);
    reader.on_time(8);
    // 2 and 3 missing, 4 seen, 5 to 7 missing, 8 seen, 9 and 10 new.
    let first = Origin { producer: 1, epoch: 1, sequence: 2 };
    reader.checker.observe_run(ORDERS, 50, 9, first, true);
    let found: Vec<_> = reader.checker.take_findings().iter().map(|f| (f.offset, f.what)).collect();
    let expected = [
        (50, GapClosed { first: 2, last: 3, gap_seen_at_offset: 1 }),
        (52, Duplicate { first: 4, last: 4 }),
        (53, GapClosed { first: 5, last: 7, gap_seen_at_offset: 2 }),
        (56, Duplicate { first: 8, last: 8 }),
    ];
    assert_eq!(found, expected);
    assert_eq!(reader.on_time(11), []);
    assert_eq!(reader.open(), [(1, 1)]);
    assert_eq!(reader.checker.report().records, 13);
    reader.checker.observe_run(ORDERS, 60, 0, first, true);
    assert!(!reader.checker.has_findings());
}

#[test]
fn records_that_come_again_one_by_one_are_one_finding() {
    let mut reader = Reader::whole();
    (0..5).for_each(|sequence| assert_eq!(reader.on_time(sequence), []));
    for sequence in 1..4 {
        let origin = Origin { producer: 1, epoch: 1, sequence };
        reader.checker.observe(ORDERS, 10 + sequence, origin, false);
    }
    let found = reader.checker.take_findings();
    assert_eq!((found.len(), found[0].offset, found[0].what), (1, 11, Duplicate { first: 1, last: 3 }));
    assert_eq!(reader.checker.report().findings.duplicates, 3);
}

#[test]
fn ranges_beyond_the_bound_are_forgotten_lowest_first_and_said() {
    let mut reader = Reader::new(ContinuityOptions::new().missing_ranges_max(2));
    reader.checker.begin(ORDERS, 0, true);
    reader.on_time(3);
    reader.on_time(5);
    assert_eq!(
        reader.on_time(7),
        [Gap { first_missing: 6, last_missing: 6 }, RangeForgotten { first_missing: 0, last_missing: 2 }]
    );
    assert_eq!(reader.open(), [(4, 4), (6, 6)]);
    // Whether this one came before it does not know, and does not say; on time it is wrong in any case.
    assert_eq!(reader.late(1), []);
    assert_eq!(reader.on_time(1), [Reorder { first: 1, last: 1 }]);
    let report = reader.checker.report();
    assert_eq!((report.missing.forgotten, report.records_not_judged), (3, 1));
    assert_eq!(report.findings.ranges_forgotten, 1);
    assert!(!report.is_continuous());
}

#[test]
fn a_pending_range_that_is_forgotten_is_said_and_was_explained() {
    let mut reader = Reader::new(ContinuityOptions::new().missing_ranges_max(1));
    reader.checker.begin(ORDERS, 0, true);
    reader.on_time(2);
    let open = reader.checker.missing().next().unwrap();
    reader.checker.resolve(&open, MissingReason::Pending);
    assert_eq!(reader.on_time(4).last(), Some(&RangeForgotten { first_missing: 0, last_missing: 1 }));
    let report = reader.checker.report();
    assert_eq!((report.missing.pending, report.missing.forgotten, report.findings.ranges_forgotten), (0, 0, 1));
}

/// Places of producers that were forgotten are used again, by other partitions too.
#[test]
fn a_place_that_is_used_again_is_not_taken_for_the_one_before() {
    let mut checker = ContinuityChecker::new(ContinuityOptions::new().producers_max(1)).unwrap();
    let others = TopicPartition::new("orders", 1);
    for sequence in 0..4 {
        for partition in [ORDERS, others] {
            checker.observe(partition, sequence, Origin { producer: 1, epoch: 1, sequence }, false);
        }
    }
    let report = checker.report();
    assert_eq!((report.findings.producers_forgotten, report.findings.gaps, report.producers), (7, 0, 1));
}

#[test]
fn splitting_a_range_keeps_the_bound_too() {
    let mut reader = Reader::new(ContinuityOptions::new().missing_ranges_max(1));
    reader.checker.begin(ORDERS, 0, true);
    reader.on_time(9);
    assert_eq!(reader.late(4).len(), 2);
    assert_eq!(reader.open(), [(5, 8)]);
    let open = reader.checker.missing().next().unwrap();
    reader.checker.resolve(&open.part(6, 6).unwrap(), MissingReason::Cancelled);
    assert_eq!(reader.open(), [(7, 8)]);
}

#[test]
fn who_has_many_ranges_gives_room_to_who_has_few() {
    let mut reader = Reader::new(ContinuityOptions::new().missing_ranges_max(4));
    reader.checker.begin(ORDERS, 0, true);
    (0..4).for_each(|at| assert_eq!(reader.on_time(2 * at + 1).len(), 1));
    assert_eq!(reader.read(2, 1, 1, false).len(), 2);
    let of_producer: Vec<_> = reader.checker.missing().map(|range| (range.producer, range.first)).collect();
    assert_eq!(of_producer, [(1, 2), (1, 4), (1, 6), (2, 0)]);
}

#[test]
fn producers_beyond_the_bound_are_forgotten_and_said() {
    let mut reader = Reader::new(ContinuityOptions::new().producers_max(2));
    reader.checker.begin(ORDERS, 0, true);
    reader.on_time(0);
    reader.read(2, 1, 2, false);
    reader.on_time(1);
    assert_eq!(reader.read(3, 1, 0, false), [ProducerForgotten { next: 3, missing: 2 }]);
    assert_eq!(reader.open(), []);
    let report = reader.checker.report();
    assert_eq!((report.producers, report.missing.forgotten, report.is_continuous()), (2, 2, false));
    // What it does not know of producer 2 it does not call missing; the other one is known.
    assert_eq!(reader.read(2, 1, 9, false), [ProducerForgotten { next: 1, missing: 0 }]);
    assert_eq!(reader.on_time(3), [Gap { first_missing: 2, last_missing: 2 }]);
}

#[test]
fn a_producer_in_use_is_not_forgotten() {
    let mut reader = Reader::new(ContinuityOptions::new().producers_max(3));
    reader.checker.begin(ORDERS, 0, true);
    for sequence in 0..50 {
        assert_eq!(reader.on_time(sequence), [], "producer 1 is known and goes on");
        reader.read(100 + sequence as u32, 1, 0, false);
    }
    assert_eq!(reader.on_time(51), [Gap { first_missing: 50, last_missing: 50 }]);
}

#[test]
fn findings_that_nobody_takes_are_counted() {
    let mut checker = ContinuityChecker::new(ContinuityOptions::new().findings_max(2)).unwrap();
    checker.begin(ORDERS, 0, true);
    for at in 0..5 {
        checker.observe(ORDERS, at, Origin { producer: 1, epoch: 1, sequence: 2 * at + 1 }, false);
    }
    let report = checker.report();
    assert_eq!((report.findings.gaps, report.findings_dropped), (5, 3));
    let kept: Vec<_> = checker.take_findings().iter().map(|finding| finding.offset).collect();
    assert_eq!(kept, [0, 1]);
}

#[test]
fn the_largest_numbers_are_no_panic() {
    let mut reader = Reader::whole();
    reader.on_time(u64::MAX - 1);
    reader.on_time(u64::MAX);
    let first = Origin { producer: 1, epoch: 1, sequence: u64::MAX - 1 };
    reader.checker.observe_run(ORDERS, u64::MAX - 1, u32::MAX, first, false);
    let open = reader.checker.missing().next().unwrap();
    assert_eq!((open.first, open.last, open.numbers()), (0, u64::MAX - 2, u64::MAX - 1));
    reader.checker.resolve(&MissingRange { last: u64::MAX, ..open }, MissingReason::Unknown);
    assert_eq!(reader.checker.report().missing.lost(), u64::MAX - 1);
}

#[test]
fn bounds_of_nothing_are_refused() {
    for options in [
        ContinuityOptions::new().producers_max(0),
        ContinuityOptions::new().missing_ranges_max(0),
        ContinuityOptions::new().findings_max(usize::MAX),
    ] {
        assert!(matches!(ContinuityChecker::new(options), Err(Error::InvalidArgument { .. })));
    }
}
