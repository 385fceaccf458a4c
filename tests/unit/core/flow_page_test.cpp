#include "libsplice/core/flow_page.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace splice;

namespace {

splice_flow_key key_of(std::uint32_t number) {
    splice_flow_key key{};
    key.client = IpAddress::from_ipv4(0x0a000000 + number).raw();
    key.client_port = static_cast<std::uint16_t>(number);
    return key;
}

void fill(MemoryFlowStore& store, std::uint32_t first, std::uint32_t count) {
    store.set_limits(1'000'000, {900, 60, 300});
    for (std::uint32_t i = first; i < first + count; ++i) {
        splice_flow_entry entry{};
        entry.bridge = static_cast<std::uint16_t>(i % 3);
        entry.state = SPLICE_FLOW_OPEN;
        REQUIRE(store.put(key_of(i), entry));
    }
}

bool all(const splice_flow_key& /*key*/, const splice_flow_entry& /*entry*/) {
    return true;
}

struct Walk {
    std::multiset<std::string> seen;
    std::size_t largest = 0;
};

Walk walk(const FlowStore& store, const FlowFilter& wanted, std::size_t limit) {
    Walk walked;
    std::string after;
    do {
        const auto page = read_flow_page(store, wanted, limit, after);
        REQUIRE(page.has_value());
        walked.largest = std::max(walked.largest, page->flows.size());
        for (const auto& [key, entry] : page->flows) walked.seen.insert(to_string(key));
        after = page->next;
    } while (!after.empty());
    return walked;
}

}  // namespace

TEST_CASE("pages of any size have every entry once") {
    MemoryFlowStore store;
    fill(store, 0, 5000);
    for (const std::size_t limit : {1UZ, 3UZ, 63UZ, 64UZ, 100UZ, 1000UZ}) {
        const Walk walked = walk(store, all, limit);
        CHECK(walked.largest <= std::max(limit, 16UZ));  // one bucket
        CHECK(walked.seen.size() == 5000);
        CHECK(std::set<std::string>(walked.seen.begin(), walked.seen.end()).size() == 5000);
    }
}

TEST_CASE("a filter is kept over all pages, and an empty store is one empty page") {
    MemoryFlowStore store;
    CHECK(walk(store, all, 10).seen.empty());
    fill(store, 0, 900);
    const auto of_one = [](const splice_flow_key& /*key*/, const splice_flow_entry& entry) {
        return entry.bridge == 1;
    };
    CHECK(walk(store, of_one, 7).seen.size() == 300);
}

TEST_CASE("entries that stay are told though others come and go between the pages") {
    MemoryFlowStore store;
    fill(store, 0, 1000);
    std::multiset<std::string> seen;
    std::string after;
    std::uint32_t round = 0;
    do {
        const auto page = read_flow_page(store, all, 10, after);
        REQUIRE(page.has_value());
        for (const auto& [key, entry] : page->flows) seen.insert(to_string(key));
        after = page->next;
        store.erase(key_of(500 + round++));
    } while (!after.empty());
    for (std::uint32_t i = 0; i < 500; ++i) CHECK(seen.count(to_string(key_of(i))) == 1);
}

TEST_CASE("a place of a table that has grown, or no place at all, is refused") {
    MemoryFlowStore store;
    fill(store, 0, 100);
    const auto page = read_flow_page(store, all, 10, "");
    REQUIRE(page.has_value());
    REQUIRE_FALSE(page->next.empty());
    fill(store, 100, 10'000);
    CHECK(read_flow_page(store, all, 10, page->next).error().find("has grown") != std::string::npos);
    for (const std::string wrong : {"x", "1", "1.2.3", "1..2", "g.1", "1.-3", "1."})
        CHECK_MESSAGE(read_flow_page(store, all, 10, wrong).error() == "expected the `next` of a page",
                      wrong);
}
