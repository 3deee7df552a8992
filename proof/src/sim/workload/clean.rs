//! Nobody does anything for a while: the cleaner copies what is kept of sparse segments, and what is scattered.
//! Behind it a piece of what there is is given up, so that there is something to do the next time.

use super::{Operation, retention};
use crate::sim::client::Client;
use crate::sim::random::Random;
use crate::sim::scheduler;
use crate::sim::shape::Shape;
use std::fmt;
use std::rc::Rc;

/// It looks again half a second after it has looked, and at what is scattered five seconds after a segment was sealed.
const PAUSE_NS_MIN: u64 = 600_000_000;
const PAUSE_NS_MAX: u64 = 8_000_000_000;

struct Clean {
    deletion: Option<Rc<dyn Operation>>,
    ns: u64,
}

/// Behind one step in so many: more often where segments fill.
pub(super) fn one_in(shape: &Shape) -> u64 {
    match (shape.cleans, shape.retains) {
        (true, true) => 6,
        (true, false) => 25,
        (false, _) => 0,
    }
}

pub(super) fn make(random: &mut Random, shape: &Shape) -> Rc<dyn Operation> {
    let deletes = shape.retains && !random.one_in(3);
    let deletion = deletes.then(|| retention::delete(random, shape));
    Rc::new(Clean { deletion, ns: random.between(PAUSE_NS_MIN, PAUSE_NS_MAX) })
}

impl Operation for Clean {
    fn run(&self, client: &mut Client) {
        let copies = || client.engine.stats().cleaner.copies;
        let before = copies();
        client.shared.recorder.progress();
        scheduler::current().sleep(self.ns, "the cleaner");
        client.shared.recorder.progress();
        if copies() > before {
            client.shared.count("pauses in which the cleaner copied");
        }
        if let Some(deletion) = &self.deletion {
            deletion.run(client);
        }
    }
}

impl fmt::Display for Clean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leave it to the cleaner for {} us", self.ns / 1_000)?;
        self.deletion.as_ref().map_or(Ok(()), |deletion| write!(f, ", and {deletion}"))
    }
}
