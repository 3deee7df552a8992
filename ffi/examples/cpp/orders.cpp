// Orders in C++: send with a receipt, send without waiting, work off as a group, and a transaction.
//
//     c++ -std=c++17 orders.cpp $(pkg-config --cflags --libs ringlane) -o orders
//     ./orders [DIRECTORY]
//
// Without a directory it takes one of its own, and removes it again. It says the same each time in a directory that is new.

#include <ringlane.hpp>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <stdexcept>

using namespace std::chrono_literals;
using ringlane::Engine;
using ringlane::Record;
using ringlane::Topic;

namespace {

// The receipt comes when the order is on the device.
void send_one(const ringlane::Producer& producer, const Topic& orders) {
    const auto receipt = producer.send(orders, Record("paid").key("order-1").header("currency", "EUR").tag("paid"));
    std::cout << "order-1 is at offset " << receipt.offset.value() << (receipt.synced ? ", on the device\n" : "\n");
}

// Nobody waits for one record; what became of each of them arrives in a queue, by the number that it was given.
void send_many(const ringlane::Producer& producer, const Topic& orders) {
    const auto queue = ringlane::Queue::create();
    for (std::uint64_t number = 2; number <= 5; ++number) {
        const std::string key = "order-" + std::to_string(number);
        producer.send_async(orders, Record("open").key(key).tag("open").user_data(number), queue);
    }
    std::uint64_t sum = 0;
    for (std::size_t count = 0; count < 4;) {
        for (const auto& event : queue.drain(10s)) {
            if (!event.ok()) {
                throw queue.error(event);
            }
            sum += event.user_data();
            ++count;
        }
    }
    std::cout << "4 orders more, their numbers add up to " << sum << '\n';
}

// Each order becomes an invoice, and is finished in the same moment: whatever happens, no order has two or none.
void work_off(const Engine& engine, const ringlane::Producer& producer, const Topic& invoices) {
    auto member = engine.join("accounting", {{"lease_ms", 30s}});
    while (const auto orders = member.poll(200ms)) {
        auto transaction = producer.begin();
        for (const auto order : *orders) {
            std::cout << "working on " << order.key().value() << ", " << order.value().value() << '\n';
            transaction.send(invoices, Record("invoice").key(order.key_bytes()));
        }
        transaction.ack(member, *orders);
        transaction.commit();
    }
}

// Another group has the same orders once more; it looks at those that are paid, and acknowledges each.
void ship(const Engine& engine) {
    auto member = engine.join("shipping");
    while (const auto orders = member.poll(200ms)) {
        for (const auto order : *orders) {
            std::cout << "shipping " << order.key().value() << " in " << order.header("currency").value_or("?") << '\n';
            member.ack(order);
        }
    }
    member.flush();
}

void run(const std::string& directory) {
    const Engine engine = Engine::open(directory);
    const Topic orders = engine.create_topic("orders");
    const Topic invoices = engine.create_topic("invoices");
    engine.create_group("accounting", {{"kind", "ordered"}, {"topic", "orders:beginning"}});
    engine.create_group("shipping", {{"kind", "shared"}, {"topic", "orders:beginning"}, {"filter", "tag = paid"}});
    const auto producer = engine.producer();

    send_one(producer, orders);
    send_many(producer, orders);
    work_off(engine, producer, invoices);
    ship(engine);
    std::cout << invoices.offsets(0).next << " invoices\n";
    engine.close();
}

// A directory that goes with this object.
struct Temporary {
    std::string path = (std::filesystem::temp_directory_path() / "ringlane-orders-XXXXXX").string();

    Temporary() {
        if (mkdtemp(path.data()) == nullptr) {
            throw std::runtime_error("no temporary directory can be made");
        }
    }
    ~Temporary() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
};

}  // namespace

int main(int count, char** arguments) {
    try {
        if (count > 1) {
            run(arguments[1]);
        } else {
            const Temporary temporary;
            run(temporary.path);
        }
    } catch (const ringlane::Error& error) {
        std::cerr << error.code() << ": " << error.what() << '\n';
        return 1;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
