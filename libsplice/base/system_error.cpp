#include "libsplice/base/system_error.hpp"

#include <system_error>

namespace splice {

std::unexpected<SystemError> system_error(std::string_view doing, int code, std::string_view hint) {
    SystemError error;
    error.code = code;
    error.text = doing;
    if (code != 0) {
        // Not strerror(): its buffer is shared by all threads.
        error.text += ": ";
        error.text += std::generic_category().message(code);
    }
    if (!hint.empty()) {
        error.text += " (";
        error.text += hint;
        error.text += ')';
    }
    return std::unexpected(std::move(error));
}

}  // namespace splice
