// Nanoseconds of the bridge's kernel programs, path by path (BPF_PROG_TEST_RUN), each frame written anew
// before each run; what that takes is measured by itself and subtracted. In a network namespace of its own:
// adopted connections are real sockets. Prints what google-benchmark prints.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <vector>

#include "libsplice/core/splicer.hpp"
#include "libsplice/engine/clock.hpp"
#include "tests/bench/restore.h"
#include "tests/bpf/bridge_host.hpp"
// The skeleton needs the types above.
#include "restore_tc.skel.h"

namespace {

using namespace splice;
using namespace splice::testing;

constexpr std::uint32_t kFrames = 1U << 14;
constexpr std::uint32_t kManyFlows = 1'000'000;
constexpr int kRepeat = 2048;
constexpr int kPasses = 64;

void require(bool done, const char* what) {
    if (!done) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

// The program that restores frames before the one that is measured.
class Restorer {
  public:
    Restorer() : restore_(restore_tc__open()) {
        require(restore_ != nullptr, "open restore_tc");
        bpf_map__set_max_entries(restore_->maps.frames, kFrames);
        require(restore_tc__load(restore_) == 0, "load restore_tc");
    }
    ~Restorer() { restore_tc__destroy(restore_); }
    Restorer(const Restorer&) = delete;
    Restorer& operator=(const Restorer&) = delete;

    // Nanoseconds of one run: the least of kPasses, less the least of as many that only restore.
    double measure(int program, std::uint32_t count, std::uint32_t mark,
                   const std::function<PacketBytes(std::uint32_t)>& packet) {
        for (std::uint32_t i = 0; i < count; i++) set_frame(i, frame_of(packet(i)));
        restore_->data->frame_count = count;
        restore_->bss->mark = mark;
        const double empty = least_of_passes(bpf_program__fd(restore_->progs.nothing));
        return least_of_passes(program) - empty;
    }

  private:
    void set_frame(std::uint32_t index, const PacketBytes& bytes) {
        restore_frame frame{};
        frame.length = static_cast<std::uint32_t>(bytes.size());
        if (frame.length > RESTORE_BYTES) throw std::logic_error("a frame too long to restore");
        std::memcpy(frame.bytes, bytes.data(), bytes.size());
        require(bpf_map_update_elem(bpf_map__fd(restore_->maps.frames), &index, &frame, BPF_ANY) == 0,
                "set a frame");
        length_ = frame.length;
    }

    double least_of_passes(int program) {
        const std::uint32_t zero = 0;
        require(bpf_map_update_elem(bpf_map__fd(restore_->maps.measured), &zero, &program, BPF_ANY) == 0,
                "choose what is measured");
        restore_->bss->next_frame = 0;
        double least = pass();
        for (int i = 1; i < kPasses; i++) least = std::min(least, pass());
        return least;
    }

    double pass() {
        // The length of all frames; what it holds is written by the program.
        std::vector<std::byte> frame(length_);
        bpf_test_run_opts options{};
        options.sz = sizeof(options);
        options.data_in = frame.data();
        options.data_size_in = static_cast<__u32>(frame.size());
        options.repeat = kRepeat;
        require(bpf_prog_test_run_opts(bpf_program__fd(restore_->progs.restore), &options) == 0,
                "run the programs");
        return options.duration;
    }

    restore_tc* restore_;
    std::uint32_t length_ = 0;
};

bool first_entry = true;
void say(const char* name, const char* what, double value) {
    std::printf(R"(%s{"name": "BM_%s", "%s": %.1f, "cpu_time": %.1f})", first_entry ? "" : ",\n", name, what,
                value, value);
    first_entry = false;
}

Segment marked(Segment segment, int family) {
    segment.destination = topology(family).bridges[0];
    segment.dscp = 1;
    return segment;
}

Segment of_backend(const Client& client, int family) {
    Segment segment;
    segment.source = topology(family).backend;
    segment.destination = topology(family).client;
    segment.source_port = 8080;
    segment.destination_port = client.base.source_port;
    segment.timestamps = Timestamps{1, 2};
    return segment;
}

// The segment's timestamps as hosts write them, behind two bytes of padding (RFC 7323 appendix A): libtins
// pads at the end, and the walk over any layout is not what is measured. No program looks at the checksum as
// a whole.
PacketBytes as_hosts_write(const Segment& segment) {
    PacketBytes packet = segment.build();
    const std::size_t options = (segment.source.contains(':') ? 40 : 20) + 20;
    const PacketBytes timestamps(packet.begin() + static_cast<std::ptrdiff_t>(options),
                                 packet.begin() + static_cast<std::ptrdiff_t>(options + 10));
    packet[options] = packet[options + 1] = std::byte{1};
    std::ranges::copy(timestamps, packet.begin() + static_cast<std::ptrdiff_t>(options + 2));
    return packet;
}

void expect(const BridgePrograms& programs, splice_verdict verdict) {
    if (programs.counters().common.verdicts[verdict] < kRepeat)
        throw std::runtime_error("measured packets did not get " + std::string(verdict_name(verdict)));
}

void measure_adoption(int family, Restorer& restorer) {
    const JoinerSetup setup = joiner_setup(family);
    BridgeHost host(Mode::adopt, family, setup);
    Splicer splicer(std::make_shared<const SplicerSetup>(splicer_setup(family)));
    Listener listener(setup.services[0].backend);
    Client client(family, 40000), stranger(family, 40001);
    client.connect(splicer, read_clock());
    stranger.connect(splicer, read_clock());
    host.inject(marked(client.segment("x"), family));
    const auto socket = listener.accept();
    require(socket.has_value(), "open an adopted connection");

    const auto name = [&](const char* path) {
        return std::string("kernel_adopt_") + path + (family == 4 ? "/ipv4" : "/ipv6");
    };
    const auto one = [&](const char* path, int program, std::uint32_t mark, const Segment& segment) {
        say(name(path).c_str(), "ns",
            restorer.measure(program, 1, mark, [&](std::uint32_t) { return as_hosts_write(segment); }));
    };
    const int in = host.programs().ingress(), out = host.programs().egress();
    one("deliver", in, 0, marked(client.segment("", 1, SPLICE_ACK), family));
    expect(host.programs(), SPLICE_deliver_adopted);
    one("toward_client", out, SPLICE_MARK_VALUE | 1, of_backend(client, family));
    expect(host.programs(), SPLICE_toward_client_adopted);
    // The kernel refuses to adopt outside of a real ingress: everything but its own part.
    one("open", in, 0, marked(stranger.segment("x"), family));
    expect(host.programs(), SPLICE_drop_adopt_refused);
    one("unmarked_in", in, 0, client.segment(""));
    one("unmarked_out", out, 0, of_backend(client, family));
}

splice_flow_key key_of(std::uint32_t number, const JoinerSetup& setup) {
    splice_flow_key key{};
    splice_address_from_ipv4(&key.client, splice_htonl(0x0a000000U + number / 50'000));
    key.client_port = splice_htons(static_cast<std::uint16_t>(10'000 + number % 50'000));
    key.server = setup.services[0].backend.address.raw();
    key.server_port = splice_htons(setup.services[0].backend.port);
    return key;
}

void fill_flows(int map, const JoinerSetup& setup) {
    splice_bridge_flow flow{};
    flow.translation.vip = setup.services[0].vip.address.raw();
    flow.translation.vip_port = splice_htons(setup.services[0].vip.port);
    flow.translation.backend = setup.services[0].backend.address.raw();
    flow.translation.backend_port = splice_htons(setup.services[0].backend.port);
    flow.translation.seq_shift = 12345;
    flow.translation.ts_shift = 54321;
    flow.translation.backend_window_scale = 10;
    flow.translation.advertised_window_scale = 7;
    splice_bridge_flow_begin(&flow, 999, 0);
    flow.state = SPLICE_BRIDGE_ESTABLISHED;
    flow.service = 1;
    std::vector<splice_flow_key> keys(kManyFlows);
    const std::vector<splice_bridge_flow> values(kManyFlows, flow);
    for (std::uint32_t i = 0; i < kManyFlows; ++i) keys[i] = key_of(i, setup);
    std::uint32_t count = kManyFlows;
    require(bpf_map_update_batch(map, keys.data(), values.data(), &count, nullptr) == 0, "fill the flows");
}

void measure_translation(Restorer& restorer) {
    const JoinerSetup setup = joiner_setup(4);
    auto programs = BridgePrograms::load(Mode::translate, 2 * kManyFlows, std::nullopt);
    if (!programs) throw std::runtime_error(programs.error().text);
    if (auto written = programs->write(setup); !written) throw std::runtime_error(written.error().text);
    fill_flows(programs->flows(), setup);
    const auto segment = [&](std::uint32_t number, bool from_client) {
        const splice_flow_key key = key_of(number, setup);
        Segment made;
        made.timestamps = Timestamps{1, 2};
        made.seq = 1000;
        const std::string client = IpAddress(key.client).to_string();
        made.source = from_client ? client : topology(4).backend;
        made.destination = from_client ? topology(4).bridges[0] : client;
        made.source_port = from_client ? splice_ntohs(key.client_port) : std::uint16_t{8080};
        made.destination_port = from_client ? std::uint16_t{80} : splice_ntohs(key.client_port);
        made.dscp = from_client ? 1 : 0;
        return as_hosts_write(made);
    };
    const auto scattered = [](std::uint32_t i) {
        return static_cast<std::uint32_t>(i * 2'654'435'761ULL % kManyFlows);
    };
    say("kernel_translate_deliver/hot", "ns",
        restorer.measure(programs->ingress(), 1, 0, [&](std::uint32_t) { return segment(7, true); }));
    say("kernel_translate_deliver/million_flows", "ns",
        restorer.measure(programs->ingress(), kFrames, 0,
                         [&](std::uint32_t i) { return segment(scattered(i), true); }));
    expect(*programs, SPLICE_deliver);
    say("kernel_translate_toward_client/hot", "ns",
        restorer.measure(programs->egress(), 1, 0, [&](std::uint32_t) { return segment(7, false); }));
    say("kernel_translate_toward_client/million_flows", "ns",
        restorer.measure(programs->egress(), kFrames, 0,
                         [&](std::uint32_t i) { return segment(scattered(i), false); }));
    expect(*programs, SPLICE_toward_client);
    Segment other;
    other.timestamps = Timestamps{1, 2};
    say("kernel_translate_other_port_out", "ns",
        restorer.measure(programs->egress(), 1, 0, [&](std::uint32_t) { return as_hosts_write(other); }));
}

}  // namespace

int main() {
    libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; });
    try {
        if (!enter_network_namespace()) throw std::runtime_error("no network namespace of its own");
        Restorer restorer;
        std::printf("{\"benchmarks\": [\n");
        measure_adoption(4, restorer);
        measure_adoption(6, restorer);
        measure_translation(restorer);
        std::printf("]}\n");
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "bench_kernel_bridge: %s\n", error.what());
        return 1;
    }
}
