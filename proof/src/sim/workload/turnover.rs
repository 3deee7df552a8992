//! A topic that fills segments and goes: their files are used again in the same generation, and what stood in
//! them is still there behind what is written now. After a crash it must not be taken for the log.

use super::batch::send_in_turn;
use super::topics::{create_under, delete_under};
use super::{Operation, any_name};
use crate::sim::client::Client;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use std::fmt;
use std::rc::Rc;

/// The two newest sealed segments stay, and one or two are prepared ahead: files come back after about so much.
const BYTES_MAX: u64 = 6 << 20;
const RECORD_BYTES: u64 = 40 << 10;

/// How often it comes: where segments are to be used again, by deletion, by retention or at the bound on the disk.
pub(super) fn weight(shape: &Shape) -> u64 {
    match (shape.recycles, shape.retains || shape.bounds_disk()) {
        (true, _) => 60,
        (_, true) => 40,
        _ => 0,
    }
}

struct Turnover {
    name: usize,
    records: u64,
    /// Deletes the topic, and has its segments come back.
    deletes: bool,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    let records = random.between(1, BYTES_MAX / RECORD_BYTES);
    Rc::new(Turnover { name: any_name(random), records, deletes: !random.one_in(3) })
}

impl Operation for Turnover {
    fn run(&self, client: &mut Client) {
        create_under(client, self.name, 1);
        let is_done = send_in_turn(client, self.name, 0, (self.records, RECORD_BYTES), 1);
        if is_done && self.deletes {
            delete_under(client, self.name);
        }
    }
}

impl fmt::Display for Turnover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Turnover { name, records, deletes } = self;
        write!(f, "send {records} records of {RECORD_BYTES} bytes to topic-{name}, one after the other")?;
        if *deletes { write!(f, ", and delete it") } else { Ok(()) }
    }
}
