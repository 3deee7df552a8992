//! The way of every call: in through the checks of its arguments, out as a status, and no panic across.
//!
//! Invariants:
//! - Out-parameters are written only when the call succeeds, the error only when it fails.
//! - A panic is a bug: it is told as one, and never reaches the application's frames.

use crate::objects::{Kind, Object, TABLE};
use crate::status::{Failure, RINGLANE_ERROR_PANIC, RINGLANE_OK, Result, ringlane_error, ringlane_status};
use crate::table::Use;
use engine::Error;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Longest that any one input may be: more is a negative number, or rubbish.
const BYTES_MAX: usize = 1 << 40;

/// Bytes of the application's. `data` is NULL for none at all, which differs from an empty text: there `data` is any
/// other pointer, and `size` 0.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ringlane_bytes {
    /// The first byte, or NULL.
    pub data: *const u8,
    /// How many there are.
    pub size: usize,
}

impl ringlane_bytes {
    pub(crate) const NULL: ringlane_bytes = ringlane_bytes { data: std::ptr::null(), size: 0 };

    pub(crate) fn of(bytes: Option<&[u8]>) -> ringlane_bytes {
        bytes.map_or(Self::NULL, |bytes| ringlane_bytes { data: bytes.as_ptr(), size: bytes.len() })
    }

    /// Whether it is none at all, and says so.
    #[inline(always)]
    pub(crate) fn is_null(&self) -> bool {
        self.data.is_null() && self.size == 0
    }

    /// Whether [`bytes`] has nothing to say against it.
    #[inline(always)]
    pub(crate) fn is_sound(&self) -> bool {
        self.size <= if self.data.is_null() { 0 } else { BYTES_MAX }
    }
}

/// Runs a call.
///
/// # Safety
/// `error` is NULL or may be written.
#[inline]
pub(crate) unsafe fn call(error: *mut ringlane_error, run: impl FnOnce() -> Result<()>) -> ringlane_status {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => RINGLANE_OK,
        // SAFETY: as the caller says.
        Ok(Err(failure)) => unsafe { failed(error, &failure) },
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            // One that comes on top of it is told no better.
            let _ = catch_unwind(|| crate::panics::stop_all(words));
            let text = format!("a bug in Ringlane, please report it: {words}; open the engine again");
            // SAFETY: as the caller says.
            unsafe { failed(error, &Failure::Own(RINGLANE_ERROR_PANIC, text)) }
        }
    }
}

#[cold]
unsafe fn failed(error: *mut ringlane_error, failure: &Failure) -> ringlane_status {
    if !error.is_null() {
        // SAFETY: it is not NULL, and the application gave it to be written.
        unsafe { error.write(failure.describe()) };
    }
    failure.status()
}

/// Writes a result where the application wants it.
///
/// # Safety
/// `target` is NULL or may be written.
#[inline]
pub(crate) unsafe fn put<T>(name: &str, target: *mut T, value: T) -> Result<()> {
    check_out(name, target)?;
    // SAFETY: not NULL, and the application gave it to be written.
    unsafe { target.write(value) };
    Ok(())
}

/// Whether there is a place for a result: asked before anything is done.
#[inline]
pub(crate) fn check_out<T>(name: &str, target: *mut T) -> Result<()> {
    match target.is_null() {
        true => Err(Failure::argument(name, "it is NULL, and the result has no place")),
        false => Ok(()),
    }
}

/// The object of a handle, as long as the call goes on.
pub(crate) struct Held<K: Kind> {
    object: Use<Object>,
    kind: std::marker::PhantomData<K>,
}

impl<K: Kind> Held<K> {
    /// Whether it is of this handle.
    #[inline]
    pub(crate) fn is_of(&self, handle: u64) -> bool {
        self.object.is_of(handle)
    }

    /// Whether it is what this handle stands for, now as it was when it was found.
    #[inline]
    pub(crate) fn is_live(&self, handle: *const K::Handle) -> bool {
        self.is_of(handle.addr() as u64) && self.object.is_live()
    }
}

impl<K: Kind> std::ops::Deref for Held<K> {
    type Target = K;

    #[inline]
    fn deref(&self) -> &K {
        K::of(&self.object).expect("the table has looked at its kind")
    }
}

/// Finds the object of a handle.
#[inline]
pub(crate) fn held<K: Kind>(handle: *const K::Handle) -> Result<Held<K>> {
    if handle.is_null() {
        return Err(Failure::argument(K::NAME, "it is NULL"));
    }
    let object = TABLE.get(K::KIND, handle.addr() as u64).map_err(|dead| Failure::dead(K::NAME, dead))?;
    Ok(Held { object, kind: std::marker::PhantomData })
}

/// Makes a handle of an object.
pub(crate) fn handle_of<K: Kind>(object: K) -> Result<*mut K::Handle> {
    let handle = TABLE.insert(K::KIND, object.into_object()).ok_or(Error::TooMany {
        what: "handles",
        count: u64::from(crate::table::HANDLES_MAX),
        count_max: u64::from(crate::table::HANDLES_MAX),
        advice: "free those that are not used any more",
    })?;
    Ok(std::ptr::without_provenance_mut(handle as usize))
}

/// Frees a handle; NULL is none, and that is well.
///
/// # Safety
/// `error` is NULL or may be written.
pub(crate) unsafe fn free<K: Kind>(handle: *mut K::Handle, error: *mut ringlane_error) -> ringlane_status {
    // SAFETY: as the caller says.
    unsafe { end_and_free::<K>(handle, error, |_| ()) }
}

/// The same of something that other threads may be waiting for: `end` ends their waits, for while they have it it stays.
///
/// # Safety
/// As [`free`].
pub(crate) unsafe fn end_and_free<K: Kind>(
    handle: *mut K::Handle,
    error: *mut ringlane_error,
    end: impl FnOnce(&K),
) -> ringlane_status {
    // SAFETY: as the caller says.
    unsafe {
        call(error, || {
            if handle.is_null() {
                return Ok(());
            }
            end(&*held::<K>(handle)?);
            crate::recent::forget(handle.addr() as u64);
            TABLE.remove(K::KIND, handle.addr() as u64).map_err(|dead| Failure::dead(K::NAME, dead))
        })
    }
}

/// A text of the application's.
///
/// # Safety
/// `text` is NULL, or ends with a zero and lives as long as the result.
pub(crate) unsafe fn text<'a>(name: &str, text: *const c_char) -> Result<&'a str> {
    // SAFETY: as the caller says.
    unsafe { text_or_null(name, text) }?.ok_or_else(|| Failure::argument(name, "it is NULL"))
}

/// The same, where NULL has a meaning.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn text_or_null<'a>(name: &str, text: *const c_char) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and the application says that it ends with a zero.
    let bytes = unsafe { CStr::from_ptr(text) };
    bytes.to_str().map(Some).map_err(|error| Failure::argument(name, format_args!("it is not UTF-8: {error}")))
}

/// Bytes of the application's.
///
/// # Safety
/// `data` is NULL, or there are `size` bytes that live as long as the result.
#[inline]
pub(crate) unsafe fn bytes<'a>(name: &str, given: ringlane_bytes) -> Result<Option<&'a [u8]>> {
    if given.data.is_null() {
        return match given.size {
            0 => Ok(None),
            size => Err(Failure::argument(name, format_args!("it is NULL, and {size} bytes long"))),
        };
    }
    check_size(name, given.size)?;
    // SAFETY: not NULL, and the application says that there are so many.
    Ok(Some(unsafe { std::slice::from_raw_parts(given.data, given.size) }))
}

/// The same of what was looked at before.
///
/// # Safety
/// [`bytes`] gave them.
#[inline(always)]
pub(crate) unsafe fn checked_bytes<'a>(given: ringlane_bytes) -> Option<&'a [u8]> {
    // SAFETY: as the caller says.
    (!given.data.is_null()).then(|| unsafe { std::slice::from_raw_parts(given.data, given.size) })
}

/// Bytes that are text.
///
/// # Safety
/// As [`bytes`].
#[inline]
pub(crate) unsafe fn text_of<'a>(name: &str, given: ringlane_bytes) -> Result<Option<&'a str>> {
    // SAFETY: as the caller says.
    let Some(bytes) = (unsafe { bytes(name, given) })? else { return Ok(None) };
    let text = std::str::from_utf8(bytes);
    text.map(Some).map_err(|error| Failure::argument(name, format_args!("it is not UTF-8: {error}")))
}

#[inline]
pub(crate) fn check_size(name: &str, size: usize) -> Result<()> {
    match size <= BYTES_MAX {
        true => Ok(()),
        false => Err(Failure::argument(name, format_args!("{size} bytes or elements are more than anything may have"))),
    }
}

/// Whether the elements of an array of the application's can be read or written: `stride` is their size in the header
/// that it was compiled with, which may be an older or a newer one.
pub(crate) fn check_array<T>(name: &str, first: *const T, stride: usize, count: usize) -> Result<()> {
    check_size(name, count)?;
    if count > 0 && first.is_null() {
        return Err(Failure::argument(name, "it is NULL, and has elements"));
    }
    if count > 0 && (!(8..=1 << 16).contains(&stride) || !stride.is_multiple_of(8)) {
        return Err(Failure::argument(name, format_args!("a stride of {stride}; pass the size of an element")));
    }
    check_size(name, stride.saturating_mul(count))
}

/// A struct of the application's that may grow, where it stands or, if it is of another size, in `copy`: what an older
/// header does not have is zero; what a newer one has and this library does not know must be.
///
/// # Safety
/// There are `size` bytes at `source`, which live as long as the result, and all zero bits are a `T`.
#[inline]
pub(crate) unsafe fn struct_at<'a, T: Copy>(
    name: &str,
    source: *const T,
    size: usize,
    copy: &'a mut Option<T>,
) -> Result<&'a T> {
    if source.is_null() {
        return Err(Failure::argument(name, "it is NULL"));
    }
    if size == size_of::<T>() {
        // SAFETY: so many are there.
        return Ok(unsafe { &*source });
    }
    // SAFETY: so many are there.
    Ok(copy.insert(unsafe { read_other(name, source, size)? }))
}

#[cold]
unsafe fn read_other<T: Copy>(name: &str, source: *const T, size: usize) -> Result<T> {
    if !(8..=1 << 16).contains(&size) {
        return Err(Failure::argument(name, format_args!("a struct_size of {size}; set it to the size of the struct")));
    }
    // SAFETY: so many are there.
    let given = unsafe { std::slice::from_raw_parts(source.cast::<u8>(), size) };
    if given.iter().skip(size_of::<T>()).any(|byte| *byte != 0) {
        return Err(Failure::argument(name, "it has fields that this library does not know: a newer one is needed"));
    }
    // SAFETY: as the caller says.
    Ok(unsafe { read_known(source, size) })
}

/// Reads a struct that [`struct_at`] has looked at.
///
/// # Safety
/// As for that.
#[inline]
pub(crate) unsafe fn checked_struct<T: Copy>(source: *const T, size: usize) -> T {
    // SAFETY: so many are there.
    if size == size_of::<T>() { unsafe { source.read() } } else { unsafe { read_known(source, size) } }
}

/// What is known of a struct of another size.
#[cold]
unsafe fn read_known<T: Copy>(source: *const T, size: usize) -> T {
    // SAFETY: all zero bits are a value, as the caller says, and the bytes of another one are copied over them.
    unsafe {
        let mut value: T = std::mem::zeroed();
        std::ptr::copy_nonoverlapping(source.cast::<u8>(), (&raw mut value).cast::<u8>(), size.min(size_of::<T>()));
        value
    }
}

/// Writes an element of an array of the application's, as far as its header knows it.
///
/// # Safety
/// There is room for element `at`.
#[inline]
pub(crate) unsafe fn put_at<T: Copy>(first: *mut T, stride: usize, at: usize, value: &T) {
    // SAFETY: as the caller says; not more than an element's bytes are written.
    unsafe {
        let target = first.cast::<u8>().add(stride * at);
        let bytes = stride.min(size_of::<T>());
        std::ptr::copy_nonoverlapping((&raw const *value).cast::<u8>(), target, bytes);
        if stride > bytes {
            std::ptr::write_bytes(target.add(bytes), 0, stride - bytes);
        }
    }
}

/// A time to wait: negative is for ever.
pub(crate) fn wait_of(timeout_ms: i64) -> Duration {
    u64::try_from(timeout_ms).map_or(Duration::MAX, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine_calls::{
        ringlane_engine_close, ringlane_engine_free, ringlane_engine_open, ringlane_engine_sync,
    };
    use crate::status::{RINGLANE_ERROR_POISONED, RINGLANE_FATAL, RINGLANE_UNKNOWN_OUTCOME};
    use std::ffi::CString;
    use std::mem::zeroed;
    use std::ptr::null_mut;

    #[test]
    fn a_panic_becomes_an_error_and_stops_the_engines() {
        let directory = tempfile::tempdir().unwrap();
        let path = CString::new(directory.path().to_str().unwrap()).unwrap();
        // SAFETY: the pointers are ours, and what they lead to outlives the calls.
        unsafe {
            let (mut error, mut engine): (ringlane_error, _) = (zeroed(), null_mut());
            assert_eq!(ringlane_engine_open(path.as_ptr(), std::ptr::null(), &mut engine, &mut error), RINGLANE_OK);
            assert_eq!(ringlane_engine_sync(engine, &mut error), RINGLANE_OK);
            let status = call(&mut error, || panic!("a bug that was put in for this test"));
            let message = CStr::from_ptr(error.message.as_ptr()).to_str().unwrap();
            assert_eq!((status, error.status), (RINGLANE_ERROR_PANIC, RINGLANE_ERROR_PANIC));
            assert!(
                message.contains("a bug that was put in for this test") && message.contains("open the engine again")
            );
            assert_eq!(error.flags, RINGLANE_FATAL | RINGLANE_UNKNOWN_OUTCOME);
            assert_eq!(ringlane_engine_sync(engine, &mut error), RINGLANE_ERROR_POISONED);
            let message = CStr::from_ptr(error.message.as_ptr()).to_str().unwrap();
            assert!(message.contains("a bug that was put in for this test"), "{message}");
            assert_eq!(ringlane_engine_close(engine, &mut error), RINGLANE_ERROR_POISONED);
            assert_eq!(ringlane_engine_free(engine, null_mut()), RINGLANE_OK);
            // Opened again, it goes on.
            assert_eq!(ringlane_engine_open(path.as_ptr(), std::ptr::null(), &mut engine, &mut error), RINGLANE_OK);
            assert_eq!(ringlane_engine_sync(engine, &mut error), RINGLANE_OK);
            assert_eq!(ringlane_engine_free(engine, null_mut()), RINGLANE_OK);
        }
    }
}
