// Orders in C: send with a receipt, send without waiting, work off as a group, and a transaction.
//
//     cc -std=c11 orders.c $(pkg-config --cflags --libs ringlane) -o orders
//     ./orders DIRECTORY
//
// DIRECTORY is made if it is not there. In a new one it says the same each time.

#include <ringlane.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What the last call that failed has to say.
static ringlane_error error;

// An example gives up at the first error; an application looks at `error.status` and `error.flags`, and decides.
static void check(ringlane_status status) {
    if (status != RINGLANE_OK) {
        fprintf(stderr, "%s: %s\n", ringlane_status_name(status), error.message);
        exit(1);
    }
}

static ringlane_bytes text(const char *text) {
    return (ringlane_bytes){ (const uint8_t *)text, strlen(text) };
}

// The receipt comes when the order is on the device.
static void send_one(ringlane_producer *producer, ringlane_topic *orders) {
    ringlane_header currency = { text("currency"), text("EUR") };
    ringlane_record record = RINGLANE_RECORD_INIT;
    record.key = text("order-1");
    record.value = text("paid");
    record.tag = text("paid");
    record.headers = &currency;
    record.header_count = 1;
    ringlane_receipt receipt;
    check(ringlane_producer_send(producer, orders, &record, &receipt, &error));
    printf("order-1 is at offset %" PRIu64 "%s\n", receipt.offset,
           (receipt.flags & RINGLANE_RECEIPT_SYNCED) != 0 ? ", on the device" : "");
}

// Nobody waits for one record; what became of each of them arrives in a queue, by the number that it was given.
static void send_many(ringlane_producer *producer, ringlane_topic *orders) {
    ringlane_queue *queue;
    check(ringlane_queue_new(&queue, &error));
    for (uint64_t number = 2; number <= 5; number++) {
        char key[32];
        snprintf(key, sizeof key, "order-%" PRIu64, number);
        ringlane_record record = RINGLANE_RECORD_INIT;
        record.key = text(key);
        record.value = text("open");
        record.tag = text("open");
        record.user_data = number;
        // All of it is copied: `key` may be used again at once.
        check(ringlane_producer_send_async(producer, orders, &record, queue, &error));
    }
    uint64_t sum = 0;
    for (int left = 4; left > 0;) {
        ringlane_event events[16];
        size_t count;
        check(ringlane_queue_drain(queue, events, sizeof *events, 16, 10000, &count, &error));
        for (size_t at = 0; at < count; at++, left--) {
            if (events[at].status != RINGLANE_OK) {
                check(ringlane_queue_error(queue, events[at].error_id, &error, NULL));
                check(events[at].status);
            }
            sum += events[at].user_data;
        }
    }
    printf("4 orders more, their numbers add up to %" PRIu64 "\n", sum);
    check(ringlane_queue_free(queue, &error));
}

// The next batch of a member; false if nothing comes any more.
static int next_batch(ringlane_member *member, ringlane_records **records, const ringlane_record_view **views,
                      size_t *stride, size_t *count) {
    check(ringlane_member_poll(member, 200, records, &error));
    if (*records == NULL) {
        return 0;
    }
    check(ringlane_records_view(*records, views, stride, count, &error));
    return 1;
}

// The views of a newer library may be larger: the stride leads from one to the next.
static const ringlane_record_view *view_at(const ringlane_record_view *views, size_t stride, size_t at) {
    return (const ringlane_record_view *)(const void *)((const char *)views + at * stride);
}

// Each order becomes an invoice, and is finished in the same moment: whatever happens, no order has two or none.
static void work_off(ringlane_engine *engine, ringlane_producer *producer, ringlane_topic *invoices) {
    ringlane_member *member;
    ringlane_records *orders;
    const ringlane_record_view *views;
    size_t stride, count;
    check(ringlane_member_join(engine, "accounting", NULL, &member, &error));
    while (next_batch(member, &orders, &views, &stride, &count)) {
        ringlane_transaction *transaction;
        check(ringlane_transaction_begin(producer, NULL, &transaction, &error));
        for (size_t at = 0; at < count; at++) {
            const ringlane_record_view *order = view_at(views, stride, at);
            printf("working on %.*s, %.*s\n", (int)order->key.size, (const char *)order->key.data,
                   (int)order->value.size, (const char *)order->value.data);
            ringlane_record invoice = RINGLANE_RECORD_INIT;
            invoice.key = order->key;
            invoice.value = text("invoice");
            check(ringlane_transaction_send(transaction, invoices, &invoice, &error));
        }
        check(ringlane_transaction_ack(transaction, member, &views->delivery, stride, count, NULL, &error));
        check(ringlane_transaction_commit(transaction, &error));
        check(ringlane_transaction_free(transaction, &error));
        check(ringlane_records_free(orders, &error));
    }
    check(ringlane_member_free(member, &error));
}

// Another group has the same orders once more; it looks at those that are paid, and acknowledges each.
static void ship(ringlane_engine *engine) {
    ringlane_member *member;
    ringlane_records *orders;
    const ringlane_record_view *views;
    size_t stride, count;
    check(ringlane_member_join(engine, "shipping", NULL, &member, &error));
    while (next_batch(member, &orders, &views, &stride, &count)) {
        for (size_t at = 0; at < count; at++) {
            const ringlane_record_view *order = view_at(views, stride, at);
            ringlane_header headers[8];
            size_t header_count;
            check(ringlane_records_headers(orders, at, headers, sizeof *headers, 8, &header_count, &error));
            for (size_t of = 0; of < header_count && of < 8; of++) {
                if (headers[of].name.size == 8 && memcmp(headers[of].name.data, "currency", 8) == 0) {
                    printf("shipping %.*s in %.*s\n", (int)order->key.size, (const char *)order->key.data,
                           (int)headers[of].value.size, (const char *)headers[of].value.data);
                }
            }
            check(ringlane_member_ack(member, &order->delivery, stride, 1, NULL, &error));
        }
        check(ringlane_records_free(orders, &error));
    }
    check(ringlane_member_flush(member, &error));
    check(ringlane_member_free(member, &error));
}

static void create_group(ringlane_engine *engine, const char *name, const char *kind, const char *filter) {
    ringlane_options *options;
    check(ringlane_options_new(RINGLANE_OPTIONS_GROUP, &options, &error));
    check(ringlane_options_set(options, "kind", kind, &error));
    check(ringlane_options_set(options, "topic", "orders:beginning", &error));
    if (filter != NULL) {
        check(ringlane_options_set(options, "filter", filter, &error));
    }
    check(ringlane_group_create(engine, name, options, &error));
    check(ringlane_options_free(options, &error));
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", arguments[0]);
        return 2;
    }
    ringlane_engine *engine;
    ringlane_topic *orders, *invoices;
    ringlane_producer *producer;
    check(ringlane_engine_open(arguments[1], NULL, &engine, &error));
    check(ringlane_topic_create(engine, "orders", NULL, &orders, &error));
    check(ringlane_topic_create(engine, "invoices", NULL, &invoices, &error));
    create_group(engine, "accounting", "ordered", NULL);
    create_group(engine, "shipping", "shared", "tag = paid");
    check(ringlane_producer_open(engine, NULL, &producer, &error));

    send_one(producer, orders);
    send_many(producer, orders);
    work_off(engine, producer, invoices);
    ship(engine);

    uint64_t next_offset;
    check(ringlane_topic_offsets(invoices, 0, NULL, &next_offset, &error));
    printf("%" PRIu64 " invoices\n", next_offset);

    check(ringlane_producer_free(producer, &error));
    check(ringlane_topic_free(invoices, &error));
    check(ringlane_topic_free(orders, &error));
    check(ringlane_engine_close(engine, &error));
    check(ringlane_engine_free(engine, &error));
    return 0;
}
