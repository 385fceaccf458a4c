#include "libsplice/engine/tc_program.hpp"

#include <bpf/bpf.h>
#include <net/if.h>
#include <unistd.h>

#include <utility>

#include "libsplice/engine/attached_program.hpp"

namespace splice {
namespace {

// Of a process before that pinned it elsewhere.
std::optional<TcxLink> find_running_link(const TcPlace& place, std::uint32_t interface) {
    const auto there = attached_tcx_program(interface, place.side);
    if (!there || there->link_id == 0) return std::nullopt;
    return TcxLink::open_by_id(there->link_id, interface, place.side);
}

SystemResult<TcxLink> attach_link(const TcPlace& place, int program) {
    const std::uint32_t interface = if_nametoindex(place.interface.c_str());
    auto link = TcxLink::open_pinned(place.pin, interface, place.side);
    const bool pinned = link.has_value();
    if (!link) link = find_running_link(place, interface);
    if (link) {
        if (auto replaced = link->replace_program(program); !replaced)
            return std::unexpected(replaced.error());
    } else {
        auto made = TcxLink::attach(place.interface, place.side, program);
        if (!made) return std::unexpected(made.error());
        link = std::move(*made);
    }
    if (!pinned) {
        if (auto done = link->pin(place.pin); !done) return std::unexpected(done.error());
    }
    return std::move(*link);
}

void remove_link(const TcPlace& place) noexcept {
    const std::uint32_t interface = if_nametoindex(place.interface.c_str());
    if (auto link = find_running_link(place, interface)) link->detach();
    (void)unlink(place.pin.c_str());
}

}  // namespace

TcAttach choose_tc_attach(TcAttach wanted) noexcept {
    if (wanted != TcAttach::automatic) return wanted;
    return kernel_has_tcx() ? TcAttach::tcx : TcAttach::clsact;
}

// While one is there by a filter and one by a link, a packet of ours meets the link's alone, for that ends
// the chain.
SystemResult<TcProgram> TcProgram::attach(TcAttach how, const TcPlace& place, int program) {
    if (how == TcAttach::tcx) {
        if (auto fits = check_ethernet(place.interface, place.side); !fits)
            return std::unexpected(fits.error());
        auto link = attach_link(place, program);
        if (!link) return std::unexpected(link.error());
        remove_tc_filter(place.interface, place.side);
        return TcProgram(place, std::move(*link));
    }
    auto filter = TcFilter::attach(place.interface, place.side, program);
    if (!filter) return std::unexpected(filter.error());
    remove_link(place);
    return TcProgram(place, std::move(*filter));
}

TcProgram::TcProgram(TcProgram&& other) noexcept
    : place_(std::move(other.place_)), attached_(std::exchange(other.attached_, std::nullopt)) {}

TcProgram& TcProgram::operator=(TcProgram&& other) noexcept {
    std::swap(place_, other.place_);
    std::swap(attached_, other.attached_);
    return *this;
}

TcProgram::~TcProgram() {
    if (!attached_) return;
    auto* const link = std::get_if<TcxLink>(&*attached_);
    if (link == nullptr) return;
    link->detach();
    (void)unlink(place_.pin.c_str());
}

void TcProgram::keep() noexcept {
    if (!attached_) return;
    if (auto* const filter = std::get_if<TcFilter>(&*attached_)) filter->keep();
    attached_.reset();
}

bool TcProgram::runs(std::uint32_t program) const {
    // By name: the interface may have been made anew.
    const std::uint32_t interface = if_nametoindex(place_.interface.c_str());
    if (!attached_ || interface == 0) return false;
    if (const auto* const link = std::get_if<TcxLink>(&*attached_)) return link->runs(interface, program);
    return attached_tc_filter(interface, place_.side) == program;
}

void remove_tc_program(const TcPlace& place) noexcept {
    remove_link(place);
    remove_tc_filter(place.interface, place.side);
}

}  // namespace splice
