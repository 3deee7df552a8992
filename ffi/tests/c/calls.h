// Every function that takes a handle, called with handles of a kind that are not good: none may crash, and each says the
// same. Used for handles that are dead, NULL, closed under the calls, and for those of the process that was forked.
//
// Always so: a call here does nothing, since one of its handles is refused before anything else.

#ifndef RINGLANE_CALLS_H
#define RINGLANE_CALLS_H

#include "check.h"

// One handle of each kind.
typedef struct world {
    ringlane_options *options;
    ringlane_engine *engine;
    ringlane_topic *topic;
    ringlane_producer *producer;
    ringlane_queue *queue;
    ringlane_consumer *consumer;
    ringlane_member *member;
    ringlane_records *records;
    ringlane_transaction *transaction;
    ringlane_text *text;
    ringlane_delivery delivery;
} world;

// An engine of a name with all that belongs to it; the group is `g`, the topic `t` with two partitions.
static inline world make_world(const char *name) {
    world it = { 0 };
    it.engine = open_engine(name);
    it.topic = make_topic(it.engine, "t", "2");
    it.producer = make_producer(it.engine, "p");
    send_text(it.producer, it.topic, "first");
    it.queue = make_queue();
    it.consumer = make_consumer(it.engine, it.topic);
    ringlane_options *group = options_of(RINGLANE_OPTIONS_GROUP, "kind", "shared", "topic", "t:beginning", NULL);
    OK(ringlane_group_create(it.engine, "g", group, &error));
    OK(ringlane_options_free(group, &error));
    OK(ringlane_member_join(it.engine, "g", NULL, &it.member, &error));
    batch batch = poll_member(it.member, 10000);
    if (CHECK(batch.count == 1)) {
        it.records = batch.records;
        it.delivery = batch.views->delivery;
    }
    OK(ringlane_transaction_begin(it.producer, NULL, &it.transaction, &error));
    OK(ringlane_engine_stats(it.engine, &it.text, &error));
    it.options = options_of(RINGLANE_OPTIONS_ENGINE, NULL);
    return it;
}

static inline void end_world(world *it) {
    OK(ringlane_options_free(it->options, &error));
    OK(ringlane_text_free(it->text, &error));
    OK(ringlane_transaction_free(it->transaction, &error));
    OK(ringlane_records_free(it->records, &error));
    OK(ringlane_member_free(it->member, &error));
    OK(ringlane_consumer_free(it->consumer, &error));
    OK(ringlane_queue_free(it->queue, &error));
    OK(ringlane_producer_free(it->producer, &error));
    OK(ringlane_topic_free(it->topic, &error));
    end_engine(it->engine);
}

// What results would be written to: nothing may be.
typedef struct outs {
    ringlane_text *text;
    ringlane_topic *topic;
    ringlane_producer *producer;
    ringlane_consumer *consumer;
    ringlane_member *member;
    ringlane_records *records;
    ringlane_transaction *transaction;
    ringlane_engine *engine;
    const char *data;
    const ringlane_record_view *views;
    uint64_t first;
    uint64_t second;
    size_t size;
    size_t count;
    uint32_t number;
    int32_t found;
    ringlane_receipt receipt;
    ringlane_event event;
    ringlane_header header;
    ringlane_check check;
    uint8_t message_id[RINGLANE_MESSAGE_ID_BYTES];
} outs;

static outs written;

static inline void fill_outs(outs *outs) {
    memset(outs, 0x5a, sizeof *outs);
    outs->check.struct_size = sizeof outs->check;
}

// The call is refused, with an error and without one; and nothing is written but that.
#define REFUSED(call)                                                                                                  \
    do {                                                                                                               \
        outs before;                                                                                                   \
        fill_outs(&before);                                                                                            \
        fill_outs(&written);                                                                                           \
        memset(&error, 0x5a, sizeof error);                                                                            \
        ringlane_error *e = &error;                                                                                    \
        if (FAILS(call, expected)) {                                                                                   \
            CHECK(error.status == expected && error.reserved == 0 && error.message_bytes > 0);                         \
            CHECK(error.message_bytes < RINGLANE_MESSAGE_BYTES && strlen(error.message) == error.message_bytes);       \
            CHECK(error.name[0] == 0);                                                                                 \
        }                                                                                                              \
        e = NULL;                                                                                                      \
        FAILS(call, expected);                                                                                         \
        CHECK(memcmp(&before, &written, sizeof before) == 0 && #call != NULL);                                         \
    } while (0)

static inline void calls_with_options(const world *w, ringlane_status expected) {
    outs *o = &written;
    REFUSED(ringlane_options_set(w->options, "lanes", "1", e));
    REFUSED(ringlane_engine_open(path_of("never"), w->options, &o->engine, e));
    REFUSED(ringlane_engine_open_read_only(path_of("never"), w->options, &o->engine, e));
    REFUSED(ringlane_engine_audit(w->engine, w->options, &o->text, e));
    REFUSED(ringlane_topic_create(w->engine, "never", w->options, &o->topic, e));
    REFUSED(ringlane_topic_set_retention(w->engine, "t", w->options, e));
    REFUSED(ringlane_group_create(w->engine, "never", w->options, e));
    REFUSED(ringlane_producer_open(w->engine, w->options, &o->producer, e));
    REFUSED(ringlane_consumer_open(w->engine, w->options, &o->consumer, e));
    REFUSED(ringlane_member_join(w->engine, "g", w->options, &o->member, e));
    REFUSED(ringlane_transaction_begin(w->producer, w->options, &o->transaction, e));
    REFUSED(ringlane_checker_register(w->engine, "never", w->options, w->queue, 1, e));
}

static inline void calls_with_text(const world *w, ringlane_status expected) {
    outs *o = &written;
    REFUSED(ringlane_text_get(w->text, &o->data, &o->size, e));
}

static inline void calls_with_engine(const world *w, ringlane_status expected) {
    outs *o = &written;
    REFUSED(ringlane_engine_close(w->engine, e));
    REFUSED(ringlane_engine_refresh(w->engine, e));
    REFUSED(ringlane_engine_sync(w->engine, e));
    REFUSED(ringlane_engine_accept_clock(w->engine, e));
    REFUSED(ringlane_engine_stats(w->engine, &o->text, e));
    REFUSED(ringlane_engine_recovery(w->engine, &o->text, e));
    REFUSED(ringlane_engine_audit(w->engine, NULL, &o->text, e));
    REFUSED(ringlane_topic_create(w->engine, "never", NULL, &o->topic, e));
    REFUSED(ringlane_topic_open(w->engine, "t", &o->topic, e));
    REFUSED(ringlane_topic_list(w->engine, &o->text, e));
    REFUSED(ringlane_topic_delete(w->engine, "never", e));
    REFUSED(ringlane_topic_set_retention(w->engine, "t", NULL, e));
    REFUSED(ringlane_topic_delete_records(w->engine, w->topic, 0, 0, &o->first, e));
    REFUSED(ringlane_engine_publish_withheld(w->engine, 0, 0, 0, e));
    REFUSED(ringlane_producer_list(w->engine, &o->text, e));
    REFUSED(ringlane_producer_delete(w->engine, "never", e));
    REFUSED(ringlane_group_create(w->engine, "never", NULL, e));
    REFUSED(ringlane_group_describe(w->engine, "g", &o->text, e));
    REFUSED(ringlane_group_describe(w->engine, NULL, &o->text, e));
    REFUSED(ringlane_group_reset(w->engine, "g", "t", 0, RINGLANE_START_END, 0, &o->first, e));
    REFUSED(ringlane_group_delete(w->engine, "never", e));
    REFUSED(ringlane_group_redrive(w->engine, "g", RINGLANE_REDRIVE_ALL, NULL, 0, 0, &o->text, e));
    REFUSED(ringlane_transaction_describe(w->engine, "never", 0, &o->text, e));
    REFUSED(ringlane_transaction_describe(w->engine, NULL, 1, &o->text, e));
    REFUSED(ringlane_transaction_decide(w->engine, "never", 1, e));
    REFUSED(ringlane_producer_open(w->engine, NULL, &o->producer, e));
    REFUSED(ringlane_consumer_open(w->engine, NULL, &o->consumer, e));
    REFUSED(ringlane_member_join(w->engine, "g", NULL, &o->member, e));
    REFUSED(ringlane_checker_register(w->engine, "never", NULL, w->queue, 1, e));
    REFUSED(ringlane_checker_unregister(w->engine, "never", e));
}

static inline void calls_with_topic(const world *w, ringlane_status expected) {
    outs *o = &written;
    ringlane_record record = record_of("never");
    REFUSED(ringlane_topic_partitions(w->topic, &o->number, e));
    REFUSED(ringlane_topic_offsets(w->topic, 0, &o->first, &o->second, e));
    REFUSED(ringlane_topic_delete_records(w->engine, w->topic, 0, 0, &o->first, e));
    REFUSED(ringlane_producer_send(w->producer, w->topic, &record, &o->receipt, e));
    REFUSED(ringlane_producer_send_async(w->producer, w->topic, &record, w->queue, e));
    REFUSED(ringlane_producer_send_batch(w->producer, w->topic, &record, sizeof record, 1, &o->receipt,
                                         sizeof o->receipt, e));
    REFUSED(ringlane_producer_send_batch_async(w->producer, w->topic, &record, sizeof record, 1, w->queue, 1, 7, e));
    REFUSED(ringlane_producer_send_packed(w->producer, w->topic, (const uint8_t *)"", 0, 0, w->queue, 7, &o->count, e));
    REFUSED(ringlane_producer_last_sent(w->producer, w->topic, 0, &o->found, &o->first, e));
    REFUSED(ringlane_producer_last_message_id(w->producer, w->topic, 0, o->message_id, &o->size, e));
    REFUSED(ringlane_consumer_assign(w->consumer, w->topic, 0, RINGLANE_START_END, 0, e));
    REFUSED(ringlane_consumer_unassign(w->consumer, w->topic, 0, e));
    REFUSED(ringlane_consumer_seek(w->consumer, w->topic, 0, RINGLANE_START_END, 0, e));
    REFUSED(ringlane_consumer_position(w->consumer, w->topic, 0, &o->found, &o->first, e));
    REFUSED(ringlane_transaction_send(w->transaction, w->topic, &record, e));
}

static inline void calls_with_producer(const world *w, ringlane_status expected) {
    outs *o = &written;
    ringlane_record record = record_of("never");
    REFUSED(ringlane_producer_send(w->producer, w->topic, &record, &o->receipt, e));
    REFUSED(ringlane_producer_send_async(w->producer, w->topic, &record, w->queue, e));
    REFUSED(ringlane_producer_send_batch(w->producer, w->topic, &record, sizeof record, 1, &o->receipt,
                                         sizeof o->receipt, e));
    REFUSED(ringlane_producer_send_batch_async(w->producer, w->topic, &record, sizeof record, 1, w->queue, 1, 7, e));
    REFUSED(ringlane_producer_send_packed(w->producer, w->topic, (const uint8_t *)"", 0, 0, w->queue, 7, &o->count, e));
    REFUSED(ringlane_producer_flush(w->producer, e));
    REFUSED(ringlane_producer_cancel(w->producer, 0, 0, 0, e));
    REFUSED(ringlane_producer_epoch(w->producer, &o->number, e));
    REFUSED(ringlane_producer_last_sent(w->producer, w->topic, 0, &o->found, &o->first, e));
    REFUSED(ringlane_producer_last_message_id(w->producer, w->topic, 0, o->message_id, &o->size, e));
    REFUSED(ringlane_transaction_begin(w->producer, NULL, &o->transaction, e));
}

static inline void never_called(void *context, const ringlane_event *event) {
    (void)context, (void)event;
    CHECK(0 && "a function was called by a call that is refused");
}

static inline void calls_with_queue(const world *w, ringlane_status expected) {
    outs *o = &written;
    ringlane_record record = record_of("never");
    REFUSED(ringlane_producer_send_async(w->producer, w->topic, &record, w->queue, e));
    REFUSED(ringlane_producer_send_batch_async(w->producer, w->topic, &record, sizeof record, 1, w->queue, 1, 7, e));
    if (w->queue != NULL) {
        REFUSED(ringlane_producer_send_packed(w->producer, w->topic, (const uint8_t *)"", 0, 0, w->queue, 7, &o->count, e));
    }
    REFUSED(ringlane_queue_fd(w->queue, &o->found, e));
    REFUSED(ringlane_queue_drain(w->queue, &o->event, sizeof o->event, 1, 0, &o->count, e));
    REFUSED(ringlane_queue_error(w->queue, 1, NULL, e));
    REFUSED(ringlane_queue_pending(w->queue, &o->first, e));
    REFUSED(ringlane_queue_dispatch(w->queue, never_called, NULL, 1, 0, &o->count, e));
    REFUSED(ringlane_queue_wakeup(w->queue, e));
    REFUSED(ringlane_queue_close(w->queue, e));
    REFUSED(ringlane_check_describe(w->queue, 1, &o->check, e));
    REFUSED(ringlane_check_answer(w->queue, 1, RINGLANE_CHECK_COMMIT, e));
    REFUSED(ringlane_consumer_notify(w->consumer, w->queue, 7, e));
    REFUSED(ringlane_member_notify(w->member, w->queue, 7, e));
    REFUSED(ringlane_checker_register(w->engine, "never", NULL, w->queue, 1, e));
}

static inline void calls_with_consumer(const world *w, ringlane_status expected) {
    outs *o = &written;
    REFUSED(ringlane_consumer_close(w->consumer, e));
    REFUSED(ringlane_consumer_assign(w->consumer, w->topic, 0, RINGLANE_START_END, 0, e));
    REFUSED(ringlane_consumer_unassign(w->consumer, w->topic, 0, e));
    REFUSED(ringlane_consumer_seek(w->consumer, w->topic, 0, RINGLANE_START_END, 0, e));
    REFUSED(ringlane_consumer_position(w->consumer, w->topic, 0, &o->found, &o->first, e));
    REFUSED(ringlane_consumer_poll(w->consumer, 0, &o->records, e));
    REFUSED(ringlane_consumer_wakeup(w->consumer, e));
    REFUSED(ringlane_consumer_notify(w->consumer, w->queue, 7, e));
    REFUSED(ringlane_consumer_continuity(w->consumer, &o->text, e));
    REFUSED(ringlane_consumer_explain_missing(w->consumer, &o->text, e));
}

static inline void calls_with_member(const world *w, ringlane_status expected) {
    outs *o = &written;
    const ringlane_delivery *one = &w->delivery;
    const size_t stride = sizeof *one;
    REFUSED(ringlane_member_close(w->member, e));
    REFUSED(ringlane_member_poll(w->member, 0, &o->records, e));
    REFUSED(ringlane_member_wakeup(w->member, e));
    REFUSED(ringlane_member_notify(w->member, w->queue, 7, e));
    REFUSED(ringlane_member_ack(w->member, one, stride, 1, &o->count, e));
    REFUSED(ringlane_member_ack_all(w->member, w->records, e));
    REFUSED(ringlane_member_ack_through(w->member, one, &o->first, e));
    REFUSED(ringlane_member_nack(w->member, one, stride, 1, 0, &o->count, e));
    REFUSED(ringlane_member_reject(w->member, one, stride, 1, &o->count, e));
    REFUSED(ringlane_member_release(w->member, one, stride, 1, &o->count, e));
    REFUSED(ringlane_member_extend(w->member, one, stride, 1, 1000, &o->count, e));
    REFUSED(ringlane_member_once(w->member, one, (const uint8_t *)"token", 5, &o->found, e));
    REFUSED(ringlane_member_flush(w->member, e));
    REFUSED(ringlane_member_in_flight(w->member, &o->first, e));
    REFUSED(ringlane_member_pause(w->member, "t", 0, e));
    REFUSED(ringlane_member_resume(w->member, "t", 0, e));
    REFUSED(ringlane_transaction_ack(w->transaction, w->member, one, stride, 1, &o->count, e));
}

static inline void calls_with_records(const world *w, ringlane_status expected) {
    outs *o = &written;
    REFUSED(ringlane_records_view(w->records, &o->views, &o->size, &o->count, e));
    REFUSED(ringlane_records_headers(w->records, 0, &o->header, sizeof o->header, 1, &o->count, e));
    REFUSED(ringlane_member_ack_all(w->member, w->records, e));
}

static inline void calls_with_transaction(const world *w, ringlane_status expected) {
    outs *o = &written;
    ringlane_record record = record_of("never");
    REFUSED(ringlane_transaction_id(w->transaction, &o->data, e));
    REFUSED(ringlane_transaction_state(w->transaction, &o->found, e));
    REFUSED(ringlane_transaction_send(w->transaction, w->topic, &record, e));
    REFUSED(ringlane_transaction_ack(w->transaction, w->member, &w->delivery, sizeof w->delivery, 1, &o->count, e));
    REFUSED(ringlane_transaction_prepare(w->transaction, e));
    REFUSED(ringlane_transaction_commit(w->transaction, e));
    REFUSED(ringlane_transaction_roll_back(w->transaction, e));
    REFUSED(ringlane_transaction_receipts(w->transaction, &o->receipt, sizeof o->receipt, 1, &o->count, e));
}

static inline void calls_that_free(const world *w, ringlane_status expected) {
    REFUSED(ringlane_options_free(w->options, e));
    REFUSED(ringlane_text_free(w->text, e));
    REFUSED(ringlane_engine_free(w->engine, e));
    REFUSED(ringlane_topic_free(w->topic, e));
    REFUSED(ringlane_producer_free(w->producer, e));
    REFUSED(ringlane_queue_free(w->queue, e));
    REFUSED(ringlane_consumer_free(w->consumer, e));
    REFUSED(ringlane_member_free(w->member, e));
    REFUSED(ringlane_records_free(w->records, e));
    REFUSED(ringlane_transaction_free(w->transaction, e));
}

#endif
