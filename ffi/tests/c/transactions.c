// Transactions in every form, and the checkers that are asked how they ended.

#include "check.h"

typedef struct trading {
    ringlane_engine *engine;
    ringlane_topic *topic;
    ringlane_producer *producer;
} trading;

static trading begin_trading(void) {
    trading it = { 0 };
    it.engine = open_engine("main");
    it.topic = make_topic(it.engine, "t", "2");
    it.producer = make_producer(it.engine, NULL);
    return it;
}

static void end_trading(trading *it) {
    OK(ringlane_producer_free(it->producer, &error));
    OK(ringlane_topic_free(it->topic, &error));
    end_engine(it->engine);
}

static ringlane_transaction *begin(ringlane_producer *producer, const char *id, const char *checker) {
    ringlane_options *options = options_of(RINGLANE_OPTIONS_TRANSACTION, NULL);
    if (id != NULL) {
        OK(ringlane_options_set(options, "id", id, &error));
    }
    if (checker != NULL) {
        OK(ringlane_options_set(options, "checker", checker, &error));
    }
    ringlane_transaction *transaction = NULL;
    OK(ringlane_transaction_begin(producer, options, &transaction, &error));
    OK(ringlane_options_free(options, &error));
    return transaction;
}

static void add(ringlane_transaction *transaction, ringlane_topic *topic, const char *value) {
    ringlane_record record = record_of(value);
    OK(ringlane_transaction_send(transaction, topic, &record, &error));
}

static int32_t state_of(ringlane_transaction *transaction) {
    int32_t state = 0;
    OK(ringlane_transaction_state(transaction, &state, &error));
    return state;
}

static uint64_t visible(ringlane_topic *topic) {
    return next_offset(topic, 0) + next_offset(topic, 1);
}

static void a_transaction_is_committed_at_once(void) {
    trading it = begin_trading();
    ringlane_transaction *transaction = begin(it.producer, NULL, NULL);
    const char *id = NULL;
    OK(ringlane_transaction_id(transaction, &id, &error));
    CHECK(id != NULL && strlen(id) > 0 && strlen(id) < RINGLANE_TRANSACTION_ID_BYTES);
    CHECK(state_of(transaction) == RINGLANE_TRANSACTION_OPEN);
    for (int at = 0; at < 5; at++) {
        add(transaction, it.topic, "value");
    }
    CHECK(visible(it.topic) == 0);
    ringlane_receipt receipts[6];
    size_t count = 99;
    OK(ringlane_transaction_commit(transaction, &error));
    CHECK(state_of(transaction) == RINGLANE_TRANSACTION_COMMITTED);
    memset(receipts, 0x5a, sizeof receipts);
    OK(ringlane_transaction_receipts(transaction, receipts, sizeof *receipts, 6, &count, &error));
    CHECK(count == 5 && visible(it.topic) == 5 && receipts[5].partition == 0x5a5a5a5a);
    for (size_t at = 0; at < 5; at++) {
        CHECK((receipts[at].flags & RINGLANE_RECEIPT_OFFSET) != 0 && receipts[at].partition < 2);
    }
    // There are more than there is room for; and an array may be none.
    memset(receipts, 0x5a, sizeof receipts);
    OK(ringlane_transaction_receipts(transaction, receipts, sizeof *receipts, 2, &count, &error));
    CHECK(count == 5 && receipts[1].partition < 2 && receipts[2].partition == 0x5a5a5a5a);
    OK(ringlane_transaction_receipts(transaction, NULL, 0, 0, &count, &error));
    CHECK(count == 5);
    // Again changes nothing; otherwise is a conflict; more is too late.
    OK(ringlane_transaction_commit(transaction, &error));
    FAILS(ringlane_transaction_roll_back(transaction, &error), RINGLANE_ERROR_TRANSACTION_CONFLICT);
    ringlane_record record = record_of("late");
    FAILS(ringlane_transaction_send(transaction, it.topic, &record, &error), RINGLANE_ERROR_WRONG_TRANSACTION_STATE);
    CHECK((error.flags & RINGLANE_ABORTED) == 0);
    FAILS(ringlane_transaction_prepare(transaction, &error), RINGLANE_ERROR_WRONG_TRANSACTION_STATE);
    CHECK(visible(it.topic) == 5);
    OK(ringlane_transaction_free(transaction, &error));
    end_trading(&it);
}

static void a_transaction_is_rolled_back(void) {
    trading it = begin_trading();
    ringlane_transaction *transaction = begin(it.producer, "mine", NULL);
    add(transaction, it.topic, "never");
    OK(ringlane_transaction_roll_back(transaction, &error));
    CHECK(state_of(transaction) == RINGLANE_TRANSACTION_ROLLED_BACK);
    OK(ringlane_transaction_roll_back(transaction, &error));
    FAILS(ringlane_transaction_commit(transaction, &error), RINGLANE_ERROR_TRANSACTION_CONFLICT);
    OK(ringlane_transaction_free(transaction, &error));
    // One that is freed is rolled back too, and its id can be used again.
    transaction = begin(it.producer, "mine", NULL);
    add(transaction, it.topic, "never");
    ringlane_transaction *second = (void *)(uintptr_t)0x5a;
    ringlane_options *options = options_of(RINGLANE_OPTIONS_TRANSACTION, "id", "mine", NULL);
    FAILS(ringlane_transaction_begin(it.producer, options, &second, &error), RINGLANE_ERROR_TRANSACTION_EXISTS);
    CHECK(second == (void *)(uintptr_t)0x5a);
    OK(ringlane_options_free(options, &error));
    OK(ringlane_transaction_free(transaction, &error));
    transaction = begin(it.producer, "mine", NULL);
    OK(ringlane_transaction_commit(transaction, &error));
    OK(ringlane_transaction_free(transaction, &error));
    CHECK(visible(it.topic) == 0);
    end_trading(&it);
}

static void a_record_that_is_refused_leaves_the_others_in(void) {
    trading it = begin_trading();
    ringlane_transaction *transaction = begin(it.producer, NULL, NULL);
    add(transaction, it.topic, "good");
    ringlane_record record = record_of("bad");
    record.flags = RINGLANE_RECORD_PARTITION, record.partition = 2;
    FAILS(ringlane_transaction_send(transaction, it.topic, &record, &error), RINGLANE_ERROR_INVALID_PARTITION);
    CHECK((error.flags & RINGLANE_ABORTED) == 0);
    record = record_of("delayed");
    record.flags = RINGLANE_RECORD_VISIBLE_AFTER, record.visible_ms = 10;
    FAILS(ringlane_transaction_send(transaction, it.topic, &record, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    record = record_of("numbered");
    record.flags = RINGLANE_RECORD_SEQUENCE;
    FAILS(ringlane_transaction_send(transaction, it.topic, &record, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    add(transaction, it.topic, "good");
    OK(ringlane_transaction_commit(transaction, &error));
    CHECK(visible(it.topic) == 2);
    OK(ringlane_transaction_free(transaction, &error));
    end_trading(&it);
}

static void a_prepared_transaction_is_decided_by_its_id(void) {
    trading it = begin_trading();
    ringlane_transaction *first = begin(it.producer, "order 1", NULL), *second = begin(it.producer, "order 2", NULL);
    ringlane_transaction *third = begin(it.producer, "order 3", NULL);
    add(first, it.topic, "one"), add(second, it.topic, "two"), add(third, it.topic, "three");
    FAILS(ringlane_transaction_decide(it.engine, "order 1", 1, &error), RINGLANE_ERROR_WRONG_TRANSACTION_STATE);
    OK(ringlane_transaction_prepare(first, &error));
    OK(ringlane_transaction_prepare(second, &error));
    OK(ringlane_transaction_prepare(third, &error));
    CHECK(state_of(first) == RINGLANE_TRANSACTION_PREPARED && visible(it.topic) == 0);
    ringlane_text *text = NULL;
    OK(ringlane_transaction_describe(it.engine, "order 1", 0, &text, &error));
    CHECK_JSON(text, '{', "\"order 1\"");
    OK(ringlane_transaction_describe(it.engine, NULL, 0, &text, &error));
    CHECK_JSON(text, '[', "\"order 2\"");
    FAILS(ringlane_transaction_describe(it.engine, "order 4", 0, &text, &error), RINGLANE_ERROR_UNKNOWN_TRANSACTION);
    FAILS(ringlane_transaction_decide(it.engine, "order 4", 1, &error), RINGLANE_ERROR_UNKNOWN_TRANSACTION);
    // Over a restart.
    OK(ringlane_transaction_free(first, &error));
    OK(ringlane_transaction_free(second, &error));
    OK(ringlane_transaction_free(third, &error));
    end_trading(&it);
    it.engine = open_engine("main");
    OK(ringlane_topic_open(it.engine, "t", &it.topic, &error));
    it.producer = make_producer(it.engine, NULL);
    CHECK(visible(it.topic) == 0);
    OK(ringlane_transaction_decide(it.engine, "order 1", 1, &error));
    OK(ringlane_transaction_decide(it.engine, "order 1", 7, &error));
    FAILS(ringlane_transaction_decide(it.engine, "order 1", 0, &error), RINGLANE_ERROR_TRANSACTION_CONFLICT);
    OK(ringlane_transaction_decide(it.engine, "order 2", 0, &error));
    FAILS(ringlane_transaction_decide(it.engine, "order 2", 1, &error), RINGLANE_ERROR_TRANSACTION_CONFLICT);
    CHECK(visible(it.topic) == 1);
    OK(ringlane_transaction_describe(it.engine, "order 1", 0, &text, &error));
    CHECK_JSON(text, '{', "ommitted");
    OK(ringlane_transaction_describe(it.engine, NULL, 0, &text, &error));
    CHECK_JSON(text, '[', "\"order 3\"");
    OK(ringlane_transaction_describe(it.engine, NULL, 1, &text, &error));
    CHECK_JSON(text, '[', "\"order 2\"");
    OK(ringlane_transaction_decide(it.engine, "order 3", 0, &error));
    end_trading(&it);
}

static void what_was_decided_by_somebody_else_stands(void) {
    trading it = begin_trading();
    ringlane_transaction *transaction = begin(it.producer, "order", NULL);
    add(transaction, it.topic, "value");
    OK(ringlane_transaction_prepare(transaction, &error));
    OK(ringlane_transaction_decide(it.engine, "order", 0, &error));
    FAILS(ringlane_transaction_commit(transaction, &error), RINGLANE_ERROR_TRANSACTION_CONFLICT);
    OK(ringlane_transaction_free(transaction, &error));
    transaction = begin(it.producer, "other", NULL);
    add(transaction, it.topic, "value");
    OK(ringlane_transaction_prepare(transaction, &error));
    OK(ringlane_transaction_decide(it.engine, "other", 1, &error));
    OK(ringlane_transaction_commit(transaction, &error));
    size_t count = 99;
    ringlane_receipt receipt;
    OK(ringlane_transaction_receipts(transaction, &receipt, sizeof receipt, 1, &count, &error));
    CHECK(count == 0 && visible(it.topic) == 1);
    OK(ringlane_transaction_free(transaction, &error));
    end_trading(&it);
}

static void deliveries_are_acknowledged_with_the_commit(void) {
    trading it = begin_trading();
    ringlane_options *options = options_of(RINGLANE_OPTIONS_GROUP, "kind", "shared", "topic", "t:beginning",
                                           "retry_delay_ms", "1", NULL);
    OK(ringlane_group_create(it.engine, "g", options, &error));
    OK(ringlane_options_free(options, &error));
    ringlane_topic *results = make_topic(it.engine, "results", "1");
    ringlane_member *member = NULL;
    OK(ringlane_member_join(it.engine, "g", NULL, &member, &error));
    send_text(it.producer, it.topic, "one");
    batch batch = poll_member(member, 10000);
    CHECK(batch.count == 1);
    // Rolled back, it comes again.
    ringlane_transaction *transaction = begin(it.producer, NULL, NULL);
    size_t done = 99;
    OK(ringlane_transaction_ack(transaction, member, &batch.views->delivery, batch.stride, batch.count, &done, &error));
    CHECK(done == 1);
    // Until it is decided the transaction has it alone.
    CHECK(ringlane_member_ack(member, &batch.views->delivery, batch.stride, 1, NULL, &error) < 0);
    add(transaction, results, "never");
    OK(ringlane_transaction_roll_back(transaction, &error));
    OK(ringlane_transaction_free(transaction, &error));
    end_batch(&batch);
    batch = poll_member(member, 10000);
    CHECK(batch.count == 1 && view_at(&batch, 0)->delivery_count == 2);
    transaction = begin(it.producer, NULL, NULL);
    ringlane_delivery deliveries[2] = { view_at(&batch, 0)->delivery, { 7, 0, 7, 7 } };
    done = 99;
    FAILS(ringlane_transaction_ack(transaction, member, deliveries, sizeof *deliveries, 2, &done, &error),
          RINGLANE_ERROR_NOT_DELIVERED);
    CHECK(done == 1 && (error.flags & RINGLANE_ABORTED) == 0);
    add(transaction, results, "result");
    OK(ringlane_transaction_commit(transaction, &error));
    OK(ringlane_transaction_free(transaction, &error));
    end_batch(&batch);
    CHECK(next_offset(results, 0) == 1);
    batch = poll_member(member, 50);
    CHECK(batch.records == NULL);
    // A lease that was lost ends the transaction.
    OK(ringlane_member_free(member, &error));
    options = options_of(RINGLANE_OPTIONS_MEMBER, "lease_ms", "50", NULL);
    OK(ringlane_member_join(it.engine, "g", options, &member, &error));
    OK(ringlane_options_free(options, &error));
    send_text(it.producer, it.topic, "two");
    batch = poll_member(member, 10000);
    CHECK(batch.count == 1);
    transaction = begin(it.producer, NULL, NULL);
    sleep_ms(150);
    struct batch again = poll_member(member, 10000);
    FAILS(ringlane_transaction_ack(transaction, member, &batch.views->delivery, batch.stride, 1, &done, &error),
          RINGLANE_ERROR_LEASE_LOST);
    CHECK(done == 0);
    OK(ringlane_transaction_roll_back(transaction, &error));
    OK(ringlane_transaction_free(transaction, &error));
    end_batch(&batch);
    end_batch(&again);
    OK(ringlane_member_free(member, &error));
    OK(ringlane_topic_free(results, &error));
    end_trading(&it);
}

static void a_transaction_that_is_open_for_too_long_is_aborted(void) {
    trading it = begin_trading();
    ringlane_options *options = options_of(RINGLANE_OPTIONS_TRANSACTION, "timeout_ms", "500", NULL);
    ringlane_transaction *transaction = NULL;
    OK(ringlane_transaction_begin(it.producer, options, &transaction, &error));
    OK(ringlane_options_free(options, &error));
    add(transaction, it.topic, "never");
    sleep_ms(700);
    ringlane_record record = record_of("late");
    FAILS(ringlane_transaction_send(transaction, it.topic, &record, &error), RINGLANE_ERROR_TRANSACTION_TIMED_OUT);
    CHECK(error.details[0] == 500);
    CHECK((error.flags & RINGLANE_ABORTED) != 0);
    CHECK(state_of(transaction) == RINGLANE_TRANSACTION_ROLLED_BACK);
    CHECK(ringlane_transaction_commit(transaction, &error) < 0);
    CHECK(visible(it.topic) == 0);
    OK(ringlane_transaction_free(transaction, &error));
    end_trading(&it);
}

static void ids_that_cannot_be_are_refused(void) {
    trading it = begin_trading();
    char large[200];
    memset(large, 'x', sizeof large), large[199] = 0;
    const char *bad[] = { "", large };
    for (int at = 0; at < 2; at++) {
        ringlane_options *options = options_of(RINGLANE_OPTIONS_TRANSACTION, NULL);
        ringlane_transaction *transaction = NULL;
        ringlane_status status = ringlane_options_set(options, "id", bad[at], &error);
        if (status == RINGLANE_OK) {
            status = ringlane_transaction_begin(it.producer, options, &transaction, &error);
        }
        CHECK(status == RINGLANE_ERROR_INVALID_ARGUMENT && transaction == NULL);
        OK(ringlane_options_free(options, &error));
    }
    // The longest one fits a question's description.
    large[128] = 0;
    ringlane_transaction *transaction = begin(it.producer, large, NULL);
    const char *id = NULL;
    OK(ringlane_transaction_id(transaction, &id, &error));
    CHECK(id != NULL && strcmp(id, large) == 0);
    OK(ringlane_transaction_free(transaction, &error));
    end_trading(&it);
}

static ringlane_options *eager(void) {
    return options_of(RINGLANE_OPTIONS_CHECKER, "first_ms", "1", "interval_ms", "20", "checks_max", "5", NULL);
}

// A prepared transaction that nobody holds any more.
static void leave_prepared(trading *it, const char *id, const char *checker) {
    ringlane_transaction *transaction = begin(it->producer, id, checker);
    add(transaction, it->topic, id);
    OK(ringlane_transaction_prepare(transaction, &error));
    OK(ringlane_transaction_free(transaction, &error));
}

static void wait_for(ringlane_topic *topic, uint64_t count) {
    for (int turn = 0; visible(topic) < count && turn < 1000; turn++) {
        sleep_ms(10);
    }
    CHECK(visible(topic) == count);
}

// Waits until a transaction's description has a text in it.
static void wait_until_described(ringlane_engine *engine, const char *id, const char *part) {
    bool is_there = false;
    for (int turn = 0; !is_there && turn < 1000; turn++) {
        ringlane_text *text = NULL;
        const char *data = "";
        OK(ringlane_transaction_describe(engine, id, 0, &text, &error));
        OK(ringlane_text_get(text, &data, NULL, &error));
        is_there = strstr(data, part) != NULL;
        OK(ringlane_text_free(text, &error));
        sleep_ms(is_there ? 0 : 10);
    }
    CHECK(is_there);
}

static void a_checker_is_asked_through_the_queue(void) {
    trading it = begin_trading();
    ringlane_queue *queue = make_queue();
    ringlane_options *options = eager();
    OK(ringlane_checker_register(it.engine, "bank", options, queue, 42, &error));
    leave_prepared(&it, "to commit", "bank");
    ringlane_event event = next_event(queue);
    CHECK(event.kind == RINGLANE_EVENT_CHECK && event.user_data == 42 && event.count != 0 && event.status == 0);
    ringlane_check check;
    memset(&check, 0x5a, sizeof check);
    check.struct_size = sizeof check;
    OK(ringlane_check_describe(queue, event.count, &check, &error));
    CHECK(check.struct_size == sizeof check && strcmp(check.id, "to commit") == 0 && check.records == 1);
    CHECK(check.unknown == 0 && check.prepared_ms > wall_ms() - 60000 && check.prepared_ms <= wall_ms() + 1000);
    // An older header's struct is filled as far as it goes; a newer one's rest is zero.
    struct {
        ringlane_check check;
        uint64_t newer;
    } wide;
    memset(&wide, 0x5a, sizeof wide);
    wide.check.struct_size = 24;
    OK(ringlane_check_describe(queue, event.count, &wide.check, &error));
    CHECK(wide.check.records == 1 && wide.check.id[0] == 0x5a);
    wide.check.struct_size = sizeof wide;
    OK(ringlane_check_describe(queue, event.count, &wide.check, &error));
    CHECK(strcmp(wide.check.id, "to commit") == 0 && wide.newer == 0);
    static const uint32_t none[] = { 0, 7, 12, 65544, UINT32_MAX };
    for (size_t at = 0; at < sizeof none / sizeof *none; at++) {
        check.struct_size = none[at];
        FAILS(ringlane_check_describe(queue, event.count, &check, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    }
    FAILS(ringlane_check_answer(queue, event.count, 4, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    FAILS(ringlane_check_answer(queue, event.count + 1, RINGLANE_CHECK_COMMIT, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    OK(ringlane_check_answer(queue, event.count, RINGLANE_CHECK_COMMIT, &error));
    FAILS(ringlane_check_answer(queue, event.count, RINGLANE_CHECK_COMMIT, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    check.struct_size = sizeof check;
    FAILS(ringlane_check_describe(queue, event.count, &check, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    wait_for(it.topic, 1);
    // Not known yet: it is asked again, and knows how often.
    leave_prepared(&it, "to roll back", "bank");
    for (uint32_t turn = 0; turn < 3; turn++) {
        event = next_event(queue);
        check.struct_size = sizeof check;
        OK(ringlane_check_describe(queue, event.count, &check, &error));
        CHECK(check.unknown == turn && strcmp(check.id, "to roll back") == 0);
        OK(ringlane_check_answer(queue, event.count, turn < 2 ? RINGLANE_CHECK_UNKNOWN : RINGLANE_CHECK_ROLL_BACK, &error));
    }
    wait_until_described(it.engine, "to roll back", "olled");
    FAILS(ringlane_transaction_decide(it.engine, "to roll back", 1, &error), RINGLANE_ERROR_TRANSACTION_CONFLICT);
    CHECK(visible(it.topic) == 1);
    OK(ringlane_checker_unregister(it.engine, "bank", &error));
    OK(ringlane_checker_unregister(it.engine, "bank", &error));
    OK(ringlane_options_free(options, &error));
    OK(ringlane_queue_free(queue, &error));
    end_trading(&it);
}

static void a_checker_is_asked_of_what_an_earlier_process_left(void) {
    trading it = begin_trading();
    leave_prepared(&it, "left", "bank");
    end_trading(&it);
    it.engine = open_engine("main");
    OK(ringlane_topic_open(it.engine, "t", &it.topic, &error));
    it.producer = make_producer(it.engine, NULL);
    ringlane_queue *queue = make_queue();
    // With the options' defaults: what was left is asked at once.
    OK(ringlane_checker_register(it.engine, "bank", NULL, queue, 1, &error));
    ringlane_event event = next_event(queue);
    CHECK(event.kind == RINGLANE_EVENT_CHECK);
    OK(ringlane_check_answer(queue, event.count, RINGLANE_CHECK_COMMIT, &error));
    wait_for(it.topic, 1);
    OK(ringlane_queue_free(queue, &error));
    end_trading(&it);
}

// Nobody answers; and nobody waits for it who should not.
static void a_question_without_an_answer_holds_up_nothing(void) {
    trading it = begin_trading();
    ringlane_options *options = eager();
    ringlane_queue *first = make_queue(), *second = make_queue();
    OK(ringlane_checker_register(it.engine, "bank", options, first, 1, &error));
    leave_prepared(&it, "open", "bank");
    ringlane_event event = next_event(first);
    CHECK(event.kind == RINGLANE_EVENT_CHECK);
    // A checker that takes its place is asked, and the old question is over.
    int64_t start = now_ms();
    OK(ringlane_checker_register(it.engine, "bank", options, second, 2, &error));
    CHECK(now_ms() - start < 5000);
    ringlane_event other = next_event(second);
    CHECK(other.kind == RINGLANE_EVENT_CHECK && other.user_data == 2);
    // Another checker's transactions are asked meanwhile.
    ringlane_queue *third = make_queue();
    OK(ringlane_checker_register(it.engine, "shop", options, third, 3, &error));
    leave_prepared(&it, "other", "shop");
    ringlane_event of_shop = next_event(third);
    CHECK(of_shop.kind == RINGLANE_EVENT_CHECK && of_shop.user_data == 3);
    OK(ringlane_check_answer(third, of_shop.count, RINGLANE_CHECK_COMMIT, &error));
    wait_for(it.topic, 1);
    // To have it asked no more does not wait for an answer.
    start = now_ms();
    OK(ringlane_checker_unregister(it.engine, "bank", &error));
    CHECK(now_ms() - start < 5000);
    // Nor does closing.
    leave_prepared(&it, "at the end", "shop");
    of_shop = next_event(third);
    CHECK(of_shop.kind == RINGLANE_EVENT_CHECK);
    start = now_ms();
    OK(ringlane_engine_close(it.engine, &error));
    CHECK(now_ms() - start < 5000);
    FAILS(ringlane_checker_register(it.engine, "late", NULL, third, 3, &error), RINGLANE_ERROR_CLOSED);
    OK(ringlane_options_free(options, &error));
    OK(ringlane_queue_free(first, &error));
    OK(ringlane_queue_free(second, &error));
    OK(ringlane_queue_free(third, &error));
    end_trading(&it);
}

static void a_queue_that_is_closed_under_a_question_ends_it(void) {
    trading it = begin_trading();
    ringlane_options *options = eager();
    ringlane_queue *queue = make_queue();
    OK(ringlane_checker_register(it.engine, "bank", options, queue, 1, &error));
    leave_prepared(&it, "open", "bank");
    ringlane_event event = next_event(queue);
    OK(ringlane_queue_close(queue, &error));
    FAILS(ringlane_check_answer(queue, event.count, RINGLANE_CHECK_COMMIT, &error), RINGLANE_ERROR_INVALID_ARGUMENT);
    OK(ringlane_queue_free(queue, &error));
    queue = make_queue();
    OK(ringlane_checker_register(it.engine, "bank", options, queue, 2, &error));
    event = next_event(queue);
    CHECK(event.kind == RINGLANE_EVENT_CHECK && event.user_data == 2);
    OK(ringlane_check_answer(queue, event.count, RINGLANE_CHECK_COMMIT, &error));
    wait_for(it.topic, 1);
    OK(ringlane_options_free(options, &error));
    OK(ringlane_queue_free(queue, &error));
    end_trading(&it);
}

typedef struct shared {
    trading *trading;
    ringlane_transaction *transaction;
    atomic_int in_use, others;
} shared;

static void *send_in_it(void *given) {
    shared *it = given;
    for (int turn = 0; turn < 3000; turn++) {
        ringlane_record record = record_of("value");
        ringlane_status status = ringlane_transaction_send(it->transaction, it->trading->topic, &record, NULL);
        it->in_use += status == RINGLANE_ERROR_IN_USE;
        it->others += status == RINGLANE_OK;
        CHECK(status == RINGLANE_OK || status == RINGLANE_ERROR_IN_USE);
    }
    return NULL;
}

static void two_threads_in_one_transaction_are_told(void) {
    trading it = begin_trading();
    shared both = { .trading = &it, .transaction = begin(it.producer, NULL, NULL) };
    pthread_t threads[2];
    for (int at = 0; at < 2; at++) {
        CHECK(pthread_create(&threads[at], NULL, send_in_it, &both) == 0);
    }
    for (int at = 0; at < 2; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }
    OK(ringlane_transaction_commit(both.transaction, &error));
    size_t count = 0;
    OK(ringlane_transaction_receipts(both.transaction, NULL, 0, 0, &count, &error));
    CHECK(count == (size_t)both.others && both.others + both.in_use == 6000 && visible(it.topic) == count);
    OK(ringlane_transaction_free(both.transaction, &error));
    end_trading(&it);
}

static void a_fenced_producer_aborts_its_transaction(void) {
    trading it = begin_trading();
    ringlane_producer *old = make_producer(it.engine, "p"), *newest;
    ringlane_transaction *transaction = begin(old, NULL, NULL);
    add(transaction, it.topic, "never");
    newest = make_producer(it.engine, "p");
    FAILS(ringlane_transaction_commit(transaction, &error), RINGLANE_ERROR_PRODUCER_FENCED);
    CHECK((error.flags & RINGLANE_ABORTED) != 0);
    CHECK(state_of(transaction) == RINGLANE_TRANSACTION_ROLLED_BACK && visible(it.topic) == 0);
    OK(ringlane_transaction_free(transaction, &error));
    OK(ringlane_producer_free(old, &error));
    OK(ringlane_producer_free(newest, &error));
    end_trading(&it);
}

MAIN(TEST(a_transaction_is_committed_at_once),
     TEST(a_transaction_is_rolled_back),
     TEST(a_record_that_is_refused_leaves_the_others_in),
     TEST(a_prepared_transaction_is_decided_by_its_id),
     TEST(what_was_decided_by_somebody_else_stands),
     TEST(deliveries_are_acknowledged_with_the_commit),
     TEST(a_transaction_that_is_open_for_too_long_is_aborted),
     TEST(ids_that_cannot_be_are_refused),
     TEST(a_checker_is_asked_through_the_queue),
     TEST(a_checker_is_asked_of_what_an_earlier_process_left),
     TEST(a_question_without_an_answer_holds_up_nothing),
     TEST(a_queue_that_is_closed_under_a_question_ends_it),
     TEST(two_threads_in_one_transaction_are_told),
     TEST(a_fenced_producer_aborts_its_transaction))
