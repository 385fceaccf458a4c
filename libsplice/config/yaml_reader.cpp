#include "libsplice/config/yaml_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/eventhandler.h>

#include <sstream>

#include "libsplice/base/quoted.hpp"

namespace splice {
namespace {

std::string place(const std::string& file, const YAML::Mark& mark) {
    if (mark.is_null()) return file;
    return fmt::format("{}:{}:{}", file, mark.line + 1, mark.column + 1);
}

std::string_view kind_of(const YAML::Node& node) {
    switch (node.Type()) {
        case YAML::NodeType::Sequence:
            return "a list";
        case YAML::NodeType::Map:
            return "a map";
        case YAML::NodeType::Scalar:
            return "a single value";
        default:
            return "nothing";
    }
}

// Hears a document and remembers nothing of it.
class Nobody final : public YAML::EventHandler {
    void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark& /*mark*/, YAML::anchor_t /*anchor*/) override {}
    void OnAlias(const YAML::Mark& /*mark*/, YAML::anchor_t /*anchor*/) override {}
    void OnScalar(const YAML::Mark& /*mark*/, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                  const std::string& /*value*/) override {}
    void OnSequenceStart(const YAML::Mark& /*mark*/, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                         YAML::EmitterStyle::value /*style*/) override {}
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark& /*mark*/, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                    YAML::EmitterStyle::value /*style*/) override {}
    void OnMapEnd() override {}
};

// How many documents there are: 0, 1, or 2 for several. YAML::LoadAll() would tell, but over some texts that
// are no YAML it finds documents without end (yaml-cpp 0.7: "--- !a, b]").
int documents_in(const std::string& text) {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    Nobody nobody;
    if (!parser.HandleNextDocument(nobody)) return 0;
    return parser.HandleNextDocument(nobody) ? 2 : 1;
}

}  // namespace

std::string YamlValue::scalar() const {
    if (!node_.IsScalar()) fail(fmt::format("{}: expected a single value, found {}", key_, kind_of(node_)));
    return node_.Scalar();
}

std::vector<YamlValue> YamlValue::items(std::size_t most) const {
    if (!node_.IsSequence()) fail(fmt::format("{}: expected a list, found {}", key_, kind_of(node_)));
    if (node_.size() == 0) fail(fmt::format("{}: expected at least one entry, the list is empty", key_));
    if (node_.size() > most)
        fail(fmt::format("{}: expected at most {} entries, found {}", key_, most, node_.size()));
    std::vector<YamlValue> values;
    for (const YAML::Node& item : node_) values.emplace_back(file_, key_, item);
    return values;
}

YamlMap YamlValue::map(std::vector<std::string_view> known) const {
    return {*this, std::move(known)};
}

void YamlValue::fail(const std::string& sentence) const {
    throw ConfigError(fmt::format("{}: {}", place(file_, node_.Mark()), sentence));
}

void YamlValue::fail_about(std::string_view value, const std::string& sentence) const {
    fail(fmt::format("{} {}: {}", key_, quoted(value), sentence));
}

YamlMap::YamlMap(const YamlValue& where, std::vector<std::string_view> known) : where_(where) {
    const YAML::Node& node = where.node_;
    if (!node.IsMap()) {
        where.fail(fmt::format("{}: expected a map of {}, found {}", where.key_, fmt::join(known, ", "),
                               kind_of(node)));
    }
    for (const auto& entry : node) add(entry.first, entry.second, known);
}

void YamlMap::add(const YAML::Node& key, const YAML::Node& value,
                  const std::vector<std::string_view>& known) {
    const YamlValue at(where_.file_, where_.key_, key);
    if (!key.IsScalar()) at.fail(fmt::format("expected a key, found {}", kind_of(key)));
    const std::string& name = key.Scalar();
    if (std::ranges::find(known, name) == known.end()) {
        const std::string_view meant = nearest(name, known);
        at.fail(meant.empty()
                    ? fmt::format("unknown key {}; expected one of {}", quoted(name), fmt::join(known, ", "))
                    : fmt::format("unknown key {}; did you mean '{}'?", quoted(name), meant));
    }
    if (const auto first = find(name))
        at.fail(fmt::format("'{}' is given twice, first in line {}", name, first->line()));
    entries_.emplace_back(name, YamlValue(where_.file_, name, value));
}

std::optional<YamlValue> YamlMap::find(std::string_view key) const {
    for (const auto& [name, value] : entries_) {
        if (name == key) return value;
    }
    return std::nullopt;
}

YamlValue YamlMap::require(std::string_view key) const {
    if (auto value = find(key)) return *value;
    where_.fail(fmt::format("'{}' is missing", key));
}

YamlValue parse_yaml(const std::string& text, const std::string& file) {
    try {
        const int documents = documents_in(text);
        if (documents == 0) throw ConfigError(file + ": empty; expected a map of keys");
        if (documents > 1) throw ConfigError(file + ": expected one YAML document, found several");
        return {file, file, YAML::Load(text)};
    } catch (const YAML::Exception& error) {
        throw ConfigError(fmt::format("{}: no YAML: {}", place(file, error.mark), on_one_line(error.msg)));
    }
}

}  // namespace splice
