//! A process that takes orders, in every way that the pattern allows; and whether orders and messages agree.

use super::common::{values, wait_until};
use super::database::{Database, Order, insert};
use super::killing::{Break, Heard, Life, Verdict, open};
use ringlane::{
    CheckAnswer, CheckerOptions, Engine, HalfTransaction, LocalOutcome, Producer, ProducerOptions, Record, Topic,
    TopicOptions, Transaction, TransactionOptions, TransactionState,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where a process may be killed.
pub(super) const STEPS: [&str; 6] =
    ["before-prepare", "after-prepare", "in-database", "after-database", "after-message", "left-undecided"];

/// What a process may do wrong.
pub(super) const BREAKS: [Break; 5] = [
    ("message-without-order", "after-message", "has no order"),
    ("order-without-message", "after-message", "is not there"),
    ("message-twice", "after-message", "is there 2 times"),
    ("answer-without-order", "after-message", "was answered as taken"),
    ("checker-lies", "left-undecided", "is not there"),
];

const CHECKER: &str = "orders";
/// Most messages of an order.
const MESSAGES_MAX: u32 = 5;

/// How a process takes an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The explicit form.
    Explicit { takes: bool },
    /// [`Producer::send_in_transaction`].
    InOneCall { takes: bool },
    /// The database knows, and nobody tells the engine.
    LostAnswer { takes: bool },
    /// Whether it is taken is decided in the database, later.
    Pending,
    /// Its handle is dropped after the database committed.
    Dropped,
    /// Likewise, and then it is decided by its id, in the same way as its checker decides it at the same time.
    DecidedById,
}

/// In turn.
const WAYS: [Way; 10] = [
    Way::Explicit { takes: true },
    Way::InOneCall { takes: true },
    Way::Explicit { takes: false },
    Way::LostAnswer { takes: true },
    Way::Pending,
    Way::Explicit { takes: true },
    Way::InOneCall { takes: false },
    Way::LostAnswer { takes: false },
    Way::Dropped,
    Way::DecidedById,
];

/// Takes orders until it is killed.
pub(super) fn live(life: Life) {
    let (engine, life) = (life.engine(), Arc::new(life));
    register_checker(&engine, life.clone());
    let topic = topic(&engine);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let database = Database::open(&life.path);
    let mut shop = Shop { life, engine, topic, producer, database };
    decide_pending(&mut shop.database);
    shop.life.tell("works");
    for number in 0.. {
        shop.take(number);
    }
}

fn topic(engine: &Engine) -> Topic {
    engine.topic("orders").or_else(|_| engine.create_topic("orders", TopicOptions::new().partitions(4))).unwrap()
}

/// Decides as the database says.
fn register_checker(engine: &Engine, life: Arc<Life>) {
    let database = Mutex::new(Database::open(&life.path));
    let (first, interval) = (Duration::ZERO, Duration::from_millis(2));
    let options = CheckerOptions::new().first(first).interval(interval);
    let checker = move |half: &HalfTransaction| {
        let found = database.lock().unwrap().find(&half.id);
        let answer = match found {
            Ok(Order::Taken) if life.does_wrong("checker-lies") => CheckAnswer::RollBack,
            Ok(Order::Taken) => CheckAnswer::Commit,
            Ok(Order::Unknown) => CheckAnswer::RollBack,
            Ok(Order::Pending) | Err(_) => CheckAnswer::Unknown,
        };
        life.tell(&format!("checked-{answer:?} {}", half.id));
        answer
    };
    engine.register_checker(CHECKER, options, checker).unwrap();
}

struct Shop {
    life: Arc<Life>,
    engine: Engine,
    topic: Topic,
    producer: Producer,
    database: Database,
}

impl Shop {
    fn take(&mut self, number: u32) {
        let id = format!("{}-{number}", self.life.number);
        // Each life begins with another way.
        let way = WAYS[(number + self.life.number) as usize % WAYS.len()];
        match way {
            Way::Explicit { takes: true } => self.take_explicitly(&id, number),
            Way::Explicit { takes: false } => self.refuse_explicitly(&id, number),
            Way::InOneCall { takes } => {
                let outcome = if takes { LocalOutcome::Commit } else { LocalOutcome::RollBack };
                let state = self.in_one_call(&id, "orders", takes, outcome);
                self.answer(&id, state);
            }
            Way::LostAnswer { takes } => {
                self.in_one_call(&id, "orders", takes, LocalOutcome::Unknown);
                self.life.at("left-undecided");
            }
            Way::Pending => {
                self.in_one_call(&id, "pending", true, LocalOutcome::Unknown);
                self.life.at("left-undecided");
                decide_pending(&mut self.database);
            }
            Way::Dropped => {
                drop(self.write_down(&id, number));
                self.life.at("left-undecided");
            }
            Way::DecidedById => {
                drop(self.write_down(&id, number));
                self.engine.commit_transaction(&id).unwrap();
                self.answer(&id, TransactionState::Committed);
            }
        }
    }

    fn options(id: &str) -> TransactionOptions {
        TransactionOptions::new().id(id).checker(CHECKER)
    }

    /// Prepared, not more: with up to five messages, in partitions of one lane or of several.
    fn prepare(&self, id: &str, number: u32) -> (Transaction, u32) {
        let messages = 1 + number % MESSAGES_MAX;
        let mut transaction = self.producer.begin(Self::options(id)).unwrap();
        for message in 0..messages {
            let value = format!("{id}/{message}");
            let partition = (number + message) % self.topic.partitions();
            transaction.send(&self.topic, Record::new(value.as_bytes()).partition(partition)).unwrap();
        }
        self.life.at("before-prepare");
        transaction.prepare().unwrap();
        self.life.at("after-prepare");
        (transaction, messages)
    }

    fn write_down(&mut self, id: &str, number: u32) -> Transaction {
        let (transaction, messages) = self.prepare(id, number);
        let local = self.database.begin();
        // What is said to be a break is one: the messages are committed, and there is no order; or the other way round.
        if !self.life.does_wrong("message-without-order") && !self.life.does_wrong("answer-without-order") {
            insert(&local, "orders", id, messages);
        }
        self.life.at("in-database");
        local.commit().unwrap();
        self.life.at("after-database");
        transaction
    }

    fn take_explicitly(&mut self, id: &str, number: u32) {
        let mut transaction = self.write_down(id, number);
        match self.life.breaks.as_str() {
            "order-without-message" | "answer-without-order" => transaction.roll_back().unwrap(),
            "message-twice" => {
                let value = format!("{id}/0");
                self.producer.send(&self.topic, Record::new(value.as_bytes())).unwrap().wait().unwrap();
                transaction.commit().unwrap();
            }
            _ => drop(transaction.commit().unwrap()),
        }
        // Over several lanes it is visible in all of them a moment later; committed it is now.
        self.life.tell(&format!("taken {id}"));
        self.life.at("after-message");
    }

    /// A rule of the business: the database rolls it back.
    fn refuse_explicitly(&mut self, id: &str, number: u32) {
        let (mut transaction, messages) = self.prepare(id, number);
        let local = self.database.begin();
        insert(&local, "orders", id, messages);
        self.life.at("in-database");
        local.rollback().unwrap();
        transaction.roll_back().unwrap();
        self.answer(id, transaction.state());
    }

    fn in_one_call(&mut self, id: &str, table: &str, takes: bool, outcome: LocalOutcome) -> TransactionState {
        let (life, database) = (&self.life, &mut self.database);
        life.at("before-prepare");
        let value = format!("{id}/0");
        let sent = self.producer.send_in_transaction(
            &self.topic,
            Record::new(value.as_bytes()).key(id.as_bytes()),
            Self::options(id),
            |id| {
                life.at("after-prepare");
                let local = database.begin();
                insert(&local, table, id, 1);
                life.at("in-database");
                if takes {
                    local.commit().unwrap()
                } else {
                    local.rollback().unwrap()
                }
                life.at("after-database");
                outcome
            },
        );
        sent.unwrap().state
    }

    /// What the engine answered is promised.
    fn answer(&self, id: &str, state: TransactionState) {
        match state {
            TransactionState::Committed => self.life.tell(&format!("taken {id}")),
            TransactionState::RolledBack => self.life.tell(&format!("refused {id}")),
            other => panic!("{id} is {other}"),
        }
        self.life.at("after-message");
    }
}

/// Every second one is taken.
fn decide_pending(database: &mut Database) {
    for id in database.pending() {
        let takes = id.bytes().map(u32::from).sum::<u32>() % 2 == 0;
        database.decide(&id, takes);
    }
}

/// After a kill: lets the checker decide what is left, and compares.
pub(super) fn look(path: &Path, lanes: u32, heard: &Heard) -> Verdict {
    let mut database = Database::open(path);
    decide_pending(&mut database);
    let engine = open(path, lanes);
    let topic = topic(&engine);
    let left = engine.transactions().len();
    register_checker(&engine, Arc::new(Life::of_the_parent(path, lanes)));
    wait_until("all are decided", || engine.transactions().is_empty());
    // What is visible in all lanes is so by the end of this.
    engine.sync().unwrap();
    let messages = (0..topic.partitions()).flat_map(|partition| values(&engine, &topic, partition));
    let mut counts = BTreeMap::<String, u32>::new();
    messages.for_each(|value| *counts.entry(String::from_utf8(value).unwrap()).or_default() += 1);
    engine.close().unwrap();
    let orders = database.orders();
    let wrong = judge(&orders, &counts, heard);
    let said = |word: &str| heard.with(word).count();
    let figures = format!(
        "{} orders, {} messages; the processes were answered {} times that an order is taken and {} times that it is \
         refused; their checkers said commit of {}, roll back of {}, unknown of {}; {left} were left to the last look",
        orders.len(),
        counts.len(),
        said("taken"),
        said("refused"),
        said("checked-Commit"),
        said("checked-RollBack"),
        said("checked-Unknown"),
    );
    Verdict { wrong, figures }
}

/// What does not agree.
fn judge(orders: &BTreeMap<String, u32>, messages: &BTreeMap<String, u32>, heard: &Heard) -> Vec<String> {
    let mut wrong = Vec::new();
    let of = |order: &str, count: u32| (0..count).map(|message| format!("{order}/{message}")).collect::<Vec<_>>();
    let expected: BTreeSet<String> = orders.iter().flat_map(|(order, count)| of(order, *count)).collect();
    for message in expected.iter().filter(|message| !messages.contains_key(*message)) {
        wrong.push(format!("the order has message {message}, which is not there"));
    }
    for (message, count) in messages {
        if !expected.contains(message) {
            wrong.push(format!("message {message} has no order"));
        }
        if *count > 1 {
            wrong.push(format!("message {message} is there {count} times"));
        }
    }
    for order in heard.with("taken").filter(|order| !orders.contains_key(*order)) {
        wrong.push(format!("order {order} was answered as taken, and is not there"));
    }
    for order in heard.with("refused").filter(|order| orders.contains_key(*order)) {
        wrong.push(format!("order {order} was answered as refused, and is there"));
    }
    wrong
}
