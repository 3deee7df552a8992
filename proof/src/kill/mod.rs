//! Killing the real engine on the real ring, again and again.
//!
//! A child opens the engine, says what it can read, and then sends, cancels, reads, makes and deletes
//! topics, and works as the members of two groups, from several threads. It says each call before it is made and each answer after it came. The
//! parent kills it with SIGKILL at a random moment, also while it opens or reads, and starts the next one
//! on what is left. Nobody closes the engine in between. The parent has the history; the checker judges it
//! after each kill.
//!
//! Invariants:
//! - What a child said in a whole line it said before it died; a line that was cut was never said.
//! - A log is used for a bounded number of rounds, because everything is read after each kill. Its last
//!   child waits until nothing is withheld, has the groups do what is left, and closes.

mod child;
mod groups;
mod message;
mod outbox;
mod parent;
mod rows;

pub use child::run_child;
pub use message::Lie;
pub(crate) use message::{Message, Random, monotonic_ns, say, say_panics};
pub use parent::{KillFigures, KillOptions, run};
