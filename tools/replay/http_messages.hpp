// HTTP/1 messages of one direction, one after the other (RFC 9112), as far as a log needs them: each head's
// lines, and how many bytes its body has. It is no judge: what the balancer makes of a request,
// libsplice/core/http_key.hpp says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/replay/stream_order.hpp"

namespace splice::replay {

inline constexpr std::size_t kMaxHttpHead = 64UZ * 1024;

struct HttpHead {
    std::string first_line;
    std::vector<std::pair<std::string, std::string>>
        fields;  // names in lower case, values without blanks around

    // The first of that name, which is in lower case; empty: there is none.
    [[nodiscard]] std::string_view field(std::string_view name) const noexcept;
};

// What follows a head.
enum class HttpBody : std::uint8_t {
    none,
    told,          // by the head's Transfer-Encoding or Content-Length; without either there is none
    until_closed,  // the same, but without either everything up to the connection's end
    not_http,      // everything that comes is none of these messages any more (CONNECT, an upgrade)
};

class HttpMessages final : public StreamReader {
  public:
    class Listener {
      public:
        virtual ~Listener() = default;
        virtual HttpBody head(const HttpHead& head) = 0;
        virtual void body(std::uint64_t bytes) = 0;  // that many more, without the chunks' frames
        virtual void end() = 0;                      // of the message whose head came last
        virtual void broken() = 0;                   // no message; nothing more is told
    };

    explicit HttpMessages(Listener& listener) noexcept : listener_(listener) {}
    void take(Bytes bytes) override;
    void lost(std::uint32_t bytes) override;
    // The connection has ended: so has a body that only this ends.
    void close();

  private:
    enum class At : std::uint8_t { head, body, chunk_size, chunk, chunk_end, trailer, until_closed, broken };
    void take_line(std::string_view line);
    void take_head();
    void begin_body(HttpBody body, const HttpHead& head);
    void begin_chunk(std::string_view line);
    void count_body(std::uint64_t bytes);
    void end_message();
    void break_off();

    Listener& listener_;
    At at_ = At::head;
    std::string line_;  // what has come of it
    std::vector<std::string> lines_;
    std::size_t head_bytes_ = 0;
    std::uint64_t left_ = 0;  // of the body or the chunk
};

}  // namespace splice::replay
