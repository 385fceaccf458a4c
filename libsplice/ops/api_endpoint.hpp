// An API's address as Asio has it: TCP and Unix sockets by one type. Inline, so that a client needs no more
// of ops.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include "libsplice/base/api_address.hpp"

namespace splice {

inline boost::asio::generic::stream_protocol::endpoint to_asio(const ApiAddress& address) {
    namespace asio = boost::asio;
    if (address.is_socket()) return asio::local::stream_protocol::endpoint(address.path);
    return asio::ip::tcp::endpoint(asio::ip::make_address(address.endpoint.address.to_string()),
                                   address.endpoint.port);
}

}  // namespace splice
