// Who may put a file where a path leads: a secret, a lock or a pin is only as safe as the folders above it.
#pragma once

#include <string>

#include "libsplice/base/system_error.hpp"

namespace splice {

// Whether root or this process's own user alone decide what `path` leads to, through each folder and symbolic
// link on the way. In a sticky folder (/tmp) whatever the path names must be theirs. Errors name the folder,
// file or link that somebody else owns or may write, and what to do; a part that is missing is an error too.
SystemResult<void> check_trusted_path(const std::string& path);

// `path` is a folder of this process's user that nobody else may enter: made with mode 0700 when it is
// missing (its parent is there), closed when it is ours and open. Errors: somebody else's, or no folder.
SystemResult<void> make_private_folder(const std::string& path);

}  // namespace splice
