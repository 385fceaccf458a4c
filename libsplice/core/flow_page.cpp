#include "libsplice/core/flow_page.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <optional>

namespace splice {
namespace {

constexpr std::size_t kMostLookedAt = 1U << 16;
// Read at once while nearly nothing of it is wanted.
constexpr std::size_t kPiece = 1024;

// Where a page begins, in a table of that generation.
struct Cursor {
    std::uint64_t generation = 0;
    std::uint64_t place = 0;
};

std::string text_of(const Cursor& cursor) {
    std::string text;
    for (const std::uint64_t number : {cursor.generation, cursor.place}) {
        std::array<char, 16> digits{};
        const auto end = std::to_chars(digits.begin(), digits.end(), number, 16).ptr;
        text.append(text.empty() ? "" : ".").append(digits.begin(), end);
    }
    return text;
}

std::optional<Cursor> parse_cursor(std::string_view text) {
    std::array<std::uint64_t, 2> numbers{};
    for (std::uint64_t& number : numbers) {
        const std::string_view part = text.substr(0, text.find('.'));
        const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number, 16);
        if (error != std::errc{} || end != part.data() + part.size()) return {};
        text.remove_prefix(std::min(text.size(), part.size() + 1));
    }
    if (!text.empty()) return {};
    return Cursor{numbers[0], numbers[1]};
}

FlowPiece read_wanted(const FlowStore& store, const FlowFilter& wanted, std::uint64_t place,
                      std::size_t most) {
    FlowPiece piece = store.piece(place, most);
    std::erase_if(piece.flows, [&](const auto& flow) { return !wanted(flow.first, flow.second); });
    return piece;
}

}  // namespace

std::expected<FlowPage, std::string> read_flow_page(const FlowStore& store, const FlowFilter& wanted,
                                                    std::size_t limit, std::string_view after) {
    Cursor cursor{.generation = store.generation()};
    if (!after.empty()) {
        const auto parsed = parse_cursor(after);
        if (!parsed) return std::unexpected("expected the `next` of a page");
        if (parsed->generation != cursor.generation)
            return std::unexpected("the table has grown since that page: expected none, to begin anew");
        cursor = *parsed;
    }
    FlowPage page;
    std::size_t looked_at = 0;
    while (page.flows.size() < limit && looked_at < kMostLookedAt) {
        const std::size_t room = limit - page.flows.size();
        FlowPiece piece = read_wanted(store, wanted, cursor.place, kPiece);
        looked_at += piece.looked_at;
        if (piece.flows.size() > room) piece = read_wanted(store, wanted, cursor.place, room);
        if (piece.flows.size() > room && !page.flows.empty()) break;
        std::ranges::move(piece.flows, std::back_inserter(page.flows));
        if (!piece.next) return page;
        cursor.place = *piece.next;
    }
    page.next = text_of(cursor);
    return page;
}

}  // namespace splice
