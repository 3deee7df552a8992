//! So much is written that the bound on the disk is reached: by then records are refused, or the oldest go.

use super::batch::send_in_turn;
use super::topics::create_under;
use super::{Operation, any_name};
use crate::sim::client::Client;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use std::fmt;
use std::rc::Rc;

const BYTES_MAX: u64 = 8 << 20;
const RECORD_BYTES: u64 = 40 << 10;
/// Records of one call.
const TOGETHER: u64 = 12;

struct Fill {
    name: usize,
    records: u64,
    choice: u64,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    let records = random.between(1, BYTES_MAX / RECORD_BYTES);
    Rc::new(Fill { name: any_name(random), records, choice: random.number() })
}

impl Operation for Fill {
    fn run(&self, client: &mut Client) {
        create_under(client, self.name, 1);
        send_in_turn(client, self.name, self.choice, (self.records, RECORD_BYTES), TOGETHER);
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "send {} records of {RECORD_BYTES} bytes to topic-{}", self.records, self.name)
    }
}
