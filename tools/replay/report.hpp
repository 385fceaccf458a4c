// What the replay tells, as text: one line a packet, or one line a connection.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/replay/observer.hpp"
#include "tools/replay/output.hpp"

namespace splice::replay {

// One line a step, four fields between " | ":
//   time  number of the captured packet, "-" for a time-out
//   what came, "from>to packet" as wire/print_packet prints it
//   the verdicts, in their order: "balancer forward_first_payload (uri=/a), b1 open_replay"
//   what left, "from>to packet; ..."; a packet that the backend answers with stands there, too
// Time is in seconds since the first packet.
class LineReport final : public Observer {
  public:
    explicit LineReport(Output& output) : output_(output) {}
    void begins(const Step& step) override;
    void came(const Step& step, Station from, Station to, Bytes packet) override;
    void judged(const Step& step, Station where, Verdict verdict) override;
    void chose(const Step& step, const Choice& choice) override;
    void noted(const Step& step, Place at, std::string_view text) override;
    void left(const Step& step, Station from, Station to, Bytes packet) override;
    void ends(const Step& step) override;

  private:
    Output& output_;
    bool started_ = false;
    Duration first_{};
    std::string came_, verdicts_, left_, line_;
};

// client_ip client_port server_ip server_port kind key bridge, between tabs: one line a connection, in the
// order of their first packets. "-" where nothing was chosen. A byte of the key that is no printable ASCII,
// and the backslash, stand as \xhh.
class KeyReport final : public Observer {
  public:
    void came(const Step& step, Station from, Station to, Bytes packet) override;
    void judged(const Step& step, Station where, Verdict verdict) override;
    void chose(const Step& step, const Choice& choice) override;
    void noted(const Step& step, Place at, std::string_view text) override;
    void left(const Step& step, Station from, Station to, Bytes packet) override;
    void print(Output& output) const;

  private:
    struct Line {
        splice_flow_key key{};
        std::string kind = "-", text = "-", bridge = "-";
    };
    Line* line_of(const Step& step);
    std::vector<Line> lines_;  // of conversation i + 1
};

// How many packets a wrong checksum cost, or would have.
class ChecksumReport final : public Observer {
  public:
    void judged(const Step& step, Station where, Verdict verdict) override;
    void ends(const Step& step) override;
    [[nodiscard]] std::string remark() const;  // empty: none

  private:
    std::uint64_t dropped_ = 0, ignored_ = 0;
};

// "a.example" or "b\x09c"
[[nodiscard]] std::string printable(std::string_view text);
// "(uri=/a)" or "(source=192.0.2.1: not an HTTP/1 request)"
[[nodiscard]] std::string describe(const Choice& choice);

}  // namespace splice::replay
