//! See the function of this name in proof/src/fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringlane_proof::fuzz::abi(bytes));
