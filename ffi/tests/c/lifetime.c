// Who lives how long: closing under calls, threads that come and go, several engines, and numbers at their ends.

#include "calls.h"

#include <dirent.h>

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

// ----- threads at their end -----

// What the library has for a thread is made by its first calls, and goes before the destructors of keys run. Made in one of
// these it is never looked at again by the C library: it is lost with the thread, and LeakSanitizer would tell.
#ifdef __SANITIZE_ADDRESS__
enum { MAY_BEGIN_LATE = 0 };
#else
enum { MAY_BEGIN_LATE = 1 };
#endif

typedef struct ending {
    world *world;
    pthread_key_t key;
    // Of the calls that the thread made when it ended, and how many there were.
    ringlane_status first_failure;
    atomic_int calls;
    // Whether the library was called before the thread's destructors run: it has memory of the thread then, and loses it.
    bool calls_before;
} ending;

static void made(ending *it, ringlane_status status) {
    it->calls += 1;
    if (it->first_failure == RINGLANE_OK) {
        it->first_failure = status;
    }
}

// Everything that the library keeps something of a thread for, and the calls around it.
static void send_and_read(ending *it) {
    const world *w = it->world;
    ringlane_record records[3] = { record_of("one"), record_of("two"), record_of("three") };
    ringlane_receipt receipts[3];
    made(it, ringlane_producer_send(w->producer, w->topic, records, receipts, NULL));
    made(it, ringlane_producer_send_async(w->producer, w->topic, records, w->queue, NULL));
    made(it, ringlane_producer_send_batch(w->producer, w->topic, records, sizeof *records, 3, receipts, sizeof *receipts,
                                          NULL));
    made(it, ringlane_producer_send_batch_async(w->producer, w->topic, records, sizeof *records, 3, w->queue, 0, 1, NULL));
    made(it, ringlane_producer_send_async(w->producer, w->topic, records, w->queue, NULL));
    for (int events = 0; events < 3;) {
        ringlane_event some[3];
        size_t count = 0;
        ringlane_status status = ringlane_queue_drain(w->queue, some, sizeof *some, 3, 10000, &count, NULL);
        made(it, status != RINGLANE_OK || count > 0 ? status : RINGLANE_ERROR_OTHER);
        events += status == RINGLANE_OK && count > 0 ? (int)count : 3;
    }
    ringlane_consumer *consumer = NULL;
    ringlane_records *polled = NULL;
    made(it, ringlane_consumer_open(w->engine, NULL, &consumer, NULL));
    made(it, ringlane_consumer_assign(consumer, w->topic, RINGLANE_ANY_PARTITION, RINGLANE_START_BEGINNING, 0, NULL));
    made(it, ringlane_consumer_poll(consumer, 10000, &polled, NULL));
    made(it, ringlane_records_free(polled, NULL));
    made(it, ringlane_consumer_assign(consumer, w->topic, RINGLANE_ANY_PARTITION, RINGLANE_START_END, 0, NULL));
    made(it, ringlane_consumer_poll(consumer, 1, &polled, NULL));
    made(it, ringlane_records_free(polled, NULL));
    made(it, ringlane_consumer_free(consumer, NULL));
    made(it, ringlane_producer_flush(w->producer, NULL));
    made(it, ringlane_engine_sync(w->engine, NULL));
    // One that fails, with a message.
    ringlane_topic *topic = NULL;
    ringlane_error told;
    made(it, ringlane_topic_open(w->engine, "nowhere", &topic, &told) == RINGLANE_ERROR_UNKNOWN_TOPIC ? RINGLANE_OK
                                                                                                    : RINGLANE_ERROR_OTHER);
}

static void at_the_end_of_a_thread(void *given) {
    send_and_read(given);
}

static void *end_with_calls(void *given) {
    ending *it = given;
    pthread_setspecific(it->key, it);
    if (it->calls_before) {
        send_and_read(it);
    }
    return NULL;
}

// Before, a thread that sent a batch from such a destructor met memory that it had no more, and that was a panic.
static void the_destructors_of_a_thread_may_make_any_call(void) {
    world it = make_world("main");
    uint64_t sends = 0;
    for (int turn = 0; turn < 4; turn++) {
        ending ending = { .world = &it, .calls_before = turn % 2 == 0 || !MAY_BEGIN_LATE };
        pthread_t thread;
        CHECK(pthread_key_create(&ending.key, at_the_end_of_a_thread) == 0);
        CHECK(pthread_create(&thread, NULL, end_with_calls, &ending) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(ending.calls >= (ending.calls_before ? 30 : 15));
        OK(ending.first_failure);
        CHECK(pthread_key_delete(ending.key) == 0);
        sends += ending.calls_before ? 2 : 1;
    }
    // Nothing has stopped the engine, and all of it is there.
    OK(ringlane_engine_sync(it.engine, &error));
    CHECK(next_offset(it.topic, 0) + next_offset(it.topic, 1) == 1 + sends * 9);
    end_world(&it);
}

// ----- threads that live on -----

typedef struct sender {
    world world;
    pthread_barrier_t turn;
    ringlane_status status;
} sender;

static void *send_at_each_turn(void *given) {
    sender *it = given;
    for (int turn = 0; turn < 4; turn++) {
        pthread_barrier_wait(&it->turn);
        ringlane_record record = record_of("turn");
        record.flags = RINGLANE_RECORD_PARTITION, record.user_data = (uint64_t)turn;
        it->status = ringlane_producer_send_async(it->world.producer, it->world.topic, &record, it->world.queue, NULL);
        pthread_barrier_wait(&it->turn);
    }
    return NULL;
}

// A thread may keep what it sent with last; that is nobody else's business.
static void what_a_thread_sends_with_may_be_freed_by_another(void) {
    sender it = { .world = make_world("main") };
    world *w = &it.world;
    pthread_t thread;
    CHECK(pthread_barrier_init(&it.turn, NULL, 2) == 0);
    CHECK(pthread_create(&thread, NULL, send_at_each_turn, &it) == 0);
    for (int turn = 0; turn < 4; turn++) {
        ringlane_status expected = RINGLANE_OK;
        uint64_t there = turn < 3 ? next_offset(w->topic, 0) : 0;
        if (turn == 1) {
            OK(ringlane_producer_free(w->producer, &error));
            expected = RINGLANE_ERROR_DEAD_HANDLE;
        } else if (turn == 2) {
            // Others take the places of those that were freed.
            OK(ringlane_topic_free(w->topic, &error));
            OK(ringlane_queue_free(w->queue, &error));
            OK(ringlane_topic_open(w->engine, "t", &w->topic, &error));
            w->producer = make_producer(w->engine, NULL);
            w->queue = make_queue();
        } else if (turn == 3) {
            // And the engine goes, with the thread that has sent with all of it still there.
            OK(ringlane_engine_free(w->engine, &error));
            w->engine = open_engine("main");
            expected = RINGLANE_ERROR_CLOSED;
        }
        pthread_barrier_wait(&it.turn);
        pthread_barrier_wait(&it.turn);
        CHECK(it.status == expected);
        if (expected == RINGLANE_OK) {
            ringlane_event event = next_event(w->queue);
            CHECK(event.kind == RINGLANE_EVENT_SENT && event.status == RINGLANE_OK && event.user_data == (uint64_t)turn);
            CHECK(next_offset(w->topic, 0) == there + 1);
        } else {
            CHECK(!is_readable(w->queue, 0));
        }
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_barrier_destroy(&it.turn) == 0);
    end_world(w);
}

// ----- an engine that goes under calls -----

typedef struct auditing {
    ringlane_engine *engine;
    atomic_int audits;
    ringlane_status last;
} auditing;

static void *audit_until_it_ends(void *given) {
    auditing *it = given;
    ringlane_status status;
    do {
        ringlane_text *text = NULL;
        status = ringlane_engine_audit(it->engine, NULL, &text, NULL);
        it->audits += status == RINGLANE_OK;
        ringlane_text_free(text, NULL);
    } while (status == RINGLANE_OK);
    it->last = status;
    return NULL;
}

// Before, whoever was in a call kept the engine open, and its directory locked, when freeing it had returned.
static void the_directory_of_an_engine_that_is_freed_under_calls_is_free_at_once(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, "p");
    enum { AT_ONCE = 5000, BATCHES = 20, THREADS = 2 };
    static ringlane_record records[AT_ONCE];
    for (int at = 0; at < AT_ONCE; at++) {
        records[at] = record_of("one of many");
    }
    for (int at = 0; at < BATCHES; at++) {
        OK(ringlane_producer_send_batch(producer, topic, records, sizeof *records, AT_ONCE, NULL, 0, &error));
    }
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    for (int turn = 0; turn < 8; turn++) {
        auditing auditing = { .engine = engine };
        pthread_t threads[THREADS];
        for (int at = 0; at < THREADS; at++) {
            CHECK(pthread_create(&threads[at], NULL, audit_until_it_ends, &auditing) == 0);
        }
        for (int waited = 0; auditing.audits == 0 && waited < 30000; waited++) {
            sleep_ms(1);
        }
        sleep_ms(turn);
        OK(ringlane_engine_free(engine, &error));
        engine = open_engine("main");
        for (int at = 0; at < THREADS; at++) {
            CHECK(pthread_join(threads[at], NULL) == 0);
        }
        CHECK(auditing.audits > 0);
        CHECK(auditing.last == RINGLANE_ERROR_DEAD_HANDLE || auditing.last == RINGLANE_ERROR_CLOSED);
    }
    end_engine(engine);
}

// ----- signals -----

// The signals that can be blocked at all: not those that end or stop a process, nor the two that the C library keeps.
static uint64_t signals_that_can_be_blocked(void) {
    sigset_t all, before, blocked;
    uint64_t mask = 0;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    for (int number = 1; number <= 64; number++) {
        mask |= sigismember(&blocked, number) == 1 ? UINT64_C(1) << (number - 1) : 0;
    }
    return mask;
}

// Looks at every thread but this one: how many there are, and how many of them do not block all of `mask`. `say`: names them.
static int threads_that_take_signals(uint64_t mask, int *threads, bool say) {
    int open = 0;
    *threads = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (!CHECK(tasks != NULL)) {
        return -1;
    }
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], line[256], name[64] = "";
        if (task->d_name[0] == '.' || atoi(task->d_name) == getpid()) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *status = fopen(path, "r");
        if (status == NULL) {
            // It has just ended.
            continue;
        }
        uint64_t blocked = 0;
        while (fgets(line, sizeof line, status) != NULL) {
            sscanf(line, "Name: %63s", name);
            sscanf(line, "SigBlk: %" SCNx64, &blocked);
        }
        fclose(status);
        *threads += 1;
        if ((blocked & mask) != mask) {
            open += 1;
            if (say) {
                fprintf(stderr, "    the thread %s blocks %016" PRIx64 " of %016" PRIx64 "\n", name, blocked, mask);
            }
        }
    }
    closedir(tasks);
    return open;
}

static void every_thread_of_the_library_blocks_every_signal(void) {
    ringlane_options *options = engine_options();
    OK(ringlane_options_set(options, "lanes", "2", &error));
    ringlane_engine *engine = NULL;
    OK(ringlane_engine_open(path_of("main"), options, &engine, &error));
    OK(ringlane_options_free(options, &error));
    // All that it has threads for: lanes, events, a group with dead letters, a checker that asks, a transaction.
    ringlane_topic *topic = make_topic(engine, "t", "4");
    ringlane_producer *producer = make_producer(engine, "p");
    ringlane_queue *queue = make_queue();
    options = options_of(RINGLANE_OPTIONS_GROUP, "kind", "shared", "topic", "t:beginning", NULL);
    OK(ringlane_group_create(engine, "g", options, &error));
    OK(ringlane_options_free(options, &error));
    ringlane_member *member = NULL;
    OK(ringlane_member_join(engine, "g", NULL, &member, &error));
    send_texts(producer, topic, 4);
    batch batch = poll_member(member, 10000);
    OK(ringlane_member_reject(member, &batch.views->delivery, batch.stride, 1, NULL, &error));
    end_batch(&batch);
    OK(ringlane_member_notify(member, queue, 1, &error));
    options = options_of(RINGLANE_OPTIONS_TRANSACTION, "id", "half", "checker", "bank", NULL);
    ringlane_transaction *transaction = NULL;
    OK(ringlane_transaction_begin(producer, options, &transaction, &error));
    OK(ringlane_options_free(options, &error));
    ringlane_record record = record_of("half");
    OK(ringlane_transaction_send(transaction, topic, &record, &error));
    OK(ringlane_transaction_prepare(transaction, &error));
    options = options_of(RINGLANE_OPTIONS_CHECKER, "first_ms", "1", "interval_ms", "5", NULL);
    OK(ringlane_checker_register(engine, "bank", options, queue, 2, &error));
    OK(ringlane_options_free(options, &error));
    OK(ringlane_transaction_free(transaction, &error));
    for (int at = 0; at < 100; at++) {
        OK(ringlane_producer_send_async(producer, topic, &record, queue, &error));
    }
    ringlane_event event = { 0 };
    while (event = next_event(queue), event.kind != RINGLANE_EVENT_CHECK && event.kind != 0) {
    }
    CHECK(event.kind == RINGLANE_EVENT_CHECK && event.user_data == 2);

    const uint64_t mask = signals_that_can_be_blocked();
    CHECK((mask & UINT64_C(1) << (SIGTERM - 1)) != 0 && (mask & UINT64_C(1) << (SIGALRM - 1)) != 0);
    // One that has just begun may not have got so far.
    int threads = 0, open = 1;
    for (int turn = 0; open != 0 && turn < 200; turn++) {
        sleep_ms(turn == 0 ? 0 : 10);
        open = threads_that_take_signals(mask, &threads, false);
    }
    if (!CHECK(open == 0)) {
        threads_that_take_signals(mask, &threads, true);
    }
    // Two lanes, who looks after files, who hands events on, and the checker, at least.
    CHECK(threads >= 5);
    OK(ringlane_check_answer(queue, event.count, RINGLANE_CHECK_COMMIT, &error));
    OK(ringlane_member_free(member, &error));
    OK(ringlane_queue_free(queue, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
    // And they are all gone.
    for (int turn = 0; threads > 0 && turn < 200; turn++) {
        threads_that_take_signals(mask, &threads, false);
        sleep_ms(threads > 0 ? 10 : 0);
    }
    CHECK(threads == 0);
}

// What each signal does, for comparing. Of two numbers the C library says nothing.
typedef struct doing {
    void (*handler)(int);
    int flags;
    uint64_t mask;
} doing;

static void look_at_signals(doing all[65]) {
    memset(all, 0, 65 * sizeof *all);
    for (int number = 1; number <= 64; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) != 0) {
            CHECK(errno == EINVAL);
            continue;
        }
        all[number] = (doing){ action.sa_handler, action.sa_flags, 0 };
        for (int other = 1; other <= 64; other++) {
            all[number].mask |= sigismember(&action.sa_mask, other) == 1 ? UINT64_C(1) << (other - 1) : 0;
        }
    }
}

static bool are_as_before(const doing before[65]) {
    doing now[65];
    look_at_signals(now);
    for (int number = 1; number <= 64; number++) {
        if (before[number].handler != now[number].handler || before[number].flags != now[number].flags ||
            before[number].mask != now[number].mask) {
            fprintf(stderr, "    signal %d is handled otherwise\n", number);
            return false;
        }
    }
    return true;
}

static void an_engine_leaves_signals_to_the_application(void) {
    doing before[65];
    look_at_signals(before);
    sigset_t blocked_before, blocked;
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &blocked_before) == 0);
    for (int turn = 0; turn < 3; turn++) {
        world it = make_world(turn == 0 ? "main" : "other");
        send_texts(it.producer, it.topic, 3);
        CHECK(are_as_before(before));
        end_world(&it);
        CHECK(are_as_before(before));
        CHECK(pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0);
        for (int number = 1; number <= 64; number++) {
            CHECK(sigismember(&blocked, number) == sigismember(&blocked_before, number));
        }
        remove_all(path_of("other"));
    }
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
     TEST(options_at_their_ends_are_taken_or_refused),
     TEST(the_destructors_of_a_thread_may_make_any_call),
     TEST(what_a_thread_sends_with_may_be_freed_by_another),
     TEST(the_directory_of_an_engine_that_is_freed_under_calls_is_free_at_once),
     TEST(every_thread_of_the_library_blocks_every_signal),
     TEST(an_engine_leaves_signals_to_the_application))
