// A YAML file read strictly: every key must be known and given once, every value must have its form, and
// every complaint names file, line and column. The only file that meets libyaml.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libsplice/config/error.hpp"
#include "libsplice/config/values.hpp"

namespace splice {

class YamlDocument;
class YamlMap;

// One value with the name of its key and its place in the file.
class YamlValue {
  public:
    // `node`: its number in the document.
    YamlValue(std::shared_ptr<const YamlDocument> document, std::string key, int node)
        : document_(std::move(document)), key_(std::move(key)), node_(node) {}

    // A single value through one of the parsers of values.hpp: Parsed<T> parser(std::string_view).
    template <class Parser>
    auto as(Parser&& parser) const {
        const std::string text = scalar();
        auto parsed = parser(std::string_view(text));
        if (!parsed) fail_about(text, parsed.error());
        return std::move(*parsed);
    }
    [[nodiscard]] std::string text() const { return scalar(); }
    [[nodiscard]] bool is_list() const;
    [[nodiscard]] bool is_map() const;
    // The list's values, at least one and at most `most`.
    [[nodiscard]] std::vector<YamlValue> items(std::size_t most) const;
    // `known` are the keys that may stand there.
    [[nodiscard]] YamlMap map(std::vector<std::string_view> known) const;

    // Throws ConfigError: "file:line:column: sentence".
    [[noreturn]] void fail(const std::string& sentence) const;
    // The same about a value that stands there: "file:line:column: key 'value': sentence".
    [[noreturn]] void fail_about(std::string_view value, const std::string& sentence) const;
    [[nodiscard]] std::size_t line() const;  // from 1

  private:
    friend class YamlMap;
    [[nodiscard]] std::string scalar() const;

    std::shared_ptr<const YamlDocument> document_;
    std::string key_;
    int node_;
};

class YamlMap {
  public:
    YamlMap(const YamlValue& where, std::vector<std::string_view> known);

    [[nodiscard]] std::optional<YamlValue> find(std::string_view key) const;
    [[nodiscard]] YamlValue require(std::string_view key) const;  // throws ConfigError
    [[nodiscard]] bool has(std::string_view key) const { return find(key).has_value(); }

    // Sets `to` when the key is there.
    template <class T, class Parser>
    void read(std::string_view key, T& to, Parser&& parser) const {
        if (const auto value = find(key)) to = value->as(parser);
    }

  private:
    void add(int key, int value, const std::vector<std::string_view>& known);

    YamlValue where_;
    std::vector<std::pair<std::string, YamlValue>> entries_;
};

// The file's top level. `file` names it in complaints. Throws ConfigError.
YamlValue parse_yaml(const std::string& text, const std::string& file);

}  // namespace splice
