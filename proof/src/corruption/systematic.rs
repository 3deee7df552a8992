//! The cases that nobody thought of: every field of every kind of entry in every file, each damaged in
//! every way there is. What may come of one is worked out from what it changed.

use super::case::{Allowed, Case, fill};
use super::image::{Files, Image, Layout, PAGE, noise};
use ringlane::inspect::FrameInfo;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a device writes at a time.
const SECTOR: usize = 512;

/// A way to damage a file.
type Way<'a> = &'a dyn Fn(&mut Vec<u8>);

/// A stretch of bytes that mean one thing.
struct Region {
    class: &'static str,
    what: String,
    bytes: Range<usize>,
}

/// Fields by name: where they begin and how long they are.
type Fields<'a> = &'a [(&'a str, usize, usize)];

const SEGMENT_HEADER: Fields<'_> = &[
    ("magic", 0, 8),
    ("version", 8, 4),
    ("log", 12, 4),
    ("generation", 16, 4),
    ("zero", 20, 4),
    ("engine id", 24, 8),
    ("salt", 32, 8),
    ("base", 40, 8),
    ("bytes", 48, 8),
    ("window", 56, 8),
    ("checksum", 64, 4),
    ("zeros", 68, PAGE - 68),
];
const FRAME_HEADER: Fields<'_> = &[
    ("magic", 0, 2),
    ("version", 2, 1),
    ("kind", 3, 1),
    ("length", 4, 4),
    ("stamp", 8, 8),
    ("distance", 16, 4),
    ("previous", 20, 4),
    ("body checksum", 24, 4),
    ("header checksum", 28, 4),
];
const MANIFEST_HEADER: Fields<'_> = &[
    ("magic", 0, 8),
    ("version", 8, 4),
    ("length", 12, 4),
    ("sequence", 16, 8),
    ("body checksum", 24, 4),
    ("header checksum", 28, 4),
];
const SIDECAR_HEADER: Fields<'_> = &[
    ("magic", 0, 8),
    ("version", 8, 4),
    ("entries", 12, 4),
    ("salt", 16, 8),
    ("end", 24, 8),
    ("checksum", 32, 4),
    ("zeros", 36, 28),
];
const SIDECAR_ENTRY: Fields<'_> = &[
    ("slot", 0, 4),
    ("runs count", 4, 4),
    ("first offset", 8, 8),
    ("timestamp before", 16, 8),
    ("record bytes", 24, 8),
    ("runs start", 32, 8),
    ("runs bytes", 40, 4),
    ("runs checksum", 44, 4),
    ("withheld frames", 48, 4),
    ("checksum", 52, 4),
];

/// All of an image.
pub(super) fn systematic(image: &Image) -> Vec<Case> {
    let mut cases = Vec::new();
    for segment in &image.segments {
        let file = segment.info.file.as_str();
        add(image, file, regions_of_segment(image, segment), &mut cases);
    }
    for name in ["manifest-a", "manifest-b"] {
        add(image, name, regions_of_manifest(image, name), &mut cases);
    }
    for name in image.files.keys().filter(|name| name.ends_with(".index")) {
        add(image, name, regions_of_sidecar(image, name), &mut cases);
    }
    let lock = Region { class: "lock", what: "all".to_owned(), bytes: 0..image.files["lock"].len() };
    add(image, "lock", vec![lock], &mut cases);
    exchanged_files(image, &mut cases);
    cases
}

fn fields(class: &'static str, at: usize, what: &str, fields: Fields<'_>, regions: &mut Vec<Region>) {
    regions.extend(fields.iter().map(|(name, from, bytes)| Region {
        class,
        what: format!("{what}{name}"),
        bytes: at + from..at + from + bytes,
    }));
}

fn regions_of_segment(image: &Image, segment: &Layout) -> Vec<Region> {
    let mut regions = Vec::new();
    let written = segment.info.file == image.written().info.file;
    let (header, frames, body, behind) = match (segment.info.state, written) {
        ("sealed", _) => (
            "sealed segment: header",
            "sealed segment: frame headers",
            "sealed segment: bodies",
            "sealed segment: behind",
        ),
        ("live", true) => {
            ("live segment: header", "live segment: frame headers", "live segment: bodies", "live segment: behind")
        }
        ("live", false) => ("prepared segment: header", "", "", "prepared segment: behind"),
        _ => ("free segment", "", "", "free segment"),
    };
    fields(header, 0, "header, ", SEGMENT_HEADER, &mut regions);
    for frame in chosen(segment) {
        let at = frame.file_offset as usize;
        let what = format!("{} frame at {at}, ", frame.kind);
        fields(frames, at, &what, FRAME_HEADER, &mut regions);
        let (from, end) = (at + 32, at + frame.bytes as usize);
        for (name, bytes) in
            [("beginning", from..from + 24), ("middle", (from + end) / 2..(from + end) / 2 + 8), ("end", end - 8..end)]
        {
            if bytes.end <= end && !bytes.is_empty() {
                regions.push(Region { class: body, what: format!("{what}body, {name}"), bytes });
            }
        }
    }
    let (end, length) = (segment.end(), image.files[&segment.info.file].len());
    for (name, bytes) in [("right behind the frames", end..end + 64), ("the last page", length - PAGE..length)] {
        if bytes.end <= length {
            regions.push(Region { class: behind, what: name.to_owned(), bytes });
        }
    }
    regions
}

/// The first frames, one of each kind, one in the middle, and the last ones.
fn chosen(segment: &Layout) -> Vec<&FrameInfo> {
    let frames = &segment.frames;
    if frames.is_empty() {
        return Vec::new();
    }
    let mut places: BTreeMap<usize, ()> = BTreeMap::new();
    let mut kinds = std::collections::HashSet::new();
    for (at, frame) in frames.iter().enumerate() {
        let near_an_end = at < 2 || at + 3 >= frames.len() || at == frames.len() / 2;
        if kinds.insert(frame.kind) || near_an_end {
            places.insert(at, ());
        }
    }
    places.into_keys().map(|at| &frames[at]).collect()
}

fn regions_of_manifest(image: &Image, name: &str) -> Vec<Region> {
    let mut regions = Vec::new();
    fields("one manifest", 0, "", MANIFEST_HEADER, &mut regions);
    let body = u32_at(&image.files[name], 12) as usize;
    for part in 0..4 {
        let bytes = 32 + body * part / 4..32 + body * (part + 1) / 4;
        regions.push(Region { class: "one manifest", what: format!("body, part {part}"), bytes });
    }
    regions
}

fn regions_of_sidecar(image: &Image, name: &str) -> Vec<Region> {
    let mut regions = Vec::new();
    let bytes = &image.files[name];
    fields("sidecar", 0, "", SIDECAR_HEADER, &mut regions);
    let entries = u32_at(bytes, 12) as usize;
    for entry in [0, entries - 1] {
        fields("sidecar", 64 + entry * 56, &format!("entry {entry}, "), SIDECAR_ENTRY, &mut regions);
    }
    let runs = 64 + entries * 56;
    regions.push(Region { class: "sidecar", what: "runs, beginning".to_owned(), bytes: runs..runs + 8 });
    regions.push(Region {
        class: "sidecar",
        what: "runs, middle".to_owned(),
        bytes: (runs + bytes.len()) / 2..bytes.len(),
    });
    regions
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Every way to damage each region, without those that change nothing.
fn add(image: &Image, file: &str, regions: Vec<Region>, cases: &mut Vec<Case>) {
    let original = &image.files[file];
    for Region { class, what, bytes } in regions {
        let Range { start, end } = bytes;
        let exchange = |bytes: &mut Vec<u8>, unit: usize| {
            let from = start / unit * unit;
            if from + 2 * unit <= bytes.len() {
                let (left, right) = bytes[from..from + 2 * unit].split_at_mut(unit);
                left.swap_with_slice(right);
            }
        };
        let ways: [(&str, Way<'_>); 7] = [
            ("lowest bit flipped", &|bytes| bytes[start] ^= 1),
            ("highest bit flipped", &|bytes| bytes[end - 1] ^= 128),
            ("zeroed", &|bytes| bytes[start..end].fill(0)),
            ("garbage", &|bytes| fill(bytes, start, &noise(start as u64 + 1, end - start))),
            ("truncated here", &|bytes| bytes.truncate(start)),
            ("sector exchanged with the next one", &|bytes| exchange(bytes, SECTOR)),
            ("page exchanged with the next one", &|bytes| exchange(bytes, PAGE)),
        ];
        for (way, damage) in ways {
            let mut changed = original.clone();
            damage(&mut changed);
            if changed == *original {
                continue;
            }
            let allowed = allowed(image, file, &changed);
            let (name, what) = (file.to_owned(), format!("{what}: {way}"));
            // Only what differs is kept: images are large.
            let patch = Patch::new(original, &changed);
            cases.push(Case::within(class, &name, what, allowed, move |bytes| patch.apply(bytes)));
        }
    }
}

/// The difference between two versions of a file.
struct Patch {
    length: usize,
    at: usize,
    bytes: Vec<u8>,
}

impl Patch {
    fn new(original: &[u8], changed: &[u8]) -> Patch {
        let common = original.len().min(changed.len());
        let differs = |at: &usize| original[*at] != changed[*at];
        let first = (0..common).find(differs).unwrap_or(common);
        let last = (first..common).rev().find(differs).map_or(first, |last| last + 1);
        let last = if changed.len() > common { changed.len() } else { last };
        Patch { length: changed.len(), at: first, bytes: changed[first..last].to_vec() }
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        bytes.resize(self.length, 0);
        bytes[self.at..self.at + self.bytes.len()].copy_from_slice(&self.bytes);
    }
}

/// What may come of a file having these bytes.
fn allowed(image: &Image, file: &str, changed: &[u8]) -> Allowed {
    let Some(segment) = image.segments.iter().find(|segment| segment.info.file == file) else {
        // One manifest, a sidecar, the lock: there is another one, or it is made anew.
        return Allowed::Harmless;
    };
    let original = &image.files[file];
    match segment.info.state {
        "live" if changed.len() < original.len() => Allowed::Refused,
        "live" => allowed_in_live(segment, original, changed),
        "sealed" => Allowed::Noticed,
        _ => Allowed::Harmless,
    }
}

/// In the live segment only frames can speak for others: the first damaged one and all behind it may be
/// missing if no whole frame says that it was durable.
fn allowed_in_live(segment: &Layout, original: &[u8], changed: &[u8]) -> Allowed {
    let whole = |frame: &FrameInfo| {
        let bytes = frame.file_offset as usize..(frame.file_offset + frame.bytes) as usize;
        original[bytes.clone()] == changed[bytes]
    };
    if original[..PAGE] != changed[..PAGE] {
        return Allowed::Refused;
    }
    let Some(first) = segment.frames.iter().position(|frame| !whole(frame)) else { return Allowed::Harmless };
    let position = segment.frames[first].position;
    if segment.frames.iter().any(|frame| whole(frame) && frame.durable > position) {
        return Allowed::Noticed;
    }
    Allowed::Window(segment.frames[first..].iter().filter_map(|frame| frame.count).sum::<u32>() as usize)
}

/// Whole files that stand under each other's names.
fn exchanged_files(image: &Image, cases: &mut Vec<Case>) {
    let mut add = |class, one: &str, other: &str, allowed| {
        let (from, to) = (one.to_owned(), other.to_owned());
        let mut case = Case::new(class, one, format!("exchanged with {other}"), allowed, move |files: &mut Files| {
            let (first, second) = (files[&from].clone(), files[&to].clone());
            files.insert(from.clone(), second);
            files.insert(to.clone(), first);
        });
        case.files.push(other.to_owned());
        cases.push(case);
    };
    add("one manifest", "manifest-a", "manifest-b", Allowed::Harmless);
    let written = image.written().info.file.as_str();
    let sealed: Vec<_> = image.in_state("sealed").map(|segment| segment.info.file.as_str()).collect();
    for pair in sealed.windows(2) {
        add("exchanged segments", pair[0], pair[1], Allowed::Noticed);
        let (one, other) = (format!("{}.index", pair[0]), format!("{}.index", pair[1]));
        if image.files.contains_key(&one) && image.files.contains_key(&other) {
            add("sidecar", &one, &other, Allowed::Harmless);
        }
    }
    add("exchanged segments", sealed[sealed.len() - 1], written, Allowed::Refused);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_gives_the_changed_bytes() {
        let original = noise(1, 5000);
        for change in [0, 1, 2, 3] {
            let mut changed = original.clone();
            match change {
                0 => changed[4999] ^= 1,
                1 => changed.truncate(77),
                2 => changed.extend(noise(2, 9)),
                _ => changed[10..3000].fill(0),
            }
            let mut patched = original.clone();
            Patch::new(&original, &changed).apply(&mut patched);
            assert_eq!(patched, changed);
        }
    }
}
