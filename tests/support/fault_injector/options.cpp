#include "tests/support/fault_injector/options.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <cmath>
#include <sstream>
#include <vector>

namespace splice::faults {
namespace {

namespace po = boost::program_options;

// As they stand on the command line.
struct Words {
    std::string hook = "forward";
    std::vector<std::string> drop_first;
    double delay_ms = 5;
    bool no_rules = false;
};

po::options_description describe(Options& options, Words& words) {
    po::options_description all(
        "fault-injector: loses, doubles, reorders and spoils the TCP packets that pass it");
    auto add = all.add_options();
    add("help", po::bool_switch(&options.help), "this text");
    add("on", po::value(&words.hook)->value_name("HOOK"), "forward (default), input or output");
    add("interface", po::value(&options.interface)->value_name("NAME"),
        "only packets that arrive here (output: leave here)");
    add("queue", po::value(&options.queue)->value_name("N"), "NFQUEUE number (7900)");
    add("no-rules", po::bool_switch(&words.no_rules), "somebody else brings packets to the queue");
    add("seed", po::value(&options.faults.seed)->value_name("N"), "of everything that is drawn (1)");
    add("loss", po::value(&options.faults.loss)->value_name("P"), "probability that a packet is lost");
    add("duplicate", po::value(&options.faults.duplicate)->value_name("P"), "... arrives twice");
    add("corrupt", po::value(&options.faults.corrupt)->value_name("P"), "... has a flipped bit");
    add("reorder", po::value(&options.faults.reorder)->value_name("P"), "... is held back");
    add("reorder-by", po::value(&options.overtakers)->value_name("N"),
        "a held packet leaves after N others (3; 0: by time only)");
    add("delay-ms", po::value(&words.delay_ms)->value_name("MS"), "... and after this time in any case (5)");
    add("drop-every", po::value(&options.faults.drop_every)->value_name("N"), "each Nth packet is lost");
    add("drop-first", po::value(&words.drop_first)->value_name("KIND"),
        "the first syn, synack, ack, payload, response or fin of each flow is lost (repeatable)");
    add("port", po::value(&options.faults.port)->value_name("PORT"), "of the server, for --drop-first (80)");
    return all;
}

std::expected<NetfilterHook, std::string> hook_of(const std::string& word) {
    if (word == "forward") return NetfilterHook::forward;
    if (word == "input") return NetfilterHook::input;
    if (word == "output") return NetfilterHook::output;
    return std::unexpected("--on " + word + ": it is forward, input or output");
}

std::expected<void, std::string> check_probabilities(const FaultRules& faults) {
    const std::pair<const char*, double> all[] = {{"--loss", faults.loss},
                                                  {"--duplicate", faults.duplicate},
                                                  {"--corrupt", faults.corrupt},
                                                  {"--reorder", faults.reorder}};
    for (const auto& [flag, value] : all) {
        if (!(value >= 0 && value <= 1))
            return std::unexpected(std::string(flag) + ": a probability is 0 to 1");
    }
    return {};
}

std::expected<void, std::string> read_words(Options& options, const Words& words) {
    const auto hook = hook_of(words.hook);
    if (!hook) return std::unexpected(hook.error());
    options.hook = *hook;
    options.install_rules = !words.no_rules;
    if (!(words.delay_ms > 0 && words.delay_ms <= 60'000))
        return std::unexpected("--delay-ms: more than 0, at most 60000");
    options.delay = std::chrono::nanoseconds(std::llround(words.delay_ms * 1e6));
    for (const std::string& word : words.drop_first) {
        const auto found = std::ranges::find(kTargetNames, word);
        if (found == kTargetNames.end()) {
            return std::unexpected("--drop-first " + word +
                                   ": it is syn, synack, ack, payload, response or fin");
        }
        options.faults.drop_first[static_cast<std::size_t>(found - kTargetNames.begin())] = true;
    }
    return check_probabilities(options.faults);
}

}  // namespace

std::string help_text() {
    Options options;
    Words words;
    std::ostringstream text;
    text << describe(options, words);
    return text.str();
}

std::expected<Options, std::string> parse_options(int argc, const char* const* argv) {
    Options options;
    Words words;
    try {
        po::variables_map values;
        po::store(po::command_line_parser(argc, argv).options(describe(options, words)).positional({}).run(),
                  values);
        po::notify(values);
    } catch (const po::error& error) {
        return std::unexpected(error.what());
    }
    if (auto read = read_words(options, words); !read) return std::unexpected(read.error());
    return options;
}

}  // namespace splice::faults
