// Groups: records under leases, and every way in which a delivery ends.

#include "check.h"

typedef struct working {
    ringlane_engine *engine;
    ringlane_topic *topic;
    ringlane_producer *producer;
    ringlane_member *member;
} working;

static void make_group(ringlane_engine *engine, const char *name, ringlane_options *options) {
    OK(ringlane_group_create(engine, name, options, &error));
    OK(ringlane_options_free(options, &error));
}

static ringlane_member *join(ringlane_engine *engine, const char *name, const char *key, const char *value) {
    ringlane_options *options = key == NULL ? NULL : options_of(RINGLANE_OPTIONS_MEMBER, key, value, NULL);
    ringlane_member *member = NULL;
    OK(ringlane_member_join(engine, name, options, &member, &error));
    OK(ringlane_options_free(options, &error));
    return member;
}

// A group `g` that reads `count` records of the topic `t`, and one member.
static working begin_working(const char *kind, int count) {
    working it = { 0 };
    it.engine = open_engine("main");
    it.topic = make_topic(it.engine, "t", "1");
    it.producer = make_producer(it.engine, NULL);
    make_group(it.engine, "g",
               options_of(RINGLANE_OPTIONS_GROUP, "kind", kind, "topic", "t:beginning", "max_deliveries", "3",
                          "retry_delay_ms", "1", NULL));
    send_texts(it.producer, it.topic, count);
    it.member = join(it.engine, "g", NULL, NULL);
    return it;
}

static void end_working(working *it) {
    OK(ringlane_member_free(it->member, &error));
    OK(ringlane_producer_free(it->producer, &error));
    OK(ringlane_topic_free(it->topic, &error));
    end_engine(it->engine);
}

static uint64_t in_flight(ringlane_member *member) {
    uint64_t count = UINT64_MAX;
    OK(ringlane_member_in_flight(member, &count, &error));
    return count;
}

static void deliveries_are_acknowledged_where_they_stand_in_the_views(void) {
    working it = begin_working("shared", 10);
    batch batch = poll_member(it.member, 10000);
    CHECK(batch.count == 10 && in_flight(it.member) == 10);
    CHECK(view_at(&batch, 9)->delivery_count == 1 && view_at(&batch, 9)->delivery.offset == 9);
    size_t done = 99;
    OK(ringlane_member_ack(it.member, &batch.views->delivery, batch.stride, 4, &done, &error));
    CHECK(done == 4 && in_flight(it.member) == 6);
    // Each is tried; the first error is told.
    done = 99;
    FAILS(ringlane_member_ack(it.member, &batch.views->delivery, batch.stride, 6, &done, &error),
          RINGLANE_ERROR_ALREADY_ACKNOWLEDGED);
    CHECK(done == 2 && error.details[0] == 0 && error.details[1] == 0 && in_flight(it.member) == 4);
    OK(ringlane_member_ack(it.member, NULL, 0, 0, &done, &error));
    CHECK(done == 0);
    ringlane_delivery one = view_at(&batch, 6)->delivery;
    OK(ringlane_member_ack(it.member, &one, sizeof one, 1, NULL, &error));
    CHECK(ringlane_member_ack_all(it.member, batch.records, &error) < 0);
    CHECK(in_flight(it.member) == 0);
    end_batch(&batch);
    OK(ringlane_member_flush(it.member, &error));
    // What was acknowledged is not handed out again, after a restart too.
    OK(ringlane_member_free(it.member, &error));
    it.member = NULL;
    OK(ringlane_producer_free(it.producer, &error));
    OK(ringlane_topic_free(it.topic, &error));
    end_engine(it.engine);
    it.engine = open_engine("main");
    it.member = join(it.engine, "g", NULL, NULL);
    batch = poll_member(it.member, 50);
    CHECK(batch.records == NULL);
    OK(ringlane_member_free(it.member, &error));
    end_engine(it.engine);
}

static void a_batch_is_acknowledged_as_a_whole_or_up_to_a_record(void) {
    working it = begin_working("ordered", 6);
    batch batch = poll_member(it.member, 10000);
    CHECK(batch.count == 6);
    uint64_t lost = 99;
    OK(ringlane_member_ack_through(it.member, &view_at(&batch, 3)->delivery, &lost, &error));
    CHECK(lost == 0 && in_flight(it.member) == 2);
    OK(ringlane_member_ack_through(it.member, &view_at(&batch, 4)->delivery, NULL, &error));
    end_batch(&batch);
    CHECK(in_flight(it.member) == 1);
    send_texts(it.producer, it.topic, 3);
    batch = poll_member(it.member, 10000);
    CHECK(batch.count == 3);
    OK(ringlane_member_ack_all(it.member, batch.records, &error));
    end_batch(&batch);
    CHECK(in_flight(it.member) == 1);
    // What a consumer polled has nothing to be acknowledged.
    ringlane_consumer *consumer = make_consumer(it.engine, it.topic);
    batch = poll_consumer(consumer, 10000);
    FAILS(ringlane_member_ack_all(it.member, batch.records, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    CHECK(ringlane_member_ack(it.member, &batch.views->delivery, batch.stride, 1, NULL, &error) < 0);
    end_batch(&batch);
    OK(ringlane_consumer_free(consumer, &error));
    ringlane_text *text = NULL;
    OK(ringlane_group_describe(it.engine, "g", &text, &error));
    CHECK_JSON(text, '{', "\"partitions\":");
    OK(ringlane_group_describe(it.engine, NULL, &text, &error));
    CHECK_JSON(text, '[', "\"g\"");
    FAILS(ringlane_group_describe(it.engine, "nobody", &text, &error), RINGLANE_ERROR_UNKNOWN_GROUP);
    end_working(&it);
}

static void what_failed_is_handed_out_again_after_its_delay(void) {
    working it = begin_working("shared", 3);
    batch batch = poll_member(it.member, 10000);
    CHECK(batch.count == 3);
    size_t done = 99;
    int64_t begin = now_ms();
    OK(ringlane_member_nack(it.member, &view_at(&batch, 0)->delivery, batch.stride, 1, 200, &done, &error));
    CHECK(done == 1 && in_flight(it.member) == 2);
    OK(ringlane_member_nack(it.member, &view_at(&batch, 1)->delivery, batch.stride, 1, 0, &done, &error));
    OK(ringlane_member_release(it.member, &view_at(&batch, 2)->delivery, batch.stride, 1, &done, &error));
    FAILS(ringlane_member_release(it.member, &view_at(&batch, 2)->delivery, batch.stride, 1, &done, &error),
          RINGLANE_ERROR_NOT_DELIVERED);
    CHECK(done == 0);
    end_batch(&batch);
    size_t seen = 0;
    bool has_first = false;
    while (seen < 3) {
        batch = poll_member(it.member, 10000);
        if (!CHECK(batch.count > 0)) {
            break;
        }
        for (size_t at = 0; at < batch.count; at++, seen++) {
            const ringlane_record_view *view = view_at(&batch, at);
            CHECK(view->delivery_count == 2);
            has_first = has_first || view->offset == 0;
            CHECK(view->offset != 0 || now_ms() - begin >= 190);
        }
        OK(ringlane_member_ack_all(it.member, batch.records, &error));
        end_batch(&batch);
    }
    CHECK(has_first && in_flight(it.member) == 0);
    end_working(&it);
}

// A dead letter is there a moment before the group has finished its record.
static void redrive_when_finished(ringlane_engine *engine, uint64_t offset) {
    ringlane_text *text = NULL;
    ringlane_status status = RINGLANE_ERROR_NO_DEAD_LETTER;
    for (int turn = 0; status == RINGLANE_ERROR_NO_DEAD_LETTER && turn < 1000; turn++) {
        status = ringlane_group_redrive(engine, "strict", RINGLANE_REDRIVE_RECORD, "t", 0, offset, &text, &error);
        sleep_ms(status == RINGLANE_OK ? 0 : 10);
    }
    OK(status);
    CHECK_JSON(text, '{', "\"redriven\":1");
}

static void what_nobody_can_process_goes_to_the_dead_letters_and_back(void) {
    working it = begin_working("shared", 4);
    ringlane_topic *letters = make_topic(it.engine, "letters", "1");
    make_group(it.engine, "strict",
               options_of(RINGLANE_OPTIONS_GROUP, "topic", "t:beginning", "kind", "shared", "dead_letter_topic", "letters",
                          "max_deliveries", "2", "retry_delay_ms", "1", NULL));
    ringlane_member *member = join(it.engine, "strict", NULL, NULL);
    ringlane_text *text = NULL;
    FAILS(ringlane_group_redrive(it.engine, "strict", RINGLANE_REDRIVE_LETTER, NULL, 0, 0, &text, &error),
          RINGLANE_ERROR_NO_DEAD_LETTER);
    FAILS(ringlane_group_redrive(it.engine, "nobody", RINGLANE_REDRIVE_ALL, NULL, 0, 0, &text, &error),
          RINGLANE_ERROR_UNKNOWN_GROUP);
    batch batch = poll_member(member, 10000);
    CHECK(batch.count == 4);
    size_t done = 0;
    // Two at once, and one after it has failed as often as it may.
    OK(ringlane_member_reject(member, &view_at(&batch, 0)->delivery, batch.stride, 2, &done, &error));
    CHECK(done == 2);
    OK(ringlane_member_nack(member, &view_at(&batch, 2)->delivery, batch.stride, 1, -1, NULL, &error));
    OK(ringlane_member_ack(member, &view_at(&batch, 3)->delivery, batch.stride, 1, NULL, &error));
    end_batch(&batch);
    batch = poll_member(member, 10000);
    CHECK(batch.count == 1 && view_at(&batch, 0)->offset == 2 && view_at(&batch, 0)->delivery_count == 2);
    OK(ringlane_member_nack(member, &view_at(&batch, 0)->delivery, batch.stride, 1, INT64_MIN, NULL, &error));
    end_batch(&batch);
    OK(ringlane_member_flush(member, &error));
    for (int turn = 0; next_offset(letters, 0) < 3 && turn < 1000; turn++) {
        sleep_ms(10);
    }
    CHECK(next_offset(letters, 0) == 3);
    redrive_when_finished(it.engine, 2);
    redrive_when_finished(it.engine, 1);
    FAILS(ringlane_group_redrive(it.engine, "strict", RINGLANE_REDRIVE_RECORD, "t", 0, 3, &text, &error),
          RINGLANE_ERROR_NO_DEAD_LETTER);
    OK(ringlane_group_redrive(it.engine, "strict", RINGLANE_REDRIVE_ALL, NULL, 0, 0, &text, &error));
    CHECK_JSON(text, '{', "\"redriven\":1");
    size_t seen = 0;
    while (seen < 3 && (batch = poll_member(member, 10000), CHECK(batch.count > 0))) {
        seen += batch.count;
        OK(ringlane_member_ack_all(member, batch.records, &error));
        end_batch(&batch);
    }
    CHECK(seen == 3);
    OK(ringlane_member_free(member, &error));
    OK(ringlane_topic_free(letters, &error));
    end_working(&it);
}

static void a_lease_runs_out_unless_it_is_extended(void) {
    working it = begin_working("shared", 2);
    ringlane_member *brief = join(it.engine, "g", "lease_ms", "800");
    batch batch = poll_member(brief, 10000);
    CHECK(batch.count == 2);
    size_t done = 0;
    OK(ringlane_member_extend(brief, &view_at(&batch, 1)->delivery, batch.stride, 1, 60000, &done, &error));
    CHECK(done == 1);
    struct batch other = poll_member(it.member, 10000);
    CHECK(other.count == 1 && view_at(&other, 0)->offset == 0 && view_at(&other, 0)->delivery_count == 2);
    FAILS(ringlane_member_ack(brief, &view_at(&batch, 0)->delivery, batch.stride, 1, &done, &error),
          RINGLANE_ERROR_LEASE_LOST);
    CHECK(done == 0 && error.details[0] == 0 && error.details[1] == 0);
    FAILS(ringlane_member_extend(brief, &view_at(&batch, 0)->delivery, batch.stride, 1, 1000, &done, &error),
          RINGLANE_ERROR_LEASE_LOST);
    OK(ringlane_member_ack(brief, &view_at(&batch, 1)->delivery, batch.stride, 1, &done, &error));
    OK(ringlane_member_ack_all(it.member, other.records, &error));
    end_batch(&batch);
    end_batch(&other);
    OK(ringlane_member_free(brief, &error));
    end_working(&it);
}

static void what_a_member_holds_goes_to_another_when_it_leaves(void) {
    working it = begin_working("shared", 5);
    batch batch = poll_member(it.member, 10000);
    CHECK(batch.count == 5);
    OK(ringlane_member_ack(it.member, &batch.views->delivery, batch.stride, 2, NULL, &error));
    OK(ringlane_member_close(it.member, &error));
    OK(ringlane_member_close(it.member, &error));
    ringlane_records *records = NULL;
    FAILS(ringlane_member_poll(it.member, 0, &records, &error), RINGLANE_ERROR_CLOSED);
    FAILS(ringlane_member_poll(it.member, -1, &records, &error), RINGLANE_ERROR_CLOSED);
    FAILS(ringlane_member_pause(it.member, "t", 0, &error), RINGLANE_ERROR_CLOSED);
    ringlane_status status = ringlane_member_ack(it.member, &view_at(&batch, 3)->delivery, batch.stride, 1, NULL, &error);
    CHECK(status == RINGLANE_ERROR_LEASE_LOST || status == RINGLANE_ERROR_CLOSED || status == RINGLANE_ERROR_NOT_DELIVERED);
    ringlane_member *next = join(it.engine, "g", NULL, NULL);
    struct batch other = poll_member(next, 10000);
    CHECK(other.count == 3 && view_at(&other, 0)->offset == 2);
    // The views of the one that is gone are still there.
    CHECK(is_text(view_at(&batch, 4)->value, "4"));
    end_batch(&batch);
    end_batch(&other);
    OK(ringlane_member_free(next, &error));
    end_working(&it);
}

static void a_token_is_processed_once(void) {
    working it = begin_working("shared", 3);
    const uint8_t *token = (const uint8_t *)"order 17";
    batch batch = poll_member(it.member, 10000);
    CHECK(batch.count == 3);
    int32_t once = 0;
    OK(ringlane_member_once(it.member, &view_at(&batch, 0)->delivery, token, 8, &once, &error));
    CHECK(once == RINGLANE_ONCE_FRESH);
    OK(ringlane_member_once(it.member, &view_at(&batch, 1)->delivery, token, 8, &once, &error));
    CHECK(once == RINGLANE_ONCE_IN_PROGRESS);
    OK(ringlane_member_ack(it.member, &view_at(&batch, 0)->delivery, batch.stride, 1, NULL, &error));
    OK(ringlane_member_once(it.member, &view_at(&batch, 1)->delivery, token, 8, &once, &error));
    CHECK(once == RINGLANE_ONCE_DUPLICATE);
    OK(ringlane_member_ack(it.member, &view_at(&batch, 1)->delivery, batch.stride, 1, NULL, &error));
    OK(ringlane_member_once(it.member, &view_at(&batch, 2)->delivery, token, 7, &once, &error));
    CHECK(once == RINGLANE_ONCE_FRESH);
    once = 99;
    FAILS(ringlane_member_once(it.member, &view_at(&batch, 0)->delivery, token, 8, &once, &error),
          RINGLANE_ERROR_ALREADY_ACKNOWLEDGED);
    CHECK(once == 99);
    end_batch(&batch);
    end_working(&it);
}

static void a_paused_partition_gives_nothing(void) {
    working it = begin_working("shared", 2);
    OK(ringlane_member_pause(it.member, "t", 0, &error));
    batch batch = poll_member(it.member, 50);
    CHECK(batch.records == NULL);
    FAILS(ringlane_member_pause(it.member, "t", 1, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    FAILS(ringlane_member_pause(it.member, "nowhere", 0, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    FAILS(ringlane_member_resume(it.member, "nowhere", 0, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    OK(ringlane_member_resume(it.member, "t", 0, &error));
    batch = poll_member(it.member, 10000);
    CHECK(batch.count == 2);
    end_batch(&batch);
    end_working(&it);
}

static void a_group_is_sent_elsewhere_and_deleted(void) {
    working it = begin_working("ordered", 5);
    batch batch = poll_member(it.member, 10000);
    OK(ringlane_member_ack_all(it.member, batch.records, &error));
    OK(ringlane_member_flush(it.member, &error));
    end_batch(&batch);
    uint64_t offset = 99;
    OK(ringlane_group_reset(it.engine, "g", "t", 0, RINGLANE_START_OFFSET, 3, &offset, &error));
    CHECK(offset == 3);
    batch = poll_member(it.member, 10000);
    CHECK(batch.count == 2 && view_at(&batch, 0)->offset == 3);
    end_batch(&batch);
    OK(ringlane_group_reset(it.engine, "g", "t", 0, RINGLANE_START_END, 0, NULL, &error));
    FAILS(ringlane_group_reset(it.engine, "nobody", "t", 0, RINGLANE_START_END, 0, &offset, &error),
          RINGLANE_ERROR_UNKNOWN_GROUP);
    FAILS(ringlane_group_reset(it.engine, "g", "nowhere", 0, RINGLANE_START_END, 0, &offset, &error),
          RINGLANE_ERROR_INVALID_ARGUMENT);
    FAILS(ringlane_group_reset(it.engine, "g", "t", 1, RINGLANE_START_END, 0, &offset, &error),
          RINGLANE_ERROR_INVALID_ARGUMENT);
    ringlane_options *options = options_of(RINGLANE_OPTIONS_GROUP, "kind", "shared", "topic", "t:end", NULL);
    FAILS(ringlane_group_create(it.engine, "g", options, &error), RINGLANE_ERROR_GROUP_EXISTS);
    OK(ringlane_options_set(options, "topic", "nowhere:end", &error));
    FAILS(ringlane_group_create(it.engine, "h", options, &error), RINGLANE_ERROR_UNKNOWN_TOPIC);
    OK(ringlane_options_free(options, &error));
    options = options_of(RINGLANE_OPTIONS_GROUP, "kind", "shared", NULL);
    FAILS(ringlane_group_create(it.engine, "h", options, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    OK(ringlane_options_free(options, &error));
    OK(ringlane_group_delete(it.engine, "g", &error));
    FAILS(ringlane_group_delete(it.engine, "g", &error), RINGLANE_ERROR_UNKNOWN_GROUP);
    ringlane_records *records = NULL;
    FAILS(ringlane_member_poll(it.member, -1, &records, &error), RINGLANE_ERROR_GROUP_DELETED);
    ringlane_member *none = NULL;
    FAILS(ringlane_member_join(it.engine, "g", NULL, &none, &error), RINGLANE_ERROR_UNKNOWN_GROUP);
    end_working(&it);
}

static void a_member_has_a_queue_told_once_when_it_can_be_read(void) {
    working it = begin_working("shared", 0);
    ringlane_queue *queue = make_queue();
    OK(ringlane_member_notify(it.member, queue, 5, &error));
    CHECK(!is_readable(queue, 50));
    send_text(it.producer, it.topic, "one");
    ringlane_event event = next_event(queue);
    CHECK(event.kind == RINGLANE_EVENT_READABLE && event.user_data == 5);
    batch batch = poll_member(it.member, 0);
    CHECK(batch.count == 1);
    OK(ringlane_member_ack_all(it.member, batch.records, &error));
    end_batch(&batch);
    send_text(it.producer, it.topic, "two");
    OK(ringlane_member_notify(it.member, queue, 6, &error));
    event = next_event(queue);
    CHECK(event.kind == RINGLANE_EVENT_READABLE && event.user_data == 6);
    // Under its lease since the look.
    CHECK(in_flight(it.member) == 1);
    // To pause gives it back: it is not lost.
    OK(ringlane_member_pause(it.member, "t", 0, &error));
    OK(ringlane_member_resume(it.member, "t", 0, &error));
    batch = poll_member(it.member, 10000);
    CHECK(batch.count == 1 && is_text(view_at(&batch, 0)->value, "two"));
    OK(ringlane_member_ack_all(it.member, batch.records, &error));
    end_batch(&batch);
    OK(ringlane_queue_free(queue, &error));
    end_working(&it);
}

static void deliveries_that_never_were_are_refused(void) {
    working it = begin_working("shared", 3);
    batch batch = poll_member(it.member, 10000);
    ringlane_delivery good = view_at(&batch, 0)->delivery;
    static const uint64_t odd[] = { 0, 1, 2, 77, INT64_MAX, UINT64_MAX - 1, UINT64_MAX };
    enum { ODD = sizeof odd / sizeof *odd };
    size_t done = 0;
    int32_t once = 0;
    for (int place = 0; place < ODD; place++) {
        for (int offset = 0; offset < ODD; offset++) {
            for (int serial = 0; serial < ODD; serial++) {
                ringlane_delivery it_is = { (uint32_t)odd[place], 0, odd[offset], odd[serial] };
                if (it_is.place == good.place && it_is.offset < 3) {
                    continue;
                }
                ringlane_status status = ringlane_member_ack(it.member, &it_is, sizeof it_is, 1, &done, &error);
                CHECK(status == RINGLANE_ERROR_NOT_DELIVERED || status == RINGLANE_ERROR_LEASE_LOST);
                status = ringlane_member_nack(it.member, &it_is, sizeof it_is, 1, 0, &done, &error);
                CHECK(status == RINGLANE_ERROR_NOT_DELIVERED || status == RINGLANE_ERROR_LEASE_LOST);
                status = ringlane_member_ack_through(it.member, &it_is, NULL, &error);
                CHECK(status == RINGLANE_ERROR_NOT_DELIVERED || status == RINGLANE_ERROR_LEASE_LOST);
                status = ringlane_member_reject(it.member, &it_is, sizeof it_is, 1, &done, &error);
                CHECK(status == RINGLANE_ERROR_NOT_DELIVERED || status == RINGLANE_ERROR_LEASE_LOST);
                status = ringlane_member_extend(it.member, &it_is, sizeof it_is, 1, 9, &done, &error);
                CHECK(status == RINGLANE_ERROR_NOT_DELIVERED || status == RINGLANE_ERROR_LEASE_LOST);
                status = ringlane_member_once(it.member, &it_is, (const uint8_t *)"t", 1, &once, &error);
                CHECK(status == RINGLANE_ERROR_NOT_DELIVERED || status == RINGLANE_ERROR_LEASE_LOST);
            }
        }
    }
    good.serial += 1;
    CHECK(ringlane_member_ack(it.member, &good, sizeof good, 1, &done, &error) < 0 && done == 0);
    // Nor is that of a consumer's view, which is all zero.
    ringlane_delivery zero = { 0, 0, 0, 0 };
    CHECK(ringlane_member_ack(it.member, &zero, sizeof zero, 1, &done, &error) < 0 && done == 0);
    // Nor is what another member holds.
    ringlane_member *other = join(it.engine, "g", NULL, NULL);
    FAILS(ringlane_member_ack(other, &view_at(&batch, 1)->delivery, batch.stride, 1, &done, &error),
          RINGLANE_ERROR_NOT_DELIVERED);
    CHECK(ringlane_member_ack_all(other, batch.records, &error) == RINGLANE_ERROR_NOT_DELIVERED);
    CHECK(in_flight(it.member) == 3);
    OK(ringlane_member_ack_all(it.member, batch.records, &error));
    end_batch(&batch);
    OK(ringlane_member_free(other, &error));
    end_working(&it);
}

static void *ack_some(void *given) {
    working *it = given;
    for (int turn = 0; turn < 100; turn++) {
        uint64_t count = 0;
        ringlane_status status = ringlane_member_in_flight(it->member, &count, NULL);
        CHECK(status == RINGLANE_OK);
        CHECK(ringlane_member_flush(it->member, NULL) == RINGLANE_OK || turn > 0);
    }
    return NULL;
}

static void deliveries_end_on_any_thread_while_another_polls(void) {
    working it = begin_working("shared", 20);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, ack_some, &it) == 0);
    size_t seen = 0;
    while (seen < 20) {
        batch batch = poll_member(it.member, 10000);
        if (!CHECK(batch.count > 0)) {
            break;
        }
        seen += batch.count;
        OK(ringlane_member_ack_all(it.member, batch.records, &error));
        end_batch(&batch);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(seen == 20 && in_flight(it.member) == 0);
    end_working(&it);
}

// ----- members that leave -----

// How a member goes in the tests below: all of them let go of what it holds, and none of them is a failure.
typedef enum parting { CLOSED, FREED, FREED_AFTER_ITS_ENGINE, AFTER_ITS_ENGINE_CLOSED, WAYS_TO_PART } parting;

// A group `g` that buries a record at its second failure, and one record of the topic `t` for it.
static void make_strict_group(ringlane_engine *engine) {
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, NULL);
    make_group(engine, "g",
               options_of(RINGLANE_OPTIONS_GROUP, "kind", "shared", "topic", "t:beginning", "max_deliveries", "2",
                          "retry_delay_ms", "1", NULL));
    send_text(producer, topic, "fragile");
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
}

static ringlane_engine *part(parting parting, ringlane_engine *engine, ringlane_member *member) {
    switch (parting) {
    case CLOSED:
        OK(ringlane_member_close(member, &error));
        break;
    case FREED_AFTER_ITS_ENGINE:
        OK(ringlane_engine_free(engine, &error));
        engine = open_engine("main");
        break;
    case AFTER_ITS_ENGINE_CLOSED:
        OK(ringlane_engine_close(engine, &error));
        OK(ringlane_member_close(member, &error));
        OK(ringlane_member_free(member, &error));
        OK(ringlane_engine_free(engine, &error));
        return open_engine("main");
    default:
        break;
    }
    OK(ringlane_member_free(member, &error));
    return engine;
}

// Nothing has failed: there is no dead letter, and the record is handed out for the `deliveries`th time.
static void is_handed_out_again(ringlane_engine *engine, uint32_t deliveries) {
    ringlane_topic *letters = NULL;
    FAILS(ringlane_topic_open(engine, "g.dlq", &letters, &error), RINGLANE_ERROR_UNKNOWN_TOPIC);
    ringlane_member *member = join(engine, "g", NULL, NULL);
    batch batch = poll_member(member, 10000);
    if (CHECK(batch.count == 1)) {
        CHECK(is_text(view_at(&batch, 0)->value, "fragile") && view_at(&batch, 0)->offset == 0);
        CHECK(deliveries == 0 || view_at(&batch, 0)->delivery_count == deliveries);
    }
    OK(ringlane_member_ack_all(member, batch.records, &error));
    OK(ringlane_member_flush(member, &error));
    end_batch(&batch);
    FAILS(ringlane_topic_open(engine, "g.dlq", &letters, &error), RINGLANE_ERROR_UNKNOWN_TOPIC);
    OK(ringlane_member_free(member, &error));
    end_engine(engine);
    remove_all(path_of("main"));
}

// A delivery that a member let go of counts as one, but not as a failure; before, freeing a member was one.
static void a_member_that_leaves_has_not_failed(void) {
    for (parting parting = CLOSED; parting < WAYS_TO_PART; parting++) {
        ringlane_engine *engine = open_engine("main");
        make_strict_group(engine);
        for (uint32_t turn = 1; turn <= 3; turn++) {
            ringlane_member *member = join(engine, "g", NULL, NULL);
            batch batch = poll_member(member, 10000);
            CHECK(batch.count == 1 && in_flight(member) == 1);
            CHECK(batch.count == 1 && view_at(&batch, 0)->delivery_count == turn);
            end_batch(&batch);
            engine = part(parting, engine, member);
        }
        is_handed_out_again(engine, 4);
    }
}

// The same for what only a look for news has found, and no poll has given.
static void what_only_a_notice_found_has_not_failed_either(void) {
    ringlane_queue *queue = make_queue();
    for (parting parting = CLOSED; parting < WAYS_TO_PART; parting++) {
        ringlane_engine *engine = open_engine("main");
        make_strict_group(engine);
        for (uint64_t turn = 1; turn <= 3; turn++) {
            ringlane_member *member = join(engine, "g", NULL, NULL);
            OK(ringlane_member_notify(member, queue, turn, &error));
            ringlane_event event = next_event(queue);
            CHECK(event.kind == RINGLANE_EVENT_READABLE && event.user_data == turn && in_flight(member) == 1);
            engine = part(parting, engine, member);
        }
        is_handed_out_again(engine, 4);
    }
    OK(ringlane_queue_free(queue, &error));
}

typedef struct waiting {
    ringlane_member *member;
    int64_t timeout_ms;
    ringlane_status status;
    size_t count;
    int64_t ended_ms;
    atomic_bool begins;
} waiting;

static void *wait_for_one(void *given) {
    waiting *it = given;
    ringlane_records *records = NULL;
    it->begins = true;
    it->status = ringlane_member_poll(it->member, it->timeout_ms, &records, NULL);
    it->ended_ms = now_ms();
    batch batch = views_of(records);
    it->count = batch.count;
    if (records != NULL) {
        CHECK(ringlane_member_ack_all(it->member, records, NULL) == RINGLANE_OK);
        CHECK(ringlane_records_free(records, NULL) == RINGLANE_OK);
    }
    return NULL;
}

static pthread_t begin_waiting(waiting *it) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_for_one, it) == 0);
    while (!it->begins) {
        sleep_ms(1);
    }
    return thread;
}

// Whoever closes it leaves the rest to the thread that is in the call.
static void a_member_that_leaves_under_a_poll_has_not_failed(void) {
    for (int turn = 0; turn < 2; turn++) {
        ringlane_engine *engine = open_engine("main");
        make_strict_group(engine);
        for (uint32_t deliveries = 1; deliveries <= 3; deliveries++) {
            ringlane_member *member = join(engine, "g", "max_in_flight_records", "1");
            batch batch = poll_member(member, 10000);
            CHECK(batch.count == 1 && view_at(&batch, 0)->delivery_count == deliveries);
            end_batch(&batch);
            waiting poll = { .member = member, .timeout_ms = -1 };
            pthread_t thread = begin_waiting(&poll);
            sleep_ms(30);
            OK(turn == 0 ? ringlane_member_close(member, &error) : ringlane_member_free(member, &error));
            CHECK(pthread_join(thread, NULL) == 0 && poll.status == RINGLANE_ERROR_CLOSED);
            if (turn == 0) {
                OK(ringlane_member_free(member, &error));
            }
        }
        is_handed_out_again(engine, 4);
    }
}

// ----- who is told of news -----

// Of those who wait one is told of a record, and sees to it that others are. One whose time is over does not wait any more,
// and must not be the one; before, the record lay there until the engine looked who held it up. That takes long here.
static void a_poll_that_ended_empty_is_not_told_in_the_place_of_another(void) {
    ringlane_options *options = engine_options();
    OK(ringlane_options_set(options, "ack_flush_interval_ms", "3000", &error));
    working it = { 0 };
    OK(ringlane_engine_open(path_of("main"), options, &it.engine, &error));
    OK(ringlane_options_free(options, &error));
    it.topic = make_topic(it.engine, "t", "1");
    it.producer = make_producer(it.engine, NULL);
    make_group(it.engine, "g", options_of(RINGLANE_OPTIONS_GROUP, "kind", "shared", "topic", "t:beginning", NULL));
    it.member = join(it.engine, "g", NULL, NULL);
    ringlane_member *other = join(it.engine, "g", NULL, NULL);
    enum { TURNS = 40 };
    int64_t longest = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        waiting poll = { .member = other, .timeout_ms = 20000 };
        pthread_t thread;
        batch batch;
        // Its time is over before the other one waits, or meanwhile.
        if (turn % 2 == 0) {
            batch = poll_member(it.member, 1);
            thread = begin_waiting(&poll);
            sleep_ms(5);
        } else {
            thread = begin_waiting(&poll);
            sleep_ms(5);
            batch = poll_member(it.member, 2);
        }
        CHECK(batch.records == NULL);
        int64_t sent = now_ms();
        send_text(it.producer, it.topic, "for one of them");
        CHECK(pthread_join(thread, NULL) == 0 && poll.status == RINGLANE_OK && poll.count == 1);
        longest = poll.ended_ms - sent > longest ? poll.ended_ms - sent : longest;
    }
    if (!CHECK(longest < 1000)) {
        fprintf(stderr, "    the longest took %" PRId64 " ms\n", longest);
    }
    OK(ringlane_member_free(other, &error));
    end_working(&it);
}

// A poll in between takes the place of who asked to be told; if it finds nothing, it gives it back.
static void a_member_that_polled_in_vain_is_still_told(void) {
    working it = begin_working("shared", 0);
    ringlane_queue *queue = make_queue();
    for (uint64_t turn = 0; turn < 5; turn++) {
        OK(ringlane_member_notify(it.member, queue, turn, &error));
        batch batch = poll_member(it.member, turn % 2 == 0 ? 20 : 0);
        CHECK(batch.records == NULL);
        if (turn == 3) {
            ringlane_records *records = NULL;
            OK(ringlane_member_wakeup(it.member, &error));
            FAILS(ringlane_member_poll(it.member, 10000, &records, &error), RINGLANE_ERROR_WOKEN);
        }
        CHECK(!is_readable(queue, 0));
        send_text(it.producer, it.topic, "news");
        ringlane_event event = next_event(queue);
        CHECK(event.kind == RINGLANE_EVENT_READABLE && event.user_data == turn);
        batch = poll_member(it.member, 10000);
        CHECK(batch.count == 1);
        OK(ringlane_member_ack_all(it.member, batch.records, &error));
        end_batch(&batch);
        CHECK(!is_readable(queue, 0));
    }
    OK(ringlane_queue_free(queue, &error));
    end_working(&it);
}

MAIN(TEST(deliveries_are_acknowledged_where_they_stand_in_the_views),
     TEST(a_batch_is_acknowledged_as_a_whole_or_up_to_a_record),
     TEST(what_failed_is_handed_out_again_after_its_delay),
     TEST(what_nobody_can_process_goes_to_the_dead_letters_and_back),
     TEST(a_lease_runs_out_unless_it_is_extended),
     TEST(what_a_member_holds_goes_to_another_when_it_leaves),
     TEST(a_token_is_processed_once),
     TEST(a_paused_partition_gives_nothing),
     TEST(a_group_is_sent_elsewhere_and_deleted),
     TEST(a_member_has_a_queue_told_once_when_it_can_be_read),
     TEST(deliveries_that_never_were_are_refused),
     TEST(deliveries_end_on_any_thread_while_another_polls),
     TEST(a_member_that_leaves_has_not_failed),
     TEST(what_only_a_notice_found_has_not_failed_either),
     TEST(a_member_that_leaves_under_a_poll_has_not_failed),
     TEST(a_poll_that_ended_empty_is_not_told_in_the_place_of_another),
     TEST(a_member_that_polled_in_vain_is_still_told))
