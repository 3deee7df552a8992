//! The hand-over as it is, and with every fault that must break it.

use ringlane_model_shuttle::hand_over;
use ringlane_model_shuttle::sync::{Fault, explore, is_caught};

/// Orders tried at random, and as many with few switches at unlucky moments.
const ORDERS: usize = 1000;

#[test]
fn every_record_gets_its_receipt() {
    explore(Fault::None, ORDERS, hand_over::receipts);
    assert!(is_caught(Fault::NoWake, ORDERS, hand_over::receipts));
    assert!(is_caught(Fault::SleepAllTheSame, ORDERS, hand_over::receipts));
}

#[test]
fn everybody_is_answered_when_the_lane_closes() {
    explore(Fault::None, ORDERS, hand_over::close);
    assert!(is_caught(Fault::EndInSilence, ORDERS, hand_over::close));
}

#[test]
fn news_beside_the_queue_harm_nothing() {
    explore(Fault::None, ORDERS, hand_over::nudges);
    assert!(is_caught(Fault::NoWake, ORDERS, hand_over::nudges));
}
