//! Histories as EDN, in the form of Jepsen's Kafka workload (`jepsen.tests.kafka`), one operation a line:
//! so that a checker that we did not write can judge the same history.
//!
//! ```text
//! {:index 4, :time 120, :type :invoke, :process 2, :f :send, :value [[:send 0 17]]}
//! {:index 5, :time 180, :type :ok, :process 2, :f :send, :value [[:send 0 [3 17]]]}
//! {:index 6, :time 190, :type :invoke, :process 3, :f :poll, :value [[:poll]]}
//! {:index 7, :time 200, :type :ok, :process 3, :f :poll, :value [[:poll {0 [[3 17]]}]]}
//! ```
//!
//! What our histories say that those cannot say is translated, never towards a false alarm:
//!
//! - A topic and partition is an integer key, in the order of their first mention.
//! - There, a process has one operation at a time, sends in offset order, and reads on where it read
//!   before. So overlapping calls of a client get processes of their own, and so do each delayed send,
//!   each assignment or seek (with all keys that are assigned then), and each transaction.
//! - A transaction is one `:txn` from its begin to its decision. One that was never decided is `:info`.
//! - An acknowledged send without a crash-proof offset (buffered, withheld) has no offset; a buffered one
//!   is `:info`, for its acknowledgement promises nothing across a crash. A cancelled one is `:fail`.
//! - The contents of a partition are an `:assign` with `:seek-to-beginning?` and a `:poll` of a new process.
//! - A crash ends operations that go on as `:info`, and with them their processes.
//! - Groups, leases, topics and the clock are left out.

use super::{Answer, Call, Durability, Event, Happening, History, Outcome, Placed, Read, TopicNumber, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{self, Write};

impl History {
    /// Writes the history in the form of Jepsen's Kafka workload.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write_edn(&self, mut output: impl Write) -> io::Result<()> {
        let mut export = Export { known: Known::new(self), ..Export::default() };
        for event in self.events() {
            export.event(event);
            export.drain(&mut output)?;
        }
        export.end();
        export.drain(&mut output)?;
        output.flush()
    }
}

/// A partition's integer.
type Key = usize;

/// What later events say of earlier ones.
#[derive(Default)]
struct Known {
    /// Where a record was sent to, if anybody ever learned it.
    partitions: HashMap<Value, (TopicNumber, u32)>,
    cancelled: HashSet<Value>,
    /// Records that were sent more than once.
    repeated: HashSet<Value>,
    transactions: HashMap<u64, Transaction>,
}

/// A transaction as one operation.
#[derive(Clone, Default)]
struct Transaction {
    sends: Vec<Value>,
    polls: Vec<Vec<Read>>,
    offsets: HashMap<Value, u64>,
    committed: bool,
    rolled_back: bool,
}

impl Known {
    fn new(history: &History) -> Known {
        let mut known = Known::default();
        let mut calls = HashMap::new();
        for event in history.events() {
            match event {
                Event::Invoke { operation, call, .. } => {
                    calls.insert(*operation, call);
                    if let Call::Send { topic, partition, value, transaction, .. } = call {
                        if let Some(partition) = partition {
                            known.partitions.insert(*value, (*topic, *partition));
                        }
                        if let Some(transaction) = transaction {
                            known.transactions.entry(*transaction).or_default().sends.push(*value);
                        }
                    }
                    if let Call::Repeat { value, .. } = call {
                        known.repeated.insert(*value);
                    }
                }
                Event::Complete { operation, outcome: Outcome::Ok(answer), .. } => {
                    if let Some(call) = calls.get(operation) {
                        known.answered(call, answer);
                    }
                }
                Event::Complete { .. } => {}
                Event::World { happening, .. } => {
                    if let Happening::Contents { topic, partition, records, .. } = happening {
                        known.read(*topic, *partition, records);
                    }
                }
            }
        }
        known
    }

    fn answered(&mut self, call: &Call, answer: &Answer) {
        match (call, answer) {
            (Call::Send { topic, value, .. }, Answer::Receipt { partition, .. }) => {
                self.partitions.entry(*value).or_insert((*topic, *partition));
            }
            (Call::Cancel { value }, _) => drop(self.cancelled.insert(*value)),
            (Call::Poll { transaction }, Answer::Polled { reads, .. }) => {
                for read in reads {
                    self.read(read.topic, read.partition, &read.records);
                }
                if let Some(transaction) = transaction {
                    self.transactions.entry(*transaction).or_default().polls.push(reads.clone());
                }
            }
            (Call::Commit { transaction }, answer) => {
                let transaction = self.transactions.entry(*transaction).or_default();
                transaction.committed = true;
                if let Answer::Committed { placed } = answer {
                    transaction.offsets.extend(placed.iter().map(|Placed { offset, value, .. }| (*value, *offset)));
                }
            }
            (Call::RollBack { transaction }, _) => {
                self.transactions.entry(*transaction).or_default().rolled_back = true;
            }
            _ => {}
        }
    }

    fn read(&mut self, topic: TopicNumber, partition: u32, records: &[(u64, Value)]) {
        for (_, value) in records {
            self.partitions.entry(*value).or_insert((topic, partition));
        }
    }
}

/// An operation that goes on.
#[derive(Clone)]
struct Open {
    process: u32,
    /// The client whose sends this process may go on with.
    sender: Option<u32>,
    f: &'static str,
    value: String,
}

#[derive(Default)]
struct Export {
    known: Known,
    keys: HashMap<(TopicNumber, u32), Key>,
    /// By the operation's number; transactions by theirs.
    open: BTreeMap<u64, (Open, Call)>,
    transactions: BTreeMap<u64, Open>,
    /// Idle processes of a client's sends.
    idle: HashMap<u32, Vec<u32>>,
    /// A client's reading process and the keys that are assigned to it.
    readers: HashMap<u32, (u32, Vec<Key>)>,
    next_process: u32,
    next_index: usize,
    now_ns: u64,
    lines: String,
}

impl Export {
    fn drain(&mut self, output: &mut impl Write) -> io::Result<()> {
        output.write_all(self.lines.as_bytes())?;
        self.lines.clear();
        Ok(())
    }

    fn line(&mut self, kind: &str, open: &Open, value: &str) {
        let (index, time, Open { process, f, .. }) = (self.next_index, self.now_ns, open);
        self.next_index += 1;
        writeln!(
            self.lines,
            "{{:index {index}, :time {time}, :type :{kind}, :process {process}, :f :{f}, :value {value}}}"
        )
        .expect("a String takes everything");
    }

    fn fresh(&mut self) -> u32 {
        self.next_process += 1;
        self.next_process - 1
    }

    fn key(&mut self, topic: TopicNumber, partition: u32) -> Key {
        let next = self.keys.len();
        *self.keys.entry((topic, partition)).or_insert(next)
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Invoke { at_ns, operation, process, call } => {
                self.now_ns = *at_ns;
                self.invoked(*operation, *process, call);
            }
            Event::Complete { at_ns, operation, outcome } => {
                self.now_ns = *at_ns;
                if let Some((open, call)) = self.open.remove(operation) {
                    self.completed(open, &call, outcome);
                }
            }
            Event::World { at_ns, happening } => {
                self.now_ns = *at_ns;
                match happening {
                    Happening::Crash { .. } => self.crashed(),
                    Happening::Contents { topic, partition, records, .. } => {
                        self.contents(*topic, *partition, records);
                    }
                    _ => {}
                }
            }
        }
    }

    fn begin(&mut self, operation: u64, open: Open, call: &Call) {
        self.line("invoke", &open, &open.value);
        self.open.insert(operation, (open, call.clone()));
    }

    fn invoked(&mut self, operation: u64, client: u32, call: &Call) {
        match call {
            Call::Begin { transaction } | Call::Send { transaction: Some(transaction), .. } => {
                self.transaction_begins(*transaction);
            }
            Call::Commit { .. } | Call::RollBack { .. } => {
                let open = Open { process: 0, sender: None, f: "", value: String::new() };
                self.open.insert(operation, (open, call.clone()));
            }
            Call::Send { value, visible_at_ms, transaction: None, .. } => {
                // Nobody ever learned where it went: nobody can miss it.
                let Some(place) = self.known.partitions.get(value).copied() else { return };
                let key = self.key(place.0, place.1);
                let sender = visible_at_ms.is_none().then_some(client);
                let idle = sender.and_then(|client| self.idle.get_mut(&client)?.pop());
                let process = idle.unwrap_or_else(|| self.fresh());
                let value = format!("[[:send {key} {value}]]");
                self.begin(operation, Open { process, sender, f: "send", value }, call);
            }
            Call::Assign { topic, partition, .. } | Call::Seek { topic, partition, .. } => {
                let key = self.key(*topic, *partition);
                self.assign(client, |keys| {
                    if !keys.contains(&key) {
                        keys.push(key);
                    }
                });
            }
            Call::Unassign { topic, partition } => {
                let key = self.key(*topic, *partition);
                self.assign(client, |keys| keys.retain(|other| *other != key));
            }
            Call::Poll { transaction: None } => {
                if let Some((process, _)) = self.readers.get(&client) {
                    let open = Open { process: *process, sender: None, f: "poll", value: "[[:poll]]".to_owned() };
                    self.begin(operation, open, call);
                }
            }
            _ => {}
        }
    }

    /// A client reads other keys, or other places, from now on: as another process.
    fn assign(&mut self, client: u32, change: impl FnOnce(&mut Vec<Key>)) {
        let process = self.fresh();
        let (_, mut keys) = self.readers.remove(&client).unwrap_or_default();
        change(&mut keys);
        let value = format!("{keys:?}").replace(", ", " ");
        let open = Open { process, sender: None, f: "assign", value };
        self.line("invoke", &open, &open.value);
        self.line("ok", &open, &open.value);
        self.readers.insert(client, (process, keys));
    }

    fn completed(&mut self, open: Open, call: &Call, outcome: &Outcome) {
        match (call, outcome) {
            (Call::Send { value, .. }, Outcome::Ok(answer)) => self.sent(open, *value, answer),
            (Call::Poll { .. }, Outcome::Ok(Answer::Polled { reads, .. })) => {
                let value = format!("[[:poll {}]]", self.polled(reads));
                self.line("ok", &open, &value);
            }
            (Call::Commit { transaction } | Call::RollBack { transaction }, Outcome::Ok(_)) => {
                self.transaction_ends(*transaction);
            }
            (Call::Commit { .. } | Call::RollBack { .. }, _) => {}
            // It was sent once more, and may be there: that one operation stands for all.
            (Call::Send { value, .. }, _) if self.known.repeated.contains(value) => {
                self.line("info", &open, &open.value);
            }
            (_, Outcome::Failed { .. }) => {
                self.line("fail", &open, &open.value);
                self.is_idle(&open);
            }
            (_, _) => self.line("info", &open, &open.value),
        }
    }

    fn is_idle(&mut self, open: &Open) {
        if let Some(client) = open.sender {
            self.idle.entry(client).or_default().push(open.process);
        }
    }

    fn sent(&mut self, open: Open, value: Value, answer: &Answer) {
        let Some(place) = self.known.partitions.get(&value).copied() else { return };
        let key = self.key(place.0, place.1);
        let (offset, durability) = match answer {
            Answer::Receipt { offset, durability, .. } => (*offset, *durability),
            _ => (None, Durability::Synced),
        };
        let offset = offset.filter(|_| durability == Durability::Synced);
        let answer = format!("[[:send {key} {}]]", pair(offset, value));
        if self.known.cancelled.contains(&value) {
            self.line("fail", &open, &open.value);
            self.is_idle(&open);
        } else if durability == Durability::Synced {
            self.line("ok", &open, &answer);
            self.is_idle(&open);
        } else {
            self.line("info", &open, &answer);
        }
    }

    fn polled(&mut self, reads: &[Read]) -> String {
        let mut by_key: BTreeMap<Key, Vec<String>> = BTreeMap::new();
        for read in reads.iter().filter(|read| !read.records.is_empty()) {
            let key = self.key(read.topic, read.partition);
            let pairs = read.records.iter().map(|(offset, value)| pair(Some(*offset), *value));
            by_key.entry(key).or_default().extend(pairs);
        }
        let keys: Vec<_> = by_key.iter().map(|(key, pairs)| format!("{key} [{}]", pairs.join(" "))).collect();
        format!("{{{}}}", keys.join(", "))
    }

    fn transaction_begins(&mut self, number: u64) {
        if self.transactions.contains_key(&number) {
            return;
        }
        let Some(transaction) = self.known.transactions.get(&number).cloned() else { return };
        let value = self.transaction(&transaction, false);
        let open = Open { process: self.fresh(), sender: None, f: "txn", value };
        self.line("invoke", &open, &open.value);
        self.transactions.insert(number, open);
    }

    fn transaction(&mut self, transaction: &Transaction, done: bool) -> String {
        let mut operations = Vec::new();
        for reads in &transaction.polls {
            operations.push(if done { format!("[:poll {}]", self.polled(reads)) } else { "[:poll]".to_owned() });
        }
        for value in &transaction.sends {
            let Some(place) = self.known.partitions.get(value).copied() else { continue };
            let key = self.key(place.0, place.1);
            let offset = transaction.offsets.get(value).copied();
            let value = if done { pair(offset, *value) } else { value.to_string() };
            operations.push(format!("[:send {key} {value}]"));
        }
        format!("[{}]", operations.join(" "))
    }

    /// A decision was acknowledged. The first one that counts ends the operation.
    fn transaction_ends(&mut self, number: u64) {
        let Some(transaction) = self.known.transactions.get(&number).cloned() else { return };
        let Some(open) = self.transactions.get(&number).filter(|open| !open.f.is_empty()).cloned() else { return };
        if transaction.committed {
            let value = self.transaction(&transaction, true);
            self.line("ok", &open, &value);
        } else if transaction.rolled_back {
            self.line("fail", &open, &open.value);
        }
        // Named again it is still the same one, and has ended.
        self.transactions.insert(number, Open { f: "", ..open });
    }

    fn crashed(&mut self) {
        for (_, (open, _)) in std::mem::take(&mut self.open) {
            if !open.f.is_empty() {
                self.line("info", &open, &open.value);
            }
        }
        self.idle.clear();
        self.readers.clear();
    }

    fn contents(&mut self, topic: TopicNumber, partition: u32, records: &[(u64, Value)]) {
        let key = self.key(topic, partition);
        let process = self.fresh();
        let value = format!("[{key}], :seek-to-beginning? true");
        let open = Open { process, sender: None, f: "assign", value };
        self.line("invoke", &open, &open.value);
        self.line("ok", &open, &open.value);
        let open = Open { process, sender: None, f: "poll", value: "[[:poll]]".to_owned() };
        self.line("invoke", &open, &open.value);
        let read = Read { topic, partition, records: records.to_vec() };
        let value = format!("[[:poll {}]]", self.polled(&[read]));
        self.line("ok", &open, &value);
    }

    fn end(&mut self) {
        self.crashed();
        for (_, open) in std::mem::take(&mut self.transactions) {
            if !open.f.is_empty() {
                self.line("info", &open, &open.value);
            }
        }
    }
}

fn pair(offset: Option<u64>, value: Value) -> String {
    match offset {
        Some(offset) => format!("[{offset} {value}]"),
        None => format!("[nil {value}]"),
    }
}
