// What both executables are configured with, in flags and in YAML.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/api_address.hpp"
#include "libsplice/base/limits.hpp"
#include "libsplice/base/netfilter_tool.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/bpf/bridge_maps.h"
#include "libsplice/config/command_line.hpp"
#include "libsplice/config/values.hpp"
#include "libsplice/config/yaml_reader.hpp"
#include "libsplice/ops/connection_log.hpp"
#include "libsplice/ops/log.hpp"
#include "libsplice/wire/channel.hpp"

namespace splice {

enum class EngineChoice : std::uint8_t { automatic, ebpf, nfqueue };
Parsed<EngineChoice> parse_engine(std::string_view text);
[[nodiscard]] std::string_view to_string(EngineChoice engine) noexcept;

// Where the API listens; "off": nowhere.
using ApiListen = std::optional<ApiAddress>;
Parsed<ApiListen> parse_api_listen(std::string_view text);

// The file of the token that lets callers of the API in: 16 to 128 printable characters on its only line.
// Errors are one line; a file that others may read is refused (read_private_file()).
std::expected<std::string, std::string> read_token_file(const std::string& path);

// The channel's UDP port on bridges; nothing: the channel is off (docs/channel.md).
using ChannelPort = std::optional<std::uint16_t>;
// A port, or off.
Parsed<ChannelPort> parse_channel_port(std::string_view text);

// The bits of packet marks that bridges take; see splice_mark_field.
inline constexpr splice_mark_field kDefaultMarks{SPLICE_MARK_VALUE, SPLICE_MARK_MASK, 0};
// Errors: fewer than 8 bits of mask, or a value that reaches beyond what it may.
Parsed<splice_mark_field> mark_field(std::uint32_t value, std::uint32_t mask);

struct CommonConfig {
    std::string interface = "eth1";  // the first uplink: pins, locks and the guard are named after it
    std::vector<std::string> more_uplinks{};  // those after it; at most kMaxUplinks in all
    std::string secret_file = "/etc/splicelb/secret";
    EngineChoice engine = EngineChoice::automatic;
    ApiListen api;
    std::string api_token_file{};  // empty: there is no token
    std::string api_state{};       // of the balancer: where what the API changes is kept
    LogSettings log;
    ConnectionLogSettings connection_log{};
    std::string bpffs = "/sys/fs/bpf/splicelb";
    Duration idle_timeout = kIdleTimeout;
    std::size_t max_flows = kMaxFlows;
    bool keep = false;  // engine ebpf: the data path goes on when the process ends
    splice_mark_field marks = kDefaultMarks;
    NetfilterTool netfilter = NetfilterTool::automatic;  // engine nfqueue
    ChannelPort channel = kChannelPort;
};

// All uplinks, the first one first.
[[nodiscard]] std::vector<std::string> uplinks_of(const CommonConfig& config);

Parsed<std::string> parse_interface_name(std::string_view text);
// One name, or several with commas between them: 1 to kMaxUplinks, each once.
Parsed<std::vector<std::string>> parse_uplinks(std::string_view text);
Parsed<std::string> parse_path(std::string_view text);
Parsed<Duration> parse_idle_timeout(std::string_view text);
Parsed<std::size_t> parse_max_flows(std::string_view text);
Parsed<NetfilterTool> parse_netfilter_tool(std::string_view text);
Parsed<bool> parse_yes(std::string_view text);  // true or false

// The flags of both, as groups of --help. `api` is the default of --api.
Flag config_flag();
Flag interface_flag();
Flag secret_file_flag();
Flag engine_flag();
Flag netfilter_flag();
Flag bpffs_flag();
Flag keep_flag();
Flag api_flag(const std::string& api);
Flag channel_flag();
FlagGroup process_flags();  // --log-level, --check, --version, --help

// Those of the flags above that are not for --config. Throws ConfigError.
CommonConfig common_from_flags(const CommandLine& line);
// Throws ConfigError when a flag stands beside --config that the file decides. `allowed` may stand there.
void refuse_flags_beside_config(const CommandLine& line, const std::vector<FlagGroup>& groups);

// Keys of the top level that both files have.
extern const std::vector<std::string_view> kCommonKeys;
// Whether the API changes what runs, and `api.state` is a key.
enum class ApiKind : std::uint8_t { tells, changes };
CommonConfig common_from_yaml(const YamlMap& top, const Endpoint& default_api, ApiKind kind);

// What is missing because the channel is off, as sentences; none: it is on.
[[nodiscard]] std::vector<std::string> remarks_about_channel(const CommonConfig& config);

// What a reload may not change: the first such key that differs ("interface"), or nothing. Of the other keys
// each is honoured whole: log, idle_timeout and all that is a service's.
std::optional<std::string> fixed_key_that_differs(const CommonConfig& running, const CommonConfig& wanted);

// Services of one file: each DSCP and each VIP:port once. The error is a sentence.
class ServiceKeys {
  public:
    Parsed<void> add(std::uint8_t dscp, const Endpoint& vip);

  private:
    std::vector<std::pair<std::uint8_t, Endpoint>> seen_;
};

}  // namespace splice
