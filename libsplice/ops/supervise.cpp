#include "libsplice/ops/supervise.hpp"

#include <poll.h>

#include <array>

namespace splice {

void supervise(Signals& signals, FileWatch& files, const std::function<void(std::string_view why)>& reload) {
    bool unsettled = false;  // something happened beside a watched file, and may go on
    for (;;) {
        std::array<pollfd, 2> waits{{{signals.descriptor(), POLLIN, 0}, {files.descriptor(), POLLIN, 0}}};
        const int ready =
            poll(waits.data(), waits.size(), unsettled ? static_cast<int>(kFileQuiet.count()) : -1);
        if (ready == 0) {
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
