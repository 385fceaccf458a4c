// What a failed system call says: what we were doing, to which object, what the system answered, what to try.
#pragma once

#include <expected>
#include <string>
#include <string_view>

namespace splice {

struct SystemError {
    std::string text;  // one line, whole: "bind NFQUEUE 1000: Device or resource busy (another process ...)"
    int code = 0;      // errno, or 0
};

template <class T>
using SystemResult = std::expected<T, SystemError>;

// "doing: strerror(code) (hint)"
[[nodiscard]] std::unexpected<SystemError> system_error(std::string_view doing, int code,
                                                        std::string_view hint = {});

}  // namespace splice
