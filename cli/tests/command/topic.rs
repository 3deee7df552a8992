//! Topics, and the arguments that all sub-commands share.

use crate::home::{Home, Run, backend};
use serde_json::json;

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let home = Home::new();
    let created = home.run(&["topic", "create", "orders", "--partitions", "3"]).ok();
    assert_eq!(created.text(), "created topic `orders` with 3 partitions\n");
    home.run(&["topic", "create", "audit"]).ok();
    home.feed(&["produce", "-t", "orders"], b"a\nb\nc\nd\n").ok();

    let listed = home.run(&["topic", "list", "--json"]).ok().json();
    let names: Vec<_> = listed.iter().map(|topic| (&topic["name"], &topic["partitions"], &topic["records"])).collect();
    assert_eq!(names, [(&json!("audit"), &json!(1), &json!(0)), (&json!("orders"), &json!(3), &json!(4))]);
    let table = home.run(&["topic", "list"]).ok();
    assert!(table.text().starts_with("NAME "), "{}", table.text());
    assert_eq!(table.text().lines().count(), 3);

    let described = &home.run(&["topic", "describe", "orders", "--json"]).ok().json()[0];
    assert_eq!(described["partition"][0], json!({"partition": 0, "lane": 0, "first_offset": 0, "next_offset": 2}));
    assert!(home.run(&["topic", "describe", "orders"]).ok().text().contains("next_offset"));

    let deleted = home.run(&["topic", "delete", "orders"]).ok();
    assert_eq!(deleted.text(), "deleted topic `orders` and its 4 records\n");
    home.run(&["topic", "describe", "orders"]).fails(1, &["no topic `orders`", "create it"]);
}

#[test]
fn how_long_records_are_kept_is_set_and_what_is_given_up_is_gone() {
    let home = Home::new();
    home.run(&["topic", "create", "orders", "--retention-ms", "60000"]).ok();
    home.feed(&["produce", "-t", "orders"], b"a\nb\nc\nd\n").ok();
    let bounds = |run: Run| {
        let topic = run.ok().json()[0].clone();
        (topic["retention_ms"].clone(), topic["retention_bytes"].clone())
    };
    assert_eq!(bounds(home.run(&["topic", "describe", "orders", "--json"])), (json!(60000), json!(null)));
    let configure = |arguments: &[&str]| {
        let all = [&["topic", "configure", "orders"], arguments].concat();
        home.run(&all)
    };
    assert_eq!(bounds(configure(&["--retention-bytes", "5000", "--json"])), (json!(60000), json!(5000)));
    let told = configure(&["--retention-ms", "0"]).ok();
    assert_eq!(told.text(), "topic `orders` keeps records for ever, 5,000 bytes of each partition\n");
    let by_groups = |run: Run| {
        let topic = run.ok().json()[0].clone();
        (topic["keep_unfinished"].clone(), topic["drop_finished"].clone())
    };
    let set = configure(&["--keep-unfinished", "--drop-finished=true", "--json"]);
    assert_eq!(by_groups(set), (json!(true), json!(true)));
    let told = configure(&["--drop-finished", "false"]).ok();
    assert!(told.text().contains("not finished is kept longer") && !told.text().contains("goes at once"));
    assert_eq!(by_groups(home.run(&["topic", "describe", "orders", "--json"])), (json!(true), json!(false)));
    assert!(home.run(&["topic", "describe", "orders"]).ok().text().contains("keep_unfinished"));

    let given_up = home.run(&["topic", "delete-records", "orders", "--partition", "0", "--before", "3"]).ok();
    assert_eq!(given_up.text(), "partition 0 of topic `orders` begins at offset 3 now\n");
    assert_eq!(home.run(&["consume", "-t", "orders"]).ok().text(), "d\n");
    home.run(&["consume", "-t", "orders", "--partition", "0", "--from", "offset:1"])
        .fails(1, &["offsets 1", "seek to 3"]);
    home.run(&["topic", "delete-records", "orders", "--partition", "7", "--before", "3"])
        .fails(1, &["partitions 0 to 0, not 7"]);
    home.run(&["topic", "configure", "nothing"]).fails(1, &["no topic `nothing`"]);
    assert!(home.run(&["verify"]).ok().text().contains("no damage"));
}

#[test]
fn what_cannot_be_made_is_refused_with_the_reason() {
    let home = Home::with_topic("orders", 2);
    home.run(&["topic", "create", "orders"]).fails(1, &["exists already", "2 partitions"]);
    home.run(&["topic", "create", "none", "--partitions", "0"]).fails(1, &["partitions"]);
    home.run(&["topic", "create", "a/b"]).fails(1, &["a/b", "not a valid name"]);
    home.run(&["topic", "create", ""]).fails(1, &["not a valid name"]);
    home.run(&["topic", "delete", "nothing"]).fails(1, &["no topic `nothing`"]);
    home.run(&["topic", "create", "x", "--partitions", "many"]).fails(2, &["many"]);
}

#[test]
fn the_directory_comes_from_the_argument_or_the_environment_and_is_required() {
    let home = Home::with_topic("orders", 1);
    let elsewhere = home.file("plain-file", b"");
    let mut command = home.command(&["topic", "list"]);
    command.env_remove("RINGLANE_DIR");
    crate::home::Run::of(command.spawn().unwrap()).fails(2, &["--dir"]);
    let engine = home.engine();
    let mut command = home.command(&["topic", "list", "--json", "--dir", engine.to_str().unwrap()]);
    command.env("RINGLANE_DIR", &elsewhere);
    assert_eq!(crate::home::Run::of(command.spawn().unwrap()).ok().json().len(), 1);
    home.run(&["topic", "list", "--dir", elsewhere.to_str().unwrap()]).fails(1, &["plain-file"]);
}

#[test]
fn looking_at_a_directory_that_is_not_there_does_not_make_it() {
    let home = Home::new();
    for arguments in [
        &["topic", "list"][..],
        &["topic", "describe", "orders"],
        &["topic", "delete", "orders"],
        &["producer", "list"],
        &["producer", "delete", "billing"],
        &["consume", "-t", "orders"],
        &["stats"],
        &["sync"],
        &["inspect"],
        &["verify"],
    ] {
        home.run(arguments).fails(1, &["engine"]);
        assert!(!home.engine().exists(), "{arguments:?} made a directory");
    }
}

#[test]
fn options_of_the_engine_are_checked_by_name_and_value() {
    let home = Home::with_topic("orders", 1);
    home.run(&["stats", "-o", "tail_cash=1"]).fails(2, &["tail_cash", "tail_cache_bytes"]);
    home.run(&["stats", "-o", "lanes=many"]).fails(2, &["lanes", "many"]);
    home.run(&["stats", "-o", "lanes"]).fails(2, &["OPTION=VALUE"]);
    home.run(&["stats", "-o", "segments_prepared=0"]).fails(1, &["segments_prepared", "1 to 16"]);
    let stats = &home.run(&["stats", "--json", "-o", "backend=plain", "-o", "pin_lanes=false"]).ok().json()[0];
    assert_eq!(stats["io"]["backend"], "plain");
    assert_eq!(stats["topics"], 1);
    let mut command = home.command(&["stats", "--json", "-o", "lane_nice=19"]);
    let set = Run::of(command.env("RINGLANE_OPTIONS", "backend=plain-buffered,lane_nice=3").spawn().unwrap()).ok();
    assert_eq!(set.json()[0]["io"]["direct"], false, "the environment chose the backend");
    assert_eq!(set.json()[0]["lanes"][0]["nice"], 19, "the command line comes after it");
    let text = home.run(&["stats"]).ok();
    assert!(text.text().contains("io.backend"), "{}", text.text());
}

/// A run of the suite that is about a backend must not run on another by mistake.
#[test]
fn the_backend_that_the_suite_is_run_for_is_the_one_that_runs() {
    let Some(wanted) = backend() else { return };
    let stats = &Home::with_topic("t", 1).run(&["stats", "--json"]).ok().json()[0];
    let runs = (stats["io"]["backend"].as_str().unwrap(), stats["io"]["direct"].as_bool().unwrap());
    let expected = match wanted.as_str() {
        "io-uring" => ("io_uring", true),
        "plain" => ("plain", true),
        "plain-buffered" => ("plain", false),
        other => panic!("RINGLANE_TEST_BACKEND={other}"),
    };
    assert_eq!(runs, expected);
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let home = Home::new();
    std::fs::create_dir(home.engine()).unwrap();
    std::fs::write(home.engine().join("manifest"), vec![b'x'; 16384]).unwrap();
    home.run(&["topic", "create", "orders"]).fails(1, &["manifest"]);
    assert_eq!(std::fs::read(home.engine().join("manifest")).unwrap(), vec![b'x'; 16384]);
}

#[test]
fn help_is_there_for_every_command_and_nonsense_is_a_usage_error() {
    let home = Home::new();
    let all = [
        "topic", "producer", "produce", "consume", "inspect", "verify", "audit", "repair", "stats", "sync", "bench",
        "demo",
    ];
    for command in all {
        assert!(home.run(&[command, "--help"]).ok().text().contains("Usage: ringlane"), "{command}");
    }
    assert!(!home.run(&["--help"]).ok().text().contains("demo-writer"), "the demo's own process is not for users");
    home.run(&["fly"]).fails(2, &["fly"]);
    home.run(&[]).fails(2, &["Usage"]);
}
