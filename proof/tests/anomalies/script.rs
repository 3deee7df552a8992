//! Writing histories by hand, a line for each thing that happens.

use ringlane_proof::history::*;

/// A history that is being written. Topic 0 has partitions 0 and 1; group 9 has its dead letters in topic 1.
pub struct Script {
    pub history: History,
    now: u64,
}

pub const GROUP: GroupNumber = 9;

impl Script {
    pub fn new() -> Script {
        let mut script = Script { history: History::new(), now: 0 };
        script.done(0, Call::CreateTopic { topic: 0, partitions: 2, dead_letters_of: None });
        script.done(0, Call::CreateTopic { topic: 1, partitions: 1, dead_letters_of: Some(GROUP) });
        script
    }

    pub fn now(&mut self) -> u64 {
        self.now += 10;
        self.now
    }

    pub fn call(&mut self, process: u32, call: Call) -> u64 {
        let now = self.now();
        self.history.invoke(now, process, call)
    }

    pub fn end(&mut self, operation: u64, outcome: Outcome) {
        let now = self.now();
        self.history.complete(now, operation, outcome);
    }

    pub fn happen(&mut self, happening: Happening) {
        let now = self.now();
        self.history.happen(now, happening);
    }

    pub fn done(&mut self, process: u32, call: Call) {
        let operation = self.call(process, call);
        self.end(operation, Outcome::done());
    }

    pub fn refused(&mut self, process: u32, call: Call) {
        let operation = self.call(process, call);
        self.end(operation, failed());
    }

    /// Sent to a partition, acknowledged as durable at an offset.
    pub fn sent(&mut self, process: u32, partition: u32, value: Value, offset: u64) {
        let operation = self.call(process, send(partition, value));
        self.end(operation, receipt(partition, Some(offset), Durability::Synced));
    }

    /// Acknowledged, and perhaps not durable yet.
    pub fn buffered(&mut self, process: u32, partition: u32, value: Value, offset: u64) {
        let mut call = send(partition, value);
        let Call::Send { durability, .. } = &mut call else { unreachable!() };
        *durability = Durability::Buffered;
        let operation = self.call(process, call);
        self.end(operation, receipt(partition, Some(offset), Durability::Buffered));
    }

    /// Acknowledged as durable and withheld.
    pub fn delayed(&mut self, process: u32, partition: u32, value: Value, due_ms: i64) {
        let mut call = send(partition, value);
        let Call::Send { visible_at_ms, .. } = &mut call else { unreachable!() };
        *visible_at_ms = Some(due_ms);
        let operation = self.call(process, call);
        self.end(operation, receipt(partition, None, Durability::Synced));
    }

    /// Sent in a transaction.
    pub fn sent_in(&mut self, process: u32, transaction: u64, partition: u32, value: Value) {
        let mut call = send(partition, value);
        let Call::Send { transaction: of, .. } = &mut call else { unreachable!() };
        *of = Some(transaction);
        let operation = self.call(process, call);
        self.end(operation, receipt(partition, None, Durability::Synced));
    }

    /// A transaction of one process, with its records, committed.
    pub fn transaction(&mut self, process: u32, transaction: u64, records: &[(u32, Value)]) {
        self.done(process, Call::Begin { transaction });
        for (partition, value) in records {
            self.sent_in(process, transaction, *partition, *value);
        }
        self.done(process, Call::Commit { transaction });
    }

    pub fn assign(&mut self, process: u32, partition: u32) {
        self.done(process, Call::Assign { topic: 0, partition, from: From::Beginning });
    }

    pub fn poll(&mut self, process: u32, reads: &[(u32, &[(u64, Value)])]) {
        self.poll_at(process, reads, None);
    }

    pub fn poll_at(&mut self, process: u32, reads: &[(u32, &[(u64, Value)])], wall_ms: Option<i64>) {
        let operation = self.call(process, Call::Poll { transaction: None });
        self.end(operation, polled(reads, wall_ms));
    }

    pub fn contents(&mut self, partition: u32, records: &[(u64, Value)]) {
        self.contents_of(0, partition, records);
    }

    pub fn contents_of(&mut self, topic: TopicNumber, partition: u32, records: &[(u64, Value)]) {
        let records = records.to_vec();
        self.happen(Happening::Contents { topic, partition, first_offset: 0, records, wall_ms: None });
    }

    /// Everything in a partition, which begins at an offset.
    pub fn begins_at(&mut self, partition: u32, first_offset: u64, records: &[(u64, Value)]) {
        let records = records.to_vec();
        self.happen(Happening::Contents { topic: 0, partition, first_offset, records, wall_ms: None });
    }

    /// What somebody was shown who looks from outside.
    pub fn shown(&mut self, partition: u32, records: &[(u64, Value)]) {
        let records = records.to_vec();
        self.happen(Happening::Shown { topic: 0, partition, first_offset: 0, records, wall_ms: None });
    }

    pub fn crash(&mut self) {
        self.happen(Happening::Crash { kind: CrashKind::PowerLoss, keeps: Durability::Synced });
        self.happen(Happening::Reopened);
    }

    pub fn settled(&mut self) {
        self.happen(Happening::Settled { wall_ms: 1_000_000 });
    }

    pub fn take(&mut self, member: u32, deliveries: &[Delivery]) {
        let operation = self.call(member, Call::Take { group: GROUP, member });
        self.end(operation, Outcome::Ok(Answer::Taken { deliveries: deliveries.to_vec(), wall_ms: Some(100) }));
    }

    pub fn settle(&mut self, member: u32, lease: LeaseNumber, settling: Settling) {
        self.done(member, Call::Settle { group: GROUP, lease, settling, transaction: None });
    }

    pub fn group_contents(&mut self, pending: &[Value], dead_lettered: &[Value]) {
        self.happen(Happening::GroupContents {
            group: GROUP,
            topic: 0,
            partition: 0,
            first_offset: 0,
            pending: pending.to_vec(),
            dead_lettered: dead_lettered.to_vec(),
        });
    }
}

pub fn send(partition: u32, value: Value) -> Call {
    Call::Send {
        topic: 0,
        partition: Some(partition),
        value,
        durability: Durability::Synced,
        visible_at_ms: None,
        transaction: None,
        by: None,
    }
}

pub fn receipt(partition: u32, offset: Option<u64>, durability: Durability) -> Outcome {
    Outcome::Ok(Answer::Receipt { partition, offset, durability, numbered: None })
}

pub fn polled(reads: &[(u32, &[(u64, Value)])], wall_ms: Option<i64>) -> Outcome {
    let read = |(partition, records): &(u32, &[(u64, Value)])| Read {
        topic: 0,
        partition: *partition,
        records: records.to_vec(),
    };
    Outcome::Ok(Answer::Polled { reads: reads.iter().map(read).collect(), wall_ms })
}

pub fn failed() -> Outcome {
    Outcome::Failed { code: "refused".to_owned() }
}

/// Record `value` of partition 0 at the offset of its number, under a lease until 1,000 ms.
pub fn delivery(value: Value, lease: LeaseNumber, delivery_count: u32) -> Delivery {
    let placed = Placed { topic: 0, partition: 0, offset: value, value };
    Delivery { placed, lease, delivery_count, until_ms: Some(1000), lease_ms: None }
}
