// A process that ends without closing anything: it ends promptly, and what was acknowledged is there when the directory is
// opened again.
//
// Always so: each of these processes is this program once more, with the way in which it is to end as its argument.

#include "check.h"

#include <sys/mman.h>

// What a child has been told is there, for its parent to compare: in memory that both have.
typedef struct told {
    atomic_uint_fast64_t receipts;
    atomic_uint_fast64_t events;
} told;

typedef struct sending {
    ringlane_engine *engine;
    ringlane_topic *topic;
    ringlane_producer *producer;
    ringlane_queue *queue;
    told *told;
} sending;

static void *send_for_ever(void *given) {
    sending *it = given;
    ringlane_record record = record_of("for ever");
    while (ringlane_producer_send(it->producer, it->topic, &record, NULL, NULL) == RINGLANE_OK) {
        it->told->receipts += 1;
    }
    return NULL;
}

static void *send_async_for_ever(void *given) {
    sending *it = given;
    ringlane_record record = record_of("for ever");
    while (ringlane_producer_send_async(it->producer, it->topic, &record, it->queue, NULL) == RINGLANE_OK) {
        ringlane_event events[64];
        size_t count = 0;
        ringlane_queue_drain(it->queue, events, sizeof *events, 64, 0, &count, NULL);
        for (size_t at = 0; at < count; at++) {
            it->told->events += events[at].status == RINGLANE_OK;
        }
    }
    return NULL;
}

static void *poll_for_ever(void *given) {
    sending *it = given;
    ringlane_consumer *consumer = make_consumer(it->engine, it->topic);
    for (;;) {
        ringlane_records *records = NULL;
        if (ringlane_consumer_poll(consumer, -1, &records, NULL) != RINGLANE_OK) {
            return NULL;
        }
        ringlane_records_free(records, NULL);
    }
}

static sending begin_sending(told *told) {
    static sending it;
    it.told = told;
    it.engine = open_engine("main");
    it.topic = make_topic(it.engine, "t", "1");
    it.producer = make_producer(it.engine, NULL);
    it.queue = make_queue();
    return it;
}

// How a child ends.
typedef enum way { BY_EXIT, BY_RETURN, BY_UNDERSCORE_EXIT, BY_SIGNAL, WITH_ATEXIT } way;

static void say_nothing(void) {
    // A handler of exit that calls the library while threads are sending.
    ringlane_queue *queue = NULL;
    if (ringlane_queue_new(&queue, NULL) == RINGLANE_OK) {
        ringlane_queue_free(queue, NULL);
    }
}

static int child_main(told *told, way way) {
    static sending it;
    it = begin_sending(told);
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, send_for_ever, &it) | pthread_create(&thread, NULL, send_for_ever, &it) |
                 pthread_create(&thread, NULL, send_async_for_ever, &it) | pthread_create(&thread, NULL, poll_for_ever, &it);
    while (told->receipts < 50 || told->events < 50) {
        sleep_ms(1);
    }
    if (failures > 0 || failed != 0) {
        _exit(9);
    }
    switch (way) {
    case BY_EXIT:
        exit(7);
    case WITH_ATEXIT:
        atexit(say_nothing);
        exit(7);
    case BY_UNDERSCORE_EXIT:
        _exit(7);
    case BY_SIGNAL:
        raise(SIGKILL);
        return 1;
    default:
        return 7;
    }
}

// The way, and the file of `told`, of a child that is this program again.
static const char *own_program;

static void ends_and_is_whole(way way) {
    char number[2] = { (char)('0' + way), 0 };
    char file[600];
    snprintf(file, sizeof file, "%s", path_of("told"));
    FILE *made = fopen(file, "w");
    CHECK(made != NULL && ftruncate(fileno(made), sizeof(told)) == 0 && fclose(made) == 0);
    made = fopen(file, "r+");
    told *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(made), 0);
    CHECK(told != MAP_FAILED && fclose(made) == 0);
    fflush(NULL);
    int64_t begin = now_ms();
    pid_t child = fork();
    if (child == 0) {
        execl(own_program, own_program, "--child", number, file, directory, (char *)NULL);
        _exit(8);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(way == BY_SIGNAL ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                           : WIFEXITED(status) && WEXITSTATUS(status) == 7);
    CHECK(now_ms() - begin < 15000);
    ringlane_engine *engine = open_engine("main");
    ringlane_topic *topic = NULL;
    OK(ringlane_topic_open(engine, "t", &topic, &error));
    CHECK(next_offset(topic, 0) >= told->receipts + told->events);
    ringlane_consumer *consumer = make_consumer(engine, topic);
    uint64_t seen = 0;
    for (batch batch; batch = poll_consumer(consumer, 0), batch.count > 0; end_batch(&batch)) {
        for (size_t at = 0; at < batch.count; at++, seen++) {
            CHECK(view_at(&batch, at)->offset == seen && is_text(view_at(&batch, at)->value, "for ever"));
        }
    }
    CHECK(seen == next_offset(topic, 0));
    ringlane_text *text = NULL;
    OK(ringlane_engine_recovery(engine, &text, &error));
    CHECK_JSON(text, '{', "\"recovery\"");
    OK(ringlane_consumer_free(consumer, &error));
    OK(ringlane_topic_free(topic, &error));
    end_engine(engine);
    munmap(told, sizeof *told);
}

static void a_process_may_exit_while_its_threads_send(void) { ends_and_is_whole(BY_EXIT); }
static void a_process_may_return_from_main_while_its_threads_send(void) { ends_and_is_whole(BY_RETURN); }
static void a_process_may_exit_at_once_while_its_threads_send(void) { ends_and_is_whole(BY_UNDERSCORE_EXIT); }
static void a_process_may_be_killed_while_its_threads_send(void) { ends_and_is_whole(BY_SIGNAL); }
static void a_handler_of_exit_may_call_the_library(void) { ends_and_is_whole(WITH_ATEXIT); }

int main(int argc, char **argv) {
    static const test tests[] = {
        TEST(a_process_may_exit_while_its_threads_send),
        TEST(a_process_may_return_from_main_while_its_threads_send),
        TEST(a_process_may_exit_at_once_while_its_threads_send),
        TEST(a_process_may_be_killed_while_its_threads_send),
        TEST(a_handler_of_exit_may_call_the_library),
    };
    own_program = argv[0];
    if (argc == 5 && strcmp(argv[1], "--child") == 0) {
        alarm(seconds_max() / 2);
        snprintf(directory, sizeof directory, "%s", argv[4]);
        FILE *file = fopen(argv[3], "r+");
        told *told = file == NULL ? MAP_FAILED
                                  : mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
        return told == MAP_FAILED ? 6 : child_main(told, (way)(argv[2][0] - '0'));
    }
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
