// One thing that a daemon needs of its host: a link, an address, a rule, a sysctl.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/system_error.hpp"

namespace splice {

// A value; what its functions refer to outlives its stay in a list.
struct HostFact {
    std::string kind;   // a metric's label: "address", "netfilter_rules"
    std::string words;  // what it is, with the article: "the address 192.0.2.1 on eth1"; unique in a list
    // Nothing when all is as it should be, else what is wrong, to follow `words`: "is missing". Cheap: called
    // at every notice of a change, and at least every five seconds.
    std::function<std::optional<std::string>()> observe;
    // Makes it so, where observe() says that it is not. Errors: the system refuses.
    std::function<SystemResult<void>()> put_right;
    // Takes away what put_right() made. Empty where there is nothing to take away, or where it ends with its
    // owner (a program with its data path).
    std::function<void()> undo{};
    // A start and a change go on when it cannot be put right: it is told, and waited for.
    bool may_wait = false;
    bool follows =
        false;  // it is what this host has that changes: putting it right is no repair, and is told as news
    bool silent = false;  // no notice tells of a change: it is looked at every second
    bool ground = false;  // while it is not so, there is no use in looking at the facts after it
};
using HostFactList = std::vector<HostFact>;

}  // namespace splice
