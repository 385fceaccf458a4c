// SYNs from many forged addresses, as fast as they go. Prints how many left and in how many seconds.
//
//   bench_syn_flood ADDRESS PORT COUNT      sources are 10.21.0.0/16
#include <arpa/inet.h>
#include <netinet/in.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "libsplice/base/address.hpp"
#include "libsplice/datapath/segment.h"
#include "libsplice/engine/raw_socket.hpp"

namespace {

constexpr std::uint32_t kFirstSource = 0x0a150000;

// SYN `number`: its own address, port and ISN, with the options of a Linux client.
splice_segment syn(const splice_address& server, std::uint16_t port, std::uint32_t number) {
    splice_address source;
    splice_address_from_ipv4(&source, splice_htonl(kFirstSource + (number & 0xffff)));
    splice_segment_draft draft{};
    draft.from = &source;
    draft.to = &server;
    draft.family = 4;
    draft.from_port = splice_htons(static_cast<std::uint16_t>(1024 + (number >> 16)));
    draft.to_port = splice_htons(port);
    draft.seq = number * 2'654'435'761U;
    draft.window = 64240;
    draft.flags = SPLICE_SYN;
    const splice_option_words options = splice_syn_options(1460, 1, 7, 1, number, 0);
    splice_segment segment;
    splice_write_segment(&segment, &draft, &options);
    return segment;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: bench_syn_flood ADDRESS PORT COUNT\n");
        return 2;
    }
    const auto server = splice::IpAddress::parse(argv[1]);
    auto sender = splice::RawSender::open();
    if (!server || !sender) {
        std::fprintf(stderr, "bench_syn_flood: %s\n",
                     server ? sender.error().text.c_str() : server.error().c_str());
        return 1;
    }
    const auto port = static_cast<std::uint16_t>(std::atoi(argv[2]));
    const auto count = static_cast<std::uint32_t>(std::atol(argv[3]));
    const auto started = std::chrono::steady_clock::now();
    for (std::uint32_t i = 0; i < count; i++) {
        const splice_segment segment = syn(server->raw(), port, i);
        sender->send(std::as_bytes(std::span(segment.bytes, segment.length)));
    }
    sender->flush();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started;
    std::printf("%llu %.3f\n", static_cast<unsigned long long>(sender->counters().packets.load()),
                elapsed.count());
    return 0;
}
