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
    // Numbers that are skipped are found by the lane, whoever is newest.
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
     TEST(a_wakeup_ends_the_drain_that_waits_or_the_next_one),
     TEST(a_closed_queue_ends_those_who_wait_and_stays_readable),
     TEST(a_closed_queue_drops_its_events_and_what_was_sent_goes_its_way),
     TEST(what_went_wrong_with_an_event_is_told_by_its_number),
     TEST(events_have_the_stride_of_their_header),
     TEST(a_consumer_has_a_queue_told_once_when_it_can_be_read),
     TEST(several_threads_drain_one_queue),
     TEST(one_queue_serves_several_engines))
