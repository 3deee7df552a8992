//! Calls of the C library with arguments that make no sense, in an order that makes none either.
//!
//! The bytes are a program: each call takes its function, its handles (good ones, freed ones, ones of other kinds, numbers
//! that never were one), its texts, sizes and structs from them. Pointers lead to what they say, for nothing else can be
//! asked of a library in C: that is what ends a program here as well.
//!
//! Invariants that are checked: every call returns, a failure has a status below zero and an error that says so, nothing
//! panics inside, and an out-pointer is written only by success.

use ringlane_ffi::call::ringlane_bytes;
use ringlane_ffi::consumer::*;
use ringlane_ffi::engine_calls::*;
use ringlane_ffi::member::*;
use ringlane_ffi::objects::*;
use ringlane_ffi::options::*;
use ringlane_ffi::producer::*;
use ringlane_ffi::queue::*;
use ringlane_ffi::records::*;
use ringlane_ffi::status::*;
use ringlane_ffi::text::*;
use ringlane_ffi::transaction::*;
use std::ffi::{CString, c_char, c_void};
use std::sync::OnceLock;

/// Calls of one program.
const CALLS_MAX: usize = 200;
const ENGINE: usize = 0;
const TOPIC: usize = 1;
const PRODUCER: usize = 2;
const QUEUE: usize = 3;
const CONSUMER: usize = 4;
const MEMBER: usize = 5;
const RECORDS: usize = 6;
const TRANSACTION: usize = 7;
const TEXT: usize = 8;
const OPTIONS: usize = 9;
const KINDS: usize = 10;

/// The engine of all programs: opening one for each would be most of what is done.
struct Shared {
    engine: usize,
    _directory: tempfile::TempDir,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = CString::new(directory.path().to_str().expect("a path in UTF-8")).expect("no zero in it");
        let mut engine = std::ptr::null_mut();
        // SAFETY: the text ends with a zero, and the result has a place.
        let opened =
            unsafe { ringlane_engine_open(path.as_ptr(), std::ptr::null(), &mut engine, std::ptr::null_mut()) };
        assert_eq!(opened, RINGLANE_OK);
        Shared { engine: engine.addr(), _directory: directory }
    })
}

/// What is left of the bytes.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        match self.byte() % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => u64::from(self.byte()),
            3 => i64::MIN as u64,
            4 => u64::from(u32::MAX),
            5 => 1,
            _ => u64::from_le_bytes([0; 8].map(|_: u8| self.byte())),
        }
    }

    /// A few bytes.
    fn bytes(&mut self) -> Vec<u8> {
        let count = usize::from(self.byte() % 24);
        (0..count).map(|_| self.byte()).collect()
    }

    /// A text, or none.
    fn text(&mut self) -> Option<CString> {
        const KNOWN: [&str; 12] =
            ["a", "b", "g", "kind", "shared", "topic", "a:beginning", "name", "partitions", "2", "filter", "tag = 'x'"];
        match self.byte() % 4 {
            0 => None,
            1 => CString::new(self.bytes().into_iter().filter(|byte| *byte != 0).collect::<Vec<_>>()).ok(),
            _ => CString::new(KNOWN[usize::from(self.byte()) % KNOWN.len()]).ok(),
        }
    }
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr())
}

/// Handles of a program: all that it was ever given.
#[derive(Default)]
struct Handles {
    of: [Vec<usize>; KINDS],
}

impl Handles {
    fn choose<T>(&self, input: &mut Input<'_>, kind: usize) -> *mut T {
        let pick = |input: &mut Input<'_>, kind: usize| {
            let all = &self.of[kind];
            all.get(usize::from(input.byte()).checked_rem(all.len()).unwrap_or(0)).copied().unwrap_or(0)
        };
        std::ptr::without_provenance_mut(match input.byte() % 16 {
            0 => 0,
            1 => input.number() as usize,
            2 => {
                let other = usize::from(input.byte()) % KINDS;
                pick(input, other)
            }
            3 => pick(input, kind) ^ (1 << (input.byte() % 64)),
            _ => pick(input, kind),
        })
    }
}

/// A place for a result that shows whether it was written.
const UNTOUCHED: usize = 0x5a5a_5a5a;

/// Runs a program.
pub fn abi(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut handles = Handles::default();
    handles.of[ENGINE].push(shared().engine);
    for _ in 0..CALLS_MAX {
        if input.0.is_empty() {
            break;
        }
        one_call(&mut input, &mut handles);
    }
    end(&handles);
}

/// Frees what is left; what was freed before is an error, and no more.
fn end(handles: &Handles) {
    /// Frees all of one kind.
    fn each<T>(of: &[usize], free: unsafe extern "C" fn(*mut T, *mut ringlane_error) -> ringlane_status) {
        for handle in of {
            // SAFETY: handles are numbers.
            unsafe { free(std::ptr::without_provenance_mut(*handle), std::ptr::null_mut()) };
        }
    }
    each(&handles.of[TRANSACTION], ringlane_transaction_free);
    each(&handles.of[RECORDS], ringlane_records_free);
    each(&handles.of[CONSUMER], ringlane_consumer_free);
    each(&handles.of[MEMBER], ringlane_member_free);
    each(&handles.of[PRODUCER], ringlane_producer_free);
    each(&handles.of[QUEUE], ringlane_queue_free);
    each(&handles.of[TOPIC], ringlane_topic_free);
    each(&handles.of[TEXT], ringlane_text_free);
    each(&handles.of[OPTIONS], ringlane_options_free);
}

fn judge(status: ringlane_status, error: &ringlane_error) {
    assert!(status <= 0, "a status of {status}");
    assert_ne!(status, RINGLANE_ERROR_PANIC, "a panic");
    assert_ne!(status, RINGLANE_ERROR_POISONED, "the engine was stopped");
    match status {
        RINGLANE_OK => assert_eq!(error.status, 77, "success wrote an error"),
        failed => {
            assert_eq!(error.status, failed);
            let end = error.message_bytes as usize;
            assert!(end > 0 && end < RINGLANE_MESSAGE_BYTES && error.message[end] == 0);
        }
    }
}

fn one_call(input: &mut Input<'_>, handles: &mut Handles) {
    // SAFETY: all zero bits are an error.
    let mut error: ringlane_error = unsafe { std::mem::zeroed() };
    error.status = 77;
    let said: *mut ringlane_error = &mut error;
    let mut made = UNTOUCHED;
    let out: *mut usize = &raw mut made;
    let mut kind = None;
    let (one, two) = (input.text(), input.text());
    let (name, other) = (pointer(&one), pointer(&two));
    let (number, small) = (input.number(), i32::from(input.byte()));
    let mut places = [0u64; 4];
    let place = places.as_mut_ptr();
    // SAFETY: texts end with a zero, arrays have what is said of them, results have places; the rest are numbers.
    let status = unsafe {
        match input.byte() % 44 {
            0 => {
                kind = Some(OPTIONS);
                ringlane_options_new(small % 12, out.cast(), said)
            }
            1 => ringlane_options_set(handles.choose(input, OPTIONS), name, other, said),
            2 => {
                kind = Some(TOPIC);
                ringlane_topic_create(
                    handles.choose(input, ENGINE),
                    name,
                    handles.choose(input, OPTIONS),
                    out.cast(),
                    said,
                )
            }
            3 => {
                kind = Some(TOPIC);
                ringlane_topic_open(handles.choose(input, ENGINE), name, out.cast(), said)
            }
            4 => {
                kind = Some(PRODUCER);
                ringlane_producer_open(handles.choose(input, ENGINE), handles.choose(input, OPTIONS), out.cast(), said)
            }
            5 | 6 => send(input, handles, said),
            7 | 8 => send_many(input, handles, said),
            9 => {
                let packed = input.bytes();
                let (producer, topic) = (handles.choose(input, PRODUCER), handles.choose(input, TOPIC));
                let queue = handles.choose::<ringlane_queue>(input, QUEUE);
                let size = packed.len();
                ringlane_producer_send_packed(
                    producer,
                    topic,
                    packed.as_ptr(),
                    size,
                    number as u32,
                    queue,
                    1,
                    place.cast(),
                    said,
                )
            }
            10 => ringlane_producer_flush(handles.choose(input, PRODUCER), said),
            11 => ringlane_producer_cancel(handles.choose(input, PRODUCER), number as u32, number, 1, said),
            12 => {
                let (producer, topic) = (handles.choose(input, PRODUCER), handles.choose(input, TOPIC));
                ringlane_producer_last_sent(producer, topic, number as u32, place.cast(), place.add(1), said)
            }
            13 => {
                kind = Some(QUEUE);
                ringlane_queue_new(out.cast(), said)
            }
            14 | 15 => drain(input, handles, said),
            16 => ringlane_queue_close(handles.choose(input, QUEUE), said),
            17 => {
                kind = Some(CONSUMER);
                ringlane_consumer_open(handles.choose(input, ENGINE), handles.choose(input, OPTIONS), out.cast(), said)
            }
            18 => {
                let (consumer, topic) = (handles.choose(input, CONSUMER), handles.choose(input, TOPIC));
                ringlane_consumer_assign(consumer, topic, number as u32, small % 6, number as i64, said)
            }
            19 => {
                let (consumer, topic) = (handles.choose(input, CONSUMER), handles.choose(input, TOPIC));
                ringlane_consumer_seek(consumer, topic, number as u32, small % 6, number as i64, said)
            }
            20 | 21 => {
                kind = Some(RECORDS);
                ringlane_consumer_poll(handles.choose(input, CONSUMER), i64::from(small % 2), out.cast(), said)
            }
            22 => {
                let queue = handles.choose::<ringlane_queue>(input, QUEUE);
                ringlane_consumer_notify(handles.choose(input, CONSUMER), queue, number, said)
            }
            23 => look_at_records(input, handles, said),
            24 => ringlane_group_create(handles.choose(input, ENGINE), name, handles.choose(input, OPTIONS), said),
            25 => {
                kind = Some(MEMBER);
                let engine = handles.choose(input, ENGINE);
                ringlane_member_join(engine, name, handles.choose(input, OPTIONS), out.cast(), said)
            }
            26 | 27 => {
                kind = Some(RECORDS);
                ringlane_member_poll(handles.choose(input, MEMBER), i64::from(small % 2), out.cast(), said)
            }
            28 => acknowledge(input, handles, said),
            29 => ringlane_member_ack_all(handles.choose(input, MEMBER), handles.choose(input, RECORDS), said),
            30 => {
                kind = Some(TRANSACTION);
                let producer = handles.choose(input, PRODUCER);
                ringlane_transaction_begin(producer, handles.choose(input, OPTIONS), out.cast(), said)
            }
            31 => {
                let bytes = input.bytes();
                let record = record(input, &bytes);
                let transaction = handles.choose(input, TRANSACTION);
                ringlane_transaction_send(transaction, handles.choose(input, TOPIC), &record, said)
            }
            32 => ringlane_transaction_prepare(handles.choose(input, TRANSACTION), said),
            33 => ringlane_transaction_commit(handles.choose(input, TRANSACTION), said),
            34 => ringlane_transaction_roll_back(handles.choose(input, TRANSACTION), said),
            35 => {
                kind = Some(TEXT);
                ringlane_transaction_describe(handles.choose(input, ENGINE), name, small, out.cast(), said)
            }
            36 => ringlane_transaction_decide(handles.choose(input, ENGINE), name, small, said),
            37 => {
                kind = Some(TEXT);
                ringlane_engine_stats(handles.choose(input, ENGINE), out.cast(), said)
            }
            38 => {
                kind = Some(TEXT);
                ringlane_group_describe(handles.choose(input, ENGINE), name, out.cast(), said)
            }
            39 => ringlane_text_get(handles.choose(input, TEXT), place.cast(), place.add(1).cast(), said),
            40 => ringlane_topic_delete(handles.choose(input, ENGINE), name, said),
            41 => ringlane_group_delete(handles.choose(input, ENGINE), name, said),
            42 => free(input, handles, said),
            _ => {
                let engine = handles.choose(input, ENGINE);
                ringlane_group_reset(engine, name, other, number as u32, small % 6, number as i64, place, said)
            }
        }
    };
    judge(status, &error);
    match (status, kind) {
        // NULL: nothing came.
        (RINGLANE_OK, Some(kind)) if made != 0 => handles.of[kind].push(made),
        (RINGLANE_OK, _) => {}
        (_, _) => assert_eq!(made, UNTOUCHED, "a failure wrote a result"),
    }
}

/// A record whose pointers lead into `bytes`.
fn record(input: &mut Input<'_>, bytes: &[u8]) -> ringlane_record {
    let part = |input: &mut Input<'_>| match input.byte() % 4 {
        0 => ringlane_bytes { data: std::ptr::null(), size: usize::from(input.byte() % 2) },
        1 => ringlane_bytes { data: bytes.as_ptr(), size: 0 },
        2 => ringlane_bytes { data: bytes.as_ptr(), size: usize::MAX - usize::from(input.byte()) },
        _ => ringlane_bytes { data: bytes.as_ptr(), size: bytes.len() },
    };
    // SAFETY: all zero bits are a record.
    let mut record: ringlane_record = unsafe { std::mem::zeroed() };
    record.struct_size = match input.byte() % 8 {
        // Not more than there is.
        0 => u32::from(input.byte() % 129),
        _ => size_of::<ringlane_record>() as u32,
    };
    record.flags = u32::from(input.byte()) % 40;
    (record.key, record.value) = (part(input), part(input));
    (record.tag, record.message_id) = (part(input), part(input));
    (record.partition, record.sequence) = (u32::from(input.byte() % 4), u64::from(input.byte() % 8));
    // Not so far ahead that the engine fills up with what waits.
    record.visible_ms = i64::from(input.byte() as i8);
    record
}

unsafe fn send(input: &mut Input<'_>, handles: &Handles, said: *mut ringlane_error) -> ringlane_status {
    let bytes = input.bytes();
    let record = record(input, &bytes);
    let (producer, topic) = (handles.choose(input, PRODUCER), handles.choose(input, TOPIC));
    let record = if input.byte().is_multiple_of(32) { std::ptr::null() } else { &raw const record };
    // SAFETY: as one_call says.
    unsafe {
        match input.byte() % 4 {
            0 => ringlane_producer_send(producer, topic, record, std::ptr::null_mut(), said),
            _ => ringlane_producer_send_async(producer, topic, record, handles.choose(input, QUEUE), said),
        }
    }
}

unsafe fn send_many(input: &mut Input<'_>, handles: &Handles, said: *mut ringlane_error) -> ringlane_status {
    let bytes = input.bytes();
    let records: Vec<ringlane_record> = (0..input.byte() % 8).map(|_| record(input, &bytes)).collect();
    let (producer, topic) = (handles.choose(input, PRODUCER), handles.choose(input, TOPIC));
    let queue = handles.choose::<ringlane_queue>(input, QUEUE);
    let stride = match input.byte() % 8 {
        0 => usize::from(input.byte()) % (size_of::<ringlane_record>() + 1),
        _ => size_of::<ringlane_record>(),
    };
    let each = i32::from(input.byte() % 2);
    // SAFETY: as one_call says.
    unsafe {
        ringlane_producer_send_batch_async(
            producer,
            topic,
            records.as_ptr(),
            stride,
            records.len(),
            queue,
            each,
            9,
            said,
        )
    }
}

unsafe fn drain(input: &mut Input<'_>, handles: &Handles, said: *mut ringlane_error) -> ringlane_status {
    // SAFETY: all zero bits are events.
    let mut events: [ringlane_event; 4] = unsafe { std::mem::zeroed() };
    let (mut count, count_max) = (0, usize::from(input.byte() % 5));
    let queue = handles.choose::<ringlane_queue>(input, QUEUE);
    let how = input.byte();
    let (timeout_ms, is_dispatched) = (i64::from(how & 1), how & 2 != 0);
    let mut called = 0usize;
    // SAFETY: as one_call says.
    let status = unsafe {
        let (stride, context) = (size_of::<ringlane_event>(), (&raw mut called).cast());
        match is_dispatched {
            true => ringlane_queue_dispatch(queue, Some(count_up), context, count_max, timeout_ms, &mut count, said),
            false => ringlane_queue_drain(queue, events.as_mut_ptr(), stride, count_max, timeout_ms, &mut count, said),
        }
    };
    assert!(count <= count_max && (!is_dispatched || called == count));
    status
}

/// Is given an event by a dispatch.
unsafe extern "C" fn count_up(called: *mut c_void, _: *const ringlane_event) {
    // SAFETY: it is what drain passed.
    unsafe { *called.cast::<usize>() += 1 };
}

unsafe fn look_at_records(input: &mut Input<'_>, handles: &Handles, said: *mut ringlane_error) -> ringlane_status {
    let records = handles.choose::<ringlane_records>(input, RECORDS);
    let (mut views, mut stride, mut count) = (std::ptr::null(), 0, 0);
    // SAFETY: as one_call says; views are valid as long as the batch is.
    unsafe {
        let status = ringlane_records_view(records, &mut views, &mut stride, &mut count, said);
        if status != RINGLANE_OK {
            return status;
        }
        for at in 0..count {
            let view = views.byte_add(stride * at).read();
            for bytes in [view.topic, view.key, view.value, view.message_id, view.record] {
                let whole = if bytes.data.is_null() { &[] } else { std::slice::from_raw_parts(bytes.data, bytes.size) };
                std::hint::black_box(whole.iter().map(|byte| u64::from(*byte)).sum::<u64>());
            }
        }
        let mut headers: [ringlane_header; 2] = std::mem::zeroed();
        let stride = size_of::<ringlane_header>();
        let index = usize::from(input.byte());
        ringlane_records_headers(records, index, headers.as_mut_ptr(), stride, headers.len(), &mut count, said)
    }
}

unsafe fn acknowledge(input: &mut Input<'_>, handles: &Handles, said: *mut ringlane_error) -> ringlane_status {
    let (place, offset, serial) = (u32::from(input.byte() % 4), u64::from(input.byte() % 8), input.number());
    let delivery = ringlane_delivery { place, reserved: 0, offset, serial };
    let (member, stride) = (handles.choose(input, MEMBER), size_of::<ringlane_delivery>());
    let (mut done, mut found) = (0, 0);
    let token = input.bytes();
    // SAFETY: as one_call says.
    unsafe {
        match input.byte() % 7 {
            0 => ringlane_member_ack(member, &delivery, stride, 1, &mut done, said),
            1 => ringlane_member_nack(member, &delivery, stride, 1, input.number() as i64, &mut done, said),
            2 => ringlane_member_reject(member, &delivery, stride, 1, &mut done, said),
            3 => ringlane_member_release(member, &delivery, stride, 1, &mut done, said),
            4 => ringlane_member_extend(member, &delivery, stride, 1, input.number() as i64, &mut done, said),
            5 => ringlane_member_once(member, &delivery, token.as_ptr(), token.len(), &mut found, said),
            _ => ringlane_member_ack_through(member, &delivery, std::ptr::null_mut(), said),
        }
    }
}

unsafe fn free(input: &mut Input<'_>, handles: &Handles, said: *mut ringlane_error) -> ringlane_status {
    // SAFETY: handles are numbers. The engine of all programs stays.
    unsafe {
        match input.byte() % 9 {
            0 => ringlane_topic_free(handles.choose(input, TOPIC), said),
            1 => ringlane_producer_free(handles.choose(input, PRODUCER), said),
            2 => ringlane_queue_free(handles.choose(input, QUEUE), said),
            3 => ringlane_consumer_free(handles.choose(input, CONSUMER), said),
            4 => ringlane_member_free(handles.choose(input, MEMBER), said),
            5 => ringlane_records_free(handles.choose(input, RECORDS), said),
            6 => ringlane_transaction_free(handles.choose(input, TRANSACTION), said),
            7 => ringlane_text_free(handles.choose(input, TEXT), said),
            _ => ringlane_options_free(handles.choose(input, OPTIONS), said),
        }
    }
}
