#include "tools/hash/interrupt.hpp"

#include <csignal>

namespace splice::hash {
namespace {

volatile std::sig_atomic_t interrupts = 0;

}  // namespace

void answer_at_interrupt() noexcept {
    struct sigaction action{};
    action.sa_handler = [](int) { interrupts = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);  // without SA_RESTART: a read that waits ends
    sigaction(SIGINT, &action, nullptr);
}

bool interrupted() noexcept {
    return interrupts != 0;
}

}  // namespace splice::hash
