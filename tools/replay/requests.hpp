// What a server's log would have said of a capture: one JSON object a request, all that follow on a
// kept-alive connection included, as splice-hash reads it.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "tools/replay/observer.hpp"
#include "tools/replay/output.hpp"

namespace splice::replay {

// A line is printed when the answer has ended, as servers do, or the connection, or the capture. Its members,
// where the capture tells them:
//   time          when the request began, in seconds since 1970
//   client, client_port, server, server_port
//                 the connection's ends; behind a PROXY header `client` is the address in it, and there is no
//                 client_port
//   connection    a text that all requests of the connection have, and no others
//   bridge        where the balancer sent the connection
//   method, uri   as in the request line
//   host          the Host header, or the name in a TLS ClientHello
//   http_NAME     every other header of the request, in lower case and with _ for -, the first where it
//   stands twice status        of the answer bytes         of the answer's body, without the frames of
//   chunks; of what is not HTTP/1 all that the server said ttl           seconds that the answer's
//   Cache-Control lets a shared cache store it (RFC 9111 section 5.2.2); 0: not
//                 at all, or only after asking the server each time
// A connection that speaks TLS or no HTTP/1 is one request. Connections that were captured from their middle
// have none: nobody knows where their messages begin. Bytes that are not UTF-8 are replaced by U+FFFD.
class RequestReport final : public Observer {
  public:
    explicit RequestReport(Output& output);
    ~RequestReport() override;
    void came(const Step& step, Station from, Station to, Bytes packet) override;
    void chose(const Step& step, const Choice& choice) override;
    void left(const Step& step, Station from, Station to, Bytes packet) override;
    // What has no answer's end yet.
    void finish();

  private:
    class Connection;
    Connection* find(const Step& step);

    Output& output_;
    std::unordered_map<std::uint32_t, std::unique_ptr<Connection>> connections_;  // that have not ended
};

}  // namespace splice::replay
