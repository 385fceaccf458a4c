#include "packetbridge/bridge_hooks.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ranges>
#include <utility>

#include "libsplice/engine/bpf_object.hpp"
#include "libsplice/engine/interface.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

const std::string kLoopback = "lo";

}  // namespace

SystemResult<std::vector<InterfaceInfo>> answering_interfaces() {
    auto interfaces = list_interfaces();
    if (!interfaces) return interfaces;
    std::erase_if(*interfaces, [](const InterfaceInfo& each) { return !each.ethernet || each.port; });
    return interfaces;
}

BridgeHooks::BridgeHooks(TcAttach how, std::vector<std::string> uplinks, std::string pin_folder)
    : how_(how), uplinks_(std::move(uplinks)), pin_folder_(std::move(pin_folder)) {}

bool BridgeHooks::is_uplink(const std::string& interface) const noexcept {
    return std::ranges::find(uplinks_, interface) != uplinks_.end();
}

std::vector<std::string> BridgeHooks::named() const {
    std::vector<std::string> names = uplinks_;
    if (!is_uplink(kLoopback)) names.push_back(kLoopback);
    return names;
}

// The way out before the way in: the answer to the first packet must find it.
SystemResult<void> BridgeHooks::hang(int ingress, std::optional<int> egress) {
    ingress_program_ = ingress;
    egress_program_ = egress;
    if (egress) {
        for (const std::string& name : named()) {
            if (is_away(name)) continue;
            if (auto done = attach(name, TcSide::egress); !done) return done;
        }
        follow_interfaces();
    } else {
        remove_egress();
    }
    remove_other_ingress();
    const std::vector<std::string> names = named();
    for (const std::string& name : names | std::views::reverse) {
        if (is_away(name)) continue;
        if (auto done = attach(name, TcSide::ingress); !done) return done;
    }
    return {};
}

bool BridgeHooks::is_away(const std::string& interface) const noexcept {
    return uplinks_.size() > 1 && interface_index(interface) == 0;
}

void BridgeHooks::keep() noexcept {
    for (Hung* hung : {&ingress_, &egress_})
        for (auto& [interface, program] : *hung) program.keep();
}

TcPlace BridgeHooks::place_of(const std::string& interface, TcSide side) const {
    const std::string suffix = interface == uplinks_.front() ? "" : "-" + interface;
    return {.interface = interface,
            .side = side,
            .pin = fmt::format("{}/{}{}", pin_folder_, to_string(side), suffix)};
}

int BridgeHooks::program_of(TcSide side) const noexcept {
    return side == TcSide::ingress ? ingress_program_ : egress_program_.value_or(-1);
}

BridgeHooks::Hung& BridgeHooks::hung_at(TcSide side) noexcept {
    return side == TcSide::ingress ? ingress_ : egress_;
}

// What was there is replaced in its place, not detached.
SystemResult<void> BridgeHooks::attach(const std::string& interface, TcSide side) {
    auto program = TcProgram::attach(how_, place_of(interface, side), program_of(side));
    if (!program) return std::unexpected(program.error());
    Hung& hung = hung_at(side);
    if (const auto before = hung.find(interface); before != hung.end()) {
        before->second.keep();
        before->second = std::move(*program);
    } else {
        hung.emplace(interface, std::move(*program));
    }
    return {};
}

// Those that an answer may leave by without our program, but for uplinks and loopback, which have facts of
// their own.
std::vector<std::string> BridgeHooks::missing() const {
    std::vector<std::string> names;
    if (!egress_program_) return names;
    const auto interfaces = answering_interfaces();
    if (!interfaces) return names;
    const std::uint32_t id = program_id(*egress_program_);
    for (const InterfaceInfo& each : *interfaces) {
        if (is_uplink(each.name) || each.name == kLoopback || hopeless_.contains(each.index)) continue;
        const auto hung = egress_.find(each.name);
        if (hung == egress_.end() || !hung->second.runs(id)) names.push_back(each.name);
    }
    return names;
}

void BridgeHooks::follow_interfaces() {
    const auto interfaces = answering_interfaces();
    if (!interfaces) return;
    // First what is gone: one that has another name now has the program of the old one still.
    std::erase_if(egress_, [&](const auto& hung) {
        return !is_uplink(hung.first) &&
               std::ranges::find(*interfaces, hung.first, &InterfaceInfo::name) == interfaces->end();
    });
    for (const std::string& name : missing()) {
        const auto done = attach(name, TcSide::egress);
        if (done) continue;
        hopeless_.insert(interface_index(name));
        log_warning(
            fmt::format("answers that leave by {} keep the backend's address, for no program hangs there: {}",
                        name, done.error().text));
    }
}

void BridgeHooks::remove_egress() {
    egress_.clear();
    const auto interfaces = list_interfaces();
    if (!interfaces) return;
    for (const InterfaceInfo& each : *interfaces) remove_tc_program(place_of(each.name, TcSide::egress));
}

// Of an earlier start with other uplinks.
void BridgeHooks::remove_other_ingress() {
    const auto interfaces = list_interfaces();
    if (!interfaces) return;
    for (const InterfaceInfo& each : *interfaces) {
        if (!is_uplink(each.name) && each.name != kLoopback)
            remove_tc_program(place_of(each.name, TcSide::ingress));
    }
}

HostFactList BridgeHooks::facts() {
    HostFactList facts;
    if (egress_program_) {
        for (const std::string& name : named()) facts.push_back(fact_of(name, TcSide::egress));
        facts.push_back({.kind = "tc_program",
                         .words = "the program at the egress of this host's other interfaces",
                         .observe = [this]() -> std::optional<std::string> {
                             const std::vector<std::string> names = missing();
                             if (names.empty()) return std::nullopt;
                             return fmt::format("is not at {}", fmt::join(names, ", "));
                         },
                         .put_right = [this]() -> SystemResult<void> {
                             follow_interfaces();
                             return {};
                         },
                         .follows = true,
                         .silent = how_ == TcAttach::tcx});
    }
    for (const std::string& name : named()) facts.push_back(fact_of(name, TcSide::ingress));
    return facts;
}

// A filter goes with the clsact qdisc, which anyone may delete, and either way with the interface.
HostFact BridgeHooks::fact_of(const std::string& interface, TcSide side) {
    return {.kind = "tc_program",
            .words = fmt::format("the program at the {} of {}", to_string(side), interface),
            .observe = [this, interface, side]() -> std::optional<std::string> {
                const Hung& hung = hung_at(side);
                const auto found = hung.find(interface);
                if (found != hung.end() && found->second.runs(program_id(program_of(side))))
                    return std::nullopt;
                return is_away(interface) ? std::nullopt : std::optional<std::string>("is gone");
            },
            .put_right = [this, interface, side] { return attach(interface, side); },
            .silent = how_ == TcAttach::tcx};  // no notice tells that a link was detached
}

}  // namespace splice
