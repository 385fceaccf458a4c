#include "libsplice/base/verdict.hpp"

#include <doctest/doctest.h>

#include <set>

namespace splice {
namespace {

TEST_CASE("a verdict has its name, its sentence and its kind from the one list") {
    CHECK(verdict_name(SPLICE_drop_orphan) == "drop_orphan");
    CHECK(verdict_sentence(SPLICE_drop_orphan) == "of no flow known here and no beginning of one");
    CHECK(verdict_kind(SPLICE_drop_orphan) == SPLICE_KIND_drop);
    CHECK(verdict_kind(SPLICE_pass_not_ip) == SPLICE_KIND_pass);
    CHECK(verdict_kind(SPLICE_forward_open) == SPLICE_KIND_forward);
    CHECK(verdict_kind(SPLICE_hold_first_payload) == SPLICE_KIND_consume);
}

TEST_CASE("no two verdicts share a name or a sentence, and names that say a kind tell the truth") {
    std::set<std::string_view> names;
    std::set<std::string_view> sentences;
    for (std::size_t i = 0; i < kVerdictCount; ++i) {
        const auto verdict = static_cast<Verdict>(i);
        const std::string_view name = verdict_name(verdict);
        CAPTURE(name);
        CHECK(names.insert(name).second);
        CHECK(sentences.insert(verdict_sentence(verdict)).second);
        CHECK(name.starts_with("drop_") == (verdict_kind(verdict) == SPLICE_KIND_drop));
        CHECK(name.starts_with("pass_") == (verdict_kind(verdict) == SPLICE_KIND_pass));
    }
}

TEST_CASE("what is no outcome yet has a name of its own") {
    CHECK(verdict_name(SPLICE_CONTINUE) == "continue");
}

TEST_CASE("a counter counts its verdict and no other") {
    VerdictCounters counters;
    counters.add(SPLICE_forward_open);
    counters.add(SPLICE_forward_open);
    counters.add(SPLICE_drop_super_packet);
    CHECK(counters.of(SPLICE_forward_open) == 2);
    CHECK(counters.of(SPLICE_drop_super_packet) == 1);
    CHECK(counters.of(SPLICE_drop_orphan) == 0);
}

}  // namespace
}  // namespace splice
