#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "libsplice/core/heavy_keys.hpp"
#include "libsplice/datapath/flow.h"
#include "tools/hash/ask.hpp"
#include "tools/hash/chooser.hpp"
#include "tools/hash/key_sample.hpp"
#include "tools/hash/share_error.hpp"
#include "tools/hash/tally.hpp"
#include "tools/hash/weighed.hpp"

namespace splice::hash {
namespace {

// Points of the curve: after so many parts of a hundred of the keys, most asked first.
constexpr std::size_t kCurvePoints = 100;

// How unequal the keys are, from all of them or an even sample.
struct Concentration {
    double effective_requests = 0;  // as many keys of equal popularity would spread as unevenly
    double effective_bytes = 0;
    double gini = 0;
    std::vector<double> curve;  // Lorenz: the share of requests of the i/kCurvePoints least asked keys
};

Concentration concentration_of(const KeySample& keys) {
    std::vector<std::uint64_t> requests;
    double request_sum = 0, request_squares = 0, byte_sum = 0, byte_squares = 0;
    for (const KeySample::Entry& entry : keys.slots()) {
        if (entry.requests == 0) continue;
        requests.push_back(entry.requests);
        const auto r = static_cast<double>(entry.requests), b = static_cast<double>(entry.bytes);
        request_sum += r, request_squares += r * r, byte_sum += b, byte_squares += b * b;
    }
    Concentration answer;
    if (requests.empty()) return answer;
    const auto scale = static_cast<double>(keys.scale());
    answer.effective_requests = scale * request_sum * request_sum / request_squares;
    answer.effective_bytes = byte_squares > 0 ? scale * byte_sum * byte_sum / byte_squares : 0;
    std::ranges::sort(requests);
    double so_far = 0, area = 0;
    answer.curve.push_back(0);
    std::size_t point = 1;
    for (std::size_t i = 0; i < requests.size(); ++i) {
        const double before = so_far;
        so_far += static_cast<double>(requests[i]) / request_sum;
        area += (before + so_far) / 2 / static_cast<double>(requests.size());
        for (; point <= kCurvePoints && (i + 1) * kCurvePoints >= point * requests.size(); ++point)
            answer.curve.push_back(so_far);
    }
    answer.gini = 1 - 2 * area;
    return answer;
}

// What the luck of the keys' places does to a bridge's share, one standard deviation.
double luck(double due, double effective_keys) {
    return effective_keys > 0 ? std::sqrt(due * (1 - due) / effective_keys) : std::nan("");
}

class Balance {
  public:
    explicit Balance(const Options& options)
        : options_(options),
          fleet_(options.fleet),
          chooser_(fleet_),
          placement_(chooser_.placement()),
          chooses_at_once_(fleet_.subset != 0 || chooser_.ramps() || fleet_.weighing.any()),
          hot_(fleet_.weighing.hot_keys),
          key_is_object_(fleet_.key == HashKeyRule{}),
          tally_(fleet_.bridges.size()),
          request_error_(fleet_.bridges.size()),
          byte_error_(fleet_.bridges.size()) {
        if (!fleet_.weighing.any()) return;
        cache::FleetRules rules = fleet_rules(fleet_);
        add_weighing(rules, fleet_, hot_);
        weighed_.emplace(std::move(rules),
                         [this](const cache::Request&, const cache::Serving&) { return named_; });
    }
    Balance(const Balance&) = delete;
    Balance& operator=(const Balance&) = delete;

    void take(const Record& record) {
        request_.write(record, options_.rules.line.headers);
        const RecordKey key = chooser_.key_of(record, request_);
        if (key.fallback) keyless_.add(key);
        if (!key.placed) return;
        Waiting& waiting = waiting_[waits_++];
        waiting.key.assign(key.bytes);
        if (chooses_at_once_) waiting.bridge = bridge_now(record, key);
        waiting.hash = hash_key_bytes(key.bytes);
        waiting.bytes = record.bytes.value_or(0);
        // A shorter key stands for several objects, and then those are counted, too.
        waiting.object = key_is_object_ && record.host.empty() ? waiting.hash : object_of(record);
        if (!objects_differ_ && waiting.object != waiting.hash) {
            objects_ = keys_;
            objects_differ_ = true;
        }
        if (objects_differ_) objects_.prefetch(waiting.object);
        keys_.prefetch(waiting.hash);
        __builtin_prefetch(&placement_.rows()[row_of(waiting.hash)]);
        if (waits_ == waiting_.size()) count_waiting();
    }

    // Before report().
    void count_waiting() {
        for (const Waiting& waiting : std::span(waiting_).first(waits_)) count(waiting);
        waits_ = 0;
    }

    [[nodiscard]] Json report(const LogReader& log) const {
        const Load all = tally_.all();
        const KeySample& objects = objects_differ_ ? objects_ : keys_;
        Json report{{"question", "balance"},
                    {"key", fleet_.key.to_string()},
                    {"algorithm", to_string(fleet_.algorithm)},
                    {"requests", all.requests},
                    {"bytes", all.bytes}};
        keyless_.write(report);
        if (weighed_) {
            report["choices"] = Json::array({ranks_as_json(weighed_->counts())});
            clock_.write_note(report);
        }
        report["distinct_keys"] = keys_.distinct();
        report["distinct_objects"] = objects.distinct();
        report["distinct_is_exact"] = keys_.is_exact() && objects.is_exact();
        report["peak_to_mean_requests"] = peak_to_mean(fleet_, tally_, &Load::requests);
        report["peak_to_mean_bytes"] = peak_to_mean(fleet_, tally_, &Load::bytes);
        const Concentration concentration = concentration_of(keys_);
        report["effective_keys_by_requests"] = concentration.effective_requests;
        report["effective_keys_by_bytes"] = concentration.effective_bytes;
        report["gini_of_keys"] = concentration.gini;
        add_bridges(report, concentration, objects);
        add_hot_keys(report);
        report["confidence"] = confidence(concentration);
        report["lorenz"] = concentration.curve;
        add_malformed(report, log);
        return report;
    }

  private:
    // A request whose counters have been called for, so that they are near when its turn comes.
    struct Waiting {
        std::string key;
        std::uint16_t bridge = 0;  // where the table alone does not tell it
        std::uint64_t hash = 0;
        std::uint64_t object = 0;
        std::uint64_t bytes = 0;
    };

    // By subset, ramp and weighing, too.
    [[nodiscard]] std::uint16_t bridge_now(const Record& record, const RecordKey& key) {
        const Choices choices = chooser_.choose(record, request_, key);
        if (!weighed_) return choices.bridges.choices[0];
        named_ = as_simulated(choices, key.bytes);
        cache::Request request;
        request.time = clock_.advance(record.time_s);
        return weighed_->open(request).value_or(choices.bridges.choices[0]);
    }

    [[nodiscard]] std::uint32_t row_of(std::uint64_t hash) const noexcept {
        return splice_placement_row_of(hash, static_cast<std::uint32_t>(placement_.rows().size()));
    }

    [[nodiscard]] std::uint16_t bridge_of(const Waiting& waiting) const noexcept {
        if (chooses_at_once_) return waiting.bridge;
        // Placement::choose() would hash the key once more; a ring is not found by this hash.
        if (fleet_.algorithm == Algorithm::ketama) return placement_.choose(waiting.key).bridges.choices[0];
        return placement_.rows()[row_of(waiting.hash)].choices[0];
    }

    void count(const Waiting& waiting) {
        const std::uint16_t bridge = bridge_of(waiting);
        tally_.add(bridge, waiting.bytes);
        request_error_.add(bridge, 1);
        byte_error_.add(bridge, waiting.bytes);
        request_error_.next();
        byte_error_.next();
        if (const KeySample::Entry* known = keys_.count(waiting.hash, waiting.bytes, bridge))
            heavy_.count_known(waiting.hash, waiting.key, known->requests, known->bytes);
        else
            heavy_.count(waiting.hash, waiting.key, waiting.bytes);
        if (objects_differ_) objects_.count(waiting.object, waiting.bytes, bridge);
    }

    void add_bridges(Json& report, const Concentration& concentration, const KeySample& objects) const {
        const Load all = tally_.all();
        std::vector<std::uint64_t> distinct(fleet_.bridges.size());
        for (const KeySample::Entry& entry : objects.slots()) {
            if (entry.requests > 0) distinct[entry.bridge] += objects.scale();
        }
        Json bridges = Json::array();
        for (std::size_t i = 0; i < fleet_.bridges.size(); ++i) {
            const double due = fleet_.due(i);
            bridges.push_back(
                {{"name", fleet_.bridges[i].name},
                 {"weight", fleet_.bridges[i].weight},
                 {"due_share", due},
                 {"requests", tally_[i].requests},
                 {"request_share", ratio(tally_[i].requests, all.requests)},
                 {"request_half_width", number_or_null(request_error_.half_width(i))},
                 {"bytes", tally_[i].bytes},
                 {"byte_share", ratio(tally_[i].bytes, all.bytes)},
                 {"byte_half_width", number_or_null(byte_error_.half_width(i))},
                 {"objects", distinct[i]},
                 {"luck_half_width", number_or_null(2 * luck(due, concentration.effective_requests))}});
        }
        report["bridges"] = std::move(bridges);
    }

    void add_hot_keys(Json& report) const {
        const Load all = tally_.all();
        std::uint64_t requests = 0;
        Json hot = Json::array();
        for (const HeavyKeys::Counter& counter : heavy_.top(options_.balance.top)) {
            const std::uint64_t sure = counter.requests - counter.error;
            requests += sure;
            hot.push_back({{"key", printed(counter.key)},
                           {"bridge", name_of(fleet_, placement_.choose(counter.key).bridges.choices[0])},
                           {"requests", sure},
                           {"at_most", counter.requests},
                           {"request_share", ratio(sure, all.requests)},
                           {"bytes", counter.bytes},
                           {"byte_share", ratio(counter.bytes, all.bytes)}});
        }
        report["hot_keys_request_share"] = ratio(requests, all.requests);
        report["hot_keys"] = std::move(hot);
    }

    [[nodiscard]] std::string printed(const std::string& key) const {
        const bool is_address = fleet_.key.kind == KeyKind::source;
        return printed_key({.bytes = key,
                            .placed = true,
                            .fallback = is_address ? std::optional(Fallback::key_is_source) : std::nullopt});
    }

    // What the numbers allow to say.
    [[nodiscard]] std::string confidence(const Concentration& concentration) const {
        const Load all = tally_.all();
        if (all.requests == 0) return "no request was placed";
        bool known = true;
        bool uneven = false;
        bool beyond_luck = false;
        for (std::size_t i = 0; i < fleet_.bridges.size(); ++i) {
            const double due = fleet_.due(i);
            const double half = request_error_.half_width(i);
            const double distance = std::abs(ratio(tally_[i].requests, all.requests) - due);
            known = known && std::isfinite(half);
            uneven = uneven || distance > half;
            beyond_luck = beyond_luck || distance > 3 * luck(due, concentration.effective_requests);
        }
        if (!known) return "the log is too short to tell unevenness from chance";
        if (!uneven)
            return "no bridge's share of requests differs from its due by more than this log's length "
                   "explains";
        if (!beyond_luck)
            return "uneven, as few popular keys are: about what the luck of their places makes (hot keys, "
                   "not the "
                   "algorithm)";
        return "uneven beyond this log's chance and beyond the luck of popular keys' places";
    }

    const Options& options_;
    const FleetSpec& fleet_;
    FleetChooser chooser_;
    const Placement& placement_;
    bool chooses_at_once_;
    HotKeys hot_;
    LogClock clock_;
    cache::Choices named_;  // what the simulated fleet is asked about
    std::optional<cache::Fleet> weighed_;
    RequestText request_;
    bool key_is_object_;
    bool objects_differ_ = false;
    std::array<Waiting, 32> waiting_;
    std::size_t waits_ = 0;
    Tally tally_;
    KeylessCounts keyless_;
    KeySample keys_;
    KeySample objects_;
    HeavyKeys heavy_;
    ShareError request_error_;
    ShareError byte_error_;
};

}  // namespace

Answered ask_balance(const Options& options, LogReader& log, const Write& write) {
    Balance balance(options);
    for (Record record;;) {
        const auto more = log.next(record);
        if (!more) return std::unexpected(more.error());
        if (!*more) break;
        balance.take(record);
    }
    balance.count_waiting();
    write(write_report(balance.report(log), options.format));
    return {};
}

}  // namespace splice::hash
