// The records of several logs, one after the other, in constant memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/hash/line_reader.hpp"
#include "tools/hash/log_format.hpp"

namespace splice::hash {

struct LogRules {
    std::optional<LogFormat> format;  // nothing: each file's first line tells it
    LineRules line;
};

struct LogInputs {
    std::vector<std::string> paths;  // "-" is standard input
    std::vector<std::string> urls;   // given themselves, before the files
};

struct MalformedLine {
    std::string file;
    std::uint64_t line = 0;  // from 1
    std::string why;
    std::string text;  // quoted, its beginning
};

// Where the reader is, for somebody who waits.
class Progress {
  public:
    virtual ~Progress() = default;
    // `done` and `all` in bytes on the disk; `all` 0: nobody knows.
    virtual void show(std::uint64_t done, std::uint64_t all, std::uint64_t records) = 0;
};

class LogReader {
  public:
    // The error is one line: a path that cannot be read.
    static std::expected<LogReader, std::string> open(LogInputs inputs, LogRules rules, Progress* progress);

    // False at the end. The record's text lives until the next call. The error is one line.
    [[nodiscard]] std::expected<bool, std::string> next(Record& record);

    [[nodiscard]] std::uint64_t records() const noexcept { return records_; }
    [[nodiscard]] std::uint64_t malformed() const noexcept { return malformed_; }
    [[nodiscard]] const std::vector<MalformedLine>& malformed_shown() const noexcept { return shown_; }

  private:
    LogReader(LogInputs inputs, LogRules rules, Progress* progress, std::uint64_t all_bytes);
    [[nodiscard]] std::expected<bool, std::string> open_next();
    void show_progress();
    void note_malformed(const Line& line, std::string_view why);

    LogInputs inputs_;
    LogRules rules_;
    Progress* progress_;
    std::uint64_t all_bytes_;
    std::uint64_t bytes_of_files_before_ = 0;
    std::size_t next_url_ = 0;
    std::size_t next_file_ = 0;
    std::optional<LineReader> lines_;
    std::unique_ptr<LineParser> parser_;
    std::string file_name_;
    std::uint64_t line_ = 0;
    std::uint64_t records_ = 0;
    std::uint64_t malformed_ = 0;
    std::vector<MalformedLine> shown_;
};

}  // namespace splice::hash
