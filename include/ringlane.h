// Ringlane: an embedded, durable message log. What SQLite is to databases, Ringlane is to message queues.
//
// Generated from ffi/ by cbindgen, and compared with it in the tests: do not edit.
//
// The rules of every function:
//
// - It returns a ringlane_status: RINGLANE_OK, or RINGLANE_ERROR_... below zero. Its last argument is a ringlane_error of
//   the application's, or NULL: it is written when the call fails, and left alone when it succeeds.
// - What it gives comes through pointers before that, which are written only when it succeeds, and then belongs to the
//   application: handles are freed with the function of their name that ends in _free. Freed twice, they are an error and
//   no crash.
// - All that it is given is copied before it returns. Nothing of the application's is kept but a user_data of 64 bits.
// - Texts are UTF-8 with a zero at their end, and names of things; bytes are a pointer and a size. Bytes whose pointer is
//   NULL are none at all, which differs from empty.
// - Every function may be called from any thread, if nothing else is said. No thread of the library runs code of the
//   application's; all of them block every signal. In a child of fork, handles of the parent's get RINGLANE_ERROR_FORKED.
// - Errors are named in the comments without the RINGLANE_ERROR_ before them. Every call may also fail with
//   INVALID_ARGUMENT, DEAD_HANDLE and PANIC.
// - Structs that may grow say how large they are: struct_size, or the stride of an array. All of what they reserve is 0.


#ifndef RINGLANE_H
#define RINGLANE_H

#include <stddef.h>
#include <stdint.h>

// In `ringlane_error.flags`: the same call may succeed later, without anything being done twice.
#define RINGLANE_RETRIABLE 1

// In `ringlane_error.flags`: every later call fails too, until the engine is opened again.
#define RINGLANE_FATAL 2

// In `ringlane_error.flags`: what was asked for may have happened or not; of a batch, that part of it did, or may have.
#define RINGLANE_UNKNOWN_OUTCOME 4

// In `ringlane_error.flags`: the transaction is over, and was rolled back; begin another.
#define RINGLANE_ABORTED 8

// Bytes of a message with the zero at its end.
#define RINGLANE_MESSAGE_BYTES 712

// Bytes of a name in an error with the zero at its end: no name is longer.
#define RINGLANE_NAME_BYTES 256

// The version of the ABI that the library has: it is raised when something is added, and the soname changes when
// something that was there is not as it was.
#define RINGLANE_ABI_VERSION 1

// Options of `ringlane_engine_open` and `ringlane_engine_open_read_only`. The keys are those of the engine
// (docs/OPERATIONS.md lists them with units and defaults), and `held_bytes_max`: bytes that polled batches may hold
// together before they are freed; default 256 MiB.
#define RINGLANE_OPTIONS_ENGINE 1

// Options of a topic: `partitions` (1), `retention_ms`, `retention_bytes` (none), `keep_unfinished`, `drop_finished`
// (`false`).
#define RINGLANE_OPTIONS_TOPIC 2

// Options of a producer: `name` (none), `durability` (`synced`, or `buffered`), `max_block_ms` (that of the engine; with 0 an
// asynchronous send never blocks).
#define RINGLANE_OPTIONS_PRODUCER 3

// Options of a consumer: `max_poll_records`, `max_poll_bytes`, `read_ahead_bytes_max`, `filter` (all records),
// `continuity` (`true`), `producers_max`, `missing_ranges_max`, `findings_max`.
#define RINGLANE_OPTIONS_CONSUMER 4

// Options of a group: `kind` (`ordered` or `shared`; needed), `topic` (`NAME:START`, once for each; needed),
// `max_deliveries`, `retry_delay_ms`, `retry_delay_ms_max`, `dead_letter_topic`, `unfinished_max`, `inbox_tokens_max`,
// `inbox_age_ms_max`, `filter`. START is `beginning`, `end`, `offset:N` or `timestamp:MS`.
#define RINGLANE_OPTIONS_GROUP 5

// Options of a member: `lease_ms`, `max_poll_records`, `max_poll_bytes`, `max_in_flight_records`,
// `max_in_flight_bytes`.
#define RINGLANE_OPTIONS_MEMBER 6

// Options of a transaction: `id`, `checker`, `timeout_ms`.
#define RINGLANE_OPTIONS_TRANSACTION 7

// Options of a checker: `first_ms`, `interval_ms`, `checks_max`.
#define RINGLANE_OPTIONS_CHECKER 8

// Options of an audit: `topic` (once for each; all), `producers_max`, `missing_ranges_max`.
#define RINGLANE_OPTIONS_AUDIT 9

// Where to read from: the first record that is kept.
#define RINGLANE_START_BEGINNING 1

// Where to read from: behind the last record that is visible now.
#define RINGLANE_START_END 2

// Where to read from: the offset that `value` says.
#define RINGLANE_START_OFFSET 3

// Where to read from: the first record whose timestamp is at or after `value`, ms since 1970-01-01 UTC.
#define RINGLANE_START_TIMESTAMP 4

// In `ringlane_group_redrive`: all dead letters of the group.
#define RINGLANE_REDRIVE_ALL 1

// In `ringlane_group_redrive`: the dead letter that stands at `partition` and `offset` of the topic of dead letters.
#define RINGLANE_REDRIVE_LETTER 2

// In `ringlane_group_redrive`: the dead letter of the record at `partition` and `offset` of `topic`.
#define RINGLANE_REDRIVE_RECORD 3

// In `ringlane_record.flags`: `partition` says where it goes. Else its key does, or each in turn.
#define RINGLANE_RECORD_PARTITION 1

// In `ringlane_record.flags`: `timestamp_ms` is its time. Else it is that of sending.
#define RINGLANE_RECORD_TIMESTAMP 2

// In `ringlane_record.flags`: `sequence` is its number among its named producer's records in the partition.
#define RINGLANE_RECORD_SEQUENCE 4

// In `ringlane_record.flags`: it becomes visible at `visible_ms`, by the wall clock.
#define RINGLANE_RECORD_VISIBLE_AT 8

// In `ringlane_record.flags`: it becomes visible `visible_ms` after it was sent.
#define RINGLANE_RECORD_VISIBLE_AFTER 16

// Any partition: by the key, or each in turn.
#define RINGLANE_ANY_PARTITION UINT32_MAX

// As the timestamp of a packed record: the time of sending.
#define RINGLANE_TIMESTAMP_NOW INT64_MIN

// In `ringlane_receipt.flags`: it has an offset; else it is delayed, and gets one when it becomes visible.
#define RINGLANE_RECEIPT_OFFSET 1

// In `ringlane_receipt.flags`: it was there before; this is the receipt of then, and nothing was written.
#define RINGLANE_RECEIPT_DUPLICATE 2

// In `ringlane_receipt.flags`: it is on the device. Else it was sent with durability `buffered`.
#define RINGLANE_RECEIPT_SYNCED 4

// Most bytes of a message id.
#define RINGLANE_MESSAGE_ID_BYTES 128

// A record that was sent has its outcome: `status`, and if that is `RINGLANE_OK`, `receipt`.
#define RINGLANE_EVENT_SENT 1

// All records of a batch have their outcomes: `count` of them; `status` is the first error.
#define RINGLANE_EVENT_BATCH_SENT 2

// A checker is asked how a transaction ended: see `ringlane_check_describe` and `ringlane_check_answer`. `count` is the
// number of the question.
#define RINGLANE_EVENT_CHECK 3

// A consumer or member has something to be polled, or an error.
#define RINGLANE_EVENT_READABLE 4

// Most bytes of a transaction's id, with the zero at its end.
#define RINGLANE_TRANSACTION_ID_BYTES 136

// An answer: its local part is committed.
#define RINGLANE_CHECK_COMMIT 1

// An answer: its local part is not there, and never will be.
#define RINGLANE_CHECK_ROLL_BACK 2

// An answer: nobody can tell yet; ask again.
#define RINGLANE_CHECK_UNKNOWN 3

// In `ringlane_record_view.flags`: it was delayed, and may stand behind records that were sent after it.
#define RINGLANE_VIEW_LATE 1

// In `ringlane_member_once`: nothing is known of the token: process the record, and acknowledge it.
#define RINGLANE_ONCE_FRESH 1

// In `ringlane_member_once`: a record with this token was acknowledged: acknowledge this one, and do nothing else.
#define RINGLANE_ONCE_DUPLICATE 2

// In `ringlane_member_once`: another delivery claimed the token and goes on: nack this one, with a delay.
#define RINGLANE_ONCE_IN_PROGRESS 3

// A transaction's state: it takes records and acknowledgements.
#define RINGLANE_TRANSACTION_OPEN 1

// A transaction's state: all of it is durable and invisible, and waits for the decision.
#define RINGLANE_TRANSACTION_PREPARED 2

// A transaction's state: it is prepared, and is not checked any more.
#define RINGLANE_TRANSACTION_UNRESOLVED 3

// A transaction's state: its records are visible.
#define RINGLANE_TRANSACTION_COMMITTED 4

// A transaction's state: nothing of it ever becomes visible.
#define RINGLANE_TRANSACTION_ROLLED_BACK 5

// Reads partitions.
typedef struct ringlane_consumer ringlane_consumer;

// A directory that is open.
typedef struct ringlane_engine ringlane_engine;

// A member of a group.
typedef struct ringlane_member ringlane_member;

// Options of anything, by their names.
typedef struct ringlane_options ringlane_options;

// Sends records.
typedef struct ringlane_producer ringlane_producer;

// Where the ends of asynchronous calls arrive.
typedef struct ringlane_queue ringlane_queue;

// Records that were polled.
typedef struct ringlane_records ringlane_records;

// A text that the library made.
typedef struct ringlane_text ringlane_text;

// A topic.
typedef struct ringlane_topic ringlane_topic;

// A transaction.
typedef struct ringlane_transaction ringlane_transaction;

// 0 is success; all else are `RINGLANE_ERROR_...`.
typedef int32_t ringlane_status;

// More about an error. The application owns it, and passes it, or NULL, as the last argument; it is written when a call
// fails, and left alone when one succeeds. Its layout never changes.
typedef struct ringlane_error {
    // What the call returned.
    ringlane_status status;
    // `RINGLANE_RETRIABLE`, `RINGLANE_FATAL`, `RINGLANE_UNKNOWN_OUTCOME`, `RINGLANE_ABORTED`.
    uint32_t flags;
    // The errno of the operation that failed, or 0.
    int32_t system_error;
    // Bytes of the message without the zero at its end.
    uint32_t message_bytes;
    // Figures for programs; which, the status says. Else 0.
    uint64_t details[4];
    // What happened, where, and what to do: UTF-8, with a zero at its end; a longer one is cut.
    char message[RINGLANE_MESSAGE_BYTES];
    // What it is about, for programs: the name of the topic, else of the producer or group, or the id of the transaction;
    // UTF-8, with a zero at its end. Empty: of none of them.
    char name[RINGLANE_NAME_BYTES];
    // 0.
    uint64_t reserved;
} ringlane_error;

// Bytes of the application's. `data` is NULL for none at all, which differs from an empty text: there `data` is any
// other pointer, and `size` 0.
typedef struct ringlane_bytes {
    // The first byte, or NULL.
    const uint8_t *data;
    // How many there are.
    size_t size;
} ringlane_bytes;

// A name and a value that travel with a record. The name is UTF-8.
typedef struct ringlane_header {
    // Its name; names may repeat.
    struct ringlane_bytes name;
    // Its value.
    struct ringlane_bytes value;
} ringlane_header;

// A record to be sent. Set all of it to zero, then `struct_size`, then what it has (`RINGLANE_RECORD_INIT` does the first
// two). Everything is copied before the call returns.
typedef struct ringlane_record {
    // `sizeof(ringlane_record)`; in an array the stride says it, and this is not looked at.
    uint32_t struct_size;
    // `RINGLANE_RECORD_...`
    uint32_t flags;
    // The key: records with the same key go to the same partition. `data` NULL: none.
    struct ringlane_bytes key;
    // The value; `data` NULL is null, which differs from empty.
    struct ringlane_bytes value;
    // Names and values beside it.
    const struct ringlane_header *headers;
    // How many there are.
    size_t header_count;
    // What kind of record it is, for filters: the value of the header `tag`. UTF-8; `data` NULL: none.
    struct ringlane_bytes tag;
    // What its sender knows it by, 1 to 128 bytes: sent again, it is answered with the first receipt. `data` NULL: none.
    struct ringlane_bytes message_id;
    // ms since 1970-01-01 UTC, with `RINGLANE_RECORD_TIMESTAMP`.
    int64_t timestamp_ms;
    // With `RINGLANE_RECORD_VISIBLE_AT` or `RINGLANE_RECORD_VISIBLE_AFTER`.
    int64_t visible_ms;
    // With `RINGLANE_RECORD_SEQUENCE`.
    uint64_t sequence;
    // Comes back in the event of an asynchronous send, and nowhere else.
    uint64_t user_data;
    // With `RINGLANE_RECORD_PARTITION`.
    uint32_t partition;
    // 0.
    uint32_t reserved;
} ringlane_record;

// The proof that a record was taken.
typedef struct ringlane_receipt {
    // The partition.
    uint32_t partition;
    // `RINGLANE_RECEIPT_...`
    uint32_t flags;
    // Its offset, with `RINGLANE_RECEIPT_OFFSET`.
    uint64_t offset;
    // Its timestamp, ms since 1970-01-01 UTC.
    int64_t timestamp_ms;
    // Its identity, with `position` and `index`: what cancels it, if it is delayed.
    uint32_t log;
    // See `log`.
    uint32_t index;
    // See `log`.
    uint64_t position;
    // Who wrote it: the producer's number.
    uint32_t producer;
    // The producer's epoch.
    uint32_t epoch;
    // As which one of its records in the partition.
    uint64_t sequence;
} ringlane_receipt;

// What an asynchronous call came to.
typedef struct ringlane_event {
    // `RINGLANE_EVENT_...`
    uint32_t kind;
    // `RINGLANE_OK`, or what went wrong.
    ringlane_status status;
    // What the call was given.
    uint64_t user_data;
    // `RINGLANE_RETRIABLE`, `RINGLANE_FATAL`, `RINGLANE_UNKNOWN_OUTCOME`.
    uint32_t flags;
    // 0.
    uint32_t reserved;
    // How many records, or the number of a question: the kind says.
    uint64_t count;
    // For `ringlane_queue_error`; 0 if all is well.
    uint64_t error_id;
    // Of one record that was sent.
    struct ringlane_receipt receipt;
} ringlane_event;

// A function of the application's that is given an event. The event is there until it returns. It must return: neither an
// exception nor `longjmp` may leave it.
typedef void (*ringlane_event_function)(void *context, const struct ringlane_event *event);

// A transaction that a checker is asked of.
typedef struct ringlane_check {
    // `sizeof(ringlane_check)`, set by the application.
    uint32_t struct_size;
    // How often the answer was `RINGLANE_CHECK_UNKNOWN`, in this opening.
    uint32_t unknown;
    // When it was prepared, ms since 1970-01-01 UTC.
    int64_t prepared_ms;
    // Its records.
    uint64_t records;
    // Its id, with a zero at its end.
    char id[RINGLANE_TRANSACTION_ID_BYTES];
} ringlane_check;

// Names a delivery to a member of a group: what is acknowledged.
typedef struct ringlane_delivery {
    // Where in its group the partition stands; not the partition's number.
    uint32_t place;
    // 0.
    uint32_t reserved;
    // The record's offset.
    uint64_t offset;
    // Tells it from another delivery of the record to the same member.
    uint64_t serial;
} ringlane_delivery;

// A record of a batch. All it leads to is valid until the batch is freed.
typedef struct ringlane_record_view {
    // The topic's name, without a zero at its end.
    struct ringlane_bytes topic;
    // The key; `data` NULL: none.
    struct ringlane_bytes key;
    // The value; `data` NULL: null.
    struct ringlane_bytes value;
    // What its sender knows it by; `data` NULL: nothing.
    struct ringlane_bytes message_id;
    // The whole record in its layout (docs/FORMAT.md), without what was added when it was published.
    struct ringlane_bytes record;
    // Its offset.
    uint64_t offset;
    // The sender's timestamp, ms since 1970-01-01 UTC.
    int64_t timestamp_ms;
    // As which one of its producer's records in the partition it was written.
    uint64_t sequence;
    // Its partition.
    uint32_t partition;
    // Who wrote it: the producer's number, 0 for one without a name.
    uint32_t producer;
    // The producer's epoch.
    uint32_t epoch;
    // `RINGLANE_VIEW_...`
    uint32_t flags;
    // How many headers it has: see `ringlane_records_headers`.
    uint32_t header_count;
    // How often it was handed to members of the group, this time included; 0 without a group.
    uint32_t delivery_count;
    // What a member acknowledges.
    struct ringlane_delivery delivery;
} ringlane_record_view;

// It went well.
#define RINGLANE_OK 0

// A NULL pointer, a struct of a wrong size, text that is not UTF-8, an option that there is not: the message says which.
#define RINGLANE_ERROR_INVALID_ARGUMENT -1

// The handle was freed, or never was one.
#define RINGLANE_ERROR_DEAD_HANDLE -2

// Another thread is in a call of the same consumer, member or transaction: these are used by one thread at a time.
#define RINGLANE_ERROR_IN_USE -3

// A bug in Ringlane; the engine stops, and must be opened again.
#define RINGLANE_ERROR_PANIC -4

// Batches that were polled and not freed hold as much memory as they may (`held_bytes_max`).
#define RINGLANE_ERROR_HELD_TOO_MUCH -5

// A wait was ended by a wakeup.
#define RINGLANE_ERROR_WOKEN -6

// There is no topic of this name.
#define RINGLANE_ERROR_UNKNOWN_TOPIC -10

// The topic is there already.
#define RINGLANE_ERROR_TOPIC_EXISTS -11

// The topic was deleted while a handle to it was held.
#define RINGLANE_ERROR_TOPIC_DELETED -12

// There is no producer of this name, or it was deleted.
#define RINGLANE_ERROR_UNKNOWN_PRODUCER -13

// Somebody opened the producer's name since. `details`: its epoch, and the newest one.
#define RINGLANE_ERROR_PRODUCER_FENCED -14

// There is no group of this name.
#define RINGLANE_ERROR_UNKNOWN_GROUP -15

// The group is there already.
#define RINGLANE_ERROR_GROUP_EXISTS -16

// The group was deleted under its members.
#define RINGLANE_ERROR_GROUP_DELETED -17

// The lease ran out or was taken away: somebody else may have the record. `details`: partition, offset.
#define RINGLANE_ERROR_LEASE_LOST -18

// The record is not held by this member. `details`: partition, offset.
#define RINGLANE_ERROR_NOT_DELIVERED -19

// This member acknowledged the record before. `details`: partition, offset.
#define RINGLANE_ERROR_ALREADY_ACKNOWLEDGED -20

// The id is that of a transaction that goes on, or was committed.
#define RINGLANE_ERROR_TRANSACTION_EXISTS -21

// Nothing is known of the transaction.
#define RINGLANE_ERROR_UNKNOWN_TRANSACTION -22

// The transaction ended otherwise before.
#define RINGLANE_ERROR_TRANSACTION_CONFLICT -23

// The call is for a transaction in another state.
#define RINGLANE_ERROR_WRONG_TRANSACTION_STATE -24

// The transaction was open for too long, and was rolled back. `details`: how long it might be open, ms.
#define RINGLANE_ERROR_TRANSACTION_TIMED_OUT -25

// There is no dead letter to be redriven. `details`: partition, offset.
#define RINGLANE_ERROR_NO_DEAD_LETTER -26

// The dead letter was redriven before. `details`: partition, offset.
#define RINGLANE_ERROR_ALREADY_REDRIVEN -27

// The record of a dead letter is not kept any more. `details`: partition, offset.
#define RINGLANE_ERROR_ORIGINAL_GONE -28

// The record skips numbers of its producer. `details`: its number, the one that comes next, partition.
#define RINGLANE_ERROR_SEQUENCE_GAP -29

// The record is there, and its receipt is not remembered any more. `details`: its number, partition.
#define RINGLANE_ERROR_RECEIPT_FORGOTTEN -30

// The name cannot be used.
#define RINGLANE_ERROR_INVALID_NAME -31

// The topic has no such partition. `details`: the partition, and how many there are.
#define RINGLANE_ERROR_INVALID_PARTITION -32

// The record is larger than `record_bytes_max`. `details`: its size, and the bound.
#define RINGLANE_ERROR_RECORD_TOO_LARGE -33

// The directory is not there, or is none.
#define RINGLANE_ERROR_INVALID_DIRECTORY -34

// There are files that Ringlane did not write.
#define RINGLANE_ERROR_FOREIGN_FORMAT -35

// The files are of another version.
#define RINGLANE_ERROR_UNSUPPORTED_VERSION -36

// Another process has the directory open, or another engine of this one. `details`: its process id.
#define RINGLANE_ERROR_LOCKED -37

// The engine was opened only to be read.
#define RINGLANE_ERROR_READ_ONLY -38

// Acknowledged data is damaged. `details`: position, offset in the file, bytes.
#define RINGLANE_ERROR_DAMAGED -39

// An operation of the system failed; `system_error` is its errno, if there is one.
#define RINGLANE_ERROR_IO -40

// There is no room on the device. `details`: bytes that are needed, and that are free.
#define RINGLANE_ERROR_NO_SPACE -41

// The engine stopped after a failure, and must be opened again.
#define RINGLANE_ERROR_POISONED -42

// What was sent may be there or not: look, after reopening.
#define RINGLANE_ERROR_UNKNOWN_OUTCOME -43

// The send buffer stayed full. `details`: bytes in it, and how long the call waited, ms.
#define RINGLANE_ERROR_QUEUE_FULL -44

// Records were removed before they were read. `details`: the first offset that is gone, the first that is there, partition;
// `name` is the topic.
#define RINGLANE_ERROR_TRUNCATED -45

// The engine, or what was called, is closed.
#define RINGLANE_ERROR_CLOSED -46

// The record is not withheld: it was published or cancelled before, or never was.
#define RINGLANE_ERROR_NOT_WITHHELD -47

// What is called was made in the process that this one was forked from.
#define RINGLANE_ERROR_FORKED -48

// An interceptor failed.
#define RINGLANE_ERROR_INTERCEPTOR -49

// There are as many as there may be. `details`: how many, and the bound.
#define RINGLANE_ERROR_TOO_MANY -50

// The process that has the engine open could not be asked.
#define RINGLANE_ERROR_ADMIN -51

// An error that this header does not know.
#define RINGLANE_ERROR_OTHER -99

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The name of a status, a constant text: `ok`, `unknown-topic`, ...; of a number that is none, `unknown-status`.
//
// Threads: any. It takes no handle, so it works in a child of fork as well.
const char *ringlane_status_name(ringlane_status status);

// The `RINGLANE_ABI_VERSION` of the library that is loaded, which may be newer than the header.
uint32_t ringlane_abi_version(void);

// The version of the library, a constant text such as `0.1.0`.
const char *ringlane_version(void);

// Begins to collect options; `kind` is one of `RINGLANE_OPTIONS_...`. Everywhere where options are taken, NULL stands for
// the defaults. They may be used for several calls, and freed after each.
//
// Threads: any. Errors: `INVALID_ARGUMENT`.
ringlane_status ringlane_options_new(int32_t kind,
                                     struct ringlane_options **options,
                                     struct ringlane_error *error);

// Sets an option by its name: numbers as decimal digits, `true` and `false`, times in ms as their names say. An option
// that there is not, or a value that it cannot have, is an error, and changes nothing. `topic` may be set several times.
//
// Threads: any. Errors: `INVALID_ARGUMENT`, `DEAD_HANDLE`.
ringlane_status ringlane_options_set(const struct ringlane_options *options,
                                     const char *key,
                                     const char *value,
                                     struct ringlane_error *error);

// Frees options. NULL is ignored.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_options_free(struct ringlane_options *options, struct ringlane_error *error);

// The text of a handle: UTF-8 with a zero at its end. `size`, which may be NULL, is set to its bytes without that. It
// belongs to the handle, and is valid until that is freed.
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_text_get(const struct ringlane_text *text,
                                  const char **data,
                                  size_t *size,
                                  struct ringlane_error *error);

// Frees a text. NULL is ignored.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_text_free(struct ringlane_text *text, struct ringlane_error *error);

// Opens a directory, and creates it if it is not there. One process at a time has it open for writing. `options` are of
// `RINGLANE_OPTIONS_ENGINE`, or NULL.
//
// Blocks while the logs are looked at. Threads: any. Errors: `LOCKED`, `DAMAGED`, `INVALID_DIRECTORY`, `FOREIGN_FORMAT`,
// `UNSUPPORTED_VERSION`, `NO_SPACE`, `IO`, `INVALID_ARGUMENT`.
ringlane_status ringlane_engine_open(const char *path,
                                     const struct ringlane_options *options,
                                     struct ringlane_engine **engine,
                                     struct ringlane_error *error);

// Opens a directory to be read, also while another process has it open for writing: nothing can be sent, created or
// deleted. Call `ringlane_engine_refresh`, or poll with a timeout, to see what comes.
//
// Blocks while the logs are looked at. Threads: any. Errors: as `ringlane_engine_open`.
ringlane_status ringlane_engine_open_read_only(const char *path,
                                               const struct ringlane_options *options,
                                               struct ringlane_engine **engine,
                                               struct ringlane_error *error);

// Closes an engine: what was sent is written and flushed, everybody who waits gets an outcome, and later calls that would
// send or change something get `CLOSED`; consumers give what is there still, and then `CLOSED` as well.
// Closing again changes nothing. The handle stays until it is freed; handles to what belongs to the engine may be freed
// before or after.
//
// Blocks until everything is on the device. Threads: any. Errors: `POISONED`, `UNKNOWN_OUTCOME`, `FORKED`.
ringlane_status ringlane_engine_close(const struct ringlane_engine *engine,
                                      struct ringlane_error *error);

// Frees an engine, and closes it if it is open. NULL is ignored.
//
// Blocks as `ringlane_engine_close`. Threads: any. Errors: `DEAD_HANDLE`, `FORKED`; those of closing are not told: close
// first.
ringlane_status ringlane_engine_free(struct ringlane_engine *engine,
                                     struct ringlane_error *error);

// Takes in what another process has written since, where the engine was opened to be read. One that writes has nothing to
// take in.
//
// Threads: any. Errors: `DAMAGED`, `IO`, `CLOSED`.
ringlane_status ringlane_engine_refresh(const struct ringlane_engine *engine,
                                        struct ringlane_error *error);

// Returns when everything that was sent before is on the device, buffered records too.
//
// Blocks. Threads: any. Errors: `UNKNOWN_OUTCOME`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_engine_sync(const struct ringlane_engine *engine, struct ringlane_error *error);

// After an alarm in the statistics (`clock_ahead_ms`): the clock is right, and append times follow it from now on.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_engine_accept_clock(const struct ringlane_engine *engine, struct ringlane_error *error);

// The statistics as JSON; the fields are those of `ringlane stats --json`, and `held_bytes`: what polled batches hold now.
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_engine_stats(const struct ringlane_engine *engine,
                                      struct ringlane_text **text,
                                      struct ringlane_error *error);

// What opening found, as JSON: `recovery` (whether the directory was created, whether it was closed well, torn bytes) and
// `holes` (stretches that salvage could not read).
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_engine_recovery(const struct ringlane_engine *engine,
                                         struct ringlane_text **text,
                                         struct ringlane_error *error);

// Compares what was acknowledged with what can be read and with what each group has finished, as JSON; the fields are
// those of `ringlane audit --json`. `options` are of `RINGLANE_OPTIONS_AUDIT`, or NULL.
//
// Blocks while all records are read. Threads: any. Errors: `UNKNOWN_TOPIC`, `TOO_MANY`, `DAMAGED`, `IO`, `CLOSED`, `READ_ONLY`.
ringlane_status ringlane_engine_audit(const struct ringlane_engine *engine,
                                      const struct ringlane_options *options,
                                      struct ringlane_text **text,
                                      struct ringlane_error *error);

// Creates a topic. `options` are of `RINGLANE_OPTIONS_TOPIC`, or NULL: one partition, and everything is kept.
//
// Blocks until that is on the device. Threads: any. Errors: `TOPIC_EXISTS`, `INVALID_NAME`, `INVALID_ARGUMENT`,
// `TOO_MANY`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_topic_create(const struct ringlane_engine *engine,
                                      const char *name,
                                      const struct ringlane_options *options,
                                      struct ringlane_topic **topic,
                                      struct ringlane_error *error);

// A topic by its name.
//
// Threads: any. Errors: `UNKNOWN_TOPIC`, `INVALID_ARGUMENT`.
ringlane_status ringlane_topic_open(const struct ringlane_engine *engine,
                                    const char *name,
                                    struct ringlane_topic **topic,
                                    struct ringlane_error *error);

// Frees a topic's handle; the topic stays. NULL is ignored.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_topic_free(struct ringlane_topic *topic, struct ringlane_error *error);

// How many partitions a topic has.
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_topic_partitions(const struct ringlane_topic *topic,
                                          uint32_t *partitions,
                                          struct ringlane_error *error);

// Which offsets a partition has: the first one that is kept, and the one behind the last that is visible. Each may be NULL.
//
// Threads: any. Errors: `INVALID_PARTITION`. Of a topic that was deleted it tells what was there.
ringlane_status ringlane_topic_offsets(const struct ringlane_topic *topic,
                                       uint32_t partition,
                                       uint64_t *first_offset,
                                       uint64_t *next_offset,
                                       struct ringlane_error *error);

// All topics as JSON: name, id, partitions, created_ms, retention.
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_topic_list(const struct ringlane_engine *engine,
                                    struct ringlane_text **text,
                                    struct ringlane_error *error);

// Deletes a topic with all its records. Handles to it get `TOPIC_DELETED`.
//
// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_TOPIC`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_topic_delete(const struct ringlane_engine *engine,
                                      const char *name,
                                      struct ringlane_error *error);

// Changes how long a topic keeps its records. `options` are of `RINGLANE_OPTIONS_TOPIC`; `partitions` says nothing here.
//
// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_TOPIC`, `INVALID_ARGUMENT`, `NO_SPACE`, `POISONED`,
// `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_topic_set_retention(const struct ringlane_engine *engine,
                                             const char *name,
                                             const struct ringlane_options *options,
                                             struct ringlane_error *error);

// Gives up the records of a partition below an offset, at most those that are visible. `first_offset`, which may be NULL, is
// then the first that is kept.
//
// Blocks until that is on the device. Threads: any. Errors: `INVALID_PARTITION`, `TOPIC_DELETED`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_topic_delete_records(const struct ringlane_engine *engine,
                                              const struct ringlane_topic *topic,
                                              uint32_t partition,
                                              uint64_t before_offset,
                                              uint64_t *first_offset,
                                              struct ringlane_error *error);

// Publishes a delayed record now, before its time. The id is that of its receipt.
//
// Blocks until that is on the device. Threads: any. Errors: `NOT_WITHHELD`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`,
// `READ_ONLY`.
ringlane_status ringlane_engine_publish_withheld(const struct ringlane_engine *engine,
                                                 uint32_t log,
                                                 uint64_t position,
                                                 uint32_t index,
                                                 struct ringlane_error *error);

// All named producers as JSON: name, id, epoch.
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_producer_list(const struct ringlane_engine *engine,
                                       struct ringlane_text **text,
                                       struct ringlane_error *error);

// Forgets a named producer and its numbers.
//
// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_PRODUCER`, `NO_SPACE`, `POISONED`, `CLOSED`,
// `FORKED`, `READ_ONLY`.
ringlane_status ringlane_producer_delete(const struct ringlane_engine *engine,
                                         const char *name,
                                         struct ringlane_error *error);

// Creates a group. `options` are of `RINGLANE_OPTIONS_GROUP`: its kind and its topics are needed.
//
// Blocks until that is on the device. Threads: any. Errors: `GROUP_EXISTS`, `UNKNOWN_TOPIC`, `INVALID_NAME`,
// `INVALID_ARGUMENT`, `TOO_MANY`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_group_create(const struct ringlane_engine *engine,
                                      const char *name,
                                      const struct ringlane_options *options,
                                      struct ringlane_error *error);

// A group as JSON: what it reads, its members, and how far it has come in each partition. `name` may be NULL: all groups,
// as an array.
//
// Threads: any. Errors: `UNKNOWN_GROUP`, `INVALID_ARGUMENT`, `CLOSED`, `READ_ONLY` (from outside groups cannot be seen).
ringlane_status ringlane_group_describe(const struct ringlane_engine *engine,
                                        const char *name,
                                        struct ringlane_text **text,
                                        struct ringlane_error *error);

// Sends a group elsewhere in a partition: forward or back. `offset`, which may be NULL, is then where it begins.
//
// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_GROUP`, `INVALID_ARGUMENT` (the group does not read the
// partition), `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_group_reset(const struct ringlane_engine *engine,
                                     const char *name,
                                     const char *topic,
                                     uint32_t partition,
                                     int32_t start,
                                     int64_t value,
                                     uint64_t *offset,
                                     struct ringlane_error *error);

// Deletes a group and its progress; its dead letters stay. Its members get `GROUP_DELETED`.
//
// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_GROUP`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`,
// `READ_ONLY`.
ringlane_status ringlane_group_delete(const struct ringlane_engine *engine,
                                      const char *name,
                                      struct ringlane_error *error);

// Hands records of dead letters out again. `what` is one of `RINGLANE_REDRIVE_...`; `topic` is NULL unless it is
// `RINGLANE_REDRIVE_RECORD`. What it came to is JSON: redriven, unfinished, gone, is_full.
//
// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_GROUP`, `NO_DEAD_LETTER`, `ALREADY_REDRIVEN`,
// `ORIGINAL_GONE`, `TOO_MANY`, `INVALID_ARGUMENT`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_group_redrive(const struct ringlane_engine *engine,
                                       const char *name,
                                       int32_t what,
                                       const char *topic,
                                       uint32_t partition,
                                       uint64_t offset,
                                       struct ringlane_text **result,
                                       struct ringlane_error *error);

// A transaction as JSON: id, state, checker, since_ms, records, acknowledged, checks. So what became of a commit is found
// out whose outcome was unknown. `id` may be NULL: all that go on, and with `with_ended` other than 0 those that have ended
// and are remembered, as an array.
//
// Threads: any. Errors: `UNKNOWN_TRANSACTION`, `INVALID_ARGUMENT`.
ringlane_status ringlane_transaction_describe(const struct ringlane_engine *engine,
                                              const char *id,
                                              int32_t with_ended,
                                              struct ringlane_text **text,
                                              struct ringlane_error *error);

// Decides a transaction that is prepared, in whichever process it was: `commits` other than 0 commits it, 0 rolls it
// back. To decide it again in the same way changes nothing.
//
// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_TRANSACTION`, `TRANSACTION_CONFLICT`,
// `WRONG_TRANSACTION_STATE`, `NO_SPACE`, `UNKNOWN_OUTCOME`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_transaction_decide(const struct ringlane_engine *engine,
                                            const char *id,
                                            int32_t commits,
                                            struct ringlane_error *error);

// A producer for any topics. `options` are of `RINGLANE_OPTIONS_PRODUCER`, or NULL. One with a name is the same one after
// a restart, and whoever opened the name before may not send any more.
//
// Blocks, with a name, until that is on the device. Threads: any; so are all calls of it. Errors: `INVALID_NAME`,
// `TOO_MANY`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_producer_open(const struct ringlane_engine *engine,
                                       const struct ringlane_options *options,
                                       struct ringlane_producer **producer,
                                       struct ringlane_error *error);

// Frees a producer. What was sent goes its way. NULL is ignored.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_producer_free(struct ringlane_producer *producer, struct ringlane_error *error);

// Sends a record and waits for its receipt, which may be NULL.
//
// Blocks until the record is on the device (with durability `buffered`: until the lane has it). Threads: any. Errors:
// nothing was sent: `RECORD_TOO_LARGE`, `INVALID_ARGUMENT`, `INVALID_PARTITION`, `TOPIC_DELETED`, `PRODUCER_FENCED`,
// `UNKNOWN_PRODUCER`, `SEQUENCE_GAP`, `QUEUE_FULL`, `NO_SPACE`, `TOO_MANY`, `POISONED`, `CLOSED`, `FORKED`. It may be
// there: `UNKNOWN_OUTCOME`. It is there: `RECEIPT_FORGOTTEN`.
ringlane_status ringlane_producer_send(const struct ringlane_producer *producer,
                                       const struct ringlane_topic *topic,
                                       const struct ringlane_record *record,
                                       struct ringlane_receipt *receipt,
                                       struct ringlane_error *error);

// Sends a record. An event of the kind `RINGLANE_EVENT_SENT` with its `user_data` arrives in the queue when its outcome is
// known; if the call fails, none does.
//
// Blocks only while the send buffer is full, at most `max_block_ms`. Threads: any. Errors: nothing was sent, as
// `ringlane_producer_send` says; the others come with the event.
ringlane_status ringlane_producer_send_async(const struct ringlane_producer *producer,
                                             const struct ringlane_topic *topic,
                                             const struct ringlane_record *record,
                                             const struct ringlane_queue *queue,
                                             struct ringlane_error *error);

// Sends records to one topic in one hand-over, and waits for all. `receipts` may be NULL; else there is room for `count`
// of them, `receipt_stride` apart, and they are written when all are there.
//
// Blocks as `ringlane_producer_send`. Threads: any. Errors: as `ringlane_producer_send`. If a record is refused for what
// it is, none is sent; else the first error is told, and with `RINGLANE_UNKNOWN_OUTCOME` others of the records are there, or
// may be. What became of each `ringlane_producer_send_batch_async` tells, with `each`.
ringlane_status ringlane_producer_send_batch(const struct ringlane_producer *producer,
                                             const struct ringlane_topic *topic,
                                             const struct ringlane_record *records,
                                             size_t stride,
                                             size_t count,
                                             struct ringlane_receipt *receipts,
                                             size_t receipt_stride,
                                             struct ringlane_error *error);

// Sends records to one topic in one hand-over. With `each` other than 0 an event of the kind `RINGLANE_EVENT_SENT`
// arrives for every record, with its `user_data`; else one of the kind `RINGLANE_EVENT_BATCH_SENT` with the given
// `user_data` when all their outcomes are known. If the call fails, none does.
//
// Blocks only while the send buffer is full. Threads: any. Errors: as `ringlane_producer_send_async`: none of the records was
// sent. If the send buffer stays full when some were, the call succeeds, and the events tell of the others.
ringlane_status ringlane_producer_send_batch_async(const struct ringlane_producer *producer,
                                                   const struct ringlane_topic *topic,
                                                   const struct ringlane_record *records,
                                                   size_t stride,
                                                   size_t count,
                                                   const struct ringlane_queue *queue,
                                                   int32_t each,
                                                   uint64_t user_data,
                                                   struct ringlane_error *error);

// Sends a buffer of records in the record layout (docs/FORMAT.md), one behind the other, each at a multiple of eight, to
// `partition`, or with `RINGLANE_ANY_PARTITION` where their keys say. With `queue` NULL it waits until all are there; else
// one event of the kind `RINGLANE_EVENT_BATCH_SENT` arrives. `count`, which may be NULL, is how many records there were.
//
// Blocks, and errors: as `ringlane_producer_send_batch` or `ringlane_producer_send_batch_async`. `INVALID_ARGUMENT`: the
// buffer is not made of records; nothing was sent.
ringlane_status ringlane_producer_send_packed(const struct ringlane_producer *producer,
                                              const struct ringlane_topic *topic,
                                              const uint8_t *records,
                                              size_t size,
                                              uint32_t partition,
                                              const struct ringlane_queue *queue,
                                              uint64_t user_data,
                                              size_t *count,
                                              struct ringlane_error *error);

// Waits until everything that was sent with a producer has its outcome; of the last batch it tells the error.
//
// Blocks. Threads: any. Errors: as `ringlane_producer_send`.
ringlane_status ringlane_producer_flush(const struct ringlane_producer *producer, struct ringlane_error *error);

// Takes back a delayed record that is not visible yet. The id is that of its receipt.
//
// Blocks until that is on the device. Threads: any. Errors: `NOT_WITHHELD`, `NO_SPACE`, `POISONED`, `CLOSED`, `FORKED`.
ringlane_status ringlane_producer_cancel(const struct ringlane_producer *producer,
                                         uint32_t log,
                                         uint64_t position,
                                         uint32_t index,
                                         struct ringlane_error *error);

// How often the producer's name was opened up to this one; 0 for one without a name.
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_producer_epoch(const struct ringlane_producer *producer,
                                        uint32_t *epoch,
                                        struct ringlane_error *error);

// The number of the last record that this producer, or an earlier one of its name, has in a partition. `found` is set to
// 0 if it has none there, else to 1.
//
// Blocks until what it tells is on the device. Threads: any. Errors: `INVALID_ARGUMENT` (it has no name),
// `PRODUCER_FENCED`, `UNKNOWN_PRODUCER`, `INVALID_PARTITION`, `TOPIC_DELETED`, `POISONED`, `CLOSED`, `FORKED`.
ringlane_status ringlane_producer_last_sent(const struct ringlane_producer *producer,
                                            const struct ringlane_topic *topic,
                                            uint32_t partition,
                                            int32_t *found,
                                            uint64_t *sequence,
                                            struct ringlane_error *error);

// The message id of the record that `ringlane_producer_last_sent` tells of, into a buffer of
// `RINGLANE_MESSAGE_ID_BYTES`. `size` is its bytes; 0 if it had none, or there is no such record.
//
// Blocks, threads, errors: as `ringlane_producer_last_sent`.
ringlane_status ringlane_producer_last_message_id(const struct ringlane_producer *producer,
                                                  const struct ringlane_topic *topic,
                                                  uint32_t partition,
                                                  uint8_t *message_id,
                                                  size_t *size,
                                                  struct ringlane_error *error);

// A completion queue. One may serve any number of producers, consumers and engines; several threads may drain it.
//
// Threads: any; so are all calls of it. Errors: `IO` (no descriptor is left).
ringlane_status ringlane_queue_new(struct ringlane_queue **queue, struct ringlane_error *error);

// A descriptor that is readable as long as the queue has events, for poll, epoll and their like. It belongs to the queue:
// do not read it, and do not close it.
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_queue_fd(const struct ringlane_queue *queue,
                                  int32_t *fd,
                                  struct ringlane_error *error);

// Takes events out of a queue, up to `count_max`, into an array whose elements are `stride` apart; waits up to
// `timeout_ms` for the first one (0: not at all; negative: for ever). `count` is how many there were, 0 after the time.
//
// Blocks up to `timeout_ms`. Threads: any. Errors: `CLOSED` (the queue is), `WOKEN`, `INVALID_ARGUMENT`.
ringlane_status ringlane_queue_drain(const struct ringlane_queue *queue,
                                     struct ringlane_event *events,
                                     size_t stride,
                                     size_t count_max,
                                     int64_t timeout_ms,
                                     size_t *count,
                                     struct ringlane_error *error);

// The same as `ringlane_queue_drain` for who wants a function called: `function` is given each event, with `context`, on
// this thread and inside this call. It may make any call, also send, drain, close or free this queue; what was taken out
// for it is given to it all the same. One call takes 4,096 events at most.
//
// Blocks up to `timeout_ms`, and as long as the function takes. Threads: any. Errors: as `ringlane_queue_drain`.
ringlane_status ringlane_queue_dispatch(const struct ringlane_queue *queue,
                                        ringlane_event_function function,
                                        void *context,
                                        size_t count_max,
                                        int64_t timeout_ms,
                                        size_t *count,
                                        struct ringlane_error *error);

// What went wrong with an event, by its `error_id`: the message, and figures. The last 1,024 of a queue are kept.
//
// Threads: any. Errors: `INVALID_ARGUMENT` (it is not kept any more, or never was).
ringlane_status ringlane_queue_error(const struct ringlane_queue *queue,
                                     uint64_t error_id,
                                     struct ringlane_error *of_event,
                                     struct ringlane_error *error);

// How many asynchronous sends have no event yet: groups of records that share their outcome count as one.
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_queue_pending(const struct ringlane_queue *queue,
                                       uint64_t *pending,
                                       struct ringlane_error *error);

// Ends the drain that waits in another thread, or the next one that finds nothing: it gets `WOKEN`. The descriptor becomes
// readable until then.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_queue_wakeup(const struct ringlane_queue *queue,
                                      struct ringlane_error *error);

// Closes a queue: its events are dropped, threads that drain it get `CLOSED`, and its descriptor becomes readable. What
// was sent goes its way. Closing again changes nothing.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_queue_close(const struct ringlane_queue *queue, struct ringlane_error *error);

// Frees a queue, and closes it. NULL is ignored.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_queue_free(struct ringlane_queue *queue, struct ringlane_error *error);

// What is asked with an event of the kind `RINGLANE_EVENT_CHECK`; `check` is its `count`.
//
// Threads: any. Errors: `INVALID_ARGUMENT` (it was answered before, or nobody waits for the answer any more).
ringlane_status ringlane_check_describe(const struct ringlane_queue *queue,
                                        uint64_t check,
                                        struct ringlane_check *description,
                                        struct ringlane_error *error);

// Answers a checker's question, `RINGLANE_CHECK_...`. The transaction is decided soon after; if somebody else has decided it
// meanwhile, that stands.
//
// Threads: any. Errors: `INVALID_ARGUMENT` (as `ringlane_check_describe`).
ringlane_status ringlane_check_answer(const struct ringlane_queue *queue,
                                      uint64_t check,
                                      int32_t answer,
                                      struct ringlane_error *error);

// The records of a batch: an array of `count` views, `stride` bytes apart. It belongs to the batch, and is valid until
// that is freed.
//
// Threads: any; several may read at once. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_records_view(const struct ringlane_records *records,
                                      const struct ringlane_record_view **views,
                                      size_t *stride,
                                      size_t *count,
                                      struct ringlane_error *error);

// The headers of the record at `index` of a batch, into an array of `count_max` whose elements are `stride` apart; what
// they lead to belongs to the batch. `count` is how many the record has, which may be more.
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_records_headers(const struct ringlane_records *records,
                                         size_t index,
                                         struct ringlane_header *headers,
                                         size_t stride,
                                         size_t count_max,
                                         size_t *count,
                                         struct ringlane_error *error);

// Frees a batch: what its views lead to is gone. NULL is ignored.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_records_free(struct ringlane_records *records, struct ringlane_error *error);

// A consumer. `options` are of `RINGLANE_OPTIONS_CONSUMER`, or NULL. It reads nothing before it is assigned something.
//
// Threads: any; but one at a time for all calls of it, except `ringlane_consumer_wakeup` and `ringlane_consumer_close`;
// another one gets `IN_USE`. Errors: `INVALID_ARGUMENT`, `FORKED`.
ringlane_status ringlane_consumer_open(const struct ringlane_engine *engine,
                                       const struct ringlane_options *options,
                                       struct ringlane_consumer **consumer,
                                       struct ringlane_error *error);

// Closes a consumer: a thread that waits in a poll gets `CLOSED`, and so do later calls. What was polled stays until it is
// freed. Closing again changes nothing.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_consumer_close(const struct ringlane_consumer *consumer,
                                        struct ringlane_error *error);

// Frees a consumer, and closes it. NULL is ignored.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_consumer_free(struct ringlane_consumer *consumer, struct ringlane_error *error);

// Begins to read a partition, or goes on elsewhere in one that is read: `start` is one of `RINGLANE_START_...`, with
// `value`. `partition` may be `RINGLANE_ANY_PARTITION`: all of the topic.
//
// Threads: one at a time. Errors: `INVALID_PARTITION`, `TOPIC_DELETED`, `TRUNCATED`, `DAMAGED`, `IO`, `INVALID_ARGUMENT`,
// `IN_USE`, `CLOSED`, `FORKED`.
ringlane_status ringlane_consumer_assign(const struct ringlane_consumer *consumer,
                                         const struct ringlane_topic *topic,
                                         uint32_t partition,
                                         int32_t start,
                                         int64_t value,
                                         struct ringlane_error *error);

// Reads a partition no more. `partition` may be `RINGLANE_ANY_PARTITION`: all of the topic.
//
// Threads: one at a time. Errors: `IN_USE`, `CLOSED`.
ringlane_status ringlane_consumer_unassign(const struct ringlane_consumer *consumer,
                                           const struct ringlane_topic *topic,
                                           uint32_t partition,
                                           struct ringlane_error *error);

// Goes on elsewhere in a partition that is read: `start` is one of `RINGLANE_START_...`, with `value`.
//
// Threads: one at a time. Errors: `INVALID_ARGUMENT` (it is not assigned), `TRUNCATED`, `DAMAGED`, `IO`, `IN_USE`,
// `CLOSED`, `FORKED`.
ringlane_status ringlane_consumer_seek(const struct ringlane_consumer *consumer,
                                       const struct ringlane_topic *topic,
                                       uint32_t partition,
                                       int32_t start,
                                       int64_t value,
                                       struct ringlane_error *error);

// The offset of the next record that a partition gives. `found` is set to 0 if it is not assigned, else to 1.
//
// Threads: one at a time. Errors: `IN_USE`, `CLOSED`, `INVALID_ARGUMENT`.
ringlane_status ringlane_consumer_position(const struct ringlane_consumer *consumer,
                                           const struct ringlane_topic *topic,
                                           uint32_t partition,
                                           int32_t *found,
                                           uint64_t *offset,
                                           struct ringlane_error *error);

// The next records; waits up to `timeout_ms` for the first one (0: not at all; negative: for ever). `records` is set to
// NULL if none came, else it belongs to the application and is to be freed. With a filter NULL does not say that the end is
// reached: the time may be over, or with 0 `max_poll_bytes` passed over; `ringlane_consumer_position` says where it is.
//
// Blocks up to `timeout_ms`. Threads: one at a time. Errors: `INVALID_ARGUMENT` (it would wait for ever, and nothing is
// assigned), `TRUNCATED` (seek, and go on), `DAMAGED`, `TOPIC_DELETED`
// (until it is unassigned), `HELD_TOO_MUCH`, `WOKEN`, `IN_USE`, `CLOSED` (the consumer is; or the engine is, and everything
// was read), `FORKED`, `IO`.
ringlane_status ringlane_consumer_poll(const struct ringlane_consumer *consumer,
                                       int64_t timeout_ms,
                                       struct ringlane_records **records,
                                       struct ringlane_error *error);

// Ends the poll that waits in another thread, or the next one that would: it gets `WOKEN`.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_consumer_wakeup(const struct ringlane_consumer *consumer, struct ringlane_error *error);

// Has an event of the kind `RINGLANE_EVENT_READABLE` put into a queue, once, when the consumer has something to be polled:
// at once, if it has now; also when it is closed, or this is called again before. Poll with a timeout of 0 then, until
// nothing comes, and ask again.
//
// Threads: one at a time. Errors: `READ_ONLY` (from outside nobody is told of news: poll with a timeout),
// `INVALID_ARGUMENT` (nothing is assigned), `IN_USE`, `CLOSED`.
ringlane_status ringlane_consumer_notify(const struct ringlane_consumer *consumer,
                                         const struct ringlane_queue *queue,
                                         uint64_t user_data,
                                         struct ringlane_error *error);

// What the numbers of the records that were polled say, as JSON: `report` (counts) and `findings` (gaps, duplicates,
// reorders since the last call). `null` without `continuity`.
//
// Threads: one at a time. Errors: `IN_USE`, `CLOSED`, `INVALID_ARGUMENT`.
ringlane_status ringlane_consumer_continuity(const struct ringlane_consumer *consumer,
                                             struct ringlane_text **text,
                                             struct ringlane_error *error);

// Why numbers are missing among the records that were polled, as JSON: an array of `range` and `reason`. What is explained
// once is not missing any more.
//
// Blocks while the engine is asked. Threads: one at a time. Errors: `IN_USE`, `CLOSED`, `DAMAGED`, `IO`, `READ_ONLY`.
ringlane_status ringlane_consumer_explain_missing(const struct ringlane_consumer *consumer,
                                                  struct ringlane_text **text,
                                                  struct ringlane_error *error);

// Joins a group. `options` are of `RINGLANE_OPTIONS_MEMBER`, or NULL.
//
// Threads: any; but one at a time for polls, pause and resume, of which another one gets `IN_USE`. Deliveries may end on any
// thread. Errors: `UNKNOWN_GROUP`, `INVALID_ARGUMENT`, `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_member_join(const struct ringlane_engine *engine,
                                     const char *group,
                                     const struct ringlane_options *options,
                                     struct ringlane_member **member,
                                     struct ringlane_error *error);

// Leaves the group: what the member holds is released, which is no failure of it, and handed to others at once; what it
// acknowledged counts. A thread that waits in a poll gets `CLOSED`, and so do later calls. Closing again changes nothing.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_member_close(const struct ringlane_member *member,
                                      struct ringlane_error *error);

// Frees a member, and closes it as `ringlane_member_close` does. NULL is ignored.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_member_free(struct ringlane_member *member, struct ringlane_error *error);

// The next records, each under a lease; waits up to `timeout_ms` for the first one (0: not at all; negative: for ever).
// `records` is set to NULL if none came, else it belongs to the application and is to be freed; the leases run whether it
// is or not.
//
// Blocks up to `timeout_ms`. Threads: one at a time. Errors: `TRUNCATED` (the group lost records to a bound; poll
// again), `GROUP_DELETED`, `DAMAGED`, `HELD_TOO_MUCH`, `WOKEN`, `IN_USE`, `POISONED`, `CLOSED`, `FORKED`, `IO`.
ringlane_status ringlane_member_poll(const struct ringlane_member *member,
                                     int64_t timeout_ms,
                                     struct ringlane_records **records,
                                     struct ringlane_error *error);

// As `ringlane_consumer_wakeup`.
//
// Threads: any. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_member_wakeup(const struct ringlane_member *member, struct ringlane_error *error);

// As `ringlane_consumer_notify`. Records that the look finds are under their leases from then on.
//
// Threads: one at a time. Errors: `IN_USE`, `CLOSED`, `GROUP_DELETED`.
ringlane_status ringlane_member_notify(const struct ringlane_member *member,
                                       const struct ringlane_queue *queue,
                                       uint64_t user_data,
                                       struct ringlane_error *error);

// Acknowledges deliveries: their records were processed, and are not handed out again. Durable with the next
// `ringlane_member_flush`, and without one within `ack_flush_interval_ms` and `flush_interval_ms`. In a batch's array of
// views pass the address of the first `delivery`, and the array's stride. Each is tried; `done`, which may be NULL, is how
// many were acknowledged, also when the call fails with the first error.
//
// Threads: any. Errors: `LEASE_LOST`, `ALREADY_ACKNOWLEDGED`, `NOT_DELIVERED`, `GROUP_DELETED`, `CLOSED`, `FORKED`.
ringlane_status ringlane_member_ack(const struct ringlane_member *member,
                                    const struct ringlane_delivery *deliveries,
                                    size_t stride,
                                    size_t count,
                                    size_t *done,
                                    struct ringlane_error *error);

// Acknowledges all deliveries of a batch, as `ringlane_member_ack`.
//
// Threads: any. Errors: as `ringlane_member_ack`; `INVALID_ARGUMENT` (a consumer polled it).
ringlane_status ringlane_member_ack_all(const struct ringlane_member *member,
                                        const struct ringlane_records *records,
                                        struct ringlane_error *error);

// Acknowledges everything of the delivery's partition that this member holds, up to this one. `lost`, which may be NULL,
// is how many below it were lost before, and are somebody else's.
//
// Threads: any. Errors: as `ringlane_member_ack`, of the record itself.
ringlane_status ringlane_member_ack_through(const struct ringlane_member *member,
                                            const struct ringlane_delivery *delivery,
                                            uint64_t *lost,
                                            struct ringlane_error *error);

// The records could not be processed: they are handed out again after `delay_ms`, or, if that is negative, after the time
// that the group's retry policy says. After `max_deliveries` failures they go to the dead letters.
//
// Threads: any. Errors: as `ringlane_member_ack`.
ringlane_status ringlane_member_nack(const struct ringlane_member *member,
                                     const struct ringlane_delivery *deliveries,
                                     size_t stride,
                                     size_t count,
                                     int64_t delay_ms,
                                     size_t *done,
                                     struct ringlane_error *error);

// Nobody can process the records: they go to the dead letters at once.
//
// Threads: any. Errors: as `ringlane_member_ack`.
ringlane_status ringlane_member_reject(const struct ringlane_member *member,
                                       const struct ringlane_delivery *deliveries,
                                       size_t stride,
                                       size_t count,
                                       size_t *done,
                                       struct ringlane_error *error);

// The records were not worked on: they are handed out again at once, and that was no failure.
//
// Threads: any. Errors: as `ringlane_member_ack`.
ringlane_status ringlane_member_release(const struct ringlane_member *member,
                                        const struct ringlane_delivery *deliveries,
                                        size_t stride,
                                        size_t count,
                                        size_t *done,
                                        struct ringlane_error *error);

// Holds the records for `lease_ms` from now on.
//
// Threads: any. Errors: as `ringlane_member_ack`; `INVALID_ARGUMENT`.
ringlane_status ringlane_member_extend(const struct ringlane_member *member,
                                       const struct ringlane_delivery *deliveries,
                                       size_t stride,
                                       size_t count,
                                       int64_t lease_ms,
                                       size_t *done,
                                       struct ringlane_error *error);

// Whether something was processed under a token, 1 to 128 bytes: `RINGLANE_ONCE_...`. After `RINGLANE_ONCE_FRESH` the
// token belongs to the delivery, and is recorded with its acknowledgement, at once and durably with it.
//
// Threads: any. Errors: as `ringlane_member_ack`; `INVALID_ARGUMENT`.
ringlane_status ringlane_member_once(const struct ringlane_member *member,
                                     const struct ringlane_delivery *delivery,
                                     const uint8_t *token,
                                     size_t size,
                                     int32_t *once,
                                     struct ringlane_error *error);

// Returns when everything that was acknowledged before is durable: it is not handed out again, whatever happens.
//
// Blocks until that is on the device. Threads: any. Errors: `UNKNOWN_OUTCOME`, `POISONED`, `NO_SPACE`, `GROUP_DELETED`,
// `CLOSED`, `FORKED`.
ringlane_status ringlane_member_flush(const struct ringlane_member *member, struct ringlane_error *error);

// How many records the member holds now.
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_member_in_flight(const struct ringlane_member *member,
                                          uint64_t *count,
                                          struct ringlane_error *error);

// The member is given nothing more of a partition; what it holds of it stays.
//
// Threads: one at a time. Errors: `INVALID_ARGUMENT` (the group does not read it), `IN_USE`, `CLOSED`.
ringlane_status ringlane_member_pause(const struct ringlane_member *member,
                                      const char *topic,
                                      uint32_t partition,
                                      struct ringlane_error *error);

// The member is given records of a partition again.
//
// Threads: one at a time. Errors: as `ringlane_member_pause`.
ringlane_status ringlane_member_resume(const struct ringlane_member *member,
                                       const char *topic,
                                       uint32_t partition,
                                       struct ringlane_error *error);

// Begins a transaction: records for any topics, and deliveries that it acknowledges, that become effective together or not
// at all. `options` are of `RINGLANE_OPTIONS_TRANSACTION`, or NULL.
//
// Threads: any; but one at a time for all calls of it; another one gets `IN_USE`. Errors: `TRANSACTION_EXISTS`,
// `TOO_MANY`, `INVALID_ARGUMENT`, `PRODUCER_FENCED`, `UNKNOWN_PRODUCER`, `POISONED`, `CLOSED`, `FORKED`.
ringlane_status ringlane_transaction_begin(const struct ringlane_producer *producer,
                                           const struct ringlane_options *options,
                                           struct ringlane_transaction **transaction,
                                           struct ringlane_error *error);

// Frees a transaction. One that is open is rolled back; one that is prepared is undecided, and its checker is asked. NULL
// is ignored.
//
// Threads: one at a time. Errors: `DEAD_HANDLE`.
ringlane_status ringlane_transaction_free(struct ringlane_transaction *transaction,
                                          struct ringlane_error *error);

// Its id: the application's own, or the one that was assigned; with a zero at its end. It belongs to the handle.
//
// Threads: any. Errors: `DEAD_HANDLE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_transaction_id(const struct ringlane_transaction *transaction,
                                        const char **id,
                                        struct ringlane_error *error);

// Its state, `RINGLANE_TRANSACTION_...`.
//
// Threads: one at a time. Errors: `IN_USE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_transaction_state(const struct ringlane_transaction *transaction,
                                           int32_t *state,
                                           struct ringlane_error *error);

// Adds a record, which becomes visible by the commit.
//
// Threads: one at a time. Errors: the record is not in it, all else is: `RECORD_TOO_LARGE`, `INVALID_PARTITION`,
// `TOPIC_DELETED`, `INVALID_ARGUMENT`, `TOO_MANY`. With `RINGLANE_ABORTED` it is rolled back: `TRANSACTION_TIMED_OUT`,
// `PRODUCER_FENCED`, `UNKNOWN_PRODUCER`, `NO_SPACE`. `WRONG_TRANSACTION_STATE`, `IN_USE`, `POISONED`, `CLOSED`, `FORKED`.
ringlane_status ringlane_transaction_send(const struct ringlane_transaction *transaction,
                                          const struct ringlane_topic *topic,
                                          const struct ringlane_record *record,
                                          struct ringlane_error *error);

// Acknowledges deliveries of a member with the commit. Until it is decided the transaction has them alone. `done`, which may
// be NULL, is how many it has taken, also when the call fails at one of them.
//
// Threads: one at a time. Errors: as `ringlane_member_ack` and `ringlane_transaction_send`.
ringlane_status ringlane_transaction_ack(const struct ringlane_transaction *transaction,
                                         const struct ringlane_member *member,
                                         const struct ringlane_delivery *deliveries,
                                         size_t stride,
                                         size_t count,
                                         size_t *done,
                                         struct ringlane_error *error);

// Makes all of it durable and invisible; from now on only a decision ends it, over restarts too. Then the application does
// its part, with the transaction's id written down, and commits or rolls back.
//
// Blocks until that is on the device. Threads: one at a time. Errors, with `RINGLANE_ABORTED`: `LEASE_LOST`,
// `GROUP_DELETED`, `NO_SPACE`, `TOO_MANY`, `TRANSACTION_TIMED_OUT`, `PRODUCER_FENCED`, `UNKNOWN_PRODUCER`. Others:
// `WRONG_TRANSACTION_STATE`, `UNKNOWN_OUTCOME`, `IN_USE`, `POISONED`, `CLOSED`, `FORKED`.
ringlane_status ringlane_transaction_prepare(const struct ringlane_transaction *transaction,
                                             struct ringlane_error *error);

// Commits it, prepared or not: its records become visible, and what it acknowledges is finished. To commit again changes
// nothing.
//
// Blocks until that is on the device. Threads: one at a time. Errors: as `ringlane_transaction_prepare` of one that was
// not prepared; one that was stays it with `NO_SPACE`. `TRANSACTION_CONFLICT`: it was rolled back before. After
// `UNKNOWN_OUTCOME` ask `ringlane_transaction_describe` when the directory is open again.
ringlane_status ringlane_transaction_commit(const struct ringlane_transaction *transaction,
                                            struct ringlane_error *error);

// Rolls it back, prepared or not: nothing of it ever becomes visible, and what it acknowledged has failed. To roll back
// again changes nothing.
//
// Blocks, where it is prepared, until that is on the device. Threads: one at a time. Errors: `TRANSACTION_CONFLICT` (it was
// committed before), `NO_SPACE` (it stays prepared), `UNKNOWN_OUTCOME`, `IN_USE`, `POISONED`, `CLOSED`, `FORKED`.
ringlane_status ringlane_transaction_roll_back(const struct ringlane_transaction *transaction,
                                               struct ringlane_error *error);

// The receipts of the records of one that was committed, in the order in which they were sent, into an array of
// `count_max` whose elements are `stride` apart. `count` is how many there are, which may be more; 0 if somebody else
// committed it.
//
// Blocks until all of it is visible. Threads: one at a time. Errors: `UNKNOWN_OUTCOME`, `POISONED`, `NO_SPACE` (it is
// committed, and becomes visible with the next opening at the latest), `IN_USE`, `INVALID_ARGUMENT`.
ringlane_status ringlane_transaction_receipts(const struct ringlane_transaction *transaction,
                                              struct ringlane_receipt *receipts,
                                              size_t stride,
                                              size_t count_max,
                                              size_t *count,
                                              struct ringlane_error *error);

// Has questions put into a queue, events of the kind `RINGLANE_EVENT_CHECK` with this `user_data`, about transactions that
// name this checker and were left undecided: those of earlier processes at once. They are answered with
// `ringlane_check_answer`, one at a time. A checker that had the name is replaced. `options` are of
// `RINGLANE_OPTIONS_CHECKER`, or NULL.
//
// Threads: any. Errors: `INVALID_ARGUMENT`, `IO` (no thread can be started), `POISONED`, `CLOSED`, `FORKED`, `READ_ONLY`.
ringlane_status ringlane_checker_register(const struct ringlane_engine *engine,
                                          const char *name,
                                          const struct ringlane_options *options,
                                          const struct ringlane_queue *queue,
                                          uint64_t user_data,
                                          struct ringlane_error *error);

// Has a checker asked no more.
//
// Threads: any. Errors: `INVALID_ARGUMENT`.
ringlane_status ringlane_checker_unregister(const struct ringlane_engine *engine,
                                            const char *name,
                                            struct ringlane_error *error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RINGLANE_H */

// A record with nothing in it: what it has is set behind it.
#define RINGLANE_RECORD_INIT { sizeof(ringlane_record), 0, { NULL, 0 }, { NULL, 0 }, NULL, 0, { NULL, 0 }, { NULL, 0 }, 0, 0, 0, 0, 0, 0 }
