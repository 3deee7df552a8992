//! The application's database: SQLite as it comes, with a rollback journal, and each commit flushed.

use rusqlite::{Connection, OptionalExtension, Transaction};
use std::collections::BTreeMap;
use std::path::Path;

/// What the database knows of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Taken,
    /// Somebody thinks about it.
    Pending,
    Unknown,
}

pub(super) struct Database {
    connection: Connection,
}

impl Database {
    pub(super) fn open(path: &Path) -> Database {
        let connection = Connection::open(path.join("orders.sqlite")).unwrap();
        let mode: String = connection.query_row("PRAGMA journal_mode", (), |row| row.get(0)).unwrap();
        let synchronous: u32 = connection.query_row("PRAGMA synchronous", (), |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), synchronous), ("delete", 2), "a rollback journal, FULL");
        for table in ["orders", "pending"] {
            let create = format!("CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, messages INTEGER NOT NULL)");
            connection.execute(&create, ()).unwrap();
        }
        Database { connection }
    }

    /// A transaction of the database's.
    pub(super) fn begin(&mut self) -> Transaction<'_> {
        self.connection.transaction().unwrap()
    }

    pub(super) fn find(&self, id: &str) -> rusqlite::Result<Order> {
        let is_in = |table: &str| {
            let query = format!("SELECT 1 FROM {table} WHERE id = ?1");
            self.connection.query_row(&query, [id], |_| Ok(())).optional().map(|found| found.is_some())
        };
        // Looked for in the order in which it moves, so that it is not missed.
        Ok(match (is_in("pending")?, is_in("orders")?) {
            (_, true) => Order::Taken,
            (true, false) => Order::Pending,
            (false, false) => Order::Unknown,
        })
    }

    pub(super) fn pending(&self) -> Vec<String> {
        let mut query = self.connection.prepare("SELECT id FROM pending").unwrap();
        query.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// It was thought about for long enough: the order is taken, or not.
    pub(super) fn decide(&mut self, id: &str, takes: bool) {
        let transaction = self.begin();
        if takes {
            transaction.execute("INSERT INTO orders SELECT * FROM pending WHERE id = ?1", [id]).unwrap();
        }
        transaction.execute("DELETE FROM pending WHERE id = ?1", [id]).unwrap();
        transaction.commit().unwrap();
    }

    /// All orders, and how many messages each has.
    pub(super) fn orders(&self) -> BTreeMap<String, u32> {
        let mut query = self.connection.prepare("SELECT id, messages FROM orders").unwrap();
        query.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }
}

/// Writes an order down, in a transaction of the database's.
pub(super) fn insert(transaction: &Transaction<'_>, table: &str, id: &str, messages: u32) {
    let insert = format!("INSERT INTO {table} (id, messages) VALUES (?1, ?2)");
    transaction.execute(&insert, (id, messages)).unwrap();
}
