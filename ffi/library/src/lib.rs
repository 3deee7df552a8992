//! What is linked: everything that `ringlane-ffi` exports, and nothing else. It is a crate of its own, because a library in C
//! is called `ringlane` as the engine's crate is.

pub use ringlane_ffi::*;
