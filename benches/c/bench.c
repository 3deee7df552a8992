// How fast the C library is called: one JSON object a line, with the keys that `ringlane bench --json` has.
//
//   bench DIRECTORY [SECONDS]
//
// c-send      asynchronous single sends: what one call takes, its completions drained meanwhile
// c-batch     asynchronous sends of 1,000 records in one call: what a record takes in it
// c-packed    the same as one buffer in the record layout
// c-consume   polls from memory: each record is looked at through its view
//
// `limit_*` has the goal that design set: 100 ns a call, 40 ns a record, 20 M records/s; `ratio` is goal over measured for
// the first three, measured over goal for the last, so 1 and more is well.
#define _GNU_SOURCE
#include "ringlane.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define VALUE_BYTES 100
#define BATCH 1000
#define EVENTS 4096
// Records that are in memory for c-consume.
#define RECORDS 400000

static ringlane_error error;

static void check(ringlane_status status, const char *what) {
    if (status != RINGLANE_OK) {
        fprintf(stderr, "bench: %s: %s: %s\n", what, ringlane_status_name(status), error.message);
        exit(1);
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void report(const char *workload, double records, double seconds, double cpu_seconds, double goal, double ratio) {
    printf("{\"workload\":\"%s\",\"records_per_s\":%.0f,\"mb_per_s\":%.3f,\"p50_us\":null,\"p99_us\":null,"
           "\"p999_us\":null,\"limit_records_per_s\":%.0f,\"limit_mb_per_s\":null,\"limit_p50_us\":null,"
           "\"limit_p99_us\":null,\"ratio\":%.3f,\"device_bytes_per_payload_byte\":null,\"flushes_per_record\":null,"
           "\"cpu_ns_per_record\":%.1f,\"io_backend\":null,\"lanes\":1}\n",
           workload, records / seconds, records / seconds * VALUE_BYTES / 1e6, goal, ratio, cpu_seconds * 1e9 / records);
    fflush(stdout);
}

// Takes all events that are there, and waits for more until `wanted` are taken.
static size_t drain(const ringlane_queue *queue, ringlane_event *events, size_t wanted) {
    size_t taken = 0;
    do {
        size_t count = 0;
        check(ringlane_queue_drain(queue, events, sizeof *events, EVENTS, wanted > taken ? 10000 : 0, &count, &error),
              "drain");
        for (size_t at = 0; at < count; at++) {
            if (events[at].status != RINGLANE_OK) {
                check(ringlane_queue_error(queue, events[at].error_id, &error, NULL), "error of an event");
                check(events[at].status, "a send");
            }
        }
        taken += count;
        if (count == 0 && wanted > taken) {
            fprintf(stderr, "bench: only %zu of %zu completions came\n", taken, wanted);
            exit(1);
        }
    } while (taken < wanted);
    return taken;
}

struct bench {
    ringlane_engine *engine;
    ringlane_topic *topic;
    ringlane_producer *producer;
    ringlane_queue *queue;
    ringlane_event *events;
    ringlane_record *records;
    double seconds;
};

// Gives up what was sent, so that each workload writes into the same segments again.
static void forget(struct bench *bench) {
    uint64_t next = 0;
    check(ringlane_producer_flush(bench->producer, &error), "flush");
    check(ringlane_topic_offsets(bench->topic, 0, NULL, &next, &error), "offsets");
    check(ringlane_topic_delete_records(bench->engine, bench->topic, 0, next, NULL, &error), "delete records");
    struct timespec rest = {1, 0};
    nanosleep(&rest, NULL);
}

// What the calls alone take is measured in bursts: between them the device is waited for.
static void send_single(struct bench *bench) {
    enum { BURST = 20000 };
    double in_calls = 0, records = 0, cpu_before = cpu(), begin = now();
    while (now() - begin < bench->seconds) {
        double start = now();
        for (int at = 0; at < BURST; at++) {
            bench->records[0].user_data = (uint64_t)at;
            check(ringlane_producer_send_async(bench->producer, bench->topic, &bench->records[0], bench->queue, &error),
                  "send");
        }
        in_calls += now() - start;
        records += BURST;
        drain(bench->queue, bench->events, BURST);
    }
    double per_call = in_calls / records * 1e9;
    report("c-send", records, in_calls, cpu() - cpu_before, 1e9 / 100, 100 / per_call);
}

static void send_batch(struct bench *bench) {
    enum { BURST = 40 };
    double in_calls = 0, records = 0, cpu_before = cpu(), begin = now();
    while (now() - begin < bench->seconds) {
        double start = now();
        for (int at = 0; at < BURST; at++) {
            check(ringlane_producer_send_batch_async(bench->producer, bench->topic, bench->records,
                                                     sizeof *bench->records, BATCH, bench->queue, 0, (uint64_t)at,
                                                     &error),
                  "send a batch");
        }
        in_calls += now() - start;
        records += (double)BURST * BATCH;
        drain(bench->queue, bench->events, BURST);
    }
    double per_record = in_calls / records * 1e9;
    report("c-batch", records, in_calls, cpu() - cpu_before, 1e9 / 40, 40 / per_record);
}

static void put(unsigned char *target, uint64_t value, int bytes) {
    for (int at = 0; at < bytes; at++) target[at] = (unsigned char)(value >> (8 * at));
}

static void send_packed(struct bench *bench) {
    enum { BURST = 40, SIZE = 16 + VALUE_BYTES, PADDED = (SIZE + 7) / 8 * 8 };
    unsigned char *packed = calloc(BATCH, PADDED);
    for (int at = 0; at < BATCH; at++) {
        unsigned char *record = packed + at * PADDED;
        put(record, SIZE, 4);
        put(record + 8, (uint64_t)RINGLANE_TIMESTAMP_NOW, 8);
        memset(record + 16, 'v', VALUE_BYTES);
    }
    double in_calls = 0, records = 0, cpu_before = cpu(), begin = now();
    while (now() - begin < bench->seconds) {
        double start = now();
        for (int at = 0; at < BURST; at++) {
            check(ringlane_producer_send_packed(bench->producer, bench->topic, packed, (size_t)BATCH * PADDED, 0,
                                                bench->queue, 0, NULL, &error),
                  "send a buffer");
        }
        in_calls += now() - start;
        records += (double)BURST * BATCH;
        drain(bench->queue, bench->events, BURST);
    }
    double per_record = in_calls / records * 1e9;
    report("c-packed", records, in_calls, cpu() - cpu_before, 1e9 / 40, 40 / per_record);
    free(packed);
}

static void consume(struct bench *bench) {
    for (int sent = 0; sent < RECORDS; sent += BATCH) {
        check(ringlane_producer_send_batch(bench->producer, bench->topic, bench->records, sizeof *bench->records, BATCH,
                                           NULL, 0, &error),
              "send");
    }
    ringlane_consumer *consumer = NULL;
    ringlane_options *options = NULL;
    check(ringlane_options_new(RINGLANE_OPTIONS_CONSUMER, &options, &error), "options");
    check(ringlane_options_set(options, "max_poll_records", "10000", &error), "max_poll_records");
    check(ringlane_options_set(options, "max_poll_bytes", "4194304", &error), "max_poll_bytes");
    check(ringlane_consumer_open(bench->engine, options, &consumer, &error), "consumer");
    ringlane_options_free(options, NULL);
    double records = 0, sum = 0, cpu_before = cpu(), begin = now();
    while (now() - begin < bench->seconds) {
        check(ringlane_consumer_assign(consumer, bench->topic, 0, RINGLANE_START_BEGINNING, 0, &error), "assign");
        for (size_t read = 0; read < RECORDS;) {
            ringlane_records *batch = NULL;
            const ringlane_record_view *views = NULL;
            size_t stride = 0, count = 0;
            check(ringlane_consumer_poll(consumer, 1000, &batch, &error), "poll");
            if (batch == NULL) {
                fprintf(stderr, "bench: only %zu of %d records came back\n", read, RECORDS);
                exit(1);
            }
            check(ringlane_records_view(batch, &views, &stride, &count, &error), "view");
            for (size_t at = 0; at < count; at++) {
                const ringlane_record_view *view = (const ringlane_record_view *)((const char *)views + at * stride);
                sum += (double)view->value.size + view->value.data[0];
            }
            read += count;
            records += (double)count;
            ringlane_records_free(batch, NULL);
        }
    }
    double seconds = now() - begin;
    if (sum != records * (VALUE_BYTES + 'v')) {
        fprintf(stderr, "bench: the values that came back are not those that were sent\n");
        exit(1);
    }
    report("c-consume", records, seconds, cpu() - cpu_before, 20e6, records / seconds / 20e6);
    ringlane_consumer_free(consumer, NULL);
}

int main(int count, char **arguments) {
    if (count < 2) {
        fprintf(stderr, "bench DIRECTORY [SECONDS]: the directory is made, and stays\n");
        return 2;
    }
    static char value[VALUE_BYTES];
    memset(value, 'v', sizeof value);
    struct bench bench = {.seconds = count > 2 ? atof(arguments[2]) : 3};
    bench.events = calloc(EVENTS, sizeof *bench.events);
    bench.records = calloc(BATCH, sizeof *bench.records);
    for (int at = 0; at < BATCH; at++) {
        ringlane_record record = RINGLANE_RECORD_INIT;
        record.value.data = (const uint8_t *)value;
        record.value.size = sizeof value;
        bench.records[at] = record;
    }
    ringlane_options *options = NULL;
    check(ringlane_options_new(RINGLANE_OPTIONS_ENGINE, &options, &error), "options");
    check(ringlane_options_set(options, "lanes", "1", &error), "lanes");
    check(ringlane_options_set(options, "tail_cache_bytes", "134217728", &error), "tail_cache_bytes");
    check(ringlane_options_set(options, "buffer_bytes_max", "67108864", &error), "buffer_bytes_max");
    check(ringlane_engine_open(arguments[1], options, &bench.engine, &error), "open");
    ringlane_options_free(options, NULL);
    check(ringlane_topic_create(bench.engine, "bench", NULL, &bench.topic, &error), "topic");
    check(ringlane_producer_open(bench.engine, NULL, &bench.producer, &error), "producer");
    check(ringlane_queue_new(&bench.queue, &error), "queue");
    send_single(&bench);
    forget(&bench);
    send_batch(&bench);
    forget(&bench);
    send_packed(&bench);
    forget(&bench);
    consume(&bench);
    ringlane_queue_free(bench.queue, NULL);
    ringlane_producer_free(bench.producer, NULL);
    ringlane_topic_free(bench.topic, NULL);
    check(ringlane_engine_close(bench.engine, &error), "close");
    ringlane_engine_free(bench.engine, NULL);
    free(bench.events);
    free(bench.records);
    return 0;
}
