// Every class and every method of ringlane.hpp: what it gives, how it moves, what it throws, and what wrong use comes to.
//
// Each test has a directory of its own below TMPDIR, removed afterwards. argv[1] chooses tests whose names have it in them.
// The backend is that of RINGLANE_TEST_BACKEND, if it is set.

#include "ringlane.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <thread>

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using ringlane::Bytes;
using ringlane::Delivery;
using ringlane::Engine;
using ringlane::Error;
using ringlane::Event;
using ringlane::EventKind;
using ringlane::Options;
using ringlane::Queue;
using ringlane::Receipt;
using ringlane::Record;
using ringlane::Records;
using ringlane::Start;
using ringlane::Topic;
using ringlane::TransactionState;

namespace {

// Longer than anything takes that comes at all.
constexpr std::chrono::milliseconds LONG = 60s;

struct Test {
    const char* name;
    void (*run)();
};

std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

struct Registration {
    Registration(const char* name, void (*run)()) { tests().push_back(Test{name, run}); }
};

#define TEST(name)                                       \
    void name();                                         \
    const Registration registration_of_##name(#name, name); \
    void name()

struct Failed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

#define CHECK(condition) check(static_cast<bool>(condition), #condition, __LINE__)
#define CHECK_EQUAL(left, right) check_equal((left), (right), #left " == " #right, __LINE__)
#define CHECK_THROWS(wanted, expression) check_throws((wanted), [&] { static_cast<void>(expression); }, #expression, __LINE__)

void check(bool is_true, const char* text, int line) {
    if (!is_true) {
        throw Failed("line " + std::to_string(line) + ": not so: " + text);
    }
}

template <typename Left, typename Right>
void check_equal(const Left& left, const Right& right, const char* text, int line) {
    if (!(left == right)) {
        std::ostringstream message;
        message << "line " << line << ": not so: " << text << " (" << left << " and " << right << ")";
        throw Failed(message.str());
    }
}

// The error that something throws, which must have this status.
template <typename Run>
Error check_throws(ringlane_status wanted, Run run, const char* text, int line) {
    try {
        run();
    } catch (const Error& error) {
        check_equal(error.code(), ringlane::status_name(wanted), text, line);
        check(error.status() == wanted && *error.what() != '\0', text, line);
        return error;
    }
    throw Failed("line " + std::to_string(line) + ": nothing was thrown: " + text);
}

// A directory of a test's own.
class Directory {
public:
    Directory() {
        std::string name = (std::filesystem::temp_directory_path() / "ringlane-cpp-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) {
            throw Failed("no directory can be made below TMPDIR");
        }
        path_ = name;
    }
    ~Directory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

Options engine_options() {
    Options options;
    if (const char* backend = std::getenv("RINGLANE_TEST_BACKEND"); backend != nullptr && *backend != '\0') {
        options.set("backend", backend);
    }
    return options;
}

Engine open(const Directory& directory) { return Engine::open(directory.path(), engine_options()); }

// An engine with a topic of one partition, and a producer.
struct World {
    Directory directory;
    Engine engine = open(directory);
    Topic orders = engine.create_topic("orders");
    ringlane::Producer producer = engine.producer();

    void send(std::initializer_list<const char*> values) {
        std::vector<Record> records(values.begin(), values.end());
        producer.send_batch(orders, records);
    }
};

std::vector<std::string> values_of(const Records& records) {
    std::vector<std::string> values;
    for (const auto record : records) {
        values.emplace_back(record.value().value_or("(null)"));
    }
    return values;
}

// What a consumer finds from the beginning on, until it has so many.
std::vector<std::string> read(const Engine& engine, const Topic& topic, std::size_t count) {
    auto consumer = engine.consumer();
    consumer.assign(topic, Start::beginning());
    std::vector<std::string> all;
    while (all.size() < count) {
        const auto records = consumer.poll(LONG);
        CHECK(records.has_value());
        for (auto& value : values_of(*records)) {
            all.push_back(std::move(value));
        }
    }
    CHECK(!consumer.poll(0ms).has_value());
    return all;
}

Event one_event(const Queue& queue, EventKind kind) {
    const auto events = queue.drain(LONG, 1);
    CHECK_EQUAL(events.size(), 1u);
    CHECK(events[0].kind() == kind);
    return events[0];
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// ----- values -----

TEST(a_status_has_its_name_and_the_library_its_version) {
    CHECK_EQUAL(ringlane::status_name(RINGLANE_OK), "ok");
    CHECK_EQUAL(ringlane::status_name(RINGLANE_ERROR_UNKNOWN_TOPIC), "unknown-topic");
    CHECK_EQUAL(ringlane::status_name(-12345), "unknown-status");
    CHECK(ringlane::abi_version() >= RINGLANE_ABI_VERSION);
    CHECK(has(std::string(ringlane::version()), "."));
}

TEST(null_bytes_and_empty_bytes_differ) {
    for (const Bytes& null : {Bytes(), Bytes(nullptr), Bytes(std::nullopt), Bytes(static_cast<const char*>(nullptr)),
                              Bytes(nullptr, 0), Bytes(std::optional<std::string>())}) {
        CHECK(null.is_null() && null.empty() && null.data() == nullptr && !null.text().has_value());
        CHECK(null.begin() == null.end());
    }
    const std::string no_text;
    const std::vector<std::uint8_t> no_bytes;
    const std::optional<std::string_view> empty_content("");
    for (const Bytes& empty :
         {Bytes(""), Bytes(std::string_view()), Bytes(no_text), Bytes(no_bytes), Bytes(empty_content), Bytes("x", 0)}) {
        CHECK(!empty.is_null() && empty.empty() && empty.data() != nullptr);
        CHECK_EQUAL(empty.text().value(), "");
        CHECK(empty == Bytes("") && empty != Bytes());
    }
}

TEST(bytes_come_from_whatever_has_bytes) {
    const std::string text("a\0b", 3);
    const std::vector<std::uint8_t> numbers{'a', 0, 'b'};
    const std::array<std::byte, 3> array{std::byte{'a'}, std::byte{0}, std::byte{'b'}};
    const std::optional<std::string> content(text);
    for (const Bytes& bytes : {Bytes(text), Bytes(std::string_view(text)), Bytes(numbers), Bytes(array), Bytes(content),
                               Bytes(text.data(), 3), Bytes(ringlane_bytes{numbers.data(), 3})}) {
        CHECK_EQUAL(bytes.size(), 3u);
        CHECK(bytes == Bytes(text));
        CHECK_EQUAL(std::string(bytes.begin(), bytes.end()), text);
    }
    CHECK(Bytes("abc") != Bytes("abd") && Bytes("abc") != Bytes("ab"));
    CHECK_EQUAL(Bytes("literal").text().value(), "literal");
}

TEST(an_option_takes_texts_numbers_truths_and_times) {
    CHECK_EQUAL(ringlane::Option("key", "text").value, "text");
    CHECK_EQUAL(ringlane::Option("key", std::string("text")).value, "text");
    CHECK_EQUAL(ringlane::Option("key", 0).value, "0");
    CHECK_EQUAL(ringlane::Option("key", UINT64_MAX).value, "18446744073709551615");
    CHECK_EQUAL(ringlane::Option("key", true).value, "true");
    CHECK_EQUAL(ringlane::Option("key", false).value, "false");
    CHECK_EQUAL(ringlane::Option("key", 2s).value, "2000");
}

TEST(options_that_there_are_not_are_refused_by_the_call_that_gets_them) {
    World world;
    CHECK(has(CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, world.engine.create_topic("a", {{"partition", 1}})).what(),
              "partitions"));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, world.engine.create_topic("a", {{"partitions", "many"}}));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, world.engine.producer({{"durability", "perhaps"}}));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, Options().make(77));
    const std::string with_zero("a\0b", 3);
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, world.engine.producer({{"name", with_zero}}));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, world.engine.topic(with_zero));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, world.engine.topic("\xff"));
    Options options;
    options.set("partitions", 2).set("retention_ms", 1h);
    CHECK_EQUAL(world.engine.create_topic("two", options).partitions(), 2u);
    CHECK_EQUAL(world.engine.create_topic("two-again", options).partitions(), 2u);
}

TEST(an_error_says_what_happened_and_can_be_kept) {
    World world;
    std::optional<Error> kept;
    try {
        world.engine.topic("nowhere");
    } catch (const std::runtime_error& error) {
        kept = dynamic_cast<const Error&>(error);
    }
    CHECK(kept.has_value());
    CHECK_EQUAL(kept->status(), RINGLANE_ERROR_UNKNOWN_TOPIC);
    CHECK_EQUAL(kept->code(), "unknown-topic");
    CHECK(has(kept->what(), "nowhere"));
    CHECK(!kept->retriable() && !kept->fatal() && !kept->unknown_outcome() && !kept->aborted());
    CHECK_EQUAL(kept->system_error(), 0);
    CHECK_EQUAL(kept->done(), 0u);
    CHECK_EQUAL(kept->details()[0], 0u);
    CHECK_EQUAL(kept->name(), "nowhere");
    const Error copy(*kept);
    kept.reset();
    CHECK_EQUAL(copy.name(), "nowhere");
    static_assert(std::is_nothrow_copy_constructible_v<Error>);
    const std::string large(2 << 20, 'x');
    const Error too_large = CHECK_THROWS(RINGLANE_ERROR_RECORD_TOO_LARGE, world.producer.send(world.orders, Record(large)));
    CHECK(too_large.details()[0] > large.size());
    CHECK_EQUAL(too_large.details()[1], std::uint64_t{1} << 20);
    ringlane_error made{};
    made.status = RINGLANE_ERROR_IO;
    made.flags = RINGLANE_RETRIABLE | RINGLANE_FATAL | RINGLANE_UNKNOWN_OUTCOME | RINGLANE_ABORTED;
    made.system_error = 5;
    const Error all(made, 7);
    CHECK(all.retriable() && all.fatal() && all.unknown_outcome() && all.aborted());
    CHECK_EQUAL(all.system_error(), 5);
    CHECK_EQUAL(all.done(), 7u);
    CHECK_EQUAL(all.name(), "");
}

TEST(an_error_names_what_it_is_about) {
    World world;
    const std::string longest(249, 'x');
    CHECK_EQUAL(CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TOPIC, world.engine.topic(longest)).name(), longest);
    CHECK_EQUAL(CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_GROUP, world.engine.join("nobody")).name(), "nobody");
    const Error unknown = CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TRANSACTION, world.engine.commit_transaction("order-1"));
    CHECK_EQUAL(unknown.name(), "order-1");
    CHECK_EQUAL(CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, world.engine.producer({{"durability", "perhaps"}})).name(), "");
    CHECK_EQUAL(CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, Topic().partitions()).name(), "");
    world.send({"a", "b", "c"});
    world.engine.delete_records(world.orders, 0, 2);
    auto consumer = world.engine.consumer();
    const Error gone = CHECK_THROWS(RINGLANE_ERROR_TRUNCATED, consumer.assign(world.orders, 0, Start::offset(1)));
    CHECK_EQUAL(gone.name(), "orders");
    CHECK_EQUAL(gone.details()[0], 1u);
    CHECK_EQUAL(gone.details()[1], 2u);
    CHECK_EQUAL(gone.details()[2], 0u);
    // Of several deliveries the first error is told.
    world.engine.create_group("group", {{"kind", "shared"}, {"topic", "orders:beginning"}});
    auto member = world.engine.join("group");
    const Records records = std::move(member.poll(LONG).value());
    member.ack(records);
    CHECK_EQUAL(CHECK_THROWS(RINGLANE_ERROR_ALREADY_ACKNOWLEDGED, member.ack(records)).name(), "orders");
    const Queue queue = Queue::create();
    const auto named = world.engine.producer({{"name", "import"}});
    named.send_async(world.orders, Record("a").partition(0).sequence(5), queue);
    CHECK_EQUAL(queue.error(one_event(queue, EventKind::sent)).name(), "orders");
    world.engine.delete_topic("orders");
    CHECK_EQUAL(CHECK_THROWS(RINGLANE_ERROR_TOPIC_DELETED, world.producer.send(world.orders, Record("d"))).name(), "orders");
}

// ----- handles -----

template <typename Handle>
void check_moves(Handle first) {
    static_assert(!std::is_copy_constructible_v<Handle> && !std::is_copy_assignable_v<Handle>);
    static_assert(std::is_nothrow_move_constructible_v<Handle> && std::is_nothrow_move_assignable_v<Handle>);
    static_assert(std::is_nothrow_default_constructible_v<Handle> && std::is_nothrow_destructible_v<Handle>);
    const auto* const raw = first.get();
    Handle second(std::move(first));
    CHECK(!first && second && second.get() == raw);
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, first.get());
    Handle third;
    CHECK(!third);
    third = std::move(second);
    CHECK(!second && third.get() == raw);
    Handle& same = third;
    third = std::move(same);
    CHECK(third.get() == raw);
    std::swap(third, first);
    CHECK(first.get() == raw && !third);
    auto* const given_away = first.release();
    CHECK(given_away == raw && !first);
    Handle taken(given_away);
    CHECK(taken);
    taken.reset();
    CHECK(!taken);
    taken.reset();
}

TEST(handles_move_and_never_copy) {
    World world;
    world.engine.create_group("group", {{"kind", "shared"}, {"topic", "orders:beginning"}});
    world.send({"a"});
    check_moves(world.engine.topic("orders"));
    check_moves(world.engine.producer());
    check_moves(world.engine.consumer());
    check_moves(world.engine.join("group"));
    check_moves(world.producer.begin());
    check_moves(Queue::create());
    auto consumer = world.engine.consumer();
    consumer.assign(world.orders, Start::beginning());
    check_moves(std::move(consumer.poll(LONG).value()));
    world.engine.close();
    check_moves(std::move(world.engine));
}

TEST(moved_from_handles_throw_and_do_not_crash) {
    World world;
    Engine engine(std::move(world.engine));
    const Topic topic(std::move(world.orders));
    const ringlane::Producer producer(std::move(world.producer));
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, world.engine.sync());
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, world.engine.stats());
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, world.engine.topic("orders"));
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, world.orders.partitions());
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, world.producer.send(topic, Record("a")));
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, producer.send(world.orders, Record("a")));
    // Without a queue the C function would wait: an empty one must not come to that.
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, producer.send_packed_async(topic, "", Queue(), 0));
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, producer.send_async(topic, Record("a"), Queue()));
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, Queue().drain(0ms));
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, Queue().fd());
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, ringlane::Consumer().poll(0ms));
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, ringlane::Consumer().wakeup());
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, ringlane::Member().poll(0ms));
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, ringlane::Member().ack(Delivery{}));
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, ringlane::Transaction().commit());
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, ringlane::Transaction().id());
    CHECK_EQUAL(producer.send(topic, Record("a")).offset.value(), 0u);
    world.engine = std::move(engine);
    world.engine.sync();
}

TEST(a_handle_that_the_c_functions_freed_is_an_error) {
    World world;
    ringlane::Consumer consumer = world.engine.consumer();
    CHECK_EQUAL(ringlane_consumer_free(consumer.get(), nullptr), RINGLANE_OK);
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, consumer.poll(0ms));
    // A handle of another kind is told apart as well.
    ringlane::Consumer no_consumer(reinterpret_cast<ringlane_consumer*>(world.orders.get()));
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, no_consumer.poll(0ms));
    no_consumer.release();
}

TEST(an_empty_batch_has_no_records) {
    Records none;
    CHECK(!none && none.empty());
    CHECK_EQUAL(none.size(), 0u);
    CHECK(none.begin() == none.end());
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, none[0]);
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, none.get());
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, ringlane::Deliveries(none));
    none.reset();
    CHECK(none.release() == nullptr);
}

TEST(a_destructor_closes_the_engine_and_throws_nothing) {
    const Directory directory;
    {
        const Engine engine = open(directory);
        const Topic topic = engine.create_topic("orders");
        engine.producer({{"durability", "buffered"}}).send(topic, Record("kept"));
        CHECK_THROWS(RINGLANE_ERROR_LOCKED, open(directory));
    }
    const Engine engine = open(directory);
    CHECK(has(engine.recovery(), "\"recovery\""));
    CHECK_EQUAL(read(engine, engine.topic("orders"), 1)[0], "kept");
}

// ----- engine and topics -----

TEST(a_directory_is_opened_closed_and_opened_again) {
    const Directory directory;
    Engine engine = open(directory);
    const Topic topic = engine.create_topic("orders");
    const auto producer = engine.producer();
    engine.close();
    engine.close();
    CHECK_THROWS(RINGLANE_ERROR_CLOSED, producer.send(topic, Record("late")));
    CHECK_THROWS(RINGLANE_ERROR_CLOSED, engine.sync());
    engine = open(directory);
    engine.sync();
    CHECK_THROWS(RINGLANE_ERROR_INVALID_DIRECTORY, Engine::open_read_only(directory.path() + "/nowhere"));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, Engine::open(directory.path(), {{"no_such_option", 1}}));
}

TEST(a_reader_from_outside_sees_what_comes_and_changes_nothing) {
    World world;
    const Engine outside = Engine::open_read_only(world.directory.path(), engine_options());
    world.send({"a", "b"});
    world.engine.sync();
    outside.refresh();
    CHECK_EQUAL(read(outside, outside.topic("orders"), 2)[1], "b");
    CHECK_THROWS(RINGLANE_ERROR_READ_ONLY, outside.create_topic("other"));
    CHECK_THROWS(RINGLANE_ERROR_READ_ONLY, outside.sync());
    CHECK_THROWS(RINGLANE_ERROR_READ_ONLY, outside.producer());
}

TEST(an_engine_tells_its_figures_as_json) {
    World world;
    world.send({"a"});
    CHECK(has(world.engine.stats(), "\"held_bytes\""));
    CHECK(has(world.engine.recovery(), "\"holes\""));
    CHECK(has(world.engine.audit(), "orders"));
    CHECK(has(world.engine.audit({{"topic", "orders"}}), "orders"));
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TOPIC, world.engine.audit({{"topic", "nowhere"}}));
    world.engine.accept_clock();
}

TEST(topics_are_created_opened_listed_changed_and_deleted) {
    World world;
    const Topic wide = world.engine.create_topic("wide", {{"partitions", 3}, {"retention_bytes", "1000000"}});
    CHECK_EQUAL(wide.partitions(), 3u);
    CHECK_THROWS(RINGLANE_ERROR_TOPIC_EXISTS, world.engine.create_topic("wide"));
    CHECK_EQUAL(world.engine.open_or_create_topic("wide", {{"partitions", 9}}).partitions(), 3u);
    CHECK_EQUAL(world.engine.open_or_create_topic("new", {{"partitions", 2}}).partitions(), 2u);
    CHECK_THROWS(RINGLANE_ERROR_INVALID_NAME, world.engine.open_or_create_topic(""));
    CHECK(has(world.engine.topics(), "\"wide\""));
    world.engine.set_retention("wide", {{"retention_ms", 24h}});
    CHECK(has(world.engine.topics(), "86400000"));
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TOPIC, world.engine.set_retention("nowhere", {{"retention_ms", 1}}));
    world.engine.delete_topic("wide");
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TOPIC, world.engine.topic("wide"));
    CHECK_THROWS(RINGLANE_ERROR_TOPIC_DELETED, world.producer.send(wide, Record("a")));
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TOPIC, world.engine.delete_topic("wide"));
}

TEST(records_are_given_up_below_an_offset) {
    World world;
    world.send({"a", "b", "c"});
    CHECK_EQUAL(world.orders.offsets(0).first, 0u);
    CHECK_EQUAL(world.orders.offsets(0).next, 3u);
    CHECK_THROWS(RINGLANE_ERROR_INVALID_PARTITION, world.orders.offsets(1));
    CHECK_EQUAL(world.engine.delete_records(world.orders, 0, 2), 2u);
    CHECK_EQUAL(world.orders.offsets(0).first, 2u);
    auto consumer = world.engine.consumer();
    const Error gone = CHECK_THROWS(RINGLANE_ERROR_TRUNCATED, [&] {
        consumer.assign(world.orders, 0, Start::offset(0));
        consumer.poll(0ms);
    }());
    CHECK_EQUAL(gone.details()[1], 2u);
}

// ----- producers -----

TEST(a_receipt_says_where_a_record_stands) {
    World world;
    const auto now = std::chrono::system_clock::now();
    const Receipt first = world.producer.send(world.orders, Record("a").timestamp(now));
    CHECK_EQUAL(first.partition, 0u);
    CHECK_EQUAL(first.offset.value(), 0u);
    CHECK(first.timestamp == std::chrono::floor<std::chrono::milliseconds>(now));
    CHECK(first.synced && !first.duplicate);
    CHECK_EQUAL(first.sequence, 0u);
    CHECK_EQUAL(world.producer.send(world.orders, Record("b")).offset.value(), 1u);
    const auto buffered = world.engine.producer({{"durability", "buffered"}});
    CHECK(!buffered.send(world.orders, Record("c")).synced);
    buffered.flush();
    CHECK_THROWS(RINGLANE_ERROR_INVALID_PARTITION, world.producer.send(world.orders, Record("d").partition(1)));
}

TEST(a_record_keeps_all_that_it_was_given) {
    World world;
    const Topic wide = world.engine.create_topic("wide", {{"partitions", 4}});
    const ringlane::Timestamp time(std::chrono::milliseconds(1234567890123));
    Record record("value");
    record.key("key").header("first", "1").header("twice", "2").header("twice", Bytes("\0x", 2)).header("none", nullptr);
    record.tag("paid").message_id("id-1").partition(3).timestamp(time).user_data(9);
    // A copy has headers of its own.
    const Record copy(record);
    record.header("later", "");
    const Receipt receipt = world.producer.send(wide, copy);
    CHECK_EQUAL(receipt.partition, 3u);
    auto consumer = world.engine.consumer();
    consumer.assign(wide, 3, Start::beginning());
    const auto records = consumer.poll(LONG);
    CHECK(records.has_value() && records->size() == 1);
    const auto view = (*records)[0];
    CHECK_EQUAL(view.topic(), "wide");
    CHECK_EQUAL(view.partition(), 3u);
    CHECK_EQUAL(view.offset(), 0u);
    CHECK(view.timestamp() == time);
    CHECK_EQUAL(view.key().value(), "key");
    CHECK_EQUAL(view.value().value(), "value");
    CHECK(view.key_bytes() == Bytes("key") && view.value_bytes() == Bytes("value"));
    CHECK(view.message_id() == Bytes("id-1"));
    CHECK_EQUAL(view.header_count(), 5u);
    std::multimap<std::string_view, std::string_view> headers;
    for (const auto& header : view.headers()) {
        headers.emplace(header.name, header.value.text().value());
    }
    CHECK_EQUAL(headers.size(), 5u);
    CHECK_EQUAL(headers.count("twice"), 2u);
    CHECK_EQUAL(view.header("first").value(), "1");
    CHECK_EQUAL(view.header("none").value(), "");
    CHECK(!view.header("later").has_value());
    CHECK_EQUAL(view.tag().value(), "paid");
    CHECK_EQUAL(view.delivery_count(), 0u);
    CHECK(!view.is_late() && view.producer() == 0 && view.epoch() == 0 && view.sequence() == 0);
    CHECK(view.packed().size() > 20);
    CHECK(view.raw().offset == view.offset());
}

TEST(null_and_empty_keys_and_values_stay_what_they_are) {
    World world;
    world.producer.send(world.orders, Record());
    world.producer.send(world.orders, Record(nullptr).key(nullptr));
    world.producer.send(world.orders, Record("replaced").value("").key(""));
    auto consumer = world.engine.consumer();
    consumer.assign(world.orders, Start::beginning());
    const auto records = consumer.poll(LONG);
    CHECK_EQUAL(records.value().size(), 3u);
    for (const std::size_t index : {0u, 1u}) {
        CHECK(!(*records)[index].key().has_value() && !(*records)[index].value().has_value());
    }
    CHECK_EQUAL((*records)[2].key().value(), "");
    CHECK_EQUAL((*records)[2].value().value(), "");
    CHECK((*records)[2].headers().empty() && !(*records)[2].tag().has_value());
}

TEST(batches_have_a_receipt_for_each_record) {
    World world;
    const std::vector<Record> records{Record("a"), Record("b"), Record("c")};
    CHECK_EQUAL(world.producer.send_batch(world.orders, records).at(2).offset.value(), 2u);
    CHECK_EQUAL(world.producer.send_batch(world.orders, {Record("d")}).at(0).offset.value(), 3u);
    CHECK_EQUAL(world.producer.send_batch(world.orders, records.data(), 2).size(), 2u);
    CHECK(world.producer.send_batch(world.orders, std::vector<Record>()).empty());
    const std::array<ringlane_record, 2> raw{Record("e").raw(), Record("f").raw()};
    world.producer.send_batch(world.orders, raw.data(), raw.size(), nullptr);
    std::array<ringlane_receipt, 2> receipts{};
    world.producer.send_batch(world.orders, raw.data(), raw.size(), receipts.data());
    CHECK_EQUAL(receipts[1].offset, 9u);
    // One that is refused for what it is keeps all of them back.
    const std::vector<Record> refused{Record("g"), Record("h").partition(5)};
    CHECK_THROWS(RINGLANE_ERROR_INVALID_PARTITION, world.producer.send_batch(world.orders, refused));
    CHECK_EQUAL(world.orders.offsets(0).next, 10u);
}

TEST(asynchronous_sends_end_in_the_queue) {
    World world;
    const Queue queue = Queue::create();
    for (std::uint64_t number = 0; number < 10; ++number) {
        world.producer.send_async(world.orders, Record("a").user_data(number), queue);
    }
    std::set<std::uint64_t> numbers;
    while (numbers.size() < 10) {
        for (const Event& event : queue.drain(LONG)) {
            CHECK(event.kind() == EventKind::sent && event.ok());
            CHECK_EQUAL(event.receipt().value().offset.value(), event.user_data());
            numbers.insert(event.user_data());
        }
    }
    CHECK_EQUAL(queue.pending(), 0u);
    std::vector<Event> events(3);
    CHECK_EQUAL(queue.drain_into(events, 0ms), 0u);
    CHECK(events.empty());
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, queue.drain(0ms, 0));

    const std::vector<Record> records{Record("b").user_data(1), Record("c").user_data(2)};
    const std::array<ringlane_record, 2> raw{records[0].raw(), records[1].raw()};
    world.producer.send_batch_async(world.orders, records, queue, 77);
    CHECK_EQUAL(one_event(queue, EventKind::batch_sent).count(), 2u);
    world.producer.send_batch_async(world.orders, raw.data(), raw.size(), queue, 78);
    CHECK_EQUAL(one_event(queue, EventKind::batch_sent).user_data(), 78u);
    world.producer.send_each_async(world.orders, records, queue);
    CHECK_EQUAL(one_event(queue, EventKind::sent).user_data(), 1u);
    CHECK_EQUAL(one_event(queue, EventKind::sent).user_data(), 2u);
    world.producer.send_each_async(world.orders, raw.data(), raw.size(), queue);
    CHECK_EQUAL(one_event(queue, EventKind::sent).receipt().value().offset.value(), 16u);
    CHECK_EQUAL(one_event(queue, EventKind::sent).user_data(), 2u);
    world.producer.flush();
    CHECK_EQUAL(world.orders.offsets(0).next, 18u);
}

TEST(an_event_of_a_send_that_failed_leads_to_its_error) {
    World world;
    const auto named = world.engine.producer({{"name", "import"}});
    const Queue queue = Queue::create();
    named.send_async(world.orders, Record("a").partition(0).sequence(5).user_data(3), queue);
    const Event event = one_event(queue, EventKind::sent);
    CHECK(!event.ok() && !event.receipt().has_value());
    CHECK_EQUAL(event.status(), RINGLANE_ERROR_SEQUENCE_GAP);
    CHECK_EQUAL(event.user_data(), 3u);
    CHECK(!event.fatal() && !event.unknown_outcome());
    const Error error = queue.error(event);
    CHECK_EQUAL(error.code(), "sequence-gap");
    CHECK_EQUAL(error.retriable(), event.retriable());
    CHECK_EQUAL(error.details()[0], 5u);
    CHECK_EQUAL(error.details()[1], 0u);
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, Queue::create().error(event));
}

TEST(packed_records_are_sent_as_they_were_read) {
    World world;
    const Topic copy = world.engine.create_topic("copy", {{"partitions", 2}});
    world.producer.send(world.orders, Record("one").key("k").header("h", "v"));
    world.producer.send(world.orders, Record("three"));
    auto consumer = world.engine.consumer();
    consumer.assign(world.orders, Start::beginning());
    std::vector<std::uint8_t> buffer;
    const auto records = consumer.poll(LONG);
    for (const auto record : records.value()) {
        buffer.insert(buffer.end(), record.packed().begin(), record.packed().end());
        buffer.resize((buffer.size() + 7) / 8 * 8);
    }
    CHECK_EQUAL(world.producer.send_packed(copy, buffer, 1), 2u);
    CHECK_EQUAL(copy.offsets(1).next, 2u);
    const Queue queue = Queue::create();
    CHECK_EQUAL(world.producer.send_packed_async(copy, buffer, queue, 5, 1), 2u);
    const Event event = one_event(queue, EventKind::batch_sent);
    CHECK(event.ok() && event.user_data() == 5 && event.count() == 2);
    CHECK_EQUAL(world.producer.send_packed(copy, buffer), 2u);
    CHECK_EQUAL(copy.offsets(0).next + copy.offsets(1).next, 6u);
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, world.producer.send_packed(copy, "no record"));
}

TEST(a_named_producer_goes_on_after_a_restart) {
    const Directory directory;
    {
        const Engine engine = open(directory);
        const Topic topic = engine.create_topic("orders");
        const auto producer = engine.producer({{"name", "import"}});
        CHECK_EQUAL(producer.epoch(), 1u);
        CHECK(!producer.last_sent(topic, 0).has_value() && !producer.last_message_id(topic, 0).has_value());
        producer.send(topic, Record("a").partition(0).sequence(0).message_id("id-a"));
        CHECK_EQUAL(producer.send(topic, Record("b").partition(0).sequence(1)).sequence, 1u);
        CHECK(!producer.last_message_id(topic, 0).has_value());
    }
    const Engine engine = open(directory);
    const Topic topic = engine.topic("orders");
    const auto first = engine.producer({{"name", "import"}});
    CHECK_EQUAL(first.epoch(), 2u);
    CHECK_EQUAL(first.last_sent(topic, 0).value(), 1u);
    CHECK(first.send(topic, Record("b").partition(0).sequence(1)).duplicate);
    first.send(topic, Record("c").partition(0).message_id(Bytes("id\0c", 4)));
    CHECK_EQUAL(first.last_message_id(topic, 0).value(), std::string("id\0c", 4));
    const auto second = engine.producer({{"name", "import"}});
    const Error fenced = CHECK_THROWS(RINGLANE_ERROR_PRODUCER_FENCED, first.send(topic, Record("d")));
    CHECK_EQUAL(fenced.details()[0], 2u);
    CHECK_EQUAL(fenced.details()[1], 3u);
    CHECK(has(engine.producers(), "import"));
    engine.delete_producer("import");
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_PRODUCER, engine.delete_producer("import"));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, engine.producer().last_sent(topic, 0));
    CHECK_EQUAL(engine.producer().epoch(), 0u);
}

TEST(a_record_that_is_sent_again_has_the_first_receipt) {
    World world;
    const Receipt first = world.producer.send(world.orders, Record("paid").partition(0).message_id("payment-1"));
    const Receipt again = world.producer.send(world.orders, Record("paid").partition(0).message_id("payment-1"));
    CHECK(!first.duplicate && again.duplicate && again.synced);
    CHECK_EQUAL(first.offset.value(), again.offset.value());
}

TEST(delayed_records_come_late_are_cancelled_or_published) {
    World world;
    const auto in_an_hour = std::chrono::system_clock::now() + 1h;
    const Receipt cancelled = world.producer.send(world.orders, Record("never").visible_after(1h));
    CHECK(!cancelled.offset.has_value());
    world.producer.cancel(cancelled.id);
    CHECK_THROWS(RINGLANE_ERROR_NOT_WITHHELD, world.producer.cancel(cancelled.id));
    // The later word counts.
    const Receipt later = world.producer.send(world.orders, Record("now").visible_after(1ms).visible_at(in_an_hour));
    world.producer.send(world.orders, Record("before"));
    CHECK_EQUAL(read(world.engine, world.orders, 1)[0], "before");
    world.engine.publish_withheld(later.id);
    CHECK_THROWS(RINGLANE_ERROR_NOT_WITHHELD, world.engine.publish_withheld(later.id));
    CHECK_EQUAL(read(world.engine, world.orders, 2)[1], "now");
    world.producer.send(world.orders, Record("soon").visible_at(in_an_hour).visible_after(20ms));
    auto consumer = world.engine.consumer();
    consumer.assign(world.orders, 0, Start::offset(2));
    const auto records = consumer.poll(LONG);
    CHECK_EQUAL(records.value()[0].value().value(), "soon");
    CHECK((*records)[0].is_late());
}

// ----- consumers -----

TEST(a_consumer_reads_from_where_it_is_told) {
    World world;
    const ringlane::Timestamp base(std::chrono::milliseconds(1000));
    for (const char* value : {"a", "b", "c", "d"}) {
        world.producer.send(world.orders, Record(value).timestamp(base + std::chrono::seconds(*value - 'a')));
    }
    auto consumer = world.engine.consumer({{"max_poll_records", 1}});
    const auto next = [&] { return std::string(consumer.poll(LONG).value()[0].value().value()); };
    CHECK(!consumer.position(world.orders, 0).has_value());
    consumer.assign(world.orders, Start::beginning());
    CHECK_EQUAL(next(), "a");
    CHECK_EQUAL(consumer.position(world.orders, 0).value(), 1u);
    consumer.seek(world.orders, 0, Start::offset(3));
    CHECK_EQUAL(next(), "d");
    consumer.seek(world.orders, 0, Start::timestamp(base + 1s));
    CHECK_EQUAL(next(), "b");
    // At or after a time between two milliseconds is after the earlier one.
    consumer.seek(world.orders, 0, Start::timestamp(std::chrono::system_clock::time_point(base + 1s) + 1us));
    CHECK_EQUAL(next(), "c");
    consumer.assign(world.orders, 0, Start::end());
    CHECK(!consumer.poll(0ms).has_value() && !consumer.poll(10ms).has_value());
    world.send({"e"});
    CHECK_EQUAL(next(), "e");
    consumer.unassign(world.orders);
    CHECK(!consumer.position(world.orders, 0).has_value());
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, consumer.seek(world.orders, 0, Start::beginning()));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_PARTITION, consumer.assign(world.orders, 7, Start::beginning()));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, Start::offset(UINT64_MAX));
    consumer.assign(world.orders, 0, Start::beginning());
    consumer.unassign(world.orders, 0);
}

TEST(a_consumer_filters_by_tag) {
    World world;
    world.producer.send_batch(world.orders, {Record("a").tag("paid"), Record("b").tag("open"), Record("c").tag("paid")});
    auto consumer = world.engine.consumer({{"filter", "tag = paid"}});
    consumer.assign(world.orders, Start::beginning());
    std::vector<std::string> values;
    while (values.size() < 2) {
        for (auto& value : values_of(consumer.poll(LONG).value())) {
            values.push_back(value);
        }
    }
    CHECK(values == (std::vector<std::string>{"a", "c"}));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, world.engine.consumer({{"filter", "tag ="}}));
}

TEST(a_batch_outlives_its_consumer_its_engine_and_its_moves) {
    std::optional<Records> kept;
    {
        World world;
        world.send({"a", "b"});
        auto consumer = world.engine.consumer();
        consumer.assign(world.orders, Start::beginning());
        kept = consumer.poll(LONG);
        CHECK(has(world.engine.stats(), "\"held_bytes\""));
        world.engine.close();
    }
    const auto view = (*kept)[1];
    Records moved(std::move(*kept));
    CHECK(kept->empty() && !*kept && kept->begin() == kept->end());
    CHECK_EQUAL(view.value().value(), "b");
    CHECK(view.headers().empty());
    Records again;
    again = std::move(moved);
    Records& same = again;
    again = std::move(same);
    CHECK(moved.empty());
    CHECK_EQUAL(again.size(), 2u);
    CHECK_EQUAL(view.value().value(), "b");
    Records taken(again.release());
    CHECK(again.empty() && taken.size() == 2);
    taken.reset();
    CHECK(!taken && taken.empty());
}

TEST(range_loops_and_iterators_go_over_a_batch) {
    World world;
    world.send({"a", "b", "c"});
    auto consumer = world.engine.consumer();
    consumer.assign(world.orders, Start::beginning());
    const Records records = std::move(consumer.poll(LONG).value());
    std::string values;
    for (const auto record : records) {
        values += record.value().value();
    }
    CHECK_EQUAL(values, "abc");
    CHECK_EQUAL(std::distance(records.begin(), records.end()), 3);
    auto iterator = records.begin();
    CHECK_EQUAL(iterator++->offset(), 0u);
    CHECK_EQUAL((*iterator).offset(), 1u);
    CHECK_EQUAL((++iterator)->value().value(), "c");
    CHECK(iterator != records.end() && ++iterator == records.end());
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, records[3]);
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, *records.end());
}

TEST(batches_that_are_not_freed_are_bounded) {
    const Directory directory;
    const Engine engine = Engine::open(directory.path(), engine_options().set("held_bytes_max", 1));
    const Topic topic = engine.create_topic("orders");
    engine.producer().send_batch(topic, {Record("a"), Record("b")});
    auto consumer = engine.consumer({{"max_poll_records", 1}});
    consumer.assign(topic, Start::beginning());
    auto held = consumer.poll(LONG);
    CHECK(CHECK_THROWS(RINGLANE_ERROR_HELD_TOO_MUCH, consumer.poll(LONG)).retriable());
    held.reset();
    CHECK_EQUAL(consumer.poll(LONG).value()[0].value().value(), "b");
}

TEST(a_consumer_tells_what_the_numbers_say) {
    World world;
    world.send({"a", "b"});
    auto consumer = world.engine.consumer();
    consumer.assign(world.orders, Start::beginning());
    CHECK(consumer.poll(LONG).has_value());
    CHECK(has(consumer.continuity(), "\"findings\""));
    CHECK_EQUAL(consumer.explain_missing(), "[]");
    CHECK_EQUAL(world.engine.consumer({{"continuity", false}}).continuity(), "null");
}

TEST(a_poll_in_another_thread_is_woken_or_closed) {
    World world;
    auto consumer = world.engine.consumer();
    consumer.assign(world.orders, Start::end());
    consumer.wakeup();
    CHECK_THROWS(RINGLANE_ERROR_WOKEN, consumer.poll(LONG));
    ringlane_status woken = RINGLANE_OK;
    ringlane_status closed = RINGLANE_OK;
    std::thread waiting([&] {
        for (ringlane_status* status : {&woken, &closed}) {
            do {
                try {
                    static_cast<void>(consumer.poll(ringlane::forever));
                } catch (const Error& error) {
                    *status = error.status();
                }
                // The other thread was in its own call just then.
            } while (*status == RINGLANE_ERROR_IN_USE);
        }
    });
    // While it waits, others may not use it.
    for (;;) {
        try {
            static_cast<void>(consumer.position(world.orders, 0));
            std::this_thread::yield();
        } catch (const Error& error) {
            CHECK_EQUAL(error.code(), "in-use");
            CHECK(error.retriable());
            break;
        }
    }
    const ringlane::Consumer& shared = consumer;
    shared.wakeup();
    std::this_thread::sleep_for(50ms);
    shared.close();
    waiting.join();
    CHECK_EQUAL(woken, RINGLANE_ERROR_WOKEN);
    CHECK_EQUAL(closed, RINGLANE_ERROR_CLOSED);
    CHECK_THROWS(RINGLANE_ERROR_CLOSED, consumer.poll(0ms));
    shared.close();
}

// ----- queues -----

TEST(a_queue_is_waited_for_with_its_descriptor) {
    World world;
    const Queue queue = Queue::create();
    pollfd wait{queue.fd(), POLLIN, 0};
    CHECK_EQUAL(poll(&wait, 1, 0), 0);
    world.producer.send_async(world.orders, Record("a"), queue);
    CHECK_EQUAL(poll(&wait, 1, 60000), 1);
    one_event(queue, EventKind::sent);
    CHECK_EQUAL(poll(&wait, 1, 0), 0);
}

TEST(a_queue_says_when_a_consumer_or_a_member_has_something) {
    World world;
    world.engine.create_group("group", {{"kind", "shared"}, {"topic", "orders:end"}});
    const Queue queue = Queue::create();
    auto consumer = world.engine.consumer();
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, consumer.notify(queue));
    consumer.assign(world.orders, Start::end());
    consumer.notify(queue, 1);
    CHECK(queue.drain(0ms).empty());
    world.send({"a"});
    CHECK_EQUAL(one_event(queue, EventKind::readable).user_data(), 1u);
    CHECK_EQUAL(values_of(consumer.poll(0ms).value())[0], "a");
    auto member = world.engine.join("group");
    member.notify(queue, 2);
    CHECK_EQUAL(one_event(queue, EventKind::readable).user_data(), 2u);
    CHECK_EQUAL(values_of(member.poll(0ms).value())[0], "a");
}

TEST(a_closed_queue_ends_its_waits) {
    World world;
    const Queue queue = Queue::create();
    ringlane_status ended = RINGLANE_OK;
    std::thread waiting([&] {
        try {
            static_cast<void>(queue.drain(ringlane::forever));
        } catch (const Error& error) {
            ended = error.status();
        }
    });
    std::this_thread::sleep_for(20ms);
    queue.close();
    waiting.join();
    CHECK_EQUAL(ended, RINGLANE_ERROR_CLOSED);
    queue.close();
    std::vector<Event> events(2);
    CHECK_THROWS(RINGLANE_ERROR_CLOSED, queue.drain_into(events, 0ms));
    CHECK(events.empty());
    CHECK_THROWS(RINGLANE_ERROR_CLOSED, world.producer.send_async(world.orders, Record("a"), queue));
}

void count_event(const Event& event);
std::size_t counted = 0;
void count_event(const Event& event) { counted += event.ok() ? 1 : 0; }

TEST(a_function_is_given_each_event_on_this_thread) {
    World world;
    const Queue queue = Queue::create();
    std::vector<std::uint64_t> numbers;
    const auto here = std::this_thread::get_id();
    const auto take = [&](const Event& event) {
        CHECK(std::this_thread::get_id() == here && event.kind() == EventKind::sent && event.ok());
        CHECK_EQUAL(event.receipt().value().offset.value(), event.user_data());
        numbers.push_back(event.user_data());
        if (event.user_data() < 2) {
            // Any call may be made here.
            world.producer.send_async(world.orders, Record("more").user_data(4 + event.user_data()), queue);
        }
    };
    CHECK_EQUAL(queue.dispatch(take, 0ms), 0u);
    for (std::uint64_t number = 0; number < 4; ++number) {
        world.producer.send_async(world.orders, Record("a").user_data(number), queue);
    }
    while (numbers.size() < 6) {
        const std::size_t before = numbers.size();
        const std::size_t count = queue.dispatch(take, LONG, 3);
        CHECK(count >= 1 && count <= 3 && numbers.size() == before + count);
    }
    CHECK(numbers == (std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5}));
    // Whatever can be called with an event will do: one that is given away, a plain function, one that remembers.
    struct Counting {
        std::size_t count = 0;
        std::unique_ptr<int> not_copied = std::make_unique<int>(0);
        void operator()(const Event&) { ++count; }
    } counting;
    const std::vector<Record> records{Record("b"), Record("c")};
    const auto dispatch_two = [&](auto dispatch) {
        world.producer.send_each_async(world.orders, records, queue);
        for (std::size_t count = 0; count < 2;) {
            count += dispatch();
        }
    };
    dispatch_two([&] { return queue.dispatch(counting, LONG); });
    CHECK_EQUAL(counting.count, 2u);
    dispatch_two([&] { return queue.dispatch(count_event, LONG); });
    dispatch_two([&] { return queue.dispatch(&count_event, LONG); });
    CHECK_EQUAL(counted, 4u);
    dispatch_two([&] { return queue.dispatch([](Event) {}, LONG); });
    dispatch_two([&] { return queue.dispatch(std::function<void(const Event&)>(std::ref(counting)), LONG); });
    CHECK_EQUAL(counting.count, 4u);
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, queue.dispatch(take, 0ms, 0));
    CHECK_THROWS(RINGLANE_ERROR_DEAD_HANDLE, Queue().dispatch(take, 0ms));
    queue.wakeup();
    CHECK_THROWS(RINGLANE_ERROR_WOKEN, queue.dispatch(take, LONG));
    queue.close();
    CHECK_THROWS(RINGLANE_ERROR_CLOSED, queue.dispatch(take, LONG));
}

TEST(a_function_that_throws_loses_no_event) {
    World world;
    const Queue queue = Queue::create();
    const auto send = [&] {
        std::vector<Record> records;
        for (std::uint64_t number = 0; number < 5; ++number) {
            records.push_back(Record("a").user_data(number));
        }
        world.producer.send_each_async(world.orders, records, queue);
        // They are all there before the first is taken.
        world.producer.flush();
        pollfd wait{queue.fd(), POLLIN, 0};
        CHECK_EQUAL(poll(&wait, 1, 60000), 1);
    };
    std::vector<std::uint64_t> numbers;
    const auto throw_twice = [&](const Event& event) {
        numbers.push_back(event.user_data());
        if (event.user_data() == 1 || event.user_data() == 3) {
            throw std::out_of_range("event " + std::to_string(event.user_data()));
        }
    };
    send();
    std::string thrown;
    while (numbers.size() < 5) {
        try {
            queue.dispatch(throw_twice, LONG);
        } catch (const std::out_of_range& error) {
            thrown += thrown.empty() ? error.what() : "";
        }
    }
    CHECK(numbers == (std::vector<std::uint64_t>{0, 1, 2, 3, 4}));
    CHECK_EQUAL(thrown, "event 1");
    CHECK(queue.drain(0ms).empty());
    // Whatever is thrown comes through, and an error of the library's as itself.
    send();
    std::size_t seen = 0;
    int number = 0;
    while (seen < 5) {
        try {
            queue.dispatch([&](const Event&) { ++seen; throw 7; }, LONG);
        } catch (int caught) {
            number = caught;
        }
    }
    CHECK_EQUAL(number, 7);
    send();
    seen = 0;
    while (seen < 5) {
        const Error error = CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TOPIC, queue.dispatch([&](const Event&) {
            ++seen;
            static_cast<void>(world.engine.topic("nowhere"));
        }, LONG));
        CHECK_EQUAL(error.name(), "nowhere");
    }
    CHECK_EQUAL(world.orders.offsets(0).next, 15u);
}

TEST(many_threads_send_and_several_drain_one_queue) {
    World world;
    constexpr std::uint64_t THREADS = 4;
    constexpr std::uint64_t EACH = 200;
    const Queue queue = Queue::create();
    std::atomic<std::uint64_t> seen{0};
    std::atomic<std::uint64_t> sum{0};
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 0; thread < THREADS; ++thread) {
        threads.emplace_back([&, thread] {
            for (std::uint64_t number = 0; number < EACH; ++number) {
                const std::string value = std::to_string(number);
                world.producer.send_async(world.orders, Record(value).user_data(thread * EACH + number), queue);
            }
        });
    }
    for (int drainer = 0; drainer < 2; ++drainer) {
        threads.emplace_back([&] {
            std::vector<Event> events;
            while (seen < THREADS * EACH) {
                queue.drain_into(events, 20ms, 32);
                for (const Event& event : events) {
                    sum += event.ok() ? event.user_data() : 1000000;
                }
                seen += events.size();
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    CHECK_EQUAL(seen.load(), THREADS * EACH);
    CHECK_EQUAL(sum.load(), THREADS * EACH * (THREADS * EACH - 1) / 2);
    CHECK_EQUAL(world.orders.offsets(0).next, THREADS * EACH);
}

// ----- groups -----

struct Group : World {
    explicit Group(Options options = {}) {
        options.set("kind", "shared").set("topic", "orders:beginning");
        engine.create_group("workers", options);
    }
    ringlane::Member join() { return engine.join("workers", {{"lease_ms", 60s}}); }
};

TEST(deliveries_are_acknowledged_alone_together_and_as_a_batch) {
    Group group;
    group.send({"a", "b", "c", "d", "e", "f"});
    auto member = group.join();
    const Records records = std::move(member.poll(LONG).value());
    CHECK_EQUAL(records.size(), 6u);
    CHECK_EQUAL(records[0].delivery_count(), 1u);
    CHECK_EQUAL(member.in_flight(), 6u);
    const std::vector<Delivery> two{records[1].delivery(), records[2].delivery()};
    member.ack(records[0].delivery());
    member.ack(two);
    member.ack({two.data(), 0});
    CHECK_EQUAL(member.in_flight(), 3u);
    // The others of the call are acknowledged all the same.
    const std::vector<Delivery> twice{records[0].delivery(), records[3].delivery()};
    const Error again = CHECK_THROWS(RINGLANE_ERROR_ALREADY_ACKNOWLEDGED, member.ack(twice));
    CHECK_EQUAL(again.done(), 1u);
    CHECK_EQUAL(again.details()[1], 0u);
    member.ack(records[4]);
    CHECK_EQUAL(member.in_flight(), 1u);
    CHECK_EQUAL(CHECK_THROWS(RINGLANE_ERROR_ALREADY_ACKNOWLEDGED, member.ack(records)).done(), 1u);
    CHECK_EQUAL(member.in_flight(), 0u);
    CHECK_THROWS(RINGLANE_ERROR_ALREADY_ACKNOWLEDGED, member.ack_all(records));
    group.send({"g", "h"});
    member.ack_all(member.poll(LONG).value());
    member.flush();
    CHECK(has(group.engine.describe_group("workers"), "workers"));
    CHECK(!member.poll(0ms).has_value());
    CHECK_THROWS(RINGLANE_ERROR_NOT_DELIVERED, member.ack(Delivery{0, 0, 1000, 1}));
}

TEST(everything_up_to_a_delivery_is_acknowledged_at_once) {
    World world;
    world.engine.create_group("ordered", {{"kind", "ordered"}, {"topic", "orders:beginning"}});
    world.send({"a", "b", "c"});
    auto member = world.engine.join("ordered");
    const Records records = std::move(member.poll(LONG).value());
    CHECK_EQUAL(member.ack_through(records[1].delivery()), 0u);
    CHECK_EQUAL(member.in_flight(), 1u);
}

TEST(records_of_a_consumer_are_nobody_s_to_acknowledge) {
    Group group;
    group.send({"a"});
    auto consumer = group.engine.consumer();
    consumer.assign(group.orders, Start::beginning());
    const Records records = std::move(consumer.poll(LONG).value());
    auto member = group.join();
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, member.ack_all(records));
    CHECK_THROWS(RINGLANE_ERROR_NOT_DELIVERED, member.ack(records));
}

TEST(deliveries_that_failed_come_again) {
    Group group({{"retry_delay_ms", 1}, {"retry_delay_ms_max", 1}});
    group.send({"a"});
    auto member = group.join();
    auto records = member.poll(LONG);
    member.extend(records.value(), 30s);
    member.release_deliveries(*records);
    records = member.poll(LONG);
    // A release is no failure, but a delivery.
    CHECK_EQUAL(records.value()[0].value().value(), "a");
    member.nack(*records);
    records = member.poll(LONG);
    CHECK(records.value()[0].delivery_count() >= 2);
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, member.nack(*records, -5ms));
    member.nack((*records)[0], 1ms);
    CHECK_THROWS(RINGLANE_ERROR_NOT_DELIVERED, member.ack(*records));
    records = member.poll(LONG);
    member.ack(*records);
}

std::uint64_t letters(const Engine& engine, const char* name) {
    try {
        return engine.topic(name).offsets(0).next;
    } catch (const Error& error) {
        CHECK_EQUAL(error.code(), "unknown-topic");
        return 0;
    }
}

// A letter is there a moment before its record is finished: until then there is nothing to be redriven.
template <typename Redrive>
std::string redriven(Redrive redrive) {
    for (int tries = 0;; ++tries) {
        try {
            const std::string result = redrive();
            if (has(result, "\"redriven\":1") || tries == 1000) {
                return result;
            }
        } catch (const Error& error) {
            if (error.status() != RINGLANE_ERROR_NO_DEAD_LETTER || tries == 1000) {
                throw;
            }
        }
        std::this_thread::sleep_for(5ms);
    }
}

TEST(dead_letters_are_redriven) {
    Group group({{"dead_letter_topic", "dead"}});
    group.send({"a", "b", "c"});
    auto member = group.join();
    auto records = member.poll(LONG);
    CHECK_EQUAL(records.value().size(), 3u);
    member.reject(*records);
    // The letters are written by the engine's own threads.
    while (letters(group.engine, "dead") < 3) {
        std::this_thread::sleep_for(5ms);
    }
    CHECK(has(redriven([&] { return group.engine.redrive_record("workers", "orders", 0, 1); }), "\"redriven\":1"));
    CHECK(has(redriven([&] { return group.engine.redrive_letter("workers", 0, 0); }), "\"redriven\":1"));
    CHECK_THROWS(RINGLANE_ERROR_ALREADY_REDRIVEN, group.engine.redrive_letter("workers", 0, 0));
    CHECK_THROWS(RINGLANE_ERROR_NO_DEAD_LETTER, group.engine.redrive_record("workers", "orders", 0, 9));
    CHECK(has(redriven([&] { return group.engine.redrive_all("workers"); }), "\"redriven\":1"));
    std::size_t again = 0;
    while (again < 3) {
        again += member.poll(LONG).value().size();
    }
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_GROUP, group.engine.redrive_all("nobody"));
}

TEST(a_token_is_processed_once) {
    Group group;
    group.send({"a", "a", "a"});
    auto member = group.join();
    const Records records = std::move(member.poll(LONG).value());
    CHECK(member.once(records[0].delivery(), "token") == ringlane::Once::fresh);
    CHECK(member.once(records[1].delivery(), "token") == ringlane::Once::in_progress);
    member.ack(records[0]);
    CHECK(member.once(records[2].delivery(), "token") == ringlane::Once::duplicate);
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, member.once(records[2].delivery(), ""));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, member.once(records[2].delivery(), nullptr));
}

TEST(a_member_pauses_partitions) {
    Group group;
    auto member = group.join();
    member.pause("orders", 0);
    group.send({"a"});
    CHECK(!member.poll(50ms).has_value());
    member.resume("orders", 0);
    CHECK(member.poll(LONG).has_value());
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, member.pause("nowhere", 0));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, member.resume("orders", 3));
}

TEST(a_member_that_leaves_hands_over_what_it_holds) {
    Group group;
    group.send({"a"});
    auto first = group.join();
    const Records held = std::move(first.poll(LONG).value());
    auto second = group.join();
    CHECK(!second.poll(0ms).has_value());
    std::optional<Records> taken;
    std::thread waiting([&] { taken = second.poll(LONG); });
    first.close();
    first.close();
    waiting.join();
    CHECK_EQUAL(taken.value()[0].value().value(), "a");
    CHECK_THROWS(RINGLANE_ERROR_CLOSED, first.poll(0ms));
    second.wakeup();
    CHECK_THROWS(RINGLANE_ERROR_WOKEN, second.poll(LONG));
    CHECK_EQUAL(held[0].value().value(), "a");
}

TEST(groups_are_described_reset_and_deleted) {
    Group group;
    group.send({"a", "b"});
    const Options ordered{{"kind", "ordered"}, {"topic", "orders:end"}};
    CHECK_THROWS(RINGLANE_ERROR_GROUP_EXISTS, group.engine.create_group("workers", ordered));
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, group.engine.create_group("none", {}));
    const Options nowhere{{"kind", "shared"}, {"topic", "nowhere:end"}};
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TOPIC, group.engine.create_group("none", nowhere));
    CHECK_EQUAL(group.engine.groups().front(), '[');
    CHECK(has(group.engine.describe_group("workers"), "orders"));
    CHECK_EQUAL(group.engine.reset_group("workers", "orders", 0, Start::offset(1)), 1u);
    auto member = group.join();
    CHECK_EQUAL(member.poll(LONG).value()[0].value().value(), "b");
    group.engine.delete_group("workers");
    CHECK_THROWS(RINGLANE_ERROR_GROUP_DELETED, member.poll(0ms));
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_GROUP, group.join());
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_GROUP, group.engine.describe_group("workers"));
}

TEST(deliveries_end_on_other_threads) {
    Group group;
    group.send({"a", "b", "c", "d"});
    auto member = group.join();
    const Records records = std::move(member.poll(LONG).value());
    std::vector<std::thread> threads;
    for (const auto record : records) {
        const ringlane::Member& shared = member;
        threads.emplace_back([&shared, delivery = record.delivery()] { shared.ack(delivery); });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    CHECK_EQUAL(member.in_flight(), 0u);
}

// ----- transactions -----

TEST(a_transaction_commits_all_of_it) {
    World world;
    const Topic invoices = world.engine.create_topic("invoices");
    auto transaction = world.producer.begin({{"id", "order-1"}});
    CHECK_EQUAL(transaction.id(), "order-1");
    CHECK(transaction.state() == TransactionState::open);
    transaction.send(world.orders, Record("order"));
    transaction.send(invoices, Record("invoice"));
    CHECK(has(world.engine.transactions(), "order-1"));
    CHECK_EQUAL(world.orders.offsets(0).next, 0u);
    transaction.commit();
    transaction.commit();
    CHECK(transaction.state() == TransactionState::committed);
    const auto receipts = transaction.receipts();
    CHECK_EQUAL(receipts.size(), 2u);
    CHECK_EQUAL(receipts[1].offset.value(), 0u);
    CHECK_EQUAL(read(world.engine, invoices, 1)[0], "invoice");
    CHECK_THROWS(RINGLANE_ERROR_TRANSACTION_CONFLICT, transaction.roll_back());
    CHECK_THROWS(RINGLANE_ERROR_WRONG_TRANSACTION_STATE, transaction.send(invoices, Record("more")));
    CHECK_THROWS(RINGLANE_ERROR_TRANSACTION_EXISTS, world.producer.begin({{"id", "order-1"}}));
    CHECK(has(world.engine.transactions(true), "order-1"));
    CHECK(!has(world.engine.transactions(), "order-1"));
    CHECK(world.producer.begin().id() != world.producer.begin().id());
}

TEST(a_transaction_that_goes_undecided_is_rolled_back) {
    World world;
    {
        auto transaction = world.producer.begin({{"id", "order-1"}});
        transaction.send(world.orders, Record("never"));
    }
    CHECK(!has(world.engine.transactions(), "order-1"));
    auto transaction = world.producer.begin({{"id", "order-1"}});
    transaction.send(world.orders, Record("never"));
    transaction.roll_back();
    transaction.roll_back();
    CHECK(transaction.state() == TransactionState::rolled_back);
    CHECK_THROWS(RINGLANE_ERROR_TRANSACTION_CONFLICT, transaction.commit());
    CHECK(transaction.receipts().empty());
    CHECK_EQUAL(world.orders.offsets(0).next, 0u);
}

TEST(an_exception_between_begin_and_commit_rolls_back) {
    World world;
    const auto place = [&] {
        auto transaction = world.producer.begin({{"id", "order-1"}});
        transaction.send(world.orders, Record("never"));
        transaction.send(world.engine.topic("nowhere"), Record("never"));
        transaction.commit();
    };
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TOPIC, place());
    CHECK_EQUAL(world.engine.transactions(), "[]");
    CHECK_EQUAL(world.orders.offsets(0).next, 0u);
}

TEST(a_transaction_that_takes_too_long_is_aborted) {
    World world;
    auto transaction = world.producer.begin({{"timeout_ms", 20}});
    transaction.send(world.orders, Record("never"));
    std::this_thread::sleep_for(200ms);
    const Error error = CHECK_THROWS(RINGLANE_ERROR_TRANSACTION_TIMED_OUT, transaction.commit());
    CHECK(error.aborted());
    CHECK_EQUAL(error.details()[0], 20u);
    CHECK(transaction.state() == TransactionState::rolled_back);
}

TEST(a_transaction_acknowledges_what_it_was_made_of) {
    Group group;
    const Topic results = group.engine.create_topic("results");
    group.send({"a", "b"});
    auto member = group.join();
    const Records records = std::move(member.poll(LONG).value());
    auto transaction = group.producer.begin();
    for (const auto record : records) {
        transaction.send(results, Record(record.value_bytes()));
    }
    transaction.ack(member, records);
    CHECK_EQUAL(CHECK_THROWS(RINGLANE_ERROR_NOT_DELIVERED, transaction.ack(member, Delivery{})).done(), 0u);
    transaction.commit();
    CHECK_EQUAL(read(group.engine, results, 2)[1], "b");
    CHECK(!member.poll(0ms).has_value());
    CHECK_EQUAL(member.in_flight(), 0u);
}

TEST(half_messages_are_decided_over_a_restart_by_their_id) {
    const Directory directory;
    {
        const Engine engine = open(directory);
        const Topic topic = engine.create_topic("orders");
        const auto producer = engine.producer();
        for (const char* id : {"one", "two"}) {
            auto transaction = producer.begin({{"id", id}, {"checker", "checker"}});
            transaction.send(topic, Record(id));
            transaction.prepare();
            CHECK(transaction.state() == TransactionState::prepared);
        }
    }
    const Engine engine = open(directory);
    CHECK(has(engine.describe_transaction("one"), "\"checker\""));
    engine.commit_transaction("one");
    engine.commit_transaction("one");
    engine.roll_back_transaction("two");
    CHECK_THROWS(RINGLANE_ERROR_TRANSACTION_CONFLICT, engine.roll_back_transaction("one"));
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TRANSACTION, engine.commit_transaction("three"));
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TRANSACTION, engine.describe_transaction("three"));
    CHECK_EQUAL(read(engine, engine.topic("orders"), 1)[0], "one");
}

TEST(a_checker_is_asked_through_the_queue) {
    const Directory directory;
    {
        const Engine engine = open(directory);
        const Topic topic = engine.create_topic("orders");
        auto transaction = engine.producer().begin({{"id", "order-1"}, {"checker", "database"}});
        transaction.send(topic, Record("half"));
        transaction.prepare();
    }
    const Engine engine = open(directory);
    const Queue queue = Queue::create();
    engine.register_checker("database", queue, 4, {{"first_ms", 1}, {"interval_ms", 1}});
    Event event = one_event(queue, EventKind::check);
    CHECK_EQUAL(event.user_data(), 4u);
    CHECK_EQUAL(queue.describe(event).unknown, 0u);
    queue.answer(event, ringlane::CheckAnswer::unknown);
    event = one_event(queue, EventKind::check);
    const ringlane::Check question = queue.describe(event);
    CHECK_EQUAL(question.id, "order-1");
    CHECK_EQUAL(question.records, 1u);
    CHECK_EQUAL(question.unknown, 1u);
    CHECK(question.prepared > std::chrono::system_clock::now() - 1h);
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, queue.answer(event, static_cast<ringlane::CheckAnswer>(9)));
    queue.answer(event, ringlane::CheckAnswer::commit);
    CHECK_EQUAL(read(engine, engine.topic("orders"), 1)[0], "half");
    CHECK_THROWS(RINGLANE_ERROR_INVALID_ARGUMENT, queue.answer(event, ringlane::CheckAnswer::roll_back));
    engine.unregister_checker("database");
    engine.unregister_checker("nobody");
}

// ----- threads at their end -----

// In every form, and the calls around it.
void send_and_read(World& world, const Queue& queue) {
    world.producer.send_batch(world.orders, {Record("good"), Record("bye")});
    world.producer.send_batch_async(world.orders, {Record("good"), Record("bye")}, queue, 1);
    world.producer.send_async(world.orders, Record("bye"), queue);
    world.producer.send(world.orders, Record("bye"));
    CHECK_THROWS(RINGLANE_ERROR_UNKNOWN_TOPIC, world.engine.topic("nowhere"));
    auto consumer = world.engine.consumer();
    consumer.assign(world.orders, Start::beginning());
    CHECK(consumer.poll(LONG).has_value());
}

// Does that when its thread ends.
struct Farewell {
    World* world = nullptr;
    const Queue* queue = nullptr;
    std::string* failure = nullptr;

    ~Farewell() {
        if (world == nullptr) {
            return;
        }
        try {
            send_and_read(*world, *queue);
            failure->clear();
        } catch (const std::exception& error) {
            *failure = error.what();
        }
    }
};

thread_local Farewell farewell;

// Objects of a thread end in the order in which they did not begin: this one after those of the library, or before them.
TEST(an_object_of_a_thread_may_send_when_it_ends) {
    for (const bool begins_first : {true, false}) {
        World world;
        const Queue queue = Queue::create();
        std::string failure = "it did not come to it";
        std::thread([&] {
            const auto make = [&] {
                farewell.world = &world;
                farewell.queue = &queue;
                farewell.failure = &failure;
            };
            if (begins_first) {
                make();
            }
            send_and_read(world, queue);
            make();
        }).join();
        CHECK_EQUAL(failure, "");
        // Said twice, and nothing of it has stopped the engine.
        world.engine.sync();
        CHECK_EQUAL(world.orders.offsets(0).next, 12u);
        for (int events = 0; events < 4;) {
            for (const Event& event : queue.drain(LONG)) {
                CHECK(event.ok());
                ++events;
            }
        }
    }
}

// ----- processes -----

TEST(a_child_of_fork_is_told_and_hangs_nowhere) {
    World world;
    auto consumer = world.engine.consumer();
    std::array<int, 2> ends{};
    CHECK_EQUAL(pipe(ends.data()), 0);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int failures = 0;
        const auto is_forked = [&](auto run) {
            try {
                run();
                ++failures;
            } catch (const Error& error) {
                failures += error.status() == RINGLANE_ERROR_FORKED ? 0 : 1;
            }
        };
        is_forked([&] { world.producer.send(world.orders, Record("child")); });
        is_forked([&] { consumer.poll(0ms); });
        is_forked([&] { world.engine.close(); });
        is_forked([&] { world.engine.stats(); });
        {
            // Destructors leave what is the parent's alone.
            const ringlane::Consumer gone(std::move(consumer));
            const Engine engine(std::move(world.engine));
        }
        // It ends without exiting: what the parent's threads have in their hands would be told as leaks of the child.
        const char answer = failures == 0 ? 'y' : 'n';
        if (write(ends[1], &answer, 1) == 1) {
            kill(getpid(), SIGKILL);
        }
        _exit(1);
    }
    close(ends[1]);
    char answer = '?';
    CHECK_EQUAL(::read(ends[0], &answer, 1), 1);
    close(ends[0]);
    int status = 0;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(answer, 'y');
    world.send({"parent"});
    CHECK_EQUAL(world.orders.offsets(0).next, 1u);
}

}  // namespace

int main(int count, char** arguments) {
    const std::string filter = count > 1 ? arguments[1] : "";
    int passed = 0;
    int failed = 0;
    int filtered = 0;
    for (const Test& test : tests()) {
        if (!has(test.name, filter)) {
            ++filtered;
            continue;
        }
        std::string reason;
        try {
            test.run();
        } catch (const std::exception& error) {
            reason = error.what();
        }
        (reason.empty() ? passed : failed) += 1;
        std::cout << "test " << test.name << " ... " << (reason.empty() ? "ok" : "FAILED: " + reason) << std::endl;
    }
    std::cout << "\ntest result: " << (failed == 0 ? "ok" : "FAILED") << ". " << passed << " passed; " << failed
              << " failed; 0 ignored; 0 measured; " << filtered << " filtered out" << std::endl;
    return failed == 0 ? 0 : 1;
}
