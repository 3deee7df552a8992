// The layout of every plain struct, which applications have compiled in: it never changes under one soname.
//
// Always so, on the 64-bit systems that Ringlane runs on: sizes are multiples of eight, and nothing is between the fields
// but what is named `reserved`.

#include "check.h"

#define SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has another size")
#define FIELD(type, field, offset, size)                                                                               \
    _Static_assert(offsetof(type, field) == (offset) && sizeof(((type *)0)->field) == (size), #type "." #field " has moved")

SIZE(ringlane_error, 1024);
FIELD(ringlane_error, status, 0, 4);
FIELD(ringlane_error, flags, 4, 4);
FIELD(ringlane_error, system_error, 8, 4);
FIELD(ringlane_error, message_bytes, 12, 4);
FIELD(ringlane_error, details, 16, 32);
FIELD(ringlane_error, message, 48, 712);
FIELD(ringlane_error, name, 760, 256);
FIELD(ringlane_error, reserved, 1016, 8);

SIZE(ringlane_bytes, 16);
FIELD(ringlane_bytes, data, 0, 8);
FIELD(ringlane_bytes, size, 8, 8);

SIZE(ringlane_header, 32);
FIELD(ringlane_header, name, 0, 16);
FIELD(ringlane_header, value, 16, 16);

SIZE(ringlane_record, 128);
FIELD(ringlane_record, struct_size, 0, 4);
FIELD(ringlane_record, flags, 4, 4);
FIELD(ringlane_record, key, 8, 16);
FIELD(ringlane_record, value, 24, 16);
FIELD(ringlane_record, headers, 40, 8);
FIELD(ringlane_record, header_count, 48, 8);
FIELD(ringlane_record, tag, 56, 16);
FIELD(ringlane_record, message_id, 72, 16);
FIELD(ringlane_record, timestamp_ms, 88, 8);
FIELD(ringlane_record, visible_ms, 96, 8);
FIELD(ringlane_record, sequence, 104, 8);
FIELD(ringlane_record, user_data, 112, 8);
FIELD(ringlane_record, partition, 120, 4);
FIELD(ringlane_record, reserved, 124, 4);

SIZE(ringlane_receipt, 56);
FIELD(ringlane_receipt, partition, 0, 4);
FIELD(ringlane_receipt, flags, 4, 4);
FIELD(ringlane_receipt, offset, 8, 8);
FIELD(ringlane_receipt, timestamp_ms, 16, 8);
FIELD(ringlane_receipt, log, 24, 4);
FIELD(ringlane_receipt, index, 28, 4);
FIELD(ringlane_receipt, position, 32, 8);
FIELD(ringlane_receipt, producer, 40, 4);
FIELD(ringlane_receipt, epoch, 44, 4);
FIELD(ringlane_receipt, sequence, 48, 8);

SIZE(ringlane_event, 96);
FIELD(ringlane_event, kind, 0, 4);
FIELD(ringlane_event, status, 4, 4);
FIELD(ringlane_event, user_data, 8, 8);
FIELD(ringlane_event, flags, 16, 4);
FIELD(ringlane_event, reserved, 20, 4);
FIELD(ringlane_event, count, 24, 8);
FIELD(ringlane_event, error_id, 32, 8);
FIELD(ringlane_event, receipt, 40, 56);

SIZE(ringlane_check, 160);
FIELD(ringlane_check, struct_size, 0, 4);
FIELD(ringlane_check, unknown, 4, 4);
FIELD(ringlane_check, prepared_ms, 8, 8);
FIELD(ringlane_check, records, 16, 8);
FIELD(ringlane_check, id, 24, 136);

SIZE(ringlane_delivery, 24);
FIELD(ringlane_delivery, place, 0, 4);
FIELD(ringlane_delivery, reserved, 4, 4);
FIELD(ringlane_delivery, offset, 8, 8);
FIELD(ringlane_delivery, serial, 16, 8);

SIZE(ringlane_record_view, 152);
FIELD(ringlane_record_view, topic, 0, 16);
FIELD(ringlane_record_view, key, 16, 16);
FIELD(ringlane_record_view, value, 32, 16);
FIELD(ringlane_record_view, message_id, 48, 16);
FIELD(ringlane_record_view, record, 64, 16);
FIELD(ringlane_record_view, offset, 80, 8);
FIELD(ringlane_record_view, timestamp_ms, 88, 8);
FIELD(ringlane_record_view, sequence, 96, 8);
FIELD(ringlane_record_view, partition, 104, 4);
FIELD(ringlane_record_view, producer, 108, 4);
FIELD(ringlane_record_view, epoch, 112, 4);
FIELD(ringlane_record_view, flags, 116, 4);
FIELD(ringlane_record_view, header_count, 120, 4);
FIELD(ringlane_record_view, delivery_count, 124, 4);
FIELD(ringlane_record_view, delivery, 128, 24);

// What the applications have compiled in as well.
_Static_assert(RINGLANE_RETRIABLE == 1, "RINGLANE_RETRIABLE has another value");
_Static_assert(RINGLANE_FATAL == 2, "RINGLANE_FATAL has another value");
_Static_assert(RINGLANE_UNKNOWN_OUTCOME == 4, "RINGLANE_UNKNOWN_OUTCOME has another value");
_Static_assert(RINGLANE_ABORTED == 8, "RINGLANE_ABORTED has another value");
_Static_assert(RINGLANE_MESSAGE_BYTES == 712, "RINGLANE_MESSAGE_BYTES has another value");
_Static_assert(RINGLANE_NAME_BYTES == 256, "RINGLANE_NAME_BYTES has another value");
_Static_assert(RINGLANE_OPTIONS_ENGINE == 1, "RINGLANE_OPTIONS_ENGINE has another value");
_Static_assert(RINGLANE_OPTIONS_TOPIC == 2, "RINGLANE_OPTIONS_TOPIC has another value");
_Static_assert(RINGLANE_OPTIONS_PRODUCER == 3, "RINGLANE_OPTIONS_PRODUCER has another value");
_Static_assert(RINGLANE_OPTIONS_CONSUMER == 4, "RINGLANE_OPTIONS_CONSUMER has another value");
_Static_assert(RINGLANE_OPTIONS_GROUP == 5, "RINGLANE_OPTIONS_GROUP has another value");
_Static_assert(RINGLANE_OPTIONS_MEMBER == 6, "RINGLANE_OPTIONS_MEMBER has another value");
_Static_assert(RINGLANE_OPTIONS_TRANSACTION == 7, "RINGLANE_OPTIONS_TRANSACTION has another value");
_Static_assert(RINGLANE_OPTIONS_CHECKER == 8, "RINGLANE_OPTIONS_CHECKER has another value");
_Static_assert(RINGLANE_OPTIONS_AUDIT == 9, "RINGLANE_OPTIONS_AUDIT has another value");
_Static_assert(RINGLANE_START_BEGINNING == 1, "RINGLANE_START_BEGINNING has another value");
_Static_assert(RINGLANE_START_END == 2, "RINGLANE_START_END has another value");
_Static_assert(RINGLANE_START_OFFSET == 3, "RINGLANE_START_OFFSET has another value");
_Static_assert(RINGLANE_START_TIMESTAMP == 4, "RINGLANE_START_TIMESTAMP has another value");
_Static_assert(RINGLANE_REDRIVE_ALL == 1, "RINGLANE_REDRIVE_ALL has another value");
_Static_assert(RINGLANE_REDRIVE_LETTER == 2, "RINGLANE_REDRIVE_LETTER has another value");
_Static_assert(RINGLANE_REDRIVE_RECORD == 3, "RINGLANE_REDRIVE_RECORD has another value");
_Static_assert(RINGLANE_RECORD_PARTITION == 1, "RINGLANE_RECORD_PARTITION has another value");
_Static_assert(RINGLANE_RECORD_TIMESTAMP == 2, "RINGLANE_RECORD_TIMESTAMP has another value");
_Static_assert(RINGLANE_RECORD_SEQUENCE == 4, "RINGLANE_RECORD_SEQUENCE has another value");
_Static_assert(RINGLANE_RECORD_VISIBLE_AT == 8, "RINGLANE_RECORD_VISIBLE_AT has another value");
_Static_assert(RINGLANE_RECORD_VISIBLE_AFTER == 16, "RINGLANE_RECORD_VISIBLE_AFTER has another value");
_Static_assert(RINGLANE_ANY_PARTITION == 4294967295u, "RINGLANE_ANY_PARTITION has another value");
_Static_assert(RINGLANE_TIMESTAMP_NOW == INT64_MIN, "RINGLANE_TIMESTAMP_NOW has another value");
_Static_assert(RINGLANE_RECEIPT_OFFSET == 1, "RINGLANE_RECEIPT_OFFSET has another value");
_Static_assert(RINGLANE_RECEIPT_DUPLICATE == 2, "RINGLANE_RECEIPT_DUPLICATE has another value");
_Static_assert(RINGLANE_RECEIPT_SYNCED == 4, "RINGLANE_RECEIPT_SYNCED has another value");
_Static_assert(RINGLANE_MESSAGE_ID_BYTES == 128, "RINGLANE_MESSAGE_ID_BYTES has another value");
_Static_assert(RINGLANE_EVENT_SENT == 1, "RINGLANE_EVENT_SENT has another value");
_Static_assert(RINGLANE_EVENT_BATCH_SENT == 2, "RINGLANE_EVENT_BATCH_SENT has another value");
_Static_assert(RINGLANE_EVENT_CHECK == 3, "RINGLANE_EVENT_CHECK has another value");
_Static_assert(RINGLANE_EVENT_READABLE == 4, "RINGLANE_EVENT_READABLE has another value");
_Static_assert(RINGLANE_TRANSACTION_ID_BYTES == 136, "RINGLANE_TRANSACTION_ID_BYTES has another value");
_Static_assert(RINGLANE_CHECK_COMMIT == 1, "RINGLANE_CHECK_COMMIT has another value");
_Static_assert(RINGLANE_CHECK_ROLL_BACK == 2, "RINGLANE_CHECK_ROLL_BACK has another value");
_Static_assert(RINGLANE_CHECK_UNKNOWN == 3, "RINGLANE_CHECK_UNKNOWN has another value");
_Static_assert(RINGLANE_VIEW_LATE == 1, "RINGLANE_VIEW_LATE has another value");
_Static_assert(RINGLANE_ONCE_FRESH == 1, "RINGLANE_ONCE_FRESH has another value");
_Static_assert(RINGLANE_ONCE_DUPLICATE == 2, "RINGLANE_ONCE_DUPLICATE has another value");
_Static_assert(RINGLANE_ONCE_IN_PROGRESS == 3, "RINGLANE_ONCE_IN_PROGRESS has another value");
_Static_assert(RINGLANE_TRANSACTION_OPEN == 1, "RINGLANE_TRANSACTION_OPEN has another value");
_Static_assert(RINGLANE_TRANSACTION_PREPARED == 2, "RINGLANE_TRANSACTION_PREPARED has another value");
_Static_assert(RINGLANE_TRANSACTION_UNRESOLVED == 3, "RINGLANE_TRANSACTION_UNRESOLVED has another value");
_Static_assert(RINGLANE_TRANSACTION_COMMITTED == 4, "RINGLANE_TRANSACTION_COMMITTED has another value");
_Static_assert(RINGLANE_TRANSACTION_ROLLED_BACK == 5, "RINGLANE_TRANSACTION_ROLLED_BACK has another value");
_Static_assert(RINGLANE_OK == 0, "RINGLANE_OK has another value");
_Static_assert(RINGLANE_ERROR_INVALID_ARGUMENT == -1, "RINGLANE_ERROR_INVALID_ARGUMENT has another value");
_Static_assert(RINGLANE_ERROR_DEAD_HANDLE == -2, "RINGLANE_ERROR_DEAD_HANDLE has another value");
_Static_assert(RINGLANE_ERROR_IN_USE == -3, "RINGLANE_ERROR_IN_USE has another value");
_Static_assert(RINGLANE_ERROR_PANIC == -4, "RINGLANE_ERROR_PANIC has another value");
_Static_assert(RINGLANE_ERROR_HELD_TOO_MUCH == -5, "RINGLANE_ERROR_HELD_TOO_MUCH has another value");
_Static_assert(RINGLANE_ERROR_WOKEN == -6, "RINGLANE_ERROR_WOKEN has another value");
_Static_assert(RINGLANE_ERROR_UNKNOWN_TOPIC == -10, "RINGLANE_ERROR_UNKNOWN_TOPIC has another value");
_Static_assert(RINGLANE_ERROR_TOPIC_EXISTS == -11, "RINGLANE_ERROR_TOPIC_EXISTS has another value");
_Static_assert(RINGLANE_ERROR_TOPIC_DELETED == -12, "RINGLANE_ERROR_TOPIC_DELETED has another value");
_Static_assert(RINGLANE_ERROR_UNKNOWN_PRODUCER == -13, "RINGLANE_ERROR_UNKNOWN_PRODUCER has another value");
_Static_assert(RINGLANE_ERROR_PRODUCER_FENCED == -14, "RINGLANE_ERROR_PRODUCER_FENCED has another value");
_Static_assert(RINGLANE_ERROR_UNKNOWN_GROUP == -15, "RINGLANE_ERROR_UNKNOWN_GROUP has another value");
_Static_assert(RINGLANE_ERROR_GROUP_EXISTS == -16, "RINGLANE_ERROR_GROUP_EXISTS has another value");
_Static_assert(RINGLANE_ERROR_GROUP_DELETED == -17, "RINGLANE_ERROR_GROUP_DELETED has another value");
_Static_assert(RINGLANE_ERROR_LEASE_LOST == -18, "RINGLANE_ERROR_LEASE_LOST has another value");
_Static_assert(RINGLANE_ERROR_NOT_DELIVERED == -19, "RINGLANE_ERROR_NOT_DELIVERED has another value");
_Static_assert(RINGLANE_ERROR_ALREADY_ACKNOWLEDGED == -20, "RINGLANE_ERROR_ALREADY_ACKNOWLEDGED has another value");
_Static_assert(RINGLANE_ERROR_TRANSACTION_EXISTS == -21, "RINGLANE_ERROR_TRANSACTION_EXISTS has another value");
_Static_assert(RINGLANE_ERROR_UNKNOWN_TRANSACTION == -22, "RINGLANE_ERROR_UNKNOWN_TRANSACTION has another value");
_Static_assert(RINGLANE_ERROR_TRANSACTION_CONFLICT == -23, "RINGLANE_ERROR_TRANSACTION_CONFLICT has another value");
_Static_assert(RINGLANE_ERROR_WRONG_TRANSACTION_STATE == -24, "RINGLANE_ERROR_WRONG_TRANSACTION_STATE has another value");
_Static_assert(RINGLANE_ERROR_TRANSACTION_TIMED_OUT == -25, "RINGLANE_ERROR_TRANSACTION_TIMED_OUT has another value");
_Static_assert(RINGLANE_ERROR_NO_DEAD_LETTER == -26, "RINGLANE_ERROR_NO_DEAD_LETTER has another value");
_Static_assert(RINGLANE_ERROR_ALREADY_REDRIVEN == -27, "RINGLANE_ERROR_ALREADY_REDRIVEN has another value");
_Static_assert(RINGLANE_ERROR_ORIGINAL_GONE == -28, "RINGLANE_ERROR_ORIGINAL_GONE has another value");
_Static_assert(RINGLANE_ERROR_SEQUENCE_GAP == -29, "RINGLANE_ERROR_SEQUENCE_GAP has another value");
_Static_assert(RINGLANE_ERROR_RECEIPT_FORGOTTEN == -30, "RINGLANE_ERROR_RECEIPT_FORGOTTEN has another value");
_Static_assert(RINGLANE_ERROR_INVALID_NAME == -31, "RINGLANE_ERROR_INVALID_NAME has another value");
_Static_assert(RINGLANE_ERROR_INVALID_PARTITION == -32, "RINGLANE_ERROR_INVALID_PARTITION has another value");
_Static_assert(RINGLANE_ERROR_RECORD_TOO_LARGE == -33, "RINGLANE_ERROR_RECORD_TOO_LARGE has another value");
_Static_assert(RINGLANE_ERROR_INVALID_DIRECTORY == -34, "RINGLANE_ERROR_INVALID_DIRECTORY has another value");
_Static_assert(RINGLANE_ERROR_FOREIGN_FORMAT == -35, "RINGLANE_ERROR_FOREIGN_FORMAT has another value");
_Static_assert(RINGLANE_ERROR_UNSUPPORTED_VERSION == -36, "RINGLANE_ERROR_UNSUPPORTED_VERSION has another value");
_Static_assert(RINGLANE_ERROR_LOCKED == -37, "RINGLANE_ERROR_LOCKED has another value");
_Static_assert(RINGLANE_ERROR_READ_ONLY == -38, "RINGLANE_ERROR_READ_ONLY has another value");
_Static_assert(RINGLANE_ERROR_DAMAGED == -39, "RINGLANE_ERROR_DAMAGED has another value");
_Static_assert(RINGLANE_ERROR_IO == -40, "RINGLANE_ERROR_IO has another value");
_Static_assert(RINGLANE_ERROR_NO_SPACE == -41, "RINGLANE_ERROR_NO_SPACE has another value");
_Static_assert(RINGLANE_ERROR_POISONED == -42, "RINGLANE_ERROR_POISONED has another value");
_Static_assert(RINGLANE_ERROR_UNKNOWN_OUTCOME == -43, "RINGLANE_ERROR_UNKNOWN_OUTCOME has another value");
_Static_assert(RINGLANE_ERROR_QUEUE_FULL == -44, "RINGLANE_ERROR_QUEUE_FULL has another value");
_Static_assert(RINGLANE_ERROR_TRUNCATED == -45, "RINGLANE_ERROR_TRUNCATED has another value");
_Static_assert(RINGLANE_ERROR_CLOSED == -46, "RINGLANE_ERROR_CLOSED has another value");
_Static_assert(RINGLANE_ERROR_NOT_WITHHELD == -47, "RINGLANE_ERROR_NOT_WITHHELD has another value");
_Static_assert(RINGLANE_ERROR_FORKED == -48, "RINGLANE_ERROR_FORKED has another value");
_Static_assert(RINGLANE_ERROR_INTERCEPTOR == -49, "RINGLANE_ERROR_INTERCEPTOR has another value");
_Static_assert(RINGLANE_ERROR_TOO_MANY == -50, "RINGLANE_ERROR_TOO_MANY has another value");
_Static_assert(RINGLANE_ERROR_ADMIN == -51, "RINGLANE_ERROR_ADMIN has another value");
_Static_assert(RINGLANE_ERROR_OTHER == -99, "RINGLANE_ERROR_OTHER has another value");

static void the_layout_is_as_it_was(void) {
    // All of it is said above, and looked at by the compiler. A record that is said to be empty is.
    ringlane_record record = RINGLANE_RECORD_INIT, zero;
    memset(&zero, 0, sizeof zero);
    zero.struct_size = sizeof zero;
    CHECK(memcmp(&record, &zero, sizeof record) == 0);
}

MAIN(TEST(the_layout_is_as_it_was))
