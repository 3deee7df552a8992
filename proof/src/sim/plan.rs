//! Everything that a run is going to do, laid out before it begins, so that parts can be left out.
//!
//! Invariant: a step does the same whether others are left out or not; what it chooses, it chose here.

use super::random::Random;
use super::shape::Shape;
use super::workload::{BESIDE, KINDS, Operation};
use std::rc::Rc;

/// One operation of a run.
#[derive(Clone)]
pub struct Step {
    /// Its place among all steps of the seed; what comes beside them has numbers of its own behind theirs.
    pub number: usize,
    /// The client that does it.
    pub client: usize,
    /// What to do.
    pub operation: Rc<dyn Operation>,
}

/// The first of the streams that choose what comes beside the steps, one for each kind.
const BESIDE_STREAM: u64 = 1 << 43;

/// See the module.
#[derive(Clone)]
pub struct Plan {
    /// The seed that it follows from.
    pub seed: u64,
    /// How many steps the seed was asked for.
    pub operations: usize,
    /// How the run looks.
    pub shape: Shape,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64, operations: usize) -> Plan {
        let mut random = Random::new(seed);
        let shape = Shape::new(&mut random);
        let weights: Vec<u64> = KINDS.iter().map(|kind| (kind.weight)(&shape)).collect();
        let total = weights.iter().sum();
        let mut steps = Vec::new();
        for number in 0..operations {
            // Each step has a stream of its own: another length of one changes no other.
            let mut own = random.fork(number as u64 + 1);
            let mut left = own.below(total);
            let kind = if number < 2 { 0 } else { choose(&weights, &mut left) };
            let client = own.below(shape.clients as u64) as usize;
            steps.push(Step { number, client, operation: (KINDS[kind].make)(&mut own, &shape) });
            for (at, beside) in BESIDE.iter().enumerate() {
                let mut own = random.fork(BESIDE_STREAM + ((at as u64) << 32) + number as u64);
                let one_in = (beside.one_in)(&shape);
                if one_in > 0 && own.one_in(one_in) {
                    let number = operations * (1 + at) + number;
                    steps.push(Step { number, client, operation: (beside.make)(&mut own, &shape) });
                }
            }
        }
        Plan { seed, operations, shape, steps }
    }

    /// The same plan with these steps alone.
    pub fn keep(&self, numbers: &[usize]) -> Plan {
        let steps = self.steps.iter().filter(|step| numbers.contains(&step.number)).cloned().collect();
        Plan { steps, ..self.clone() }
    }

    /// The numbers of the steps that are left.
    pub fn numbers(&self) -> Vec<usize> {
        self.steps.iter().map(|step| step.number).collect()
    }
}

fn choose(weights: &[u64], left: &mut u64) -> usize {
    weights
        .iter()
        .position(|weight| match left.checked_sub(*weight) {
            Some(rest) => {
                *left = rest;
                false
            }
            None => true,
        })
        .expect("the weights add up to the total")
}
