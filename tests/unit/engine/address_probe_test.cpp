#include "libsplice/engine/address_probe.hpp"

#include <doctest/doctest.h>

#include <barrier>
#include <string>
#include <thread>

#include "tests/support/lab/lab.hpp"

using namespace splice;

namespace {

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}

// Two ends of one cable, both of this host: what comes in at one is answered as of another host.
void lay_cable() {
    lab::run("ip", {"link", "add", "left", "type", "veth", "peer", "name", "right"});
    for (const char* end : {"left", "right"}) {
        lab::run("sysctl", {"-q", "-w", std::string("net.ipv6.conf.") + end + ".accept_dad=0"});
        lab::run("ip", {"link", "set", end, "up"});
    }
}

std::string mac_of(const char* interface) {
    const std::string link = lab::run("ip", {"-o", "link", "show", "dev", interface});
    return link.substr(link.find("link/ether ") + 11, 17);
}

std::vector<AddressConflict> probe(const char* interface, const std::vector<IpAddress>& addresses) {
    auto found = probe_addresses(interface, addresses);
    INFO((found ? std::string() : found.error().text));
    REQUIRE(found);
    return std::move(*found);
}

}  // namespace

TEST_CASE("of the addresses that are asked for, those that a host of the link has are found, with its MAC") {
    lab::in_new_namespace([] {
        lay_cable();
        lab::run("ip", {"address", "add", "192.0.2.9/32", "dev", "right"});
        lab::run("ip", {"address", "add", "2001:db8::9/128", "dev", "right", "nodad"});
        CHECK(probe("left", {address("192.0.2.10"), address("2001:db8::10")}).empty());
        for (const char* taken : {"192.0.2.9", "2001:db8::9"}) {
            const auto found =
                probe("left", {address("192.0.2.10"), address(taken), address("2001:db8::10")});
            REQUIRE(found.size() == 1);
            CHECK(found[0].address == address(taken));
            CHECK(found[0].mac == mac_of("right"));
        }
        CHECK(probe("left", {address("192.0.2.9"), address("2001:db8::9")}).size() == 2);
    });
}

TEST_CASE(
    "of two hosts that ask for one address at the same time, the one with the lower MAC address has it") {
    lab::in_new_namespace([] {
        lay_cable();
        const char* const lower = mac_of("left") < mac_of("right") ? "left" : "right";
        const char* const higher = std::string(lower) == "left" ? "right" : "left";
        for (const char* wanted : {"192.0.2.10", "2001:db8::10"}) {
            // A machine that does other things may let one begin when the other has ended.
            bool met = false;
            for (int round = 0; round < 10 && !met; ++round) {
                std::barrier together(2);
                std::vector<AddressConflict> of_lower;
                std::thread other([&] {
                    together.arrive_and_wait();
                    of_lower = probe_addresses(lower, {address(wanted)}).value();
                });
                together.arrive_and_wait();
                const auto of_higher = probe_addresses(higher, {address(wanted)}).value();
                other.join();
                CHECK(of_lower.empty());
                met = !of_higher.empty();
                if (met) CHECK(of_higher[0].mac == mac_of(lower));
            }
            CHECK(met);
        }
    });
}

TEST_CASE("an interface without Ethernet has nobody to ask, and one that does not exist is an error") {
    lab::in_new_namespace([] {
        const auto none = probe_addresses("eth77", {address("192.0.2.10")});
        REQUIRE_FALSE(none);
        CHECK(none.error().text == "ask on eth77 who has the addresses of services: No such device");
        CHECK(probe("lo", {address("192.0.2.10")}).empty());
    });
}
