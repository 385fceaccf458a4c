#include "tools/hash/log_reader.hpp"

#include "libsplice/base/quoted.hpp"
#include "tools/hash/interrupt.hpp"

namespace splice::hash {
namespace {

constexpr std::uint64_t kRecordsBetweenProgress = 1U << 16;

}  // namespace

std::expected<LogReader, std::string> LogReader::open(LogInputs inputs, LogRules rules, Progress* progress) {
    std::uint64_t all_bytes = 0;
    bool known = true;
    for (const std::string& path : inputs.paths) {
        const auto size = size_of_log(path);
        if (!size) return std::unexpected(size.error());
        known = known && *size > 0;
        all_bytes += *size;
    }
    return LogReader(std::move(inputs), std::move(rules), progress, known ? all_bytes : 0);
}

LogReader::LogReader(LogInputs inputs, LogRules rules, Progress* progress, std::uint64_t all_bytes)
    : inputs_(std::move(inputs)), rules_(std::move(rules)), progress_(progress), all_bytes_(all_bytes) {
    if (!inputs_.urls.empty()) parser_ = LineParser::make(LogFormat::plain, rules_.line);
}

std::expected<bool, std::string> LogReader::open_next() {
    if (next_file_ == inputs_.paths.size()) return false;
    const std::string& path = inputs_.paths[next_file_++];
    auto source = ByteSource::open(path);
    if (!source) return std::unexpected(source.error());
    lines_.emplace(*std::move(source));
    parser_.reset();
    file_name_ = path == kStandardInput ? "standard input" : path;
    line_ = 0;
    return true;
}

void LogReader::show_progress() {
    progress_->show(bytes_of_files_before_ + (lines_ ? lines_->consumed() : 0), all_bytes_, records_);
}

void LogReader::note_malformed(const Line& line, std::string_view why) {
    ++malformed_;
    if (shown_.size() == kMalformedShown) return;
    shown_.push_back({file_name_, line_, std::string(why), quoted(line.text)});
}

std::expected<bool, std::string> LogReader::next(Record& record) {
    while (next_url_ < inputs_.urls.size()) {
        const LineAnswer answer = parser_->parse(inputs_.urls[next_url_++]);
        if (const Record* found = std::get_if<Record>(&answer)) {
            record = *found;
            ++records_;
            return true;
        }
    }
    for (;;) {
        if (!lines_) {
            const auto opened = open_next();
            if (!opened || !*opened) {
                if (progress_ != nullptr) show_progress();
                return opened;
            }
        }
        const auto line = lines_->next();
        if (interrupted()) return false;
        if (!line) return std::unexpected(line.error());
        if (!*line) {
            bytes_of_files_before_ += lines_->consumed();
            lines_.reset();
            continue;
        }
        ++line_;
        if ((*line)->too_long) {
            note_malformed(**line, "longer than a mebibyte");
            continue;
        }
        const std::string_view text = (*line)->text;
        if (!parser_) {
            if (text.empty()) continue;
            const auto format = rules_.format ? rules_.format : guess_format(text, rules_.line.key.kind);
            if (!format) {
                note_malformed(**line,
                               "of no format that is known, so the next line tells it (--log-format)");
                continue;
            }
            parser_ = LineParser::make(*format, rules_.line);
        }
        const LineAnswer answer = parser_->parse(text);
        if (const Record* found = std::get_if<Record>(&answer)) {
            record = *found;
            if (++records_ % kRecordsBetweenProgress == 0 && progress_ != nullptr) show_progress();
            return true;
        }
        if (const Malformed* malformed = std::get_if<Malformed>(&answer))
            note_malformed(**line, malformed->why);
    }
}

}  // namespace splice::hash
