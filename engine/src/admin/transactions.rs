//! Transactions as they travel through the socket.
//!
//! Invariant: a transaction has one encoding; an empty name of a checker is none.

use crate::lane::transactions::TransactionOutcome;
use crate::log::codec::{Put, Reader};
use crate::transaction::{TransactionInfo, TransactionState};

pub(crate) fn put_transaction(target: &mut Vec<u8>, info: &TransactionInfo) {
    target.put_bytes(info.id.as_bytes());
    target.put_u8(match info.state {
        TransactionState::Open => 1,
        TransactionState::Prepared => 2,
        TransactionState::Unresolved => 3,
        TransactionState::Committed => 4,
        TransactionState::RolledBack => 5,
    });
    target.put_bytes(info.checker.as_deref().unwrap_or_default().as_bytes());
    target.put_i64(info.since_ms);
    target.put_u64(info.records);
    target.put_u64(info.acknowledged);
    target.put_u32(info.checks);
}

pub(crate) fn take_transaction(reader: &mut Reader<'_>) -> Option<TransactionInfo> {
    Some(TransactionInfo {
        id: text(reader)?,
        state: match reader.u8()? {
            1 => TransactionState::Open,
            2 => TransactionState::Prepared,
            3 => TransactionState::Unresolved,
            4 => TransactionState::Committed,
            5 => TransactionState::RolledBack,
            _ => return None,
        },
        checker: Some(text(reader)?).filter(|name| !name.is_empty()),
        since_ms: reader.i64()?,
        records: reader.u64()?,
        acknowledged: reader.u64()?,
        checks: reader.u32()?,
    })
}

pub(crate) fn put_outcome(target: &mut Vec<u8>, outcome: TransactionOutcome) {
    target.put_u8(match outcome {
        TransactionOutcome::Committed => 1,
        TransactionOutcome::RolledBack => 2,
    });
}

pub(crate) fn take_outcome(reader: &mut Reader<'_>) -> Option<TransactionOutcome> {
    match reader.u8()? {
        1 => Some(TransactionOutcome::Committed),
        2 => Some(TransactionOutcome::RolledBack),
        _ => None,
    }
}

fn text(reader: &mut Reader<'_>) -> Option<String> {
    std::str::from_utf8(reader.bytes()?).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{BODY_BYTES_MAX, NAMES_PER_PAGE};
    use crate::lane::transactions::{ID_BYTES_MAX, TransactionKey};

    #[test]
    fn as_many_as_one_answer_has_fit_it_whatever_they_are_called() {
        let largest = TransactionInfo {
            id: "i".repeat(ID_BYTES_MAX),
            state: TransactionState::Unresolved,
            checker: Some("c".repeat(crate::transaction::CHECKER_BYTES_MAX)),
            since_ms: 0,
            records: 0,
            acknowledged: 0,
            checks: 0,
        };
        let mut bytes = Vec::new();
        put_transaction(&mut bytes, &largest);
        assert_eq!(take_transaction(&mut Reader::new(&bytes)), Some(largest));
        assert!((bytes.len() + TransactionKey::BYTES) * NAMES_PER_PAGE < BODY_BYTES_MAX / 16, "{}", bytes.len());
    }

    #[test]
    fn states_and_outcomes_that_there_are_not_are_not_read() {
        let mut bytes = Vec::new();
        bytes.put_bytes(b"a");
        bytes.put_u8(6);
        bytes.extend([0; 40]);
        assert_eq!(take_transaction(&mut Reader::new(&bytes)), None);
        for unknown in [0, 3] {
            assert_eq!(take_outcome(&mut Reader::new(&[unknown])), None);
        }
    }
}
