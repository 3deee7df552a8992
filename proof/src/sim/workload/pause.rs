//! Time passes: marks are written, buffered records are flushed, delayed ones become visible.

use super::{Actor, Operation};
use crate::sim::director::Director;
use crate::sim::random::Random;
use crate::sim::scheduler;
use crate::sim::shape::Shape;
use std::fmt;
use std::rc::Rc;

const PAUSE_NS_MAX: u64 = 3_000_000_000;

struct Pause {
    ns: u64,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    Rc::new(Pause { ns: random.skewed(PAUSE_NS_MAX) })
}

impl Operation for Pause {
    fn actor(&self) -> Actor {
        Actor::World
    }

    fn happen(&self, director: &mut Director) {
        director.shared.recorder.progress();
        scheduler::current().sleep(self.ns, "a pause");
        director.shared.recorder.progress();
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wait {} us", self.ns / 1_000)
    }
}
