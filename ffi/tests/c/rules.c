// The rules that hold for every function: NULL, dead handles, what is written and when, sizes and strides, options.
//
// Always so: nothing here does any harm, whatever is passed. What is refused changes nothing.

#include "calls.h"

static void versions_and_names_are_constant_texts(void) {
    CHECK(ringlane_abi_version() == RINGLANE_ABI_VERSION);
    CHECK(strcmp(ringlane_version(), "0.1.0") == 0);
    CHECK(strcmp(ringlane_status_name(RINGLANE_OK), "ok") == 0);
    CHECK(strcmp(ringlane_status_name(RINGLANE_ERROR_UNKNOWN_TOPIC), "unknown-topic") == 0);
    CHECK(strcmp(ringlane_status_name(RINGLANE_ERROR_FORKED), "forked") == 0);
    CHECK(ringlane_status_name(RINGLANE_ERROR_WOKEN) == ringlane_status_name(RINGLANE_ERROR_WOKEN));
    for (int32_t status = -60; status < 60; status++) {
        const char *name = ringlane_status_name(status);
        CHECK(name != NULL && name[0] != 0);
        CHECK(status <= 0 || strcmp(name, "unknown-status") == 0);
    }
    CHECK(strcmp(ringlane_status_name(INT32_MIN), "unknown-status") == 0);
    CHECK(strcmp(ringlane_status_name(INT32_MAX), "unknown-status") == 0);
}

static void null_handles_are_refused_by_every_function(void) {
    world all = make_world("main"), w;
    const ringlane_status expected = RINGLANE_ERROR_INVALID_ARGUMENT;
    REFUSED(ringlane_options_set(NULL, "lanes", "1", e));
    (w = all, w.text = NULL, calls_with_text(&w, expected));
    (w = all, w.engine = NULL, calls_with_engine(&w, expected));
    (w = all, w.topic = NULL, calls_with_topic(&w, expected));
    (w = all, w.producer = NULL, calls_with_producer(&w, expected));
    (w = all, w.queue = NULL, calls_with_queue(&w, expected));
    (w = all, w.consumer = NULL, calls_with_consumer(&w, expected));
    (w = all, w.member = NULL, calls_with_member(&w, expected));
    (w = all, w.records = NULL, calls_with_records(&w, expected));
    (w = all, w.transaction = NULL, calls_with_transaction(&w, expected));
    end_world(&all);
}

static void null_is_freed_as_nothing(void) {
    memset(&error, 0x5a, sizeof error);
    ringlane_error before = error;
    for (int turn = 0; turn < 2; turn++) {
        ringlane_error *e = turn == 0 ? &error : NULL;
        OK(ringlane_options_free(NULL, e));
        OK(ringlane_text_free(NULL, e));
        OK(ringlane_engine_free(NULL, e));
        OK(ringlane_topic_free(NULL, e));
        OK(ringlane_producer_free(NULL, e));
        OK(ringlane_queue_free(NULL, e));
        OK(ringlane_consumer_free(NULL, e));
        OK(ringlane_member_free(NULL, e));
        OK(ringlane_records_free(NULL, e));
        OK(ringlane_transaction_free(NULL, e));
    }
    CHECK(memcmp(&before, &error, sizeof error) == 0);
}

// Each pointer that is no handle, NULL alone; all else is good.
static void null_pointers_are_refused_by_every_function(void) {
    world it = make_world("main"), *w = &it;
    outs *o = &written;
    const ringlane_status expected = RINGLANE_ERROR_INVALID_ARGUMENT;
    ringlane_record record = record_of("never");
    const ringlane_delivery *one = &w->delivery;
    const uint8_t *token = (const uint8_t *)"token";
    REFUSED(ringlane_options_new(RINGLANE_OPTIONS_ENGINE, NULL, e));
    REFUSED(ringlane_options_set(w->options, NULL, "1", e));
    REFUSED(ringlane_options_set(w->options, "lanes", NULL, e));
    REFUSED(ringlane_text_get(w->text, NULL, &o->size, e));
    REFUSED(ringlane_engine_open(NULL, NULL, &o->engine, e));
    REFUSED(ringlane_engine_open(path_of("never"), NULL, NULL, e));
    REFUSED(ringlane_engine_open_read_only(NULL, NULL, &o->engine, e));
    REFUSED(ringlane_engine_open_read_only(path_of("main"), NULL, NULL, e));
    REFUSED(ringlane_engine_stats(w->engine, NULL, e));
    REFUSED(ringlane_engine_recovery(w->engine, NULL, e));
    REFUSED(ringlane_engine_audit(w->engine, NULL, NULL, e));
    REFUSED(ringlane_topic_create(w->engine, NULL, NULL, &o->topic, e));
    REFUSED(ringlane_topic_create(w->engine, "never", NULL, NULL, e));
    REFUSED(ringlane_topic_open(w->engine, NULL, &o->topic, e));
    REFUSED(ringlane_topic_open(w->engine, "t", NULL, e));
    REFUSED(ringlane_topic_partitions(w->topic, NULL, e));
    REFUSED(ringlane_topic_list(w->engine, NULL, e));
    REFUSED(ringlane_topic_delete(w->engine, NULL, e));
    REFUSED(ringlane_topic_set_retention(w->engine, NULL, NULL, e));
    REFUSED(ringlane_producer_list(w->engine, NULL, e));
    REFUSED(ringlane_producer_delete(w->engine, NULL, e));
    REFUSED(ringlane_group_create(w->engine, NULL, NULL, e));
    REFUSED(ringlane_group_create(w->engine, "never", NULL, e));
    REFUSED(ringlane_group_describe(w->engine, "g", NULL, e));
    REFUSED(ringlane_group_describe(w->engine, NULL, NULL, e));
    REFUSED(ringlane_group_reset(w->engine, NULL, "t", 0, RINGLANE_START_END, 0, &o->first, e));
    REFUSED(ringlane_group_reset(w->engine, "g", NULL, 0, RINGLANE_START_END, 0, &o->first, e));
    REFUSED(ringlane_group_delete(w->engine, NULL, e));
    REFUSED(ringlane_group_redrive(w->engine, NULL, RINGLANE_REDRIVE_ALL, NULL, 0, 0, &o->text, e));
    REFUSED(ringlane_group_redrive(w->engine, "g", RINGLANE_REDRIVE_ALL, NULL, 0, 0, NULL, e));
    REFUSED(ringlane_group_redrive(w->engine, "g", RINGLANE_REDRIVE_RECORD, NULL, 0, 0, &o->text, e));
    REFUSED(ringlane_transaction_describe(w->engine, NULL, 0, NULL, e));
    REFUSED(ringlane_transaction_decide(w->engine, NULL, 1, e));
    REFUSED(ringlane_producer_open(w->engine, NULL, NULL, e));
    REFUSED(ringlane_producer_send(w->producer, w->topic, NULL, &o->receipt, e));
    REFUSED(ringlane_producer_send_async(w->producer, w->topic, NULL, w->queue, e));
    REFUSED(ringlane_producer_send_batch(w->producer, w->topic, NULL, sizeof record, 1, NULL, 0, e));
    REFUSED(ringlane_producer_send_batch_async(w->producer, w->topic, NULL, sizeof record, 1, w->queue, 0, 0, e));
    REFUSED(ringlane_producer_send_packed(w->producer, w->topic, NULL, 24, 0, NULL, 0, &o->count, e));
    REFUSED(ringlane_producer_epoch(w->producer, NULL, e));
    REFUSED(ringlane_producer_last_sent(w->producer, w->topic, 0, NULL, &o->first, e));
    REFUSED(ringlane_producer_last_sent(w->producer, w->topic, 0, &o->found, NULL, e));
    REFUSED(ringlane_producer_last_message_id(w->producer, w->topic, 0, NULL, &o->size, e));
    REFUSED(ringlane_producer_last_message_id(w->producer, w->topic, 0, o->message_id, NULL, e));
    REFUSED(ringlane_queue_new(NULL, e));
    REFUSED(ringlane_queue_fd(w->queue, NULL, e));
    REFUSED(ringlane_queue_drain(w->queue, NULL, sizeof o->event, 1, 0, &o->count, e));
    REFUSED(ringlane_queue_drain(w->queue, &o->event, sizeof o->event, 1, 0, NULL, e));
    REFUSED(ringlane_queue_dispatch(w->queue, NULL, NULL, 1, 0, &o->count, e));
    REFUSED(ringlane_queue_dispatch(w->queue, never_called, NULL, 1, 0, NULL, e));
    REFUSED(ringlane_queue_error(w->queue, 1, NULL, e));
    REFUSED(ringlane_queue_pending(w->queue, NULL, e));
    REFUSED(ringlane_check_describe(w->queue, 1, NULL, e));
    REFUSED(ringlane_records_view(w->records, NULL, &o->size, &o->count, e));
    REFUSED(ringlane_records_view(w->records, &o->views, NULL, &o->count, e));
    REFUSED(ringlane_records_view(w->records, &o->views, &o->size, NULL, e));
    REFUSED(ringlane_records_headers(w->records, 0, NULL, sizeof o->header, 1, &o->count, e));
    REFUSED(ringlane_records_headers(w->records, 0, &o->header, sizeof o->header, 1, NULL, e));
    REFUSED(ringlane_consumer_open(w->engine, NULL, NULL, e));
    REFUSED(ringlane_consumer_position(w->consumer, w->topic, 0, NULL, &o->first, e));
    REFUSED(ringlane_consumer_position(w->consumer, w->topic, 0, &o->found, NULL, e));
    REFUSED(ringlane_consumer_poll(w->consumer, 0, NULL, e));
    REFUSED(ringlane_consumer_continuity(w->consumer, NULL, e));
    REFUSED(ringlane_consumer_explain_missing(w->consumer, NULL, e));
    REFUSED(ringlane_member_join(w->engine, NULL, NULL, &o->member, e));
    REFUSED(ringlane_member_join(w->engine, "g", NULL, NULL, e));
    REFUSED(ringlane_member_poll(w->member, 0, NULL, e));
    REFUSED(ringlane_member_ack(w->member, NULL, sizeof *one, 1, &o->count, e));
    REFUSED(ringlane_member_ack_through(w->member, NULL, &o->first, e));
    REFUSED(ringlane_member_nack(w->member, NULL, sizeof *one, 1, 0, &o->count, e));
    REFUSED(ringlane_member_reject(w->member, NULL, sizeof *one, 1, &o->count, e));
    REFUSED(ringlane_member_release(w->member, NULL, sizeof *one, 1, &o->count, e));
    REFUSED(ringlane_member_extend(w->member, NULL, sizeof *one, 1, 1000, &o->count, e));
    REFUSED(ringlane_member_once(w->member, NULL, token, 5, &o->found, e));
    REFUSED(ringlane_member_once(w->member, one, NULL, 5, &o->found, e));
    REFUSED(ringlane_member_once(w->member, one, NULL, 0, &o->found, e));
    REFUSED(ringlane_member_once(w->member, one, token, 5, NULL, e));
    REFUSED(ringlane_member_in_flight(w->member, NULL, e));
    REFUSED(ringlane_member_pause(w->member, NULL, 0, e));
    REFUSED(ringlane_member_resume(w->member, NULL, 0, e));
    REFUSED(ringlane_transaction_begin(w->producer, NULL, NULL, e));
    REFUSED(ringlane_transaction_id(w->transaction, NULL, e));
    REFUSED(ringlane_transaction_state(w->transaction, NULL, e));
    REFUSED(ringlane_transaction_send(w->transaction, w->topic, NULL, e));
    REFUSED(ringlane_transaction_ack(w->transaction, w->member, NULL, sizeof *one, 1, &o->count, e));
    REFUSED(ringlane_transaction_receipts(w->transaction, NULL, sizeof o->receipt, 1, &o->count, e));
    REFUSED(ringlane_transaction_receipts(w->transaction, &o->receipt, sizeof o->receipt, 1, NULL, e));
    REFUSED(ringlane_checker_register(w->engine, NULL, NULL, w->queue, 1, e));
    REFUSED(ringlane_checker_unregister(w->engine, NULL, e));
    CHECK(next_offset(it.topic, 0) + next_offset(it.topic, 1) == 1);
    end_world(&it);
}

#define WITH(field, number) (w = all, w.field = (void *)(uintptr_t)(number))

// Calls every function with a handle in place of a good one: `pick` says which one.
static void bad_handles(const world *all, uintptr_t (*pick)(uintptr_t good), ringlane_status expected) {
    world w;
#define EACH(kind)                                                                                                     \
    w = *all;                                                                                                          \
    w.kind = (void *)pick((uintptr_t)w.kind);                                                                          \
    calls_with_##kind(&w, expected)
    EACH(options);
    EACH(text);
    EACH(engine);
    EACH(topic);
    EACH(producer);
    EACH(queue);
    EACH(consumer);
    EACH(member);
    EACH(records);
    EACH(transaction);
#undef EACH
#define PICK(kind) w.kind = (void *)pick((uintptr_t)all->kind)
    PICK(options), PICK(text), PICK(engine), PICK(topic), PICK(producer), PICK(queue), PICK(consumer), PICK(member);
    PICK(records), PICK(transaction);
#undef PICK
    calls_that_free(&w, expected);
}

static uintptr_t other_kind(uintptr_t good) { return good ^ (uintptr_t)1 << 24; }
static uintptr_t other_generation(uintptr_t good) { return good ^ (uintptr_t)1 << 40; }
static uintptr_t no_slot(uintptr_t good) { return good | 0xffffff; }
static uintptr_t slot_zero(uintptr_t good) { return good & ~(uintptr_t)0xffffff; }
static uintptr_t one(uintptr_t good) { return (void)good, 1; }
static uintptr_t all_ones(uintptr_t good) { return (void)good, UINTPTR_MAX; }
static uintptr_t an_address(uintptr_t good) { return (void)good, (uintptr_t)&written; }
static uintptr_t itself(uintptr_t good) { return good; }

static void numbers_that_are_no_handles_are_refused_by_every_function(void) {
    world all = make_world("main");
    bad_handles(&all, other_kind, RINGLANE_ERROR_DEAD_HANDLE);
    bad_handles(&all, other_generation, RINGLANE_ERROR_DEAD_HANDLE);
    bad_handles(&all, no_slot, RINGLANE_ERROR_DEAD_HANDLE);
    bad_handles(&all, slot_zero, RINGLANE_ERROR_DEAD_HANDLE);
    bad_handles(&all, one, RINGLANE_ERROR_DEAD_HANDLE);
    bad_handles(&all, all_ones, RINGLANE_ERROR_DEAD_HANDLE);
    bad_handles(&all, an_address, RINGLANE_ERROR_DEAD_HANDLE);
    end_world(&all);
}

static void random_numbers_are_no_handles(void) {
    world all = make_world("main");
    uint64_t state = 88172645463325252u;
    for (int turn = 0; turn < 100000; turn++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        // In the upper half is the generation, which is small: look near what is there.
        uint64_t number = turn % 2 == 0 ? state : (state & 0xff0000ff) | (state >> 40 & 3) << 32;
        uint32_t epoch;
        ringlane_producer *producer = (void *)(uintptr_t)number;
        if (producer != all.producer && producer != NULL) {
            CHECK(ringlane_producer_epoch(producer, &epoch, NULL) == RINGLANE_ERROR_DEAD_HANDLE);
        }
    }
    end_world(&all);
}

static void handles_of_another_kind_are_refused(void) {
    world all = make_world("main"), w;
    const ringlane_status expected = RINGLANE_ERROR_DEAD_HANDLE;
    (WITH(options, all.engine), calls_with_options(&w, expected));
    (WITH(text, all.options), calls_with_text(&w, expected));
    (WITH(engine, all.text), calls_with_engine(&w, expected));
    (WITH(topic, all.engine), calls_with_topic(&w, expected));
    (WITH(producer, all.topic), calls_with_producer(&w, expected));
    (WITH(queue, all.producer), calls_with_queue(&w, expected));
    (WITH(consumer, all.member), calls_with_consumer(&w, expected));
    (WITH(member, all.consumer), calls_with_member(&w, expected));
    (WITH(records, all.member), calls_with_records(&w, expected));
    (WITH(transaction, all.records), calls_with_transaction(&w, expected));
    end_world(&all);
}

static void freed_handles_are_refused_by_every_function(void) {
    world freed = make_world("main"), all;
    end_world(&freed);
    bad_handles(&freed, itself, RINGLANE_ERROR_DEAD_HANDLE);
    // Their places are used again, and they stay dead.
    all = make_world("other");
    world w = all;
    w.options = freed.options, calls_with_options(&w, RINGLANE_ERROR_DEAD_HANDLE);
    (w = all, w.text = freed.text, calls_with_text(&w, RINGLANE_ERROR_DEAD_HANDLE));
    (w = all, w.engine = freed.engine, calls_with_engine(&w, RINGLANE_ERROR_DEAD_HANDLE));
    (w = all, w.topic = freed.topic, calls_with_topic(&w, RINGLANE_ERROR_DEAD_HANDLE));
    (w = all, w.producer = freed.producer, calls_with_producer(&w, RINGLANE_ERROR_DEAD_HANDLE));
    (w = all, w.queue = freed.queue, calls_with_queue(&w, RINGLANE_ERROR_DEAD_HANDLE));
    (w = all, w.consumer = freed.consumer, calls_with_consumer(&w, RINGLANE_ERROR_DEAD_HANDLE));
    (w = all, w.member = freed.member, calls_with_member(&w, RINGLANE_ERROR_DEAD_HANDLE));
    (w = all, w.records = freed.records, calls_with_records(&w, RINGLANE_ERROR_DEAD_HANDLE));
    (w = all, w.transaction = freed.transaction, calls_with_transaction(&w, RINGLANE_ERROR_DEAD_HANDLE));
    calls_that_free(&freed, RINGLANE_ERROR_DEAD_HANDLE);
    end_world(&all);
}

static void an_error_is_left_alone_by_what_succeeds(void) {
    world it = make_world("main");
    ringlane_record record = record_of("value");
    ringlane_options *options = NULL;
    ringlane_text *text = NULL;
    ringlane_records *records = NULL;
    memset(&error, 0x5a, sizeof error);
    ringlane_error before = error;
    OK(ringlane_options_new(RINGLANE_OPTIONS_TOPIC, &options, &error));
    OK(ringlane_options_set(options, "partitions", "3", &error));
    OK(ringlane_options_free(options, &error));
    OK(ringlane_producer_send(it.producer, it.topic, &record, NULL, &error));
    OK(ringlane_engine_sync(it.engine, &error));
    OK(ringlane_engine_stats(it.engine, &text, &error));
    OK(ringlane_text_free(text, &error));
    OK(ringlane_consumer_poll(it.consumer, 1000, &records, &error));
    OK(ringlane_records_free(records, &error));
    OK(ringlane_transaction_send(it.transaction, it.topic, &record, &error));
    OK(ringlane_transaction_commit(it.transaction, &error));
    OK(ringlane_member_ack_all(it.member, it.records, &error));
    OK(ringlane_member_flush(it.member, &error));
    CHECK(memcmp(&before, &error, sizeof error) == 0);
    end_world(&it);
}

static void an_error_says_what_and_where(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = NULL;
    FAILS(ringlane_topic_open(engine, "nowhere", &topic, &error), RINGLANE_ERROR_UNKNOWN_TOPIC);
    CHECK(error.status == RINGLANE_ERROR_UNKNOWN_TOPIC && error.flags == 0 && error.system_error == 0);
    CHECK(strstr(error.message, "nowhere") != NULL && strlen(error.message) == error.message_bytes);
    CHECK(topic == NULL);
    // A message that is too long is cut, and ends.
    char *name = malloc(5001);
    memset(name, 'x', 5000), name[5000] = 0;
    CHECK(ringlane_topic_open(engine, name, &topic, &error) != RINGLANE_OK);
    CHECK(error.message_bytes < RINGLANE_MESSAGE_BYTES && strlen(error.message) == error.message_bytes);
    CHECK(ringlane_topic_create(engine, name, NULL, &topic, &error) == RINGLANE_ERROR_INVALID_NAME);
    free(name);
    end_engine(engine);
}

// What failed is about `name`, and about nothing else.
#define NAMES(call, expected, about)                                                                                   \
    do {                                                                                                               \
        memset(&error, 0x5a, sizeof error);                                                                            \
        FAILS(call, expected);                                                                                         \
        CHECK(memchr(error.name, 0, sizeof error.name) != NULL && strcmp(error.name, (about)) == 0);                   \
        CHECK(error.reserved == 0 && error.message_bytes > 0);                                                         \
    } while (0)

static void an_error_names_what_it_is_about(void) {
    world it = make_world("main");
    ringlane_topic *topic = NULL;
    ringlane_member *member = NULL;
    ringlane_text *text = NULL;
    ringlane_records *records = NULL;
    ringlane_record record = record_of("value");
    NAMES(ringlane_topic_open(it.engine, "nowhere", &topic, &error), RINGLANE_ERROR_UNKNOWN_TOPIC, "nowhere");
    NAMES(ringlane_topic_create(it.engine, "t", NULL, &topic, &error), RINGLANE_ERROR_TOPIC_EXISTS, "t");
    NAMES(ringlane_group_describe(it.engine, "nobody", &text, &error), RINGLANE_ERROR_UNKNOWN_GROUP, "nobody");
    NAMES(ringlane_member_join(it.engine, "none", NULL, &member, &error), RINGLANE_ERROR_UNKNOWN_GROUP, "none");
    NAMES(ringlane_transaction_describe(it.engine, "order-1", 0, &text, &error), RINGLANE_ERROR_UNKNOWN_TRANSACTION,
          "order-1");
    NAMES(ringlane_transaction_decide(it.engine, "order-2", 1, &error), RINGLANE_ERROR_UNKNOWN_TRANSACTION, "order-2");
    NAMES(ringlane_producer_delete(it.engine, "writer", &error), RINGLANE_ERROR_UNKNOWN_PRODUCER, "writer");
    NAMES(ringlane_topic_offsets(it.topic, 7, NULL, NULL, &error), RINGLANE_ERROR_INVALID_PARTITION, "t");
    CHECK(error.details[0] == 7 && error.details[1] == 2);
    // A number that is skipped is told by the lane, and comes with an event as well.
    record.flags = RINGLANE_RECORD_SEQUENCE | RINGLANE_RECORD_PARTITION;
    record.partition = 1, record.sequence = 40;
    NAMES(ringlane_producer_send(it.producer, it.topic, &record, NULL, &error), RINGLANE_ERROR_SEQUENCE_GAP, "t");
    CHECK(error.details[0] == 40 && error.details[2] == 1);
    OK(ringlane_producer_send_async(it.producer, it.topic, &record, it.queue, &error));
    ringlane_event event = next_event(it.queue);
    memset(&error, 0x5a, sizeof error);
    OK(ringlane_queue_error(it.queue, event.error_id, &error, NULL));
    CHECK(error.status == RINGLANE_ERROR_SEQUENCE_GAP && strcmp(error.name, "t") == 0 && error.details[2] == 1);
    // What has no name of the application's has none here.
    NAMES(ringlane_options_set(it.options, "no_such_option", "1", &error), RINGLANE_ERROR_INVALID_ARGUMENT, "");
    NAMES(ringlane_consumer_seek(it.consumer, it.topic, 0, 99, 0, &error), RINGLANE_ERROR_INVALID_ARGUMENT, "");
    NAMES(ringlane_topic_free((ringlane_topic *)it.queue, &error), RINGLANE_ERROR_DEAD_HANDLE, "");
    // The longest name there is.
    char longest[250];
    memset(longest, 'x', 249), longest[249] = 0;
    NAMES(ringlane_topic_open(it.engine, longest, &topic, &error), RINGLANE_ERROR_UNKNOWN_TOPIC, longest);
    // One that is too long to be one is cut, and not within a character.
    char *umlauts = malloc(5001);
    for (int at = 0; at < 5000; at += 2) {
        memcpy(umlauts + at, "\xc3\xa4", 2);
    }
    umlauts[5000] = 0;
    memset(&error, 0x5a, sizeof error);
    FAILS(ringlane_topic_create(it.engine, umlauts, NULL, &topic, &error), RINGLANE_ERROR_INVALID_NAME);
    CHECK(strlen(error.name) == 254 && memcmp(error.name, umlauts, 254) == 0);
    CHECK(error.message_bytes < RINGLANE_MESSAGE_BYTES && strlen(error.message) == error.message_bytes);
    free(umlauts);

    // Records that are gone: which ones, and where.
    for (int at = 0; at < 5; at++) {
        record = record_of("value");
        record.flags = RINGLANE_RECORD_PARTITION, record.partition = 1;
        OK(ringlane_producer_send(it.producer, it.topic, &record, NULL, &error));
    }
    uint64_t kept = next_offset(it.topic, 1) - 2;
    OK(ringlane_topic_delete_records(it.engine, it.topic, 1, kept, NULL, &error));
    ringlane_consumer *consumer = NULL;
    OK(ringlane_consumer_open(it.engine, NULL, &consumer, &error));
    NAMES(ringlane_consumer_assign(consumer, it.topic, 1, RINGLANE_START_OFFSET, 0, &error), RINGLANE_ERROR_TRUNCATED, "t");
    CHECK(error.details[0] == 0 && error.details[1] == kept && error.details[2] == 1 && error.details[3] == 0);
    OK(ringlane_consumer_assign(consumer, it.topic, 1, RINGLANE_START_OFFSET, (int64_t)kept, &error));
    OK(ringlane_topic_delete_records(it.engine, it.topic, 1, kept + 1, NULL, &error));
    NAMES(ringlane_consumer_poll(consumer, 0, &records, &error), RINGLANE_ERROR_TRUNCATED, "t");
    CHECK(error.details[0] == kept && error.details[1] == kept + 1 && error.details[2] == 1 && error.details[3] == 0);
    OK(ringlane_consumer_free(consumer, &error));

    // A lease that was lost, by time: the member of the group `brief` holds nothing after it.
    ringlane_options *options = options_of(RINGLANE_OPTIONS_GROUP, "kind", "shared", "topic", "t:end", NULL);
    OK(ringlane_group_create(it.engine, "brief", options, &error));
    OK(ringlane_options_free(options, &error));
    options = options_of(RINGLANE_OPTIONS_MEMBER, "lease_ms", "50", NULL);
    OK(ringlane_member_join(it.engine, "brief", options, &member, &error));
    OK(ringlane_options_free(options, &error));
    record.partition = 0;
    OK(ringlane_producer_send(it.producer, it.topic, &record, NULL, &error));
    batch batch = poll_member(member, 10000);
    if (CHECK(batch.count == 1)) {
        ringlane_status status = RINGLANE_OK;
        for (int turn = 0; status == RINGLANE_OK && turn < 200; turn++) {
            sleep_ms(50);
            status = ringlane_member_extend(member, &batch.views->delivery, batch.stride, 1, 1, NULL, &error);
        }
        uint64_t offset = batch.views->offset;
        NAMES(ringlane_member_ack(member, &batch.views->delivery, batch.stride, 1, NULL, &error), RINGLANE_ERROR_LEASE_LOST,
              "t");
        CHECK(error.details[0] == 0 && error.details[1] == offset);
    }
    end_batch(&batch);
    OK(ringlane_group_delete(it.engine, "brief", &error));
    NAMES(ringlane_member_poll(member, 0, &records, &error), RINGLANE_ERROR_GROUP_DELETED, "brief");
    OK(ringlane_member_free(member, &error));

    // And a topic that is gone.
    OK(ringlane_transaction_roll_back(it.transaction, &error));
    OK(ringlane_topic_delete(it.engine, "t", &error));
    NAMES(ringlane_producer_send(it.producer, it.topic, &record, NULL, &error), RINGLANE_ERROR_TOPIC_DELETED, "t");
    CHECK(topic == NULL && text == NULL && records == NULL);
    end_world(&it);
}

static void texts_that_are_not_utf8_are_refused(void) {
    world it = make_world("main"), *w = &it;
    outs *o = &written;
    const ringlane_status expected = RINGLANE_ERROR_INVALID_ARGUMENT;
    const char *bad = "a\xff\xfe";
    REFUSED(ringlane_options_set(w->options, bad, "1", e));
    REFUSED(ringlane_options_set(w->options, "backend", bad, e));
    REFUSED(ringlane_engine_open(bad, NULL, &o->engine, e));
    REFUSED(ringlane_topic_create(w->engine, bad, NULL, &o->topic, e));
    REFUSED(ringlane_topic_open(w->engine, bad, &o->topic, e));
    REFUSED(ringlane_topic_delete(w->engine, bad, e));
    REFUSED(ringlane_group_describe(w->engine, bad, &o->text, e));
    REFUSED(ringlane_group_delete(w->engine, bad, e));
    REFUSED(ringlane_member_join(w->engine, bad, NULL, &o->member, e));
    REFUSED(ringlane_member_pause(w->member, bad, 0, e));
    REFUSED(ringlane_transaction_describe(w->engine, bad, 0, &o->text, e));
    REFUSED(ringlane_transaction_decide(w->engine, bad, 0, e));
    REFUSED(ringlane_checker_register(w->engine, bad, NULL, w->queue, 0, e));
    ringlane_record record = record_of("value");
    record.tag = bytes_of(bad);
    REFUSED(ringlane_producer_send(w->producer, w->topic, &record, &o->receipt, e));
    record.tag.data = NULL, record.tag.size = 0;
    ringlane_header header = { bytes_of(bad), bytes_of("value") };
    record.headers = &header, record.header_count = 1;
    REFUSED(ringlane_producer_send(w->producer, w->topic, &record, &o->receipt, e));
    REFUSED(ringlane_transaction_send(w->transaction, w->topic, &record, e));
    // Keys, values and values of headers are bytes.
    header = (ringlane_header){ bytes_of("name"), bytes_of(bad) };
    record.key = bytes_of(bad), record.value = bytes_of(bad);
    OK(ringlane_producer_send(w->producer, w->topic, &record, NULL, &error));
    end_world(&it);
}

static void options_that_there_are_not_are_refused_and_change_nothing(void) {
    const ringlane_status expected = RINGLANE_ERROR_INVALID_ARGUMENT;
    outs *o = &written;
    REFUSED(ringlane_options_new(0, (ringlane_options **)(void *)&o->text, e));
    REFUSED(ringlane_options_new(10, (ringlane_options **)(void *)&o->text, e));
    REFUSED(ringlane_options_new(-1, (ringlane_options **)(void *)&o->text, e));
    REFUSED(ringlane_options_new(INT32_MIN, (ringlane_options **)(void *)&o->text, e));
    static const struct {
        int32_t kind;
        const char *key;
        const char *value;
    } wrong[] = {
        { RINGLANE_OPTIONS_ENGINE, "lanes", "many" },
        { RINGLANE_OPTIONS_ENGINE, "lanes", "-1" },
        { RINGLANE_OPTIONS_ENGINE, "lanes", "" },
        { RINGLANE_OPTIONS_ENGINE, "backend", "tape" },
        { RINGLANE_OPTIONS_ENGINE, "held_bytes_max", "-1" },
        { RINGLANE_OPTIONS_ENGINE, "held_bytes_max", "1k" },
        { RINGLANE_OPTIONS_ENGINE, "create", "yes" },
        { RINGLANE_OPTIONS_TOPIC, "partitions", "-1" },
        { RINGLANE_OPTIONS_TOPIC, "partitions", "4294967296" },
        { RINGLANE_OPTIONS_TOPIC, "retention_ms", "1.5" },
        { RINGLANE_OPTIONS_TOPIC, "keep_unfinished", "1" },
        { RINGLANE_OPTIONS_PRODUCER, "durability", "some" },
        { RINGLANE_OPTIONS_CONSUMER, "max_poll_records", " 1" },
        { RINGLANE_OPTIONS_CONSUMER, "filter", "((" },
        { RINGLANE_OPTIONS_CONSUMER, "continuity", "True" },
        { RINGLANE_OPTIONS_GROUP, "kind", "loose" },
        { RINGLANE_OPTIONS_GROUP, "topic", "t" },
        { RINGLANE_OPTIONS_GROUP, "topic", ":end" },
        { RINGLANE_OPTIONS_GROUP, "topic", "t:somewhere" },
        { RINGLANE_OPTIONS_GROUP, "topic", "t:offset:x" },
        { RINGLANE_OPTIONS_GROUP, "topic", "t:offset:-1" },
        { RINGLANE_OPTIONS_GROUP, "max_deliveries", "x" },
        { RINGLANE_OPTIONS_GROUP, "filter", "tag" },
        { RINGLANE_OPTIONS_MEMBER, "lease_ms", "-5" },
        { RINGLANE_OPTIONS_MEMBER, "lease_ms", "18446744073709551616" },
        { RINGLANE_OPTIONS_TRANSACTION, "timeout_ms", "soon" },
        { RINGLANE_OPTIONS_CHECKER, "first_ms", "-1" },
        { RINGLANE_OPTIONS_CHECKER, "checks_max", "x" },
        { RINGLANE_OPTIONS_AUDIT, "producers_max", "x" },
    };
    for (int32_t kind = RINGLANE_OPTIONS_ENGINE; kind <= RINGLANE_OPTIONS_AUDIT; kind++) {
        ringlane_options *options = options_of(kind, NULL);
        REFUSED(ringlane_options_set(options, "colour", "1", e));
        REFUSED(ringlane_options_set(options, "", "1", e));
        for (size_t at = 0; at < sizeof wrong / sizeof *wrong; at++) {
            if (wrong[at].kind == kind) {
                REFUSED(ringlane_options_set(options, wrong[at].key, wrong[at].value, e));
            }
        }
        OK(ringlane_options_free(options, &error));
    }
    // A value that was refused leaves the one before in its place.
    ringlane_engine *engine = open_engine("main");
    ringlane_options *options = options_of(RINGLANE_OPTIONS_TOPIC, "partitions", "3", NULL);
    FAILS(ringlane_options_set(options, "partitions", "x", &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "partitions") != NULL);
    ringlane_topic *topic = NULL;
    uint32_t partitions = 0;
    OK(ringlane_topic_create(engine, "t", options, &topic, &error));
    OK(ringlane_topic_partitions(topic, &partitions, &error));
    CHECK(partitions == 3);
    // They may be used again.
    OK(ringlane_topic_free(topic, &error));
    OK(ringlane_topic_create(engine, "u", options, &topic, &error));
    OK(ringlane_options_free(options, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void options_of_another_kind_are_refused(void) {
    world it = make_world("main");
    for (int32_t kind = RINGLANE_OPTIONS_ENGINE; kind <= RINGLANE_OPTIONS_AUDIT; kind++) {
        world w = it;
        outs *o = &written;
        const ringlane_status expected = RINGLANE_ERROR_INVALID_ARGUMENT;
        w.options = options_of(kind, NULL);
        if (kind == RINGLANE_OPTIONS_GROUP) {
            // Its kind is said by whoever makes one.
            OK(ringlane_options_set(w.options, "kind", "shared", &error));
        }
        if (kind != RINGLANE_OPTIONS_ENGINE) {
            REFUSED(ringlane_engine_open(path_of("never"), w.options, &o->engine, e));
        }
        if (kind != RINGLANE_OPTIONS_AUDIT) {
            REFUSED(ringlane_engine_audit(w.engine, w.options, &o->text, e));
        }
        if (kind != RINGLANE_OPTIONS_TOPIC) {
            REFUSED(ringlane_topic_create(w.engine, "never", w.options, &o->topic, e));
            REFUSED(ringlane_topic_set_retention(w.engine, "t", w.options, e));
        }
        if (kind != RINGLANE_OPTIONS_GROUP) {
            REFUSED(ringlane_group_create(w.engine, "never", w.options, e));
        }
        if (kind != RINGLANE_OPTIONS_PRODUCER) {
            REFUSED(ringlane_producer_open(w.engine, w.options, &o->producer, e));
        }
        if (kind != RINGLANE_OPTIONS_CONSUMER) {
            REFUSED(ringlane_consumer_open(w.engine, w.options, &o->consumer, e));
        }
        if (kind != RINGLANE_OPTIONS_MEMBER) {
            REFUSED(ringlane_member_join(w.engine, "g", w.options, &o->member, e));
        }
        if (kind != RINGLANE_OPTIONS_TRANSACTION) {
            REFUSED(ringlane_transaction_begin(w.producer, w.options, &o->transaction, e));
        }
        if (kind != RINGLANE_OPTIONS_CHECKER) {
            REFUSED(ringlane_checker_register(w.engine, "never", w.options, w.queue, 1, e));
        }
        OK(ringlane_options_free(w.options, &error));
    }
    end_world(&it);
}

static void a_record_of_an_older_or_newer_header_is_read(void) {
    world it = make_world("main");
    const ringlane_status expected = RINGLANE_ERROR_INVALID_ARGUMENT;
    outs *o = &written;
    struct {
        ringlane_record record;
        uint64_t newer[2];
    } large = { record_of("value"), { 0, 0 } };
    ringlane_record *record = &large.record;
    // A smaller one: what it does not have is zero.
    record->partition = 1, record->flags = 0, record->struct_size = (uint32_t)offsetof(ringlane_record, headers);
    OK(ringlane_producer_send(it.producer, it.topic, record, NULL, &error));
    // A larger one, with nothing that this library does not know.
    record->struct_size = sizeof large;
    OK(ringlane_producer_send(it.producer, it.topic, record, NULL, &error));
    OK(ringlane_transaction_send(it.transaction, it.topic, record, &error));
    // And with something.
    large.newer[1] = 1;
    REFUSED(ringlane_producer_send(it.producer, it.topic, record, &o->receipt, e));
    REFUSED(ringlane_producer_send_async(it.producer, it.topic, record, it.queue, e));
    REFUSED(ringlane_transaction_send(it.transaction, it.topic, record, e));
    static const uint32_t none[] = { 0, 1, 4, 7, 65537, UINT32_MAX, 0x80000000 };
    for (size_t at = 0; at < sizeof none / sizeof *none; at++) {
        record->struct_size = none[at];
        REFUSED(ringlane_producer_send(it.producer, it.topic, record, &o->receipt, e));
        REFUSED(ringlane_transaction_send(it.transaction, it.topic, record, e));
    }
    end_world(&it);
}

static void arrays_have_the_stride_of_their_header(void) {
    world it = make_world("main");
    const ringlane_status expected = RINGLANE_ERROR_INVALID_ARGUMENT;
    outs *o = &written;
    struct wide {
        ringlane_record record;
        uint64_t newer;
    } records[3];
    struct wide_receipt {
        ringlane_receipt receipt;
        uint64_t newer;
    } receipts[3];
    memset(records, 0, sizeof records);
    memset(receipts, 0x5a, sizeof receipts);
    for (int at = 0; at < 3; at++) {
        // The struct_size is not looked at in an array.
        records[at].record = record_of("wide");
        records[at].record.struct_size = 1;
        records[at].record.flags = RINGLANE_RECORD_PARTITION, records[at].record.partition = 1;
    }
    OK(ringlane_producer_send_batch(it.producer, it.topic, &records[0].record, sizeof *records, 3, &receipts[0].receipt,
                                    sizeof *receipts, &error));
    for (int at = 1; at < 3; at++) {
        CHECK(receipts[at].receipt.offset == receipts[at - 1].receipt.offset + 1 && receipts[at].newer == 0);
    }
    records[2].newer = 1;
    REFUSED(ringlane_producer_send_batch(it.producer, it.topic, &records[0].record, sizeof *records, 3, NULL, 0, e));
    // A receipt of an older header: no more than that is written.
    struct {
        uint32_t partition, flags;
        uint64_t behind;
    } small = { 9, 9, 0x5a };
    records[2].newer = 0;
    OK(ringlane_producer_send_batch(it.producer, it.topic, &records[0].record, sizeof *records, 1,
                                    (ringlane_receipt *)(void *)&small, 8, &error));
    CHECK(small.partition == 1 && (small.flags & RINGLANE_RECEIPT_OFFSET) != 0 && small.behind == 0x5a);
    // Strides that cannot be.
    static const size_t none[] = { 0, 1, 7, 12, 65544, SIZE_MAX, SIZE_MAX - 7 };
    for (size_t at = 0; at < sizeof none / sizeof *none; at++) {
        size_t stride = none[at];
        REFUSED(ringlane_producer_send_batch(it.producer, it.topic, &records[0].record, stride, 3, NULL, 0, e));
        REFUSED(ringlane_producer_send_batch(it.producer, it.topic, &records[0].record, sizeof *records, 3, &o->receipt,
                                             stride, e));
        REFUSED(ringlane_producer_send_batch_async(it.producer, it.topic, &records[0].record, stride, 3, it.queue, 0, 0, e));
        REFUSED(ringlane_queue_drain(it.queue, &o->event, stride, 1, 0, &o->count, e));
        REFUSED(ringlane_records_headers(it.records, 0, &o->header, stride, 1, &o->count, e));
        REFUSED(ringlane_member_ack(it.member, &it.delivery, stride, 1, &o->count, e));
        REFUSED(ringlane_member_nack(it.member, &it.delivery, stride, 1, 0, &o->count, e));
        REFUSED(ringlane_member_extend(it.member, &it.delivery, stride, 1, 1, &o->count, e));
        REFUSED(ringlane_transaction_ack(it.transaction, it.member, &it.delivery, stride, 1, &o->count, e));
        REFUSED(ringlane_transaction_receipts(it.transaction, &o->receipt, stride, 1, &o->count, e));
    }
    // A delivery that is smaller than a delivery names none.
    REFUSED(ringlane_member_ack(it.member, &it.delivery, 16, 1, &o->count, e));
    end_world(&it);
}

static void huge_lengths_are_refused(void) {
    world it = make_world("main");
    const ringlane_status expected = RINGLANE_ERROR_INVALID_ARGUMENT;
    outs *o = &written;
    ringlane_record record = record_of("value"), good = record;
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX / 2 + 1, (size_t)1 << 41, (size_t)-1000 };
    for (size_t at = 0; at < sizeof sizes / sizeof *sizes; at++) {
        size_t size = sizes[at];
        record = good, record.value.size = size;
        REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
        record = good, record.key = bytes_of("key"), record.key.size = size;
        REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
        record = good, record.tag = bytes_of("tag"), record.tag.size = size;
        REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
        record = good, record.message_id = bytes_of("id"), record.message_id.size = size;
        REFUSED(ringlane_transaction_send(it.transaction, it.topic, &record, e));
        ringlane_header header = { bytes_of("name"), bytes_of("value") };
        record = good, record.headers = &header, record.header_count = size;
        REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
        record.header_count = 1, header.value.size = size;
        REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
        header.value.size = 1, header.name.size = size;
        REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
        REFUSED(ringlane_producer_send_batch(it.producer, it.topic, &good, sizeof good, size, NULL, 0, e));
        REFUSED(ringlane_producer_send_batch_async(it.producer, it.topic, &good, sizeof good, size, it.queue, 1, 0, e));
        REFUSED(ringlane_producer_send_packed(it.producer, it.topic, (const uint8_t *)"x", size, 0, NULL, 0, &o->count, e));
        REFUSED(ringlane_queue_drain(it.queue, &o->event, sizeof o->event, size, 0, &o->count, e));
        REFUSED(ringlane_records_headers(it.records, 0, &o->header, sizeof o->header, size, &o->count, e));
        REFUSED(ringlane_records_headers(it.records, size, &o->header, sizeof o->header, 1, &o->count, e));
        REFUSED(ringlane_member_ack(it.member, &it.delivery, sizeof it.delivery, size, &o->count, e));
        REFUSED(ringlane_member_once(it.member, &it.delivery, (const uint8_t *)"x", size, &o->found, e));
        REFUSED(ringlane_transaction_receipts(it.transaction, &o->receipt, sizeof o->receipt, size, &o->count, e));
    }
    // Nothing with a size is not nothing.
    record = good, record.key.size = 3;
    REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
    record = good, record.header_count = 1;
    REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
    end_world(&it);
}

static void flags_and_kinds_that_there_are_not_are_refused(void) {
    world it = make_world("main");
    const ringlane_status expected = RINGLANE_ERROR_INVALID_ARGUMENT;
    outs *o = &written;
    ringlane_record record = record_of("value");
    record.flags = 32;
    REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
    record.flags = 0x80000000;
    REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
    record.flags = RINGLANE_RECORD_VISIBLE_AT | RINGLANE_RECORD_VISIBLE_AFTER;
    REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
    record.flags = RINGLANE_RECORD_VISIBLE_AFTER, record.visible_ms = -1;
    REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
    static const int32_t none[] = { 0, -1, 5, INT32_MIN, INT32_MAX };
    for (size_t at = 0; at < sizeof none / sizeof *none; at++) {
        int32_t kind = none[at];
        REFUSED(ringlane_consumer_assign(it.consumer, it.topic, 0, kind, 0, e));
        REFUSED(ringlane_consumer_seek(it.consumer, it.topic, 0, kind, 0, e));
        REFUSED(ringlane_group_reset(it.engine, "g", "t", 0, kind, 0, &o->first, e));
        REFUSED(ringlane_group_redrive(it.engine, "g", kind, "t", 0, 0, &o->text, e));
        REFUSED(ringlane_check_answer(it.queue, 1, kind, e));
    }
    REFUSED(ringlane_consumer_assign(it.consumer, it.topic, 0, RINGLANE_START_OFFSET, -1, e));
    REFUSED(ringlane_consumer_seek(it.consumer, it.topic, 0, RINGLANE_START_OFFSET, INT64_MIN, e));
    REFUSED(ringlane_group_reset(it.engine, "g", "t", 0, RINGLANE_START_OFFSET, -1, &o->first, e));
    REFUSED(ringlane_member_extend(it.member, &it.delivery, sizeof it.delivery, 1, -1, &o->count, e));
    REFUSED(ringlane_queue_drain(it.queue, &o->event, sizeof o->event, 0, 0, &o->count, e));
    REFUSED(ringlane_queue_dispatch(it.queue, never_called, NULL, 0, 0, &o->count, e));
    FAILS(ringlane_queue_error(it.queue, 0, &error, NULL), expected);
    REFUSED(ringlane_check_describe(it.queue, 0, &o->check, e));
    REFUSED(ringlane_check_describe(it.queue, UINT64_MAX, &o->check, e));
    // The token of a delivery has 1 to 128 bytes.
    static uint8_t token[129];
    REFUSED(ringlane_member_once(it.member, &it.delivery, token, 0, &o->found, e));
    REFUSED(ringlane_member_once(it.member, &it.delivery, token, 129, &o->found, e));
    record = record_of("value"), record.message_id = (ringlane_bytes){ token, 129 };
    REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
    record.message_id.size = 0;
    REFUSED(ringlane_producer_send(it.producer, it.topic, &record, &o->receipt, e));
    end_world(&it);
}

MAIN(TEST(versions_and_names_are_constant_texts),
     TEST(null_handles_are_refused_by_every_function),
     TEST(null_is_freed_as_nothing),
     TEST(null_pointers_are_refused_by_every_function),
     TEST(numbers_that_are_no_handles_are_refused_by_every_function),
     TEST(random_numbers_are_no_handles),
     TEST(handles_of_another_kind_are_refused),
     TEST(freed_handles_are_refused_by_every_function),
     TEST(an_error_is_left_alone_by_what_succeeds),
     TEST(an_error_says_what_and_where),
     TEST(an_error_names_what_it_is_about),
     TEST(texts_that_are_not_utf8_are_refused),
     TEST(options_that_there_are_not_are_refused_and_change_nothing),
     TEST(options_of_another_kind_are_refused),
     TEST(a_record_of_an_older_or_newer_header_is_read),
     TEST(arrays_have_the_stride_of_their_header),
     TEST(huge_lengths_are_refused),
     TEST(flags_and_kinds_that_there_are_not_are_refused))
