//! The disk becomes full, and gets room again.

use super::{Actor, Operation};
use crate::sim::director::Director;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use std::fmt;
use std::rc::Rc;

struct Space {
    bytes: Option<u64>,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    let bytes = (!random.one_in(3)).then(|| random.skewed(6 << 20));
    Rc::new(Space { bytes })
}

impl Operation for Space {
    fn actor(&self) -> Actor {
        Actor::World
    }

    fn happen(&self, director: &mut Director) {
        director.allow(|allowed| allowed.space = true);
        director.machine.with(|state| state.disk.space = self.bytes);
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            Some(bytes) => write!(f, "{bytes} bytes are left on the disk"),
            None => f.write_str("the disk has room"),
        }
    }
}
