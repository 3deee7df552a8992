// Ringlane for C++17 and newer: the functions of ringlane.h as classes. All of it is in this header; link libringlane.
//
// The rules of every class:
//
// - Handles are moved and not copied. Their destructors free what they have, and throw nothing. One that is empty (moved
//   from, or made without anything) may be destroyed, assigned to and asked whether it is empty; all else throws an Error
//   with RINGLANE_ERROR_DEAD_HANDLE.
// - What fails throws ringlane::Error. What is not found, or did not come in time, is an empty std::optional.
// - Methods that are const may be called from any thread, all others by one thread at a time; another one gets
//   RINGLANE_ERROR_IN_USE. A handle that is moved, assigned to or destroyed is used by nobody else.
// - Texts and bytes that are given are copied before the call returns. Texts are UTF-8 and have no zero in them. Texts that
//   come back are copies, but for what a batch of records leads to.
// - Timeouts: 0 does not wait, a negative one (ringlane::forever) waits for ever.
//
// What blocks and which errors a call may have stands in ringlane.h, at the function that the method is named after.

#ifndef RINGLANE_HPP
#define RINGLANE_HPP

#include "ringlane.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace ringlane {

class Records;
class RecordView;

// Waits for ever.
inline constexpr std::chrono::milliseconds forever{-1};

// Any partition: by the key, or each in turn; of a topic that is assigned: all of them.
inline constexpr std::uint32_t any_partition = RINGLANE_ANY_PARTITION;

// A time of a record, by the wall clock.
using Timestamp = std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;

// The name of a status: `ok`, `unknown-topic`, ...
inline std::string_view status_name(ringlane_status status) { return ringlane_status_name(status); }

// The version of the library, such as `0.1.0`.
inline std::string_view version() { return ringlane_version(); }

// The ABI version of the library that is loaded; RINGLANE_ABI_VERSION is that of the header.
inline std::uint32_t abi_version() { return ringlane_abi_version(); }

// What went wrong; what() says what happened, where, and what to do. It belongs to nothing, and may be kept and copied.
class Error : public std::runtime_error {
public:
    explicit Error(const ringlane_error& error, std::size_t done = 0)
        : std::runtime_error(std::string(error.message, error.message_bytes)),
          status_(error.status), flags_(error.flags), system_error_(error.system_error), done_(done),
          details_{error.details[0], error.details[1], error.details[2], error.details[3]} {
        std::memcpy(name_.data(), error.name, name_.size());
    }

    Error(ringlane_status status, const std::string& message) : std::runtime_error(message), status_(status) {}

    // RINGLANE_ERROR_...
    ringlane_status status() const noexcept { return status_; }

    // The name of the status.
    std::string_view code() const noexcept { return status_name(status_); }

    // The same call may succeed later, without anything being done twice.
    bool retriable() const noexcept { return (flags_ & RINGLANE_RETRIABLE) != 0; }

    // Every later call fails too, until the engine is opened again.
    bool fatal() const noexcept { return (flags_ & RINGLANE_FATAL) != 0; }

    // What was asked for may have happened or not; of a batch, that part of it did, or may have.
    bool unknown_outcome() const noexcept { return (flags_ & RINGLANE_UNKNOWN_OUTCOME) != 0; }

    // The transaction is over, and was rolled back; begin another.
    bool aborted() const noexcept { return (flags_ & RINGLANE_ABORTED) != 0; }

    // The errno of the operation that failed, or 0.
    int system_error() const noexcept { return system_error_; }

    // What it is about, for programs: the name of the topic, else of the producer or group, or the id of the transaction;
    // empty, if it is about none of them.
    std::string name() const { return name_.data(); }

    // Figures; which, the comment of the status in ringlane.h says.
    const std::array<std::uint64_t, 4>& details() const noexcept { return details_; }

    // Of several deliveries, how many were done all the same.
    std::size_t done() const noexcept { return done_; }

private:
    ringlane_status status_;
    std::uint32_t flags_ = 0;
    int system_error_ = 0;
    std::size_t done_ = 0;
    std::array<std::uint64_t, 4> details_{};
    // Of a fixed size: an exception that is copied must not throw another one.
    std::array<char, RINGLANE_NAME_BYTES> name_{};
};

// Bytes that belong to somebody else, as a pointer and a size. Null and empty differ: null has no pointer at all. They
// come from everything that has data() and size() of bytes, from texts, and from nullptr and std::nullopt.
class Bytes {
public:
    constexpr Bytes() noexcept = default;
    constexpr Bytes(std::nullptr_t) noexcept {}
    constexpr Bytes(std::nullopt_t) noexcept {}

    // A text up to its zero; a null pointer is null.
    Bytes(const char* text) noexcept
        : data_(as_bytes(text)), size_(text == nullptr ? 0 : std::strlen(text)) {}

    // A null pointer is null, whatever the size is.
    Bytes(const void* data, std::size_t size) noexcept
        : data_(as_bytes(data)), size_(data == nullptr ? 0 : size) {}

    Bytes(const ringlane_bytes& bytes) noexcept : Bytes(bytes.data, bytes.size) {}

    // std::string_view, std::string, std::vector<std::uint8_t>, std::array<std::byte, N>, ... They are never null.
    template <typename Container,
              typename Element = std::remove_cv_t<std::remove_pointer_t<decltype(std::declval<const Container&>().data())>>,
              typename = decltype(std::declval<const Container&>().size()),
              typename = std::enable_if_t<!std::is_same_v<Container, Bytes> &&
                                          (std::is_same_v<Element, char> || std::is_same_v<Element, std::uint8_t> ||
                                           std::is_same_v<Element, std::byte>)>>
    Bytes(const Container& container) noexcept
        : data_(container.data() == nullptr ? nothing() : as_bytes(container.data())), size_(container.size()) {}

    // Null, if there is nothing in it.
    template <typename Content>
    Bytes(const std::optional<Content>& content) noexcept : Bytes(content ? Bytes(*content) : Bytes()) {}

    const std::uint8_t* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool is_null() const noexcept { return data_ == nullptr; }
    bool empty() const noexcept { return size_ == 0; }
    const std::uint8_t* begin() const noexcept { return data_; }
    const std::uint8_t* end() const noexcept { return size_ == 0 ? data_ : data_ + size_; }

    // The same bytes as text; nothing, if they are null.
    std::optional<std::string_view> text() const noexcept {
        if (is_null()) {
            return std::nullopt;
        }
        return std::string_view(reinterpret_cast<const char*>(data_), size_);
    }

    ringlane_bytes raw() const noexcept { return ringlane_bytes{data_, size_}; }

    friend bool operator==(const Bytes& left, const Bytes& right) noexcept {
        return left.is_null() == right.is_null() && left.size_ == right.size_ &&
               (left.size_ == 0 || std::memcmp(left.data_, right.data_, left.size_) == 0);
    }
    friend bool operator!=(const Bytes& left, const Bytes& right) noexcept { return !(left == right); }

private:
    static const std::uint8_t* as_bytes(const void* data) noexcept { return static_cast<const std::uint8_t*>(data); }

    // Where empty bytes lead that have no place of their own.
    static const std::uint8_t* nothing() noexcept {
        static const std::uint8_t place = 0;
        return &place;
    }

    const std::uint8_t* data_ = nullptr;
    std::size_t size_ = 0;
};

namespace detail {

// Calls a function of the library, and throws what it fails with.
template <typename Function, typename... Arguments>
void call(Function function, Arguments... arguments) {
    ringlane_error error;
    if (function(arguments..., &error) != RINGLANE_OK) {
        throw Error(error);
    }
}

// A text with the zero that the library wants. One that has a zero in it would be cut, so it is refused.
class Text {
public:
    explicit Text(std::string_view text) : text_(text) {
        if (text.find('\0') != std::string_view::npos) {
            throw Error(RINGLANE_ERROR_INVALID_ARGUMENT, "a text has a zero in it: `" + text_.substr(0, text.find('\0')) +
                                                             "...`; names and values of options have none");
        }
    }
    const char* get() const noexcept { return text_.c_str(); }

private:
    std::string text_;
};

// A handle that is freed when it goes.
template <typename Raw, ringlane_status (*Free)(Raw*, ringlane_error*)>
class Handle {
public:
    // An empty one.
    Handle() noexcept = default;

    // One that the C functions gave, and that belongs to this object from now on.
    explicit Handle(Raw* owned) noexcept : raw_(owned) {}

    Handle(Handle&& other) noexcept : raw_(other.release()) {}
    Handle& operator=(Handle&& other) noexcept {
        if (this != &other) {
            reset(other.release());
        }
        return *this;
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() { reset(); }

    // Whether it has something.
    explicit operator bool() const noexcept { return raw_ != nullptr; }

    // What it has, for the C functions; it still belongs to this object.
    Raw* get() const {
        if (raw_ == nullptr) {
            throw Error(RINGLANE_ERROR_DEAD_HANDLE, "the handle is empty: it was moved from, freed, or never made");
        }
        return raw_;
    }

    // Gives away what it has, to be freed by somebody else.
    Raw* release() noexcept { return std::exchange(raw_, nullptr); }

    // Frees what it has now, and takes something else.
    void reset(Raw* owned = nullptr) noexcept {
        Raw* const old = std::exchange(raw_, owned);
        if (old != nullptr) {
            // Nobody could be told. In a child of fork it is the parent's, and stays untouched.
            static_cast<void>(Free(old, nullptr));
        }
    }

private:
    Raw* raw_ = nullptr;
};

using OptionsHandle = Handle<ringlane_options, ringlane_options_free>;
using TextHandle = Handle<ringlane_text, ringlane_text_free>;

// Calls a function that gives a text, and copies that.
template <typename Function, typename... Arguments>
std::string text_of(Function function, Arguments... arguments) {
    ringlane_text* made = nullptr;
    call(function, arguments..., &made);
    const TextHandle text(made);
    const char* data = nullptr;
    std::size_t size = 0;
    call(ringlane_text_get, text.get(), &data, &size);
    return std::string(data, size);
}

}  // namespace detail

// An option by its name. Numbers, true and false, and times in ms become the text that the library wants.
struct Option {
    std::string key;
    std::string value;

    Option(std::string_view name, std::string_view text) : key(name), value(text) {}
    Option(std::string_view name, const char* text) : key(name), value(text) {}
    template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
    Option(std::string_view name, Number number) : key(name) {
        if constexpr (std::is_same_v<Number, bool>) {
            value = number ? "true" : "false";
        } else {
            value = std::to_string(number);
        }
    }
    Option(std::string_view name, std::chrono::milliseconds time) : Option(name, time.count()) {}
};

// Options of anything: {{"partitions", 4}, {"retention_ms", "60000"}}. Which there are stands at RINGLANE_OPTIONS_... in
// ringlane.h; they are looked at by the call that they are given to. It owns its texts, and may be used several times.
class Options {
public:
    Options() = default;
    Options(std::initializer_list<Option> options) : options_(options) {}

    template <typename Value>
    Options& set(std::string_view key, const Value& value) {
        options_.emplace_back(key, value);
        return *this;
    }

    // For the C functions; `kind` is one of RINGLANE_OPTIONS_...
    detail::OptionsHandle make(std::int32_t kind) const {
        ringlane_options* made = nullptr;
        detail::call(ringlane_options_new, kind, &made);
        detail::OptionsHandle handle(made);
        for (const Option& option : options_) {
            detail::call(ringlane_options_set, handle.get(), detail::Text(option.key).get(), detail::Text(option.value).get());
        }
        return handle;
    }

private:
    std::vector<Option> options_;
};

// Where to read from.
class Start {
public:
    static Start beginning() noexcept { return Start(RINGLANE_START_BEGINNING, 0); }
    static Start end() noexcept { return Start(RINGLANE_START_END, 0); }
    static Start offset(std::uint64_t offset) {
        if (offset > static_cast<std::uint64_t>(INT64_MAX)) {
            throw Error(RINGLANE_ERROR_INVALID_ARGUMENT, "offset: " + std::to_string(offset) + " is more than any record has");
        }
        return Start(RINGLANE_START_OFFSET, static_cast<std::int64_t>(offset));
    }
    template <typename Duration>
    static Start timestamp(std::chrono::time_point<std::chrono::system_clock, Duration> time) {
        // The first record at or after a time between two milliseconds is not before the later one.
        return Start(RINGLANE_START_TIMESTAMP, std::chrono::ceil<std::chrono::milliseconds>(time.time_since_epoch()).count());
    }

    std::int32_t kind() const noexcept { return kind_; }
    std::int64_t value() const noexcept { return value_; }

private:
    Start(std::int32_t kind, std::int64_t value) noexcept : kind_(kind), value_(value) {}
    std::int32_t kind_;
    std::int64_t value_;
};

// A record to be sent. It owns nothing: what its key, value, headers, tag and message id lead to must live until it was
// sent. So build it in the call that sends it, or keep the texts beside it.
class Record {
public:
    Record() noexcept : raw_{} { raw_.struct_size = sizeof(ringlane_record); }
    explicit Record(Bytes value) noexcept : Record() { raw_.value = value.raw(); }

    // Records with the same key go to the same partition. Null: none.
    Record& key(Bytes bytes) noexcept { return with(raw_.key, bytes); }
    Record& value(Bytes bytes) noexcept { return with(raw_.value, bytes); }

    // Adds a header; names may repeat. A null value becomes an empty one.
    Record& header(std::string_view name, Bytes bytes) {
        headers_.push_back(ringlane_header{Bytes(name).raw(), bytes.raw()});
        return *this;
    }

    // What kind of record it is, for filters.
    Record& tag(std::string_view text) noexcept { return with(raw_.tag, Bytes(text)); }

    // What its sender knows it by, 1 to 128 bytes: sent again, it is answered with the first receipt. Null: nothing.
    Record& message_id(Bytes bytes) noexcept { return with(raw_.message_id, bytes); }

    Record& partition(std::uint32_t number) noexcept {
        raw_.partition = number;
        return flag(RINGLANE_RECORD_PARTITION);
    }

    template <typename Duration>
    Record& timestamp(std::chrono::time_point<std::chrono::system_clock, Duration> time) {
        raw_.timestamp_ms = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count();
        return flag(RINGLANE_RECORD_TIMESTAMP);
    }

    // It becomes visible at a time, and not before.
    template <typename Duration>
    Record& visible_at(std::chrono::time_point<std::chrono::system_clock, Duration> time) {
        raw_.visible_ms = std::chrono::ceil<std::chrono::milliseconds>(time.time_since_epoch()).count();
        raw_.flags &= ~static_cast<std::uint32_t>(RINGLANE_RECORD_VISIBLE_AFTER);
        return flag(RINGLANE_RECORD_VISIBLE_AT);
    }

    // It becomes visible so long after it was sent.
    Record& visible_after(std::chrono::milliseconds delay) noexcept {
        raw_.visible_ms = delay.count();
        raw_.flags &= ~static_cast<std::uint32_t>(RINGLANE_RECORD_VISIBLE_AT);
        return flag(RINGLANE_RECORD_VISIBLE_AFTER);
    }

    // Its number among its named producer's records in the partition.
    Record& sequence(std::uint64_t number) noexcept {
        raw_.sequence = number;
        return flag(RINGLANE_RECORD_SEQUENCE);
    }

    // Comes back in the event of an asynchronous send.
    Record& user_data(std::uint64_t data) noexcept {
        raw_.user_data = data;
        return *this;
    }

    // For the C functions; valid until this record is changed or goes.
    ringlane_record raw() const noexcept {
        ringlane_record record = raw_;
        record.headers = headers_.empty() ? nullptr : headers_.data();
        record.header_count = headers_.size();
        return record;
    }

private:
    Record& with(ringlane_bytes& field, Bytes bytes) noexcept {
        field = bytes.raw();
        return *this;
    }
    Record& flag(std::uint32_t flag_set) noexcept {
        raw_.flags |= flag_set;
        return *this;
    }

    ringlane_record raw_;
    std::vector<ringlane_header> headers_;
};

// The identity of a record that was sent: what a delayed one is cancelled or published by.
struct RecordId {
    std::uint32_t log;
    std::uint64_t position;
    std::uint32_t index;
};

// The proof that a record was taken. A plain value.
struct Receipt {
    std::uint32_t partition = 0;
    // Empty: it is delayed, and gets an offset when it becomes visible.
    std::optional<std::uint64_t> offset;
    Timestamp timestamp;
    RecordId id{0, 0, 0};
    // Who wrote it: the producer's number and epoch, and as which one of its records in the partition.
    std::uint32_t producer = 0;
    std::uint32_t epoch = 0;
    std::uint64_t sequence = 0;
    // It was there before; this is the receipt of then, and nothing was written.
    bool duplicate = false;
    // It is on the device. Else it was sent with durability `buffered`.
    bool synced = false;

    Receipt() = default;
    explicit Receipt(const ringlane_receipt& raw)
        : partition(raw.partition), timestamp(std::chrono::milliseconds(raw.timestamp_ms)),
          id{raw.log, raw.position, raw.index}, producer(raw.producer), epoch(raw.epoch), sequence(raw.sequence),
          duplicate((raw.flags & RINGLANE_RECEIPT_DUPLICATE) != 0), synced((raw.flags & RINGLANE_RECEIPT_SYNCED) != 0) {
        if ((raw.flags & RINGLANE_RECEIPT_OFFSET) != 0) {
            offset = raw.offset;
        }
    }
};

enum class EventKind : std::uint32_t {
    // A record that was sent has its outcome.
    sent = RINGLANE_EVENT_SENT,
    // All records of a batch have their outcomes.
    batch_sent = RINGLANE_EVENT_BATCH_SENT,
    // A checker is asked how a transaction ended: Queue::describe and Queue::answer.
    check = RINGLANE_EVENT_CHECK,
    // A consumer or member has something to be polled, or an error.
    readable = RINGLANE_EVENT_READABLE,
};

// What an asynchronous call came to. A plain value.
class Event {
public:
    EventKind kind() const noexcept { return static_cast<EventKind>(raw_.kind); }
    // RINGLANE_OK, or what went wrong; of a batch, the first error. Queue::error tells more.
    ringlane_status status() const noexcept { return raw_.status; }
    bool ok() const noexcept { return raw_.status == RINGLANE_OK; }
    bool retriable() const noexcept { return (raw_.flags & RINGLANE_RETRIABLE) != 0; }
    bool fatal() const noexcept { return (raw_.flags & RINGLANE_FATAL) != 0; }
    bool unknown_outcome() const noexcept { return (raw_.flags & RINGLANE_UNKNOWN_OUTCOME) != 0; }
    std::uint64_t user_data() const noexcept { return raw_.user_data; }
    // How many records, or the number of a question: the kind says.
    std::uint64_t count() const noexcept { return raw_.count; }
    // Of one record that was sent.
    std::optional<Receipt> receipt() const {
        if (kind() != EventKind::sent || !ok()) {
            return std::nullopt;
        }
        return Receipt(raw_.receipt);
    }
    const ringlane_event& raw() const noexcept { return raw_; }

private:
    friend class Queue;
    ringlane_event raw_{};
};

// A transaction that a checker is asked of. A plain value.
struct Check {
    std::string id;
    Timestamp prepared;
    std::uint64_t records = 0;
    // How often the answer was `unknown`, in this opening.
    std::uint32_t unknown = 0;
};

enum class CheckAnswer : std::int32_t {
    // Its local part is committed.
    commit = RINGLANE_CHECK_COMMIT,
    // Its local part is not there, and never will be.
    roll_back = RINGLANE_CHECK_ROLL_BACK,
    // Nobody can tell yet; ask again.
    unknown = RINGLANE_CHECK_UNKNOWN,
};

// Where the ends of asynchronous calls arrive. One may serve any number of producers, consumers and engines.
//
// Threads: any; several may drain. Blocking: only drain and dispatch. Closed when it goes: its events are dropped, and what
// was sent goes its way.
class Queue : public detail::Handle<ringlane_queue, ringlane_queue_free> {
public:
    using Handle::Handle;

    // A new queue; the default constructor makes an empty handle.
    static Queue create() {
        ringlane_queue* made = nullptr;
        detail::call(ringlane_queue_new, &made);
        return Queue(made);
    }

    // A descriptor that is readable as long as the queue has events, for epoll and its like. Do not read or close it.
    int fd() const {
        std::int32_t fd = -1;
        detail::call(ringlane_queue_fd, get(), &fd);
        return fd;
    }

    // Takes up to `count_max` events out; waits for the first one. Empty after the time.
    std::vector<Event> drain(std::chrono::milliseconds timeout, std::size_t count_max = 256) const {
        std::vector<Event> events;
        drain_into(events, timeout, count_max);
        return events;
    }

    // The same into a vector whose memory is used again; what was in it is gone. How many there were.
    std::size_t drain_into(std::vector<Event>& events, std::chrono::milliseconds timeout, std::size_t count_max = 256) const {
        static_assert(std::is_standard_layout_v<Event> && sizeof(Event) == sizeof(ringlane_event), "an event is its bytes");
        ringlane_queue* const queue = get();
        events.resize(count_max);
        std::size_t count = 0;
        try {
            ringlane_event* const first = events.empty() ? nullptr : &events.front().raw_;
            detail::call(ringlane_queue_drain, queue, first, sizeof(Event), count_max, timeout.count(), &count);
        } catch (...) {
            events.clear();
            throw;
        }
        events.resize(count);
        return count;
    }

    // The same for who wants a function called: it is given each event, as `const Event&`, on this thread and inside this
    // call. It may make any call, also send, drain or close this queue. How many there were; at most 4,096 in one call.
    //
    // If it throws, it is given the events behind that one all the same, for they were taken out and nobody else has them;
    // the first exception is thrown on after the last of them, and others are dropped.
    template <typename Function>
    std::size_t dispatch(Function&& function, std::chrono::milliseconds timeout, std::size_t count_max = 256) const {
        Dispatched<std::remove_reference_t<Function>> dispatched{function, nullptr};
        std::size_t count = 0;
        detail::call(ringlane_queue_dispatch, get(), &dispatched.give, static_cast<void*>(&dispatched), count_max,
                     timeout.count(), &count);
        if (dispatched.first) {
            std::rethrow_exception(dispatched.first);
        }
        return count;
    }

    // What went wrong with an event. The last 1,024 of a queue are kept; of others the status alone is known.
    Error error(const Event& event) const {
        ringlane_error of_event;
        detail::call(ringlane_queue_error, get(), event.raw().error_id, &of_event);
        return Error(of_event);
    }

    // How many asynchronous sends have no event yet.
    std::uint64_t pending() const {
        std::uint64_t pending = 0;
        detail::call(ringlane_queue_pending, get(), &pending);
        return pending;
    }

    // What is asked with an event of the kind `check`.
    Check describe(const Event& event) const {
        ringlane_check raw{};
        raw.struct_size = sizeof(ringlane_check);
        detail::call(ringlane_check_describe, get(), event.count(), &raw);
        Check check;
        check.id = raw.id;
        check.prepared = Timestamp(std::chrono::milliseconds(raw.prepared_ms));
        check.records = raw.records;
        check.unknown = raw.unknown;
        return check;
    }

    // Answers a question, once.
    void answer(const Event& event, CheckAnswer answer) const {
        detail::call(ringlane_check_answer, get(), event.count(), static_cast<std::int32_t>(answer));
    }

    // Ends the drain that waits in another thread, or the next one that finds nothing: RINGLANE_ERROR_WOKEN.
    void wakeup() const { detail::call(ringlane_queue_wakeup, get()); }

    // Threads that drain it get RINGLANE_ERROR_CLOSED. Closing again changes nothing.
    void close() const { detail::call(ringlane_queue_close, get()); }

private:
    // Stands between the C function and a function that may throw: no exception may leave it towards the library.
    template <typename Function>
    struct Dispatched {
        Function& function;
        std::exception_ptr first;

        static void give(void* context, const ringlane_event* raw) noexcept {
            auto& dispatched = *static_cast<Dispatched*>(context);
            Event event;
            event.raw_ = *raw;
            try {
                dispatched.function(static_cast<const Event&>(event));
            } catch (...) {
                if (!dispatched.first) {
                    dispatched.first = std::current_exception();
                }
            }
        }
    };
};

// A handle to a topic; the topic stays when it goes. Threads: any.
class Topic : public detail::Handle<ringlane_topic, ringlane_topic_free> {
public:
    using Handle::Handle;

    // Which offsets a partition has: the first that is kept, and the one behind the last that is visible.
    struct Offsets {
        std::uint64_t first;
        std::uint64_t next;
    };

    std::uint32_t partitions() const {
        std::uint32_t partitions = 0;
        detail::call(ringlane_topic_partitions, get(), &partitions);
        return partitions;
    }

    Offsets offsets(std::uint32_t partition) const {
        Offsets offsets{0, 0};
        detail::call(ringlane_topic_offsets, get(), partition, &offsets.first, &offsets.next);
        return offsets;
    }
};

// Names a delivery to a member of a group: what is acknowledged. A plain value that outlives its batch.
using Delivery = ringlane_delivery;

// Names and values that travel with a record, as views into its batch.
struct HeaderView {
    std::string_view name;
    Bytes value;
};

// A record of a batch. It is a view: all of it is valid as long as the batch is there, wherever that was moved.
// Threads: any; several may read at once.
class RecordView {
public:
    std::string_view topic() const noexcept { return *Bytes(raw_->topic).text(); }
    std::uint32_t partition() const noexcept { return raw_->partition; }
    std::uint64_t offset() const noexcept { return raw_->offset; }
    Timestamp timestamp() const noexcept { return Timestamp(std::chrono::milliseconds(raw_->timestamp_ms)); }
    // Empty: it has none.
    std::optional<std::string_view> key() const noexcept { return key_bytes().text(); }
    // Empty: it is null.
    std::optional<std::string_view> value() const noexcept { return value_bytes().text(); }
    Bytes key_bytes() const noexcept { return raw_->key; }
    Bytes value_bytes() const noexcept { return raw_->value; }
    // Null: it has none.
    Bytes message_id() const noexcept { return raw_->message_id; }
    // The whole record in its layout (docs/FORMAT.md), for Producer::send_packed.
    Bytes packed() const noexcept { return raw_->record; }
    // Who wrote it: the producer's number (0: one without a name), its epoch, and which of its records it is.
    std::uint32_t producer() const noexcept { return raw_->producer; }
    std::uint32_t epoch() const noexcept { return raw_->epoch; }
    std::uint64_t sequence() const noexcept { return raw_->sequence; }
    // It was delayed, and may stand behind records that were sent after it.
    bool is_late() const noexcept { return (raw_->flags & RINGLANE_VIEW_LATE) != 0; }
    std::uint32_t header_count() const noexcept { return raw_->header_count; }
    // How often it was handed to members of the group, this time included; 0 without a group.
    std::uint32_t delivery_count() const noexcept { return raw_->delivery_count; }
    // What a member acknowledges.
    const Delivery& delivery() const noexcept { return raw_->delivery; }
    const ringlane_record_view& raw() const noexcept { return *raw_; }

    std::vector<HeaderView> headers() const {
        std::vector<ringlane_header> raw_headers(header_count());
        std::size_t count = 0;
        if (!raw_headers.empty()) {
            detail::call(ringlane_records_headers, batch_, index_, raw_headers.data(), sizeof(ringlane_header),
                         raw_headers.size(), &count);
        }
        std::vector<HeaderView> headers;
        headers.reserve(raw_headers.size());
        for (const ringlane_header& header : raw_headers) {
            headers.push_back(HeaderView{*Bytes(header.name).text(), Bytes(header.value)});
        }
        return headers;
    }

    // The value of the first header of a name; empty: there is none.
    std::optional<std::string_view> header(std::string_view name) const {
        for (const HeaderView& header : headers()) {
            if (header.name == name) {
                return header.value.text();
            }
        }
        return std::nullopt;
    }

    std::optional<std::string_view> tag() const { return header("tag"); }

private:
    friend class Records;
    RecordView(const ringlane_record_view* raw, const ringlane_records* batch, std::size_t index) noexcept
        : raw_(raw), batch_(batch), index_(index) {}

    const ringlane_record_view* raw_;
    const ringlane_records* batch_;
    std::size_t index_;
};

// Records that were polled, never none of them. It owns their memory: keep it in a variable as long as its views are
// used; `for (auto record : *consumer.poll(...))` frees it too early. It outlives the consumer and the engine.
//
// Threads: any; several may read at once.
class Records {
public:
    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = RecordView;
        using difference_type = std::ptrdiff_t;
        using reference = RecordView;

        // What `->` leads to.
        class pointer {
        public:
            const RecordView* operator->() const noexcept { return &view_; }

        private:
            friend class Iterator;
            explicit pointer(RecordView view) noexcept : view_(view) {}
            RecordView view_;
        };

        RecordView operator*() const { return (*records_)[index_]; }
        pointer operator->() const { return pointer(**this); }
        Iterator& operator++() noexcept {
            ++index_;
            return *this;
        }
        Iterator operator++(int) noexcept {
            const Iterator before = *this;
            ++index_;
            return before;
        }
        friend bool operator==(const Iterator& left, const Iterator& right) noexcept {
            return left.index_ == right.index_ && left.records_ == right.records_;
        }
        friend bool operator!=(const Iterator& left, const Iterator& right) noexcept { return !(left == right); }

    private:
        friend class Records;
        Iterator(const Records* records, std::size_t index) noexcept : records_(records), index_(index) {}
        const Records* records_;
        std::size_t index_;
    };

    // An empty handle, of no records.
    Records() noexcept = default;

    // What a C function gave, and that belongs to this object from now on.
    explicit Records(ringlane_records* owned) : handle_(owned) {
        detail::call(ringlane_records_view, handle_.get(), &views_, &stride_, &count_);
        if (stride_ < sizeof(ringlane_record_view)) {
            throw Error(RINGLANE_ERROR_INVALID_ARGUMENT, "the library is older than the header: build with its own one");
        }
    }

    Records(Records&& other) noexcept { swap(other); }
    Records& operator=(Records&& other) noexcept {
        Records taken(std::move(other));
        swap(taken);
        return *this;
    }
    Records(const Records&) = delete;
    Records& operator=(const Records&) = delete;
    ~Records() = default;

    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }
    std::size_t size() const noexcept { return count_; }
    bool empty() const noexcept { return count_ == 0; }

    RecordView operator[](std::size_t index) const {
        if (index >= count_) {
            throw Error(RINGLANE_ERROR_INVALID_ARGUMENT,
                        "index: " + std::to_string(index) + ", in a batch of " + std::to_string(count_));
        }
        return RecordView(at(index), handle_.get(), index);
    }

    Iterator begin() const noexcept { return Iterator(this, 0); }
    Iterator end() const noexcept { return Iterator(this, count_); }

    // For the C functions; it still belongs to this object.
    ringlane_records* get() const { return handle_.get(); }
    std::size_t stride() const noexcept { return stride_; }

    // Gives away the batch, to be freed by somebody else.
    ringlane_records* release() noexcept {
        views_ = nullptr;
        stride_ = count_ = 0;
        return handle_.release();
    }

    // Frees the batch now; what its views lead to is gone.
    void reset() noexcept { Records().swap(*this); }

    void swap(Records& other) noexcept {
        std::swap(handle_, other.handle_);
        std::swap(views_, other.views_);
        std::swap(stride_, other.stride_);
        std::swap(count_, other.count_);
    }

private:
    // The library's elements may be larger than those that this header knows.
    const ringlane_record_view* at(std::size_t index) const noexcept {
        const auto* const first = reinterpret_cast<const unsigned char*>(views_);
        return reinterpret_cast<const ringlane_record_view*>(first + index * stride_);
    }

    detail::Handle<ringlane_records, ringlane_records_free> handle_;
    const ringlane_record_view* views_ = nullptr;
    std::size_t stride_ = 0;
    std::size_t count_ = 0;
};

// Deliveries as the members' calls take them: one, a record of a batch, a vector, an array, or a batch. It owns nothing.
class Deliveries {
public:
    Deliveries(const Delivery& delivery) noexcept : Deliveries(&delivery, 1) {}
    Deliveries(const RecordView& record) noexcept : Deliveries(record.delivery()) {}
    Deliveries(const std::vector<Delivery>& deliveries) noexcept : Deliveries(deliveries.data(), deliveries.size()) {}
    Deliveries(const Delivery* first, std::size_t count) noexcept : first_(first), count_(count) {}
    Deliveries(const Records& records) : stride_(records.stride()), count_(records.size()) {
        first_ = records.empty() ? nullptr : &records[0].delivery();
        static_cast<void>(records.get());
    }

    const Delivery* first() const noexcept { return first_; }
    std::size_t stride() const noexcept { return stride_; }
    std::size_t count() const noexcept { return count_; }

private:
    const Delivery* first_ = nullptr;
    std::size_t stride_ = sizeof(Delivery);
    std::size_t count_;
};

// Reads partitions. It reads nothing before it is assigned something.
//
// Threads: one at a time, but close and wakeup. Blocking: poll, and explain_missing. What was polled outlives it.
class Consumer : public detail::Handle<ringlane_consumer, ringlane_consumer_free> {
public:
    using Handle::Handle;

    // Begins to read a partition, or goes on elsewhere in it.
    void assign(const Topic& topic, std::uint32_t partition, Start start) {
        detail::call(ringlane_consumer_assign, get(), topic.get(), partition, start.kind(), start.value());
    }

    // Begins to read all partitions of a topic.
    void assign(const Topic& topic, Start start) { assign(topic, any_partition, start); }

    void unassign(const Topic& topic, std::uint32_t partition = any_partition) {
        detail::call(ringlane_consumer_unassign, get(), topic.get(), partition);
    }

    // Goes on elsewhere in a partition that is read.
    void seek(const Topic& topic, std::uint32_t partition, Start start) {
        detail::call(ringlane_consumer_seek, get(), topic.get(), partition, start.kind(), start.value());
    }

    // The offset of the next record that a partition gives; empty: it is not assigned.
    std::optional<std::uint64_t> position(const Topic& topic, std::uint32_t partition) {
        std::int32_t found = 0;
        std::uint64_t offset = 0;
        detail::call(ringlane_consumer_position, get(), topic.get(), partition, &found, &offset);
        return found == 0 ? std::nullopt : std::optional<std::uint64_t>(offset);
    }

    // The next records; waits for the first one. Empty: none came in time; with a filter that may be short of the end, and
    // position says where it is.
    std::optional<Records> poll(std::chrono::milliseconds timeout) {
        ringlane_records* polled = nullptr;
        detail::call(ringlane_consumer_poll, get(), timeout.count(), &polled);
        return polled == nullptr ? std::nullopt : std::optional<Records>(std::in_place, polled);
    }

    // Ends the poll that waits in another thread, or the next one that would, with RINGLANE_ERROR_WOKEN.
    void wakeup() const { detail::call(ringlane_consumer_wakeup, get()); }

    // Has one event `readable` put into a queue when there is something to be polled.
    void notify(const Queue& queue, std::uint64_t user_data = 0) {
        detail::call(ringlane_consumer_notify, get(), queue.get(), user_data);
    }

    // JSON: what the numbers of the records that were polled say.
    std::string continuity() { return detail::text_of(ringlane_consumer_continuity, get()); }

    // JSON: why numbers are missing among the records that were polled.
    std::string explain_missing() { return detail::text_of(ringlane_consumer_explain_missing, get()); }

    // A thread that waits in a poll gets RINGLANE_ERROR_CLOSED, and so do later calls. Closing again changes nothing.
    void close() const { detail::call(ringlane_consumer_close, get()); }
};

enum class Once : std::int32_t {
    // Nothing is known of the token: process the record, and acknowledge it.
    fresh = RINGLANE_ONCE_FRESH,
    // A record with this token was acknowledged: acknowledge this one, and do nothing else.
    duplicate = RINGLANE_ONCE_DUPLICATE,
    // Another delivery claimed the token and goes on: nack this one, with a delay.
    in_progress = RINGLANE_ONCE_IN_PROGRESS,
};

// A member of a group. When it goes it leaves: what it holds is released, which is no failure, and handed to others at
// once.
//
// Threads: deliveries may end on any thread; poll, notify, pause and resume one at a time. Blocking: poll and flush.
// Errors: calls with several deliveries try each; Error::done says how many were done before it was thrown.
class Member : public detail::Handle<ringlane_member, ringlane_member_free> {
public:
    using Handle::Handle;

    // The next records, each under a lease; waits for the first one. Empty: none came in time.
    std::optional<Records> poll(std::chrono::milliseconds timeout) {
        ringlane_records* polled = nullptr;
        detail::call(ringlane_member_poll, get(), timeout.count(), &polled);
        return polled == nullptr ? std::nullopt : std::optional<Records>(std::in_place, polled);
    }

    // As those of Consumer.
    void wakeup() const { detail::call(ringlane_member_wakeup, get()); }
    void notify(const Queue& queue, std::uint64_t user_data = 0) {
        detail::call(ringlane_member_notify, get(), queue.get(), user_data);
    }

    // They were processed. Durable with the next flush, and soon without one.
    void ack(const Deliveries& deliveries) const { each(ringlane_member_ack, deliveries); }

    // All of a batch.
    void ack_all(const Records& records) const { detail::call(ringlane_member_ack_all, get(), records.get()); }

    // Everything of the delivery's partition that this member holds, up to this one. How many below it were lost before.
    std::uint64_t ack_through(const Delivery& delivery) const {
        std::uint64_t lost = 0;
        detail::call(ringlane_member_ack_through, get(), &delivery, &lost);
        return lost;
    }

    // They could not be processed, and come again after the time that the group's policy says.
    void nack(const Deliveries& deliveries) const { nack_after_ms(deliveries, -1); }

    // The same, after a delay.
    void nack(const Deliveries& deliveries, std::chrono::milliseconds delay) const {
        if (delay.count() < 0) {
            throw Error(RINGLANE_ERROR_INVALID_ARGUMENT, "delay: it is negative; leave it out for the group's own");
        }
        nack_after_ms(deliveries, delay.count());
    }

    // Nobody can process them: they go to the dead letters at once.
    void reject(const Deliveries& deliveries) const { each(ringlane_member_reject, deliveries); }

    // They were not worked on, and come again at once; that was no failure.
    void release_deliveries(const Deliveries& deliveries) const { each(ringlane_member_release, deliveries); }

    // Holds them for so long from now on.
    void extend(const Deliveries& deliveries, std::chrono::milliseconds lease) const {
        const std::int64_t lease_ms = lease.count();
        each([lease_ms](const ringlane_member* member, const Delivery* first, std::size_t stride, std::size_t count,
                        std::size_t* done, ringlane_error* error) {
            return ringlane_member_extend(member, first, stride, count, lease_ms, done, error);
        }, deliveries);
    }

    // Whether something was processed under a token, 1 to 128 bytes.
    Once once(const Delivery& delivery, Bytes token) const {
        std::int32_t once = 0;
        detail::call(ringlane_member_once, get(), &delivery, token.data(), token.size(), &once);
        return static_cast<Once>(once);
    }

    // Returns when everything that was acknowledged before is durable.
    void flush() const { detail::call(ringlane_member_flush, get()); }

    // How many records the member holds now.
    std::uint64_t in_flight() const {
        std::uint64_t count = 0;
        detail::call(ringlane_member_in_flight, get(), &count);
        return count;
    }

    // It is given nothing more of a partition; what it holds of it stays.
    void pause(std::string_view topic, std::uint32_t partition) {
        detail::call(ringlane_member_pause, get(), detail::Text(topic).get(), partition);
    }
    void resume(std::string_view topic, std::uint32_t partition) {
        detail::call(ringlane_member_resume, get(), detail::Text(topic).get(), partition);
    }

    // Leaves the group: what it holds is released. Closing again changes nothing.
    void close() const { detail::call(ringlane_member_close, get()); }

private:
    template <typename Function>
    void each(Function function, const Deliveries& deliveries) const {
        ringlane_error error;
        std::size_t done = 0;
        if (function(get(), deliveries.first(), deliveries.stride(), deliveries.count(), &done, &error) != RINGLANE_OK) {
            throw Error(error, done);
        }
    }

    void nack_after_ms(const Deliveries& deliveries, std::int64_t delay_ms) const {
        each([delay_ms](const ringlane_member* member, const Delivery* first, std::size_t stride, std::size_t count,
                        std::size_t* done, ringlane_error* error) {
            return ringlane_member_nack(member, first, stride, count, delay_ms, done, error);
        }, deliveries);
    }
};

enum class TransactionState : std::int32_t {
    // It takes records and acknowledgements.
    open = RINGLANE_TRANSACTION_OPEN,
    // All of it is durable and invisible, and waits for the decision.
    prepared = RINGLANE_TRANSACTION_PREPARED,
    // It is prepared, and is not checked any more.
    unresolved = RINGLANE_TRANSACTION_UNRESOLVED,
    // Its records are visible.
    committed = RINGLANE_TRANSACTION_COMMITTED,
    // Nothing of it ever becomes visible.
    rolled_back = RINGLANE_TRANSACTION_ROLLED_BACK,
};

// Records for any topics, and deliveries that it acknowledges, that become effective together or not at all. When it goes
// without a decision it is rolled back, if it is open; one that is prepared is undecided, and its checker is asked.
//
// Threads: one at a time, but id. Blocking: prepare, commit, roll_back of a prepared one, and receipts. Errors: after one
// that is aborted() it is over, and was rolled back.
class Transaction : public detail::Handle<ringlane_transaction, ringlane_transaction_free> {
public:
    using Handle::Handle;

    // The application's own id, or the one that was assigned.
    std::string id() const {
        const char* id = nullptr;
        detail::call(ringlane_transaction_id, get(), &id);
        return id;
    }

    TransactionState state() {
        std::int32_t state = 0;
        detail::call(ringlane_transaction_state, get(), &state);
        return static_cast<TransactionState>(state);
    }

    // Adds a record, which becomes visible by the commit.
    void send(const Topic& topic, const Record& record) {
        const ringlane_record raw = record.raw();
        detail::call(ringlane_transaction_send, get(), topic.get(), &raw);
    }

    // Acknowledges deliveries of a member with the commit.
    void ack(const Member& member, const Deliveries& deliveries) {
        ringlane_error error;
        std::size_t done = 0;
        if (ringlane_transaction_ack(get(), member.get(), deliveries.first(), deliveries.stride(), deliveries.count(), &done,
                                     &error) != RINGLANE_OK) {
            throw Error(error, done);
        }
    }

    // Makes all of it durable and invisible; from now on only a decision ends it, over restarts too.
    void prepare() { detail::call(ringlane_transaction_prepare, get()); }

    // Commits it, prepared or not. To commit again changes nothing.
    void commit() { detail::call(ringlane_transaction_commit, get()); }

    // Rolls it back, prepared or not. To roll back again changes nothing.
    void roll_back() { detail::call(ringlane_transaction_roll_back, get()); }

    // Of one that was committed, in the order in which the records were sent. Waits until all of it is visible.
    std::vector<Receipt> receipts() {
        std::size_t count = 0;
        detail::call(ringlane_transaction_receipts, get(), nullptr, sizeof(ringlane_receipt), std::size_t{0}, &count);
        std::vector<ringlane_receipt> raw(count);
        if (count > 0) {
            detail::call(ringlane_transaction_receipts, get(), raw.data(), sizeof(ringlane_receipt), raw.size(), &count);
        }
        return std::vector<Receipt>(raw.begin(), raw.end());
    }
};

// Sends records to any topics. What was sent goes its way when it goes.
//
// Threads: any. Blocking: send, send_batch and send_packed until the records are on the device (with durability
// `buffered`: until they are taken); those that end in _async only while the send buffer is full.
class Producer : public detail::Handle<ringlane_producer, ringlane_producer_free> {
public:
    using Handle::Handle;

    Receipt send(const Topic& topic, const Record& record) const {
        const ringlane_record raw = record.raw();
        ringlane_receipt receipt;
        detail::call(ringlane_producer_send, get(), topic.get(), &raw, &receipt);
        return Receipt(receipt);
    }

    // An event `sent` with the record's user_data arrives in the queue; if this throws, none does.
    void send_async(const Topic& topic, const Record& record, const Queue& queue) const {
        const ringlane_record raw = record.raw();
        detail::call(ringlane_producer_send_async, get(), topic.get(), &raw, queue.get());
    }

    // Records for one topic in one hand-over. If one is refused for what it is, none is sent. After another error, if that
    // says unknown_outcome(), some of them are there, or may be: send_each_async tells what became of each.
    std::vector<Receipt> send_batch(const Topic& topic, const Record* records, std::size_t count) const {
        const std::vector<ringlane_record> raw = raw_of(records, count);
        std::vector<ringlane_receipt> receipts(count);
        detail::call(ringlane_producer_send_batch, get(), topic.get(), raw.data(), sizeof(ringlane_record), raw.size(),
                     receipts.data(), sizeof(ringlane_receipt));
        return std::vector<Receipt>(receipts.begin(), receipts.end());
    }
    std::vector<Receipt> send_batch(const Topic& topic, const std::vector<Record>& records) const {
        return send_batch(topic, records.data(), records.size());
    }

    // The same with records as the C functions have them, and no more receipts than are wanted: nullptr, or room for all.
    void send_batch(const Topic& topic, const ringlane_record* records, std::size_t count, ringlane_receipt* receipts) const {
        detail::call(ringlane_producer_send_batch, get(), topic.get(), records, sizeof(ringlane_record), count, receipts,
                     sizeof(ringlane_receipt));
    }

    // One event `batch_sent` with this user_data arrives when all their outcomes are known.
    void send_batch_async(const Topic& topic, const Record* records, std::size_t count, const Queue& queue,
                          std::uint64_t user_data) const {
        const std::vector<ringlane_record> raw = raw_of(records, count);
        batch_async(topic, raw.data(), raw.size(), queue, 0, user_data);
    }
    void send_batch_async(const Topic& topic, const std::vector<Record>& records, const Queue& queue,
                          std::uint64_t user_data) const {
        send_batch_async(topic, records.data(), records.size(), queue, user_data);
    }
    void send_batch_async(const Topic& topic, const ringlane_record* records, std::size_t count, const Queue& queue,
                          std::uint64_t user_data) const {
        batch_async(topic, records, count, queue, 0, user_data);
    }

    // An event `sent` arrives for every record, with its own user_data.
    void send_each_async(const Topic& topic, const Record* records, std::size_t count, const Queue& queue) const {
        const std::vector<ringlane_record> raw = raw_of(records, count);
        batch_async(topic, raw.data(), raw.size(), queue, 1, 0);
    }
    void send_each_async(const Topic& topic, const std::vector<Record>& records, const Queue& queue) const {
        send_each_async(topic, records.data(), records.size(), queue);
    }
    void send_each_async(const Topic& topic, const ringlane_record* records, std::size_t count, const Queue& queue) const {
        batch_async(topic, records, count, queue, 1, 0);
    }

    // A buffer of records in the record layout (docs/FORMAT.md), each at a multiple of eight. How many there were.
    std::size_t send_packed(const Topic& topic, Bytes records, std::uint32_t partition = any_partition) const {
        return packed(topic, records, partition, nullptr, 0);
    }

    // The same; one event `batch_sent` arrives.
    std::size_t send_packed_async(const Topic& topic, Bytes records, const Queue& queue, std::uint64_t user_data,
                                  std::uint32_t partition = any_partition) const {
        return packed(topic, records, partition, queue.get(), user_data);
    }

    // Waits until everything that was sent has its outcome; of the last batch it tells the error.
    void flush() const { detail::call(ringlane_producer_flush, get()); }

    // Takes back a delayed record that is not visible yet.
    void cancel(const RecordId& id) const { detail::call(ringlane_producer_cancel, get(), id.log, id.position, id.index); }

    // How often the producer's name was opened up to this one; 0 for one without a name.
    std::uint32_t epoch() const {
        std::uint32_t epoch = 0;
        detail::call(ringlane_producer_epoch, get(), &epoch);
        return epoch;
    }

    // The number of the last record that this producer's name has in a partition; empty: it has none there.
    std::optional<std::uint64_t> last_sent(const Topic& topic, std::uint32_t partition) const {
        std::int32_t found = 0;
        std::uint64_t sequence = 0;
        detail::call(ringlane_producer_last_sent, get(), topic.get(), partition, &found, &sequence);
        return found == 0 ? std::nullopt : std::optional<std::uint64_t>(sequence);
    }

    // The message id of that record, as bytes; empty: it had none, or there is no such record.
    std::optional<std::string> last_message_id(const Topic& topic, std::uint32_t partition) const {
        std::array<std::uint8_t, RINGLANE_MESSAGE_ID_BYTES> id{};
        std::size_t size = 0;
        detail::call(ringlane_producer_last_message_id, get(), topic.get(), partition, id.data(), &size);
        return size == 0 ? std::nullopt : std::optional<std::string>(std::in_place, id.begin(), id.begin() + size);
    }

    // Begins a transaction. Options: id, checker, timeout_ms.
    Transaction begin(const Options& options = {}) const {
        const detail::OptionsHandle given = options.make(RINGLANE_OPTIONS_TRANSACTION);
        ringlane_transaction* begun = nullptr;
        detail::call(ringlane_transaction_begin, get(), given.get(), &begun);
        return Transaction(begun);
    }

private:
    static std::vector<ringlane_record> raw_of(const Record* records, std::size_t count) {
        std::vector<ringlane_record> raw;
        raw.reserve(count);
        for (std::size_t index = 0; index < count; ++index) {
            raw.push_back(records[index].raw());
        }
        return raw;
    }

    void batch_async(const Topic& topic, const ringlane_record* records, std::size_t count, const Queue& queue,
                     std::int32_t each, std::uint64_t user_data) const {
        detail::call(ringlane_producer_send_batch_async, get(), topic.get(), records, sizeof(ringlane_record), count,
                     queue.get(), each, user_data);
    }

    // Without a queue it waits.
    std::size_t packed(const Topic& topic, Bytes records, std::uint32_t partition, const ringlane_queue* queue,
                       std::uint64_t user_data) const {
        std::size_t count = 0;
        detail::call(ringlane_producer_send_packed, get(), topic.get(), records.data(), records.size(), partition, queue,
                     user_data, &count);
        return count;
    }
};

// A directory that is open. When it goes it is closed; errors of that are not told, so close it first where they matter.
// What was made of it may go before or after.
//
// Threads: any. Blocking: what changes something, until that is on the device; sync, close and audit.
class Engine : public detail::Handle<ringlane_engine, ringlane_engine_free> {
public:
    using Handle::Handle;

    // Opens a directory, and creates it if it is not there. One process at a time has it open for writing.
    static Engine open(std::string_view path, const Options& options = {}) {
        return open_with(ringlane_engine_open, path, options);
    }

    // Opens a directory to be read, also while another process has it open for writing.
    static Engine open_read_only(std::string_view path, const Options& options = {}) {
        return open_with(ringlane_engine_open_read_only, path, options);
    }

    // Writes and flushes what was sent; later calls get RINGLANE_ERROR_CLOSED. Closing again changes nothing.
    void close() const { detail::call(ringlane_engine_close, get()); }

    // Takes in what another process has written since, where it was opened to be read.
    void refresh() const { detail::call(ringlane_engine_refresh, get()); }

    // Returns when everything that was sent before is on the device, buffered records too.
    void sync() const { detail::call(ringlane_engine_sync, get()); }

    // After an alarm in the statistics: the clock is right, and append times follow it from now on.
    void accept_clock() const { detail::call(ringlane_engine_accept_clock, get()); }

    // JSON: the statistics; what opening found; and what an audit says (options: topic, producers_max, ...).
    std::string stats() const { return detail::text_of(ringlane_engine_stats, get()); }
    std::string recovery() const { return detail::text_of(ringlane_engine_recovery, get()); }
    std::string audit(const Options& options = {}) const {
        const detail::OptionsHandle given = options.make(RINGLANE_OPTIONS_AUDIT);
        return detail::text_of(ringlane_engine_audit, get(), given.get());
    }

    // Topics. Options of one: partitions, retention_ms, retention_bytes, keep_unfinished, drop_finished.
    Topic create_topic(std::string_view name, const Options& options = {}) const {
        const detail::OptionsHandle given = options.make(RINGLANE_OPTIONS_TOPIC);
        ringlane_topic* created = nullptr;
        detail::call(ringlane_topic_create, get(), detail::Text(name).get(), given.get(), &created);
        return Topic(created);
    }
    Topic topic(std::string_view name) const {
        ringlane_topic* opened = nullptr;
        detail::call(ringlane_topic_open, get(), detail::Text(name).get(), &opened);
        return Topic(opened);
    }
    // One that is there as it is, or else a new one with these options.
    Topic open_or_create_topic(std::string_view name, const Options& options = {}) const {
        try {
            return create_topic(name, options);
        } catch (const Error& error) {
            if (error.status() != RINGLANE_ERROR_TOPIC_EXISTS) {
                throw;
            }
        }
        return topic(name);
    }
    // JSON.
    std::string topics() const { return detail::text_of(ringlane_topic_list, get()); }
    void delete_topic(std::string_view name) const { detail::call(ringlane_topic_delete, get(), detail::Text(name).get()); }
    void set_retention(std::string_view name, const Options& options) const {
        const detail::OptionsHandle given = options.make(RINGLANE_OPTIONS_TOPIC);
        detail::call(ringlane_topic_set_retention, get(), detail::Text(name).get(), given.get());
    }
    // Gives up the records of a partition below an offset. The first offset that is kept.
    std::uint64_t delete_records(const Topic& topic, std::uint32_t partition, std::uint64_t before_offset) const {
        std::uint64_t first = 0;
        detail::call(ringlane_topic_delete_records, get(), topic.get(), partition, before_offset, &first);
        return first;
    }
    // Publishes a delayed record now, before its time.
    void publish_withheld(const RecordId& id) const {
        detail::call(ringlane_engine_publish_withheld, get(), id.log, id.position, id.index);
    }

    // Producers. Options of one: name, durability, max_block_ms.
    Producer producer(const Options& options = {}) const {
        const detail::OptionsHandle given = options.make(RINGLANE_OPTIONS_PRODUCER);
        ringlane_producer* opened = nullptr;
        detail::call(ringlane_producer_open, get(), given.get(), &opened);
        return Producer(opened);
    }
    // JSON.
    std::string producers() const { return detail::text_of(ringlane_producer_list, get()); }
    void delete_producer(std::string_view name) const {
        detail::call(ringlane_producer_delete, get(), detail::Text(name).get());
    }

    // Consumers. Options of one: max_poll_records, filter, ...
    Consumer consumer(const Options& options = {}) const {
        const detail::OptionsHandle given = options.make(RINGLANE_OPTIONS_CONSUMER);
        ringlane_consumer* opened = nullptr;
        detail::call(ringlane_consumer_open, get(), given.get(), &opened);
        return Consumer(opened);
    }

    // Groups. Options of one: kind and topic, which are needed, max_deliveries, ...
    void create_group(std::string_view name, const Options& options) const {
        const detail::OptionsHandle given = options.make(RINGLANE_OPTIONS_GROUP);
        detail::call(ringlane_group_create, get(), detail::Text(name).get(), given.get());
    }
    // JSON: all groups, or one.
    std::string groups() const {
        return detail::text_of(ringlane_group_describe, get(), static_cast<const char*>(nullptr));
    }
    std::string describe_group(std::string_view name) const {
        return detail::text_of(ringlane_group_describe, get(), detail::Text(name).get());
    }
    // Sends a group elsewhere in a partition. The offset where it begins.
    std::uint64_t reset_group(std::string_view name, std::string_view topic, std::uint32_t partition, Start start) const {
        std::uint64_t offset = 0;
        detail::call(ringlane_group_reset, get(), detail::Text(name).get(), detail::Text(topic).get(), partition,
                     start.kind(), start.value(), &offset);
        return offset;
    }
    void delete_group(std::string_view name) const { detail::call(ringlane_group_delete, get(), detail::Text(name).get()); }
    // Joins a group. Options of a member: lease_ms, max_poll_records, ...
    Member join(std::string_view group, const Options& options = {}) const {
        const detail::OptionsHandle given = options.make(RINGLANE_OPTIONS_MEMBER);
        ringlane_member* joined = nullptr;
        detail::call(ringlane_member_join, get(), detail::Text(group).get(), given.get(), &joined);
        return Member(joined);
    }

    // Hands records of dead letters out again: all of the group; the letter at a place of the topic of dead letters; the
    // letter of a record. JSON.
    std::string redrive_all(std::string_view group) const {
        return redrive(group, RINGLANE_REDRIVE_ALL, nullptr, 0, 0);
    }
    std::string redrive_letter(std::string_view group, std::uint32_t partition, std::uint64_t offset) const {
        return redrive(group, RINGLANE_REDRIVE_LETTER, nullptr, partition, offset);
    }
    std::string redrive_record(std::string_view group, std::string_view topic, std::uint32_t partition,
                               std::uint64_t offset) const {
        return redrive(group, RINGLANE_REDRIVE_RECORD, detail::Text(topic).get(), partition, offset);
    }

    // Transactions: JSON of all that go on, and of those that have ended and are remembered; or of one.
    std::string transactions(bool with_ended = false) const {
        return detail::text_of(ringlane_transaction_describe, get(), static_cast<const char*>(nullptr), with_ended ? 1 : 0);
    }
    std::string describe_transaction(std::string_view id) const {
        return detail::text_of(ringlane_transaction_describe, get(), detail::Text(id).get(), 0);
    }
    // Decides one that is prepared, in whichever process it was.
    void commit_transaction(std::string_view id) const {
        detail::call(ringlane_transaction_decide, get(), detail::Text(id).get(), 1);
    }
    void roll_back_transaction(std::string_view id) const {
        detail::call(ringlane_transaction_decide, get(), detail::Text(id).get(), 0);
    }

    // Has events `check` put into a queue about transactions that name this checker and were left undecided. Options:
    // first_ms, interval_ms, checks_max.
    void register_checker(std::string_view name, const Queue& queue, std::uint64_t user_data = 0,
                          const Options& options = {}) const {
        const detail::OptionsHandle given = options.make(RINGLANE_OPTIONS_CHECKER);
        detail::call(ringlane_checker_register, get(), detail::Text(name).get(), given.get(), queue.get(), user_data);
    }
    void unregister_checker(std::string_view name) const {
        detail::call(ringlane_checker_unregister, get(), detail::Text(name).get());
    }

private:
    template <typename Function>
    static Engine open_with(Function function, std::string_view path, const Options& options) {
        const detail::OptionsHandle given = options.make(RINGLANE_OPTIONS_ENGINE);
        ringlane_engine* opened = nullptr;
        detail::call(function, detail::Text(path).get(), given.get(), &opened);
        return Engine(opened);
    }

    std::string redrive(std::string_view group, std::int32_t what, const char* topic, std::uint32_t partition,
                        std::uint64_t offset) const {
        return detail::text_of(ringlane_group_redrive, get(), detail::Text(group).get(), what, topic, partition, offset);
    }
};

}  // namespace ringlane

#endif  // RINGLANE_HPP
