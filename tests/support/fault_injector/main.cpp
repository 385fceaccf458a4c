// fault-injector: an NFQUEUE in a lab's router (or at a host's own door) through which packets pass, or not.
// It says "ready" when its rules stand; SIGTERM or SIGINT ends it: what it holds goes out, its rules go, its
// counts are printed.
#include <poll.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>

#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/nfqueue.hpp"
#include "libsplice/engine/raw_socket.hpp"
#include "tests/support/fault_injector/faults.hpp"
#include "tests/support/fault_injector/held_packets.hpp"
#include "tests/support/fault_injector/options.hpp"

namespace splice::faults {
namespace {

// Of what we send ourselves: at a host's own door it must not come to us again.
constexpr std::uint32_t kOwnMark = 0x7900;

Descriptor watch_end_signals() noexcept {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, nullptr);
    return Descriptor(signalfd(-1, &ends, SFD_CLOEXEC));
}

class Injector {
  public:
    Injector(const Options& options, NfQueue queue, RawSender sender)
        : queue_(std::move(queue)),
          sender_(std::move(sender)),
          plan_(options.faults),
          held_(options.overtakers, options.delay) {}

    // Until the descriptor `end` is readable.
    void run(int end) {
        pollfd watched[] = {{queue_.descriptor(), POLLIN, 0}, {end, POLLIN, 0}};
        while (watched[1].revents == 0) {
            if (ppoll(watched, 2, wait_time(), nullptr) < 0 && errno != EINTR) break;
            const Duration now = read_clock().monotonic;
            queue_.receive([&](QueuedPacket& packet) { return handle(now, packet); });
            held_.release(now, [&](Bytes packet) { sender_.send(packet); });
            sender_.flush();
        }
        held_.release_all([&](Bytes packet) { sender_.send(packet); });
        sender_.flush();
    }

    void print_counts() const {
        const RawSenderCounters& sent = sender_.counters();
        std::printf("%s resent=%llu resend_failures=%llu overruns=%llu\n", plan_.counts().to_string().c_str(),
                    static_cast<unsigned long long>(sent.packets.load()),
                    static_cast<unsigned long long>(sent.failures.load() + sent.too_big.load()),
                    static_cast<unsigned long long>(queue_.overruns()));
    }

  private:
    Disposition handle(Duration now, QueuedPacket& packet) {
        const Fault fault = plan_.decide(packet.bytes);
        switch (fault) {
            case Fault::lose:
                return Disposition::drop;
            case Fault::hold:
                if (!held_.hold(now, packet.bytes)) break;
                return Disposition::drop;
            case Fault::duplicate:
                sender_.send(packet.bytes);
                break;
            case Fault::corrupt:
                plan_.corrupt(packet.bytes);
                break;
            case Fault::none:
                break;
        }
        held_.count_overtaker();
        return fault == Fault::corrupt ? Disposition::accept_edited : Disposition::accept;
    }

    // Until a held packet is due; null = as long as it takes.
    const timespec* wait_time() noexcept {
        const auto deadline = held_.next_deadline();
        if (!deadline) return nullptr;
        const Duration left = std::max(*deadline - read_clock().monotonic, Duration::zero());
        wait_.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count();
        wait_.tv_nsec = (left % std::chrono::seconds(1)).count();
        return &wait_;
    }

    NfQueue queue_;
    RawSender sender_;
    FaultPlan plan_;
    HeldPackets held_;
    timespec wait_{};
};

NetfilterMatch everything_tcp(const Options& options) {
    NetfilterMatch match;
    match.hook = options.hook;
    match.interface = options.interface;
    match.queue = options.queue;
    match.except_mark = kOwnMark;
    return match;
}

SystemResult<void> inject(const Options& options) {
    const Descriptor end = watch_end_signals();
    // Without gso: a super-packet would be lost or held as one, and cannot be sent again.
    auto queue = NfQueue::open({.number = options.queue});
    if (!queue) return std::unexpected(queue.error());
    auto sender = RawSender::open(kOwnMark);
    if (!sender) return std::unexpected(sender.error());
    Injector injector(options, std::move(*queue), std::move(*sender));
    std::optional<NetfilterRules> rules;
    if (options.install_rules) {
        auto installed = NetfilterRules::install("FAULTS", {everything_tcp(options)});
        if (!installed) return std::unexpected(installed.error());
        rules.emplace(std::move(*installed));
    }
    std::puts("ready");
    std::fflush(stdout);
    injector.run(end.get());
    rules.reset();
    injector.print_counts();
    return {};
}

}  // namespace
}  // namespace splice::faults

int main(int argc, char** argv) {
    const auto options = splice::faults::parse_options(argc, argv);
    if (!options) {
        std::fprintf(stderr, "fault-injector: %s\n", options.error().c_str());
        return 2;
    }
    if (options->help) {
        std::fputs(splice::faults::help_text().c_str(), stdout);
        return 0;
    }
    const auto done = splice::faults::inject(*options);
    if (!done) {
        std::fprintf(stderr, "fault-injector: %s\n", done.error().text.c_str());
        return 1;
    }
    return 0;
}
