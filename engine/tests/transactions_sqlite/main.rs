//! Transactions against processes that are killed: orders in a real database and their messages, and what is consumed,
//! transformed and produced.
//!
//! The parent starts a process that works, kills it with SIGKILL at a step or at any moment, and starts the next one on
//! what is left. In the end it looks: [`orders::judge`], [`transform::judge`]. That these find what is wrong is shown by
//! processes that do it wrong, on purpose.
//!
//! How many processes are killed by each test: `RINGLANE_TRANSACTION_KILLS`.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod database;
mod killing;
mod orders;
mod transform;

use killing::Plan;

/// Runs what the parent ordered; see [`common::child`].
#[test]
#[ignore = "a child of the other tests"]
fn child() {
    let Some((word, argument)) = common::child::order() else { return };
    let life = killing::Life::parse(&argument);
    match word.as_str() {
        "orders" => orders::live(life),
        "transform" => transform::live(&life),
        other => panic!("`{other}` is no order"),
    }
}

/// Orders in SQLite and visible messages agree one to one: no order without its messages, no message without its order,
/// none twice, none of which an answer was given and that is not so.
#[test]
fn orders_and_messages_agree_whenever_the_process_is_killed() {
    for lanes in [1, 2] {
        let plan = Plan { word: "orders", lanes, kills: killing::kills(48) / 2, steps: &orders::STEPS };
        plan.run(orders::look);
    }
}

/// What is consumed, transformed and produced in transactions is produced exactly once.
#[test]
fn what_is_transformed_is_there_exactly_once_whenever_the_process_is_killed() {
    for lanes in [1, 2] {
        let plan = Plan { word: "transform", lanes, kills: killing::kills(24) / 2, steps: &transform::STEPS };
        plan.run(transform::look);
    }
}

/// An application that breaks the pattern is found out: so the agreement of the others is worth something.
#[test]
fn orders_that_do_it_wrong_are_found_out() {
    killing::found_out("orders", orders::look, &orders::BREAKS);
}

/// Likewise.
#[test]
fn transformations_that_do_it_wrong_are_found_out() {
    killing::found_out("transform", transform::look, &transform::BREAKS);
}
