// Where the balancer sends a record's request: key, placement, subset and ramp together.
#pragma once

#include <optional>

#include "libsplice/core/told_request_key.hpp"
#include "tools/hash/fleet_spec.hpp"
#include "tools/hash/record.hpp"

namespace splice::hash {

class FleetChooser {
  public:
    // The fleet and its shadow can be placed.
    explicit FleetChooser(const FleetSpec& fleet);

    // `request` is the record's. The key lives until the next call, or as long as the request.
    [[nodiscard]] RecordKey key_of(const Record& record, const RequestText& request) {
        return reader_.key_of(record, request);
    }
    // `key` is the record's, and placed. Of a row that the shadow serves the choices are the shadow's, the
    // row stays the key's own.
    [[nodiscard]] Choices choose(const Record& record, const RequestText& request, const RecordKey& key);

    [[nodiscard]] const Placement& placement() const noexcept { return placement_; }
    // Whether the row's choices are the shadow's.
    [[nodiscard]] bool is_moved(std::uint32_t row) const noexcept;
    [[nodiscard]] bool ramps() const noexcept { return shadow_.has_value(); }

  private:
    struct Shadow {
        KeyReader reader;
        Placement placement;
        std::uint16_t ramp;  // of 65536 rows
        bool same_key;
    };
    KeyReader reader_;
    Placement placement_;
    std::optional<Shadow> shadow_;
};

}  // namespace splice::hash
