//! Ringlane as a C library. What each function does, its header says: `include/ringlane.h` is made of the comments here.
//!
//! Layers, each of which knows those before it: `status` (what went wrong), `table` and `objects` (handles), `call` (the way
//! in and out of every call), `options`, `text`; then the calls themselves, by what they are about.
//!
//! Invariants that hold for every function:
//! - No panic reaches the application, and no wrong handle, size or pointer to nothing ends the process.
//! - Everything of the application's is copied before the call returns; only `user_data` is kept.
//! - No thread of the library runs code of the application's.
//!
//! "As for every call", in reasons for `unsafe`: pointers that the application passes are NULL, which is looked for, or lead
//! to what the header says, for as long as the call; texts end with a zero.

#![allow(clippy::missing_safety_doc, reason = "the header says for each function what its pointers lead to")]
#![allow(clippy::too_many_arguments, reason = "C has no structs by value here")]

// In the order of the header.

pub mod status;

pub mod call;

pub mod options;

pub mod text;

pub mod engine_calls;

pub mod producer;

pub mod queue;

pub mod records;

pub mod consumer;

pub mod member;

pub mod transaction;

pub mod objects;

mod given;
mod panics;
mod recent;
mod table;
mod waiting;
