// What left, as packets: written to a capture, or compared with one.
#pragma once

#include <optional>
#include <string>

#include "libsplice/engine/pcap_file.hpp"
#include "tools/replay/observer.hpp"

namespace splice::replay {

// -o: every packet that left a machine, at every hop.
class CaptureWriter final : public Observer {
  public:
    explicit CaptureWriter(PcapWriter& writer) : writer_(writer) {}
    void left(const Step& step, Station, Station, Bytes packet) override { writer_.write(step.time, packet); }

  private:
    PcapWriter& writer_;
};

// --expect with a capture: the same packets in the same order, byte for byte; times may differ.
class CaptureComparison final : public Observer {
  public:
    CaptureComparison(std::string path, PcapReader& expected) : path_(std::move(path)), expected_(expected) {}
    void left(const Step& step, Station from, Station to, Bytes packet) override;
    // After the last packet: what differs, both packets in it. A damaged expectation is a difference.
    [[nodiscard]] std::optional<std::string> difference();

  private:
    std::string path_;
    PcapReader& expected_;
    std::uint64_t compared_ = 0;
    std::optional<std::string> difference_;
};

}  // namespace splice::replay
