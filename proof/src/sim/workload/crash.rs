//! The process is killed, or the power goes, now or in the midst of what comes.

use super::{Actor, Operation};
use crate::history::CrashKind;
use crate::sim::director::Director;
use crate::sim::random::Random;
use crate::sim::shape::Shape;
use std::fmt;
use std::rc::Rc;

/// Operations of the disk until it happens.
const AFTER_MAX: u64 = 60;

struct Crash {
    kind: CrashKind,
    after: u64,
}

struct Look;

pub(super) fn make(random: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    let kind = if random.one_in(2) { CrashKind::Kill } else { CrashKind::PowerLoss };
    Rc::new(Crash { kind, after: random.skewed(AFTER_MAX) })
}

pub(super) fn look(_: &mut Random, _: &Shape) -> Rc<dyn Operation> {
    Rc::new(Look)
}

impl Operation for Crash {
    fn actor(&self) -> Actor {
        Actor::World
    }

    fn happen(&self, director: &mut Director) {
        match self.after {
            0 => director.machine.die(self.kind),
            after => director.machine.with(|state| state.dies_after = Some((after - 1, self.kind))),
        }
    }
}

impl Operation for Look {
    fn actor(&self) -> Actor {
        Actor::World
    }

    fn happen(&self, director: &mut Director) {
        let machine = director.machine.clone();
        machine.with(|state| state.snapshot(&machine));
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {} operations of the disk", self.kind, self.after)
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("look at what a crash would leave")
    }
}
