//! Consumer groups without threads, clocks and files: who is given which record, when, and what of it the log must
//! know.
//!
//! For each (group, partition) there is one [`desk::Desk`], built from the durable
//! [`Progress`](crate::lane::progress::Progress) at opening, and one [`in_progress::InProgress`]; for each member one
//! [`leases::Leases`]. Each is guarded by a mutex of its own, the desk's before the member's where both are needed.
//!
//! ```text
//!             take                     hold
//!  partition ------> Desk ----------------------------> Leases of a member
//!                     ^  |                               |
//!     durable,        |  | changes, in the order of      | finish, finish_to, release, expire, drain
//!     counted         |  v the calls                     v
//!                    log of the partition's lane <--- Desk: finish, give_back
//! ```
//!
//! What the caller must see to:
//! - The changes that the calls of one desk return reach the log in the order of the calls; so they are handed to the
//!   lane before the desk's mutex is let go.
//! - A delivery ends at its lease first, which says whether it is still held, and then at the desk.
//! - Times are the wall clock's for a desk, since due times are durable, and a monotonic clock's for leases.

mod acknowledger;
mod config;
mod deliveries;
pub(crate) mod desk;
mod due_clock;
pub(crate) mod groups;
mod held;
pub(crate) mod in_progress;
pub(crate) mod leases;
mod member;
mod member_options;
mod next;
mod partition;
mod reading;
mod redrive;
pub(crate) mod retry;
mod shared;
mod spans;
pub(crate) mod taken;
pub(crate) mod transacting;
#[cfg(test)]
mod world;

pub use acknowledger::Acknowledger;
pub use config::GroupOptions;
pub use deliveries::{Deliveries, DeliveriesIter, Delivery, DeliveryId, Once};
pub use groups::{GroupInfo, GroupPartitionInfo};
pub use member::GroupConsumer;
pub use member_options::MemberOptions;
pub use next::NextDeliveries;
pub use redrive::{Redrive, Redriven};
pub use taken::GroupKind;

/// A member of a group, for as long as it lives.
pub(crate) type MemberId = u32;
