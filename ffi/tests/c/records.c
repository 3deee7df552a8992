// Topics, sending in every form, and reading: what is sent is what is read, and what is asked is answered.

#include "check.h"

// The offset of a record, by where it was read.
static uint64_t offset_at(const batch *batch, size_t at) {
    return at < batch->count ? view_at(batch, at)->offset : UINT64_MAX;
}

static void topics_are_created_listed_and_deleted(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "orders", "4"), *again = NULL;
    uint32_t partitions = 0;
    uint64_t first = 9, next = 9;
    OK(ringlane_topic_partitions(topic, &partitions, &error));
    OK(ringlane_topic_offsets(topic, 3, &first, &next, &error));
    CHECK(partitions == 4 && first == 0 && next == 0);
    OK(ringlane_topic_offsets(topic, 3, NULL, NULL, &error));
    FAILS(ringlane_topic_offsets(topic, 4, &first, &next, &error), RINGLANE_ERROR_INVALID_PARTITION);
    FAILS(ringlane_topic_offsets(topic, RINGLANE_ANY_PARTITION, &first, &next, &error), RINGLANE_ERROR_INVALID_PARTITION);
    FAILS(ringlane_topic_create(engine, "orders", NULL, &again, &error), RINGLANE_ERROR_TOPIC_EXISTS);
    FAILS(ringlane_topic_create(engine, "", NULL, &again, &error), RINGLANE_ERROR_INVALID_NAME);
    FAILS(ringlane_topic_create(engine, "a/b", NULL, &again, &error), RINGLANE_ERROR_INVALID_NAME);
    OK(ringlane_topic_open(engine, "orders", &again, &error));
    CHECK(again != topic && again != NULL);
    ringlane_text *text = NULL;
    OK(ringlane_topic_list(engine, &text, &error));
    CHECK_JSON(text, '[', "\"name\":\"orders\"");
    ringlane_options *options = options_of(RINGLANE_OPTIONS_TOPIC, "retention_ms", "86400000", "retention_bytes", "1000000",
                                           "keep_unfinished", "true", NULL);
    OK(ringlane_topic_set_retention(engine, "orders", options, &error));
    OK(ringlane_options_free(options, &error));
    OK(ringlane_topic_list(engine, &text, &error));
    CHECK_JSON(text, '[', "86400000");
    FAILS(ringlane_topic_set_retention(engine, "nowhere", NULL, &error), RINGLANE_ERROR_UNKNOWN_TOPIC);
    OK(ringlane_topic_delete(engine, "orders", &error));
    FAILS(ringlane_topic_delete(engine, "orders", &error), RINGLANE_ERROR_UNKNOWN_TOPIC);
    ringlane_producer *producer = make_producer(engine, NULL);
    ringlane_record record = record_of("late");
    FAILS(ringlane_producer_send(producer, topic, &record, NULL, &error), RINGLANE_ERROR_TOPIC_DELETED);
    // What was there is still told.
    OK(ringlane_topic_offsets(again, 0, &first, &next, &error));
    OK(ringlane_topic_free(topic, &error));
    OK(ringlane_topic_free(again, &error));
    OK(ringlane_producer_free(producer, &error));
    end_engine(engine);
}

static void everything_of_a_record_is_read_as_it_was_sent(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "3");
    ringlane_producer *producer = make_producer(engine, "sender");
    char key[] = "key", value[] = "va\0lue", id[] = "id-1", tag[] = "paid", name[] = "n\xc3\xa4me", of_header[] = "one";
    ringlane_header headers[3] = {
        { bytes_of(name), bytes_of(of_header) },
        { bytes_of(name), { (const uint8_t *)"", 0 } },
        { { (const uint8_t *)"", 0 }, { (const uint8_t *)"\xff", 1 } },
    };
    ringlane_record record = RINGLANE_RECORD_INIT;
    record.flags = RINGLANE_RECORD_PARTITION | RINGLANE_RECORD_TIMESTAMP;
    record.key = bytes_of(key);
    record.value = (ringlane_bytes){ (const uint8_t *)value, 6 };
    record.headers = headers, record.header_count = 3;
    record.tag = bytes_of(tag);
    record.message_id = bytes_of(id);
    record.timestamp_ms = 1234567890123, record.partition = 2, record.user_data = 77;
    ringlane_receipt receipt;
    memset(&receipt, 0x5a, sizeof receipt);
    OK(ringlane_producer_send(producer, topic, &record, &receipt, &error));
    CHECK(receipt.partition == 2 && receipt.offset == 0 && receipt.timestamp_ms == 1234567890123);
    CHECK(receipt.flags == (RINGLANE_RECEIPT_OFFSET | RINGLANE_RECEIPT_SYNCED));
    CHECK(receipt.producer != 0 && receipt.epoch == 1 && receipt.sequence == 0);
    // Nothing of the sender's is looked at later.
    memset(key, 'x', sizeof key), memset(value, 'x', sizeof value), memset(id, 'x', sizeof id);
    memset(tag, 'x', sizeof tag), memset(name, 'x', sizeof name), memset(of_header, 'x', sizeof of_header);
    memset(headers, 0, sizeof headers), memset(&record, 0, sizeof record);

    ringlane_consumer *consumer = make_consumer(engine, topic);
    batch batch = poll_consumer(consumer, 10000);
    if (CHECK(batch.count == 1 && batch.stride >= sizeof(ringlane_record_view))) {
        const ringlane_record_view *view = view_at(&batch, 0);
        CHECK(is_text(view->topic, "t") && is_text(view->key, "key") && is_text(view->message_id, "id-1"));
        CHECK(view->value.size == 6 && memcmp(view->value.data, "va\0lue", 6) == 0);
        CHECK(view->offset == 0 && view->partition == 2 && view->timestamp_ms == 1234567890123);
        CHECK(view->producer == receipt.producer && view->epoch == 1 && view->sequence == 0);
        CHECK(view->flags == 0 && view->delivery_count == 0 && view->delivery.serial == 0);
        CHECK(view->header_count == 4 && view->record.data != NULL && view->record.size > 6);
        ringlane_header read[5];
        memset(read, 0x5a, sizeof read);
        size_t count = 0;
        OK(ringlane_records_headers(batch.records, 0, read, sizeof *read, 5, &count, &error));
        CHECK(count == 4);
        bool has_tag = false;
        int others = 0;
        for (size_t at = 0; at < count && at < 5; at++) {
            if (is_text(read[at].name, "tag")) {
                has_tag = is_text(read[at].value, "paid");
            } else if (others == 0) {
                CHECK(is_text(read[at].name, "n\xc3\xa4me") && is_text(read[at].value, "one"));
                others = 1;
            } else if (others == 1) {
                CHECK(is_text(read[at].name, "n\xc3\xa4me") && is_text(read[at].value, ""));
                others = 2;
            } else {
                CHECK(is_text(read[at].name, "") && is_text(read[at].value, "\xff"));
                others = 3;
            }
        }
        CHECK(has_tag && others == 3);
        // More than there is room for is counted, and not written; none at all may be asked for.
        memset(read, 0x5a, sizeof read);
        OK(ringlane_records_headers(batch.records, 0, read, sizeof *read, 1, &count, &error));
        CHECK(count == 4 && read[1].name.size == (size_t)0x5a5a5a5a5a5a5a5a);
        OK(ringlane_records_headers(batch.records, 0, NULL, 0, 0, &count, &error));
        CHECK(count == 4);
        FAILS(ringlane_records_headers(batch.records, 1, read, sizeof *read, 5, &count, &error),
              RINGLANE_ERROR_INVALID_ARGUMENT);
    }
    end_batch(&batch);
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void nothing_differs_from_empty(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, NULL);
    const ringlane_bytes none = { NULL, 0 }, empty = { (const uint8_t *)"x", 0 };
    const ringlane_bytes values[] = { none, empty };
    for (int at = 0; at < 4; at++) {
        ringlane_record record = RINGLANE_RECORD_INIT;
        record.value = values[at & 1], record.key = values[at >> 1];
        OK(ringlane_producer_send(producer, topic, &record, NULL, &error));
    }
    ringlane_consumer *consumer = make_consumer(engine, topic);
    batch batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 4);
    for (size_t at = 0; at < batch.count; at++) {
        const ringlane_record_view *view = view_at(&batch, at);
        CHECK(view->value.size == 0 && view->key.size == 0);
        CHECK((view->value.data == NULL) == ((at & 1) == 0));
        CHECK((view->key.data == NULL) == (at >> 1 == 0));
        CHECK(view->message_id.data == NULL && view->message_id.size == 0);
    }
    end_batch(&batch);
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void a_record_is_sent_where_its_flag_or_key_says(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "8");
    ringlane_producer *producer = make_producer(engine, NULL);
    uint32_t of_key = UINT32_MAX;
    for (int at = 0; at < 4; at++) {
        ringlane_record record = record_of("value");
        record.key = bytes_of("same key"), record.partition = 7;
        ringlane_receipt receipt = { 0 };
        OK(ringlane_producer_send(producer, topic, &record, &receipt, &error));
        CHECK(of_key == UINT32_MAX || receipt.partition == of_key);
        of_key = receipt.partition;
        record.flags = RINGLANE_RECORD_PARTITION, record.partition = 5;
        OK(ringlane_producer_send(producer, topic, &record, &receipt, &error));
        CHECK(receipt.partition == 5);
        record.partition = 8;
        FAILS(ringlane_producer_send(producer, topic, &record, &receipt, &error), RINGLANE_ERROR_INVALID_PARTITION);
        CHECK(receipt.partition == 5);
    }
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void a_record_may_be_as_large_as_the_option_says(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, NULL);
    size_t size = (1 << 20) + 1;
    uint8_t *bytes = calloc(1, size);
    ringlane_record record = RINGLANE_RECORD_INIT;
    record.value = (ringlane_bytes){ bytes, size };
    FAILS(ringlane_producer_send(producer, topic, &record, NULL, &error), RINGLANE_ERROR_RECORD_TOO_LARGE);
    CHECK(error.details[0] > size && error.details[1] == 1 << 20);
    record.value.size = (1 << 20) - 64;
    OK(ringlane_producer_send(producer, topic, &record, NULL, &error));
    free(bytes);
    CHECK(next_offset(topic, 0) == 1);
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void a_named_producer_goes_on_and_fences_the_one_before(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *first = make_producer(engine, "import"), *second, *nameless = make_producer(engine, NULL);
    uint32_t epoch = 9;
    int32_t found = 9;
    uint64_t sequence = 9;
    OK(ringlane_producer_epoch(first, &epoch, &error));
    CHECK(epoch == 1);
    OK(ringlane_producer_last_sent(first, topic, 0, &found, &sequence, &error));
    CHECK(found == 0);
    send_texts(first, topic, 3);
    OK(ringlane_producer_last_sent(first, topic, 0, &found, &sequence, &error));
    CHECK(found == 1 && sequence == 2);
    second = make_producer(engine, "import");
    OK(ringlane_producer_epoch(second, &epoch, &error));
    CHECK(epoch == 2);
    OK(ringlane_producer_last_sent(second, topic, 0, &found, &sequence, &error));
    CHECK(found == 1 && sequence == 2);
    ringlane_record record = record_of("from before");
    FAILS(ringlane_producer_send(first, topic, &record, NULL, &error), RINGLANE_ERROR_PRODUCER_FENCED);
    CHECK(error.details[0] == 1 && error.details[1] == 2);
    CHECK(send_text(second, topic, "goes on").sequence == 3);
    OK(ringlane_producer_epoch(nameless, &epoch, &error));
    CHECK(epoch == 0);
    FAILS(ringlane_producer_last_sent(nameless, topic, 0, &found, &sequence, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    size_t size = 99;
    uint8_t message_id[RINGLANE_MESSAGE_ID_BYTES];
    FAILS(ringlane_producer_last_message_id(nameless, topic, 0, message_id, &size, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    CHECK(size == 99);
    FAILS(ringlane_producer_last_sent(second, topic, 1, &found, &sequence, &error), RINGLANE_ERROR_INVALID_PARTITION);
    ringlane_text *text = NULL;
    OK(ringlane_producer_list(engine, &text, &error));
    CHECK_JSON(text, '[', "\"import\"");
    OK(ringlane_producer_delete(engine, "import", &error));
    FAILS(ringlane_producer_delete(engine, "import", &error), RINGLANE_ERROR_UNKNOWN_PRODUCER);
    FAILS(ringlane_producer_send(second, topic, &record, NULL, &error), RINGLANE_ERROR_UNKNOWN_PRODUCER);
    OK(ringlane_producer_free(first, &error));
    OK(ringlane_producer_free(second, &error));
    OK(ringlane_producer_free(nameless, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void a_record_that_is_sent_again_has_the_first_receipt(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, "p");
    ringlane_receipt first = { 0 }, again = { 0 };
    ringlane_record record = record_of("numbered");
    record.flags = RINGLANE_RECORD_SEQUENCE;
    for (record.sequence = 0; record.sequence < 3; record.sequence++) {
        OK(ringlane_producer_send(producer, topic, &record, &first, &error));
        CHECK(first.sequence == record.sequence && (first.flags & RINGLANE_RECEIPT_DUPLICATE) == 0);
    }
    record.sequence = 2;
    OK(ringlane_producer_send(producer, topic, &record, &again, &error));
    CHECK((again.flags & RINGLANE_RECEIPT_DUPLICATE) != 0 && again.offset == first.offset && again.log == first.log);
    CHECK(again.position == first.position && again.index == first.index && again.timestamp_ms == first.timestamp_ms);
    // Numbers that are skipped are told with what comes next.
    record.sequence = 7;
    FAILS(ringlane_producer_send(producer, topic, &record, &again, &error), RINGLANE_ERROR_SEQUENCE_GAP);
    CHECK(error.details[0] == 7 && error.details[1] == 3);
    record.sequence = UINT64_MAX;
    FAILS(ringlane_producer_send(producer, topic, &record, &again, &error), RINGLANE_ERROR_SEQUENCE_GAP);
    CHECK(error.details[0] == UINT64_MAX && error.details[1] == 3);
    // The same by a name.
    record = record_of("named");
    record.message_id = bytes_of("order 17");
    OK(ringlane_producer_send(producer, topic, &record, &first, &error));
    OK(ringlane_producer_send(producer, topic, &record, &again, &error));
    CHECK((first.flags & RINGLANE_RECEIPT_DUPLICATE) == 0 && (again.flags & RINGLANE_RECEIPT_DUPLICATE) != 0);
    CHECK(again.offset == first.offset && again.sequence == first.sequence);
    CHECK(next_offset(topic, 0) == 4);
    // Whoever goes on asks what the last one was known by.
    uint8_t message_id[RINGLANE_MESSAGE_ID_BYTES];
    size_t size = 99;
    memset(message_id, 0x5a, sizeof message_id);
    OK(ringlane_producer_last_message_id(producer, topic, 0, message_id, &size, &error));
    CHECK(size == 8 && memcmp(message_id, "order 17", 8) == 0 && message_id[8] == 0x5a);
    send_text(producer, topic, "nameless");
    OK(ringlane_producer_last_message_id(producer, topic, 0, message_id, &size, &error));
    CHECK(size == 0);
    FAILS(ringlane_producer_last_message_id(producer, topic, 1, message_id, &size, &error),
          RINGLANE_ERROR_INVALID_PARTITION);
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void a_batch_is_sent_whole_and_in_order(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "2");
    ringlane_producer *producer = make_producer(engine, NULL);
    enum { COUNT = 100 };
    ringlane_record records[COUNT];
    ringlane_receipt receipts[COUNT];
    char values[COUNT][16];
    for (int at = 0; at < COUNT; at++) {
        snprintf(values[at], sizeof values[at], "%d", at);
        records[at] = record_of(values[at]);
        records[at].flags = RINGLANE_RECORD_PARTITION, records[at].partition = (uint32_t)(at % 2);
    }
    OK(ringlane_producer_send_batch(producer, topic, records, sizeof *records, COUNT, receipts, sizeof *receipts, &error));
    for (int at = 0; at < COUNT; at++) {
        CHECK(receipts[at].partition == (uint32_t)(at % 2) && receipts[at].offset == (uint64_t)(at / 2));
    }
    OK(ringlane_producer_send_batch(producer, topic, records, sizeof *records, COUNT, NULL, 0, &error));
    OK(ringlane_producer_send_batch(producer, topic, NULL, 0, 0, NULL, 0, &error));
    // One that cannot be sent, and none of them is.
    memset(receipts, 0x5a, sizeof receipts);
    records[COUNT - 1].partition = 2;
    FAILS(ringlane_producer_send_batch(producer, topic, records, sizeof *records, COUNT, receipts, sizeof *receipts, &error),
          RINGLANE_ERROR_INVALID_PARTITION);
    CHECK(receipts[0].offset == 0x5a5a5a5a5a5a5a5a);
    OK(ringlane_producer_flush(producer, &error));
    CHECK(next_offset(topic, 0) == COUNT && next_offset(topic, 1) == COUNT);
    ringlane_consumer *consumer = make_consumer(engine, topic);
    uint64_t seen = 0, next[2] = { 0, 0 };
    while (seen < 2 * COUNT) {
        batch batch = poll_consumer(consumer, 10000);
        if (!CHECK(batch.count > 0)) {
            break;
        }
        for (size_t at = 0; at < batch.count; at++, seen++) {
            const ringlane_record_view *view = view_at(&batch, at);
            CHECK(view->partition < 2 && view->offset == next[view->partition & 1]++);
            CHECK(is_text(view->value, values[view->offset % (COUNT / 2) * 2 + view->partition]));
        }
        end_batch(&batch);
    }
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void put_number(uint8_t *target, uint64_t number, int bytes) {
    for (int at = 0; at < bytes; at++) {
        target[at] = (uint8_t)(number >> 8 * at);
    }
}

// A record in the layout of docs/FORMAT.md, with a key and a value; returns where the next one begins.
static size_t pack(uint8_t *target, const char *key, const char *value, int64_t timestamp_ms) {
    size_t size = 20 + strlen(key) + strlen(value);
    put_number(target, size, 4);
    target[4] = 1, target[5] = 0, target[6] = 0, target[7] = 0;
    put_number(target + 8, (uint64_t)timestamp_ms, 8);
    put_number(target + 16, strlen(key), 4);
    memcpy(target + 20, key, strlen(key));
    memcpy(target + 20 + strlen(key), value, strlen(value));
    return (size + 7) / 8 * 8;
}

static void packed_records_are_sent_as_they_are(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "3");
    ringlane_producer *producer = make_producer(engine, NULL);
    ringlane_queue *queue = make_queue();
    uint8_t buffer[1024] = { 0 };
    size_t size = pack(buffer, "k", "one", 1000);
    size += pack(buffer + size, "k", "two", RINGLANE_TIMESTAMP_NOW);
    size += pack(buffer + size, "", "", 3000);
    size_t count = 9;
    OK(ringlane_producer_send_packed(producer, topic, buffer, size, 2, NULL, 0, &count, &error));
    CHECK(count == 3 && next_offset(topic, 2) == 3);
    count = 9;
    OK(ringlane_producer_send_packed(producer, topic, buffer, size, RINGLANE_ANY_PARTITION, queue, 42, &count, &error));
    CHECK(count == 3);
    ringlane_event event = next_event(queue);
    CHECK(event.kind == RINGLANE_EVENT_BATCH_SENT && event.user_data == 42 && event.count == 3 && event.status == 0);
    // Read again, and sent again as it was read.
    ringlane_consumer *consumer = NULL;
    OK(ringlane_consumer_open(engine, NULL, &consumer, &error));
    OK(ringlane_consumer_assign(consumer, topic, 2, RINGLANE_START_BEGINNING, 0, &error));
    batch batch = poll_consumer(consumer, 10000);
    if (CHECK(batch.count >= 3)) {
        CHECK(is_text(view_at(&batch, 0)->key, "k") && is_text(view_at(&batch, 0)->value, "one"));
        CHECK(view_at(&batch, 0)->timestamp_ms == 1000);
        int64_t now = view_at(&batch, 1)->timestamp_ms;
        CHECK(now > wall_ms() - 60000 && now <= wall_ms() + 1000);
        CHECK(is_text(view_at(&batch, 2)->value, "") && is_text(view_at(&batch, 2)->key, ""));
        ringlane_bytes record = view_at(&batch, 0)->record;
        OK(ringlane_producer_send_packed(producer, topic, record.data, record.size, 0, NULL, 0, NULL, &error));
    }
    end_batch(&batch);
    // Nothing at all, and what is no record.
    OK(ringlane_producer_send_packed(producer, topic, buffer, 0, 0, NULL, 0, &count, &error));
    CHECK(count == 0);
    count = 9;
    uint64_t before = next_offset(topic, 0);
    for (size_t cut = 1; cut < size; cut++) {
        ringlane_status status = ringlane_producer_send_packed(producer, topic, buffer, cut, 0, NULL, 0, &count, &error);
        // The last record needs no padding, so a cut may fall on the end of one.
        CHECK(status == RINGLANE_ERROR_INVALID_ARGUMENT || (status == RINGLANE_OK && cut >= 24));
    }
    CHECK(next_offset(topic, 0) > before);
    uint64_t state = 1;
    for (int turn = 0; turn < 300; turn++) {
        uint8_t bad[128];
        memcpy(bad, buffer, sizeof bad);
        state = state * 6364136223846793005u + 1442695040888963407u;
        // Damage within the first record: its size, flags, and the sizes of its parts.
        bad[(state >> 40) % 24] ^= (uint8_t)(1 + (state >> 50) % 255);
        ringlane_status status = ringlane_producer_send_packed(producer, topic, bad, size, 1, NULL, 0, NULL, &error);
        CHECK(status == RINGLANE_OK || (status != RINGLANE_ERROR_PANIC && status < 0));
    }
    OK(ringlane_engine_sync(engine, &error));
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_queue_free(queue, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void a_delayed_record_is_seen_when_it_is_due(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, NULL);
    ringlane_receipt receipts[3];
    memset(receipts, 0, sizeof receipts);
    ringlane_record record = record_of("delayed");
    record.flags = RINGLANE_RECORD_VISIBLE_AFTER, record.visible_ms = 1000;
    OK(ringlane_producer_send(producer, topic, &record, &receipts[0], &error));
    CHECK((receipts[0].flags & RINGLANE_RECEIPT_OFFSET) == 0 && receipts[0].offset == 0);
    record = record_of("by the clock");
    record.flags = RINGLANE_RECORD_VISIBLE_AT, record.visible_ms = wall_ms() + 3600000;
    OK(ringlane_producer_send(producer, topic, &record, &receipts[1], &error));
    record = record_of("never");
    record.flags = RINGLANE_RECORD_VISIBLE_AFTER, record.visible_ms = 3600000;
    OK(ringlane_producer_send(producer, topic, &record, &receipts[2], &error));
    send_text(producer, topic, "at once");
    ringlane_consumer *consumer = make_consumer(engine, topic);
    batch batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 1 && is_text(view_at(&batch, 0)->value, "at once"));
    end_batch(&batch);
    batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 1 && is_text(view_at(&batch, 0)->value, "delayed"));
    CHECK(batch.count == 1 && (view_at(&batch, 0)->flags & RINGLANE_VIEW_LATE) != 0);
    end_batch(&batch);
    OK(ringlane_engine_publish_withheld(engine, receipts[1].log, receipts[1].position, receipts[1].index, &error));
    FAILS(ringlane_engine_publish_withheld(engine, receipts[1].log, receipts[1].position, receipts[1].index, &error),
          RINGLANE_ERROR_NOT_WITHHELD);
    batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 1 && is_text(view_at(&batch, 0)->value, "by the clock"));
    end_batch(&batch);
    OK(ringlane_producer_cancel(producer, receipts[2].log, receipts[2].position, receipts[2].index, &error));
    FAILS(ringlane_producer_cancel(producer, receipts[2].log, receipts[2].position, receipts[2].index, &error),
          RINGLANE_ERROR_NOT_WITHHELD);
    // What never was one.
    FAILS(ringlane_producer_cancel(producer, 0, 0, 0, &error), RINGLANE_ERROR_NOT_WITHHELD);
    FAILS(ringlane_producer_cancel(producer, UINT32_MAX, UINT64_MAX, UINT32_MAX, &error), RINGLANE_ERROR_NOT_WITHHELD);
    FAILS(ringlane_engine_publish_withheld(engine, UINT32_MAX, UINT64_MAX, UINT32_MAX, &error),
          RINGLANE_ERROR_NOT_WITHHELD);
    FAILS(ringlane_engine_publish_withheld(engine, 0, UINT64_MAX - 7, 0, &error), RINGLANE_ERROR_NOT_WITHHELD);
    batch = poll_consumer(consumer, 50);
    CHECK(batch.count == 0 && batch.records == NULL);
    end_batch(&batch);
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void a_consumer_reads_where_it_is_told_to(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "2");
    ringlane_producer *producer = make_producer(engine, NULL);
    for (int at = 0; at < 20; at++) {
        ringlane_record record = record_of("value");
        record.flags = RINGLANE_RECORD_PARTITION | RINGLANE_RECORD_TIMESTAMP;
        record.partition = (uint32_t)(at % 2), record.timestamp_ms = 1000 + at;
        OK(ringlane_producer_send(producer, topic, &record, NULL, &error));
    }
    ringlane_options *options = options_of(RINGLANE_OPTIONS_CONSUMER, "max_poll_records", "3", NULL);
    ringlane_consumer *consumer = NULL;
    OK(ringlane_consumer_open(engine, options, &consumer, &error));
    OK(ringlane_options_free(options, &error));
    int32_t found = 9;
    uint64_t offset = 9;
    OK(ringlane_consumer_position(consumer, topic, 0, &found, &offset, &error));
    CHECK(found == 0);
    // Nothing is assigned: nothing comes, in time.
    int64_t begin = now_ms();
    batch batch = poll_consumer(consumer, 60);
    CHECK(batch.records == NULL && now_ms() - begin >= 50);
    FAILS(ringlane_consumer_seek(consumer, topic, 0, RINGLANE_START_END, 0, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    FAILS(ringlane_consumer_assign(consumer, topic, 2, RINGLANE_START_END, 0, &error), RINGLANE_ERROR_INVALID_PARTITION);
    OK(ringlane_consumer_assign(consumer, topic, 1, RINGLANE_START_OFFSET, 4, &error));
    batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 3 && offset_at(&batch, 0) == 4 && view_at(&batch, 0)->partition == 1);
    end_batch(&batch);
    OK(ringlane_consumer_position(consumer, topic, 1, &found, &offset, &error));
    CHECK(found == 1 && offset == 7);
    OK(ringlane_consumer_position(consumer, topic, 0, &found, &offset, &error));
    CHECK(found == 0);
    OK(ringlane_consumer_seek(consumer, topic, 1, RINGLANE_START_TIMESTAMP, 1005, &error));
    batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 3 && offset_at(&batch, 0) == 2);
    end_batch(&batch);
    OK(ringlane_consumer_seek(consumer, topic, 1, RINGLANE_START_BEGINNING, 0, &error));
    batch = poll_consumer(consumer, 10000);
    CHECK(offset_at(&batch, 0) == 0);
    end_batch(&batch);
    OK(ringlane_consumer_seek(consumer, topic, 1, RINGLANE_START_END, 0, &error));
    batch = poll_consumer(consumer, 0);
    CHECK(batch.records == NULL);
    OK(ringlane_consumer_unassign(consumer, topic, RINGLANE_ANY_PARTITION, &error));
    OK(ringlane_consumer_unassign(consumer, topic, 77, &error));
    OK(ringlane_consumer_position(consumer, topic, 1, &found, &offset, &error));
    CHECK(found == 0);
    OK(ringlane_consumer_assign(consumer, topic, RINGLANE_ANY_PARTITION, RINGLANE_START_BEGINNING, 0, &error));
    int seen = 0;
    while (batch = poll_consumer(consumer, 0), batch.count > 0) {
        seen += (int)batch.count;
        end_batch(&batch);
    }
    CHECK(seen == 20);
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void a_filter_leaves_out_what_it_says(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, NULL);
    for (int at = 0; at < 6; at++) {
        ringlane_record record = record_of("value");
        record.tag = bytes_of(at % 2 == 0 ? "paid" : "open");
        OK(ringlane_producer_send(producer, topic, &record, NULL, &error));
    }
    ringlane_options *options = options_of(RINGLANE_OPTIONS_CONSUMER, "filter", "tag = 'paid'", NULL);
    ringlane_consumer *consumer = NULL;
    OK(ringlane_consumer_open(engine, options, &consumer, &error));
    OK(ringlane_options_free(options, &error));
    OK(ringlane_consumer_assign(consumer, topic, 0, RINGLANE_START_BEGINNING, 0, &error));
    batch batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 3 && offset_at(&batch, 2) == 4);
    end_batch(&batch);
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void what_was_removed_before_it_was_read_is_told(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, NULL);
    send_texts(producer, topic, 10);
    ringlane_options *options = options_of(RINGLANE_OPTIONS_CONSUMER, "max_poll_records", "2", NULL);
    ringlane_consumer *consumer = NULL;
    OK(ringlane_consumer_open(engine, options, &consumer, &error));
    OK(ringlane_options_free(options, &error));
    OK(ringlane_consumer_assign(consumer, topic, 0, RINGLANE_START_BEGINNING, 0, &error));
    uint64_t first = 99, next = 99;
    FAILS(ringlane_topic_delete_records(engine, topic, 1, 6, &first, &error), RINGLANE_ERROR_INVALID_PARTITION);
    CHECK(first == 99);
    OK(ringlane_topic_delete_records(engine, topic, 0, 6, &first, &error));
    CHECK(first == 6);
    OK(ringlane_topic_delete_records(engine, topic, 0, 3, NULL, &error));
    OK(ringlane_topic_offsets(topic, 0, &first, &next, &error));
    CHECK(first == 6 && next == 10);
    ringlane_records *records = (void *)(uintptr_t)0x5a;
    FAILS(ringlane_consumer_poll(consumer, 1000, &records, &error), RINGLANE_ERROR_TRUNCATED);
    CHECK(error.details[0] == 0 && error.details[1] == 6 && records == (void *)(uintptr_t)0x5a);
    OK(ringlane_consumer_seek(consumer, topic, 0, RINGLANE_START_OFFSET, (int64_t)error.details[1], &error));
    batch batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 2 && offset_at(&batch, 0) == 6);
    end_batch(&batch);
    FAILS(ringlane_consumer_assign(consumer, topic, 0, RINGLANE_START_OFFSET, 3, &error), RINGLANE_ERROR_TRUNCATED);
    CHECK(error.details[1] == 6);
    // Beyond the end: all that is there, and nothing of what comes.
    OK(ringlane_topic_delete_records(engine, topic, 0, UINT64_MAX, &first, &error));
    CHECK(first == 10 && send_text(producer, topic, "next").offset == 10);
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void numbers_say_whether_something_is_missing(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, "p");
    ringlane_record record = record_of("cancelled");
    record.flags = RINGLANE_RECORD_VISIBLE_AFTER, record.visible_ms = 3600000;
    ringlane_receipt receipt = { 0 };
    send_text(producer, topic, "one");
    OK(ringlane_producer_send(producer, topic, &record, &receipt, &error));
    send_text(producer, topic, "two");
    OK(ringlane_producer_cancel(producer, receipt.log, receipt.position, receipt.index, &error));
    ringlane_consumer *consumer = make_consumer(engine, topic);
    batch batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 2);
    end_batch(&batch);
    ringlane_text *text = NULL;
    OK(ringlane_consumer_continuity(consumer, &text, &error));
    CHECK_JSON(text, '{', "\"findings\":[{");
    OK(ringlane_consumer_explain_missing(consumer, &text, &error));
    CHECK_JSON(text, '[', "ancelled");
    OK(ringlane_consumer_explain_missing(consumer, &text, &error));
    CHECK_JSON(text, '[', "[]");
    OK(ringlane_consumer_free(consumer, &error));
    ringlane_options *options = options_of(RINGLANE_OPTIONS_CONSUMER, "continuity", "false", NULL);
    OK(ringlane_consumer_open(engine, options, &consumer, &error));
    OK(ringlane_options_free(options, &error));
    OK(ringlane_consumer_continuity(consumer, &text, &error));
    CHECK_JSON(text, 'n', "null");
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void a_batch_is_valid_until_it_is_freed(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, NULL);
    ringlane_header header = { bytes_of("name"), bytes_of("of header") };
    ringlane_record record = record_of("kept value");
    record.key = bytes_of("kept key"), record.headers = &header, record.header_count = 1;
    OK(ringlane_producer_send(producer, topic, &record, NULL, &error));
    ringlane_consumer *consumer = make_consumer(engine, topic);
    batch batch = poll_consumer(consumer, 10000);
    OK(ringlane_consumer_close(consumer, &error));
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_topic_delete(engine, "t", &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
    remove_all(path_of("main"));
    if (CHECK(batch.count == 1)) {
        const ringlane_record_view *view = view_at(&batch, 0);
        CHECK(is_text(view->value, "kept value") && is_text(view->key, "kept key") && is_text(view->topic, "t"));
        ringlane_header read = { { NULL, 0 }, { NULL, 0 } };
        size_t count = 0;
        OK(ringlane_records_headers(batch.records, 0, &read, sizeof read, 1, &count, &error));
        CHECK(count == 1 && is_text(read.name, "name") && is_text(read.value, "of header"));
    }
    end_batch(&batch);
}

static void what_batches_hold_is_bounded(void) {
    ringlane_options *options = engine_options();
    OK(ringlane_options_set(options, "held_bytes_max", "100000", &error));
    ringlane_engine *engine = NULL;
    OK(ringlane_engine_open(path_of("main"), options, &engine, &error));
    OK(ringlane_options_free(options, &error));
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, NULL);
    static uint8_t large[60000];
    ringlane_record record = RINGLANE_RECORD_INIT;
    record.value = (ringlane_bytes){ large, sizeof large };
    options = options_of(RINGLANE_OPTIONS_CONSUMER, "max_poll_records", "1", NULL);
    ringlane_consumer *consumer = NULL;
    OK(ringlane_consumer_open(engine, options, &consumer, &error));
    OK(ringlane_options_free(options, &error));
    OK(ringlane_consumer_assign(consumer, topic, 0, RINGLANE_START_BEGINNING, 0, &error));
    for (int at = 0; at < 4; at++) {
        OK(ringlane_producer_send(producer, topic, &record, NULL, &error));
    }
    // One record keeps the whole piece of memory that it is in.
    batch one = poll_consumer(consumer, 10000);
    CHECK(one.count == 1);
    ringlane_records *records = (void *)(uintptr_t)0x5a;
    FAILS(ringlane_consumer_poll(consumer, 1000, &records, &error), RINGLANE_ERROR_HELD_TOO_MUCH);
    CHECK((error.flags & RINGLANE_RETRIABLE) != 0 && records == (void *)(uintptr_t)0x5a);
    ringlane_text *text = NULL;
    OK(ringlane_engine_stats(engine, &text, &error));
    CHECK_JSON(text, '{', "\"held_bytes_max\":100000");
    end_batch(&one);
    one = poll_consumer(consumer, 10000);
    CHECK(one.count == 1 && offset_at(&one, 0) == 1);
    end_batch(&one);
    OK(ringlane_engine_stats(engine, &text, &error));
    CHECK_JSON(text, '{', "\"held_bytes\":0");
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void buffered_records_are_synced_when_asked(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_options *options = options_of(RINGLANE_OPTIONS_PRODUCER, "durability", "buffered", NULL);
    ringlane_producer *producer = NULL;
    OK(ringlane_producer_open(engine, options, &producer, &error));
    OK(ringlane_options_free(options, &error));
    ringlane_receipt receipt = send_text(producer, topic, "buffered");
    CHECK((receipt.flags & RINGLANE_RECEIPT_SYNCED) == 0);
    OK(ringlane_producer_flush(producer, &error));
    OK(ringlane_engine_sync(engine, &error));
    ringlane_consumer *consumer = make_consumer(engine, topic);
    batch batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 1);
    end_batch(&batch);
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void an_engine_tells_of_itself(void) {
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = make_topic(engine, "t", "1");
    ringlane_producer *producer = make_producer(engine, "p");
    send_texts(producer, topic, 5);
    ringlane_text *text = NULL;
    OK(ringlane_engine_stats(engine, &text, &error));
    CHECK_JSON(text, '{', "\"lanes\":");
    OK(ringlane_engine_recovery(engine, &text, &error));
    CHECK_JSON(text, '{', "\"recovery\":{");
    OK(ringlane_engine_audit(engine, NULL, &text, &error));
    CHECK_JSON(text, '{', "\"t\"");
    ringlane_options *options = options_of(RINGLANE_OPTIONS_AUDIT, "topic", "t", "producers_max", "10", NULL);
    OK(ringlane_engine_audit(engine, options, &text, &error));
    CHECK_JSON(text, '{', "\"t\"");
    OK(ringlane_options_set(options, "topic", "nowhere", &error));
    FAILS(ringlane_engine_audit(engine, options, &text, &error), RINGLANE_ERROR_UNKNOWN_TOPIC);
    OK(ringlane_options_free(options, &error));
    OK(ringlane_engine_accept_clock(engine, &error));
    OK(ringlane_group_describe(engine, NULL, &text, &error));
    CHECK_JSON(text, '[', "[]");
    OK(ringlane_transaction_describe(engine, NULL, 1, &text, &error));
    CHECK_JSON(text, '[', "[]");
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
}

static void a_directory_is_read_beside_its_writer(void) {
    ringlane_engine *writer = open_engine("main"), *reader = NULL;
    ringlane_topic *topic = make_topic(writer, "t", "1"), *read = NULL;
    ringlane_producer *producer = make_producer(writer, NULL), *none = NULL;
    send_text(producer, topic, "before");
    ringlane_options *options = engine_options();
    OK(ringlane_engine_open_read_only(path_of("main"), options, &reader, &error));
    OK(ringlane_options_free(options, &error));
    OK(ringlane_topic_open(reader, "t", &read, &error));
    ringlane_consumer *consumer = make_consumer(reader, read);
    batch batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 1 && is_text(view_at(&batch, 0)->value, "before"));
    end_batch(&batch);
    send_text(producer, topic, "after");
    OK(ringlane_engine_refresh(reader, &error));
    batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 1 && is_text(view_at(&batch, 0)->value, "after"));
    end_batch(&batch);
    send_text(producer, topic, "found by polling");
    batch = poll_consumer(consumer, 10000);
    CHECK(batch.count == 1 && is_text(view_at(&batch, 0)->value, "found by polling"));
    end_batch(&batch);
    ringlane_queue *queue = make_queue();
    FAILS(ringlane_consumer_notify(consumer, queue, 1, &error), RINGLANE_ERROR_READ_ONLY);
    FAILS(ringlane_topic_create(reader, "u", NULL, &topic, &error), RINGLANE_ERROR_READ_ONLY);
    FAILS(ringlane_topic_delete(reader, "t", &error), RINGLANE_ERROR_READ_ONLY);
    FAILS(ringlane_producer_open(reader, NULL, &none, &error), RINGLANE_ERROR_READ_ONLY);
    FAILS(ringlane_engine_sync(reader, &error), RINGLANE_ERROR_READ_ONLY);
    FAILS(ringlane_topic_delete_records(reader, read, 0, 1, NULL, &error), RINGLANE_ERROR_READ_ONLY);
    FAILS(ringlane_checker_register(reader, "c", NULL, queue, 1, &error), RINGLANE_ERROR_READ_ONLY);
    // An empty list would say that there are none.
    ringlane_text *text = NULL;
    FAILS(ringlane_group_describe(reader, NULL, &text, &error), RINGLANE_ERROR_READ_ONLY);
    FAILS(ringlane_group_describe(reader, "g", &text, &error), RINGLANE_ERROR_READ_ONLY);
    FAILS(ringlane_transaction_describe(reader, NULL, 0, &text, &error), RINGLANE_ERROR_READ_ONLY);
    FAILS(ringlane_transaction_describe(reader, NULL, 1, &text, &error), RINGLANE_ERROR_READ_ONLY);
    // A second writer is told who has it.
    ringlane_engine *second = NULL;
    options = engine_options();
    FAILS(ringlane_engine_open(path_of("main"), options, &second, &error), RINGLANE_ERROR_LOCKED);
    CHECK(error.details[0] == (uint64_t)getpid() && second == NULL);
    OK(ringlane_options_free(options, &error));
    OK(ringlane_queue_free(queue, &error));
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_topic_free(read, &error));
    OK(ringlane_engine_close(reader, &error));
    FAILS(ringlane_engine_refresh(reader, &error), RINGLANE_ERROR_CLOSED);
    OK(ringlane_engine_free(reader, &error));
    OK(ringlane_producer_free(producer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(writer);
}

static void directories_that_cannot_be_opened_are_told(void) {
    ringlane_engine *engine = NULL;
    FAILS(ringlane_engine_open_read_only(path_of("nowhere"), NULL, &engine, &error), RINGLANE_ERROR_INVALID_DIRECTORY);
    FILE *file = fopen(path_of("file"), "w");
    CHECK(file != NULL && fclose(file) == 0);
    FAILS(ringlane_engine_open(path_of("file"), NULL, &engine, &error), RINGLANE_ERROR_INVALID_DIRECTORY);
    CHECK(ringlane_engine_open("", NULL, &engine, &error) < 0);
    // A directory with a file of somebody else's.
    CHECK(mkdir(path_of("foreign"), 0700) == 0);
    file = fopen(path_of("foreign/letter.txt"), "w");
    CHECK(file != NULL && fputs("dear", file) >= 0 && fclose(file) == 0);
    FAILS(ringlane_engine_open(path_of("foreign"), NULL, &engine, &error), RINGLANE_ERROR_FOREIGN_FORMAT);
    ringlane_options *options = options_of(RINGLANE_OPTIONS_ENGINE, "create", "false", NULL);
    CHECK(ringlane_engine_open(path_of("new"), options, &engine, &error) < 0);
    OK(ringlane_options_free(options, &error));
    CHECK(engine == NULL);
}

MAIN(TEST(topics_are_created_listed_and_deleted),
     TEST(everything_of_a_record_is_read_as_it_was_sent),
     TEST(nothing_differs_from_empty),
     TEST(a_record_is_sent_where_its_flag_or_key_says),
     TEST(a_record_may_be_as_large_as_the_option_says),
     TEST(a_named_producer_goes_on_and_fences_the_one_before),
     TEST(a_record_that_is_sent_again_has_the_first_receipt),
     TEST(a_batch_is_sent_whole_and_in_order),
     TEST(packed_records_are_sent_as_they_are),
     TEST(a_delayed_record_is_seen_when_it_is_due),
     TEST(a_consumer_reads_where_it_is_told_to),
     TEST(a_filter_leaves_out_what_it_says),
     TEST(what_was_removed_before_it_was_read_is_told),
     TEST(numbers_say_whether_something_is_missing),
     TEST(a_batch_is_valid_until_it_is_freed),
     TEST(what_batches_hold_is_bounded),
     TEST(buffered_records_are_synced_when_asked),
     TEST(an_engine_tells_of_itself),
     TEST(a_directory_is_read_beside_its_writer),
     TEST(directories_that_cannot_be_opened_are_told))
