// What a daemon needs of its host, as one list of facts: looked at, put right when somebody else changed
// them, and told when they cannot be put right. Start, reload, repair and stop walk the same list.
#pragma once

#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/time.hpp"
#include "libsplice/engine/host_fact.hpp"
#include "libsplice/ops/metrics.hpp"

namespace splice {

struct HostReport {
    std::vector<std::string> warnings;  // lines for the log
    std::vector<std::string> infos;
};

// Called by one thread, but for repairs() and reasons(), which any thread may call.
class HostFacts {
  public:
    // A start, or a change before it is final: those of `facts` that are not in the list, by their words, are
    // made so in their order, and join it. At the first that the system refuses, what this call made is
    // undone, the last first, and the list is as before. The error is a sentence.
    std::expected<void, std::string> establish(HostFactList facts);
    // The facts that hold from now on, in the order in which they are put right. One that was in the list
    // before is the same; those that are no longer named are undone, the last first.
    void replace(HostFactList facts);
    // A stop: what was made is undone, the last first.
    void undo();

    // Looks at every fact, or only at those of which no notice tells, and puts right what is not so. One line
    // for each change of a fact; what stays wrong is said again every minute.
    HostReport look(Instant now, bool all);

    // How often facts of each kind were put right; every kind that was ever watched is there.
    [[nodiscard]] std::map<std::string, std::uint64_t> repairs() const;
    // Why traffic does not flow as it should, in words; empty when all facts hold.
    [[nodiscard]] std::vector<std::string> reasons() const;

  private:
    struct Watched {
        HostFact fact;
        bool made = false;                 // by put_right(), and not undone
        std::optional<std::string> wrong;  // in words, since the last look
        Duration last_told{};
        std::deque<Duration> repaired;  // within the last minute
        bool fights = false;            // somebody undoes what we put right
        Duration not_before{};          // of the next repair
    };
    [[nodiscard]] Watched* find(const std::string& words) noexcept;
    static void undo(Watched& watched);
    void look_at(Watched& watched, Instant now, HostReport& report);
    void repair(Watched& watched, const std::string& what, Instant now, HostReport& report);
    void publish();

    std::vector<Watched> facts_;
    mutable std::mutex mutex_;
    std::map<std::string, std::uint64_t> repairs_;
    std::vector<std::string> reasons_;
};

// splicelb_PROGRAM_host_repairs_total and splicelb_PROGRAM_ready.
void write_host_facts(MetricsPage& page, std::string_view program, const HostFacts& host);
// One look, told in the log.
void look_at_host(HostFacts& host, Instant now, bool all);

}  // namespace splice
