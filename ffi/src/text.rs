//! Texts that the library makes: lists and reports as JSON.

use crate::call::{call, check_out, free, handle_of, held, put};
use crate::objects::ringlane_text;
use crate::status::{Failure, Result, ringlane_error, ringlane_status};
use std::ffi::{CString, c_char};

/// A text, with the zero that C wants.
pub(crate) struct TextObject(CString);

/// Gives the application something as JSON.
///
/// # Safety
/// `target` is NULL or may be written.
pub(crate) unsafe fn put_json(target: *mut *mut ringlane_text, value: &impl serde::Serialize) -> Result<()> {
    check_out("text", target)?;
    let json = serde_json::to_vec(value).map_err(|error| Failure::argument("text", error))?;
    let text = CString::new(json).map_err(|error| Failure::argument("text", error))?;
    // SAFETY: as the caller says.
    unsafe { put("text", target, handle_of(TextObject(text))?) }
}

/// The text of a handle: UTF-8 with a zero at its end. `size`, which may be NULL, is set to its bytes without that. It
/// belongs to the handle, and is valid until that is freed.
///
/// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_text_get(
    text: *const ringlane_text,
    data: *mut *const c_char,
    size: *mut usize,
    error: *mut ringlane_error,
) -> ringlane_status {
    // SAFETY: pointers are NULL or the application's, and are looked at before they are written.
    unsafe {
        call(error, || {
            let text = held::<TextObject>(text)?;
            put("data", data, text.0.as_ptr())?;
            if !size.is_null() {
                size.write(text.0.as_bytes().len());
            }
            Ok(())
        })
    }
}

/// Frees a text. NULL is ignored.
///
/// Threads: any. Errors: `DEAD_HANDLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringlane_text_free(text: *mut ringlane_text, error: *mut ringlane_error) -> ringlane_status {
    // SAFETY: `error` is NULL or the application's.
    unsafe { free::<TextObject>(text, error) }
}
