//! The header is what the code says: it is generated anew, and compared with the one that is committed.
//!
//! `RINGLANE_WRITE_HEADER=1 cargo test -p ringlane-ffi --test header` writes it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
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

/// The names in backticks of a column of the tables in docs/LANGUAGES.md.
fn column(number: usize) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/LANGUAGES.md");
    let document = std::fs::read_to_string(path).unwrap();
    let rows = document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what |"));
    let cells = rows.filter_map(|row| row.split('|').nth(number).map(str::to_owned));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_function_stands_in_the_table_of_languages() {
    let told: BTreeSet<String> = column(3)
        .into_iter()
        .map(|name| if name.starts_with("ringlane_") { name } else { format!("ringlane_{name}") })
        .filter(|name| name != "ringlane_error")
        .collect();
    let header = generated();
    let functions: BTreeSet<String> = header
        .lines()
        .filter(|line| !line.starts_with("//") && line.contains(" ringlane_") || line.contains("*ringlane_"))
        .filter_map(|line| line.split_once('(').filter(|_| !line.contains("(*")))
        .filter_map(|(before, _)| before.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("ringlane_"))
        .map(str::to_owned)
        .collect();
    assert!(functions.len() > 100, "{functions:?}");
    assert_eq!(told.difference(&functions).collect::<Vec<_>>(), Vec::<&String>::new(), "not in the header");
    assert_eq!(functions.difference(&told).collect::<Vec<_>>(), Vec::<&String>::new(), "not in docs/LANGUAGES.md");
}
