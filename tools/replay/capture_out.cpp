#include "tools/replay/capture_out.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "libsplice/wire/print_packet.hpp"

namespace splice::replay {
namespace {

// Both packets, and where they part.
std::string both(Bytes expected, Bytes got) {
    const auto [first, second] = std::ranges::mismatch(expected, got);
    return fmt::format("\n  expected: {}\n  got:      {}\n  they part at byte {} from the IP header on",
                       print_packet(expected), print_packet(got), first - expected.begin());
}

}  // namespace

void CaptureComparison::left(const Step& step, Station from, Station to, Bytes packet) {
    if (difference_) return;
    ++compared_;
    const auto wanted = expected_.next();
    const std::string where =
        fmt::format("{}: packet {} ({}>{}, captured packet {})", path_, compared_, from.name, to.name,
                    step.number ? std::to_string(step.number) : "-");
    if (!wanted) {
        difference_ = wanted.error().text;
    } else if (!*wanted) {
        difference_ =
            fmt::format("{}: not expected\n  expected: nothing\n  got:      {}", where, print_packet(packet));
    } else if (!std::ranges::equal((*wanted)->ip, packet)) {
        difference_ = fmt::format("{}: differs{}", where, both((*wanted)->ip, packet));
    }
}

std::optional<std::string> CaptureComparison::difference() {
    if (difference_) return difference_;
    const auto more = expected_.next();
    if (!more) return more.error().text;
    if (!*more) return std::nullopt;
    return fmt::format("{}: packet {}: more was expected\n  expected: {}\n  got:      nothing", path_,
                       compared_ + 1, print_packet((*more)->ip));
}

}  // namespace splice::replay
