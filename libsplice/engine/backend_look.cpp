#include "libsplice/engine/backend_look.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/socket_diag.hpp"

namespace splice {
namespace {

constexpr std::array<std::string_view, kBackendLooks> kNames = {"listens", "full", "refuses", "silent",
                                                                "unreachable"};

BackendLook look_of(int error) noexcept {
    switch (error) {
        case 0:
            return BackendLook::listens;
        case ECONNREFUSED:
        case ECONNRESET:
            return BackendLook::refuses;
        case ETIMEDOUT:
        case EAGAIN:
            return BackendLook::silent;
        default:
            return BackendLook::unreachable;
    }
}

// 0, EINPROGRESS, or why not.
int begin_connection(const Descriptor& socket, const Endpoint& to) noexcept {
    const splice_address& raw = to.address.raw();
    int result = 0;
    if (to.address.family() == 4) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(to.port);
        address.sin_addr.s_addr = raw.words[3];
        result = connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    } else {
        sockaddr_in6 address{};
        address.sin6_family = AF_INET6;
        address.sin6_port = htons(to.port);
        std::memcpy(&address.sin6_addr, raw.bytes, sizeof(raw.bytes));
        result = connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    }
    return result < 0 ? errno : 0;
}

int error_of(const Descriptor& socket) noexcept {
    int error = 0;
    socklen_t size = sizeof(error);
    return getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno : error;
}

// A connection that is tried.
struct Attempt {
    std::size_t place;  // of its backend
    Descriptor socket;
};

void wait_for(std::vector<Attempt> attempts, std::vector<BackendLook>& looks, Duration timeout) {
    const Duration end = read_clock().monotonic + timeout;
    while (!attempts.empty()) {
        std::vector<pollfd> ready;
        ready.reserve(attempts.size());
        for (const Attempt& attempt : attempts) ready.push_back({attempt.socket.get(), POLLOUT, 0});
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - read_clock().monotonic).count();
        if (left <= 0) break;
        if (poll(ready.data(), ready.size(), static_cast<int>(left)) < 0 && errno != EINTR) break;
        std::size_t next = 0;
        std::erase_if(attempts, [&](const Attempt& attempt) {
            if (ready[next++].revents == 0) return false;
            looks[attempt.place] = look_of(error_of(attempt.socket));
            return true;
        });
    }
    for (const Attempt& attempt : attempts) looks[attempt.place] = BackendLook::silent;
}

// Nothing: no socket of this host listens there.
std::optional<BackendLook> ask_kernel(SocketDiag& sockets, const Endpoint& backend) noexcept {
    const auto listener = sockets.listener(backend);
    if (!listener) return std::nullopt;
    return listener->waiting > listener->most_waiting ? BackendLook::full : BackendLook::listens;
}

}  // namespace

std::string_view to_string(BackendLook look) noexcept {
    return kNames[static_cast<std::size_t>(look)];
}

std::vector<BackendLook> look_at_backends(std::span<const Endpoint> backends, Duration timeout) {
    std::vector<BackendLook> looks(backends.size(), BackendLook::unreachable);
    auto sockets = SocketDiag::open();
    std::vector<Attempt> attempts;
    for (std::size_t i = 0; i < backends.size(); ++i) {
        if (sockets) {
            if (const auto told = ask_kernel(*sockets, backends[i])) {
                looks[i] = *told;
                continue;
            }
        }
        const int family = backends[i].address.family() == 4 ? AF_INET : AF_INET6;
        Descriptor socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        const int error = socket ? begin_connection(socket, backends[i]) : errno;
        if (error == EINPROGRESS)
            attempts.push_back({i, std::move(socket)});
        else
            looks[i] = look_of(error);
    }
    wait_for(std::move(attempts), looks, timeout);
    return looks;
}

}  // namespace splice
