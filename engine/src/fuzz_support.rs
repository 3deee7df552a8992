//! What the fuzz targets in fuzz/ need of the inside. Not part of the API.
//!
//! Invariants:
//! - Every function here takes any bytes at all. It panics only where the engine breaks a promise.
//! - `mend_*` makes checksums right and leaves the rest as it is, so that a fuzzer gets behind them: what
//!   a checksum covers may still be nonsense, and must be refused all the same.

use crate::admin::connection::{Connection, Doing};
use crate::admin::handler::Handler;
use crate::admin::message::{self, Header as MessageHeader, Reply};
use crate::engine::Engine;
use crate::lane::catalog::CatalogChange;
use crate::lane::checkpoint::{self, Assembly};
use crate::lane::transactions::Prepared;
use crate::lane::{entries, progress};
use crate::log::frame::{
    FRAME_ALIGNMENT, FrameContext, FrameHeader, HEADER_BYTES, HEADER_BYTES_MAX, Kind, u32_at, u64_at,
};
use crate::log::manifest::{Manifest, ManifestSegment, SegmentState};
use crate::log::position::Position;
use crate::partition::page_cache::PageCache;
use crate::partition::sidecar::{MemoryFile, Sidecar};
use crate::record::{Header, Record, RecordRef};
use std::sync::Arc;

const PAGE: usize = crate::io::PAGE;
/// Where [`frame`] pretends that its bytes lie.
const FRAME_POSITION: Position = Position(8192);
/// The segment that [`frame`] and [`sidecar`] pretend to read.
const SEGMENT: ManifestSegment = ManifestSegment {
    file: 1,
    log: 0,
    generation: 1,
    state: SegmentState::Sealed,
    salt: 0x5eed,
    base: Position(0),
    bytes: 1 << 20,
    end: Position(1 << 19),
    last_append_ms: 0,
    copy_of: None,
};

/// A record: what parsing accepts is what encoding writes.
pub fn record(bytes: &[u8]) {
    let Some((record, next)) = RecordRef::parse(bytes) else { return };
    assert!(next >= record.as_bytes().len(), "the next record begins behind this one");
    let headers: Vec<Header<'_>> = record.headers().collect();
    let again = Record {
        key: record.key(),
        value: record.value(),
        headers: &headers,
        sequence: record.sequence(),
        message_id: record.message_id(),
        ..Record::new(b"").timestamp_ms(0)
    };
    let size = again.encoded_size(usize::MAX).expect("it was small enough to be read");
    let mut encoded = Vec::new();
    again.encode_into(&mut encoded, size, record.timestamp_ms());
    assert_eq!(&encoded[..size], record.as_bytes(), "a record has one layout");
}

/// A frame with its body, and what its kind says stands in the body.
pub fn frame(bytes: &[u8]) {
    let Ok((header, body)) = FrameHeader::decode_whole(&SEGMENT.context(), FRAME_POSITION, bytes) else { return };
    assert!(header.total_bytes() as usize <= bytes.len() && body.len() == header.body_bytes as usize);
    let mut again = vec![0; header.kind.header_bytes()];
    header.encode(&SEGMENT.context(), &mut again);
    assert_eq!(again, bytes[..again.len()], "a header has one encoding");
    match header.kind {
        Kind::Records { .. } | Kind::Withheld { .. } | Kind::Moved { .. } => {
            let mut rest = body;
            while let Some((_, next)) = RecordRef::parse(rest) {
                record(rest);
                rest = rest.get(next..).unwrap_or_default();
            }
        }
        Kind::Publish => drop(entries::decode_publish(body)),
        Kind::Discard => drop(entries::decode_discard(body)),
        Kind::Catalog => {
            if let Some(change) = CatalogChange::decode(body) {
                assert_eq!(CatalogChange::decode(&change.encode()), Some(change), "it is read back");
            }
        }
        Kind::Checkpoint | Kind::Head => {
            checkpoint::previous_end(body);
            if let Ok(Some(state)) = Assembly::default().push(body) {
                state.encode();
            }
        }
        Kind::Truncate => drop(entries::decode_truncate(body)),
        Kind::Progress => drop(progress::decode_progress(body)),
        Kind::Prepare => {
            if let Some(prepared) = Prepared::decode(body) {
                assert_eq!(Prepared::decode(&prepared.encode()), Some(prepared), "it is read back");
            }
        }
        Kind::Mark | Kind::End | Kind::Pad => {}
    }
}

/// A manifest: what is accepted is read back as it was.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::decode(bytes) {
        let again = manifest.encode();
        assert_eq!(again, bytes[..again.len()], "a manifest has one encoding");
    }
}

/// The index of a segment: all its entries and runs, and the search for a slot.
pub fn sidecar(bytes: &[u8]) {
    let cache = PageCache::new(1 << 20);
    let file = Arc::new(MemoryFile::new("index", bytes));
    let Ok(sidecar) = Sidecar::open(file, SEGMENT, SEGMENT.end, &cache) else { return };
    for at in 0..sidecar.entries().min(64) {
        if let Ok(entry) = sidecar.entry_at(at, &cache) {
            let _ = sidecar.runs(&entry, &cache);
            let _ = sidecar.entry(entry.slot, &cache);
        }
    }
    let _ = sidecar.entry(u32::MAX, &cache);
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Makes of any bytes a frame that [`frame`] does not refuse for its checksums, stamp or length.
pub fn mend_frame(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(FRAME_ALIGNMENT as usize).max(HEADER_BYTES_MAX + 8), 0);
    bytes[0..2].copy_from_slice(b"RL");
    bytes[2] = 1;
    bytes[3] = bytes[3] % 13 + 1;
    bytes[8..16].copy_from_slice(&SEGMENT.salt.wrapping_add(FRAME_POSITION.0).to_le_bytes());
    let room = (bytes.len() - HEADER_BYTES_MAX) as u32;
    if u32_at(bytes, 4) > room {
        put_u32(bytes, 4, room);
    }
    mend_frame_at(bytes, &SEGMENT.context());
}

/// Makes both checksums of the frame at the start of the bytes right; gives its length and the header's checksum.
fn mend_frame_at(bytes: &mut [u8], context: &FrameContext) -> Option<(usize, u32)> {
    if bytes.len() < HEADER_BYTES || &bytes[..2] != b"RL" {
        return None;
    }
    let kind = Kind::header_bytes_of(bytes[3])?;
    let body_bytes = u32_at(bytes, 4) as usize;
    let body = crc32c::crc32c(bytes.get(kind..kind + body_bytes)?);
    put_u32(bytes, 24, body);
    put_u32(bytes, 28, 0);
    let checksum = context.checksum(&bytes[..kind]);
    put_u32(bytes, 28, checksum);
    Some(((kind + body_bytes).next_multiple_of(FRAME_ALIGNMENT as usize), checksum))
}

/// Makes the checksums of a manifest right.
pub fn mend_manifest(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    bytes[..8].copy_from_slice(b"RINGLMAN");
    let body_bytes = (u32_at(bytes, 12) as usize).min(bytes.len() - HEADER_BYTES);
    put_u32(bytes, 12, body_bytes as u32);
    let body = crc32c::crc32c(&bytes[HEADER_BYTES..HEADER_BYTES + body_bytes]);
    put_u32(bytes, 24, body);
    let header = crc32c::crc32c(&bytes[..28]);
    put_u32(bytes, 28, header);
}

/// Makes [`sidecar`] take any bytes for the index of its segment.
pub fn mend_sidecar_for_itself(bytes: &mut [u8]) {
    if bytes.len() >= 64 {
        bytes[16..24].copy_from_slice(&SEGMENT.salt.to_le_bytes());
        bytes[24..32].copy_from_slice(&SEGMENT.end.0.to_le_bytes());
    }
    mend_sidecar(bytes);
}

/// Makes the checksums of an index right: of its header, its entries, and of the runs that lie in the file.
pub fn mend_sidecar(bytes: &mut [u8]) {
    const HEADER: usize = 64;
    const ENTRY: usize = 56;
    const MOVED: usize = 24;
    if bytes.len() < HEADER {
        return;
    }
    bytes[..8].copy_from_slice(b"RINGLIDX");
    let salt = u64_at(bytes, 16);
    let header = crc32c::crc32c(&bytes[..36]);
    put_u32(bytes, 36, header);
    let entries = (u32_at(bytes, 12) as usize).min((bytes.len() - HEADER) / ENTRY);
    let moved = HEADER + entries * ENTRY;
    for at in 0..(u32_at(bytes, 32) as usize).min((bytes.len() - moved) / MOVED) {
        let entry = moved + at * MOVED;
        let seed = crc32c::crc32c(&salt.to_le_bytes());
        let checksum = crc32c::crc32c_append(seed, &bytes[entry..entry + 16]);
        put_u32(bytes, entry + 16, checksum);
    }
    for at in 0..entries {
        let entry = HEADER + at * ENTRY;
        let (start, count) = (u64_at(bytes, entry + 32), u64::from(u32_at(bytes, entry + 40)));
        let end = start.checked_add(count).filter(|end| *end <= bytes.len() as u64);
        if let Some(end) = end {
            let runs = crc32c::crc32c(&bytes[start as usize..end as usize]);
            put_u32(bytes, entry + 44, runs);
        }
        let seed = crc32c::crc32c(&salt.to_le_bytes());
        let checksum = crc32c::crc32c_append(seed, &bytes[entry..entry + 52]);
        put_u32(bytes, entry + 52, checksum);
    }
}

/// The frames of a segment file, as their lengths chain them.
pub fn frame_starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = PAGE;
    while let Some(rest) = bytes.get(at..)
        && rest.len() >= HEADER_BYTES
        && &rest[..2] == b"RL"
        && let Some(header_bytes) = Kind::header_bytes_of(rest[3])
    {
        starts.push(at);
        at += (header_bytes + u32_at(rest, 4) as usize).next_multiple_of(FRAME_ALIGNMENT as usize);
    }
    starts
}

/// Makes the checksum of a segment's header page right, and those of its frames, each chained to the one before.
pub fn mend_segment(bytes: &mut [u8]) {
    if bytes.len() < PAGE {
        return;
    }
    let page = crc32c::crc32c(&bytes[..64]);
    put_u32(bytes, 64, page);
    let context = FrameContext::new(u32_at(bytes, 12), u32_at(bytes, 16), u64_at(bytes, 32));
    let mut previous = None;
    for start in frame_starts(bytes) {
        let frame = &mut bytes[start..];
        if let Some(previous) = previous {
            put_u32(frame, 20, previous);
        }
        match mend_frame_at(frame, &context) {
            Some((_, checksum)) => previous = Some(checksum),
            None => break,
        }
    }
}

/// Messages of the admin socket, in pieces of `step` bytes, and their answers by an engine, which is opened for the
/// first that is whole. What is read is what was sent; every request has an answer that the other side reads.
pub fn admin_requests(mut bytes: &[u8], step: usize, open: &mut dyn FnMut() -> Engine) {
    let mut connection = Connection::new(0);
    let mut handler = None;
    let mut message = Vec::new();
    while !bytes.is_empty() && connection.doing() == Doing::Reading {
        let (piece, rest) = bytes.split_at(step.max(1).min(connection.wanted()).min(bytes.len()));
        bytes = rest;
        message.extend_from_slice(piece);
        match connection.received(piece, 0) {
            Ok(None) => {}
            Ok(Some((number, request))) => {
                assert_eq!(request.encode(number), message, "a request has one encoding");
                message.clear();
                let answer = handler.get_or_insert_with(|| Handler::new(open())).answer(0, request).encode(number);
                admin_reply(&answer);
                connection.answer(answer, 0);
            }
            Err(refusal) => connection.refuse(refusal, 0),
        }
        assert!(connection.held_bytes() <= message.len(), "memory grows with what came");
        let answer = connection.to_write().len();
        connection.wrote(answer, 0);
    }
}

/// An answer of the admin socket.
fn admin_reply(bytes: &[u8]) {
    let header =
        MessageHeader::decode(bytes[..message::HEADER_BYTES].try_into().expect("long enough")).expect("a header");
    let body = &bytes[message::HEADER_BYTES..];
    assert_eq!(header.body_bytes, body.len());
    let reply = Reply::decode(header.kind, body).expect("what a process answers can be read");
    // The handler makes an answer of a panic; here it must show.
    assert!(!format!("{reply:?}").contains("a bug in Ringlane"), "{reply:?}");
    assert_eq!(reply.encode(header.request), bytes, "an answer has one encoding");
}

/// Bytes in the place of an answer's body.
pub fn admin_answer(kind: u8, body: &[u8]) {
    let Some(reply) = Reply::decode(kind, body) else { return };
    // A kind of refusal that this version does not know becomes `other`; everything else is as it was.
    let again = reply.encode(1);
    assert_eq!(Reply::decode(kind, &again[message::HEADER_BYTES..]), Some(reply), "it is read back");
}

/// A request with a right header around any body.
pub fn admin_frame(kind: u8, body: &[u8]) -> Vec<u8> {
    message::frame(kind, 7, body)
}
