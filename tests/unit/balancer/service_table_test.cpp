#include "balancer/service_table.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <vector>

using namespace splice;

namespace {

ServiceTableRow row(const std::string& vip, std::uint16_t number) {
    ServiceTableRow made{Endpoint::parse(vip).value(), {}};
    made.entry.number = number;
    return made;
}

const splice_service_entry* find(const splice_service_table& table, const Endpoint& vip) {
    return splice_service_find(&table, &vip.address.raw(), splice_htons(vip.port));
}

}  // namespace

TEST_CASE("as many services as there can be are found, each its own, and nothing else is") {
    std::vector<ServiceTableRow> rows;
    for (int n = 0; n < SPLICE_MAX_SERVICES; ++n) {
        const auto number = static_cast<std::uint16_t>(n + 1);
        const std::string host = std::to_string(n / 2 + 1);
        rows.push_back(n % 2 ? row("[2001:db8::" + host + "]:443", number)
                             : row("192.0.2." + host + ":80", number));
    }
    const auto table = std::make_unique<splice_service_table>();
    write_service_table(rows, *table);
    for (const ServiceTableRow& each : rows) {
        CAPTURE(each.vip.to_string());
        const splice_service_entry* found = find(*table, each.vip);
        REQUIRE(found != nullptr);
        CHECK(found->number == each.entry.number);
        CHECK(find(*table, {each.vip.address, 0}) != nullptr);
    }
    for (const char* other :
         {"192.0.2.1:81", "192.0.2.1:443", "192.0.2.99:80", "[2001:db8::1]:80", "[::1]:443"})
        CHECK(find(*table, Endpoint::parse(other).value()) == nullptr);
    CHECK(find(*table, {*IpAddress::parse("192.0.2.99"), 0}) == nullptr);
}

TEST_CASE("services of one address are told apart by their ports") {
    const auto table = std::make_unique<splice_service_table>();
    write_service_table(std::vector{row("192.0.2.1:80", 1), row("192.0.2.1:443", 2)}, *table);
    CHECK(find(*table, Endpoint::parse("192.0.2.1:80").value())->number == 1);
    CHECK(find(*table, Endpoint::parse("192.0.2.1:443").value())->number == 2);
}

TEST_CASE("a table without services finds nothing, what it held before included") {
    const auto table = std::make_unique<splice_service_table>();
    write_service_table(std::vector{row("192.0.2.1:80", 1)}, *table);
    write_service_table({}, *table);
    CHECK(find(*table, Endpoint::parse("192.0.2.1:80").value()) == nullptr);
    CHECK(find(*table, {*IpAddress::parse("::"), 0}) == nullptr);
}
