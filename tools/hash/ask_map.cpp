// map and explain: each request by itself.
#include <fmt/format.h>

#include "libsplice/datapath/flow.h"
#include "tools/hash/ask.hpp"
#include "tools/hash/chooser.hpp"
#include "tools/hash/tally.hpp"

namespace splice::hash {
namespace {

constexpr std::size_t kWriteBytes = 64UZ * 1024;

// One request and where it goes.
struct Mapped {
    const Record& record;
    const RecordKey& key;
    Choices choices;
};

Json as_json(const FleetSpec& fleet, const Mapped& mapped) {
    Json json{{"key", printed_key(mapped.key)}};
    if (!mapped.key.placed) {
        json["why"] = fallback_sentence(*mapped.key.fallback);
        return json;
    }
    json["hash"] = hash_text(fleet.algorithm, mapped.key.bytes);
    json["row"] = mapped.choices.row;
    Json choices = Json::array();
    for (const std::uint16_t bridge : mapped.choices.bridges.choices) {
        if (bridge != SPLICE_NO_BRIDGE) choices.push_back(name_of(fleet, bridge));
    }
    json["choices"] = std::move(choices);
    if (mapped.key.fallback) json["chosen_by_source"] = fallback_sentence(*mapped.key.fallback);
    return json;
}

std::string as_columns(const FleetSpec& fleet, const Mapped& mapped, char separator) {
    if (!mapped.key.placed) {
        const std::string text(mapped.record.target.empty() ? mapped.record.source : mapped.record.target);
        return fmt::format("{1}{0}-{0}-{0}-{0}-{0}-{0}{2}\n", separator, text,
                           fallback_sentence(*mapped.key.fallback));
    }
    std::string line = fmt::format("{1}{0}{2}{0}{3}", separator, printed_key(mapped.key),
                                   hash_text(fleet.algorithm, mapped.key.bytes), mapped.choices.row);
    for (const std::uint16_t bridge : mapped.choices.bridges.choices)
        line.append(1, separator).append(name_of(fleet, bridge));
    return line + '\n';
}

// The lines go out as they come; a JSON answer is one object all the same.
class MapWriter {
  public:
    MapWriter(const FleetSpec& fleet, OutputFormat format, const Write& write)
        : fleet_(fleet), format_(format), write_(write) {
        if (format == OutputFormat::json)
            text_ = "{\n  \"keys\": [";
        else if (format == OutputFormat::csv)
            text_ = "key,hash,row,first,second,third\n";
        else
            text_ = "# key\thash\trow\tfirst\tsecond\tthird\n";
    }

    bool add(const Mapped& mapped) {
        if (format_ == OutputFormat::json) {
            text_.append(first_ ? "\n    " : ",\n    ");
            text_ += as_json(fleet_, mapped).dump(-1, ' ', false, Json::error_handler_t::replace);
        } else {
            text_ += as_columns(fleet_, mapped, format_ == OutputFormat::csv ? ',' : '\t');
        }
        first_ = false;
        return text_.size() < kWriteBytes || flush();
    }

    void finish(const Json& summary) {
        if (format_ == OutputFormat::json) {
            // "{ ... }" without its first brace goes on where the list ends.
            text_ += first_ ? "],\n" : "\n  ],\n";
            text_ += summary.dump(2).substr(2) + '\n';
        } else if (format_ == OutputFormat::table && summary["unplaced_requests"] != 0) {
            text_ += fmt::format("# inputs without a key, for which the client's address chooses: {}\n",
                                 summary["unplaced_requests"].get<std::uint64_t>());
        }
        flush();
    }

  private:
    bool flush() {
        const bool written = write_(text_);
        text_.clear();
        return written;
    }

    const FleetSpec& fleet_;
    OutputFormat format_;
    const Write& write_;
    std::string text_;
    bool first_ = true;
};

std::string_view word_of(Protocol protocol) noexcept {
    if (protocol == Protocol::tls) return "tls";
    return protocol == Protocol::http ? "http" : "tcp";
}

Json explain(const FleetSpec& fleet, const FleetChooser& chooser, const Mapped& mapped,
             const RequestText& request) {
    Json steps{{"target", mapped.record.target.empty() ? Json(nullptr) : Json(mapped.record.target)}};
    if (!mapped.record.host.empty()) steps["host"] = mapped.record.host;
    if (!mapped.record.source.empty()) steps["source"] = mapped.record.source;
    if (fleet.protocol == Protocol::http)
        steps["request_line"] = request.text().substr(0, request.text().find('\r'));
    steps["protocol"] = word_of(fleet.protocol);
    steps["rule"] = fleet.key.to_string();
    if (mapped.key.fallback) steps["no_key_because"] = fallback_sentence(*mapped.key.fallback);
    steps["key"] = printed_key(mapped.key);
    if (!mapped.key.placed) {
        steps["end"] = "the client's address would choose, and the log does not tell it";
        return steps;
    }
    const bool is_ring = fleet.algorithm == Algorithm::ketama;
    steps["key_bytes"] = mapped.key.bytes.size();
    steps["hash_function"] = is_ring ? "CRC-32" : "XXH64, seed 0";
    steps["hash"] = hash_text(fleet.algorithm, mapped.key.bytes);
    steps["algorithm"] = to_string(fleet.algorithm);
    steps["rows"] = chooser.placement().rows().size();
    steps["row_rule"] = is_ring ? "the first point of the ring at or after the hash"
                                : "the upper 32 bits of the hash, times the rows, divided by 2^32";
    steps["row"] = mapped.choices.row;
    if (fleet.subset != 0)
        steps["subset"] =
            mapped.key.source.empty()
                ? fmt::format("the first of {}: the client's address is not told", fleet.subset)
                : fmt::format("the client's address chooses one of {}, which comes first", fleet.subset);
    if (chooser.ramps())
        steps["ramp"] = chooser.is_moved(mapped.choices.row)
                            ? fmt::format("the shadow serves this row: by {}, {}",
                                          fleet.shadow->key.to_string(), to_string(fleet.shadow->algorithm))
                            : std::string("the shadow does not serve this row yet");
    static constexpr std::array kRanks = {"first", "second", "third"};
    for (std::size_t rank = 0; rank < kRanks.size(); ++rank) {
        const std::uint16_t bridge = mapped.choices.bridges.choices[rank];
        if (bridge == SPLICE_NO_BRIDGE) continue;
        const PlacementMember& member = fleet.bridges[bridge];
        steps[kRanks[rank]] = fmt::format("{} ({}, weight {})", member.name, member.server, member.weight);
    }
    return steps;
}

}  // namespace

Answered ask_map(const Options& options, LogReader& log, const Write& write) {
    const FleetSpec& fleet = options.fleet;
    FleetChooser chooser(fleet);
    RequestText request;
    Tally tally(fleet.bridges.size());
    KeylessCounts keyless;
    MapWriter writer(fleet, options.format, write);
    for (Record record;;) {
        const auto more = log.next(record);
        if (!more) return std::unexpected(more.error());
        if (!*more) break;
        request.write(record, options.rules.line.headers);
        const RecordKey key = chooser.key_of(record, request);
        keyless.add(key);
        const Choices choices = key.placed ? chooser.choose(record, request, key) : Choices{};
        if (key.placed) tally.add(choices.bridges.choices[0], record.bytes.value_or(0));
        if (!writer.add({record, key, choices})) return {};
    }
    const Load all = tally.all();
    Json summary{{"requests", log.records()}, {"bytes", all.bytes}};
    keyless.write(summary);
    Json bridges = Json::array();
    for (std::size_t i = 0; i < fleet.bridges.size(); ++i)
        bridges.push_back(
            {{"name", fleet.bridges[i].name}, {"requests", tally[i].requests}, {"bytes", tally[i].bytes}});
    summary["bridges"] = std::move(bridges);
    add_malformed(summary, log);
    writer.finish(summary);
    return {};
}

Answered ask_explain(const Options& options, LogReader& log, const Write& write) {
    const FleetSpec& fleet = options.fleet;
    FleetChooser chooser(fleet);
    RequestText request;
    Json all = Json::array();
    std::uint64_t explained = 0;
    for (Record record;; ++explained) {
        const auto more = log.next(record);
        if (!more) return std::unexpected(more.error());
        if (!*more) break;
        request.write(record, options.rules.line.headers);
        const RecordKey key = chooser.key_of(record, request);
        const Choices choices = key.placed ? chooser.choose(record, request, key) : Choices{};
        Json steps = explain(fleet, chooser, {record, key, choices}, request);
        if (options.format == OutputFormat::table) {
            if (!write((explained == 0 ? "" : "\n") + write_report(steps, OutputFormat::table))) return {};
        } else {
            all.push_back(std::move(steps));
        }
    }
    if (options.format != OutputFormat::table) {
        Json report{{"requests", log.records()}, {"explained", std::move(all)}};
        add_malformed(report, log);
        write(write_report(report, options.format));
    }
    return {};
}

}  // namespace splice::hash
