//! The command as users run it: arguments in, output and exit codes out, on real directories.

// Everything here is for this one program.
#![allow(unreachable_pub)]

mod audit;
mod bench;
mod beside;
mod damage;
mod demo;
mod follow;
mod group;
mod held;
mod home;
mod produce_consume;
mod producer;
mod redrive;
mod repair;
mod topic;
mod txn;
