// Runs a program to its end: no shell, a text as its input, its output and its complaints as texts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/system_error.hpp"

namespace splice {

struct ProgramResult {
    int exit_code = 0;  // 128 + the signal's number when a signal ended it
    std::string output;
    std::string complaints;  // stderr
};

// The path of a system program, by name, in the folders where distributions put them (PATH may be anything).
SystemResult<std::string> find_program(const std::string& name, std::string_view package);

// `arguments` without the program's own name. It runs in a process group of its own, so that a Ctrl-C meant
// for us does not end it half way, with default signals and a fixed environment. Errors: it could not be
// started.
SystemResult<ProgramResult> run_program(const std::string& path, const std::vector<std::string>& arguments,
                                        std::string_view input);

}  // namespace splice
