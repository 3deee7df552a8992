//! Operations of the disk fail, or take long.

use super::{Actor, Operation};
use crate::sim::director::Director;
use crate::sim::faults::{Access, Effect, Fault, Files};
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use std::fmt;
use std::rc::Rc;

struct Fail(Fault);

struct Slow {
    times: u64,
}

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    let access = *random.pick(&[
        Access::Read,
        Access::Read,
        Access::Write,
        Access::Flush,
        Access::Flush,
        Access::Directory,
        Access::Allocate,
    ]);
    let files = *random.pick(&[Files::All, Files::All, Files::Segments, Files::Manifest, Files::Indexes]);
    Rc::new(Fail(Fault { access, files, effect: Effect::Fail, passes: random.skewed(40), hits: random.between(1, 2) }))
}

pub(super) fn slow(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    Rc::new(Slow { times: *random.pick(&[1, 1, 10, 100]) })
}

impl Operation for Fail {
    fn actor(&self) -> Actor {
        Actor::World
    }

    fn happen(&self, director: &mut Director) {
        director.allow(|allowed| allowed.io = true);
        director.machine.with(|state| state.faults.push(self.0.clone()));
    }
}

impl Operation for Slow {
    fn actor(&self) -> Actor {
        Actor::World
    }

    fn happen(&self, director: &mut Director) {
        director.machine.with(|state| {
            state.slowness = self.times;
            state.counts.add("changes of speed");
        });
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fail: {}", self.0)
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk takes {} times as long", self.times)
    }
}
