// Whether somebody takes connections at a backend. Of this host's own sockets the kernel tells, so that such
// a backend sees nothing of it; only elsewhere, or where no socket of this host listens (the address may lead
// on, to a container), is a connection tried: opened and closed at once.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/time.hpp"

namespace splice {

enum class BackendLook : std::uint8_t {
    listens,
    full,         // it listens, but has not accepted what waits: the kernel drops what comes more
    refuses,      // nobody listens
    silent,       // no answer in time
    unreachable,  // the kernel knows no way, or a router said that there is none
};
inline constexpr std::size_t kBackendLooks = 5;
[[nodiscard]] std::string_view to_string(BackendLook look) noexcept;

// One answer for each, in their order. Takes `timeout` at most for all of them together.
[[nodiscard]] std::vector<BackendLook> look_at_backends(std::span<const Endpoint> backends, Duration timeout);

}  // namespace splice
