// Members of an answer, whatever is there: a balancer of another version may lack some.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace splice::control {

using Json = nlohmann::ordered_json;

// Null where it is missing, or `object` is none.
[[nodiscard]] inline const Json& at(const Json& object, std::string_view key) {
    static const Json kNull;
    if (!object.is_object()) return kNull;
    const auto found = object.find(std::string(key));
    return found == object.end() ? kNull : *found;
}
// A string as it is, numbers and booleans as JSON writes them; else empty.
[[nodiscard]] inline std::string text_at(const Json& object, std::string_view key) {
    const Json& value = at(object, key);
    if (value.is_string()) return value.get<std::string>();
    return value.is_number() || value.is_boolean() ? value.dump() : std::string();
}
[[nodiscard]] inline std::optional<double> number_at(const Json& object, std::string_view key) {
    const Json& value = at(object, key);
    return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}
[[nodiscard]] inline bool flag_at(const Json& object, std::string_view key) {
    const Json& value = at(object, key);
    return value.is_boolean() && value.get<bool>();
}
// Its elements; none where it is no array.
[[nodiscard]] inline const Json& list_at(const Json& object, std::string_view key) {
    static const Json kNone = Json::array();
    const Json& value = at(object, key);
    return value.is_array() ? value : kNone;
}
// For machines and for files; bytes that are no UTF-8 become U+FFFD.
[[nodiscard]] inline std::string dump(const Json& value) {
    return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace splice::control
