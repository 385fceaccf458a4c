#include "libsplice/config/common.hpp"

#include <fmt/format.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>

#include "libsplice/datapath/carriage.h"
#include "libsplice/ops/text_file.hpp"

namespace splice {
namespace {

constexpr auto kShortestIdleTimeout = std::chrono::seconds(1);
constexpr auto kLongestIdleTimeout = std::chrono::hours(24 * 7);
constexpr std::size_t kMostFlows = 100'000'000;

struct EngineName {
    EngineChoice engine;
    std::string_view name;
};
constexpr std::array<EngineName, 3> kEngines{
    {{EngineChoice::automatic, "auto"}, {EngineChoice::ebpf, "ebpf"}, {EngineChoice::nfqueue, "nfqueue"}}};

// Decimal, or hexadecimal with 0x.
Parsed<std::uint32_t> parse_bits(std::string_view text) {
    const bool hex = text.starts_with("0x") || text.starts_with("0X");
    if (hex) text.remove_prefix(2);
    std::uint32_t bits = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits, hex ? 16 : 10);
    if (error != std::errc{} || end != text.data() + text.size())
        return std::unexpected("expected 32 bits such as 0x3080");
    return bits;
}

splice_mark_field read_marks(const YamlValue& value) {
    const YamlMap map = value.map({"value", "mask"});
    const auto field = mark_field(map.require("value").as(parse_bits), map.require("mask").as(parse_bits));
    if (!field) value.fail(field.error());
    return *field;
}

constexpr std::uint64_t kMostLinesASecond = 1'000'000;

Parsed<std::uint64_t> parse_lines_a_second(std::string_view text) {
    return parse_number(text, 1, kMostLinesASecond);
}

// A path from / on: daemons have no folder of their own.
Parsed<std::string> parse_log_file(std::string_view text) {
    if (text == "stderr" || (text.starts_with('/') && !text.ends_with('/'))) return std::string(text);
    return std::unexpected("expected stderr, or a path from / on such as /var/log/splicelb/connections.log");
}

ConnectionLogSettings read_connection_log(const YamlValue& value) {
    const YamlMap map = value.map({"sample", "limit", "file"});
    ConnectionLogSettings settings;
    settings.sample = map.require("sample").as(parse_share);
    map.read("limit", settings.limit, parse_lines_a_second);
    map.read("file", settings.file, parse_log_file);
    return settings;
}

}  // namespace

Parsed<splice_mark_field> mark_field(std::uint32_t value, std::uint32_t mask) {
    if (mask == 0) return std::unexpected("mask: expected bits such as 0x3fff");
    const auto shift = static_cast<std::uint32_t>(std::countr_zero(mask));
    const std::uint32_t seven = 127U << shift;
    if ((mask & seven) != seven || shift > 24 || std::popcount(mask) < 8)
        return std::unexpected(fmt::format(
            "mask 0x{:x}: expected at least 8 bits, the lowest 7 of them side by side (a DSCP and one more), "
            "such as 0x3fff",
            mask));
    if (value == 0 || (value & ~mask) != 0 || (value & seven) != 0)
        return std::unexpected(
            fmt::format("value 0x{:x}: expected bits within 0x{:x}, the mask less its lowest 7, and not 0",
                        value, mask & ~seven));
    return splice_mark_field{value, mask, shift};
}

const std::vector<std::string_view> kCommonKeys = {
    "secret_file", "interface", "engine", "api",  "services",  "log",    "idle_timeout",
    "max_flows",   "bpffs",     "keep",   "mark", "netfilter", "channel"};

Parsed<EngineChoice> parse_engine(std::string_view text) {
    for (const auto& [engine, name] : kEngines) {
        if (text == name) return engine;
    }
    return std::unexpected("expected auto, ebpf or nfqueue");
}

std::string_view to_string(EngineChoice engine) noexcept {
    return kEngines[static_cast<std::size_t>(engine)].name;
}

Parsed<ApiListen> parse_api_listen(std::string_view text) {
    if (text == "off") return ApiListen{};
    const auto listen = ApiAddress::parse(text);
    if (text.starts_with("unix:") && (!listen || !listen->path.starts_with('/')))
        return std::unexpected(
            fmt::format("expected unix: and a path from / on, of at most {} bytes", kSocketPathMax));
    if (!listen)
        return std::unexpected(
            "expected an address and a port such as 127.0.0.1:10001 or [::1]:10001, unix: and a path, or "
            "off");
    return ApiListen{*listen};
}

Parsed<ChannelPort> parse_channel_port(std::string_view text) {
    if (text == "off") return ChannelPort{};
    const auto port = parse_port(text);
    if (!port) return std::unexpected(fmt::format("expected a port such as {}, or off", kChannelPort));
    return ChannelPort{*port};
}

std::expected<std::string, std::string> read_token_file(const std::string& path) {
    constexpr std::size_t kLeast = 16;
    constexpr std::size_t kMost = 128;
    const auto file = read_private_file(path, 4096, "the token file",
                                        "make one: head -c 24 /dev/urandom | base64, mode 0600");
    if (!file) return std::unexpected(file.error().text);
    std::string_view token = file->text;
    while (token.ends_with('\n') || token.ends_with('\r')) token.remove_suffix(1);
    const bool visible = std::ranges::all_of(token, [](char c) { return c > ' ' && c < 0x7f; });
    if (token.size() < kLeast || token.size() > kMost || !visible)
        return std::unexpected(fmt::format(
            "{}: expected one line of {} to {} printable characters without blanks", path, kLeast, kMost));
    return std::string(token);
}

Parsed<std::string> parse_interface_name(std::string_view text) {
    const bool odd = std::ranges::any_of(text, [](char c) { return c == '/' || c <= ' ' || c == 0x7f; });
    if (text.empty() || text.size() >= IFNAMSIZ || odd)
        return std::unexpected(
            fmt::format("expected the name of a network interface, 1 to {} characters", IFNAMSIZ - 1));
    return std::string(text);
}

namespace {

Parsed<void> check_uplinks(const std::vector<std::string>& uplinks) {
    if (uplinks.size() > kMaxUplinks)
        return std::unexpected(fmt::format("expected at most {} interfaces", kMaxUplinks));
    for (auto each = uplinks.begin(); each != uplinks.end(); ++each) {
        if (std::find(uplinks.begin(), each, *each) != each)
            return std::unexpected(*each + " is given twice; expected each interface once");
    }
    return {};
}

void set_uplinks(CommonConfig& config, std::vector<std::string> uplinks) {
    config.interface = std::move(uplinks.front());
    uplinks.erase(uplinks.begin());
    config.more_uplinks = std::move(uplinks);
}

// A scalar or a list.
void read_uplinks(const YamlValue& value, CommonConfig& config) {
    if (!value.is_list()) return set_uplinks(config, {value.as(parse_interface_name)});
    std::vector<std::string> uplinks;
    for (const YamlValue& entry : value.items(kMaxUplinks)) {
        uplinks.push_back(entry.as(parse_interface_name));
        if (auto fits = check_uplinks(uplinks); !fits) entry.fail(fits.error());
    }
    set_uplinks(config, std::move(uplinks));
}

}  // namespace

std::vector<std::string> uplinks_of(const CommonConfig& config) {
    std::vector<std::string> uplinks{config.interface};
    uplinks.insert(uplinks.end(), config.more_uplinks.begin(), config.more_uplinks.end());
    return uplinks;
}

Parsed<std::vector<std::string>> parse_uplinks(std::string_view text) {
    std::vector<std::string> uplinks;
    for (std::size_t comma = 0; comma != std::string_view::npos;) {
        comma = text.find(',');
        auto name = parse_interface_name(text.substr(0, comma));
        if (!name) return std::unexpected(name.error());
        uplinks.push_back(std::move(*name));
        if (comma != std::string_view::npos) text.remove_prefix(comma + 1);
    }
    if (auto fits = check_uplinks(uplinks); !fits) return std::unexpected(fits.error());
    return uplinks;
}

Parsed<std::string> parse_path(std::string_view text) {
    if (text.empty()) return std::unexpected("expected a path");
    return std::string(text);
}

Parsed<Duration> parse_idle_timeout(std::string_view text) {
    const auto duration = parse_duration(text);
    if (!duration) return duration;
    if (*duration < kShortestIdleTimeout || *duration > kLongestIdleTimeout)
        return std::unexpected("expected a duration from 1s to 168h");
    return duration;
}

Parsed<std::size_t> parse_max_flows(std::string_view text) {
    return parse_number(text, 1, kMostFlows);
}

Parsed<NetfilterTool> parse_netfilter_tool(std::string_view text) {
    for (const NetfilterTool tool :
         {NetfilterTool::automatic, NetfilterTool::nftables, NetfilterTool::iptables}) {
        if (text == to_string(tool)) return tool;
    }
    return std::unexpected("expected auto, nftables or iptables");
}

Parsed<bool> parse_yes(std::string_view text) {
    if (text == "true") return true;
    if (text == "false") return false;
    return std::unexpected("expected true or false");
}

Flag config_flag() {
    return {.name = "config", .argument = "FILE", .help = "read everything from this YAML file"};
}
Flag interface_flag() {
    return {.name = "interface",
            .argument = "NAME[,NAME...]",
            .help = fmt::format("the uplink, or several, at most {}", kMaxUplinks),
            .defaults = {"eth1"}};
}
Flag secret_file_flag() {
    return {.name = "secret-file",
            .argument = "FILE",
            .help = "one or two 128-bit keys in hex, the same on balancers and bridges",
            .defaults = {"/etc/splicelb/secret"}};
}
Flag engine_flag() {
    return {.name = "engine",
            .argument = "auto|ebpf|nfqueue",
            .help = "how packets are handled; auto takes the best that is there and says why",
            .defaults = {"auto"}};
}
Flag netfilter_flag() {
    return {.name = "netfilter",
            .argument = "auto|nftables|iptables",
            .help = "engine nfqueue: what its rules are made by; auto is nftables where it can queue packets",
            .defaults = {"auto"}};
}
Flag bpffs_flag() {
    return {.name = "bpffs",
            .argument = "FOLDER",
            .help = "engine ebpf: where programs and flows are pinned, so that they outlive this process",
            .defaults = {"/sys/fs/bpf/splicelb"}};
}
Flag keep_flag() {
    return {.name = "keep",
            .help = "engine ebpf: at the end leave the data path running; the next start takes it over"};
}
Flag api_flag(const std::string& api) {
    return {.name = "api",
            .argument = "WHERE",
            .help = "where the API listens: ADDRESS:PORT, unix:PATH or off",
            .defaults = {api}};
}
Flag channel_flag() {
    return {.name = "channel",
            .argument = "PORT|off",
            .help = "the UDP port by which balancers ask bridges what they are",
            .defaults = {std::to_string(kChannelPort)}};
}
FlagGroup process_flags() {
    return {"The process",
            {{.name = "log-level",
              .argument = "LEVEL",
              .help = "trace (packets), debug, info, warning or error",
              .defaults = {"info"}},
             {.name = "check", .help = "validate flags, configuration and secret, then exit"},
             {.name = "host", .help = "with --check: also list what this host lacks or will disappoint in"},
             {.name = "version", .help = "print the version and exit"},
             {.name = "help", .help = "print this and exit"}}};
}

CommonConfig common_from_flags(const CommandLine& line) {
    CommonConfig config;
    set_uplinks(config, line.as("interface", parse_uplinks));
    config.secret_file = line.as("secret-file", parse_path);
    config.engine = line.as("engine", parse_engine);
    config.api = line.as("api", parse_api_listen);
    config.log.level = line.as("log-level", parse_log_level);
    config.netfilter = line.as("netfilter", parse_netfilter_tool);
    config.bpffs = line.as("bpffs", parse_path);
    config.keep = line.given("keep");
    config.channel = line.as("channel", parse_channel_port);
    return config;
}

void refuse_flags_beside_config(const CommandLine& line, const std::vector<FlagGroup>& groups) {
    for (const FlagGroup& group : groups) {
        for (const Flag& flag : group.flags) {
            if (flag.name == "config" || !line.given(flag.name)) continue;
            throw ConfigError(
                fmt::format("--{} and --config exclude each other: the file decides that", flag.name));
        }
    }
}

CommonConfig common_from_yaml(const YamlMap& top, const Endpoint& default_api, ApiKind kind) {
    CommonConfig config;
    config.api = default_api;
    if (const auto interface = top.find("interface")) read_uplinks(*interface, config);
    top.read("secret_file", config.secret_file, parse_path);
    top.read("engine", config.engine, parse_engine);
    top.read("netfilter", config.netfilter, parse_netfilter_tool);
    top.read("bpffs", config.bpffs, parse_path);
    top.read("keep", config.keep, parse_yes);
    if (const auto mark = top.find("mark")) config.marks = read_marks(*mark);
    top.read("idle_timeout", config.idle_timeout, parse_idle_timeout);
    top.read("max_flows", config.max_flows, parse_max_flows);
    if (const auto api = top.find("api")) {
        if (api->is_map()) {
            std::vector<std::string_view> keys{"listen", "token_file"};
            if (kind == ApiKind::changes) keys.emplace_back("state");
            const YamlMap settings = api->map(keys);
            settings.read("listen", config.api, parse_api_listen);
            settings.read("token_file", config.api_token_file, parse_path);
            settings.read("state", config.api_state, parse_path);
        } else {
            config.api = api->as(parse_api_listen);
        }
    }
    if (const auto channel = top.find("channel")) {
        if (channel->is_map())
            channel->map({"port"}).read("port", config.channel, parse_channel_port);
        else
            config.channel = channel->as(parse_channel_port);
    }
    if (const auto log = top.find("log")) {
        const YamlMap settings = log->map({"level", "format", "connections"});
        settings.read("level", config.log.level, parse_log_level);
        settings.read("format", config.log.format, parse_log_format);
        if (const auto connections = settings.find("connections"))
            config.connection_log = read_connection_log(*connections);
    }
    return config;
}

std::vector<std::string> remarks_about_channel(const CommonConfig& config) {
    if (config.channel) return {};
    return {
        "channel off: balancers do not learn of a bridge's version, number, services, secret and clock "
        "(splicectl check), nor its connections (max_connections)"};
}

std::optional<std::string> fixed_key_that_differs(const CommonConfig& running, const CommonConfig& wanted) {
    if (running.secret_file != wanted.secret_file) return "secret_file";
    if (uplinks_of(running) != uplinks_of(wanted)) return "interface";
    if (running.engine != wanted.engine) return "engine";
    if (running.api != wanted.api) return "api.listen";
    if (running.api_token_file != wanted.api_token_file) return "api.token_file";
    if (running.api_state != wanted.api_state) return "api.state";
    if (running.netfilter != wanted.netfilter) return "netfilter";
    if (running.bpffs != wanted.bpffs) return "bpffs";
    if (running.keep != wanted.keep) return "keep";
    if (running.channel != wanted.channel) return "channel";
    if (running.max_flows != wanted.max_flows) return "max_flows";
    if (running.marks.value != wanted.marks.value || running.marks.mask != wanted.marks.mask) return "mark";
    return std::nullopt;
}

Parsed<void> ServiceKeys::add(std::uint8_t dscp, const Endpoint& vip) {
    for (const auto& [seen_dscp, seen_vip] : seen_) {
        if (seen_dscp == dscp)
            return std::unexpected(
                fmt::format("DSCP {} is used twice ({} has it); expected one of its own, 1 to {}", dscp,
                            seen_vip.to_string(), SPLICE_CARRIAGE_LAST));
        if (seen_vip == vip)
            return std::unexpected(
                fmt::format("{} is used twice (DSCP {} has it); expected another address or port",
                            vip.to_string(), seen_dscp));
    }
    seen_.emplace_back(dscp, vip);
    return {};
}

}  // namespace splice
