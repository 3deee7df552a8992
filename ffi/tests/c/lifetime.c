// Who lives how long: closing under calls, threads that come and go, several engines, and numbers at their ends.

#include "calls.h"

// What a thread does, and what came of it.
typedef struct polling {
    ringlane_consumer *consumer;
    ringlane_member *member;
    int64_t timeout_ms;
    ringlane_status status;
    atomic_bool begins;
    int64_t ended_ms;
} polling;

static void *poll_once(void *given) {
    polling *it = given;
    ringlane_records *records = NULL;
    it->begins = true;
    it->status = it->member != NULL ? ringlane_member_poll(it->member, it->timeout_ms, &records, NULL)
                                    : ringlane_consumer_poll(it->consumer, it->timeout_ms, &records, NULL);
    it->ended_ms = now_ms();
    ringlane_records_free(records, NULL);
    return NULL;
}

static pthread_t begin_poll(polling *it) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, poll_once, it) == 0);
    while (!it->begins) {
        sleep_ms(1);
    }
    sleep_ms(100);
    return thread;
}

static void a_second_thread_in_a_consumer_is_told(void) {
    world it = make_world("main");
    batch batch = poll_consumer(it.consumer, 1000);
    end_batch(&batch);
    polling poll = { .consumer = it.consumer, .timeout_ms = -1 };
    pthread_t thread = begin_poll(&poll);
    const ringlane_status expected = RINGLANE_ERROR_IN_USE;
    outs *o = &written;
    REFUSED(ringlane_consumer_poll(it.consumer, 0, &o->records, e));
    REFUSED(ringlane_consumer_assign(it.consumer, it.topic, 0, RINGLANE_START_END, 0, e));
    REFUSED(ringlane_consumer_unassign(it.consumer, it.topic, 0, e));
    REFUSED(ringlane_consumer_seek(it.consumer, it.topic, 0, RINGLANE_START_END, 0, e));
    REFUSED(ringlane_consumer_position(it.consumer, it.topic, 0, &o->found, &o->first, e));
    REFUSED(ringlane_consumer_notify(it.consumer, it.queue, 1, e));
    REFUSED(ringlane_consumer_continuity(it.consumer, &o->text, e));
    REFUSED(ringlane_consumer_explain_missing(it.consumer, &o->text, e));
    OK(ringlane_consumer_wakeup(it.consumer, &error));
    CHECK(pthread_join(thread, NULL) == 0 && poll.status == RINGLANE_ERROR_WOKEN);
    // Afterwards it is free again.
    batch = poll_consumer(it.consumer, 0);
    polling of_member = { .member = it.member, .timeout_ms = -1 };
    thread = begin_poll(&of_member);
    REFUSED(ringlane_member_poll(it.member, 0, &o->records, e));
    REFUSED(ringlane_member_pause(it.member, "t", 0, e));
    REFUSED(ringlane_member_resume(it.member, "t", 0, e));
    REFUSED(ringlane_member_notify(it.member, it.queue, 1, e));
    CHECK(error.flags == RINGLANE_RETRIABLE);
    // Deliveries end on any thread.
    OK(ringlane_member_ack(it.member, &it.delivery, sizeof it.delivery, 1, NULL, &error));
    OK(ringlane_member_wakeup(it.member, &error));
    CHECK(pthread_join(thread, NULL) == 0 && of_member.status == RINGLANE_ERROR_WOKEN);
    end_world(&it);
}

static void a_wakeup_ends_the_wait_or_the_next_one(void) {
    world it = make_world("main");
    batch batch = poll_consumer(it.consumer, 1000);
    end_batch(&batch);
    for (int turn = 0; turn < 2; turn++) {
        polling poll = { .consumer = it.consumer, .timeout_ms = -1 };
        if (turn == 1) {
            poll.member = it.member, poll.timeout_ms = 60000;
        }
        pthread_t thread = begin_poll(&poll);
        int64_t woken = now_ms();
        OK(turn == 0 ? ringlane_consumer_wakeup(it.consumer, &error) : ringlane_member_wakeup(it.member, &error));
        CHECK(pthread_join(thread, NULL) == 0 && poll.status == RINGLANE_ERROR_WOKEN && poll.ended_ms - woken < 5000);
    }
    // A wakeup while nobody waits ends the next wait, and only that.
    ringlane_records *records = NULL;
    OK(ringlane_consumer_wakeup(it.consumer, &error));
    OK(ringlane_consumer_wakeup(it.consumer, &error));
    FAILS(ringlane_consumer_poll(it.consumer, -1, &records, &error), RINGLANE_ERROR_WOKEN);
    OK(ringlane_consumer_poll(it.consumer, 20, &records, &error));
    CHECK(records == NULL);
    OK(ringlane_member_wakeup(it.member, &error));
    FAILS(ringlane_member_poll(it.member, -1, &records, &error), RINGLANE_ERROR_WOKEN);
    OK(ringlane_member_poll(it.member, 20, &records, &error));
    // One that reads nothing is woken too.
    OK(ringlane_consumer_unassign(it.consumer, it.topic, RINGLANE_ANY_PARTITION, &error));
    OK(ringlane_consumer_wakeup(it.consumer, &error));
    FAILS(ringlane_consumer_poll(it.consumer, 60000, &records, &error), RINGLANE_ERROR_WOKEN);
    ringlane_consumer *fresh = NULL;
    OK(ringlane_consumer_open(it.engine, NULL, &fresh, &error));
    OK(ringlane_consumer_wakeup(fresh, &error));
    FAILS(ringlane_consumer_poll(fresh, 60000, &records, &error), RINGLANE_ERROR_WOKEN);
    OK(ringlane_consumer_free(fresh, &error));
    end_world(&it);
}

static void closing_ends_those_who_poll(void) {
    // The consumer, the member, and the engine under both; freed instead of closed in the second turn.
    for (int turn = 0; turn < 2; turn++) {
        world it = make_world(turn == 0 ? "main" : "other");
        batch batch = poll_consumer(it.consumer, 1000);
        end_batch(&batch);
        ringlane_consumer *second = make_consumer(it.engine, it.topic);
        batch = poll_consumer(second, 1000);
        end_batch(&batch);
        polling polls[3] = {
            { .consumer = it.consumer, .timeout_ms = -1 },
            { .consumer = it.consumer, .member = it.member, .timeout_ms = -1 },
            { .consumer = second, .timeout_ms = -1 },
        };
        pthread_t threads[3] = { begin_poll(&polls[0]), begin_poll(&polls[1]), begin_poll(&polls[2]) };
        int64_t closed = now_ms();
        if (turn == 0) {
            OK(ringlane_consumer_close(it.consumer, &error));
            OK(ringlane_member_close(it.member, &error));
        } else {
            OK(ringlane_consumer_free(it.consumer, &error));
            OK(ringlane_member_free(it.member, &error));
        }
        for (int at = 0; at < 2; at++) {
            CHECK(pthread_join(threads[at], NULL) == 0 && polls[at].status == RINGLANE_ERROR_CLOSED);
            CHECK(polls[at].ended_ms - closed < 5000);
        }
        if (turn == 0) {
            world w = it;
            const ringlane_status expected = RINGLANE_ERROR_CLOSED;
            outs *o = &written;
            REFUSED(ringlane_consumer_poll(w.consumer, 0, &o->records, e));
            REFUSED(ringlane_consumer_poll(w.consumer, -1, &o->records, e));
            REFUSED(ringlane_consumer_assign(w.consumer, w.topic, 0, RINGLANE_START_END, 0, e));
            REFUSED(ringlane_consumer_unassign(w.consumer, w.topic, 0, e));
            REFUSED(ringlane_consumer_seek(w.consumer, w.topic, 0, RINGLANE_START_END, 0, e));
            REFUSED(ringlane_consumer_position(w.consumer, w.topic, 0, &o->found, &o->first, e));
            REFUSED(ringlane_consumer_notify(w.consumer, w.queue, 1, e));
            REFUSED(ringlane_consumer_continuity(w.consumer, &o->text, e));
            REFUSED(ringlane_consumer_explain_missing(w.consumer, &o->text, e));
            OK(ringlane_consumer_close(it.consumer, &error));
            OK(ringlane_consumer_wakeup(it.consumer, &error));
        }
        closed = now_ms();
        OK(turn == 0 ? ringlane_engine_close(it.engine, &error) : ringlane_engine_free(it.engine, &error));
        CHECK(pthread_join(threads[2], NULL) == 0 && polls[2].status == RINGLANE_ERROR_CLOSED);
        CHECK(polls[2].ended_ms - closed < 5000);
        OK(ringlane_consumer_free(second, &error));
        if (turn == 0) {
            end_world(&it);
        } else {
            OK(ringlane_options_free(it.options, &error));
            OK(ringlane_text_free(it.text, &error));
            OK(ringlane_transaction_free(it.transaction, &error));
            OK(ringlane_records_free(it.records, &error));
            OK(ringlane_queue_free(it.queue, &error));
            OK(ringlane_producer_free(it.producer, &error));
            OK(ringlane_topic_free(it.topic, &error));
        }
    }
}

static void calls_after_closing_are_told(void) {
    world it = make_world("main"), *w = &it;
    const ringlane_status expected = RINGLANE_ERROR_CLOSED;
    outs *o = &written;
    ringlane_record record = record_of("late");
    OK(ringlane_engine_close(it.engine, &error));
    OK(ringlane_engine_close(it.engine, &error));
    REFUSED(ringlane_engine_sync(w->engine, e));
    REFUSED(ringlane_engine_audit(w->engine, NULL, &o->text, e));
    REFUSED(ringlane_topic_create(w->engine, "never", NULL, &o->topic, e));
    REFUSED(ringlane_topic_delete(w->engine, "t", e));
    REFUSED(ringlane_topic_set_retention(w->engine, "t", NULL, e));
    REFUSED(ringlane_topic_delete_records(w->engine, w->topic, 0, 0, &o->first, e));
    REFUSED(ringlane_engine_publish_withheld(w->engine, 0, 0, 0, e));
    REFUSED(ringlane_producer_delete(w->engine, "p", e));
    REFUSED(ringlane_group_delete(w->engine, "g", e));
    REFUSED(ringlane_group_reset(w->engine, "g", "t", 0, RINGLANE_START_END, 0, &o->first, e));
    REFUSED(ringlane_group_redrive(w->engine, "g", RINGLANE_REDRIVE_ALL, NULL, 0, 0, &o->text, e));
    REFUSED(ringlane_transaction_decide(w->engine, "never", 1, e));
    REFUSED(ringlane_producer_open(w->engine, NULL, &o->producer, e));
    REFUSED(ringlane_member_join(w->engine, "g", NULL, &o->member, e));
    REFUSED(ringlane_checker_register(w->engine, "never", NULL, w->queue, 1, e));
    REFUSED(ringlane_producer_send(w->producer, w->topic, &record, &o->receipt, e));
    REFUSED(ringlane_producer_send_async(w->producer, w->topic, &record, w->queue, e));
    REFUSED(ringlane_producer_send_batch(w->producer, w->topic, &record, sizeof record, 1, NULL, 0, e));
    REFUSED(ringlane_producer_send_batch_async(w->producer, w->topic, &record, sizeof record, 1, w->queue, 1, 0, e));
    REFUSED(ringlane_transaction_begin(w->producer, NULL, &o->transaction, e));
    // A consumer gives what is there still.
    batch batch = poll_consumer(w->consumer, -1);
    CHECK(batch.count == 1);
    end_batch(&batch);
    REFUSED(ringlane_consumer_poll(w->consumer, -1, &o->records, e));
    REFUSED(ringlane_member_poll(w->member, -1, &o->records, e));
    REFUSED(ringlane_member_flush(w->member, e));
    REFUSED(ringlane_transaction_commit(w->transaction, e));
    // What has been there is still told, or that it is closed; none hangs.
    ringlane_text *text = NULL;
    ringlane_status status = ringlane_engine_stats(w->engine, &text, &error);
    CHECK(status == RINGLANE_OK || status == RINGLANE_ERROR_CLOSED);
    OK(ringlane_text_free(text, &error));
    ringlane_event event;
    size_t count = 9;
    OK(ringlane_queue_drain(w->queue, &event, sizeof event, 1, 0, &count, &error));
    CHECK(count == 0);
    end_world(&it);
}

static void parts_may_be_freed_before_and_after_their_engine(void) {
    for (int turn = 0; turn < 2; turn++) {
        world it = make_world(turn == 0 ? "main" : "other");
        if (turn == 0) {
            end_world(&it);
            continue;
        }
        OK(ringlane_engine_free(it.engine, &error));
        OK(ringlane_topic_free(it.topic, &error));
        OK(ringlane_producer_free(it.producer, &error));
        OK(ringlane_queue_free(it.queue, &error));
        OK(ringlane_consumer_free(it.consumer, &error));
        OK(ringlane_member_free(it.member, &error));
        OK(ringlane_records_free(it.records, &error));
        OK(ringlane_transaction_free(it.transaction, &error));
        OK(ringlane_text_free(it.text, &error));
        OK(ringlane_options_free(it.options, &error));
        // The directory is free for another one.
        end_engine(open_engine("other"));
    }
}

static void the_same_directory_twice_is_locked(void) {
    ringlane_engine *engine = open_engine("main"), *second = NULL, *other = open_engine("other");
    ringlane_options *options = engine_options();
    FAILS(ringlane_engine_open(path_of("main"), options, &second, &error), RINGLANE_ERROR_LOCKED);
    CHECK(second == NULL && error.details[0] == (uint64_t)getpid());
    char path[640];
    snprintf(path, sizeof path, "%s/../main/.", path_of("other"));
    FAILS(ringlane_engine_open(path, options, &second, &error), RINGLANE_ERROR_LOCKED);
    OK(ringlane_options_free(options, &error));
    end_engine(engine);
    end_engine(other);
    end_engine(open_engine("main"));
}

// A topic, a delivery or a member belongs to its engine; another one refuses it, and does nothing.
static void handles_of_another_engine_are_refused(void) {
    world one = make_world("one"), two = make_world("two");
    send_texts(two.producer, two.topic, 5);
    uint64_t before[4] = { next_offset(one.topic, 0), next_offset(one.topic, 1), next_offset(two.topic, 0),
                           next_offset(two.topic, 1) };
    const ringlane_status expected = RINGLANE_ERROR_INVALID_ARGUMENT;
    outs *o = &written;
    ringlane_record record = record_of("astray");
    REFUSED(ringlane_topic_delete_records(one.engine, two.topic, 0, 1, &o->first, e));
    REFUSED(ringlane_producer_send(one.producer, two.topic, &record, &o->receipt, e));
    REFUSED(ringlane_producer_send_async(one.producer, two.topic, &record, one.queue, e));
    REFUSED(ringlane_producer_send_batch(one.producer, two.topic, &record, sizeof record, 1, NULL, 0, e));
    REFUSED(ringlane_producer_send_batch_async(one.producer, two.topic, &record, sizeof record, 1, one.queue, 1, 0, e));
    REFUSED(ringlane_producer_last_sent(one.producer, two.topic, 0, &o->found, &o->first, e));
    REFUSED(ringlane_producer_last_message_id(one.producer, two.topic, 0, o->message_id, &o->size, e));
    REFUSED(ringlane_consumer_assign(one.consumer, two.topic, 0, RINGLANE_START_END, 0, e));
    REFUSED(ringlane_transaction_send(one.transaction, two.topic, &record, e));
    REFUSED(ringlane_transaction_ack(one.transaction, two.member, &two.delivery, sizeof two.delivery, 1, NULL, e));
    OK(ringlane_member_ack_all(two.member, two.records, &error));
    OK(ringlane_transaction_commit(one.transaction, &error));
    CHECK(next_offset(one.topic, 0) == before[0] && next_offset(one.topic, 1) == before[1]);
    CHECK(next_offset(two.topic, 0) == before[2] && next_offset(two.topic, 1) == before[3]);
    // What one member was handed is nothing that a member of another engine holds.
    CHECK(ringlane_member_ack_all(two.member, one.records, &error) < 0);
    end_world(&one);
    end_world(&two);
}

static void *send_one(void *given) {
    world *it = given;
    ringlane_record record = record_of("from a short thread");
    record.user_data = 1;
    CHECK(ringlane_producer_send_async(it->producer, it->topic, &record, it->queue, NULL) == RINGLANE_OK);
    ringlane_receipt receipt;
    CHECK(ringlane_producer_send(it->producer, it->topic, &record, &receipt, NULL) == RINGLANE_OK);
    ringlane_topic *topic = NULL;
    CHECK(ringlane_topic_open(it->engine, "t", &topic, NULL) == RINGLANE_OK);
    CHECK(ringlane_topic_free(topic, NULL) == RINGLANE_OK);
    return NULL;
}

static void threads_come_and_go(void) {
    world it = make_world("main");
    enum { ROUNDS = 40, THREADS = 10 };
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        for (int at = 0; at < THREADS; at++) {
            CHECK(pthread_create(&threads[at], NULL, send_one, &it) == 0);
        }
        for (int at = 0; at < THREADS; at++) {
            CHECK(pthread_join(threads[at], NULL) == 0);
        }
    }
    for (int at = 0; at < ROUNDS * THREADS; at++) {
        CHECK(next_event(it.queue).status == RINGLANE_OK);
    }
    CHECK(next_offset(it.topic, 0) + next_offset(it.topic, 1) == 1 + 2 * ROUNDS * THREADS);
    end_world(&it);
}

typedef struct flood {
    world *world;
    atomic_uint_fast64_t accepted;
    ringlane_status last;
} flood;

static void *send_until_closed(void *given) {
    flood *it = given;
    ringlane_status status;
    do {
        ringlane_record record = record_of("in flight");
        record.user_data = 1;
        status = ringlane_producer_send_async(it->world->producer, it->world->topic, &record, it->world->queue, NULL);
        it->accepted += status == RINGLANE_OK;
    } while (status == RINGLANE_OK);
    it->last = status;
    return NULL;
}

static void closing_with_everything_in_flight_gives_each_send_one_outcome(void) {
    world it = make_world("main");
    enum { THREADS = 3 };
    flood floods[THREADS];
    pthread_t threads[THREADS];
    for (int at = 0; at < THREADS; at++) {
        floods[at] = (flood){ .world = &it };
        CHECK(pthread_create(&threads[at], NULL, send_until_closed, &floods[at]) == 0);
    }
    sleep_ms(50);
    OK(ringlane_engine_close(it.engine, &error));
    uint64_t accepted = 0, events = 0, there = 0;
    for (int at = 0; at < THREADS; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0 && floods[at].last == RINGLANE_ERROR_CLOSED);
        accepted += floods[at].accepted;
    }
    size_t count = 1;
    while (count > 0) {
        ringlane_event some[64];
        OK(ringlane_queue_drain(it.queue, some, sizeof *some, 64, events < accepted ? 10000 : 50, &count, &error));
        for (size_t at = 0; at < count; at++, events++) {
            there += some[at].status == RINGLANE_OK;
            CHECK(some[at].status == RINGLANE_OK || some[at].status == RINGLANE_ERROR_CLOSED);
        }
    }
    CHECK(accepted > 0 && events == accepted);
    uint64_t pending = 9;
    OK(ringlane_queue_pending(it.queue, &pending, &error));
    CHECK(pending == 0 && !is_readable(it.queue, 0));
    end_world(&it);
    // As many are there as were told to be.
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = NULL;
    OK(ringlane_topic_open(engine, "t", &topic, &error));
    CHECK(next_offset(topic, 0) + next_offset(topic, 1) == there + 1);
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void *free_it(void *given) {
    return (void *)(intptr_t)ringlane_topic_free(given, NULL);
}

static void of_several_threads_that_free_one_does(void) {
    world it = make_world("main");
    for (int turn = 0; turn < 100; turn++) {
        ringlane_topic *topic = NULL;
        OK(ringlane_topic_open(it.engine, "t", &topic, &error));
        pthread_t threads[3];
        int freed = 0;
        for (int at = 0; at < 3; at++) {
            CHECK(pthread_create(&threads[at], NULL, free_it, topic) == 0);
        }
        for (int at = 0; at < 3; at++) {
            void *status = NULL;
            CHECK(pthread_join(threads[at], &status) == 0);
            freed += (intptr_t)status == RINGLANE_OK;
            CHECK((intptr_t)status == RINGLANE_OK || (intptr_t)status == RINGLANE_ERROR_DEAD_HANDLE);
        }
        CHECK(freed == 1);
    }
    end_world(&it);
}

// No panic comes of a number, however large or small.
static void numbers_at_their_ends_are_taken_or_refused(void) {
    world it = make_world("main");
    static const int64_t ends[] = { INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX };
    enum { ENDS = sizeof ends / sizeof *ends };
    ringlane_record record;
    ringlane_receipt receipt;
    uint64_t offset;
    for (int at = 0; at < ENDS; at++) {
        int64_t end = ends[at];
        record = record_of("timestamp");
        record.flags = RINGLANE_RECORD_TIMESTAMP, record.timestamp_ms = end;
        CHECK(ringlane_producer_send(it.producer, it.topic, &record, &receipt, &error) != RINGLANE_ERROR_PANIC);
        record = record_of("visible at");
        record.flags = RINGLANE_RECORD_VISIBLE_AT, record.visible_ms = end;
        CHECK(ringlane_producer_send(it.producer, it.topic, &record, &receipt, &error) != RINGLANE_ERROR_PANIC);
        record.flags = RINGLANE_RECORD_VISIBLE_AFTER;
        CHECK(ringlane_producer_send(it.producer, it.topic, &record, &receipt, &error) != RINGLANE_ERROR_PANIC);
        record.flags = RINGLANE_RECORD_SEQUENCE, record.sequence = (uint64_t)end;
        CHECK(ringlane_producer_send(it.producer, it.topic, &record, &receipt, &error) != RINGLANE_ERROR_PANIC);
        for (int32_t start = RINGLANE_START_BEGINNING; start <= RINGLANE_START_TIMESTAMP; start++) {
            CHECK(ringlane_consumer_seek(it.consumer, it.topic, 0, start, end, &error) != RINGLANE_ERROR_PANIC);
            ringlane_records *records = NULL;
            CHECK(ringlane_consumer_poll(it.consumer, 0, &records, &error) != RINGLANE_ERROR_PANIC);
            OK(ringlane_records_free(records, &error));
            CHECK(ringlane_group_reset(it.engine, "g", "t", 1, start, end, &offset, &error) != RINGLANE_ERROR_PANIC);
        }
        CHECK(ringlane_topic_delete_records(it.engine, it.topic, 1, (uint64_t)end, &offset, &error) != RINGLANE_ERROR_PANIC);
        CHECK(ringlane_producer_cancel(it.producer, (uint32_t)end, (uint64_t)end, (uint32_t)end, &error) < 0);
        CHECK(ringlane_engine_publish_withheld(it.engine, (uint32_t)end, (uint64_t)end, (uint32_t)end, &error) < 0);
        CHECK(error.status != RINGLANE_ERROR_PANIC);
        // Extended to the end of time, or to now; and a failure with such a delay.
        CHECK(ringlane_member_extend(it.member, &it.delivery, sizeof it.delivery, 1, end, NULL, &error) !=
              RINGLANE_ERROR_PANIC);
        // Records that are gone are told, once.
        ringlane_records *polled = NULL;
        ringlane_status status = ringlane_member_poll(it.member, 20, &polled, &error);
        CHECK(status == RINGLANE_OK || status == RINGLANE_ERROR_TRUNCATED);
        batch batch = views_of(polled);
        for (size_t each = 0; each < batch.count; each++) {
            CHECK(ringlane_member_nack(it.member, &view_at(&batch, each)->delivery, batch.stride, 1, end, NULL, &error) !=
                  RINGLANE_ERROR_PANIC);
        }
        end_batch(&batch);
        OK(ringlane_engine_sync(it.engine, &error));
    }
    end_world(&it);
    // It can be opened again.
    end_engine(open_engine("main"));
}

// The same for options that are numbers: what is taken works, and nothing panics.
static void options_at_their_ends_are_taken_or_refused(void) {
    static const char *ends[] = { "0", "1", "4294967295", "9223372036854775807", "9223372036854775808",
                                  "18446744073709551615" };
    static const struct {
        int32_t kind;
        const char *key;
    } keys[] = {
        { RINGLANE_OPTIONS_TOPIC, "partitions" },
        { RINGLANE_OPTIONS_TOPIC, "retention_ms" },
        { RINGLANE_OPTIONS_TOPIC, "retention_bytes" },
        { RINGLANE_OPTIONS_CONSUMER, "max_poll_records" },
        { RINGLANE_OPTIONS_CONSUMER, "max_poll_bytes" },
        { RINGLANE_OPTIONS_CONSUMER, "read_ahead_bytes_max" },
        { RINGLANE_OPTIONS_CONSUMER, "producers_max" },
        { RINGLANE_OPTIONS_CONSUMER, "missing_ranges_max" },
        { RINGLANE_OPTIONS_CONSUMER, "findings_max" },
        { RINGLANE_OPTIONS_GROUP, "max_deliveries" },
        { RINGLANE_OPTIONS_GROUP, "retry_delay_ms" },
        { RINGLANE_OPTIONS_GROUP, "retry_delay_ms_max" },
        { RINGLANE_OPTIONS_GROUP, "unfinished_max" },
        { RINGLANE_OPTIONS_GROUP, "inbox_tokens_max" },
        { RINGLANE_OPTIONS_GROUP, "inbox_age_ms_max" },
        { RINGLANE_OPTIONS_MEMBER, "lease_ms" },
        { RINGLANE_OPTIONS_MEMBER, "max_poll_records" },
        { RINGLANE_OPTIONS_MEMBER, "max_poll_bytes" },
        { RINGLANE_OPTIONS_MEMBER, "max_in_flight_records" },
        { RINGLANE_OPTIONS_MEMBER, "max_in_flight_bytes" },
        { RINGLANE_OPTIONS_TRANSACTION, "timeout_ms" },
        { RINGLANE_OPTIONS_CHECKER, "first_ms" },
        { RINGLANE_OPTIONS_CHECKER, "interval_ms" },
        { RINGLANE_OPTIONS_CHECKER, "checks_max" },
        { RINGLANE_OPTIONS_AUDIT, "producers_max" },
        { RINGLANE_OPTIONS_AUDIT, "missing_ranges_max" },
    };
    world it = make_world("main");
    OK(ringlane_member_free(it.member, &error));
    it.member = NULL;
    int made = 0;
    for (size_t key = 0; key < sizeof keys / sizeof *keys; key++) {
        for (size_t at = 0; at < sizeof ends / sizeof *ends; at++) {
            ringlane_options *options = options_of(keys[key].kind, NULL);
            ringlane_status status = ringlane_options_set(options, keys[key].key, ends[at], &error);
            CHECK(status == RINGLANE_OK || status == RINGLANE_ERROR_INVALID_ARGUMENT);
            char name[32];
            snprintf(name, sizeof name, "made-%d", made++);
            if (status != RINGLANE_OK) {
                OK(ringlane_options_free(options, &error));
                continue;
            }
            ringlane_records *records = NULL;
            ringlane_text *text = NULL;
            ringlane_topic *topic = NULL;
            ringlane_consumer *consumer = NULL;
            ringlane_member *member = NULL;
            ringlane_transaction *transaction = NULL;
            switch (keys[key].kind) {
            case RINGLANE_OPTIONS_TOPIC:
                // So many partitions may be too many, or take long.
                status = strcmp(keys[key].key, "partitions") == 0 && at > 1
                             ? ringlane_topic_create(it.engine, name, options, &topic, &error)
                             : ringlane_topic_set_retention(it.engine, "t", options, &error);
                CHECK(status != RINGLANE_ERROR_PANIC);
                OK(ringlane_topic_free(topic, &error));
                break;
            case RINGLANE_OPTIONS_CONSUMER:
                status = ringlane_consumer_open(it.engine, options, &consumer, &error);
                if (status == RINGLANE_OK) {
                    CHECK(ringlane_consumer_assign(consumer, it.topic, RINGLANE_ANY_PARTITION, RINGLANE_START_BEGINNING, 0,
                                                   &error) != RINGLANE_ERROR_PANIC);
                    CHECK(ringlane_consumer_poll(consumer, 10, &records, &error) != RINGLANE_ERROR_PANIC);
                }
                CHECK(status != RINGLANE_ERROR_PANIC);
                break;
            case RINGLANE_OPTIONS_GROUP:
                OK(ringlane_options_set(options, "kind", "shared", &error));
                OK(ringlane_options_set(options, "topic", "t:beginning", &error));
                status = ringlane_group_create(it.engine, name, options, &error);
                if (status == RINGLANE_OK) {
                    OK(ringlane_member_join(it.engine, name, NULL, &member, &error));
                    ringlane_member_poll(member, 10, &records, &error);
                    batch batch = views_of(records);
                    if (batch.count > 0) {
                        int32_t once;
                        const ringlane_delivery *first = &batch.views->delivery;
                        CHECK(ringlane_member_once(member, first, (const uint8_t *)"x", 1, &once, &error) !=
                              RINGLANE_ERROR_PANIC);
                        CHECK(ringlane_member_nack(member, first, batch.stride, 1, -1, NULL, &error) != RINGLANE_ERROR_PANIC);
                    }
                    OK(ringlane_group_delete(it.engine, name, &error));
                }
                CHECK(status != RINGLANE_ERROR_PANIC);
                break;
            case RINGLANE_OPTIONS_MEMBER:
                status = ringlane_member_join(it.engine, "g", options, &member, &error);
                if (status == RINGLANE_OK) {
                    CHECK(ringlane_member_poll(member, 10, &records, &error) != RINGLANE_ERROR_PANIC);
                }
                CHECK(status != RINGLANE_ERROR_PANIC);
                break;
            case RINGLANE_OPTIONS_TRANSACTION:
                status = ringlane_transaction_begin(it.producer, options, &transaction, &error);
                if (status == RINGLANE_OK) {
                    ringlane_record record = record_of("value");
                    CHECK(ringlane_transaction_send(transaction, it.topic, &record, &error) != RINGLANE_ERROR_PANIC);
                    CHECK(ringlane_transaction_commit(transaction, &error) != RINGLANE_ERROR_PANIC);
                }
                CHECK(status != RINGLANE_ERROR_PANIC);
                break;
            case RINGLANE_OPTIONS_CHECKER:
                status = ringlane_checker_register(it.engine, name, options, it.queue, 1, &error);
                CHECK(status != RINGLANE_ERROR_PANIC);
                OK(ringlane_checker_unregister(it.engine, name, &error));
                break;
            default:
                CHECK(ringlane_engine_audit(it.engine, options, &text, &error) != RINGLANE_ERROR_PANIC);
                OK(ringlane_text_free(text, &error));
            }
            OK(ringlane_records_free(records, &error));
            OK(ringlane_consumer_free(consumer, &error));
            OK(ringlane_member_free(member, &error));
            OK(ringlane_transaction_free(transaction, &error));
            OK(ringlane_options_free(options, &error));
            if (!OK(ringlane_engine_sync(it.engine, &error))) {
                fprintf(stderr, "    after %s = %s\n", keys[key].key, ends[at]);
                end_world(&it);
                return;
            }
        }
    }
    end_world(&it);
}

MAIN(TEST(a_second_thread_in_a_consumer_is_told),
     TEST(a_wakeup_ends_the_wait_or_the_next_one),
     TEST(closing_ends_those_who_poll),
     TEST(calls_after_closing_are_told),
     TEST(parts_may_be_freed_before_and_after_their_engine),
     TEST(the_same_directory_twice_is_locked),
     TEST(handles_of_another_engine_are_refused),
     TEST(threads_come_and_go),
     TEST(closing_with_everything_in_flight_gives_each_send_one_outcome),
     TEST(of_several_threads_that_free_one_does),
     TEST(numbers_at_their_ends_are_taken_or_refused),
     TEST(options_at_their_ends_are_taken_or_refused))
