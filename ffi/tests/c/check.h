// A frame for tests in C, and what most of them need.
//
// Always so:
// - A test is a function without arguments. All tests of a program run in one process, one after the other.
// - Each test has a directory of its own, `directory`, on the disk that TMPDIR names, and it is gone afterwards.
// - A check that fails is told with its place and counted; the test goes on. Handles that are NULL because of it are
//   refused by the library, so nothing crashes of it.
// - A test that hangs is ended, and so is the program: that is a failure.
//
// RINGLANE_TEST_BACKEND: the engine's option `backend`. RINGLANE_TEST_SECONDS: how long a test may take; default 60.

#ifndef RINGLANE_CHECK_H
#define RINGLANE_CHECK_H

// For mkdtemp, nftw and pthread_timedjoin_np: this file comes first.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "ringlane.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// ----- the frame -----

typedef struct test {
    const char *name;
    void (*run)(void);
} test;

#define TEST(name) { #name, name }

// The directory of the test that runs.
static char directory[512];
static const char *test_name = "";
static atomic_int failures;
// For calls on the main thread; other threads have their own.
static ringlane_error error;

#define CHECK(condition) check_that((condition), __FILE__, __LINE__, #condition)
// A call that is to succeed, or to fail in a certain way.
#define OK(call) check_status((call), RINGLANE_OK, __FILE__, __LINE__, #call)
#define FAILS(call, expected) check_status((call), (expected), __FILE__, __LINE__, #call)

static inline bool check_that(bool condition, const char *file, int line, const char *text) {
    if (!condition) {
        failures += 1;
        fprintf(stderr, "%s:%d: %s: %s\n", file, line, test_name, text);
    }
    return condition;
}

static inline bool check_status(ringlane_status got, ringlane_status expected, const char *file, int line,
                                const char *text) {
    if (got == expected) {
        return true;
    }
    failures += 1;
    fprintf(stderr, "%s:%d: %s: %s\n    got %s, expected %s\n", file, line, test_name, text,
            ringlane_status_name(got), ringlane_status_name(expected));
    if (got == error.status) {
        fprintf(stderr, "    %s\n", error.message);
    }
    return false;
}

static inline int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static inline void remove_all(const char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void make_directory(void) {
    const char *parent = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/ringlane-c.XXXXXX", parent != NULL ? parent : "/tmp");
    if (mkdtemp(directory) == NULL) {
        perror(directory);
        exit(2);
    }
}

static inline void test_hangs(int number) {
    (void)number;
    static const char text[] = ": it hangs\n"
                               "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
    // Nothing else may be called in the handler of a signal.
    if (write(2, test_name, strlen(test_name)) < 0 || write(1, text, sizeof text - 1) < 0) {
        _exit(4);
    }
    _exit(3);
}

static inline unsigned seconds_max(void) {
    const char *seconds = getenv("RINGLANE_TEST_SECONDS");
    return seconds != NULL ? (unsigned)atoi(seconds) : 60;
}

// Runs the tests whose names hold argv[1], or all.
static inline int run_tests(int argc, char **argv, const test *tests, size_t count) {
    const char *filter = argc > 1 ? argv[1] : "";
    int passed = 0, failed = 0, left_out = 0;
    signal(SIGALRM, test_hangs);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t at = 0; at < count; at++) {
        if (strstr(tests[at].name, filter) == NULL) {
            left_out += 1;
            continue;
        }
        int before = failures;
        test_name = tests[at].name;
        memset(&error, 0, sizeof error);
        make_directory();
        alarm(seconds_max());
        tests[at].run();
        alarm(0);
        remove_all(directory);
        bool is_well = failures == before;
        is_well ? passed++ : failed++;
        printf("test %s ... %s\n", test_name, is_well ? "ok" : "FAILED");
    }
    printf("test result: %s. %d passed; %d failed; 0 ignored; 0 measured; %d filtered out\n", failed == 0 ? "ok" : "FAILED",
           passed, failed, left_out);
    return failed == 0 ? 0 : 1;
}

#define MAIN(...)                                                                                                      \
    int main(int argc, char **argv) {                                                                                  \
        static const test tests[] = { __VA_ARGS__ };                                                                   \
        return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);                                             \
    }

// ----- time -----

static inline int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline int64_t wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void sleep_ms(int64_t ms) {
    struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
    nanosleep(&time, NULL);
}

// ----- bytes and texts -----

static inline ringlane_bytes bytes_of(const char *text) {
    return (ringlane_bytes){ (const uint8_t *)text, strlen(text) };
}

static inline bool is_text(ringlane_bytes bytes, const char *text) {
    return bytes.data != NULL && bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

// What a call gave as JSON: it begins as it should, ends, and holds a text. Frees it.
#define CHECK_JSON(text, first, part) check_json((text), (first), (part), __FILE__, __LINE__)

static inline bool check_json(ringlane_text *text, char first, const char *part, const char *file, int line) {
    const char *data = "";
    size_t size = 0;
    bool is_well = check_status(ringlane_text_get(text, &data, &size, &error), RINGLANE_OK, file, line, "text_get");
    if (is_well && (size != strlen(data) || data[0] != first || strstr(data, part) == NULL)) {
        failures += 1;
        is_well = false;
        fprintf(stderr, "%s:%d: %s: no `%s` in %s\n", file, line, test_name, part, data);
    }
    check_status(ringlane_text_free(text, &error), RINGLANE_OK, file, line, "text_free");
    return is_well;
}

// ----- what most tests make -----

// Options with keys and values behind each other, and NULL at the end.
static inline ringlane_options *options_of(int32_t kind, ...) {
    ringlane_options *options = NULL;
    OK(ringlane_options_new(kind, &options, &error));
    va_list arguments;
    va_start(arguments, kind);
    for (const char *key; (key = va_arg(arguments, const char *)) != NULL;) {
        OK(ringlane_options_set(options, key, va_arg(arguments, const char *), &error));
    }
    va_end(arguments);
    return options;
}

// Small, so that tests are fast: one lane, and small segments.
static inline ringlane_options *engine_options(void) {
    ringlane_options *options = options_of(RINGLANE_OPTIONS_ENGINE, "lanes", "1", "segment_bytes_max", "4194304", NULL);
    const char *backend = getenv("RINGLANE_TEST_BACKEND");
    if (backend != NULL && backend[0] != 0) {
        OK(ringlane_options_set(options, "backend", backend, &error));
    }
    return options;
}

static inline const char *path_of(const char *name) {
    static _Thread_local char path[600];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static inline ringlane_engine *open_engine(const char *name) {
    ringlane_engine *engine = NULL;
    ringlane_options *options = engine_options();
    OK(ringlane_engine_open(path_of(name), options, &engine, &error));
    OK(ringlane_options_free(options, &error));
    return engine;
}

static inline void end_engine(ringlane_engine *engine) {
    OK(ringlane_engine_close(engine, &error));
    OK(ringlane_engine_free(engine, &error));
}

static inline ringlane_topic *make_topic(ringlane_engine *engine, const char *name, const char *partitions) {
    ringlane_topic *topic = NULL;
    ringlane_options *options = options_of(RINGLANE_OPTIONS_TOPIC, "partitions", partitions, NULL);
    OK(ringlane_topic_create(engine, name, options, &topic, &error));
    OK(ringlane_options_free(options, &error));
    return topic;
}

static inline ringlane_producer *make_producer(ringlane_engine *engine, const char *name) {
    ringlane_producer *producer = NULL;
    ringlane_options *options = NULL;
    if (name != NULL) {
        options = options_of(RINGLANE_OPTIONS_PRODUCER, "name", name, NULL);
    }
    OK(ringlane_producer_open(engine, options, &producer, &error));
    OK(ringlane_options_free(options, &error));
    return producer;
}

static inline ringlane_queue *make_queue(void) {
    ringlane_queue *queue = NULL;
    OK(ringlane_queue_new(&queue, &error));
    return queue;
}

// A consumer that reads all of a topic from its beginning.
static inline ringlane_consumer *make_consumer(ringlane_engine *engine, ringlane_topic *topic) {
    ringlane_consumer *consumer = NULL;
    OK(ringlane_consumer_open(engine, NULL, &consumer, &error));
    OK(ringlane_consumer_assign(consumer, topic, RINGLANE_ANY_PARTITION, RINGLANE_START_BEGINNING, 0, &error));
    return consumer;
}

static inline ringlane_record record_of(const char *value) {
    ringlane_record record = RINGLANE_RECORD_INIT;
    record.value = bytes_of(value);
    return record;
}

static inline ringlane_receipt send_text(ringlane_producer *producer, ringlane_topic *topic, const char *value) {
    ringlane_record record = record_of(value);
    ringlane_receipt receipt = { 0 };
    OK(ringlane_producer_send(producer, topic, &record, &receipt, &error));
    return receipt;
}

static inline void send_texts(ringlane_producer *producer, ringlane_topic *topic, int count) {
    for (int at = 0; at < count; at++) {
        char value[16];
        snprintf(value, sizeof value, "%d", at);
        send_text(producer, topic, value);
    }
}

// The views of a batch; NULL is a batch of none.
typedef struct batch {
    ringlane_records *records;
    const ringlane_record_view *views;
    size_t stride;
    size_t count;
} batch;

static inline batch views_of(ringlane_records *records) {
    batch batch = { records, NULL, 0, 0 };
    if (records != NULL) {
        OK(ringlane_records_view(records, &batch.views, &batch.stride, &batch.count, &error));
    }
    return batch;
}

static inline const ringlane_record_view *view_at(const batch *batch, size_t at) {
    return (const ringlane_record_view *)(const void *)((const char *)batch->views + at * batch->stride);
}

static inline batch poll_consumer(ringlane_consumer *consumer, int64_t timeout_ms) {
    ringlane_records *records = NULL;
    OK(ringlane_consumer_poll(consumer, timeout_ms, &records, &error));
    return views_of(records);
}

static inline batch poll_member(ringlane_member *member, int64_t timeout_ms) {
    ringlane_records *records = NULL;
    OK(ringlane_member_poll(member, timeout_ms, &records, &error));
    return views_of(records);
}

static inline void end_batch(batch *batch) {
    OK(ringlane_records_free(batch->records, &error));
    *batch = (struct batch){ NULL, NULL, 0, 0 };
}

// How many records a topic's partition has.
static inline uint64_t next_offset(ringlane_topic *topic, uint32_t partition) {
    uint64_t next = UINT64_MAX;
    OK(ringlane_topic_offsets(topic, partition, NULL, &next, &error));
    return next;
}

// One event within ten seconds; its kind is 0 if none came.
static inline ringlane_event next_event(ringlane_queue *queue) {
    ringlane_event event = { 0 };
    size_t count = 0;
    OK(ringlane_queue_drain(queue, &event, sizeof event, 1, 10000, &count, &error));
    CHECK(count == 1);
    return event;
}

// Whether a queue's descriptor is readable within a time.
static inline bool is_readable(ringlane_queue *queue, int timeout_ms) {
    int32_t fd = -1;
    OK(ringlane_queue_fd(queue, &fd, &error));
    struct pollfd wanted = { fd, POLLIN, 0 };
    return poll(&wanted, 1, timeout_ms) == 1 && (wanted.revents & POLLIN) != 0;
}

#endif
