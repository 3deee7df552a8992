//! Each model as it is, and with every fault that must break it: a model that cannot fail shows nothing.

use ringlane_model_loom::models;
use ringlane_model_loom::sync::{Fault, explore, is_caught};

fn holds(model: fn(), breaks_with: &[Fault]) {
    explore(Fault::None, model);
    for fault in breaks_with {
        assert!(is_caught(*fault, model), "{fault:?} is not noticed");
    }
}

#[test]
fn an_event_is_seen_by_all_who_wait() {
    holds(models::event, &[Fault::Relaxed, Fault::NoWake]);
}

#[test]
fn a_signal_between_look_and_sleep_is_not_lost() {
    holds(models::signal, &[Fault::Relaxed, Fault::NoTotalOrder, Fault::NoWake]);
}

#[test]
fn a_task_that_registers_while_it_is_notified_is_woken() {
    holds(models::signal_of_a_task, &[Fault::Relaxed, Fault::NoTotalOrder, Fault::NoWake]);
}

#[test]
fn a_bell_is_heard_on_the_futex() {
    holds(models::doorbell_on_futex, &[Fault::Relaxed, Fault::NoFences, Fault::NoWake]);
}

#[test]
fn a_bell_is_heard_in_the_ring() {
    holds(models::doorbell_in_ring, &[Fault::Relaxed, Fault::NoFences, Fault::NoWake]);
}

#[test]
fn a_lane_that_falls_asleep_sees_what_is_pushed() {
    holds(models::lane_push, &[Fault::Relaxed, Fault::NoFences, Fault::NoWake]);
}

#[test]
fn a_lane_that_writes_is_woken_for_a_full_batch() {
    holds(models::lane_bulk, &[Fault::Relaxed, Fault::NoFences, Fault::NoWake]);
}

#[test]
fn a_nudge_is_not_lost() {
    holds(models::lane_nudge, &[Fault::Relaxed, Fault::NoWake]);
}

#[test]
fn what_comes_while_a_lane_ends_is_answered() {
    holds(models::lane_end, &[Fault::Relaxed, Fault::NoFences]);
}

#[test]
fn a_publication_is_not_missed() {
    holds(models::publication, &[Fault::NoTotalOrder, Fault::NoWake]);
}

#[test]
fn a_callback_runs_once() {
    holds(models::callback, &[Fault::Relaxed, Fault::NoTotalOrder]);
}

#[test]
fn published_bytes_are_whole() {
    holds(models::block, &[Fault::Relaxed]);
}
