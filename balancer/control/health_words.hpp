// What the log tells of bridges' health.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "balancer/config.hpp"
#include "balancer/dataplane.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {

// Why a check has failed, as far as it can be told: "no answer at all (...)", "status 503, expected 200-399".
std::string describe_failure(ProbeEnd end, const std::string& words);

struct HealthLine {
    bool warns = false;
    std::string text;
    LogFields fields{};
};

// Remembers what was told already.
class HealthWords {
  public:
    // The lines to log for what has changed. `config` and the setup built from it are those that run.
    std::vector<HealthLine> tell(const HealthNews& news, const BalancerConfig& config,
                                 const SplicerSetup& setup);

  private:
    struct Told {
        std::string service;
        bool panics = false;
        std::vector<std::uint16_t> narrow;             // bridges
        std::vector<std::uint16_t> starting;           // that have not all their keys
        std::map<std::uint16_t, std::string> numbers;  // what was said of those whose number differs
    };
    std::vector<Told> told_;
};

}  // namespace splice
