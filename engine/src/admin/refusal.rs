//! An error on its way through the socket: its kind, its text, and the answers to the three questions.
//!
//! Invariant: what an error says of itself at one end, [`Error::Remote`] says at the other.

use crate::error::Error;
use crate::log::codec::{Put, Reader};

/// Kinds that the socket itself knows, beside those of [`Error::code`].
pub(crate) const MALFORMED: &str = "malformed";
pub(crate) const UNKNOWN_REQUEST: &str = "unknown-request";
pub(crate) const UNSUPPORTED_VERSION: &str = "unsupported-version";
pub(crate) const FORBIDDEN: &str = "forbidden";
pub(crate) const TOO_MANY: &str = "too-many";
pub(crate) const TOO_SLOW: &str = "too-slow";
const OTHER: &str = "other";

/// Kinds of the socket's own that have a name at this end, beside [`Error::CODES`]; another one, of a newer process, is
/// `other`.
const CODES: [&str; 6] = [MALFORMED, UNKNOWN_REQUEST, UNSUPPORTED_VERSION, FORBIDDEN, TOO_MANY, TOO_SLOW];

const RETRIABLE: u8 = 1;
const FATAL: u8 = 2;
const UNKNOWN_OUTCOME: u8 = 4;

/// An error as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: &'static str,
    message: String,
    answers: u8,
}

impl Refusal {
    /// A refusal of the socket itself.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Refusal {
        let answers = if code == TOO_MANY || code == TOO_SLOW { RETRIABLE } else { 0 };
        Refusal { code, message: message.into(), answers }
    }

    pub(crate) fn put(&self, target: &mut Vec<u8>) {
        target.put_bytes(self.code.as_bytes());
        target.put_bytes(self.message.as_bytes());
        target.put_u8(self.answers);
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Option<Refusal> {
        let code = std::str::from_utf8(reader.bytes()?).ok()?;
        let message = std::str::from_utf8(reader.bytes()?).ok()?.to_owned();
        let answers = reader.u8()?;
        Some(Refusal {
            code: CODES.iter().chain(Error::CODES).copied().find(|known| *known == code).unwrap_or(OTHER),
            message,
            answers,
        })
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Refusal {
        let answer = |is_so: bool, bit: u8| if is_so { bit } else { 0 };
        let answers = answer(error.is_retriable(), RETRIABLE)
            | answer(error.is_fatal(), FATAL)
            | answer(error.is_unknown_outcome(), UNKNOWN_OUTCOME);
        Refusal { code: error.code(), message: error.to_string(), answers }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Remote {
            code: refusal.code,
            message: refusal.message,
            retriable: refusal.answers & RETRIABLE != 0,
            fatal: refusal.answers & FATAL != 0,
            unknown_outcome: refusal.answers & UNKNOWN_OUTCOME != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_kind_its_text_and_its_answers() {
        let errors = [
            Error::UnknownTopic { name: "t".to_owned() },
            Error::NoSpace { needed_bytes: 1, free_bytes: 2 },
            Error::UnknownOutcome { reason: "r".to_owned() },
            Error::Closed { what: "the engine" },
            Error::Forked,
            Error::NotWithheld,
            Error::UnknownTransaction { id: "order-7".to_owned() },
            Error::TransactionConflict { id: "order-7".to_owned(), actual: crate::TransactionState::Committed },
        ];
        for error in errors {
            let mut bytes = Vec::new();
            Refusal::from(&error).put(&mut bytes);
            let there = Error::from(Refusal::take(&mut Reader::new(&bytes)).unwrap());
            assert_eq!((there.code(), there.to_string()), (error.code(), error.to_string()));
            assert_eq!(there.is_retriable(), error.is_retriable(), "{error}");
            assert_eq!(there.is_fatal(), error.is_fatal(), "{error}");
            assert_eq!(there.is_unknown_outcome(), error.is_unknown_outcome(), "{error}");
        }
    }

    #[test]
    fn a_kind_of_a_newer_process_is_another_one() {
        let mut bytes = Vec::new();
        Refusal { code: "of-tomorrow", message: "m".to_owned(), answers: 1 }.put(&mut bytes);
        let error = Error::from(Refusal::take(&mut Reader::new(&bytes)).unwrap());
        assert_eq!((error.code(), error.to_string(), error.is_retriable()), ("other", "m".to_owned(), true));
    }
}
