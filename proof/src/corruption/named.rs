//! The cases that were thought of: each class of bytes, damaged in the ways that could be mistaken for
//! something else. What may come of them is stated one by one.

use super::case::{Allowed, Case, bytes_of, fill};
use super::image::{Image, Layout, PAGE, noise};

/// All of an image.
pub(super) fn named(image: &Image) -> Vec<Case> {
    let mut cases = Vec::new();
    let sealed: Vec<_> = image.in_state("sealed").collect();
    segment_cases("live segment", image.written(), &mut cases);
    if let Some(prepared) = image.in_state("live").find(|segment| segment.frames.is_empty()) {
        segment_cases("prepared segment", prepared, &mut cases);
    }
    other_cases(image, &mut cases);
    segment_cases("oldest segment", sealed[0], &mut cases);
    segment_cases("newest sealed segment", sealed[sealed.len() - 1], &mut cases);
    manifest_cases(image, &mut cases);
    sidecar_cases(image, sealed[0], sealed[1], &mut cases);
    cases
}

fn segment_cases(class: &'static str, segment: &Layout, cases: &mut Vec<Case>) {
    use Allowed::{Harmless, Noticed, Refused, Window};
    let file = segment.info.file.as_str();
    let live = segment.info.state == "live";
    let must = if live { Refused } else { Noticed };
    for (at, what) in
        [(1, "header magic"), (8, "header version"), (33, "header salt"), (41, "header base"), (100, "header zeros")]
    {
        cases.push(Case::flip(class, file, must, at, what));
    }
    cases.push(Case::within(class, file, "header page zeroed", must, |bytes| bytes[..PAGE].fill(0)));
    cases.push(Case::remove(class, file, Refused));
    cases.push(Case::within(class, file, "truncated to zero", must, |bytes| bytes.clear()));
    cases.push(Case::within(class, file, "truncated at half", must, |bytes| bytes.truncate(bytes.len() / 2)));
    cases.push(Case::within(class, file, "garbage appended", Harmless, |bytes| bytes.extend(noise(3, 10_000))));
    if segment.frames.is_empty() {
        let garbage = |bytes: &mut Vec<u8>| fill(bytes, PAGE, &noise(4, 8 * PAGE));
        cases.push(Case::within(class, file, "garbage where frames will be", Harmless, garbage));
        return;
    }
    let first = &segment.frames[0];
    let at = first.file_offset as usize;
    let fields = [
        (0, "magic"),
        (2, "version"),
        (3, "kind"),
        (4, "length"),
        (9, "stamp"),
        (16, "distance"),
        (20, "previous"),
        (24, "body checksum"),
        (28, "header checksum"),
        (33, "body"),
    ];
    for (field, what) in fields {
        cases.push(Case::flip(class, file, must, at + field, &format!("first frame, {what}")));
    }
    let middle = segment.middle_records();
    let (at, bytes) = (middle.file_offset as usize, middle.bytes as usize);
    for (field, what) in
        [(4, "length"), (9, "stamp"), (32, "slot"), (36, "count"), (40, "offset"), (60, "body"), (bytes - 9, "body")]
    {
        cases.push(Case::flip(class, file, must, at + field, &format!("middle frame, {what}")));
    }
    let page = at / PAGE * PAGE;
    cases.push(Case::within(class, file, "middle page zeroed", must, move |bytes| bytes[page..page + PAGE].fill(0)));
    let garbage = move |bytes: &mut Vec<u8>| fill(bytes, page, &noise(5, PAGE));
    cases.push(Case::within(class, file, "middle page garbage", must, garbage));
    let swap = move |bytes: &mut Vec<u8>| {
        let (left, right) = bytes.split_at_mut(page + 3 * PAGE);
        left[page..page + PAGE].swap_with_slice(&mut right[..PAGE]);
    };
    cases.push(Case::within(class, file, "two pages swapped", must, swap));
    // A whole frame over another one: its stamp tells.
    let moved = move |all: &mut Vec<u8>| {
        let other = all[at..at + bytes].to_vec();
        fill(all, PAGE + 8 * 2000, &other);
    };
    cases.push(Case::within(class, file, "a frame written to a wrong place", must, moved));
    for frame in &segment.frames {
        if matches!(frame.kind, "withheld" | "publish" | "discard" | "catalog") {
            let at = frame.file_offset as usize;
            cases.push(Case::flip(class, file, must, at + frame.bytes as usize - 10, &format!("{} frame", frame.kind)));
        }
    }
    let last = segment.last_records();
    let at = last.file_offset as usize;
    cases.push(Case::flip(class, file, must, at + 8, "last records, header"));
    cases.push(Case::flip(class, file, must, at + 300, "last records, body"));
    // The last frame of all, a mark or the End frame: no record is in it.
    let end = segment.frames.last().expect("it has frames");
    let tail = end.file_offset as usize;
    let only_tail = if live { Harmless } else { Noticed };
    cases.push(Case::flip(class, file, only_tail, tail + 9, &format!("last frame ({}), header", end.kind)));
    cases.push(Case::flip(class, file, only_tail, tail + 32, &format!("last frame ({}), body", end.kind)));
    let lost = |from: usize| -> usize {
        let behind = segment.frames.iter().filter(|frame| (frame.file_offset + frame.bytes) as usize > from);
        behind.filter_map(|frame| frame.count).sum::<u32>() as usize
    };
    let behind = segment.end();
    if live {
        let from = behind.next_multiple_of(PAGE);
        cases.push(Case::within(class, file, "garbage behind the end", Harmless, move |bytes| {
            fill(bytes, from, &noise(6, 5 * PAGE));
        }));
        cases.push(Case::within(class, file, "garbage right behind the last frame", Harmless, move |bytes| {
            fill(bytes, behind, &noise(7, 3 * PAGE));
        }));
        let zero = move |bytes: &mut Vec<u8>| bytes[at..].fill(0);
        cases.push(Case::within("the last frames", file, "all from the last records on", Window(lost(at)), zero));
        let garbage = move |bytes: &mut Vec<u8>| fill(bytes, at, &noise(8, behind - at));
        cases.push(Case::within(
            "the last frames",
            file,
            "garbage from the last records on",
            Window(lost(at)),
            garbage,
        ));
        let page = (behind - 1) / PAGE * PAGE;
        let zero = move |bytes: &mut Vec<u8>| bytes[page..page + PAGE].fill(0);
        cases.push(Case::within("the last frames", file, "last page zeroed", Window(lost(page)), zero));
    } else {
        let zero = move |bytes: &mut Vec<u8>| bytes[at..].fill(0);
        cases.push(Case::within(class, file, "all from the last records on", must, zero));
    }
}

fn manifest_cases(image: &Image, cases: &mut Vec<Case>) {
    let used = 32 + u32::from_le_bytes(image.files["manifest-a"][12..16].try_into().expect("four bytes")) as usize;
    let places = [
        (0, "magic"),
        (8, "version"),
        (12, "length"),
        (16, "sequence"),
        (24, "checksum"),
        (28, "checksum"),
        (40, "body"),
        (used - 1, "body"),
    ];
    for name in ["manifest-a", "manifest-b"] {
        let class = "one manifest";
        for (at, what) in places {
            cases.push(Case::flip(class, name, Allowed::Harmless, at, what));
        }
        cases.push(Case::remove(class, name, Allowed::Harmless));
        cases.push(Case::within(class, name, "empty", Allowed::Harmless, |bytes| bytes.clear()));
        cases.push(Case::within(class, name, "cut", Allowed::Harmless, move |bytes| bytes.truncate(used / 2)));
        cases.push(Case::within(class, name, "garbage", Allowed::Harmless, |bytes| *bytes = noise(1, 5000)));
        let behind = move |bytes: &mut Vec<u8>| bytes.extend(noise(1, 5000));
        cases.push(Case::within(class, name, "garbage behind", Allowed::Harmless, behind));
    }
    let both = |what: &str, allowed, change: fn(&mut Vec<u8>)| {
        Case::new("both manifests", "manifest", what, allowed, move |files| {
            change(bytes_of(files, "manifest-a"));
            change(bytes_of(files, "manifest-b"));
        })
    };
    cases.push(both("magic", Allowed::Refused, |bytes| bytes[0] ^= 1));
    cases.push(both("sequence", Allowed::Refused, |bytes| bytes[16] ^= 1));
    cases.push(both("body", Allowed::Refused, |bytes| bytes[50] ^= 1));
    cases.push(both("empty", Allowed::Refused, |bytes| bytes.clear()));
    cases.push(both("cut", Allowed::Refused, |bytes| bytes.truncate(60)));
    cases.push(both("zeroed", Allowed::Refused, |bytes| bytes.fill(0)));
    cases.push(both("garbage", Allowed::Refused, |bytes| *bytes = noise(2, 4096)));
    cases.push(Case::new("both manifests", "manifest", "deleted", Allowed::Refused, |files| {
        files.retain(|name, _| !name.starts_with("manifest"));
    }));
}

fn sidecar_cases(image: &Image, segment: &Layout, other: &Layout, cases: &mut Vec<Case>) {
    let name = format!("{}.index", segment.info.file);
    let (class, allowed) = ("sidecar", Allowed::Harmless);
    let bytes = &image.files[&name];
    let entries = u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")) as usize;
    let runs = 64 + entries * 56;
    let places = [
        (0, "magic"),
        (8, "version"),
        (12, "entries"),
        (16, "salt"),
        (24, "end"),
        (32, "checksum"),
        (64, "slot"),
        (68, "runs count"),
        (72, "first offset"),
        (96, "runs start"),
        (104, "runs bytes"),
        (108, "runs checksum"),
        (116, "entry checksum"),
        (64 + 56 + 9, "second entry"),
        (runs + 1, "runs"),
        (runs + 40, "runs"),
    ];
    for (at, what) in places {
        cases.push(Case::flip(class, &name, allowed, at, what));
    }
    cases.push(Case::remove(class, &name, allowed));
    cases.push(Case::within(class, &name, "empty", allowed, |bytes| bytes.clear()));
    cases.push(Case::within(class, &name, "cut at half", allowed, |bytes| bytes.truncate(bytes.len() / 2)));
    cases.push(Case::within(class, &name, "cut in the runs", allowed, move |bytes| bytes.truncate(runs + 5)));
    cases.push(Case::within(class, &name, "zeroed", allowed, |bytes| bytes.fill(0)));
    cases.push(Case::within(class, &name, "garbage", allowed, |bytes| *bytes = noise(9, 3000)));
    let (from, to) = (format!("{}.index", other.info.file), name.clone());
    cases.push(Case::new(class, &name, "of another segment", allowed, move |files| {
        let bytes = files[&from].clone();
        files.insert(to.clone(), bytes);
    }));
}

fn other_cases(image: &Image, cases: &mut Vec<Case>) {
    let allowed = Allowed::Harmless;
    cases.push(Case::remove("lock", "lock", allowed));
    cases.push(Case::within("lock", "lock", "empty", allowed, |bytes| bytes.clear()));
    cases.push(Case::within("lock", "lock", "garbage", allowed, |bytes| *bytes = noise(1, 9000)));
    for free in image.in_state("recycled").chain(image.in_state("raw")) {
        let file = free.info.file.as_str();
        cases.push(Case::remove("free segment", file, allowed));
        cases.push(Case::within("free segment", file, "garbage", allowed, |bytes| *bytes = noise(2, bytes.len())));
        cases.push(Case::within("free segment", file, "cut", allowed, |bytes| bytes.truncate(5000)));
    }
    // Damage in two files: a sidecar that is missing, of a segment that is damaged. Reads of it fail, and
    // writing goes on: a read that fails does not poison.
    let segment = image.in_state("sealed").next().expect("there are some");
    let (file, at) = (segment.info.file.clone(), segment.middle_records().file_offset as usize + 100);
    let sidecar = format!("{file}.index");
    cases.push(Case::new("segment and sidecar", &file.clone(), "frame, no sidecar", Allowed::Noticed, move |files| {
        files.remove(&sidecar);
        bytes_of(files, &file)[at] ^= 1;
    }));
}
