// Ctrl-C ends the reading of a log, and the answer is of what was read.
#pragma once

namespace splice::hash {

// The first SIGINT from now on only sets a mark; a second one ends the program.
void answer_at_interrupt() noexcept;
[[nodiscard]] bool interrupted() noexcept;

}  // namespace splice::hash
