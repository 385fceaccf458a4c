// The recorded captures through both engines: what the replay brings to its balancer goes to the portable
// machine and to the loaded program with its Splicer, under the same rules and secret and at the same time;
// what it brings to its bridges goes to the portable machine and to the translating programs with theirs.
// Ends with 77 (skipped) where programs may not be loaded.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/bpf/balancer_rig.hpp"
#include "tests/bpf/translator_rig.hpp"
#include "tests/support/lib/captures.hpp"
#include "tools/replay/run.hpp"

namespace splice::replay {
namespace {

using namespace testing;
using namespace std::chrono_literals;

constexpr int kSkip = 77;
constexpr Duration kClockStart = 1000s;
constexpr Duration kAfterLast = 1s;  // what still waits is decided

// What came to a machine, and when.
struct Arrived {
    Duration time{};  // since 1970
    Station to;
    bool from_backend = false;
    PacketBytes bytes;
};

class Arrivals final : public Observer {
  public:
    void came(const Step& step, Station from, Station to, Bytes packet) override {
        add(step, from, to, packet);
    }
    // The replay tells of the balancer's packets when they leave.
    void left(const Step& step, Station from, Station to, Bytes packet) override {
        if (from.place == Place::balancer && to.place == Place::bridge) add(step, from, to, packet);
    }
    std::vector<Arrived> all;

  private:
    void add(const Step& step, Station from, Station to, Bytes packet) {
        all.push_back({step.time, to, from.place == Place::backend, {packet.begin(), packet.end()}});
    }
};

struct Counts {
    std::size_t packets = 0, in_kernel = 0, sent = 0;
    Counts& operator+=(const Counts& more) noexcept {
        packets += more.packets;
        in_kernel += more.in_kernel;
        sent += more.sent;
        return *this;
    }
};

// A machine in both engines, and the moments at which they are looked at.
template <class Kernel, class Portable>
class Pair {
  public:
    template <class Rules>
    Pair(const Rules& setup, Duration first) : kernel_(setup), portable_(setup), first_(first) {}

    void handle(const Arrived& packet) {
        advance_to(kClockStart + packet.time - first_);
        kernel_.stop_clock(now_);
        compare(hand(kernel_, packet), hand(portable_, packet));
        ++counts_.packets;
        counts_.in_kernel += kernel_.decided_in_kernel();
    }

    // Of what waits in them both.
    Counts end() {
        advance_to(now_.monotonic + kAfterLast);
        return counts_;
    }

  private:
    template <class Machine>
    Outcome hand(Machine& machine, const Arrived& packet) {
        if constexpr (requires { machine.handle(now_, packet.bytes, packet.from_backend); })
            return machine.handle(now_, packet.bytes, packet.from_backend);
        else
            return machine.handle(now_, packet.bytes);
    }

    // Time-outs on the way are taken at their moments.
    void advance_to(Duration monotonic) {
        for (auto due = portable_.next_deadline(); due && *due <= monotonic;
             due = portable_.next_deadline()) {
            // A deadline in whole seconds may stand for one that is a little later.
            set_clock(std::max(*due, now_.monotonic + 1ms));
            compare(kernel_.expire(now_), portable_.expire(now_));
        }
        set_clock(std::max(now_.monotonic, monotonic));
    }

    void compare(const Outcome& is, const Outcome& expected) {
        CHECK_MESSAGE(is == expected, "kernel ", describe(is), "\n  portable ", describe(expected));
        counts_.sent += is.sent.size();
    }

    void set_clock(Duration monotonic) {
        now_.monotonic = monotonic;
        now_.unix_s = std::chrono::floor<std::chrono::seconds>(first_ + monotonic - kClockStart).count();
    }

    Kernel kernel_;
    Portable portable_;
    Duration first_;
    Instant now_;
    Counts counts_;
};

Fleet& fleet_of(Fleets& fleets, const Arrived& packet) {
    splice_packet judged{};
    const std::byte* const data = packet.bytes.data();
    REQUIRE(splice_parse_ip(data, data + packet.bytes.size(), &judged) == SPLICE_CONTINUE);
    Fleet* const fleet = fleets.of(judged.ends.destination, judged.ends.destination_port);
    REQUIRE(fleet);
    return *fleet;
}

std::vector<Arrived> arrivals_of(const std::filesystem::path& capture, Fleets& fleets) {
    Arrivals arrivals;
    REQUIRE(replay_capture(capture, fleets, {&arrivals}).has_value());
    REQUIRE_FALSE(arrivals.all.empty());
    return std::move(arrivals.all);
}

void report(const char* where, const Counts& all) {
    std::printf("%s: %zu packets, %zu decided in the kernel; %zu packets sent\n", where, all.packets,
                all.in_kernel, all.sent);
}

}  // namespace

TEST_CASE("every recorded capture leads to the same packets of the balancer in kernel and portable machine") {
    Counts all;
    for (const auto& capture : recorded_captures()) {
        CAPTURE(capture.filename());
        Fleets fleets = survey_capture(capture);
        const auto arrivals = arrivals_of(capture, fleets);
        std::map<Fleet*, std::unique_ptr<Pair<KernelBalancer, PortableBalancer>>> balancers;
        for (const Arrived& each : arrivals) {
            if (each.to.place != Place::balancer) continue;
            Fleet& fleet = fleet_of(fleets, each);
            auto& pair = balancers[&fleet];
            if (!pair)
                pair =
                    std::make_unique<Pair<KernelBalancer, PortableBalancer>>(fleet.setup, arrivals[0].time);
            pair->handle(each);
        }
        for (auto& [fleet, pair] : balancers) all += pair->end();
    }
    report("balancer", all);
    CHECK(all.packets > 150);
    CHECK(all.in_kernel > 100);
    CHECK(all.in_kernel < all.packets);
}

TEST_CASE(
    "every recorded capture leads to the same packets of a translating bridge in kernel and portable "
    "machine") {
    Counts all;
    for (const auto& capture : recorded_captures()) {
        CAPTURE(capture.filename());
        Fleets fleets = survey_capture(capture);
        const auto arrivals = arrivals_of(capture, fleets);
        const auto first =
            std::ranges::find(arrivals, Place::balancer, [](const Arrived& each) { return each.to.place; });
        REQUIRE(first != arrivals.end());
        const Fleet& fleet = fleet_of(fleets, *first);
        std::map<std::string, std::unique_ptr<Pair<KernelTranslator, PortableTranslator>>> bridges;
        for (const Arrived& each : arrivals) {
            if (each.to.place != Place::bridge) continue;
            const auto index = std::ranges::find(fleet.setup->bridges, each.to.name, &SplicerBridge::name) -
                               fleet.setup->bridges.begin();
            auto& pair = bridges[std::string(each.to.name)];
            if (!pair)
                pair = std::make_unique<Pair<KernelTranslator, PortableTranslator>>(
                    fleet.joiner_setup.at(static_cast<std::size_t>(index)), arrivals[0].time);
            pair->handle(each);
        }
        for (auto& [name, pair] : bridges) all += pair->end();
    }
    report("bridges", all);
    CHECK(all.packets > 250);
    CHECK(all.in_kernel > 150);
    CHECK(all.in_kernel < all.packets);
}

}  // namespace splice::replay

int main(int argc, char** argv) {
    if (!splice::testing::may_load_programs()) {
        std::puts("skipped: the kernel does not let us load programs");
        return splice::replay::kSkip;
    }
    return doctest::Context(argc, argv).run();
}
