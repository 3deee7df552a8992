//! The proof that Ringlane loses nothing.
//!
//! Whatever crashes the engine here (the simulator, a kill, a block log) writes down what it asked and
//! what it was answered, as a [`history`]. One [`checker`] judges all histories. It knows nothing of the
//! engine's code; it knows what docs/GUARANTEES.md promises.

pub mod blocklog;
pub mod checker;
pub mod corruption;
pub mod fuzz;
pub mod history;
pub mod kill;
pub mod sim;
pub mod soak;
pub mod value;
mod witness;
