#include "libsplice/config/yaml_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml.h>

#include <algorithm>
#include <array>
#include <span>

#include "libsplice/base/quoted.hpp"

namespace splice {
namespace {

std::string place(const std::string& file, const yaml_mark_t& mark) {
    return fmt::format("{}:{}:{}", file, mark.line + 1, mark.column + 1);
}

std::string_view text_of(const yaml_node_t& scalar) noexcept {
    // libyaml's characters are bytes of UTF-8.
    return {reinterpret_cast<const char*>(scalar.data.scalar.value), scalar.data.scalar.length};
}

// What YAML takes for no value (YAML 1.2.2 section 10.3.2), unless it is quoted.
bool is_nothing(const yaml_node_t& node) noexcept {
    constexpr std::array<std::string_view, 5> kNothing{"", "~", "null", "Null", "NULL"};
    return node.type == YAML_SCALAR_NODE && node.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           std::ranges::find(kNothing, text_of(node)) != kNothing.end();
}

std::string_view kind_of(const yaml_node_t& node) noexcept {
    if (node.type == YAML_SEQUENCE_NODE) return "a list";
    if (node.type == YAML_MAPPING_NODE) return "a map";
    return is_nothing(node) ? "nothing" : "a single value";
}

std::span<const yaml_node_item_t> items_of(const yaml_node_t& list) noexcept {
    return {list.data.sequence.items.start, list.data.sequence.items.top};
}

std::span<const yaml_node_pair_t> pairs_of(const yaml_node_t& map) noexcept {
    return {map.data.mapping.pairs.start, map.data.mapping.pairs.top};
}

}  // namespace

// One document out of a file, whole.
class YamlDocument {
  public:
    // Takes the document over.
    YamlDocument(std::string file, const yaml_document_t& document)
        : file_(std::move(file)), document_(document) {}
    ~YamlDocument() { yaml_document_delete(&document_); }
    YamlDocument(const YamlDocument&) = delete;
    YamlDocument& operator=(const YamlDocument&) = delete;

    [[nodiscard]] const std::string& file() const noexcept { return file_; }
    // Numbers begin with 1, the root's.
    [[nodiscard]] const yaml_node_t& node(int number) const noexcept {
        return document_.nodes.start[number - 1];
    }

  private:
    std::string file_;
    yaml_document_t document_;
};

namespace {

class Parser {
  public:
    // `text` must outlive it.
    Parser(const std::string& text, const std::string& file) : text_(text), file_(file) {
        if (yaml_parser_initialize(&parser_) == 0) throw std::bad_alloc();
        yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()),
                                     text.size());
    }
    ~Parser() { yaml_parser_delete(&parser_); }
    Parser(const Parser&) = delete;
    Parser& operator=(const Parser&) = delete;

    // The next document, or null at the end. Throws ConfigError.
    std::shared_ptr<const YamlDocument> next() {
        yaml_document_t document;
        if (yaml_parser_load(&parser_, &document) == 0) fail();
        auto read = std::make_shared<const YamlDocument>(file_, document);
        return yaml_document_get_root_node(&document) ? read : nullptr;
    }

  private:
    [[nodiscard]] yaml_mark_t mark_at(std::size_t offset) const noexcept {
        const std::string_view before = std::string_view(text_).substr(0, offset);
        const auto lines = static_cast<std::size_t>(std::ranges::count(before, '\n'));
        return {.index = offset, .line = lines, .column = before.size() - (before.rfind('\n') + 1)};
    }
    [[noreturn]] void fail() const {
        if (parser_.error == YAML_MEMORY_ERROR) throw std::bad_alloc();
        const std::string problem = on_one_line(parser_.problem ? parser_.problem : "it cannot be read");
        // What is no text is found before it has a line.
        if (parser_.error == YAML_READER_ERROR)
            throw ConfigError(
                fmt::format("{}: no YAML: {}", place(file_, mark_at(parser_.problem_offset)), problem));
        std::string within;
        if (parser_.context)
            within = fmt::format(" {} that begins in line {}", on_one_line(parser_.context),
                                 parser_.context_mark.line + 1);
        throw ConfigError(
            fmt::format("{}: no YAML: {}{}", place(file_, parser_.problem_mark), problem, within));
    }

    const std::string& text_;
    std::string file_;
    yaml_parser_t parser_;
};

}  // namespace

bool YamlValue::is_list() const {
    return document_->node(node_).type == YAML_SEQUENCE_NODE;
}

bool YamlValue::is_map() const {
    return document_->node(node_).type == YAML_MAPPING_NODE;
}

std::size_t YamlValue::line() const {
    return document_->node(node_).start_mark.line + 1;
}

std::string YamlValue::scalar() const {
    const yaml_node_t& node = document_->node(node_);
    if (node.type != YAML_SCALAR_NODE || is_nothing(node))
        fail(fmt::format("{}: expected a single value, found {}", key_, kind_of(node)));
    return std::string(text_of(node));
}

std::vector<YamlValue> YamlValue::items(std::size_t most) const {
    const yaml_node_t& node = document_->node(node_);
    if (!is_list()) fail(fmt::format("{}: expected a list, found {}", key_, kind_of(node)));
    const auto items = items_of(node);
    if (items.empty()) fail(fmt::format("{}: expected at least one entry, the list is empty", key_));
    if (items.size() > most)
        fail(fmt::format("{}: expected at most {} entries, found {}", key_, most, items.size()));
    std::vector<YamlValue> values;
    values.reserve(items.size());
    for (const yaml_node_item_t item : items) values.emplace_back(document_, key_, item);
    return values;
}

YamlMap YamlValue::map(std::vector<std::string_view> known) const {
    return {*this, std::move(known)};
}

void YamlValue::fail(const std::string& sentence) const {
    throw ConfigError(
        fmt::format("{}: {}", place(document_->file(), document_->node(node_).start_mark), sentence), key_,
        sentence);
}

void YamlValue::fail_about(std::string_view value, const std::string& sentence) const {
    fail(fmt::format("{} {}: {}", key_, quoted(value), sentence));
}

YamlMap::YamlMap(const YamlValue& where, std::vector<std::string_view> known) : where_(where) {
    const yaml_node_t& node = where.document_->node(where.node_);
    if (!where.is_map()) {
        where.fail(fmt::format("{}: expected a map of {}, found {}", where.key_, fmt::join(known, ", "),
                               kind_of(node)));
    }
    for (const yaml_node_pair_t& entry : pairs_of(node)) add(entry.key, entry.value, known);
}

void YamlMap::add(int key, int value, const std::vector<std::string_view>& known) {
    const YamlValue at(where_.document_, where_.key_, key);
    const yaml_node_t& node = where_.document_->node(key);
    if (node.type != YAML_SCALAR_NODE || is_nothing(node))
        at.fail(fmt::format("expected a key, found {}", kind_of(node)));
    const std::string name(text_of(node));
    if (std::ranges::find(known, name) == known.end()) {
        const std::string_view meant = nearest(name, known);
        YamlValue(where_.document_, name, key)
            .fail(meant.empty() ? fmt::format("unknown key {}; expected one of {}", quoted(name),
                                              fmt::join(known, ", "))
                                : fmt::format("unknown key {}; did you mean '{}'?", quoted(name), meant));
    }
    if (const auto first = find(name))
        at.fail(fmt::format("'{}' is given twice, first in line {}", name, first->line()));
    entries_.emplace_back(name, YamlValue(where_.document_, name, value));
}

std::optional<YamlValue> YamlMap::find(std::string_view key) const {
    for (const auto& [name, value] : entries_) {
        if (name == key) return value;
    }
    return std::nullopt;
}

YamlValue YamlMap::require(std::string_view key) const {
    if (auto value = find(key)) return *value;
    YamlValue(where_.document_, std::string(key), where_.node_).fail(fmt::format("'{}' is missing", key));
}

YamlValue parse_yaml(const std::string& text, const std::string& file) {
    Parser parser(text, file);
    auto document = parser.next();
    if (!document) throw ConfigError(file + ": empty; expected a map of keys");
    if (parser.next()) throw ConfigError(file + ": expected one YAML document, found several");
    return {std::move(document), file, 1};
}

}  // namespace splice
