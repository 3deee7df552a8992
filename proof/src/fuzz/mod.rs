//! What the fuzz targets in fuzz/ run. It lives here so that ordinary tests replay the corpora of fuzz/corpus
//! through the same functions (`proof/tests/fuzz_corpora.rs`).
//!
//! Invariant: each target takes any bytes, and panics only where the engine breaks a promise.

mod abi;
mod admin;
mod directory;
mod mutation;
pub mod packed;

pub use abi::abi;
pub use admin::admin;
pub use directory::{directory, images, options};

/// A target by the name of its folder in fuzz/corpus.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What it does with the fuzzer's bytes.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "frame", run: frame },
    Target { name: "manifest", run: manifest },
    Target { name: "sidecar", run: sidecar },
    Target { name: "directory", run: directory },
    Target { name: "admin", run: admin },
    Target { name: "abi", run: abi },
];

/// Records and frames, as they are and with their checksums made right.
pub fn frame(bytes: &[u8]) {
    ringlane::fuzz_support::record(bytes);
    ringlane::fuzz_support::frame(bytes);
    let mut mended = bytes.to_vec();
    ringlane::fuzz_support::mend_frame(&mut mended);
    ringlane::fuzz_support::frame(&mended);
}

/// A manifest, as it is and with its checksums made right.
pub fn manifest(bytes: &[u8]) {
    ringlane::fuzz_support::manifest(bytes);
    let mut mended = bytes.to_vec();
    ringlane::fuzz_support::mend_manifest(&mut mended);
    ringlane::fuzz_support::manifest(&mended);
}

/// The index of a sealed segment, as it is and with its checksums made right.
pub fn sidecar(bytes: &[u8]) {
    ringlane::fuzz_support::sidecar(bytes);
    let mut mended = bytes.to_vec();
    ringlane::fuzz_support::mend_sidecar_for_itself(&mut mended);
    ringlane::fuzz_support::sidecar(&mended);
}
