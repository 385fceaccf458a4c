// The key that the balancer would choose by, out of a log's record: the record is written as the request that
// it was, and the balancer's own parsers judge it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "libsplice/core/hash_key.hpp"
#include "libsplice/core/placement/placement.hpp"
#include "libsplice/core/told_request.hpp"

namespace splice {

struct RecordKey {
    // Empty and not placed: neither a key nor a client's address is told, so nobody knows the bridge.
    std::string_view bytes;
    bool placed = false;
    std::optional<Fallback> fallback;  // why the client's address chooses
    std::string_view source =
        {};  // for a subset: the address's 16 bytes; empty where the log does not tell it
};

// One record as a request.
class RequestText {
  public:
    // `headers`: the names of those whose values ToldRequest::headers has.
    void write(const ToldRequest& record, std::span<const std::string> headers);
    [[nodiscard]] std::string_view text() const noexcept { return text_; }

  private:
    std::string text_;
};

class KeyReader {
  public:
    // `subset`: each key has so many bridges, and the client's address one of them; 0: one.
    KeyReader(Protocol protocol, HashKeyRule rule, std::uint32_t subset = 0)
        : protocol_(protocol),
          rule_(std::move(rule)),
          kernel_rule_(kernel_key_rule(rule_)),
          subset_(subset) {}

    // `request` is the record's. The key lives until the next call, or as long as the request.
    [[nodiscard]] RecordKey key_of(const ToldRequest& record, const RequestText& request);
    // Where the balancer sends it; the key is placed.
    [[nodiscard]] Choices choose(const Placement& placement, const RecordKey& key) const noexcept;
    [[nodiscard]] const HashKeyRule& rule() const noexcept { return rule_; }
    [[nodiscard]] Protocol protocol() const noexcept { return protocol_; }

  private:
    [[nodiscard]] RecordKey by_source(const ToldRequest& record, Fallback why);

    Protocol protocol_;
    HashKeyRule rule_;
    splice_key_rule kernel_rule_;
    std::uint32_t subset_ = 0;
    std::string source_;
    std::string scratch_;
};

// A number for the object that was asked for: its host and target, whatever the key takes of them.
[[nodiscard]] std::uint64_t object_of(const ToldRequest& record) noexcept;

// A key for people: an address for a source, else the text, where each byte that is not printable ASCII, each
// blank and each backslash is \xhh.
[[nodiscard]] std::string printed_key(const RecordKey& key);

}  // namespace splice
