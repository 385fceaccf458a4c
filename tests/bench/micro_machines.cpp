// The two machines from a packet's bytes to what becomes of it, checksums verified, without any system call.
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "tests/bench/flows.hpp"

namespace {

using namespace splice;
using namespace splice::bench;
using testing::at;
using testing::PacketBytes;

constexpr std::uint32_t kMemoryFlows = 200'000;
constexpr std::uint32_t kManyFlows = 1'000'000;

std::unique_ptr<Splicer> new_splicer() {
    SplicerSetup setup = testing::splicer_setup(4);
    setup.max_flows = 2 * kManyFlows;
    return std::make_unique<Splicer>(std::make_shared<const SplicerSetup>(std::move(setup)));
}

testing::Segment syn() {
    testing::Segment segment;
    segment.flags = SPLICE_SYN;
    segment.mss = 1460;
    segment.sack_permitted = true;
    segment.window_scale = 7;
    segment.timestamps = testing::Timestamps{777'000, 0};
    return segment;
}

void BM_splicer_syn_ack(benchmark::State& state) {
    const auto splicer = new_splicer();
    Nowhere out;
    PacketBytes packet = syn().build();
    for (auto _ : state) {
        if (splicer->handle_packet(at(0), packet, true, out) != SPLICE_answer_syn_ack)
            state.SkipWithError("no SYN-ACK");
    }
}
BENCHMARK(BM_splicer_syn_ack);

// First payloads of many connections, one behind the other in memory.
class Crowd {
  public:
    explicit Crowd(std::uint32_t count) : count_(count) {
        FirstPayloads flows;
        size_ = flows.packet(0).size();
        bytes_.resize(size_ * count);
        for (std::uint32_t i = 0; i < count; ++i)
            std::memcpy(bytes_.data() + i * size_, flows.packet(i).data(), size_);
    }
    [[nodiscard]] std::uint32_t count() const { return count_; }
    // A copy: the machine edits it.
    MutableBytes packet(std::uint32_t i) {
        copy_.assign(bytes_.begin() + static_cast<std::ptrdiff_t>(i * size_),
                     bytes_.begin() + static_cast<std::ptrdiff_t>((i + 1) * size_));
        return copy_;
    }

  private:
    std::uint32_t count_;
    std::size_t size_ = 0;
    std::vector<std::byte> bytes_;
    PacketBytes copy_;
};

// From the bytes of a first payload to its decision, forwarded: parse, checksum, cookie, URL, hash,
// placement, a new flow, edit.
void BM_splicer_first_payload(benchmark::State& state) {
    Crowd crowd(1U << 16);
    auto splicer = new_splicer();
    Nowhere out;
    std::uint32_t i = 0;
    for (auto _ : state) {
        if (splicer->handle_packet(at(0), crowd.packet(i), true, out) != SPLICE_forward_first_payload)
            state.SkipWithError("not opened");
        if (++i == crowd.count()) {
            state.PauseTiming();
            i = 0;
            splicer = new_splicer();
            state.ResumeTiming();
        }
    }
}
BENCHMARK(BM_splicer_first_payload);

void measure_forward(benchmark::State& state, std::uint32_t flows) {
    const auto splicer = new_splicer();
    Nowhere out;
    {
        FirstPayloads first;
        for (std::uint32_t i = 0; i < flows; ++i) splicer->handle_packet(at(0), first.packet(i), true, out);
    }
    if (splicer->flows() != flows) state.SkipWithError("not all flows opened");
    // ACKs of flows far from each other: their first numbers will do, a known flow's are not looked at.
    FirstPayloads acks("");
    std::vector<PacketBytes> packets;
    for (std::uint32_t i = 0; i < std::min(flows, 1U << 16); ++i)
        packets.push_back(acks.packet(static_cast<std::uint32_t>(i * 2'654'435'761ULL % flows)));
    PacketBytes packet = packets.front();
    std::size_t i = 0;
    for (auto _ : state) {
        std::memcpy(packet.data(), packets[i].data(), packet.size());
        if (++i == packets.size()) i = 0;
        if (splicer->handle_packet(at(0), packet, true, out) != SPLICE_forward_open)
            state.SkipWithError("not forwarded");
    }
}
void BM_splicer_forward_hot(benchmark::State& state) {
    measure_forward(state, 1);
}
void BM_splicer_forward_million_flows(benchmark::State& state) {
    measure_forward(state, kManyFlows);
}
BENCHMARK(BM_splicer_forward_hot);
BENCHMARK(BM_splicer_forward_million_flows);

// A bridge and one connection of it at a time.
class Backend {
  public:
    Backend()
        : joiner_(std::make_shared<const JoinerSetup>(testing::joiner_setup(4))),
          first_(kRequest, testing::topology(4).bridges[0], 1) {}

    void open(std::uint32_t number) {
        PacketBytes& packet = first_.packet(number);
        splice_packet judged{};
        splice_parse_ip(packet.data(), packet.data() + packet.size(), &judged);
        client_port_ = splice_ntohs(judged.ends.source_port);
        client_ = IpAddress(judged.ends.source).to_string();
        client_seq_ = judged.seq;
        cookie_ = judged.ack - 1;
        opened_ = joiner_.handle_from_balancer(at(0), packet, true, {}, out_) == SPLICE_open_replay &&
                  answer(SPLICE_SYN | SPLICE_ACK) == SPLICE_learn_backend_isn;
    }
    [[nodiscard]] bool opened() const { return opened_; }

    [[nodiscard]] testing::Segment from_backend(std::uint8_t flags, std::string payload) const {
        testing::Segment segment;
        segment.source = testing::topology(4).backend;
        segment.destination = client_;
        segment.source_port = 8080;
        segment.destination_port = client_port_;
        segment.seq = (flags & SPLICE_SYN) ? kIsn : kIsn + 1;
        segment.ack = client_seq_;
        segment.flags = flags;
        segment.timestamps = testing::Timestamps{0x80000010, 777'000};
        segment.payload = std::move(payload);
        return segment;
    }
    [[nodiscard]] testing::Segment from_balancer() const {
        testing::Segment segment;
        segment.source = client_;
        segment.source_port = client_port_;
        segment.destination = testing::topology(4).bridges[0];
        segment.seq = client_seq_ + static_cast<std::uint32_t>(kRequest.size());
        segment.ack = cookie_ + 1;
        segment.dscp = 1;
        segment.timestamps = testing::Timestamps{777'010, 1'000'010};
        return segment;
    }
    Joiner& bridge() { return joiner_; }
    Actions& out() { return out_; }

  private:
    static constexpr std::uint32_t kIsn = 0x70000000;

    Verdict answer(std::uint8_t flags) {
        testing::Segment segment = from_backend(flags, "");
        segment.mss = 1460;
        segment.sack_permitted = true;
        segment.window_scale = 10;
        PacketBytes packet = segment.build();
        return joiner_.handle_from_backend(at(0), packet, true, out_);
    }

    Nowhere out_;
    Joiner joiner_;
    FirstPayloads first_;
    std::string client_;
    std::uint16_t client_port_ = 0;
    std::uint32_t client_seq_ = 0, cookie_ = 0;
    bool opened_ = false;
};

void BM_bridge_toward_client(benchmark::State& state) {
    Backend backend;
    backend.open(7);
    if (!backend.opened()) state.SkipWithError("not opened");
    const PacketBytes original = backend.from_backend(SPLICE_ACK, std::string(1448, 'x')).build();
    PacketBytes packet = original;
    for (auto _ : state) {
        std::memcpy(packet.data(), original.data(), 80);
        const Verdict verdict = backend.bridge().handle_from_backend(at(0), packet, true, backend.out());
        if (verdict_kind(verdict) != SPLICE_KIND_forward) state.SkipWithError("not sent on");
    }
}
void BM_bridge_deliver(benchmark::State& state) {
    Backend backend;
    backend.open(7);
    if (!backend.opened()) state.SkipWithError("not opened");
    const PacketBytes original = backend.from_balancer().build();
    PacketBytes packet = original;
    for (auto _ : state) {
        std::memcpy(packet.data(), original.data(), original.size());
        const Verdict verdict = backend.bridge().handle_from_balancer(at(0), packet, true, {}, backend.out());
        if (verdict_kind(verdict) != SPLICE_KIND_forward) state.SkipWithError("not delivered");
    }
}
BENCHMARK(BM_bridge_deliver);
BENCHMARK(BM_bridge_toward_client);

// Bytes that a flow adds to this process.
void BM_splicer_memory(benchmark::State& state) {
    for (auto _ : state) {
        FirstPayloads first;
        const auto splicer = new_splicer();
        Nowhere out;
        const std::size_t before = allocated_bytes();
        for (std::uint32_t i = 0; i < kMemoryFlows; ++i)
            splicer->handle_packet(at(0), first.packet(i), true, out);
        if (splicer->flows() != kMemoryFlows) state.SkipWithError("not all flows opened");
        state.counters["bytes_per_flow"] =
            static_cast<double>(allocated_bytes() - before) / static_cast<double>(splicer->flows());
    }
}
void BM_bridge_memory(benchmark::State& state) {
    for (auto _ : state) {
        Backend backend;
        const std::size_t before = allocated_bytes();
        for (std::uint32_t i = 0; i < kMemoryFlows / 4; ++i) backend.open(i);
        if (backend.bridge().flows() != kMemoryFlows / 4) state.SkipWithError("not all flows opened");
        state.counters["bytes_per_flow"] =
            static_cast<double>(allocated_bytes() - before) / static_cast<double>(backend.bridge().flows());
    }
}
BENCHMARK(BM_splicer_memory)->Iterations(1);
BENCHMARK(BM_bridge_memory)->Iterations(1);

// A million SYNs: what they leave behind.
void BM_splicer_million_syns_memory(benchmark::State& state) {
    for (auto _ : state) {
        const auto splicer = new_splicer();
        Nowhere out;
        PacketBytes packet = syn().build();
        splice_packet judged{};
        splicer->handle_packet(at(0), packet, true, out);
        const std::size_t before = allocated_bytes();
        for (std::uint32_t i = 0; i < kManyFlows; ++i) {
            splice_store16(packet.data() + 20, static_cast<std::uint16_t>(i));
            splice_store32(packet.data() + 24, i * 2'654'435'761U);
            splice_parse_ip(packet.data(), packet.data() + packet.size(), &judged);
            splicer->handle_packet(at(0), packet, false, out);
        }
        state.counters["bytes_left"] = static_cast<double>(allocated_bytes() - before);
        state.counters["flows_left"] = static_cast<double>(splicer->flows());
    }
}
BENCHMARK(BM_splicer_million_syns_memory)->Iterations(1);

}  // namespace
