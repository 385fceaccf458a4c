// splice-hash: which bridge a URL gets, what moves when a bridge leaves, how evenly keys are spread. The same
// rule, hash and table as the balancer's.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <numeric>
#include <optional>

#include "libsplice/core/placement/builders.hpp"
#include "tools/splice_hash_options.hpp"

namespace splice::tools {
namespace {

constexpr int kSystemFailure = 1;
constexpr int kWrongFlag = 2;
constexpr std::uint32_t kSampleUris = 1'000'000;

// What an input gives to be hashed.
struct InputKey {
    std::string bytes;
    std::string printed;
};

// A first payload that has `input` where the rule looks for its key, so that the balancer's own parser judges
// it.
std::string as_request(const HashKeyRule& rule, std::string_view input) {
    if (rule.kind == KeyKind::hdr) return fmt::format("GET / HTTP/1.1\r\n{}: {}\r\n\r\n", rule.name, input);
    return fmt::format("GET {} HTTP/1.1\r\n\r\n", input);
}

// As tls_sni() gives it: lower-cased, without a trailing dot.
std::string as_server_name(std::string_view input) {
    std::string name(input.substr(0, input.size() - (input.ends_with('.') ? 1 : 0)));
    std::ranges::transform(name, name.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return name;
}

// The error says why the input has no key.
std::expected<InputKey, std::string> key_of(const HashKeyRule& rule, const std::string& input) {
    if (rule.kind == KeyKind::sni) {
        const std::string name = as_server_name(input);
        return InputKey{name, name};
    }
    if (rule.kind == KeyKind::source) {
        const auto address = IpAddress::parse(input);
        if (!address) return std::unexpected(address.error());
        const auto& bytes = address->raw().bytes;  // all 16, as the balancer hashes them
        return InputKey{std::string(std::begin(bytes), std::end(bytes)), address->to_string()};
    }
    std::string scratch;
    const std::string request = as_request(rule, input);
    const KeyAnswer answer = first_payload_key(Protocol::http, rule, as_bytes(request), scratch);
    if (const Key* key = std::get_if<Key>(&answer)) {
        return InputKey{std::string(key->bytes), std::string(key->bytes)};
    }
    const NoKey* none = std::get_if<NoKey>(&answer);
    return std::unexpected(std::string(fallback_sentence(none ? none->why : Fallback::not_http)));
}

// The name of a choice; "-" where there is none.
std::string_view name_of(const HashOptions& options, std::uint16_t bridge) {
    return bridge < options.bridges.size() ? std::string_view(options.bridges[bridge].name) : "-";
}

std::string hash_text(const HashOptions& options, const InputKey& key) {
    if (options.algorithm == Algorithm::ketama)
        return fmt::format("{:08x}", placement::ketama_hash(key.bytes));
    return fmt::format("{:016x}", hash_key_bytes(key.bytes));
}

double percent(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

// Counts of first choices before and after the bridges of --without left.
class Tally {
  public:
    void add(std::uint16_t before, std::uint16_t after) { ++counts_[{before, after}]; }

    [[nodiscard]] std::uint64_t all() const {
        return sum([](auto, auto) { return true; });
    }
    [[nodiscard]] std::uint64_t before(std::uint16_t bridge) const {
        return sum([=](auto before, auto) { return before == bridge; });
    }
    [[nodiscard]] std::uint64_t after(std::uint16_t bridge) const {
        return sum([=](auto, auto after) { return after == bridge; });
    }
    [[nodiscard]] std::uint64_t moved() const {
        return sum([](auto before, auto after) { return before != after; });
    }
    [[nodiscard]] const auto& counts() const { return counts_; }

  private:
    template <class Wanted>
    [[nodiscard]] std::uint64_t sum(Wanted wanted) const {
        std::uint64_t total = 0;
        for (const auto& [way, count] : counts_) total += wanted(way.first, way.second) ? count : 0;
        return total;
    }
    std::map<std::pair<std::uint16_t, std::uint16_t>, std::uint64_t> counts_;
};

class Experiment {
  public:
    static std::expected<Experiment, std::string> build(HashOptions options) {
        auto before = Placement::build(options.algorithm, options.bridges, options.rows);
        if (!before) return std::unexpected(std::move(before.error()));
        std::vector<PlacementMember> staying = options.bridges;
        std::erase_if(staying, [&](const PlacementMember& bridge) {
            return std::ranges::find(options.without, bridge.name) != options.without.end();
        });
        auto after = Placement::build(options.algorithm, staying, options.rows);
        if (!after) return std::unexpected(std::move(after.error()));
        return Experiment(std::move(options), *std::move(before), *std::move(after));
    }

    void take(const std::string& input) {
        const auto key = key_of(options_.rule, input);
        if (!key) {
            ++without_key_;
            if (!options_.spread) fmt::print("{}\t-\t-\t-\t-\t-\t{}\n", input, key.error());
            return;
        }
        const Choices choices = before_.choose(key->bytes);
        const std::uint16_t first = choices.bridges.choices[0];
        const std::uint16_t then = after_.choose(key->bytes).bridges.choices[0];
        tally_.add(first, then);
        if (options_.spread) return;
        fmt::print("{}\t{}\t{}", key->printed, hash_text(options_, *key), choices.row);
        for (const std::uint16_t bridge : choices.bridges.choices)
            fmt::print("\t{}", name_of(options_, bridge));
        if (then != first) fmt::print("\tmoves to {}", name_of(options_, then));
        fmt::print("\n");
    }

    void print_heading() const {
        if (!options_.spread) fmt::print("# key\thash\trow\tfirst\tsecond\tthird\n");
    }

    void print_summary() const {
        if (options_.spread) print_spread();
        if (!options_.without.empty()) print_moves();
        if (without_key_ > 0)
            fmt::print("# inputs without a key, for which the client's address chooses: {}\n", without_key_);
    }

  private:
    Experiment(HashOptions options, Placement before, Placement after)
        : options_(std::move(options)), before_(std::move(before)), after_(std::move(after)) {}

    void print_spread() const {
        const bool leaving = !options_.without.empty();
        std::uint64_t weights = 0;
        for (const PlacementMember& bridge : options_.bridges) weights += bridge.weight;
        fmt::print("# bridge\tweight\tdue %\tkeys\tshare %{}\n", leaving ? "\tkeys then\tshare % then" : "");
        for (const PlacementMember& bridge : options_.bridges) {
            const std::uint64_t keys = tally_.before(bridge.bridge);
            fmt::print("{}\t{}\t{:.2f}\t{}\t{:.2f}", bridge.name, bridge.weight,
                       percent(bridge.weight, weights), keys, percent(keys, tally_.all()));
            const std::uint64_t then = tally_.after(bridge.bridge);
            if (leaving) fmt::print("\t{}\t{:.2f}", then, percent(then, tally_.all()));
            fmt::print("\n");
        }
    }

    void print_moves() const {
        fmt::print("# without {}: {} of {} keys move ({:.2f} %)\n", fmt::join(options_.without, ", "),
                   tally_.moved(), tally_.all(), percent(tally_.moved(), tally_.all()));
        for (const auto& [way, count] : tally_.counts()) {
            if (way.first == way.second) continue;
            fmt::print("# {} to {}: {}\n", name_of(options_, way.first), name_of(options_, way.second),
                       count);
        }
    }

    HashOptions options_;
    Placement before_;
    Placement after_;
    Tally tally_;
    std::uint64_t without_key_ = 0;
};

// Every input in turn: the arguments, else the lines of standard input, else (for --spread) sample URIs.
void for_each_input(const HashOptions& options, const std::function<void(const std::string&)>& take) {
    if (!options.inputs.empty()) {
        std::ranges::for_each(options.inputs, take);
        return;
    }
    bool any = false;
    if (!options.spread || isatty(STDIN_FILENO) == 0) {
        for (std::string line; std::getline(std::cin, line); any = true) {
            if (line.ends_with('\r')) line.pop_back();
            take(line);
        }
    }
    const bool is_uri = options.rule.kind == KeyKind::uri || options.rule.kind == KeyKind::path;
    if (options.spread && !any && is_uri) {
        for (std::uint32_t i = 0; i < kSampleUris; ++i) take('/' + std::to_string(i));
    }
}

int run(int argc, char** argv) {
    auto parsed = parse_hash_options(argc, argv);
    if (!parsed) {
        fmt::print(stderr, "splice-hash: {}\n", parsed.error());
        return kWrongFlag;
    }
    if (const Notice* notice = std::get_if<Notice>(&*parsed)) {
        fmt::print("{}", notice->text);
        return 0;
    }
    const HashOptions& options = std::get<HashOptions>(*parsed);
    auto experiment = Experiment::build(options);
    if (!experiment) {
        fmt::print(stderr, "splice-hash: --bridge: {}\n", experiment.error());
        return kWrongFlag;
    }
    experiment->print_heading();
    for_each_input(options, [&](const std::string& input) { experiment->take(input); });
    experiment->print_summary();
    if (std::fflush(stdout) != 0) {
        fmt::print(stderr, "splice-hash: write to standard output: {}\n",
                   std::generic_category().message(errno));
        return kSystemFailure;
    }
    return 0;
}

}  // namespace
}  // namespace splice::tools

int main(int argc, char** argv) {
    try {
        return splice::tools::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "splice-hash: %s\n", error.what());
        return splice::tools::kSystemFailure;
    }
}
