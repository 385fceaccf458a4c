// A change of what runs, as steps that can be undone: all of them are done, or none.
#pragma once

#include <expected>
#include <functional>
#include <string>
#include <vector>

namespace splice {

struct Step {
    // Done wholly or not at all. The error is a sentence.
    std::function<std::expected<void, std::string>()> apply;
    // Called only after apply() has succeeded. The error says what is left as it should not be.
    std::function<std::expected<void, std::string>()> undo;
};

// In their order; at the first error those that are done are undone, the last first. The error is that
// step's, and what could not be undone behind it.
struct StepsFailure {
    std::string text;
    bool undone = true;  // everything is as it was
};
std::expected<void, StepsFailure> apply_steps(const std::vector<Step>& steps);

}  // namespace splice
