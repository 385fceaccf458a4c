// Captures in memory, built by libtins packet by packet: one connection of a client and a server.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/lib/packets.hpp"
#include "tools/replay/replayer.hpp"
#include "tools/replay/survey.hpp"

namespace splice::replay {

using testing::PacketBytes;
using testing::Segment;
using testing::Timestamps;

inline constexpr std::uint32_t kClientIsn = 0xffffff00;
inline constexpr std::uint32_t kServerIsn = 5000;

// A capture in memory. Each packet comes a millisecond after the one before.
struct Tape {
    struct Recorded {
        Duration time;
        PacketBytes bytes;
        std::uint32_t length;
    };
    std::vector<Recorded> packets;
    Duration now = 1'700'000'000s;
    Checksums checksums = Checksums::judged;

    Tape& add(const Segment& segment) { return add(segment.build()); }
    Tape& add(PacketBytes bytes, std::size_t captured = SIZE_MAX) {
        const auto length = static_cast<std::uint32_t>(bytes.size());
        bytes.resize(std::min(bytes.size(), captured));
        now += 1ms;
        packets.push_back({now, std::move(bytes), length});
        return *this;
    }
    Tape& wait(Duration time) {
        now += time;
        return *this;
    }
    [[nodiscard]] CapturedPacket packet(std::size_t i) const {
        return {
            .number = i + 1, .time = packets[i].time, .ip = packets[i].bytes, .ip_length = packets[i].length};
    }
    void play(std::vector<Observer*> observers) const {
        Survey survey;
        Mender mender(checksums);
        for (std::size_t i = 0; i < packets.size(); ++i) survey.take(mender.mend(packet(i)));
        Fleets fleets = survey.services();
        Replayer replayer(fleets, std::move(observers), checksums);
        for (std::size_t i = 0; i < packets.size(); ++i) replayer.take(packet(i));
        replayer.finish();
    }
};

inline Segment client(std::string payload = {}, std::uint32_t offset = 0) {
    Segment segment;
    segment.seq = kClientIsn + 1 + offset;
    segment.ack = kServerIsn + 1;
    segment.timestamps = Timestamps{100, 200};
    segment.payload = std::move(payload);
    return segment;
}

inline Segment server(std::string payload = {}, std::uint32_t offset = 0) {
    Segment segment;
    std::swap(segment.source, segment.destination);
    std::swap(segment.source_port, segment.destination_port);
    segment.seq = kServerIsn + 1 + offset;
    segment.ack = kClientIsn + 1;
    segment.timestamps = Timestamps{201, 100};
    segment.payload = std::move(payload);
    return segment;
}

inline Segment syn() {
    Segment segment = client();
    segment.seq = kClientIsn;
    segment.ack = 0;
    segment.flags = SPLICE_SYN;
    segment.mss = 1460;
    segment.sack_permitted = true;
    segment.window_scale = 7;
    segment.timestamps = Timestamps{99, 0};
    return segment;
}

inline Segment syn_ack() {
    Segment segment = server();
    segment.seq = kServerIsn;
    segment.flags = SPLICE_SYN | SPLICE_ACK;
    segment.mss = 1460;
    segment.sack_permitted = true;
    segment.window_scale = 7;
    segment.timestamps = Timestamps{200, 99};
    return segment;
}

inline const std::string kRequest = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

}  // namespace splice::replay
