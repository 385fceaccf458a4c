#include "libsplice/ops/signals.hpp"

#include <pthread.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>

namespace splice {
namespace {

sigset_t signal_set(std::initializer_list<int> numbers) {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : numbers) sigaddset(&set, number);
    return set;
}

}  // namespace

SystemResult<Signals> Signals::open() {
    // A peer that closes early must not end us: the write says EPIPE instead.
    std::signal(SIGPIPE, SIG_IGN);
    const sigset_t set = signal_set({SIGINT, SIGTERM, SIGUSR1, SIGHUP});
    if (const int code = pthread_sigmask(SIG_BLOCK, &set, nullptr))
        return system_error("block signals", code);
    const int number = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (number < 0) return system_error("open a signalfd", errno);
    return Signals(Descriptor(number));
}

std::optional<SignalEvent> Signals::next() {
    signalfd_siginfo info;
    if (::read(descriptor_.get(), &info, sizeof(info)) != sizeof(info)) return std::nullopt;
    if (info.ssi_signo == SIGHUP) return SignalEvent::reload;
    const sigset_t stops = signal_set({SIGINT, SIGTERM});
    pthread_sigmask(SIG_UNBLOCK, &stops, nullptr);
    return info.ssi_signo == SIGUSR1 ? SignalEvent::hand_over : SignalEvent::stop;
}

}  // namespace splice
