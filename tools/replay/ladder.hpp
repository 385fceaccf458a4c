// The conversation as a ladder: client, balancer, bridge and backend side by side, each packet an arrow with
// its sequence numbers at that hop. As text, or as SVG.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/replay/observer.hpp"
#include "tools/replay/output.hpp"

namespace splice::replay {

// Rows of all conversations together; what comes behind is left out and counted.
inline constexpr std::size_t kMaxLadderRows = 20'000;

class Ladder final : public Observer {
  public:
    void begins(const Step& step) override;
    void came(const Step& step, Station from, Station to, Bytes packet) override;
    void judged(const Step& step, Station where, Verdict verdict) override;
    void chose(const Step& step, const Choice& choice) override;
    void noted(const Step& step, Place at, std::string_view text) override;
    void left(const Step& step, Station from, Station to, Bytes packet) override;

    // One ladder a connection, one below the other.
    void print(Output& output) const;
    [[nodiscard]] std::string svg() const;

  private:
    // An arrow, or, when `from` and `to` are the same, words at that place.
    struct Row {
        Duration time{};
        std::uint64_t number = 0;
        Place from{}, to{};
        bool captured = false;  // it came from the capture; the rest is ours
        std::string text;
    };
    struct Rungs {
        splice_flow_key key{};
        std::string bridge;
        std::vector<Row> rows;
    };
    Row* add(const Step& step, Place from, Place to);
    void add_arrow(const Step& step, Station from, Station to, Bytes packet, bool captured);

    bool started_ = false;
    Duration first_{};
    std::vector<Rungs> conversations_;  // conversation i + 1
    std::size_t rows_ = 0, left_out_ = 0;
};

}  // namespace splice::replay
