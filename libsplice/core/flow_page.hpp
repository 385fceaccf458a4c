// A balancer's flow entries, a page at a time, while they change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libsplice/core/flow_store.hpp"

namespace splice {

struct FlowPage {
    std::vector<std::pair<splice_flow_key, splice_flow_entry>> flows;
    std::string next;  // where the next page begins; empty: there is none
};

using FlowFilter = std::function<bool(const splice_flow_key&, const splice_flow_entry&)>;

// Up to `limit` (1 to 1000) entries that `wanted` lets through, from `after` on: a page's `next`, or empty
// for the beginning. Few more where the page is all of one place of the table, which is never torn apart.
// Fewer, and even none, do not mean the end: a call looks at some 64 thousand entries at most. What is in the
// table all the while is on one page of all. Errors: `after` is no such text, or is of a table that has grown
// since.
std::expected<FlowPage, std::string> read_flow_page(const FlowStore& store, const FlowFilter& wanted,
                                                    std::size_t limit, std::string_view after);

}  // namespace splice
