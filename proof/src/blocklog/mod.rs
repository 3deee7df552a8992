//! The block log: the real engine on a real file system over a device that records every write and flush.
//!
//! A child works on the file system as applications do, and ends now with a close and now without. Each
//! call is written down before it is made and each answer after it came, without a flush, in a file of the
//! same file system: so the recording of the device says what had been acknowledged at each of its points.
//! Afterwards the image of many moments is built from the recording: at flush boundaries, and at torn and
//! reordered cuts after them. Each is mounted, so that the file system replays its journal; the engine opens
//! it, everything is read and verified, and the checker judges it against what was acknowledged by then.
//!
//! The same device can be made to fail a flush or a write once while the engine works: the engine must
//! say so, and the cuts of that recording show that nothing it had acknowledged was lost.
//!
//! Invariants:
//! - What had been written when a flush was asked for is on the device in every cut behind that flush. Of
//!   what was written later each 512-byte sector is old or new; only the file system's superblock is never torn,
//!   because ext4 relies on that.
//! - An acknowledgement counts in a cut if and only if its own write is in the recording before the cut.
//! - Everything is mounted in a mount namespace of this process, on loop devices that go with their
//!   mount: nothing of it outlives the process, however it ends.

mod child;
mod cuts;
mod daemon;
mod image;
mod journal;
mod judge;
mod machine;
mod recording;
mod run;

pub use child::run_child;
pub use machine::FileSystem;
pub use run::{BlockLogFigures, BlockLogOptions, Fault, Lie, Stop, run};
