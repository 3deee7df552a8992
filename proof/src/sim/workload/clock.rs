//! The wall clock jumps.

use super::{Actor, Operation};
use crate::sim::director::Director;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use std::fmt;
use std::rc::Rc;

struct Jump {
    ms: i64,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    let ms = random.skewed(60_000) as i64;
    Rc::new(Jump { ms: if random.one_in(2) { ms } else { -ms } })
}

impl Operation for Jump {
    fn actor(&self) -> Actor {
        Actor::World
    }

    fn happen(&self, director: &mut Director) {
        director.shared.recorder.jump(self.ms);
        director.shared.count("clock jumps");
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the wall clock jumps by {} ms", self.ms)
    }
}
