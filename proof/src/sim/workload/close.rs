//! Closing the engine and opening it again.

use super::{Actor, Operation};
use crate::sim::director::Director;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use std::fmt;
use std::rc::Rc;

struct Close {
    waits: bool,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    Rc::new(Close { waits: random.one_in(2) })
}

impl Operation for Close {
    fn actor(&self) -> Actor {
        Actor::World
    }

    fn happen(&self, director: &mut Director) {
        if self.waits {
            director.wait_for_clients();
        }
        director.close();
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.waits { "close when the clients are done" } else { "close" })
    }
}
