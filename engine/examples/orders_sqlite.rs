//! Orders in SQLite, their messages in Ringlane: for each order one message, whatever happens in between.
//!
//! ```text
//! cargo run --example orders_sqlite -p ringlane              takes an order
//! cargo run --example orders_sqlite -p ringlane -- crash     ends in the middle of one; the next run finds out
//! ```
//!
//! There is no transaction over both. There are three steps, in this order:
//!
//! 1. *prepare* the message: it is on the disk, and nobody sees it;
//! 2. insert the order, under the transaction's id, and commit that in the database: here it is decided;
//! 3. *commit* the message: everybody sees it.
//!
//! Who is killed between 1 and 3 leaves a message that is prepared. At the next opening the *checker* is asked of it, and
//! looks for the order: if it is there the message is committed, else it is rolled back.

use ringlane::{
    CheckAnswer, CheckerOptions, ConsumerOptions, Engine, HalfTransaction, Options, Producer, ProducerOptions, Record,
    Start, Topic, TopicOptions, TransactionOptions,
};
use rusqlite::{Connection, OptionalExtension};
use std::path::Path;
use std::time::Duration;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The name under which transactions ask for our checker.
const CHECKER: &str = "orders";

fn main() -> Result<()> {
    let directory = std::env::temp_dir().join("ringlane-orders");
    std::fs::create_dir_all(&directory)?;
    let file = directory.join("orders.sqlite");
    let database = open_database(&file)?;

    let engine = Engine::open(directory.join("messages"), Options::new())?;
    let topic = engine.topic("orders").or_else(|_| engine.create_topic("orders", TopicOptions::new()))?;

    // At once after opening: what an earlier run left undecided is asked now.
    let of_checker = open_database(&file)?;
    let checker = std::sync::Mutex::new(of_checker);
    engine.register_checker(CHECKER, CheckerOptions::new(), move |half: &HalfTransaction| {
        check_order(&checker.lock().expect("no check panics"), half)
    })?;

    let producer = engine.producer(ProducerOptions::new())?;
    let crashes = std::env::args().any(|argument| argument == "crash");
    let order = take_order(&producer, &topic, &database, "a kettle", crashes)?;
    println!("took order {order}");

    // Only because we want to print it: the checker has its own thread, and may not be done yet.
    while !engine.transactions().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("messages: {}", messages(&engine, &topic)?.join(", "));
    println!("orders:   {}", orders(&database)?.join(", "));
    engine.close()?;
    Ok(())
}

/// Takes an order: the three steps.
fn take_order(producer: &Producer, topic: &Topic, database: &Connection, item: &str, crashes: bool) -> Result<String> {
    // 1. The message is prepared. The id is assigned; `TransactionOptions::id` sets one of our own.
    let mut transaction = producer.begin(TransactionOptions::new().checker(CHECKER))?;
    let id = transaction.id().to_owned();
    transaction.send(topic, Record::new(item.as_bytes()).key(id.as_bytes()))?;
    transaction.prepare()?;

    // 2. The order is inserted, under the same id. Where this fails we need not do anything: the transaction is dropped
    //    undecided, and the checker finds no order. (`roll_back` is there, for orders that are refused.)
    database.execute("INSERT INTO orders (id, item) VALUES (?1, ?2)", (&id, item))?;

    if crashes {
        println!("order {id} is in the database, and we end before its message is committed");
        std::process::abort();
    }

    // 3. The message is committed.
    transaction.commit()?;
    Ok(id)
}

/// Says how a transaction ended whose step 3 did not happen: as the database says.
fn check_order(database: &Connection, half: &HalfTransaction) -> CheckAnswer {
    let found = database.query_row("SELECT 1 FROM orders WHERE id = ?1", [&half.id], |_| Ok(())).optional();
    match found {
        Ok(Some(())) => CheckAnswer::Commit,
        Ok(None) => CheckAnswer::RollBack,
        // Never guess: ask me again.
        Err(_) => CheckAnswer::Unknown,
    }
}

/// SQLite as it comes: a rollback journal, and each commit is flushed (`synchronous` is FULL).
fn open_database(file: &Path) -> Result<Connection> {
    let database = Connection::open(file)?;
    database.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, item TEXT NOT NULL)", ())?;
    Ok(database)
}

/// What a consumer sees.
fn messages(engine: &Engine, topic: &Topic) -> Result<Vec<String>> {
    let mut consumer = engine.consumer(ConsumerOptions::new())?;
    consumer.assign(topic, 0, Start::Beginning)?;
    let mut all = Vec::new();
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            return Ok(all);
        }
        all.extend(records.iter().map(|record| String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned()));
    }
}

/// What stands in the database.
fn orders(database: &Connection) -> Result<Vec<String>> {
    let mut query = database.prepare("SELECT id FROM orders ORDER BY rowid")?;
    let ids = query.query_map((), |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}
