#include "tools/replay/report.hpp"

#include <fmt/format.h>

#include "libsplice/base/address.hpp"
#include "libsplice/base/decimal.hpp"
#include "libsplice/wire/print_packet.hpp"

namespace splice::replay {
namespace {

void add_separated(std::string& to, std::string_view separator, std::string_view text) {
    if (!to.empty()) to += separator;
    to += text;
}

void add_travel(std::string& to, Station from, Station goal, Bytes packet) {
    add_separated(to, "; ", from.name);
    to += '>';
    to += goal.name;
    to += ' ';
    append_packet(to, packet);
}

// "1.000250"
void append_seconds(std::string& to, Duration time) {
    const auto microseconds =
        static_cast<std::uint64_t>(std::chrono::round<std::chrono::microseconds>(time).count());
    append_decimal(to, microseconds / 1'000'000);
    const std::size_t point = to.size();
    append_decimal(to, 1'000'000 + microseconds % 1'000'000);
    to[point] = '.';  // for the 1 that keeps the zeros behind it
}

}  // namespace

std::string printable(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c > ' ' && c < '\x7f' && c != '\\')
            out += c;
        else
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    return out;
}

std::string describe(const Choice& choice) {
    const std::string key = printable(choice.key);
    if (!choice.fallback || *choice.fallback == Fallback::key_is_source)
        return fmt::format("({}={})", choice.kind, key);
    return fmt::format("({}={}: {})", choice.kind, key, fallback_sentence(*choice.fallback));
}

void LineReport::begins(const Step& step) {
    if (!started_) first_ = step.time;
    started_ = true;
    came_.clear();
    verdicts_.clear();
    left_.clear();
    if (step.captured < step.length)
        came_ =
            fmt::format("truncated: {} of {} bytes captured, zeros behind them", step.captured, step.length);
    if (step.checksum_ignored) add_separated(came_, "; ", "wrong checksum ignored");
}

void LineReport::came(const Step&, Station from, Station to, Bytes packet) {
    // The first to come is what the step is about; others answer what has left.
    add_travel(left_.empty() && verdicts_.empty() ? came_ : left_, from, to, packet);
}

void LineReport::judged(const Step&, Station where, Verdict verdict) {
    add_separated(verdicts_, ", ", where.name);
    verdicts_ += ' ';
    verdicts_ += verdict_name(verdict);
}

void LineReport::chose(const Step&, const Choice& choice) {
    verdicts_ += ' ';
    verdicts_ += describe(choice);
}

void LineReport::noted(const Step&, Place, std::string_view text) {
    add_separated(verdicts_, ", ", text);
}

void LineReport::left(const Step&, Station from, Station to, Bytes packet) {
    add_travel(left_, from, to, packet);
}

void LineReport::ends(const Step& step) {
    line_.clear();
    append_seconds(line_, step.time - first_);
    line_ += ' ';
    if (step.number)
        append_decimal(line_, step.number);
    else
        line_ += '-';
    line_ += " | ";
    line_ += came_.empty() ? "-" : came_;
    line_ += " | ";
    line_ += verdicts_;
    line_ += " | ";
    line_ += left_.empty() ? "-" : left_;
    output_.line(line_);
}

KeyReport::Line* KeyReport::line_of(const Step& step) {
    if (step.conversation == 0) return nullptr;
    if (lines_.size() < step.conversation) lines_.resize(step.conversation);
    Line& line = lines_[step.conversation - 1];
    line.key = step.key;
    return &line;
}

void KeyReport::came(const Step& step, Station, Station, Bytes) {
    line_of(step);
}
void KeyReport::judged(const Step& step, Station, Verdict) {
    line_of(step);
}
void KeyReport::noted(const Step& step, Place, std::string_view) {
    line_of(step);
}

void KeyReport::chose(const Step& step, const Choice& choice) {
    if (Line* line = line_of(step)) {
        line->kind = choice.kind;
        line->text = printable(choice.key);
        line->bridge = choice.bridge;
    }
}

// A bridge that refuses is not the one that has the connection in the end.
void KeyReport::left(const Step& step, Station from, Station to, Bytes) {
    Line* line = line_of(step);
    if (line && from.place == Place::balancer && to.place == Place::bridge) line->bridge = to.name;
}

void KeyReport::print(Output& output) const {
    for (const Line& line : lines_)
        output.line(fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}", IpAddress(line.key.client).to_string(),
                                splice_ntohs(line.key.client_port), IpAddress(line.key.server).to_string(),
                                splice_ntohs(line.key.server_port), line.kind, line.text, line.bridge));
}

void ChecksumReport::judged(const Step&, Station, Verdict verdict) {
    dropped_ += verdict == SPLICE_drop_bad_tcp_checksum || verdict == SPLICE_drop_bad_ip_checksum;
}

void ChecksumReport::ends(const Step& step) {
    ignored_ += step.checksum_ignored;
}

std::string ChecksumReport::remark() const {
    if (ignored_) return fmt::format("packets with a wrong checksum, which was ignored: {}", ignored_);
    if (dropped_)
        return fmt::format(
            "packets dropped for a wrong checksum: {} (--ignore-checksums takes each as if it were right)",
            dropped_);
    return {};
}

}  // namespace splice::replay
