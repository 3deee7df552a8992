//! The admin socket: what changes state works from other processes while an application holds the engine.
//!
//! The process that has a directory open listens on the socket `admin.socket` in it. Another one connects with
//! [`Client::connect`] and asks; the engine's own calls answer. The command `ringlane` does so where it finds a
//! directory locked.
//!
//! ```
//! # fn main() -> ringlane::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! use ringlane::{Engine, Options, TopicOptions, admin::Client};
//!
//! let engine = Engine::open(directory.path(), Options::new())?;
//! // In another process:
//! let mut client = Client::connect(directory.path())?;
//! client.create_topic("orders", &TopicOptions::new().partitions(4))?;
//! // And back:
//! assert_eq!(engine.topic("orders")?.partitions(), 4);
//! # engine.close()
//! # }
//! ```
//!
//! Invariants:
//! - Whatever comes through the socket can do what a call of the application could do, and nothing else. It never
//!   ends the engine, and no client makes `close` wait: what it asked for ends with the engine, with an answer.
//! - Everything is bounded: connections, bytes of a message, bytes in memory of all together, the time that a
//!   message may take.
//! - Only the user that the process acts as, and root, are answered.
//!
//! The messages are described in docs/FORMAT.md.

pub(crate) mod acknowledged;
mod client;
pub(crate) mod connection;
mod delivered;
mod groups;
pub(crate) mod handler;
mod members;
pub(crate) mod message;
mod producers;
mod refusal;
mod server;
mod statistics;
mod topics;
mod transactions;
mod value;

pub use client::{Client, Holder};
pub use delivered::Delivered;
pub use statistics::AdminReport;
pub use topics::{TopicDescription, TopicSummary};
pub use value::Value;

pub(crate) use server::{AdminShared, start};

/// The socket's name in the directory.
pub(crate) const SOCKET_NAME: &str = "admin.socket";
/// Largest body of a message: the largest record there can be, and what is said beside it.
pub(crate) const BODY_BYTES_MAX: usize = crate::bounds::RECORD_BYTES_CEILING + (1 << 20);
/// Bytes of unfinished messages, all connections together.
pub(crate) const HELD_BYTES_MAX: usize = 64 << 20;
/// Connections at once.
pub(crate) const CONNECTIONS_MAX: usize = 128;
/// How long a message may take from its first byte to its last, in both directions.
pub(crate) const MESSAGE_MS_MAX: u64 = 10_000;
/// Where all connections are taken, one that was idle for so long gives way.
pub(crate) const IDLE_MS_MAX: u64 = 1_000;
/// Connections that are members of groups, at once.
pub(crate) const MEMBERS_MAX: usize = 64;
/// Records of one message that sends some, or ends their deliveries.
pub(crate) const RECORDS_MAX: usize = 4096;
/// Topics, producers, groups or transactions of one answer to a list.
pub(crate) const NAMES_PER_PAGE: usize = 1000;
