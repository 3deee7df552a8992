//! The demo, on files small and odd.

use crate::home::Home;

#[test]
fn nothing_is_lost_and_nothing_is_left_behind() {
    let home = Home::new();
    let lines: Vec<u8> = (0..5000).flat_map(|number| format!("line {number} \u{e9}\n").into_bytes()).collect();
    let odd = [&b"\n\n\xff\xfe\nthe same\nthe same\n"[..], &lines, b"without an end"].concat();
    let file = home.file("input.txt", &odd);
    let mut command = home.command(&["demo", "--json", "--input", file.to_str().unwrap()]);
    command.env_remove("RINGLANE_DIR");
    let run = crate::home::Run::of(command.spawn().unwrap()).ok();
    let figures = &run.json()[0];
    assert_eq!(figures["lines"], 5006);
    assert!(figures["acknowledged"].as_u64() >= Some(2503), "{figures}");
    assert_eq!((&figures["lost"], &figures["duplicated"]), (&0.into(), &0.into()));
    assert_eq!(home.list(), ["input.txt"], "its own directory is gone");
}

#[test]
fn it_runs_again_in_the_same_directory_and_says_what_it_shows() {
    let home = Home::with_topic("kept", 1);
    let file = home.file("input.txt", b"one line");
    for _ in 0..2 {
        let run = home.run(&["demo", "--input", file.to_str().unwrap(), "--partitions", "3"]).ok();
        for part in ["pass 1: 1 records", "compared", "pass 2:", "exactly once", "no damage"] {
            assert!(run.text().contains(part), "{part:?} is not in {}", run.text());
        }
    }
    let topics = home.run(&["topic", "list", "--json"]).ok().json();
    assert!(topics.iter().any(|topic| topic["name"] == "kept"));
    assert_eq!(home.run(&["consume", "-t", "demo-killed"]).ok().text(), "one line\n");
}

#[test]
fn an_input_that_cannot_be_used_is_said() {
    let home = Home::new();
    let empty = home.file("empty.txt", b"");
    home.run(&["demo", "--input", empty.to_str().unwrap()]).fails(1, &["no lines", "--input"]);
    home.run(&["demo", "--input", "missing.txt"]).fails(1, &["missing.txt", "--input"]);
}
