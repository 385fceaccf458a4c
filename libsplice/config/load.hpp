// A configuration file from the disk through its parser.
#pragma once

#include <expected>
#include <string>

#include "libsplice/config/error.hpp"
#include "libsplice/ops/text_file.hpp"

namespace splice {

inline constexpr std::size_t kMaxConfigFile = 4UZ * 1024 * 1024;

// `parser(text, path)` returns the configuration or throws ConfigError.
template <class Parser>
auto load_config(const std::string& path, Parser&& parser)
    -> std::expected<decltype(parser(std::string(), path)), ConfigFailure> {
    const auto file =
        read_text_file(path, kMaxConfigFile, "read the configuration", "name an existing file with --config");
    if (!file) return std::unexpected(ConfigFailure{ConfigFailure::Kind::unreadable, file.error().text});
    try {
        return parser(file->text, path);
    } catch (const ConfigError& error) {
        return std::unexpected(ConfigFailure{ConfigFailure::Kind::wrong, error.what()});
    }
}

}  // namespace splice
