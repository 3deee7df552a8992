//! What clients do and what happens to the world: one file for each kind of operation.
//!
//! A new feature plugs in as a further file and a further line in [`KINDS`]: it chooses its details when the
//! plan is made, and does them through [`Client`] or [`Director`], which write the history.

mod batch;
mod cancel;
mod clean;
mod clock;
mod close;
mod crash;
mod delayed;
mod faults;
mod fill;
mod flood;
pub(super) mod groups;
mod identified;
pub(super) mod named;
mod outside;
mod pause;
mod poll;
mod retention;
pub(super) mod seek;
mod send;
mod space;
mod sync;
mod topics;
mod transactions;
mod turnover;

use super::client::Client;
use super::director::Director;
use super::random::Random;
use super::shape::{NAMES, Shape};
use std::fmt;
use std::rc::Rc;

/// Who does an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A client, between its other calls.
    Client,
    /// The world: it concerns everybody.
    World,
}

/// One thing that is done or happens. It has chosen its details already.
pub trait Operation: fmt::Display {
    /// Who does it.
    fn actor(&self) -> Actor {
        Actor::Client
    }
    /// A client does it.
    fn run(&self, _client: &mut Client) {}
    /// The world does it.
    fn happen(&self, _director: &mut Director) {}
}

/// A kind of operation.
pub struct Kind {
    /// What it is called.
    pub name: &'static str,
    /// How often it comes, against the others.
    pub weight: fn(&Shape) -> u64,
    /// Chooses the details.
    pub make: fn(&mut Random, &Shape) -> Rc<dyn Operation>,
}

/// All kinds. The first is how every run begins.
pub const KINDS: &[Kind] = &[
    Kind { name: "create a topic", weight: |_| 30, make: topics::create },
    Kind { name: "delete a topic", weight: |_| 6, make: topics::delete },
    Kind { name: "send", weight: |_| 260, make: send::make },
    Kind { name: "send a batch", weight: |_| 90, make: batch::make },
    Kind { name: "send many", weight: |_| 30, make: flood::make },
    Kind { name: "send a delayed record", weight: |_| 60, make: delayed::make },
    Kind { name: "cancel", weight: |_| 40, make: cancel::make },
    Kind { name: "poll", weight: |_| 200, make: poll::make },
    Kind { name: "seek", weight: |_| 80, make: seek::make },
    Kind { name: "sync", weight: |_| 30, make: sync::make },
    Kind { name: "pause", weight: |_| 40, make: pause::make },
    Kind { name: "close", weight: |_| 12, make: close::make },
    Kind { name: "crash", weight: |shape| if shape.crashes { 30 } else { 0 }, make: crash::make },
    Kind { name: "look at the disk", weight: |_| 12, make: crash::look },
    Kind { name: "fail", weight: |shape| if shape.io_errors { 25 } else { 0 }, make: faults::make },
    Kind { name: "be slow", weight: |_| 10, make: faults::slow },
    Kind { name: "fill the disk", weight: |shape| if shape.full_disk { 20 } else { 0 }, make: space::make },
    Kind { name: "jump", weight: |shape| if shape.clock_jumps { 12 } else { 0 }, make: clock::make },
    Kind { name: "turn over", weight: |shape| turnover::weight(shape), make: turnover::make },
    Kind { name: "delete records", weight: |shape| if shape.retains { 30 } else { 0 }, make: retention::delete },
    Kind { name: "set retention", weight: |shape| if shape.retains { 40 } else { 0 }, make: retention::set },
];

/// A kind of operation that comes beside those of [`KINDS`], from a stream of its own: so that the plans of seeds stay
/// what they were before there was such a kind.
pub struct Beside {
    /// What it is called.
    pub name: &'static str,
    /// Behind one step in so many; 0: never.
    pub one_in: fn(&Shape) -> u64,
    /// Chooses the details.
    pub make: fn(&mut Random, &Shape) -> Rc<dyn Operation>,
}

/// All kinds that come beside others. New ones come last.
pub const BESIDE: &[Beside] = &[
    Beside { name: "look from outside", one_in: |shape| if shape.outside { 10 } else { 0 }, make: outside::make },
    Beside { name: "leave it to the cleaner", one_in: clean::one_in, make: clean::make },
    Beside { name: "fill", one_in: |shape| if shape.bounds_disk() { 5 } else { 0 }, make: fill::make },
    Beside { name: "send under a name", one_in: |shape| if shape.names { 3 } else { 0 }, make: named::make },
    Beside { name: "send with an id", one_in: |shape| if shape.identifies { 8 } else { 0 }, make: identified::make },
    Beside { name: "work in a group", one_in: groups::one_in, make: groups::make },
    Beside { name: "transact", one_in: |shape| if shape.transacts { 6 } else { 0 }, make: transactions::make },
];

/// A topic's name.
fn any_name(random: &mut Random) -> usize {
    random.below(NAMES as u64) as usize
}

/// Bytes of a value.
fn any_bytes(random: &mut Random, shape: &Shape) -> usize {
    let (low, high) = shape.value_bytes;
    (low + random.skewed(high - low)) as usize
}
