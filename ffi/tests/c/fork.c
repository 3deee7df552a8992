// A process that is forked from one with an engine: it is told so by every call, hangs nowhere, and may open another
// directory. Its parent goes on as if nothing had been.
//
// Always so: a child ends with _exit, and within its alarm. Its status is the number of checks that failed.

#include "calls.h"

// Runs something in a child; what it found wrong counts here.
static void in_child(void (*run)(const world *world), const world *world) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(seconds_max() / 2);
        failures = 0;
        run(world);
        fflush(NULL);
        _exit(failures > 100 ? 100 : failures);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void parent_goes_on(const world *it) {
    uint64_t before = next_offset(it->topic, 0) + next_offset(it->topic, 1);
    send_texts(it->producer, it->topic, 20);
    CHECK(next_offset(it->topic, 0) + next_offset(it->topic, 1) == before + 20);
    OK(ringlane_engine_sync(it->engine, &error));
}

static void make_every_call(const world *w) {
    const ringlane_status expected = RINGLANE_ERROR_FORKED;
    calls_with_options(w, expected);
    calls_with_text(w, expected);
    calls_with_engine(w, expected);
    calls_with_topic(w, expected);
    calls_with_producer(w, expected);
    calls_with_queue(w, expected);
    calls_with_consumer(w, expected);
    calls_with_member(w, expected);
    calls_with_records(w, expected);
    calls_with_transaction(w, expected);
    calls_that_free(w, expected);
    CHECK(strcmp(ringlane_status_name(expected), "forked") == 0);
    CHECK(ringlane_abi_version() == RINGLANE_ABI_VERSION && strcmp(ringlane_version(), "0.1.0") == 0);
}

static void a_child_is_told_by_every_call(void) {
    world it = make_world("main");
    in_child(make_every_call, &it);
    parent_goes_on(&it);
    CHECK(ringlane_member_ack_all(it.member, it.records, &error) == RINGLANE_OK);
    OK(ringlane_transaction_commit(it.transaction, &error));
    end_world(&it);
}

static void use_another_directory(const world *parents) {
    world own = make_world("of the child");
    send_texts(own.producer, own.topic, 20);
    ringlane_record record = record_of("async");
    OK(ringlane_producer_send_async(own.producer, own.topic, &record, own.queue, &error));
    CHECK(next_event(own.queue).status == RINGLANE_OK);
    // That of the parent is locked.
    ringlane_engine *engine = NULL;
    ringlane_options *options = engine_options();
    FAILS(ringlane_engine_open(path_of("main"), options, &engine, &error), RINGLANE_ERROR_LOCKED);
    OK(ringlane_options_free(options, &error));
    FAILS(ringlane_producer_flush(parents->producer, &error), RINGLANE_ERROR_FORKED);
    end_world(&own);
}

static void a_child_may_open_another_directory(void) {
    world it = make_world("main");
    in_child(use_another_directory, &it);
    parent_goes_on(&it);
    // And the parent may open it when the child is gone.
    ringlane_engine *engine = open_engine("of the child");
    ringlane_topic *topic = NULL;
    OK(ringlane_topic_open(engine, "t", &topic, &error));
    CHECK(next_offset(topic, 0) + next_offset(topic, 1) == 22);
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
    end_world(&it);
}

static void ask_grandchild(const world *it) {
    in_child(make_every_call, it);
    world own = make_world("of the child");
    in_child(make_every_call, &own);
    end_world(&own);
}

static void a_child_of_a_child_is_told_too(void) {
    world it = make_world("main");
    in_child(ask_grandchild, &it);
    parent_goes_on(&it);
    end_world(&it);
}

typedef struct busy {
    world *world;
    atomic_bool is_over;
} busy;

static void *keep_busy(void *given) {
    busy *it = given;
    for (int turn = 0; !it->is_over; turn++) {
        ringlane_record record = record_of("busy");
        ringlane_event events[16];
        size_t count = 0;
        CHECK(ringlane_producer_send_async(it->world->producer, it->world->topic, &record, it->world->queue, NULL) ==
              RINGLANE_OK);
        CHECK(ringlane_queue_drain(it->world->queue, events, sizeof *events, 16, 0, &count, NULL) == RINGLANE_OK);
        ringlane_text *text = NULL;
        ringlane_options *options = NULL;
        CHECK(ringlane_options_new(RINGLANE_OPTIONS_TOPIC, &options, NULL) == RINGLANE_OK);
        CHECK(ringlane_options_set(options, "partitions", "2", NULL) == RINGLANE_OK);
        CHECK(ringlane_engine_stats(it->world->engine, &text, NULL) == RINGLANE_OK);
        CHECK(ringlane_text_free(text, NULL) == RINGLANE_OK);
        CHECK(ringlane_options_free(options, NULL) == RINGLANE_OK);
        // The cores are for the children too.
        sleep_ms(0);
    }
    return NULL;
}

static void try_some(const world *it) {
    FAILS(ringlane_producer_flush(it->producer, &error), RINGLANE_ERROR_FORKED);
    FAILS(ringlane_queue_close(it->queue, &error), RINGLANE_ERROR_FORKED);
    FAILS(ringlane_engine_close(it->engine, &error), RINGLANE_ERROR_FORKED);
    FAILS(ringlane_engine_free(it->engine, &error), RINGLANE_ERROR_FORKED);
    FAILS(ringlane_consumer_free(it->consumer, &error), RINGLANE_ERROR_FORKED);
    FAILS(ringlane_queue_free(it->queue, &error), RINGLANE_ERROR_FORKED);
    ringlane_queue *queue = make_queue();
    ringlane_event event;
    size_t count = 0;
    OK(ringlane_queue_drain(queue, &event, sizeof event, 1, 1, &count, &error));
    OK(ringlane_queue_free(queue, &error));
    end_engine(open_engine("of the child"));
}

// Whatever the parent's threads are at, nothing that a child needs is locked.
static void forks_in_the_middle_of_everything_hang_nowhere(void) {
    world it = make_world("main");
    busy busy = { .world = &it };
    pthread_t threads[2];
    for (int at = 0; at < 2; at++) {
        CHECK(pthread_create(&threads[at], NULL, keep_busy, &busy) == 0);
    }
    for (int turn = 0; turn < 10; turn++) {
        in_child(try_some, &it);
        remove_all(path_of("of the child"));
    }
    busy.is_over = true;
    for (int at = 0; at < 2; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }
    OK(ringlane_producer_flush(it.producer, &error));
    parent_goes_on(&it);
    end_world(&it);
}

// The child's own way out, with all handlers of exit: it hangs nowhere, and flushes nothing of the parent's.
static void a_child_may_exit_as_any_process(void) {
    world it = make_world("main");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(seconds_max() / 2);
        exit(7);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    parent_goes_on(&it);
    end_world(&it);
}

typedef struct kept {
    ringlane_producer *producer;
    ringlane_topic *topic;
    ringlane_queue *queue;
} kept;

static void *free_kept(void *given) {
    kept *it = given;
    CHECK(ringlane_producer_free(it->producer, NULL) == RINGLANE_OK);
    CHECK(ringlane_topic_free(it->topic, NULL) == RINGLANE_OK);
    CHECK(ringlane_queue_free(it->queue, NULL) == RINGLANE_OK);
    return NULL;
}

// A thread keeps what it sent with last, also when another one has freed that. A child has it until it ends, and it is its
// parent's.
static void what_a_thread_kept_of_its_parent_is_left_alone(void) {
    world it = make_world("main");
    busy busy = { .world = &it };
    pthread_t threads[2], other;
    for (int at = 0; at < 2; at++) {
        CHECK(pthread_create(&threads[at], NULL, keep_busy, &busy) == 0);
    }
    for (int turn = 0; turn < 10; turn++) {
        kept kept = { make_producer(it.engine, NULL), NULL, make_queue() };
        OK(ringlane_topic_open(it.engine, "t", &kept.topic, &error));
        ringlane_record record = record_of("kept");
        OK(ringlane_producer_send_async(kept.producer, kept.topic, &record, kept.queue, &error));
        CHECK(next_event(kept.queue).status == RINGLANE_OK);
        CHECK(pthread_create(&other, NULL, free_kept, &kept) == 0 && pthread_join(other, NULL) == 0);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            signal(SIGALRM, SIG_DFL);
            alarm(seconds_max() / 2);
            failures = 0;
            FAILS(ringlane_producer_send_async(it.producer, it.topic, &record, it.queue, &error), RINGLANE_ERROR_FORKED);
            FAILS(ringlane_producer_send_async(kept.producer, kept.topic, &record, kept.queue, &error),
                  RINGLANE_ERROR_DEAD_HANDLE);
            exit(failures == 0 ? 7 : 8);
        }
        int status = -1;
        CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
    busy.is_over = true;
    for (int at = 0; at < 2; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }
    OK(ringlane_producer_flush(it.producer, &error));
    parent_goes_on(&it);
    end_world(&it);
}

MAIN(TEST(a_child_is_told_by_every_call),
     TEST(a_child_may_open_another_directory),
     TEST(a_child_of_a_child_is_told_too),
     TEST(forks_in_the_middle_of_everything_hang_nowhere),
     TEST(a_child_may_exit_as_any_process),
     TEST(what_a_thread_kept_of_its_parent_is_left_alone))
