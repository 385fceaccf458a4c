#include "libsplice/ops/supervise.hpp"

#include <poll.h>

#include <array>
#include <chrono>

namespace splice {

namespace {

constexpr std::chrono::milliseconds kLookPeriod{1000};

}  // namespace

void supervise(Signals& signals, FileWatch& files, const std::function<void(std::string_view why)>& reload,
               const std::function<void()>& look) {
    bool unsettled = false;  // something happened beside a watched file, and may go on
    auto next_look = std::chrono::steady_clock::now();
    for (;;) {
        if (std::chrono::steady_clock::now() >= next_look) {
            look();
            next_look = std::chrono::steady_clock::now() + kLookPeriod;
        }
        std::array<pollfd, 2> waits{{{signals.descriptor(), POLLIN, 0}, {files.descriptor(), POLLIN, 0}}};
        const int ready = poll(waits.data(), waits.size(),
                               static_cast<int>(unsettled ? kFileQuiet.count() : kLookPeriod.count()));
        if (ready == 0 && unsettled) {
            unsettled = false;
            for (const std::string& path : files.changed()) {
                reload(path + " changed");
                break;  // one reload reads all files anew
            }
        }
        if (ready <= 0) continue;
        while (const auto event = signals.next()) {
            if (*event == SignalEvent::stop) return;
            (void)files.changed();  // what SIGHUP reads needs no second reload, but what comes meanwhile does
            reload("SIGHUP");
        }
        if (waits[1].revents & POLLIN) {
            files.drain();
            unsettled = true;
        }
    }
}

}  // namespace splice
