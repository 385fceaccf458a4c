#include "tests/bpf/translator_rig.hpp"

#include <bpf/bpf.h>
#include <linux/pkt_cls.h>

#include <cstring>
#include <stdexcept>

#include "libsplice/engine/clock.hpp"

namespace splice::testing {
namespace {

constexpr std::size_t kEthernetHeader = 14;
constexpr std::size_t kFlows = 1024;

BridgePrograms load(const JoinerSetup& setup) {
    auto programs = BridgePrograms::load(Mode::translate, kFlows, std::nullopt);
    if (!programs) throw std::runtime_error(programs.error().text);
    if (auto written = programs->write(setup); !written) throw std::runtime_error(written.error().text);
    return std::move(*programs);
}

MappedBpfArray settings_of(int program) {
    auto memory = MappedBpfArray::map(map_of(program, ".bss").get(), sizeof(splice_common_settings));
    if (!memory) throw std::runtime_error(memory.error().text);
    return std::move(*memory);
}

Outcome outcome_of(Verdict verdict, SentPackets& out, PacketBytes handed) {
    Outcome outcome{verdict, std::move(out.sent)};
    outcome.sent.insert(outcome.sent.end(), out.bounced.begin(), out.bounced.end());
    if (verdict_kind(verdict) == SPLICE_KIND_forward) outcome.sent.push_back(std::move(handed));
    return outcome;
}

Outcome hand_over(Joiner& bridge, Instant now, PacketBytes packet, bool from_backend) {
    SentPackets out;
    const Verdict verdict = from_backend ? bridge.handle_from_backend(now, packet, true, out)
                                         : bridge.handle_from_balancer(now, packet, true, Hop{}, out);
    return outcome_of(verdict, out, std::move(packet));
}

Outcome expire(Joiner& bridge, Instant now) {
    SentPackets out;
    bridge.expire(now, out);
    return {SPLICE_CONTINUE, std::move(out.sent)};
}

// One run of a program on a packet, which is edited; its answer.
std::uint32_t run(int program, PacketBytes& packet) {
    PacketBytes frame = frame_around(packet);
    PacketBytes result(frame.size() + 256);
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    options.data_out = result.data();
    options.data_size_out = static_cast<std::uint32_t>(result.size());
    options.repeat = 1;
    if (bpf_prog_test_run_opts(program, &options) != 0)
        throw std::runtime_error("BPF_PROG_TEST_RUN of " + std::to_string(frame.size()) +
                                 " bytes: " + std::strerror(errno));
    packet.assign(result.begin() + kEthernetHeader, result.begin() + options.data_size_out);
    return options.retval;
}

}  // namespace

// --- The kernel's side

KernelTranslator::KernelTranslator(const std::shared_ptr<const JoinerSetup>& setup)
    : programs_(load(*setup)),
      flows_(programs_.flows()),
      joiner_(setup, &flows_),
      settings_(settings_of(programs_.ingress())),
      asked_(programs_.ring()) {}

void KernelTranslator::stop_clock(Instant now) {
    auto& settings = *static_cast<splice_common_settings*>(settings_.data());
    const Instant real = read_clock();
    settings.unix_minus_monotonic_s = now.unix_s - static_cast<std::int64_t>(real.seconds());
    settings.unix_minus_monotonic_ms = now.unix_s * 1000 + now.unix_part_ms -
                                       std::chrono::floor<std::chrono::milliseconds>(real.monotonic).count();
}

Outcome KernelTranslator::handle(Instant now, Bytes packet, bool from_backend) {
    const splice_bridge_counters before = programs_.counters();
    PacketBytes edited(packet.begin(), packet.end());
    const std::uint32_t action = run(from_backend ? programs_.egress() : programs_.ingress(), edited);
    std::vector<PacketBytes> asked = asked_.take();
    const splice_bridge_counters after = programs_.counters();
    in_kernel_ = asked.empty();
    if (!in_kernel_) {
        if (action != TC_ACT_SHOT || after.common.asked != before.common.asked + 1)
            throw std::runtime_error("asked, and let through all the same");
        return hand_over(joiner_, now, std::move(asked.at(0)), from_backend);
    }
    Outcome outcome;
    for (std::size_t i = 0; i < kVerdictCount; ++i)
        if (after.common.verdicts[i] != before.common.verdicts[i]) outcome.verdict = static_cast<Verdict>(i);
    if (verdict_kind(outcome.verdict) == SPLICE_KIND_forward) outcome.sent.push_back(std::move(edited));
    return outcome;
}

Outcome KernelTranslator::expire(Instant now) {
    return testing::expire(joiner_, now);
}

// --- The portable side

Outcome PortableTranslator::handle(Instant now, Bytes packet, bool from_backend) {
    return hand_over(joiner_, now, {packet.begin(), packet.end()}, from_backend);
}

Outcome PortableTranslator::expire(Instant now) {
    return testing::expire(joiner_, now);
}

}  // namespace splice::testing
