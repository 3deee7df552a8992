// Consumers and time: how long a poll takes, what was found and not given yet, who is told, and the memory that batches keep.

#include "check.h"

#include <sched.h>

typedef struct reading {
    ringlane_engine *engine;
    ringlane_topic *topic;
    ringlane_producer *producer;
    ringlane_queue *queue;
    ringlane_consumer *consumer;
} reading;

// A topic `t` with two partitions, a named producer, and a consumer that reads nothing yet.
static reading begin_reading_with(ringlane_options *of_engine, ringlane_options *of_consumer) {
    reading it = { 0 };
    OK(ringlane_engine_open(path_of("main"), of_engine, &it.engine, &error));
    OK(ringlane_options_free(of_engine, &error));
    it.topic = make_topic(it.engine, "t", "2");
    it.producer = make_producer(it.engine, "p");
    it.queue = make_queue();
    OK(ringlane_consumer_open(it.engine, of_consumer, &it.consumer, &error));
    OK(ringlane_options_free(of_consumer, &error));
    return it;
}

static reading begin_reading(void) {
    return begin_reading_with(engine_options(), options_of(RINGLANE_OPTIONS_CONSUMER, NULL));
}

static void a_poll_for_ever_of_nothing_is_refused(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_consumer *consumer = NULL;
    ringlane_records *records = NULL;
    OK(ringlane_consumer_open(engine, NULL, &consumer, &error));
    FAILS(ringlane_consumer_poll(consumer, -1, &records, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "assign") != NULL);
    OK(ringlane_consumer_poll(consumer, 5, &records, &error));
    CHECK(records == NULL);
    OK(ringlane_consumer_free(consumer, &error));
    end_engine(engine);
}

static void end_reading(reading *it) {
    OK(ringlane_consumer_free(it->consumer, &error));
    OK(ringlane_queue_free(it->queue, &error));
    OK(ringlane_producer_free(it->producer, &error));
    OK(ringlane_topic_free(it->topic, &error));
    end_engine(it->engine);
}

static void assign(reading *it, uint32_t partition, uint64_t offset) {
    OK(ringlane_consumer_assign(it->consumer, it->topic, partition, RINGLANE_START_OFFSET, (int64_t)offset, &error));
}

// Sends `count` records of `size` bytes to a partition; each `wanted_each`th has the tag `wanted`, 0: none.
static void send_many(reading *it, uint32_t partition, size_t count, size_t size, size_t wanted_each) {
    enum { AT_ONCE = 2000 };
    static uint8_t bytes[4096];
    static ringlane_record records[AT_ONCE];
    for (size_t sent = 0, some; sent < count; sent += some) {
        some = count - sent < AT_ONCE ? count - sent : AT_ONCE;
        for (size_t at = 0; at < some; at++) {
            ringlane_record *record = &records[at];
            *record = (ringlane_record)RINGLANE_RECORD_INIT;
            record->flags = RINGLANE_RECORD_PARTITION, record->partition = partition;
            record->value = (ringlane_bytes){ bytes, size };
            record->tag = bytes_of(wanted_each != 0 && (sent + at) % wanted_each == 0 ? "wanted" : "other");
        }
        OK(ringlane_producer_send_batch(it->producer, it->topic, records, sizeof *records, some, NULL, 0, &error));
    }
}

// The offset of the next record of a partition; UINT64_MAX if it is not assigned.
static uint64_t position_of(reading *it, uint32_t partition) {
    int32_t found = 0;
    uint64_t offset = UINT64_MAX;
    OK(ringlane_consumer_position(it->consumer, it->topic, partition, &found, &offset, &error));
    return found == 0 ? UINT64_MAX : offset;
}

// Polls without waiting until nothing comes: each partition's offsets follow each other. Returns how many there were.
static size_t read_in_order(reading *it, uint64_t next[2]) {
    size_t seen = 0;
    for (batch batch; batch = poll_consumer(it->consumer, 0), batch.count > 0; end_batch(&batch)) {
        for (size_t at = 0; at < batch.count; at++, seen++) {
            const ringlane_record_view *view = view_at(&batch, at);
            CHECK(view->partition < 2 && view->offset == next[view->partition & 1]++);
        }
    }
    return seen;
}

static bool is_told(reading *it, uint64_t user_data) {
    ringlane_event event = next_event(it->queue);
    return event.kind == RINGLANE_EVENT_READABLE && event.user_data == user_data && event.status == RINGLANE_OK;
}

// A number in what a call gave as JSON. Frees that.
static uint64_t number_in(ringlane_text *text, const char *key) {
    const char *data = "";
    char name[64];
    snprintf(name, sizeof name, "\"%s\":", key);
    OK(ringlane_text_get(text, &data, NULL, &error));
    const char *found = strstr(data, name);
    uint64_t number = found != NULL ? strtoull(found + strlen(name), NULL, 10) : UINT64_MAX;
    CHECK(found != NULL);
    OK(ringlane_text_free(text, &error));
    return number;
}

// ----- how long a poll takes -----

// Passing over records is work that goes on as long as there are some; before, the time was only looked at when there were
// none left.
static void a_poll_whose_filter_wants_nothing_ends_in_time(void) {
    reading it = begin_reading_with(engine_options(), options_of(RINGLANE_OPTIONS_CONSUMER, "filter", "tag = wanted",
                                                                 "max_poll_bytes", "4096", NULL));
    enum { COUNT = 200000 };
    send_many(&it, 0, COUNT, 200, 0);
    assign(&it, 0, 0);
    uint64_t end = next_offset(it.topic, 0), before = 0;
    CHECK(end == COUNT);
    int polls = 0;
    for (int64_t timeout_ms = 1; before < end; timeout_ms = timeout_ms % 20 + 1, polls++) {
        int64_t begin = now_ms();
        batch batch = poll_consumer(it.consumer, timeout_ms);
        CHECK(batch.records == NULL && now_ms() - begin < 3000);
        uint64_t position = position_of(&it, 0);
        // It did end before it was through; and it gets on all the same.
        if (!CHECK(polls > 0 || position < end) || !CHECK(position > before)) {
            break;
        }
        before = position;
    }
    CHECK(polls > 1 && before == end);
    // Without a time it looks once, and passes over little.
    assign(&it, 0, 0);
    batch batch = poll_consumer(it.consumer, 0);
    CHECK(batch.records == NULL && position_of(&it, 0) < end / 10);
    // Who asks to be told is told of what is to be passed over as well, and polls on.
    OK(ringlane_consumer_notify(it.consumer, it.queue, 1, &error));
    send_many(&it, 0, 1, 200, 1);
    for (int turn = 0; batch.records == NULL && turn < 1000000; turn++) {
        batch = poll_consumer(it.consumer, 20);
    }
    CHECK(batch.count == 1 && view_at(&batch, 0)->offset == COUNT && position_of(&it, 0) == COUNT + 1);
    CHECK(is_told(&it, 1));
    end_batch(&batch);
    end_reading(&it);
}

static void a_poll_that_passes_over_records_can_be_woken_and_closed(void) {
    reading it = begin_reading_with(engine_options(), options_of(RINGLANE_OPTIONS_CONSUMER, "filter", "tag = wanted",
                                                                 "max_poll_bytes", "4096", NULL));
    send_many(&it, 0, 50000, 200, 0);
    assign(&it, 0, 0);
    ringlane_records *records = NULL;
    OK(ringlane_consumer_wakeup(it.consumer, &error));
    FAILS(ringlane_consumer_poll(it.consumer, -1, &records, &error), RINGLANE_ERROR_WOKEN);
    CHECK(position_of(&it, 0) < 50000);
    OK(ringlane_consumer_close(it.consumer, &error));
    FAILS(ringlane_consumer_poll(it.consumer, -1, &records, &error), RINGLANE_ERROR_CLOSED);
    end_reading(&it);
}

// ----- what was found, and not given yet -----

static void what_a_notice_found_is_where_the_consumer_stands(void) {
    reading it = begin_reading();
    send_many(&it, 0, 10, 10, 0);
    assign(&it, 0, 0);
    for (uint64_t turn = 0; turn < 3; turn++) {
        OK(ringlane_consumer_notify(it.consumer, it.queue, turn, &error));
        CHECK(is_told(&it, turn) && position_of(&it, 0) == 0);
    }
    uint64_t next[2] = { 0, 0 };
    CHECK(read_in_order(&it, next) == 10 && next[0] == 10 && position_of(&it, 0) == 10);
    // Read twice, they would have been counted twice, or found out of their order.
    ringlane_text *text = NULL;
    OK(ringlane_consumer_continuity(it.consumer, &text, &error));
    CHECK_JSON(text, '{', "\"findings\":[]");
    OK(ringlane_consumer_continuity(it.consumer, &text, &error));
    CHECK(number_in(text, "records") == 10);

    // Another partition begins in between: of the first nothing is lost, and nothing comes twice.
    send_many(&it, 0, 5, 10, 0);
    send_many(&it, 1, 7, 10, 0);
    OK(ringlane_consumer_notify(it.consumer, it.queue, 10, &error));
    CHECK(is_told(&it, 10) && position_of(&it, 0) == 10 && position_of(&it, 1) == UINT64_MAX);
    assign(&it, 1, 2);
    CHECK(position_of(&it, 0) == 10 && position_of(&it, 1) == 2);
    next[1] = 2;
    CHECK(read_in_order(&it, next) == 10 && next[0] == 15 && next[1] == 7);
    CHECK(position_of(&it, 0) == 15 && position_of(&it, 1) == 7);
    OK(ringlane_consumer_continuity(it.consumer, &text, &error));
    CHECK_JSON(text, '{', "\"findings\":[]");
    OK(ringlane_consumer_continuity(it.consumer, &text, &error));
    CHECK(number_in(text, "records") == 20);
    end_reading(&it);
}

static void what_was_found_of_a_partition_goes_where_it_is_sent(void) {
    reading it = begin_reading();
    send_many(&it, 0, 5, 10, 0);
    send_many(&it, 1, 5, 10, 0);
    assign(&it, 0, 0);
    assign(&it, 1, 0);
    // One of both is sent back and one forward; what was found of the other stays.
    OK(ringlane_consumer_notify(it.consumer, it.queue, 1, &error));
    CHECK(is_told(&it, 1));
    OK(ringlane_consumer_seek(it.consumer, it.topic, 0, RINGLANE_START_OFFSET, 3, &error));
    CHECK(position_of(&it, 0) == 3 && position_of(&it, 1) == 0);
    uint64_t next[2] = { 3, 0 };
    CHECK(read_in_order(&it, next) == 7 && next[0] == 5 && next[1] == 5);
    send_many(&it, 0, 1, 10, 0);
    send_many(&it, 1, 1, 10, 0);
    OK(ringlane_consumer_notify(it.consumer, it.queue, 2, &error));
    CHECK(is_told(&it, 2));
    OK(ringlane_consumer_seek(it.consumer, it.topic, 1, RINGLANE_START_BEGINNING, 0, &error));
    CHECK(position_of(&it, 0) == 5 && position_of(&it, 1) == 0);
    next[1] = 0;
    CHECK(read_in_order(&it, next) == 7 && next[0] == 6 && next[1] == 6);
    // One that is not read any more gives nothing, also of what was found.
    send_many(&it, 0, 2, 10, 0);
    send_many(&it, 1, 2, 10, 0);
    OK(ringlane_consumer_notify(it.consumer, it.queue, 3, &error));
    CHECK(is_told(&it, 3));
    OK(ringlane_consumer_unassign(it.consumer, it.topic, 0, &error));
    CHECK(position_of(&it, 0) == UINT64_MAX && position_of(&it, 1) == 6);
    CHECK(read_in_order(&it, next) == 2 && next[0] == 6 && next[1] == 8);
    send_many(&it, 1, 2, 10, 0);
    OK(ringlane_consumer_notify(it.consumer, it.queue, 4, &error));
    CHECK(is_told(&it, 4));
    OK(ringlane_consumer_unassign(it.consumer, it.topic, RINGLANE_ANY_PARTITION, &error));
    CHECK(read_in_order(&it, next) == 0);
    // All of the topic from its beginning, and none of it twice.
    assign(&it, 0, 8);
    send_many(&it, 0, 2, 10, 0);
    OK(ringlane_consumer_notify(it.consumer, it.queue, 5, &error));
    CHECK(is_told(&it, 5));
    OK(ringlane_consumer_assign(it.consumer, it.topic, RINGLANE_ANY_PARTITION, RINGLANE_START_BEGINNING, 0, &error));
    next[0] = next[1] = 0;
    CHECK(read_in_order(&it, next) == 20 && next[0] == 10 && next[1] == 10);
    end_reading(&it);
}

// ----- who is told -----

// A poll in between takes the place of who asked to be told; if it finds nothing, it gives it back.
static void a_consumer_that_polled_in_vain_is_still_told(void) {
    reading it = begin_reading();
    assign(&it, 0, 0);
    for (uint64_t turn = 0; turn < 5; turn++) {
        OK(ringlane_consumer_notify(it.consumer, it.queue, turn, &error));
        batch batch = poll_consumer(it.consumer, turn % 2 == 0 ? 20 : 0);
        CHECK(batch.records == NULL);
        if (turn == 3) {
            ringlane_records *records = NULL;
            OK(ringlane_consumer_wakeup(it.consumer, &error));
            FAILS(ringlane_consumer_poll(it.consumer, 10000, &records, &error), RINGLANE_ERROR_WOKEN);
        }
        CHECK(!is_readable(it.queue, 0));
        send_many(&it, 0, 1, 10, 0);
        CHECK(is_told(&it, turn));
        batch = poll_consumer(it.consumer, 10000);
        CHECK(batch.count == 1);
        end_batch(&batch);
        CHECK(!is_readable(it.queue, 0));
    }
    end_reading(&it);
}

typedef struct asking {
    ringlane_consumer *consumer;
    ringlane_member *member;
    ringlane_queue *queue;
    ringlane_status status;
    atomic_bool begins;
} asking;

static void *ask_to_be_told(void *given) {
    asking *it = given;
    it->begins = true;
    it->status = it->member != NULL ? ringlane_member_notify(it->member, it->queue, 1, NULL)
                                    : ringlane_consumer_notify(it->consumer, it->queue, 1, NULL);
    return NULL;
}

// Whoever is closed while another thread asks to be told tells that one, one way or the other.
static void closing_tells_who_asked_to_be_told(void) {
    reading it = begin_reading();
    ringlane_options *options = options_of(RINGLANE_OPTIONS_GROUP, "kind", "shared", "topic", "t:beginning", NULL);
    OK(ringlane_group_create(it.engine, "g", options, &error));
    OK(ringlane_options_free(options, &error));
    int told = 0, refused = 0;
    for (int turn = 0; turn < 200; turn++) {
        asking asking = { .queue = it.queue };
        if (turn % 2 == 0) {
            OK(ringlane_consumer_open(it.engine, NULL, &asking.consumer, &error));
            OK(ringlane_consumer_assign(asking.consumer, it.topic, 0, RINGLANE_START_END, 0, &error));
        } else {
            OK(ringlane_member_join(it.engine, "g", NULL, &asking.member, &error));
        }
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, ask_to_be_told, &asking) == 0);
        while (!asking.begins) {
            sched_yield();
        }
        struct timespec pause = { 0, turn % 10 * 20000 };
        nanosleep(&pause, NULL);
        OK(asking.member != NULL ? ringlane_member_close(asking.member, &error)
                                 : ringlane_consumer_close(asking.consumer, &error));
        CHECK(pthread_join(thread, NULL) == 0);
        if (asking.status == RINGLANE_OK) {
            CHECK(is_told(&it, 1));
            told += 1;
        } else {
            CHECK(asking.status == RINGLANE_ERROR_CLOSED);
            refused += 1;
        }
        CHECK(!is_readable(it.queue, 0));
        OK(ringlane_member_free(asking.member, &error));
        OK(ringlane_consumer_free(asking.consumer, &error));
    }
    CHECK(told > 0 && told + refused == 200);
    end_reading(&it);
}

// ----- the memory that batches keep -----

static uint64_t held_bytes(ringlane_engine *engine) {
    ringlane_text *text = NULL;
    OK(ringlane_engine_stats(engine, &text, &error));
    return number_in(text, "held_bytes");
}

// A batch of one record keeps the whole piece of memory that this is in; before, the record alone was counted.
static void a_piece_of_memory_is_counted_once_however_many_batches_keep_it(void) {
    reading it = begin_reading_with(engine_options(), options_of(RINGLANE_OPTIONS_CONSUMER, "filter", "tag = wanted",
                                                                 "max_poll_records", "1", NULL));
    send_many(&it, 0, 100, 200, 10);
    assign(&it, 0, 0);
    CHECK(held_bytes(it.engine) == 0);
    batch batches[10];
    uint64_t first = 0, views = 0;
    for (int at = 0; at < 10; at++) {
        batches[at] = poll_consumer(it.consumer, 10000);
        CHECK(batches[at].count == 1 && view_at(&batches[at], 0)->offset == (uint64_t)at * 10);
        views += batches[at].count * batches[at].stride;
        if (at == 0) {
            first = held_bytes(it.engine) - views;
            CHECK(first >= 16384);
        }
        // They are all in one piece: only their views are added.
        CHECK(held_bytes(it.engine) == first + views);
    }
    // The one that came last is as good as the first to keep it.
    for (int at = 0; at < 10; at++) {
        CHECK(held_bytes(it.engine) == first + views);
        views -= batches[at].count * batches[at].stride;
        end_batch(&batches[at]);
    }
    CHECK(held_bytes(it.engine) == 0);
    end_reading(&it);
}

// The same where many pieces are kept, from memory and from files.
static void what_batches_keep_is_no_more_than_the_log_has(void) {
    enum { BATCHES = 60, BATCH_EACH = 100, SIZE = 1000 };
    reading it = begin_reading();
    send_many(&it, 0, BATCHES * BATCH_EACH, SIZE, BATCH_EACH);
    for (int turn = 0; turn < 2; turn++) {
        ringlane_options *options = options_of(RINGLANE_OPTIONS_CONSUMER, "filter", "tag = wanted", "max_poll_records", "1",
                                               NULL);
        ringlane_consumer *consumer = NULL;
        OK(ringlane_consumer_open(it.engine, options, &consumer, &error));
        OK(ringlane_options_free(options, &error));
        OK(ringlane_consumer_assign(consumer, it.topic, 0, RINGLANE_START_BEGINNING, 0, &error));
        batch batches[BATCHES];
        uint64_t most = 0;
        for (int at = 0; at < BATCHES; at++) {
            batches[at] = poll_consumer(consumer, 10000);
            CHECK(batches[at].count == 1 && view_at(&batches[at], 0)->offset == (uint64_t)at * BATCH_EACH);
            most = held_bytes(it.engine) > most ? held_bytes(it.engine) : most;
        }
        // All of the log is about 6 MB, in pieces of up to 1 MiB; each counted for each batch would be many times that.
        CHECK(most > BATCHES * SIZE * 10 && most < 16 << 20);
        OK(ringlane_consumer_free(consumer, &error));
        for (int at = BATCHES - 1; at >= 0; at--) {
            CHECK(view_at(&batches[at], 0)->value.size == SIZE);
            end_batch(&batches[at]);
        }
        CHECK(held_bytes(it.engine) == 0);
        if (turn == 0) {
            end_reading(&it);
            it = (reading){ 0 };
            it.engine = open_engine("main");
            OK(ringlane_topic_open(it.engine, "t", &it.topic, &error));
        }
    }
    end_reading(&it);
}

static void polls_are_refused_while_batches_keep_too_much(void) {
    ringlane_options *options = engine_options();
    OK(ringlane_options_set(options, "held_bytes_max", "2500000", &error));
    reading it = begin_reading_with(options, options_of(RINGLANE_OPTIONS_CONSUMER, "filter", "tag = wanted",
                                                        "max_poll_records", "1", NULL));
    enum { WANTED = 60 };
    send_many(&it, 0, WANTED * 100, 1000, 100);
    assign(&it, 0, 0);
    batch batches[WANTED];
    int count = 0;
    ringlane_status status = RINGLANE_OK;
    while (count < WANTED) {
        ringlane_records *records = NULL;
        status = ringlane_consumer_poll(it.consumer, 10000, &records, &error);
        if (status != RINGLANE_OK) {
            break;
        }
        batches[count++] = views_of(records);
        CHECK(batches[count - 1].count == 1);
    }
    // Some have one piece together, so there are more batches than pieces; and far from all of them.
    CHECK(status == RINGLANE_ERROR_HELD_TOO_MUCH && (error.flags & RINGLANE_RETRIABLE) != 0);
    CHECK(count > 5 && count < WANTED - 5 && held_bytes(it.engine) >= 2500000);
    // So are those of members, and of other consumers: it is the engine's memory.
    options = options_of(RINGLANE_OPTIONS_GROUP, "kind", "shared", "topic", "t:beginning", NULL);
    OK(ringlane_group_create(it.engine, "g", options, &error));
    OK(ringlane_options_free(options, &error));
    ringlane_member *member = NULL;
    ringlane_records *records = NULL;
    OK(ringlane_member_join(it.engine, "g", NULL, &member, &error));
    FAILS(ringlane_member_poll(member, 10000, &records, &error), RINGLANE_ERROR_HELD_TOO_MUCH);
    // To free those that share a piece with others frees nothing; to free all of them does.
    uint64_t position = position_of(&it, 0);
    for (int at = 0; at < count; at++) {
        end_batch(&batches[at]);
    }
    CHECK(held_bytes(it.engine) == 0 && position_of(&it, 0) == position);
    batch batch = poll_consumer(it.consumer, 10000);
    CHECK(batch.count == 1 && view_at(&batch, 0)->offset == (uint64_t)count * 100);
    end_batch(&batch);
    batch = poll_member(member, 10000);
    CHECK(batch.count > 0);
    end_batch(&batch);
    CHECK(held_bytes(it.engine) == 0);
    OK(ringlane_member_free(member, &error));
    end_reading(&it);
}

MAIN(TEST(a_poll_for_ever_of_nothing_is_refused),
     TEST(a_poll_whose_filter_wants_nothing_ends_in_time),
     TEST(a_poll_that_passes_over_records_can_be_woken_and_closed),
     TEST(what_a_notice_found_is_where_the_consumer_stands),
     TEST(what_was_found_of_a_partition_goes_where_it_is_sent),
     TEST(a_consumer_that_polled_in_vain_is_still_told),
     TEST(closing_tells_who_asked_to_be_told),
     TEST(a_piece_of_memory_is_counted_once_however_many_batches_keep_it),
     TEST(what_batches_keep_is_no_more_than_the_log_has),
     TEST(polls_are_refused_while_batches_keep_too_much))
