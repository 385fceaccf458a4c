// What a replay told, kept for a test to look at.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/support/lib/packets.hpp"
#include "tools/replay/observer.hpp"
#include "tools/replay/output.hpp"

namespace splice::replay {

struct Travelled {
    std::string from, to;
    testing::PacketBytes bytes;
};

class Recorder final : public Observer {
  public:
    void came(const Step&, Station from, Station to, Bytes packet) override {
        arrived.push_back({std::string(from.name), std::string(to.name), {packet.begin(), packet.end()}});
    }
    void judged(const Step&, Station where, Verdict verdict) override {
        verdicts.push_back(std::string(where.name) + ' ' + std::string(verdict_name(verdict)));
    }
    void chose(const Step&, const Choice& choice) override { choices.push_back(choice); }
    void noted(const Step&, Place, std::string_view text) override { notes.emplace_back(text); }
    void left(const Step&, Station from, Station to, Bytes packet) override {
        sent.push_back({std::string(from.name), std::string(to.name), {packet.begin(), packet.end()}});
    }
    [[nodiscard]] std::vector<Travelled> sent_to(std::string_view goal) const {
        std::vector<Travelled> found;
        for (const Travelled& each : sent)
            if (each.to == goal) found.push_back(each);
        return found;
    }

    std::vector<Travelled> arrived, sent;
    std::vector<std::string> verdicts, notes;
    std::vector<Choice> choices;
};

class Lines final : public Output {
  public:
    void line(std::string_view text) override { all.emplace_back(text); }
    std::vector<std::string> all;
};

}  // namespace splice::replay
