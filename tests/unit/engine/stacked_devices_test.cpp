#include "libsplice/engine/stacked_devices.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "libsplice/engine/xdp_outlook.hpp"
#include "tests/support/lab/lab.hpp"

using namespace splice;

TEST_CASE("devices below a bridge are its ports and what these stand on, and a veth's peer is below nobody") {
    lab::in_new_namespace([] {
        lab::run("ip", {"link", "add", "port0", "type", "veth", "peer", "name", "peer0"});
        lab::run("ip", {"link", "add", "port1", "type", "veth", "peer", "name", "peer1"});
        lab::run("ip", {"link", "add", "mac0", "link", "port1", "type", "macvlan", "mode", "bridge"});
        lab::run("ip", {"link", "add", "br0", "type", "bridge"});
        lab::run("ip", {"link", "set", "port0", "master", "br0"});
        lab::run("ip", {"link", "set", "mac0", "master", "br0"});
        CHECK(with_devices_below("port0") == std::vector<std::string>{"port0"});
        CHECK(with_devices_below("mac0") == std::vector<std::string>{"mac0", "port1"});
        const auto all = with_devices_below("br0");
        REQUIRE(all.size() == 4);
        CHECK(all[0] == "br0");
        CHECK(all[3] == "port1");
        CHECK(with_devices_below("eth77") == std::vector<std::string>{"eth77"});
    });
}

TEST_CASE("the kernel is asked for XDP where a trial might reset a link, and a trial is made where not") {
    CHECK(is_tried_gently("veth"));
    CHECK(is_tried_gently("virtio_net"));
    CHECK_FALSE(is_tried_gently("ixgbe"));
    lab::in_new_namespace([] {
        lab::run("ip", {"link", "add", "br0", "type", "bridge"});
        const auto bridge = find_interface("br0");
        REQUIRE(bridge);
        const XdpOutlook outlook = look_at_xdp(*bridge);
        CHECK(outlook.source != XdpOutlook::Source::tried);
        CHECK_FALSE(outlook.native);
    });
}
