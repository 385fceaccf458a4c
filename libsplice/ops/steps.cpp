#include "libsplice/ops/steps.hpp"

namespace splice {

std::expected<void, StepsFailure> apply_steps(const std::vector<Step>& steps) {
    for (std::size_t done = 0; done < steps.size(); ++done) {
        const auto applied = steps[done].apply();
        if (applied) continue;
        StepsFailure failure{.text = applied.error()};
        for (std::size_t i = done; i-- > 0;) {
            const auto undone = steps[i].undo();
            if (undone) continue;
            failure.undone = false;
            failure.text += "; and going back failed: " + undone.error();
        }
        return std::unexpected(std::move(failure));
    }
    return {};
}

}  // namespace splice
