//! The header is what the code says: it is generated anew, and compared with the one that is committed.
//!
//! `RINGLANE_WRITE_HEADER=1 cargo test -p ringlane-ffi --test header` writes it.

#![allow(clippy::unwrap_used)]

use std::path::Path;

fn generated() -> String {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(crate_directory.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(crate_directory).with_config(config).generate().unwrap();
    let mut header = Vec::new();
    bindings.write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_header_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/ringlane.h");
    let header = generated();
    if std::env::var_os("RINGLANE_WRITE_HEADER").is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == header,
        "include/ringlane.h is not what ffi/ says; write it with RINGLANE_WRITE_HEADER=1 cargo test -p ringlane-ffi \
         --test header"
    );
}
