// splice-replay: a capture through the balancer's and the bridge's machines, as if its client had talked to
// them.
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>

#include "tools/replay/capture_out.hpp"
#include "tools/replay/configured.hpp"
#include "tools/replay/ladder.hpp"
#include "tools/replay/options.hpp"
#include "tools/replay/output.hpp"
#include "tools/replay/report.hpp"
#include "tools/replay/requests.hpp"
#include "tools/replay/run.hpp"

namespace splice::replay {
namespace {

constexpr int kSuccess = 0;
constexpr int kFailure = 1;
constexpr int kWrongFlag = 2;

int fail(int code, std::string_view text) {
    fmt::print(stderr, "splice-replay: {}\n", text);
    return code;
}

// Where the lines go, and what is compared with the expectation.
struct Destination {
    StandardOutput standard;
    std::optional<ExpectedOutput> expected_text;
    std::optional<PcapReader> expected_packets;
    std::optional<CaptureComparison> comparison;

    [[nodiscard]] Output* lines() noexcept {
        if (expected_text) return &*expected_text;
        return comparison ? nullptr : &standard;
    }
    SystemResult<void> open(const std::string& expect) {
        if (expect.empty()) return {};
        if (is_capture_file(expect)) {
            auto reader = PcapReader::open(expect);
            if (!reader) return std::unexpected(reader.error());
            expected_packets.emplace(std::move(*reader));
            comparison.emplace(expect, *expected_packets);
            return {};
        }
        auto text = ExpectedOutput::open(expect);
        if (!text) return std::unexpected(text.error());
        expected_text.emplace(std::move(*text));
        return {};
    }
    [[nodiscard]] std::optional<std::string> difference() {
        if (expected_text) return expected_text->difference();
        return comparison ? comparison->difference() : std::nullopt;
    }
};

SystemResult<void> write_file(const std::string& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary);
    file << text;
    file.close();
    if (!file) return system_error("write " + path, errno ? errno : EIO);
    return {};
}

// Everything that watches the replay, as the flags ask.
class Reports {
  public:
    Reports(const Options& options, Destination& destination)
        : options_(options), lines_(destination.lines()) {
        if (options.keys)
            observers_.push_back(&keys_);
        else if (lines_ && options.requests)
            observers_.push_back(&requests_.emplace(*lines_));
        else if (lines_ && !options.ladder)
            observers_.push_back(&line_report_.emplace(*lines_));
        if (options.ladder || !options.svg.empty()) observers_.push_back(&ladder_);
        if (destination.comparison) observers_.push_back(&*destination.comparison);
        observers_.push_back(&checksums_);
    }
    SystemResult<void> open() {
        if (options_.output.empty()) return {};
        auto writer = PcapWriter::create(options_.output);
        if (!writer) return std::unexpected(writer.error());
        writer_.emplace(std::move(*writer));
        observers_.push_back(&capture_.emplace(*writer_));
        return {};
    }
    [[nodiscard]] const std::vector<Observer*>& observers() const noexcept { return observers_; }
    // What the user should know besides; empty: nothing.
    [[nodiscard]] std::string remark() const { return checksums_.remark(); }
    // Prints and writes what is known only at the end.
    SystemResult<void> close() {
        if (lines_ && options_.keys) keys_.print(*lines_);
        if (requests_) requests_->finish();
        if (lines_ && options_.ladder) ladder_.print(*lines_);
        if (!options_.svg.empty()) {
            if (auto written = write_file(options_.svg, ladder_.svg()); !written) return written;
        }
        if (writer_) return writer_->close();
        return {};
    }

  private:
    const Options& options_;
    Output* lines_;
    std::optional<LineReport> line_report_;
    std::optional<RequestReport> requests_;
    KeyReport keys_;
    ChecksumReport checksums_;
    Ladder ladder_;
    std::optional<PcapWriter> writer_;
    std::optional<CaptureWriter> capture_;
    std::vector<Observer*> observers_;
};

Checksums checksums_of(const Options& options) noexcept {
    return options.ignore_checksums ? Checksums::ignored : Checksums::judged;
}

int replay(const Options& options, Fleets& fleets) {
    Destination destination;
    if (const auto opened = destination.open(options.expect); !opened)
        return fail(kFailure, opened.error().text);
    Reports reports(options, destination);
    if (const auto opened = reports.open(); !opened) return fail(kFailure, opened.error().text);

    const auto read = replay_capture(options.input, fleets, reports.observers(), checksums_of(options));
    const auto written = reports.close();
    const auto printed = destination.standard.close();
    if (const std::string remark = reports.remark(); !remark.empty())
        fmt::print(stderr, "splice-replay: {}\n", remark);
    if (!read) return fail(kFailure, read.error().text);
    if (!written) return fail(kFailure, written.error().text);
    if (!printed) return fail(kFailure, printed.error().text);
    if (const auto difference = destination.difference()) return fail(kFailure, *difference);
    return kSuccess;
}

int run(int argc, char** argv) {
    const auto parsed = parse_options(argc, argv);
    if (!parsed) return fail(kWrongFlag, parsed.error());
    if (const tools::Notice* notice = std::get_if<tools::Notice>(&*parsed)) {
        fmt::print("{}", notice->text);
        return kSuccess;
    }
    const Options& options = std::get<Options>(*parsed);
    if (options.any_vip) {
        Fleets fleets = survey_capture(options.input, checksums_of(options));
        return replay(options, fleets);
    }
    auto configured = load_configured(options.config, options.bridge_config);
    if (!configured) {
        const bool wrong = configured.error().kind == ConfigFailure::Kind::wrong;
        return fail(wrong ? kWrongFlag : kFailure, configured.error().text);
    }
    if (!configured->remark.empty()) fmt::print(stderr, "splice-replay: {}\n", configured->remark);
    return replay(options, configured->fleets);
}

}  // namespace
}  // namespace splice::replay

int main(int argc, char** argv) {
    try {
        return splice::replay::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "splice-replay: %s\n", error.what());
        return splice::replay::kFailure;
    }
}
