// splice-hash: what a fleet's hashing does to the requests of a log, by the balancer's own rules, hash and
// tables.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "tools/hash/ask.hpp"
#include "tools/hash/interrupt.hpp"
#include "tools/hash/progress_bar.hpp"

namespace splice::hash {
namespace {

constexpr int kSystemFailure = 1;
constexpr int kWrongFlag = 2;
constexpr int kInterrupted = 130;

int fail(int code, std::string_view text) {
    fmt::print(stderr, "splice-hash: {}\n", text);
    return code;
}

Answered ask_log(const Options& options, LogReader& log, const Write& write) {
    switch (options.question) {
        case Question::explain:
            return ask_explain(options, log, write);
        case Question::balance:
            return ask_balance(options, log, write);
        case Question::disrupt:
            return ask_disrupt(options, log, write);
        case Question::compare:
            return ask_compare(options, log, write);
        case Question::cache:
            return ask_cache(options, log, write);
        default:
            return ask_map(options, log, write);
    }
}

Answered ask(const Options& options, const Write& write, Progress* progress) {
    if (options.question == Question::generate) return generate(options.generate, write);
    auto log = LogReader::open(options.inputs, options.rules, progress);
    if (!log) return std::unexpected(log.error());
    answer_at_interrupt();
    const Answered answered = ask_log(options, *log, write);
    if (!answered || log->records() > 0 || log->malformed() == 0) return answered;
    const MalformedLine& first = log->malformed_shown().front();
    return std::unexpected(fmt::format("no line is a request; of {} the first is {}, line {}: {}: {}",
                                       log->malformed(), first.file, first.line, first.why, first.text));
}

int run(int argc, char** argv) {
    auto parsed = parse_options(argc, argv);
    if (!parsed) return fail(parsed.error().is_system ? kSystemFailure : kWrongFlag, parsed.error().text);
    if (const tools::Notice* notice = std::get_if<tools::Notice>(&*parsed)) {
        fmt::print("{}", notice->text);
        return 0;
    }
    const Options& options = std::get<Options>(*parsed);
    std::unique_ptr<ProgressBar> bar;
    if (isatty(STDERR_FILENO) != 0 && !options.quiet) bar = std::make_unique<ProgressBar>();
    int write_error = 0;
    const Write write = [&](std::string_view text) {
        if (bar) bar->wipe();
        if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) write_error = errno;
        return write_error == 0;
    };
    const Answered answered = ask(options, write, bar.get());
    bar.reset();
    if (!answered) return fail(kSystemFailure, answered.error());
    if (interrupted()) {
        (void)std::fflush(stdout);
        return fail(kInterrupted, "interrupted: the answer is of what was read until then");
    }
    if (write_error == 0 && std::fflush(stdout) != 0) write_error = errno;
    if (write_error != 0)
        return fail(kSystemFailure, fmt::format("write to standard output: {}",
                                                std::generic_category().message(write_error)));
    return 0;
}

}  // namespace
}  // namespace splice::hash

int main(int argc, char** argv) {
    try {
        return splice::hash::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "splice-hash: %s\n", error.what());
        return splice::hash::kSystemFailure;
    }
}
