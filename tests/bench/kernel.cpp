// Nanoseconds of the balancer's kernel program, path by path (BPF_PROG_TEST_RUN), each frame written anew
// before each run; what that takes is measured by itself and subtracted. Attached nowhere. Prints what
// google-benchmark prints.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>
#include <span>
#include <stdexcept>
#include <vector>

#include "balancer/service_table.hpp"
#include "libsplice/base/verdict.hpp"
#include "libsplice/bpf/balancer_maps.h"
#include "libsplice/datapath/balancer_rules.h"
#include "libsplice/datapath/sample.h"
#include "libsplice/engine/bpf_prefixes.hpp"
#include "tests/bench/flows.hpp"
#include "tests/bench/restore.h"
// The skeletons need the types above.
#include "balancer_xdp.skel.h"
#include "restore.skel.h"

namespace {

using namespace splice;
using namespace splice::bench;
using testing::PacketBytes;

constexpr std::uint32_t kFrames = 1U << 16;
constexpr std::uint32_t kManyFlows = 1'000'000;
constexpr std::uint32_t kCapacity = 2 * kManyFlows;
constexpr std::uint32_t kFewFlows = 8192;  // a table that stays in a core's cache
constexpr int kRepeat = 2048;
constexpr int kPasses = 96;  // a multiple of kFrames / kRepeat: each frame is seen; each waits for the kernel
constexpr std::uint32_t kRows = 65536;
constexpr std::array<std::uint8_t, 12> kLink = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};

void require(bool done, const char* what) {
    if (!done) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

// The program with one service, as user space would set it up, and the program that restores frames before
// it.
class Bench {
  public:
    explicit Bench(std::uint32_t capacity)
        : capacity_(capacity), balancer_(balancer_xdp__open()), restore_(restore__open()) {
        require(balancer_ && restore_, "open the programs");
        bpf_map__set_max_entries(balancer_->maps.flows, capacity_);
        bpf_map__set_max_entries(restore_->maps.frames, kFrames);
        splice_balancer_settings& settings = balancer_->bss->settings;
        settings.common.secrets[0] = splice_secret_prepared(&testing::kSecret);
        std::memcpy(&settings.uplinks[0].mac, kLink.data(), 6);
        // Jiffies say nothing: time stands still.
        settings.common.unix_minus_monotonic_s = testing::at(0).unix_s;
        settings.common.unix_minus_monotonic_ms = testing::at(0).unix_s * 1000;
        require(balancer_xdp__load(balancer_) == 0, "load balancer_xdp");
        require(restore__load(restore_) == 0, "load restore");
        fill_service();
        fill_bridges();
    }
    ~Bench() {
        ring_buffer__free(told_);
        balancer_xdp__destroy(balancer_);
        restore__destroy(restore_);
    }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    // `count` frames (at most kFrames): packet(i) is frame i's, from its IP header on.
    void set_frames(std::uint32_t count, const std::function<const PacketBytes&(std::uint32_t)>& packet) {
        for (std::uint32_t i = 0; i < count; i++) {
            const PacketBytes& bytes = packet(i);
            restore_frame frame{};
            frame.length = static_cast<std::uint32_t>(14 + bytes.size());
            if (frame.length > RESTORE_BYTES) throw std::logic_error("a frame too long to restore");
            std::memcpy(frame.bytes, kLink.data(), kLink.size());
            frame.bytes[12] = 8;  // IPv4
            std::memcpy(frame.bytes + 14, bytes.data(), bytes.size());
            require(bpf_map_update_elem(bpf_map__fd(restore_->maps.frames), &i, &frame, BPF_ANY) == 0,
                    "set a frame");
        }
        restore_->data->frame_count = count;
        restore_->bss->next_frame = 0;
    }

    // Nanoseconds a run: the least of `passes`, less the least of as many that only restore. Each pass is
    // short enough to run undisturbed now and then. Every packet must get `verdict`. `between` runs after
    // each pass.
    double measure(
        splice_verdict verdict, int passes = kPasses, const std::function<void()>& between = [] {}) {
        const double empty = least_of_passes(bpf_program__fd(restore_->progs.nothing), passes, between);
        const auto counted = verdicts();
        const double all = least_of_passes(bpf_program__fd(balancer_->progs.balancer_xdp), passes, between);
        require_all(verdict, static_cast<std::uint64_t>(passes) * kRepeat, counted);
        return all - empty;
    }

    // Nanoseconds of one pass of the balancer's program over the first frames, restoring included. Every
    // packet must get `verdict`.
    double pass_of(splice_verdict verdict) {
        const auto counted = verdicts();
        if (!balancer_is_chosen_) choose_program(bpf_program__fd(balancer_->progs.balancer_xdp));
        restore_->bss->next_frame = 0;
        const double all = pass();
        require_all(verdict, kRepeat, counted);
        return all;
    }

    // How the one service weighs its choices from here on.
    void weigh(splice_choice_rule rule) { balancer_->bss->settings.services[0].entries[1].choice = rule; }

    // The one service's rate from here on; 0: none.
    void limit(std::uint32_t rate) {
        balancer_->bss->settings.services[0].entries[1].rate = {rate, SPLICE_ONE_SOURCE, 0};
    }

    // The deny lists from here on.
    void deny(const PrefixSet& prefixes) {
        const std::uint32_t only = 0;
        auto map = make_bpf_prefixes(prefixes);
        require(map.has_value(), "make a deny list");
        const int descriptor = map->get();
        require(bpf_map_update_elem(bpf_map__fd(balancer_->maps.denied), &only, &descriptor, BPF_ANY) == 0,
                "set the deny list");
        deny_again(prefixes);
    }
    void deny_again(const PrefixSet& prefixes) {
        std::memcpy(&balancer_->bss->settings.denied_heads, &prefixes.heads(), sizeof(splice_denied_heads));
    }
    void deny_nobody() {
        std::memset(&balancer_->bss->settings.denied_heads, 0, sizeof(splice_denied_heads));
    }

    // Open flows of FirstPayloads, as the program would have made them.
    void fill_flows(std::uint32_t count) {
        std::vector<splice_flow_key> keys(count);
        std::vector<splice_flow_entry> entries(count);
        FirstPayloads acks("");
        for (std::uint32_t i = 0; i < count; i++) {
            splice_packet packet{};
            PacketBytes& bytes = acks.packet(i);
            splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet);
            keys[i] = *splice_flow_toward_server(&packet);
            splice_flow_begin(&entries[i], &packet, SPLICE_FLOW_OPEN, 1, splice_carriage_by_dscp(1), 0, 0, 0);
        }
        std::uint32_t done = count;
        require(bpf_map_update_batch(flows(), keys.data(), entries.data(), &done, nullptr) == 0,
                "fill the flows");
    }

    void forget_flows() {
        std::vector<splice_flow_key> keys(capacity_);
        std::vector<splice_flow_entry> entries(capacity_);
        std::uint32_t count = capacity_;
        std::uint32_t next = 0;
        const int error = bpf_map_lookup_and_delete_batch(flows(), nullptr, &next, keys.data(),
                                                          entries.data(), &count, nullptr);
        require(error == 0 || errno == ENOENT, "empty the flow map");
    }

    // Of the flow map, by its whole memory and capacity.
    [[nodiscard]] double bytes_per_flow() const {
        std::ifstream file("/proc/self/fdinfo/" + std::to_string(flows()));
        std::string word;
        double bytes = 0;
        while (file >> word) {
            if (word == "memlock:") file >> bytes;
        }
        return bytes / capacity_;
    }

    // The connection log has that share from here on.
    void sample(std::uint64_t share) { balancer_->bss->settings.sample = share; }
    // What the ring of the connection log has.
    void forget_told() {
        if (!told_)
            told_ = ring_buffer__new(
                bpf_map__fd(balancer_->maps.told), [](void*, void*, std::size_t) { return 0; }, nullptr,
                nullptr);
        require(told_ && ring_buffer__consume(told_) >= 0, "empty the ring");
    }

  private:
    [[nodiscard]] int flows() const { return bpf_map__fd(balancer_->maps.flows); }

    void fill_service() {
        const auto placement = testing::placement_over(3);
        const std::uint32_t slot = 0;
        bpf_map_create_opts options{};
        options.sz = sizeof(options);
        options.map_flags = BPF_F_INNER_MAP | BPF_F_MMAPABLE;
        const int table = bpf_map_create(BPF_MAP_TYPE_ARRAY, "table", sizeof(std::uint32_t),
                                         sizeof(splice_placement_row), kRows, &options);
        require(table >= 0, "create the placement table");
        for (std::uint32_t row = 0; row < kRows; row++) {
            const splice_placement_row choices = placement->row(row % 4096);
            require(bpf_map_update_elem(table, &row, &choices, BPF_ANY) == 0, "fill the placement table");
        }
        require(bpf_map_update_elem(bpf_map__fd(balancer_->maps.tables), &slot, &table, BPF_ANY) == 0,
                "set the placement table");
        close(table);

        serve(false);
    }

  public:
    // The service, from here on behind PROXY headers or not, and with lanes or without: bridge b2's number
    // is 2.
    void serve(bool accepts_proxy_header, bool lanes = false) {
        splice_service_entry entry{};
        entry.terms.mss = 1460;
        entry.terms.window = 65535;
        entry.terms.window_scale = 7;
        entry.rule.kind = SPLICE_KEY_URI;
        entry.rows = kRows;
        entry.number = 1;
        entry.carriage = splice_carriage_by_dscp(1);
        entry.accepts_proxy_header = accepts_proxy_header ? 1 : 0;
        entry.keyed_clock = entry.lanes = lanes ? 1 : 0;
        balancer_->bss->settings.lanes[0][2] = 2;
        const ServiceTableRow row{{*IpAddress::parse(testing::topology(4).vip), 80}, entry};
        write_service_table({&row, 1}, balancer_->bss->settings.services[0]);
    }

  private:
    void fill_bridges() {
        for (std::uint32_t i = 0; i < 3; i++) {
            splice_bridge_entry bridge{};
            bridge.room = SPLICE_ROOM_UNKNOWN;
            bridge.address = IpAddress::parse(testing::topology(4).bridges[i])->raw();
            bridge.out = SPLICE_OUT_BACK;
            require(bpf_map_update_elem(bpf_map__fd(balancer_->maps.bridges), &i, &bridge, BPF_ANY) == 0,
                    "set a bridge");
        }
    }

    // The program that the next passes run, from the first frame on.
    void choose_program(int program) {
        const std::uint32_t zero = 0;
        require(bpf_map_update_elem(bpf_map__fd(restore_->maps.measured), &zero, &program, BPF_ANY) == 0,
                "choose what is measured");
        restore_->bss->next_frame = 0;
        balancer_is_chosen_ = program == bpf_program__fd(balancer_->progs.balancer_xdp);
    }

    double least_of_passes(int program, int passes, const std::function<void()>& between) {
        choose_program(program);
        double least = pass();
        for (int i = 1; i < passes; i++) {
            between();
            least = std::min(least, pass());
        }
        between();
        return least;
    }

    // Nanoseconds of restoring one frame and running the program on it, over kRepeat of them.
    double pass() {
        std::array<std::byte, RESTORE_BYTES> frame{};
        bpf_test_run_opts options{};
        options.sz = sizeof(options);
        options.data_in = frame.data();
        options.data_size_in = frame.size();
        options.repeat = kRepeat;
        require(bpf_prog_test_run_opts(bpf_program__fd(restore_->progs.restore), &options) == 0,
                "run the programs");
        return options.duration;
    }

    // How often the program has said each verdict.
    [[nodiscard]] std::array<std::uint64_t, kVerdictCount> verdicts() const {
        const std::uint32_t only = 0;
        std::vector<splice_balancer_counters> all(static_cast<std::size_t>(libbpf_num_possible_cpus()));
        require(bpf_map_lookup_elem(bpf_map__fd(balancer_->maps.counters), &only, all.data()) == 0,
                "read the counters");
        std::array<std::uint64_t, kVerdictCount> sums{};
        for (const auto& one : all) {
            for (std::size_t i = 0; i < kVerdictCount; i++) sums[i] += one.common.verdicts[i];
        }
        return sums;
    }

    // A figure of another path than the one that it is named after is worse than none.
    void require_all(splice_verdict verdict, std::uint64_t packets,
                     const std::array<std::uint64_t, kVerdictCount>& before) const {
        const auto after = verdicts();
        if (after[verdict] - before[verdict] == packets) return;
        std::string took = "measured packets took another path than " + std::string(verdict_name(verdict));
        for (std::size_t i = 0; i < kVerdictCount; i++) {
            if (after[i] == before[i]) continue;
            took += ", " + std::to_string(after[i] - before[i]) + " " +
                    std::string(verdict_name(static_cast<Verdict>(i)));
        }
        throw std::runtime_error(took);
    }

    std::uint32_t capacity_;
    balancer_xdp* balancer_;
    restore* restore_;
    bool balancer_is_chosen_ = false;  // what passes run
    ring_buffer* told_ = nullptr;
};

const PacketBytes& syn() {
    static const PacketBytes packet = [] {
        testing::Segment segment;
        segment.flags = SPLICE_SYN;
        segment.mss = 1460;
        segment.sack_permitted = true;
        segment.window_scale = 7;
        segment.timestamps = testing::Timestamps{777'000, 0};
        return segment.build();
    }();
    return packet;
}

std::string request_of(std::size_t url) {
    return "GET /" + std::string(url - 1, 'u') + " HTTP/1.1\r\nHost: cdn.example\r\n\r\n";
}

bool first_entry = true;
void say(const char* name, const char* what, double value) {
    std::printf(R"(%s{"name": "BM_%s", "%s": %.1f, "cpu_time": %.1f})", first_entry ? "" : ",\n", name, what,
                value, value);
    first_entry = false;
}

// New flows, each pass in an empty table that the processor's cache holds.
double first_payloads_hot(Bench& bench, std::size_t url, const std::string& header = "") {
    FirstPayloads first(header + request_of(url));
    bench.set_frames(kRepeat, [&](std::uint32_t i) -> const PacketBytes& { return first.packet(i); });
    return bench.measure(SPLICE_forward_first_payload, kPasses, [&] { bench.forget_flows(); });
}

// New flows beside a million others, all over the memory. `first_flow`: from here on kFrames that nothing
// else uses.
double first_payloads(Bench& bench, std::size_t url, std::uint32_t first_flow) {
    FirstPayloads first(request_of(url));
    bench.set_frames(kFrames,
                     [&](std::uint32_t i) -> const PacketBytes& { return first.packet(first_flow + i); });
    return bench.measure(SPLICE_forward_first_payload, kFrames / kRepeat);  // once a frame: then it is known
}

// Of the middle half: what a busy machine does to some passes is in none of it.
double mean_of_middle(std::vector<double> values) {
    std::ranges::sort(values);
    const auto quarter = values.size() / 4;
    const std::span<const double> middle(values.data() + quarter, values.size() - 2 * quarter);
    return std::accumulate(middle.begin(), middle.end(), 0.0) / static_cast<double>(middle.size());
}

// What weighing adds to a first payload's decision: nothing passes its bound and no key is hot, so each
// opening is looked at, counted and stays where it is. Each pass of the plain rule stands beside one of every
// other, and what counts is the difference between the two.
void measure_weighing() {
    Bench bench(kFewFlows);
    constexpr int kTurns = 150;
    constexpr splice_choice_rule kPlain{};
    constexpr splice_choice_rule kBound{.states = 0, .warmup = 0, .spread = 0, .weighs = 1};
    constexpr splice_choice_rule kHot{.states = 0, .warmup = 0, .spread = 2, .weighs = 1};
    FirstPayloads first(request_of(20));
    bench.set_frames(kRepeat, [&](std::uint32_t i) -> const PacketBytes& { return first.packet(i); });
    const auto pass_with = [&](splice_choice_rule rule) {
        bench.weigh(rule);
        const double nanoseconds = bench.pass_of(SPLICE_forward_first_payload);
        bench.forget_flows();
        return nanoseconds;
    };
    std::vector<double> plain_again, bound, hot;
    for (int turn = 0; turn < kTurns; ++turn) {
        const double plain = pass_with(kPlain);
        bound.push_back(pass_with(kBound) - plain);
        hot.push_back(pass_with(kHot) - plain);
        plain_again.push_back(pass_with(kPlain) - plain);
    }
    bench.weigh(kPlain);
    say("kernel_first_payload/nothing_adds", "ns", mean_of_middle(plain_again));
    say("kernel_first_payload/bounded_load_adds", "ns", mean_of_middle(bound));
    say("kernel_first_payload/bounded_load_and_hot_keys_add", "ns", mean_of_middle(hot));
}

// What the connection log adds to a first payload: a sample of 1 %, and of all. Measured as
// measure_weighing() does it; the records are taken out of the ring between passes, where nobody waits for
// them.
void measure_log() {
    Bench bench(kFewFlows);
    constexpr int kTurns = 150;
    FirstPayloads first(request_of(60));
    bench.set_frames(kRepeat, [&](std::uint32_t i) -> const PacketBytes& { return first.packet(i); });
    const auto pass_with = [&](std::uint64_t share) {
        bench.sample(share);
        const double nanoseconds = bench.pass_of(SPLICE_forward_first_payload);
        bench.forget_flows();
        bench.forget_told();
        return nanoseconds;
    };
    std::vector<double> off_again, percent, all;
    for (int turn = 0; turn < kTurns; ++turn) {
        const double off = pass_with(0);
        percent.push_back(pass_with(SPLICE_SAMPLE_ALL / 100) - off);
        all.push_back(pass_with(SPLICE_SAMPLE_ALL) - off);
        off_again.push_back(pass_with(0) - off);
    }
    say("kernel_first_payload/log_off_adds", "ns", mean_of_middle(off_again));
    say("kernel_first_payload/log_of_1_percent_adds", "ns", mean_of_middle(percent));
    say("kernel_first_payload/log_of_all_adds", "ns", mean_of_middle(all));
}

void measure_hot() {
    Bench bench(kFewFlows);
    bench.set_frames(1, [](std::uint32_t) -> const PacketBytes& { return syn(); });
    say("kernel_syn_ack", "ns", bench.measure(SPLICE_answer_syn_ack));
    say("kernel_first_payload/url_20", "ns", first_payloads_hot(bench, 20));
    say("kernel_first_payload/url_60", "ns", first_payloads_hot(bench, 60));
    bench.serve(true);
    const std::string v2("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\7\xc6\x33\x64\x0a\1\2\0\x50", 28);
    say("kernel_first_payload/url_60_behind_proxy_v2", "ns", first_payloads_hot(bench, 60, v2));
    say("kernel_first_payload/url_60_behind_proxy_v1", "ns",
        first_payloads_hot(bench, 60, "PROXY TCP4 203.0.113.7 198.51.100.10 56324 80\r\n"));
    bench.serve(false);
    FirstPayloads acks("");
    bench.fill_flows(8);
    bench.set_frames(1, [&](std::uint32_t) -> const PacketBytes& { return acks.packet(7); });
    say("kernel_forward", "ns", bench.measure(SPLICE_forward_open));
}

// What a packet costs whose flow no table knows and whose timestamps name its bridge, beside one of a known
// flow: passes of both in turn.
void measure_lanes() {
    Bench bench(kFewFlows);
    constexpr int kTurns = 150;
    bench.serve(false, true);
    FirstPayloads acks("");
    bench.fill_flows(8);
    testing::Client client(4, 55555);
    testing::Segment segment = client.segment("", 5000, SPLICE_ACK);
    const std::uint32_t hash = testing::lane_hash_of(segment);
    segment.timestamps->echo_reply = splice_lane_begin(hash, 2, testing::at(0).unix_ms()) + 60'000;
    PacketBytes laned = segment.build();
    // As Linux and others write it (RFC 7323 appendix A): two NOPs, then the timestamps. libtins fills up
    // behind.
    constexpr std::size_t kOptions = 40, kTimestamps = 10;
    std::copy_backward(laned.begin() + kOptions, laned.begin() + kOptions + kTimestamps,
                       laned.begin() + kOptions + kTimestamps + 2);
    laned[kOptions] = laned[kOptions + 1] = std::byte{1};
    std::vector<double> adds, known_again;
    for (int turn = 0; turn < kTurns; ++turn) {
        bench.set_frames(1, [&](std::uint32_t) -> const PacketBytes& { return acks.packet(7); });
        const double known = bench.pass_of(SPLICE_forward_open);
        bench.set_frames(1, [&](std::uint32_t) -> const PacketBytes& { return laned; });
        adds.push_back(bench.pass_of(SPLICE_forward_lane) - known);
        bench.set_frames(1, [&](std::uint32_t) -> const PacketBytes& { return acks.packet(7); });
        known_again.push_back(bench.pass_of(SPLICE_forward_open) - known);
    }
    say("kernel_forward_lane/nothing_adds", "ns", mean_of_middle(known_again));
    say("kernel_forward_lane/no_entry_adds", "ns", mean_of_middle(adds));
}

// `count` addresses, none of them the client's. `near`: some begin with the 24 bits that the client's does,
// as no others do.
PrefixSet others(std::size_t count, bool near) {
    constexpr unsigned kHead = 8;
    splice_packet packet{};
    const PacketBytes& bytes = syn();
    splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet);
    const std::uint32_t client = splice_ntohl(packet.ends.source.words[3]);
    std::vector<splice_prefix> prefixes;
    std::uint32_t mixed = 1;
    while (prefixes.size() < count) {
        mixed = mixed * 1'664'525 + 1'013'904'223;
        const std::uint32_t differs = near && prefixes.size() < 200 ? mixed >> 24 : mixed;
        if (differs == 0 || (!near && differs >> kHead == 0)) continue;
        splice_address address{};
        splice_address_from_ipv4(&address, splice_htonl(client ^ differs));
        prefixes.push_back(splice_prefix_of(&address, 128));
    }
    return PrefixSet(std::move(prefixes));
}

// What limits add to a SYN-ACK: passes with and without them in turn.
void measure_limits() {
    Bench bench(kFewFlows);
    constexpr int kTurns = 150;
    constexpr std::size_t kPrefixes = 100'000;
    bench.set_frames(kRepeat, [](std::uint32_t) -> const PacketBytes& { return syn(); });
    const auto pass = [&] { return bench.pass_of(SPLICE_answer_syn_ack); };
    const auto measure = [&](const char* name, const std::function<void()>& on,
                             const std::function<void()>& off) {
        std::vector<double> adds;
        for (int turn = 0; turn < kTurns; ++turn) {
            off();
            const double plain = pass();
            on();
            adds.push_back(pass() - plain);
        }
        off();
        say(name, "ns", mean_of_middle(adds));
    };
    const auto nobody = [&] { bench.deny_nobody(); };
    measure("kernel_syn_ack/nothing_adds", nobody, nobody);
    measure("kernel_syn_ack/new_connections_adds", [&] { bench.limit(1'000'000); }, [&] { bench.limit(0); });
    const PrefixSet far = others(kPrefixes, false), near = others(kPrefixes, true);
    bench.deny(far);
    measure("kernel_syn_ack/deny_100000_adds", [&] { bench.deny_again(far); }, nobody);
    bench.deny(near);
    measure("kernel_syn_ack/deny_100000_of_its_head_adds", [&] { bench.deny_again(near); }, nobody);
}

void measure_million() {
    Bench bench(kCapacity);
    FirstPayloads acks("");
    bench.fill_flows(kManyFlows);
    say("kernel_first_payload_million_flows/url_60", "ns", first_payloads(bench, 60, 3 * kManyFlows));
    bench.set_frames(kFrames, [&](std::uint32_t i) -> const PacketBytes& {
        return acks.packet(static_cast<std::uint32_t>(i * 2'654'435'761ULL % kManyFlows));
    });
    say("kernel_forward_million_flows", "ns", bench.measure(SPLICE_forward_open));
    say("kernel_memory", "bytes_per_flow", bench.bytes_per_flow());
}

}  // namespace

// Usage: bench_kernel [hot | weighing | log | lanes | limits | million]; flags are passed over.
int main(int argc, char** argv) {
    const std::string_view last = argc > 1 ? argv[argc - 1] : "-";
    const auto wanted = [&](std::string_view part) { return last.starts_with('-') || last == part; };
    libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
    try {
        std::printf("{\"benchmarks\": [\n");
        if (wanted("hot")) measure_hot();
        if (wanted("weighing")) measure_weighing();
        if (wanted("log")) measure_log();
        if (wanted("lanes")) measure_lanes();
        if (wanted("limits")) measure_limits();
        if (wanted("million")) measure_million();
        std::printf("]}\n");
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "bench_kernel: %s\n", error.what());
        return 1;
    }
}
