#include "libsplice/engine/interface.hpp"

#include <doctest/doctest.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>

#include "tests/support/lab/lab.hpp"

using namespace splice;

namespace {

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}

bool listed(const char* text) {
    return lab::run("ip", {"-o", "address", "show"}).find(std::string(" ") + text + "/") != std::string::npos;
}

bool has(const char* text) {
    const auto answer = host_has_address(address(text));
    REQUIRE(answer);
    return *answer;
}

AddedAddress add(const char* interface, const char* text) {
    auto added = AddedAddress::add(interface, address(text));
    INFO((added ? std::string() : added.error().text));
    REQUIRE(added);
    return std::move(*added);
}

// As a kill -9 would: the object's destructor never runs.
void add_and_be_killed(const char* interface, const char* text) {
    alignas(AddedAddress) std::byte grave[sizeof(AddedAddress)];
    new (grave) AddedAddress(add(interface, text));
}

}  // namespace

TEST_CASE("the loopback is found with its index, MTU and state") {
    lab::in_new_namespace([] {
        const auto lo = find_interface("lo");
        REQUIRE(lo);
        CHECK(lo->name == "lo");
        CHECK(lo->index == 1);
        CHECK(lo->mtu == 65536);
        CHECK(lo->up);
    });
}

TEST_CASE("the error about an interface that does not exist lists those that do") {
    const auto none = find_interface("eth77");
    REQUIRE_FALSE(none);
    CHECK(none.error().text.starts_with("find interface eth77: No such device (this host has "));
    CHECK(none.error().text.find("lo") != std::string::npos);
}

TEST_CASE("an added address is this host's while the object lives, and does not count as its own") {
    for (const char* vip : {"192.0.2.10", "2001:db8::10"}) {
        lab::in_new_namespace([&] {
            CHECK_FALSE(listed(vip));
            {
                const AddedAddress added = add("lo", vip);
                CHECK(listed(vip));
                CHECK_FALSE(has(vip));
                // Usable at once: no duplicate address detection goes on.
                CHECK(lab::run("ip", {"-o", "address", "show", "tentative"}).find(vip) == std::string::npos);
            }
            CHECK_FALSE(listed(vip));
        });
    }
}

TEST_CASE("an address that somebody else gave the host is its own, is not added twice and never removed") {
    for (const char* vip : {"192.0.2.10", "2001:db8::10"}) {
        lab::in_new_namespace([&] {
            lab::run("ip", {"address", "add", vip, "dev", "lo"});
            CHECK(has(vip));
            const auto added = AddedAddress::add("lo", address(vip));
            REQUIRE_FALSE(added);
            CHECK(added.error().text ==
                  std::string("add ") + vip +
                      " to lo: File exists (this host has it already, and it was not added by us)");
            CHECK(listed(vip));
        });
    }
}

TEST_CASE(
    "what a killed run added is taken over and removed in the end, also when the interface has changed") {
    for (const char* vip : {"192.0.2.10", "2001:db8::10"}) {
        lab::in_new_namespace([&] {
            add_and_be_killed("lo", vip);
            CHECK(listed(vip));
            CHECK_FALSE(has(vip));
            {
                const AddedAddress again = add("lo", vip);
            }
            CHECK_FALSE(listed(vip));

            add_and_be_killed("lo", vip);
            lab::run("ip", {"link", "add", "left", "type", "veth", "peer", "name", "right"});
            {
                const AddedAddress again = add("left", vip);
                CHECK(lab::run("ip", {"-o", "address", "show", "dev", "lo"}).find(vip) == std::string::npos);
                CHECK(lab::run("ip", {"-o", "address", "show", "dev", "left"}).find(vip) !=
                      std::string::npos);
            }
            CHECK_FALSE(listed(vip));
        });
    }
}

TEST_CASE("a moved address is removed once, by the object that has it now") {
    lab::in_new_namespace([] {
        std::optional<AddedAddress> keeper;
        {
            AddedAddress added = add("lo", "192.0.2.10");
            keeper.emplace(std::move(added));
        }
        CHECK(listed("192.0.2.10"));
        keeper.reset();
        CHECK_FALSE(listed("192.0.2.10"));
    });
}

TEST_CASE("a process without the capabilities is told which it lacks") {
    // Capabilities belong to a thread: this one gives its own away.
    std::thread([] {
        __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
        __user_cap_data_struct data[2] = {};
        if (syscall(SYS_capset, &header, data) != 0) return lab::skip("capabilities cannot be dropped");
        const auto checked = check_privileges();
        CHECK((checked ? std::string() : checked.error().text) ==
              "take and send packets: this process lacks CAP_NET_ADMIN and CAP_NET_RAW: Operation not "
              "permitted "
              "(run it as root, or give it CAP_NET_ADMIN and CAP_NET_RAW)");
    }).join();
}

TEST_CASE("an interface's own address is a global one that we did not add") {
    lab::in_new_namespace([] {
        const auto own = [](int family) {
            const auto found = interface_address(1, family);
            REQUIRE(found);
            return *found ? (*found)->to_string() : "none";
        };
        CHECK(own(4) == "none");  // 127.0.0.1 is the host's alone
        CHECK(own(6) == "none");
        const AddedAddress vip = add("lo", "192.0.2.100");
        const AddedAddress vip6 = add("lo", "2001:db8::100");
        CHECK(own(4) == "none");
        CHECK(own(6) == "none");
        lab::run("ip", {"address", "add", "192.0.2.10/24", "dev", "lo"});
        lab::run("ip", {"address", "add", "192.0.2.11/24", "dev", "lo"});
        lab::run("ip", {"address", "add", "2001:db8::11/64", "dev", "lo", "preferred_lft", "0"});
        CHECK(own(4) == "192.0.2.10");
        CHECK(own(6) == "none");
        lab::run("ip", {"address", "add", "2001:db8::10/64", "dev", "lo",
                        "nodad"});  // else it may be tentative yet
        CHECK(own(6) == "2001:db8::10");
        const std::vector but{address("192.0.2.10"), address("2001:db8::10")};
        CHECK_FALSE(*interface_address(1, 4, but));  // the other one is secondary
        CHECK_FALSE(*interface_address(1, 6, but));
        CHECK_FALSE(*interface_address(77, 4));
    });
}

TEST_CASE("on loopback an address may be beside another place, which tells them apart, and goes alone") {
    for (const char* vip : {"192.0.2.10", "2001:db8::10"}) {
        lab::in_new_namespace([&] {
            lab::run("ip", {"link", "add", "left", "type", "veth", "peer", "name", "right"});
            lab::run("ip", {"address", "add", vip, "dev", "left"});
            {
                const auto added = AddedAddress::add_to_loopback(address(vip));
                REQUIRE(added);
                const auto places = places_of(address(vip));
                REQUIRE(places);
                REQUIRE(places->size() == 2);
                for (const AddressPlace& place : *places) {
                    CHECK(place.ours == place.loopback);
                    CHECK(interface_name(place.interface) == (place.loopback ? "lo" : "left"));
                }
                const auto elsewhere = addresses_elsewhere(interface_index("lo"), address(vip).family());
                REQUIRE(elsewhere);
                CHECK(*elsewhere == std::vector{address(vip)});
            }
            CHECK(lab::run("ip", {"-o", "address", "show", "dev", "lo"}).find(vip) == std::string::npos);
            CHECK(listed(vip));
        });
    }
}

TEST_CASE("an address is of a subnet of the interface's by each prefix but those that we added") {
    lab::in_new_namespace([] {
        lab::run("ip", {"address", "add", "192.0.2.129/25", "dev", "lo"});
        lab::run("ip", {"address", "add", "2001:db8:0:8::1/61", "dev", "lo"});
        const AddedAddress ours = add("lo", "198.51.100.1");
        const auto in_subnet = [](const char* text) {
            return is_in_subnet(interface_index("lo"), address(text)).value();
        };
        CHECK(in_subnet("192.0.2.128"));
        CHECK(in_subnet("192.0.2.255"));
        CHECK_FALSE(in_subnet("192.0.2.127"));
        CHECK_FALSE(in_subnet("198.51.100.1"));
        CHECK(in_subnet("2001:db8:0:f::77"));
        CHECK_FALSE(in_subnet("2001:db8:0:10::77"));
        CHECK_FALSE(in_subnet("2001:db8:0:7::77"));
    });
}
