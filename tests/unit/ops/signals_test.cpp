#include "libsplice/ops/signals.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

using namespace splice;

namespace {

// In a process of its own: signal masks and dispositions are the whole process's. Its wait status.
template <class Body>
int status_of(Body body) {
    const pid_t child = fork();
    if (child == 0) {
        for (const int number : {SIGINT, SIGTERM, SIGHUP})
            std::signal(number, SIG_DFL);  // not the test runner's
        body();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

}  // namespace

TEST_CASE("signals become events in their order") {
    const int status = status_of([] {
        auto signals = Signals::open();
        if (!signals || signals->next()) _exit(1);
        std::raise(SIGHUP);
        if (signals->next() != SignalEvent::reload) _exit(2);
        std::raise(SIGTERM);
        if (signals->next() != SignalEvent::stop) _exit(3);
        std::raise(SIGUSR1);
        if (signals->next() != SignalEvent::hand_over) _exit(4);
    });
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a second signal to stop ends the process at once") {
    const int status = status_of([] {
        auto signals = Signals::open();
        std::raise(SIGINT);
        if (signals->next() != SignalEvent::stop) _exit(1);
        std::raise(SIGINT);
    });
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGINT);
}
