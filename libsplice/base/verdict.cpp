#include "libsplice/base/verdict.hpp"

namespace splice {
namespace {

struct Entry {
    std::string_view name;
    std::string_view sentence;
};

constexpr std::array kEntries = {
#define X(kind, name, text) Entry{#name, text},
    SPLICE_VERDICTS(X)
#undef X
};
static_assert(kEntries.size() == kVerdictCount);

// No packet's outcome, yet printed by whoever traces a packet through its rules.
constexpr Entry kContinue = {"continue", "no verdict yet"};

const Entry& entry(Verdict verdict) noexcept {
    return verdict < kVerdictCount ? kEntries[verdict] : kContinue;
}

}  // namespace

std::string_view verdict_name(Verdict verdict) noexcept {
    return entry(verdict).name;
}
std::string_view verdict_sentence(Verdict verdict) noexcept {
    return entry(verdict).sentence;
}
splice_verdict_kind verdict_kind(Verdict verdict) noexcept {
    return verdict < kVerdictCount ? splice_verdict_kind_of(verdict) : SPLICE_KIND_pass;
}

}  // namespace splice
