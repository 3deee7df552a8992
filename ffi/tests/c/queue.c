// The completion queue: each asynchronous call has its event, and the descriptor says whether one is there.

#include "check.h"

typedef struct sending {
    ringlane_engine *engine;
    ringlane_topic *topic;
    ringlane_producer *producer;
    ringlane_queue *queue;
} sending;

static sending begin_sending(void) {
    sending it = { 0 };
    it.engine = open_engine("main");
    it.topic = make_topic(it.engine, "t", "2");
    it.producer = make_producer(it.engine, NULL);
    it.queue = make_queue();
    return it;
}

static void end_sending(sending *it) {
    OK(ringlane_queue_free(it->queue, &error));
    OK(ringlane_producer_free(it->producer, &error));
    OK(ringlane_topic_free(it->topic, &error));
    end_engine(it->engine);
}

static uint64_t pending_of(ringlane_queue *queue) {
    uint64_t pending = UINT64_MAX;
    OK(ringlane_queue_pending(queue, &pending, &error));
    return pending;
}

static void each_asynchronous_send_has_one_event(void) {
    sending it = begin_sending();
    enum { COUNT = 2000 };
    static uint8_t seen[COUNT];
    memset(seen, 0, sizeof seen);
    for (uint64_t at = 0; at < COUNT; at++) {
        ringlane_record record = record_of("value");
        record.user_data = at;
        OK(ringlane_producer_send_async(it.producer, it.topic, &record, it.queue, &error));
    }
    size_t events = 0;
    while (events < COUNT) {
        ringlane_event some[64];
        size_t count = 0;
        OK(ringlane_queue_drain(it.queue, some, sizeof *some, 64, 10000, &count, &error));
        if (!CHECK(count > 0 && count <= 64)) {
            break;
        }
        for (size_t at = 0; at < count; at++) {
            CHECK(some[at].kind == RINGLANE_EVENT_SENT && some[at].status == RINGLANE_OK && some[at].error_id == 0);
            CHECK((some[at].receipt.flags & RINGLANE_RECEIPT_OFFSET) != 0 && some[at].reserved == 0);
            CHECK(some[at].user_data < COUNT && seen[some[at].user_data]++ == 0);
        }
        events += count;
    }
    CHECK(events == COUNT && next_offset(it.topic, 0) + next_offset(it.topic, 1) == COUNT);
    CHECK(pending_of(it.queue) == 0 && !is_readable(it.queue, 0));
    end_sending(&it);
}

static void a_batch_has_one_event_or_one_for_each_record(void) {
    sending it = begin_sending();
    enum { COUNT = 50 };
    ringlane_record records[COUNT];
    for (uint64_t at = 0; at < COUNT; at++) {
        records[at] = record_of("value");
        records[at].user_data = 1000 + at;
    }
    OK(ringlane_producer_send_batch_async(it.producer, it.topic, records, sizeof *records, COUNT, it.queue, 0, 7, &error));
    ringlane_event event = next_event(it.queue);
    CHECK(event.kind == RINGLANE_EVENT_BATCH_SENT && event.user_data == 7 && event.count == COUNT && event.status == 0);
    CHECK(!is_readable(it.queue, 0));
    OK(ringlane_producer_send_batch_async(it.producer, it.topic, records, sizeof *records, COUNT, it.queue, 1, 7, &error));
    for (uint64_t at = 0; at < COUNT; at++) {
        event = next_event(it.queue);
        CHECK(event.kind == RINGLANE_EVENT_SENT && event.user_data == 1000 + at && event.status == 0);
        CHECK((event.receipt.flags & RINGLANE_RECEIPT_OFFSET) != 0);
    }
    CHECK(!is_readable(it.queue, 0) && pending_of(it.queue) == 0);
    // A batch that is refused has no event.
    records[COUNT - 1].flags = RINGLANE_RECORD_PARTITION, records[COUNT - 1].partition = 2;
    FAILS(ringlane_producer_send_batch_async(it.producer, it.topic, records, sizeof *records, COUNT, it.queue, 1, 7, &error),
          RINGLANE_ERROR_INVALID_PARTITION);
    OK(ringlane_producer_flush(it.producer, &error));
    CHECK(!is_readable(it.queue, 100) && pending_of(it.queue) == 0);
    end_sending(&it);
}

static void a_batch_of_nothing_has_an_event_if_it_is_one_for_all(void) {
    sending it = begin_sending();
    OK(ringlane_producer_send_batch_async(it.producer, it.topic, NULL, 0, 0, it.queue, 0, 7, &error));
    ringlane_event event = next_event(it.queue);
    CHECK(event.kind == RINGLANE_EVENT_BATCH_SENT && event.user_data == 7 && event.count == 0 && event.status == 0);
    OK(ringlane_producer_send_packed(it.producer, it.topic, (const uint8_t *)"", 0, 0, it.queue, 8, NULL, &error));
    event = next_event(it.queue);
    CHECK(event.kind == RINGLANE_EVENT_BATCH_SENT && event.user_data == 8 && event.count == 0 && event.status == 0);
    // And none if there is one for each.
    OK(ringlane_producer_send_batch_async(it.producer, it.topic, NULL, 0, 0, it.queue, 1, 7, &error));
    CHECK(!is_readable(it.queue, 50) && pending_of(it.queue) == 0);
    end_sending(&it);
}

static void the_descriptor_is_readable_if_and_only_if_an_event_is_there(void) {
    sending it = begin_sending();
    int32_t fd = -1, same = -2;
    OK(ringlane_queue_fd(it.queue, &fd, &error));
    OK(ringlane_queue_fd(it.queue, &same, &error));
    CHECK(fd >= 0 && fd == same && !is_readable(it.queue, 0));
    for (int turn = 0; turn < 20; turn++) {
        for (int at = 0; at < 3; at++) {
            ringlane_record record = record_of("value");
            OK(ringlane_producer_send_async(it.producer, it.topic, &record, it.queue, &error));
        }
        OK(ringlane_producer_flush(it.producer, &error));
        for (int at = 0; at < 3; at++) {
            CHECK(is_readable(it.queue, 10000));
            next_event(it.queue);
        }
        CHECK(!is_readable(it.queue, 0));
    }
    end_sending(&it);
}

static void a_drain_waits_as_long_as_it_is_told_to(void) {
    ringlane_queue *queue = make_queue();
    ringlane_event event = { 0 };
    size_t count = 9;
    int64_t begin = now_ms();
    OK(ringlane_queue_drain(queue, &event, sizeof event, 1, 0, &count, &error));
    CHECK(count == 0 && now_ms() - begin < 1000);
    count = 9;
    OK(ringlane_queue_drain(queue, &event, sizeof event, 1, 60, &count, &error));
    CHECK(count == 0 && now_ms() - begin >= 60);
    OK(ringlane_queue_free(queue, &error));
}

typedef struct told {
    sending *it;
    uint64_t user_datas[64];
    size_t count;
    int sends_more;
} told;

static void tell(void *context, const ringlane_event *event) {
    told *t = context;
    CHECK(event->kind == RINGLANE_EVENT_SENT && event->status == RINGLANE_OK && t->count < 64);
    CHECK(event->receipt.flags & RINGLANE_RECEIPT_OFFSET);
    t->user_datas[t->count++] = event->user_data;
    if (t->sends_more > 0) {
        // Any call may be made here.
        ringlane_record record = record_of("one more");
        record.flags = RINGLANE_RECORD_PARTITION;
        record.user_data = 100 + (uint64_t)t->sends_more--;
        OK(ringlane_producer_send_async(t->it->producer, t->it->topic, &record, t->it->queue, &error));
    }
}

static void close_it(void *context, const ringlane_event *event) {
    (void)event;
    told *t = context;
    t->count++;
    OK(ringlane_queue_close(t->it->queue, &error));
}

static void a_function_is_called_with_each_event_on_this_thread(void) {
    sending it = begin_sending();
    told t = { .it = &it, .sends_more = 2 };
    size_t count = 9;
    OK(ringlane_queue_dispatch(it.queue, tell, &t, 64, 0, &count, &error));
    CHECK(count == 0 && t.count == 0);
    for (uint64_t number = 0; number < 5; number++) {
        ringlane_record record = record_of("value");
        record.flags = RINGLANE_RECORD_PARTITION;
        record.user_data = number;
        OK(ringlane_producer_send_async(it.producer, it.topic, &record, it.queue, &error));
    }
    for (size_t given = 0; given < 7; given += count) {
        OK(ringlane_queue_dispatch(it.queue, tell, &t, 3, 10000, &count, &error));
        CHECK(count >= 1 && count <= 3);
    }
    CHECK(t.count == 7 && t.user_datas[0] == 0 && t.user_datas[4] == 4 && t.user_datas[5] == 102 && t.user_datas[6] == 101);
    CHECK(!is_readable(it.queue, 0));
    // What was taken out is given also when the function closes the queue.
    ringlane_record records[3] = { record_of("a"), record_of("b"), record_of("c") };
    OK(ringlane_producer_send_batch_async(it.producer, it.topic, records, sizeof *records, 3, it.queue, 1, 0, &error));
    OK(ringlane_producer_flush(it.producer, &error));
    t.count = 0;
    OK(ringlane_queue_dispatch(it.queue, close_it, &t, 3, 10000, &count, &error));
    CHECK(count >= 1 && t.count == count);
    FAILS(ringlane_queue_dispatch(it.queue, tell, &t, 3, -1, &count, &error), RINGLANE_ERROR_CLOSED);
    end_sending(&it);
}

static void a_producer_that_never_blocks_is_told_that_there_is_no_room(void) {
    sending it = begin_sending();
    ringlane_options *options = NULL;
    ringlane_producer *producer = NULL;
    OK(ringlane_options_new(RINGLANE_OPTIONS_PRODUCER, &options, &error));
    FAILS(ringlane_options_set(options, "max_block_ms", "-1", &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    OK(ringlane_options_set(options, "max_block_ms", "0", &error));
    OK(ringlane_producer_open(it.engine, options, &producer, &error));
    OK(ringlane_options_free(options, &error));
    // Far more in one call than the buffer has; the next one finds it full, unless the device was faster.
    static char bytes[500000];
    ringlane_record record = RINGLANE_RECORD_INIT;
    record.value = (ringlane_bytes){ (const uint8_t *)bytes, sizeof bytes };
    int full = 0;
    size_t sent = 0, taken = 0;
    for (int at = 0; at < 2000 && !full; at++) {
        int64_t begin = now_ms();
        ringlane_status status = ringlane_producer_send_async(producer, it.topic, &record, it.queue, &error);
        full = status == RINGLANE_ERROR_QUEUE_FULL;
        CHECK(full || status == RINGLANE_OK);
        CHECK(!full || ((error.flags & RINGLANE_RETRIABLE) != 0 && now_ms() - begin < 5000));
        sent += full ? 0 : 1;
    }
    CHECK(full);
    for (; taken < sent; taken++) {
        CHECK(next_event(it.queue).status == RINGLANE_OK);
    }
    OK(ringlane_producer_send_async(producer, it.topic, &record, it.queue, &error));
    CHECK(next_event(it.queue).status == RINGLANE_OK);
    OK(ringlane_producer_free(producer, &error));
    end_sending(&it);
}

// ----- batches that the send buffer has no room for -----

// A producer that never waits, with a buffer that is far smaller than its batches.
typedef struct squeezed {
    sending sending;
    ringlane_record *records;
    size_t count;
} squeezed;

enum { SQUEEZED_RECORDS = 3000 };

static squeezed begin_squeezed(const char *name, const char *lanes) {
    squeezed it = { .count = SQUEEZED_RECORDS };
    static uint8_t bytes[1000];
    ringlane_options *options = engine_options();
    OK(ringlane_options_set(options, "lanes", lanes, &error));
    OK(ringlane_options_set(options, "buffer_bytes_max", "65536", &error));
    OK(ringlane_engine_open(path_of(name), options, &it.sending.engine, &error));
    OK(ringlane_options_free(options, &error));
    it.sending.topic = make_topic(it.sending.engine, "t", "2");
    options = options_of(RINGLANE_OPTIONS_PRODUCER, "max_block_ms", "0", NULL);
    OK(ringlane_producer_open(it.sending.engine, options, &it.sending.producer, &error));
    OK(ringlane_options_free(options, &error));
    it.sending.queue = make_queue();
    it.records = calloc(it.count, sizeof *it.records);
    for (size_t at = 0; at < it.count; at++) {
        it.records[at] = (ringlane_record)RINGLANE_RECORD_INIT;
        it.records[at].value = (ringlane_bytes){ bytes, sizeof bytes };
        it.records[at].flags = RINGLANE_RECORD_PARTITION, it.records[at].partition = (uint32_t)(at % 2);
        it.records[at].user_data = at;
    }
    return it;
}

static void end_squeezed(squeezed *it) {
    free(it->records);
    end_sending(&it->sending);
}

static uint64_t records_of(const sending *it) {
    return next_offset(it->topic, 0) + next_offset(it->topic, 1);
}

// What a batch comes to of which a part was sent: to send all of it again would send that part twice.
static void is_told_as_a_part(ringlane_status status, uint32_t flags) {
    CHECK(status == RINGLANE_ERROR_QUEUE_FULL && flags == RINGLANE_UNKNOWN_OUTCOME);
}

// How often a batch is tried until one is not taken as a whole: a device may be that fast.
enum { TRIES = 50 };

// Before, the call failed as one that may be tried again, and those that were on their way already were sent twice.
static void of_a_batch_that_does_not_fit_each_record_has_its_outcome(void) {
    for (int lanes = 1; lanes <= 2; lanes++) {
        squeezed it = begin_squeezed(lanes == 1 ? "main" : "other", lanes == 1 ? "1" : "2");
        sending *to = &it.sending;
        size_t taken = 0, refused = 0;
        uint64_t first_error = 0;
        for (int turn = 0; refused == 0 && turn < TRIES; turn++) {
            static uint8_t seen[SQUEEZED_RECORDS];
            memset(seen, 0, sizeof seen);
            OK(ringlane_producer_send_batch_async(to->producer, to->topic, it.records, sizeof *it.records, it.count, to->queue,
                                                  1, 0, &error));
            for (size_t at = 0; at < it.count; at++) {
                ringlane_event event = next_event(to->queue);
                if (!CHECK(event.kind == RINGLANE_EVENT_SENT && event.user_data < it.count)) {
                    break;
                }
                CHECK(seen[event.user_data]++ == 0);
                if (event.status == RINGLANE_OK) {
                    CHECK((event.receipt.flags & RINGLANE_RECEIPT_OFFSET) != 0 && event.error_id == 0);
                    taken += 1;
                    continue;
                }
                CHECK(event.status == RINGLANE_ERROR_QUEUE_FULL && event.flags == RINGLANE_RETRIABLE);
                CHECK(event.error_id != 0);
                first_error = refused == 0 ? event.error_id : first_error;
                refused += 1;
            }
            if (refused > 0) {
                // More than are kept of different ones; what is the same is kept once.
                CHECK(refused > 1024);
                ringlane_error of_event;
                OK(ringlane_queue_error(to->queue, first_error, &of_event, &error));
                CHECK(of_event.status == RINGLANE_ERROR_QUEUE_FULL && of_event.flags == RINGLANE_RETRIABLE);
                CHECK(of_event.details[0] > 65536);
            }
            CHECK(records_of(to) == taken && !is_readable(to->queue, 0));
        }
        CHECK(taken > 0 && refused > 0);
        // Those that were refused may be sent again one by one, and are there once.
        OK(ringlane_producer_send_batch(to->producer, to->topic, it.records, sizeof *it.records, 10, NULL, 0, &error));
        CHECK(records_of(to) == taken + 10);
        uint64_t pending = 9;
        OK(ringlane_queue_pending(to->queue, &pending, &error));
        CHECK(pending == 0);
        end_squeezed(&it);
    }
}

static void a_batch_of_which_a_part_was_sent_is_not_to_be_sent_again(void) {
    squeezed it = begin_squeezed("main", "1");
    sending *to = &it.sending;
    // One event for all.
    ringlane_event event = { 0 };
    for (int turn = 0; event.status == RINGLANE_OK && turn < TRIES; turn++) {
        OK(ringlane_producer_send_batch_async(to->producer, to->topic, it.records, sizeof *it.records, it.count, to->queue, 0,
                                              7, &error));
        event = next_event(to->queue);
        CHECK(event.kind == RINGLANE_EVENT_BATCH_SENT && event.user_data == 7 && event.count == it.count);
    }
    is_told_as_a_part(event.status, event.flags);
    ringlane_error of_event;
    OK(ringlane_queue_error(to->queue, event.error_id, &of_event, &error));
    is_told_as_a_part(of_event.status, of_event.flags);
    CHECK(of_event.details[0] > 65536 && strstr(of_event.message, "part of the batch") != NULL);
    OK(ringlane_producer_flush(to->producer, &error));
    uint64_t before = records_of(to);
    CHECK(before > 0 && before % it.count != 0);

    // The call that waits says the same, and gives no receipts.
    static ringlane_receipt receipts[SQUEEZED_RECORDS];
    for (int with_receipts = 0; with_receipts < 2; with_receipts++) {
        ringlane_status status = RINGLANE_OK;
        for (int turn = 0; status == RINGLANE_OK && turn < TRIES; turn++) {
            memset(receipts, 0x5a, sizeof receipts), memset(&error, 0, sizeof error);
            status = ringlane_producer_send_batch(to->producer, to->topic, it.records, sizeof *it.records, it.count,
                                                  with_receipts ? receipts : NULL, sizeof *receipts, &error);
        }
        is_told_as_a_part(status, error.flags);
        CHECK(receipts[0].offset == 0x5a5a5a5a5a5a5a5a && strstr(error.message, "part of the batch") != NULL);
        uint64_t now = records_of(to);
        CHECK(now > before && (now - before) % it.count != 0);
        before = now;
    }

    // And so do records that are packed: many of the first one.
    ringlane_consumer *consumer = make_consumer(to->engine, to->topic);
    batch batch = poll_consumer(consumer, 10000);
    if (CHECK(batch.count > 0)) {
        ringlane_bytes record = batch.views->record;
        size_t stride = (record.size + 7) / 8 * 8, size = stride * it.count, count = 0;
        uint8_t *packed = calloc(it.count, stride);
        for (size_t at = 0; at < it.count; at++) {
            memcpy(packed + at * stride, record.data, record.size);
        }
        ringlane_status status = RINGLANE_OK;
        for (int turn = 0; status == RINGLANE_OK && turn < TRIES; turn++) {
            memset(&error, 0, sizeof error);
            status = ringlane_producer_send_packed(to->producer, to->topic, packed, size, 0, NULL, 0, &count, &error);
        }
        is_told_as_a_part(status, error.flags);
        event.status = RINGLANE_OK;
        for (int turn = 0; event.status == RINGLANE_OK && turn < TRIES; turn++) {
            OK(ringlane_producer_send_packed(to->producer, to->topic, packed, size, 0, to->queue, 8, &count, &error));
            event = next_event(to->queue);
            CHECK(event.kind == RINGLANE_EVENT_BATCH_SENT && event.user_data == 8 && event.count == it.count);
        }
        CHECK(count == it.count);
        is_told_as_a_part(event.status, event.flags);
        free(packed);
    }
    end_batch(&batch);
    OK(ringlane_consumer_free(consumer, &error));
    end_squeezed(&it);
}

static void *drain_for_ever(void *queue) {
    ringlane_event event;
    size_t count = 9;
    return (void *)(intptr_t)ringlane_queue_drain(queue, &event, sizeof event, 1, -1, &count, NULL);
}

static void a_wakeup_ends_the_drain_that_waits_or_the_next_one(void) {
    sending it = begin_sending();
    pthread_t thread;
    void *status = NULL;
    CHECK(pthread_create(&thread, NULL, drain_for_ever, it.queue) == 0);
    sleep_ms(50);
    OK(ringlane_queue_wakeup(it.queue, &error));
    CHECK(pthread_join(thread, &status) == 0 && (intptr_t)status == RINGLANE_ERROR_WOKEN);
    CHECK(!is_readable(it.queue, 0));
    // Nobody waits: the descriptor says so until somebody finds nothing, and events come first.
    ringlane_event event;
    size_t count = 9;
    ringlane_record record = record_of("value");
    OK(ringlane_producer_send_async(it.producer, it.topic, &record, it.queue, &error));
    CHECK(is_readable(it.queue, 10000));
    OK(ringlane_queue_wakeup(it.queue, &error));
    OK(ringlane_queue_wakeup(it.queue, &error));
    CHECK(next_event(it.queue).kind == RINGLANE_EVENT_SENT && is_readable(it.queue, 0));
    FAILS(ringlane_queue_drain(it.queue, &event, sizeof event, 1, -1, &count, &error), RINGLANE_ERROR_WOKEN);
    CHECK(count == 9 && !is_readable(it.queue, 0));
    OK(ringlane_queue_drain(it.queue, &event, sizeof event, 1, 0, &count, &error));
    CHECK(count == 0);
    end_sending(&it);
}

static void a_closed_queue_ends_those_who_wait_and_stays_readable(void) {
    sending it = begin_sending();
    pthread_t threads[3];
    for (int at = 0; at < 3; at++) {
        CHECK(pthread_create(&threads[at], NULL, drain_for_ever, it.queue) == 0);
    }
    sleep_ms(50);
    OK(ringlane_queue_close(it.queue, &error));
    for (int at = 0; at < 3; at++) {
        void *status = NULL;
        CHECK(pthread_join(threads[at], &status) == 0);
        CHECK((intptr_t)status == RINGLANE_ERROR_CLOSED);
    }
    ringlane_event event;
    size_t count = 9;
    FAILS(ringlane_queue_drain(it.queue, &event, sizeof event, 1, -1, &count, &error), RINGLANE_ERROR_CLOSED);
    FAILS(ringlane_queue_drain(it.queue, &event, sizeof event, 1, 0, &count, &error), RINGLANE_ERROR_CLOSED);
    CHECK(count == 9);
    // Whoever waits on the descriptor learns of it, also after somebody else has.
    CHECK(is_readable(it.queue, 0));
    ringlane_record record = record_of("value");
    FAILS(ringlane_producer_send_async(it.producer, it.topic, &record, it.queue, &error), RINGLANE_ERROR_CLOSED);
    FAILS(ringlane_producer_send_batch_async(it.producer, it.topic, &record, sizeof record, 1, it.queue, 1, 0, &error),
          RINGLANE_ERROR_CLOSED);
    FAILS(ringlane_producer_send_packed(it.producer, it.topic, (const uint8_t *)"", 0, 0, it.queue, 0, NULL, &error),
          RINGLANE_ERROR_CLOSED);
    FAILS(ringlane_checker_register(it.engine, "c", NULL, it.queue, 1, &error), RINGLANE_ERROR_CLOSED);
    OK(ringlane_queue_close(it.queue, &error));
    CHECK(next_offset(it.topic, 0) + next_offset(it.topic, 1) == 0);
    end_sending(&it);
}

static void a_closed_queue_drops_its_events_and_what_was_sent_goes_its_way(void) {
    sending it = begin_sending();
    for (int at = 0; at < 500; at++) {
        ringlane_record record = record_of("value");
        OK(ringlane_producer_send_async(it.producer, it.topic, &record, it.queue, &error));
    }
    OK(ringlane_queue_close(it.queue, &error));
    CHECK(pending_of(it.queue) == 0);
    OK(ringlane_producer_flush(it.producer, &error));
    CHECK(next_offset(it.topic, 0) + next_offset(it.topic, 1) == 500);
    ringlane_event event;
    size_t count = 9;
    FAILS(ringlane_queue_drain(it.queue, &event, sizeof event, 1, 0, &count, &error), RINGLANE_ERROR_CLOSED);
    // The same with a queue that is freed.
    ringlane_queue *queue = make_queue();
    for (int at = 0; at < 500; at++) {
        ringlane_record record = record_of("value");
        OK(ringlane_producer_send_async(it.producer, it.topic, &record, queue, &error));
    }
    OK(ringlane_queue_free(queue, &error));
    OK(ringlane_producer_flush(it.producer, &error));
    CHECK(next_offset(it.topic, 0) + next_offset(it.topic, 1) == 1000);
    end_sending(&it);
}

// What is refused by the lane comes with the event.
static void what_went_wrong_with_an_event_is_told_by_its_number(void) {
    sending it = begin_sending();
    ringlane_producer *fenced = make_producer(it.engine, "name"), *newest = make_producer(it.engine, "name");
    enum { COUNT = 1100 };
    uint64_t first_id = 0, last_id = 0;
    int failed = 0;
    for (uint64_t at = 0; at < COUNT; at++) {
        ringlane_record record = record_of("value");
        record.user_data = at;
        ringlane_status status = ringlane_producer_send_async(fenced, it.topic, &record, it.queue, &error);
        if (status != RINGLANE_OK) {
            CHECK(status == RINGLANE_ERROR_PRODUCER_FENCED);
            continue;
        }
        ringlane_event event = next_event(it.queue);
        CHECK(event.user_data == at && event.status == RINGLANE_ERROR_PRODUCER_FENCED && event.error_id != 0);
        first_id = failed++ == 0 ? event.error_id : first_id;
        last_id = event.error_id;
    }
    // What was the same for all was kept once.
    if (failed > 0) {
        CHECK(first_id == last_id);
    }
    failed = 0;
    // Numbers that are skipped are found by the lane, whoever is newest; each is an error of its own.
    for (uint64_t at = 0; at < COUNT; at++) {
        ringlane_record record = record_of("value");
        record.flags = RINGLANE_RECORD_SEQUENCE | RINGLANE_RECORD_PARTITION;
        record.sequence = 10 + at, record.user_data = at;
        ringlane_status status = ringlane_producer_send_async(newest, it.topic, &record, it.queue, &error);
        if (status != RINGLANE_OK) {
            CHECK(status == RINGLANE_ERROR_SEQUENCE_GAP);
            continue;
        }
        ringlane_event event = next_event(it.queue);
        CHECK(event.status == RINGLANE_ERROR_SEQUENCE_GAP && event.error_id != 0);
        first_id = failed++ == 0 ? event.error_id : first_id;
        last_id = event.error_id;
        ringlane_error of_event;
        memset(&of_event, 0x5a, sizeof of_event);
        OK(ringlane_queue_error(it.queue, event.error_id, &of_event, &error));
        CHECK(of_event.status == RINGLANE_ERROR_SEQUENCE_GAP && of_event.details[0] == 10 + at && of_event.details[1] == 0);
        CHECK(strlen(of_event.message) == of_event.message_bytes && of_event.message_bytes > 0);
    }
    ringlane_error of_event;
    memset(&of_event, 0x5a, sizeof of_event);
    if (failed > 1024) {
        FAILS(ringlane_queue_error(it.queue, first_id, &of_event, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
        CHECK(of_event.status == 0x5a5a5a5a);
    }
    if (failed > 0) {
        OK(ringlane_queue_error(it.queue, last_id, &of_event, &error));
        FAILS(ringlane_queue_error(it.queue, last_id, NULL, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    }
    FAILS(ringlane_queue_error(it.queue, last_id + 1, &of_event, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    FAILS(ringlane_queue_error(it.queue, 0, &of_event, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    FAILS(ringlane_queue_error(it.queue, UINT64_MAX, &of_event, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    OK(ringlane_producer_free(fenced, &error));
    OK(ringlane_producer_free(newest, &error));
    end_sending(&it);
}

static void events_have_the_stride_of_their_header(void) {
    sending it = begin_sending();
    struct wide_event {
        ringlane_event event;
        uint64_t newer;
    } wide[2];
    memset(wide, 0x5a, sizeof wide);
    for (uint64_t at = 0; at < 2; at++) {
        ringlane_record record = record_of("value");
        record.user_data = at;
        OK(ringlane_producer_send_async(it.producer, it.topic, &record, it.queue, &error));
        OK(ringlane_producer_flush(it.producer, &error));
    }
    size_t count = 0, taken = 0;
    while (taken < 2) {
        OK(ringlane_queue_drain(it.queue, &wide[taken].event, sizeof *wide, 2 - taken, 10000, &count, &error));
        if (!CHECK(count > 0)) {
            break;
        }
        taken += count;
    }
    CHECK(wide[0].event.user_data == 0 && wide[1].event.user_data == 1 && wide[0].newer == 0 && wide[1].newer == 0);
    // Events of an older header end where that does.
    ringlane_record record = record_of("value");
    record.user_data = 77;
    OK(ringlane_producer_send_async(it.producer, it.topic, &record, it.queue, &error));
    struct {
        uint32_t kind;
        int32_t status;
        uint64_t user_data, behind;
    } narrow = { 0, 0, 0, 0x5a };
    OK(ringlane_queue_drain(it.queue, (ringlane_event *)(void *)&narrow, 16, 1, 10000, &count, &error));
    CHECK(count == 1 && narrow.kind == RINGLANE_EVENT_SENT && narrow.user_data == 77 && narrow.behind == 0x5a);
    end_sending(&it);
}

static void a_consumer_has_a_queue_told_once_when_it_can_be_read(void) {
    sending it = begin_sending();
    ringlane_consumer *consumer = NULL;
    OK(ringlane_consumer_open(it.engine, NULL, &consumer, &error));
    FAILS(ringlane_consumer_notify(consumer, it.queue, 1, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    OK(ringlane_consumer_assign(consumer, it.topic, RINGLANE_ANY_PARTITION, RINGLANE_START_BEGINNING, 0, &error));
    OK(ringlane_consumer_notify(consumer, it.queue, 11, &error));
    CHECK(!is_readable(it.queue, 50));
    send_text(it.producer, it.topic, "one");
    CHECK(is_readable(it.queue, 10000));
    ringlane_event event = next_event(it.queue);
    CHECK(event.kind == RINGLANE_EVENT_READABLE && event.user_data == 11 && event.status == 0);
    send_text(it.producer, it.topic, "two");
    CHECK(!is_readable(it.queue, 50));
    batch batch;
    size_t seen = 0;
    while (batch = poll_consumer(consumer, 0), batch.count > 0) {
        seen += batch.count;
        end_batch(&batch);
    }
    CHECK(seen == 2);
    // What is there already is told at once, and nothing of it is lost by asking.
    send_text(it.producer, it.topic, "three");
    for (int turn = 0; turn < 2; turn++) {
        OK(ringlane_consumer_notify(consumer, it.queue, 12, &error));
        event = next_event(it.queue);
        CHECK(event.kind == RINGLANE_EVENT_READABLE && event.user_data == 12);
    }
    int32_t found = 0;
    uint64_t offset = 0, sum = 0;
    for (uint32_t partition = 0; partition < 2; partition++) {
        OK(ringlane_consumer_position(consumer, it.topic, partition, &found, &offset, &error));
        sum += offset;
    }
    CHECK(sum == 2);
    batch = poll_consumer(consumer, 0);
    CHECK(batch.count == 1 && is_text(view_at(&batch, 0)->value, "three"));
    end_batch(&batch);
    // A wait of which it was told ends in the poll as well.
    OK(ringlane_consumer_notify(consumer, it.queue, 13, &error));
    batch = poll_consumer(consumer, 50);
    CHECK(batch.records == NULL);
    OK(ringlane_consumer_free(consumer, &error));
    end_sending(&it);
}

typedef struct draining {
    ringlane_queue *queue;
    atomic_uint_fast64_t *sum;
    atomic_int *count;
    int wanted;
} draining;

static void *drain_some(void *given) {
    draining *it = given;
    while (*it->count < it->wanted) {
        ringlane_event events[7];
        size_t count = 0;
        if (ringlane_queue_drain(it->queue, events, sizeof *events, 7, 20, &count, NULL) != RINGLANE_OK) {
            break;
        }
        for (size_t at = 0; at < count; at++) {
            *it->sum += events[at].user_data;
        }
        *it->count += (int)count;
    }
    return NULL;
}

static void several_threads_drain_one_queue(void) {
    sending it = begin_sending();
    enum { COUNT = 3000, THREADS = 4 };
    atomic_uint_fast64_t sum = 0;
    atomic_int drained = 0;
    draining given = { it.queue, &sum, &drained, COUNT };
    pthread_t threads[THREADS];
    for (int at = 0; at < THREADS; at++) {
        CHECK(pthread_create(&threads[at], NULL, drain_some, &given) == 0);
    }
    for (uint64_t at = 0; at < COUNT; at++) {
        ringlane_record record = record_of("value");
        record.user_data = at;
        OK(ringlane_producer_send_async(it.producer, it.topic, &record, it.queue, &error));
    }
    for (int at = 0; at < THREADS; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }
    CHECK(drained == COUNT && sum == (uint64_t)COUNT * (COUNT - 1) / 2 && !is_readable(it.queue, 0));
    end_sending(&it);
}

static void one_queue_serves_several_engines(void) {
    sending it = begin_sending();
    ringlane_engine *other = open_engine("other");
    ringlane_topic *topic = make_topic(other, "u", "1");
    ringlane_producer *producer = make_producer(other, NULL);
    for (uint64_t at = 0; at < 10; at++) {
        ringlane_record record = record_of("value");
        record.user_data = at;
        OK(ringlane_producer_send_async(at % 2 == 0 ? it.producer : producer, at % 2 == 0 ? it.topic : topic, &record,
                                        it.queue, &error));
    }
    uint64_t sum = 0;
    for (int at = 0; at < 10; at++) {
        ringlane_event event = next_event(it.queue);
        CHECK(event.status == RINGLANE_OK);
        sum += event.user_data;
    }
    CHECK(sum == 45 && next_offset(topic, 0) == 5);
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(other);
    end_sending(&it);
}

MAIN(TEST(each_asynchronous_send_has_one_event),
     TEST(a_batch_has_one_event_or_one_for_each_record),
     TEST(a_batch_of_nothing_has_an_event_if_it_is_one_for_all),
     TEST(the_descriptor_is_readable_if_and_only_if_an_event_is_there),
     TEST(a_drain_waits_as_long_as_it_is_told_to),
     TEST(a_function_is_called_with_each_event_on_this_thread),
     TEST(a_producer_that_never_blocks_is_told_that_there_is_no_room),
     TEST(of_a_batch_that_does_not_fit_each_record_has_its_outcome),
     TEST(a_batch_of_which_a_part_was_sent_is_not_to_be_sent_again),
     TEST(a_wakeup_ends_the_drain_that_waits_or_the_next_one),
     TEST(a_closed_queue_ends_those_who_wait_and_stays_readable),
     TEST(a_closed_queue_drops_its_events_and_what_was_sent_goes_its_way),
     TEST(what_went_wrong_with_an_event_is_told_by_its_number),
     TEST(events_have_the_stride_of_their_header),
     TEST(a_consumer_has_a_queue_told_once_when_it_can_be_read),
     TEST(several_threads_drain_one_queue),
     TEST(one_queue_serves_several_engines))
