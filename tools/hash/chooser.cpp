#include "tools/hash/chooser.hpp"

#include <algorithm>
#include <cmath>

#include "libsplice/datapath/choice.h"

namespace splice::hash {

FleetChooser::FleetChooser(const FleetSpec& fleet)
    : reader_(fleet.protocol, fleet.key, fleet.subset), placement_(fleet.place().value()) {
    if (!fleet.shadow || fleet.shadow->ramp <= 0) return;
    const FleetSpec then = fleet.as_shadow();
    // As balancer/setup.cpp rounds it.
    const auto ramp = static_cast<std::uint16_t>(std::min(std::lround(fleet.shadow->ramp * 65536), 65535L));
    shadow_.emplace(Shadow{.reader = KeyReader(then.protocol, then.key, then.subset),
                           .placement = then.place().value(),
                           .ramp = ramp,
                           .same_key = then.key == fleet.key});
}

bool FleetChooser::is_moved(std::uint32_t row) const noexcept {
    return shadow_ && splice_ramp_moves(row, shadow_->ramp) != 0;
}

Choices FleetChooser::choose(const Record& record, const RequestText& request, const RecordKey& key) {
    Choices choices = reader_.choose(placement_, key);
    if (!is_moved(choices.row)) return choices;
    if (shadow_->same_key) {
        choices.bridges = shadow_->reader.choose(shadow_->placement, key).bridges;
        return choices;
    }
    const RecordKey then = shadow_->reader.key_of(record, request);
    if (then.placed) choices.bridges = shadow_->reader.choose(shadow_->placement, then).bridges;
    return choices;
}

}  // namespace splice::hash
