// client-crowd: clients by the hundred thousand at a balancer's door, run in the namespace of the lab's
// segment. It says "ready"; each line of its standard input is then a step, each line of its output what came
// of it; the end of its input ends it.
//
//   client-crowd INTERFACE BALANCER-MAC ADDRESS:PORT DSCP CLIENTS [HOSTS]
//     flood RATE           SYNs at a rate a second until the next line, and no client remembers the answer
//     syn FIRST COUNT      clients FIRST to FIRST+COUNT-1 each send a SYN,
//     first FIRST COUNT    ... the first payload,
//     next FIRST COUNT     ... the segment behind it; who is not answered repeats it
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>

#include "tests/support/client_crowd/crowd.hpp"

namespace splice::crowd {
namespace {

// All that a frame leads to, as far as the balancer, is done by the processor that sends it: the last one.
void stay_on_one_processor() {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(std::max(std::thread::hardware_concurrency(), 1U) - 1, &one);
    sched_setaffinity(0, sizeof(one), &one);
}

bool read_mac(const char* text, EthernetAddress& address) {
    std::array<unsigned, 6> bytes{};
    if (std::sscanf(text, "%x:%x:%x:%x:%x:%x", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4],
                    &bytes[5]) != 6)
        return false;
    for (std::size_t i = 0; i < bytes.size(); ++i) address[i] = static_cast<std::uint8_t>(bytes[i]);
    return true;
}

bool next_line_is_there() {
    constexpr int kWaitMs = 10;
    pollfd input{STDIN_FILENO, POLLIN, 0};
    return poll(&input, 1, kWaitMs) > 0;
}

bool take(Crowd& crowd, const Place& place, const std::string& line) {
    std::istringstream words(line);
    std::string step;
    words >> step;
    Count count;
    if (step == "flood") {
        std::uint32_t rate = 0;
        if (!(words >> rate)) return false;
        count = crowd.flood(rate, next_line_is_there);
        std::string next;
        std::getline(std::cin, next);
    } else {
        std::uint32_t first = 0, clients = 0;
        const bool known = step == "syn" || step == "first" || step == "next";
        if (!known || !(words >> first >> clients) || first > place.clients ||
            clients > place.clients - first)
            return false;
        count = crowd.take_step(step == "syn"     ? CROWD_SYN
                                : step == "first" ? CROWD_FIRST
                                                  : CROWD_NEXT,
                                first, clients);
    }
    std::printf("sent=%llu answered=%llu forwarded=%llu strayed=%llu clients=%u bridges=%zu seconds=%.3f\n",
                static_cast<unsigned long long>(count.sent), static_cast<unsigned long long>(count.answered),
                static_cast<unsigned long long>(count.forwarded),
                static_cast<unsigned long long>(count.strayed), count.clients, crowd.bridges().size(),
                count.seconds);
    std::fflush(stdout);
    return true;
}

int run(int argc, char** argv) {
    Place place;
    const auto service = Endpoint::parse(argc == 6 || argc == 7 ? argv[3] : "");
    if (argc < 6 || argc > 7 || !service || !read_mac(argv[2], place.balancer)) {
        std::fputs("usage: client-crowd INTERFACE BALANCER-MAC ADDRESS:PORT DSCP CLIENTS [HOSTS]\n", stderr);
        return 2;
    }
    place.service = *service;
    place.dscp = static_cast<std::uint8_t>(std::atoi(argv[4]));
    place.clients = static_cast<std::uint32_t>(std::atol(argv[5]));
    if (argc == 7) place.hosts = static_cast<std::uint32_t>(std::atol(argv[6]));
    const auto interface = find_interface(argv[1]);
    if (!interface) {
        std::fprintf(stderr, "client-crowd: %s\n", interface.error().text.c_str());
        return 1;
    }
    place.interface = *interface;
    auto crowd = Crowd::enter(place);
    if (!crowd) {
        std::fprintf(stderr, "client-crowd: %s\n", crowd.error().text.c_str());
        return 1;
    }
    stay_on_one_processor();
    std::puts("ready");
    std::fflush(stdout);
    for (std::string line; std::getline(std::cin, line);) {
        if (take(*crowd, place, line)) continue;
        std::fprintf(stderr, "client-crowd: not a step: %s\n", line.c_str());
        return 2;
    }
    return 0;
}

}  // namespace
}  // namespace splice::crowd

int main(int argc, char** argv) {
    return splice::crowd::run(argc, argv);
}
