//! Ways to make a good history bad, one class after another. Each says what must be found; one of them is
//! enough, because one wrong thing shows in several ways.

// All have one shape, and some insert events.
#![allow(clippy::ptr_arg)]

use super::model::{ORDERED, SHARED, TOPIC};
use super::random::Random;
use ringlane_proof::checker::Anomaly;
use ringlane_proof::checker::Anomaly::*;
use ringlane_proof::history::*;
use std::collections::{HashMap, HashSet};

/// A class: its name, what shows it, and how to do it. `false`: this history has no place for it.
pub struct Mutation(pub &'static str, pub &'static [Anomaly], pub fn(&mut Vec<Event>, &mut Random) -> bool);

pub const ALL: &[Mutation] = &[
    Mutation("the end of a partition is cut off", &[LostWrite, Unseen], cut_the_end),
    Mutation("a record is gone, the rest moves up", &[LostWrite, InconsistentOffset], remove_and_move_up),
    Mutation("two records change places", &[InconsistentOffset, Duplicate], swap_in_contents),
    Mutation("a record stands twice", &[Duplicate], stand_twice),
    Mutation("a record from nowhere", &[Unexpected], from_nowhere),
    Mutation("a receipt with another offset", &[Duplicate, InconsistentOffset, OffsetGap, LostWrite], other_offset),
    Mutation("two receipts of one client are exchanged", &[NonmonotonicSend, InconsistentOffset], exchange_receipts),
    Mutation("a poll leaves out its middle", &[InternalSkippedPoll], poll_without_middle),
    Mutation("a poll leaves out its beginning", &[SkippedPoll], poll_without_beginning),
    Mutation("a poll gives its end twice", &[InternalNonmonotonicPoll], poll_end_twice),
    Mutation("a poll goes back", &[NonmonotonicPoll], poll_twice),
    Mutation("a send that was read had failed", &[AbortedRead], failed_and_read),
    Mutation("a record that was read was cancelled", &[CancelledRead], cancelled_and_read),
    Mutation("a delayed record is early", &[EarlyRead], early),
    Mutation("a transaction that was read was rolled back", &[G1a], rolled_back_and_read),
    Mutation("a transaction that was read was never to be committed", &[ReadBeforeCommit], never_committed),
    Mutation("a transaction loses a record", &[TornTransaction, LostWrite, InconsistentOffset], tear),
    Mutation("a transaction is decided both ways", &[DecidedTwice], decide_twice),
    Mutation("a record is handed out twice at a time", &[TwoLeases], hand_out_twice),
    Mutation("an acknowledged record is handed out", &[DeliveredAfterAcknowledgement], hand_out_acknowledged),
    Mutation("a lost lease is accepted", &[StaleSettlement], accept_stale),
    Mutation("a delivery count goes back", &[DeliveryCountWentBack], count_back),
    Mutation("a group forgets a record", &[QueueLost], group_forgets),
    Mutation("a group has an acknowledged record again", &[Conservation], group_has_acknowledged),
    Mutation("an acknowledged position goes back", &[PositionWentBack], position_back),
    Mutation("a receipt is weaker than asked for", &[WeakReceipt], weak_receipt),
    Mutation("an acknowledged topic is gone", &[LostTopic], topic_gone),
];

/// Index of the last contents of each partition, with records in it.
fn last_contents(events: &[Event]) -> Vec<usize> {
    let mut last = HashMap::new();
    for (index, event) in events.iter().enumerate() {
        if let Event::World { happening: Happening::Contents { partition, records, .. }, .. } = event
            && !records.is_empty()
        {
            last.insert(*partition, index);
        }
    }
    let mut all: Vec<_> = last.into_values().collect();
    all.sort_unstable();
    all
}

fn contents_mut(event: &mut Event) -> &mut Vec<(u64, Value)> {
    match event {
        Event::World { happening: Happening::Contents { records, .. }, .. } => records,
        other => panic!("{other:?}"),
    }
}

fn happening_mut(event: &mut Event) -> Option<&mut Happening> {
    match event {
        Event::World { happening, .. } => Some(happening),
        _ => None,
    }
}

/// Invocation and completion of every call that came back with success.
fn done(events: &[Event]) -> Vec<(usize, usize)> {
    let mut invoked = HashMap::new();
    let mut done = Vec::new();
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Invoke { operation, .. } => drop(invoked.insert(*operation, index)),
            Event::Complete { operation, outcome: Outcome::Ok(_), .. } => done.push((invoked[operation], index)),
            _ => {}
        }
    }
    done
}

fn call(events: &[Event], index: usize) -> &Call {
    match &events[index] {
        Event::Invoke { call, .. } => call,
        other => panic!("{other:?}"),
    }
}

fn outcome_mut(events: &mut [Event], index: usize) -> &mut Outcome {
    match &mut events[index] {
        Event::Complete { outcome, .. } => outcome,
        other => panic!("{other:?}"),
    }
}

fn read_values(events: &[Event]) -> HashSet<Value> {
    let mut read = HashSet::new();
    for event in events {
        match event {
            Event::Complete { outcome: Outcome::Ok(Answer::Polled { reads, .. }), .. } => {
                read.extend(reads.iter().flat_map(|read| &read.records).map(|(_, value)| *value));
            }
            Event::World { happening: Happening::Contents { records, .. }, .. } => {
                read.extend(records.iter().map(|(_, value)| *value));
            }
            _ => {}
        }
    }
    read
}

/// Sends without delay or transaction that were acknowledged as durable: invocation, completion, value,
/// partition.
fn plain(events: &[Event]) -> Vec<(usize, usize, Value, u32)> {
    let of = |(invocation, completion)| match call(events, invocation) {
        Call::Send {
            partition: Some(partition),
            value,
            durability: Durability::Synced,
            visible_at_ms: None,
            transaction: None,
            ..
        } => Some((invocation, completion, *value, *partition)),
        _ => None,
    };
    done(events).into_iter().filter_map(of).collect()
}

fn cut_the_end(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let promised: HashSet<_> = plain(events).into_iter().map(|(.., value, _)| value).collect();
    let mut places = last_contents(events);
    places.retain(|index| contents_mut(&mut events[*index]).last().is_some_and(|(_, last)| promised.contains(last)));
    let Some(index) = random.pick(&places) else { return false };
    contents_mut(&mut events[*index]).pop();
    true
}

fn remove_and_move_up(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let promised: HashSet<_> = plain(events).into_iter().map(|(.., value, _)| value).collect();
    let Some(index) = random.pick(&last_contents(events)).copied() else { return false };
    let records = contents_mut(&mut events[index]);
    let places: Vec<_> = (0..records.len()).filter(|at| promised.contains(&records[*at].1)).collect();
    let Some(at) = random.pick(&places) else { return false };
    records.remove(*at);
    records[*at..].iter_mut().for_each(|record| record.0 -= 1);
    true
}

fn swap_in_contents(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let promised: HashSet<_> = plain(events).into_iter().map(|(.., value, _)| value).collect();
    let Some(index) = random.pick(&last_contents(events)).copied() else { return false };
    let records = contents_mut(&mut events[index]);
    let Some(at) = (1..records.len()).find(|at| promised.contains(&records[*at].1)) else { return false };
    (records[at].1, records[at - 1].1) = (records[at - 1].1, records[at].1);
    true
}

fn stand_twice(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some(index) = random.pick(&last_contents(events)).copied() else { return false };
    let records = contents_mut(&mut events[index]);
    let copy = (records.len() as u64, random.pick(records).expect("not empty").1);
    records.push(copy);
    // An offset that cannot be is another anomaly.
    let sends = events.iter().filter(|event| matches!(event, Event::Invoke { call: Call::Send { .. }, .. })).count();
    copy.0 < sends as u64
}

fn from_nowhere(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some(index) = random.pick(&last_contents(events)).copied() else { return false };
    let records = contents_mut(&mut events[index]);
    let next = records.len() as u64;
    records.push((next, 1 << 40));
    true
}

fn other_offset(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some((_, completion, ..)) = random.pick(&plain(events)).copied() else { return false };
    let Outcome::Ok(Answer::Receipt { offset: Some(offset), .. }) = outcome_mut(events, completion) else {
        return false;
    };
    *offset += 1;
    true
}

fn exchange_receipts(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let process = |index: usize| match &events[index] {
        Event::Invoke { process, .. } => *process,
        other => panic!("{other:?}"),
    };
    let sends = plain(events);
    let Some((one, first, _, partition)) = random.pick(&sends).copied() else { return false };
    let others: Vec<_> = sends
        .iter()
        .filter(|(other, .., place)| *other != one && *place == partition && process(*other) == process(one))
        .collect();
    let Some((_, second, ..)) = random.pick(&others).copied().copied() else { return false };
    let kept = outcome_mut(events, first).clone();
    let other = std::mem::replace(outcome_mut(events, second), kept);
    *outcome_mut(events, first) = other;
    true
}

/// A poll with at least so many records of one partition.
fn poll_of(events: &mut [Event], random: &mut Random, count: usize) -> Option<(usize, usize)> {
    let mut found = Vec::new();
    for (index, event) in events.iter().enumerate() {
        if let Event::Complete { outcome: Outcome::Ok(Answer::Polled { reads, .. }), .. } = event {
            found.extend((0..reads.len()).filter(|at| reads[*at].records.len() >= count).map(|at| (index, at)));
        }
    }
    random.pick(&found).copied()
}

fn records_of_poll(events: &mut [Event], (index, at): (usize, usize)) -> &mut Vec<(u64, Value)> {
    match outcome_mut(events, index) {
        Outcome::Ok(Answer::Polled { reads, .. }) => &mut reads[at].records,
        other => panic!("{other:?}"),
    }
}

fn poll_without_middle(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some(poll) = poll_of(events, random, 3) else { return false };
    records_of_poll(events, poll).remove(1);
    true
}

fn poll_without_beginning(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some(poll) = poll_of(events, random, 2) else { return false };
    records_of_poll(events, poll).remove(0);
    true
}

fn poll_end_twice(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some(poll) = poll_of(events, random, 1) else { return false };
    let records = records_of_poll(events, poll);
    records.push(*records.last().expect("not empty"));
    true
}

fn poll_twice(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some((index, _)) = poll_of(events, random, 1) else { return false };
    let Event::Complete { operation, at_ns, outcome } = events[index].clone() else { unreachable!() };
    let invocation = done(events).iter().find(|(_, completion)| *completion == index).expect("paired").0;
    let Event::Invoke { process, call, .. } = events[invocation].clone() else { unreachable!() };
    let operation = operation + (1 << 40);
    events.insert(index + 1, Event::Invoke { at_ns, operation, process, call });
    events.insert(index + 2, Event::Complete { at_ns, operation, outcome });
    true
}

fn failed_and_read(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let read = read_values(events);
    let mut sends = plain(events);
    sends.retain(|(.., value, _)| read.contains(value));
    let Some((_, completion, ..)) = random.pick(&sends).copied() else { return false };
    *outcome_mut(events, completion) = Outcome::Failed { code: "refused".to_owned() };
    true
}

fn cancelled_and_read(events: &mut Vec<Event>, _: &mut Random) -> bool {
    let read = read_values(events);
    let mut cancels = HashMap::new();
    for event in events {
        match event {
            Event::Invoke { operation, call: Call::Cancel { value }, .. } if read.contains(value) => {
                cancels.insert(*operation, *value);
            }
            Event::Complete { operation, outcome, .. } if cancels.contains_key(operation) => {
                *outcome = Outcome::done();
                return true;
            }
            _ => {}
        }
    }
    false
}

fn early(events: &mut Vec<Event>, _: &mut Random) -> bool {
    let mut due = HashMap::new();
    for event in events {
        match event {
            Event::Invoke { call: Call::Send { value, visible_at_ms: Some(due_ms), .. }, .. } => {
                due.insert(*value, *due_ms);
            }
            Event::World { happening: Happening::Contents { records, wall_ms, .. }, .. } => {
                if let Some(due_ms) = records.iter().find_map(|(_, value)| due.get(value)) {
                    *wall_ms = Some(due_ms - 1);
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// A commit that was acknowledged, of a transaction that was read.
fn commit_that_was_read(events: &[Event], random: &mut Random) -> Option<(usize, TransactionNumber)> {
    let read = read_values(events);
    let mut seen = HashSet::new();
    for event in events {
        if let Event::Invoke { call: Call::Send { value, transaction: Some(transaction), .. }, .. } = event
            && read.contains(value)
        {
            seen.insert(*transaction);
        }
    }
    let of = |(invocation, _)| match call(events, invocation) {
        Call::Commit { transaction } if seen.contains(transaction) => Some((invocation, *transaction)),
        _ => None,
    };
    let commits: Vec<_> = done(events).into_iter().filter_map(of).collect();
    random.pick(&commits).copied()
}

fn rolled_back_and_read(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some((invocation, number)) = commit_that_was_read(events, random) else { return false };
    let Event::Invoke { call, .. } = &mut events[invocation] else { unreachable!() };
    *call = Call::RollBack { transaction: number };
    true
}

fn never_committed(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some((invocation, number)) = commit_that_was_read(events, random) else { return false };
    let Event::Invoke { call, .. } = &mut events[invocation] else { unreachable!() };
    *call = Call::Prepare { transaction: number };
    true
}

fn tear(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let mut owner = HashMap::new();
    let mut sizes: HashMap<TransactionNumber, usize> = HashMap::new();
    for event in events.iter() {
        if let Event::Invoke { call: Call::Send { value, transaction: Some(number), .. }, .. } = event {
            owner.insert(*value, *number);
            *sizes.entry(*number).or_default() += 1;
        }
    }
    let Some((_, number)) = commit_that_was_read(events, random) else { return false };
    if sizes[&number] < 2 {
        return false;
    }
    // Gone from every listing: as if it had never been there.
    let read = read_values(events);
    let mut of_it: Vec<_> = read.into_iter().filter(|value| owner.get(value) == Some(&number)).collect();
    of_it.sort_unstable();
    let Some(gone) = random.pick(&of_it).copied() else { return false };
    for event in events {
        if let Some(Happening::Contents { records, .. }) = happening_mut(event)
            && let Some(at) = records.iter().position(|(_, value)| *value == gone)
        {
            records.remove(at);
            records[at..].iter_mut().for_each(|record| record.0 -= 1);
        }
    }
    true
}

fn decide_twice(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some((_, transaction)) = commit_that_was_read(events, random) else { return false };
    let (at_ns, operation) = (0, 1 << 41);
    events.push(Event::Invoke { at_ns, operation, process: 99, call: Call::RollBack { transaction } });
    events.push(Event::Complete { at_ns, operation, outcome: Outcome::done() });
    true
}

/// A take that gave something.
fn take_of(events: &[Event], random: &mut Random) -> Option<(usize, Delivery, Option<i64>)> {
    let mut latest_ms = None;
    let of = |(index, event): (usize, &Event)| match event {
        Event::Complete { outcome: Outcome::Ok(Answer::Taken { deliveries, wall_ms }), .. } => {
            latest_ms = latest_ms.max(*wall_ms);
            // Reported so late that the lease may be over: nothing would be certain.
            let delivery = deliveries.first().filter(|delivery| delivery.until_ms > latest_ms)?;
            Some((index, *delivery, *wall_ms))
        }
        _ => None,
    };
    let takes: Vec<_> = events.iter().enumerate().filter_map(of).collect();
    random.pick(&takes).copied()
}

fn insert_take(events: &mut Vec<Event>, at: usize, delivery: Delivery, wall_ms: Option<i64>) {
    let (at_ns, operation) = (0, 1 << 42);
    let call = Call::Take { group: SHARED, member: 98 };
    events.insert(at, Event::Invoke { at_ns, operation, process: 98, call });
    let outcome = Outcome::Ok(Answer::Taken { deliveries: vec![delivery], wall_ms });
    events.insert(at + 1, Event::Complete { at_ns, operation, outcome });
}

fn hand_out_twice(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some((index, mut delivery, wall_ms)) = take_of(events, random) else { return false };
    delivery.lease = 1 << 40;
    delivery.delivery_count += 1;
    insert_take(events, index + 1, delivery, wall_ms);
    true
}

/// Completed settlings of one kind: their completions and what the lease was.
fn settled(events: &[Event], which: fn(&Settling) -> bool) -> Vec<(usize, Delivery)> {
    let mut leases = HashMap::new();
    for event in events {
        if let Event::Complete { outcome: Outcome::Ok(Answer::Taken { deliveries, .. }), .. } = event {
            leases.extend(deliveries.iter().map(|delivery| (delivery.lease, *delivery)));
        }
    }
    let of = |(invocation, completion)| match call(events, invocation) {
        Call::Settle { lease, settling, .. } if which(settling) => Some((completion, leases[lease])),
        _ => None,
    };
    done(events).into_iter().filter_map(of).collect()
}

fn hand_out_acknowledged(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let settled = settled(events, |settling| *settling == Settling::Acknowledge);
    let Some((completion, mut delivery)) = random.pick(&settled).copied() else { return false };
    delivery.lease = 1 << 40;
    delivery.delivery_count += 1;
    insert_take(events, completion + 1, delivery, Some(0));
    true
}

fn accept_stale(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let settled = settled(events, |settling| matches!(settling, Settling::Nack { .. } | Settling::Release));
    let Some((completion, delivery)) = random.pick(&settled).copied() else { return false };
    let (at_ns, operation) = (0, 1 << 43);
    let settling = Settling::Acknowledge;
    let call = Call::Settle { group: SHARED, lease: delivery.lease, settling, transaction: None };
    events.insert(completion + 1, Event::Invoke { at_ns, operation, process: 98, call });
    events.insert(completion + 2, Event::Complete { at_ns, operation, outcome: Outcome::done() });
    true
}

fn count_back(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let settled = settled(events, |settling| matches!(settling, Settling::Nack { .. }));
    let Some((completion, mut delivery)) = random.pick(&settled).copied() else { return false };
    delivery.lease = 1 << 40;
    insert_take(events, completion + 1, delivery, Some(0));
    true
}

/// The last listing of the group.
fn group_contents(events: &mut [Event]) -> Option<(&mut Vec<Value>, &mut Vec<Value>)> {
    events.iter_mut().rev().find_map(|event| match happening_mut(event) {
        Some(Happening::GroupContents { pending, dead_lettered, .. }) => Some((pending, dead_lettered)),
        _ => None,
    })
}

fn group_forgets(events: &mut Vec<Event>, _: &mut Random) -> bool {
    let mut asked = HashSet::new();
    for (_, delivery) in settled(events, |_| true) {
        asked.insert(delivery.placed.value);
    }
    let unanswered =
        events.iter().any(|event| matches!(event, Event::World { happening: Happening::Crash { .. }, .. }));
    let Some((pending, _)) = group_contents(events) else { return false };
    // Of an acknowledgement that did not come back nobody knows.
    let Some(at) = pending.iter().position(|value| !asked.contains(value)).filter(|_| !unanswered) else {
        return false;
    };
    pending.remove(at);
    true
}

fn group_has_acknowledged(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let settled = settled(events, |settling| *settling == Settling::Acknowledge);
    let Some((_, delivery)) = random.pick(&settled).copied() else { return false };
    let Some((pending, _)) = group_contents(events) else { return false };
    pending.push(delivery.placed.value);
    true
}

fn position_back(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let of = |(invocation, completion)| match call(events, invocation) {
        Call::AcknowledgePosition { position, .. } if *position > 0 => Some((completion, *position)),
        _ => None,
    };
    let acknowledged: Vec<_> = done(events).into_iter().filter_map(of).collect();
    let Some((completion, position)) = random.pick(&acknowledged).copied() else { return false };
    let (at_ns, operation) = (0, 1 << 44);
    let call = Call::AcknowledgedPosition { group: ORDERED, topic: TOPIC, partition: 1 };
    let outcome = Outcome::Ok(Answer::Position { offset: position - 1 });
    events.insert(completion + 1, Event::Invoke { at_ns, operation, process: 97, call });
    events.insert(completion + 2, Event::Complete { at_ns, operation, outcome });
    true
}

fn weak_receipt(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let Some((_, completion, ..)) = random.pick(&plain(events)).copied() else { return false };
    let Outcome::Ok(Answer::Receipt { durability, .. }) = outcome_mut(events, completion) else { return false };
    *durability = Durability::Buffered;
    true
}

fn topic_gone(events: &mut Vec<Event>, random: &mut Random) -> bool {
    let at = 2 + random.below(events.len() - 1);
    events.insert(at, Event::World { at_ns: 0, happening: Happening::TopicMissing { topic: TOPIC } });
    true
}
