// splicectl: a running balancer, over its API.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "tools/splicectl/commands.hpp"

namespace splice::control {
namespace {

constexpr int kSuccess = 0;
constexpr int kFailure = 1;
constexpr int kWrongFlag = 2;

int fail(int code, std::string_view text) {
    fmt::print(stderr, "splicectl: {}\n", text);
    return code;
}

int run(int argc, char** argv) {
    const auto parsed = parse_options(argc, argv, std::getenv("SPLICELB_API"));
    if (!parsed) return fail(kWrongFlag, parsed.error());
    if (const tools::Notice* notice = std::get_if<tools::Notice>(&*parsed)) {
        fmt::print("{}", notice->text);
        return kSuccess;
    }
    const Options& options = std::get<Options>(*parsed);
    std::string token;
    if (!options.token_file.empty()) {
        auto read = read_token(options.token_file);
        if (!read) return fail(kFailure, read.error().text);
        token = std::move(*read);
    }
    const auto done = run_command(options, ApiClient(options.api, std::move(token)));
    return done ? kSuccess : fail(kFailure, done.error());
}

}  // namespace
}  // namespace splice::control

int main(int argc, char** argv) {
    try {
        return splice::control::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "splicectl: %s\n", error.what());
        return splice::control::kFailure;
    }
}
