#include "tools/replay/requests.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/text.hpp"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/proxy_header.h"
#include "tools/cache_control.hpp"
#include "tools/replay/http_messages.hpp"
#include "tools/replay/survey.hpp"

namespace splice::replay {
namespace {

using Json = nlohmann::ordered_json;

// A stream that does not tell what it speaks until here is none that is read.
constexpr std::size_t kMaxBeginning = 16UZ * 1024;

double seconds(Duration time) {
    return std::chrono::duration<double>(std::chrono::round<std::chrono::microseconds>(time)).count();
}

// "Accept-Language" is http_accept_language, as nginx calls it.
std::string member_of(std::string_view field) {
    std::string name = "http_";
    for (const char c : field) name += c == '-' ? '_' : c;
    return name;
}

}  // namespace

// The two streams of a connection, and the requests that wait for the end of their answers.
class RequestReport::Connection {
  public:
    Connection(const Step& step, Seq first, Output& output) : key_(step.key), output_(output) {
        id_ = fmt::format("{} {} {} {} {}", IpAddress(key_.client).to_string(),
                          splice_ntohs(key_.client_port), IpAddress(key_.server).to_string(),
                          splice_ntohs(key_.server_port), step.conversation);
        client_order_.begin(first);
    }
    ~Connection() = default;
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    void from_client(Duration time, const splice_packet& packet, Bytes payload) {
        now_ = time;
        client_order_.add(payload_seq(packet), payload, client_stream_);
        note_end(packet, client_order_, client_ended_);
    }
    void from_server(const splice_packet& packet, Bytes payload) {
        if (packet.tcp_flags & SPLICE_SYN) server_order_.begin(Seq(packet.seq + 1));
        server_order_.add(payload_seq(packet), payload, server_stream_);
        note_end(packet, server_order_, server_ended_);
        if (server_ended_) answers_.close();
    }
    [[nodiscard]] bool ended() const noexcept { return was_reset_ || (client_ended_ && server_ended_); }
    void set_bridge(std::string_view bridge) { bridge_ = bridge; }

    // Prints what is still open.
    void finish() {
        if (speaks_ == Speaks::unknown && !beginning_.empty()) begin_as(guess(as_bytes(beginning_)));
        client_order_.finish(client_stream_);
        server_order_.finish(server_stream_);
        answers_.close();
        while (!open_.empty()) print_first();
    }

  private:
    enum class Speaks : std::uint8_t { unknown, http, other };

    struct Request {
        Json line;
        std::string method;
        std::optional<std::uint64_t> bytes;  // nothing: no answer was captured
    };

    static Seq payload_seq(const splice_packet& packet) noexcept {
        return Seq(packet.seq + ((packet.tcp_flags & SPLICE_SYN) != 0 ? 1U : 0U));
    }

    // A FIN ends a stream when all before it has come.
    void note_end(const splice_packet& packet, const StreamOrder& order, bool& ended) {
        was_reset_ = was_reset_ || (packet.tcp_flags & SPLICE_RST) != 0;
        const Seq end = payload_seq(packet) + packet.payload_length;
        ended = ended || ((packet.tcp_flags & SPLICE_FIN) != 0 && order.next() == end);
    }

    // --- the client's stream

    void take_client(Bytes bytes) {
        if (speaks_ == Speaks::http) return requests_.take(bytes);
        if (speaks_ == Speaks::other) return;
        beginning_ += as_text(bytes);
        if (beginning_.size() > kMaxBeginning) return begin_as({});
        if (const auto speech = recognise(as_bytes(beginning_))) begin_as(speech);
    }
    void lose_client(std::uint32_t bytes) {
        if (speaks_ == Speaks::unknown) begin_as(guess(as_bytes(beginning_)));
        if (speaks_ == Speaks::http) requests_.lost(bytes);
    }

    // What it speaks is known, or nobody will know it.
    void begin_as(std::optional<Speech> speech) {
        const std::string beginning = std::exchange(beginning_, {});
        Bytes stream = as_bytes(beginning);
        splice_proxy_header header{};
        if (speech && speech->proxy_protocol == ProxyProtocol::accept) {
            const auto answer = splice_proxy_read(stream.data(), stream.data() + stream.size(),
                                                  static_cast<std::uint32_t>(stream.size()), &header);
            if (answer == SPLICE_PROXY_ADDRESS) proxied_ = IpAddress(header.source);
            stream = stream.subspan(header.length);
        }
        const Protocol protocol = speech ? speech->protocol : Protocol::tcp;
        if (protocol == Protocol::http) {
            speaks_ = Speaks::http;
            return requests_.take(stream);
        }
        speaks_ = Speaks::other;
        Request& request = open_request();
        if (protocol != Protocol::tls) return;
        std::string scratch;
        HashKeyRule server_name;
        server_name.kind = KeyKind::sni;
        const KeyAnswer answer = first_payload_key(protocol, server_name, stream, scratch);
        if (const Key* name = std::get_if<Key>(&answer)) request.line["host"] = name->bytes;
    }

    Request& open_request() {
        Request request;
        Json& line = request.line;
        line["time"] = seconds(now_);
        line["client"] = (proxied_ ? *proxied_ : IpAddress(key_.client)).to_string();
        if (!proxied_) line["client_port"] = splice_ntohs(key_.client_port);
        line["server"] = IpAddress(key_.server).to_string();
        line["server_port"] = splice_ntohs(key_.server_port);
        line["connection"] = id_;
        open_.push_back(std::move(request));
        return open_.back();
    }

    HttpBody take_request(const HttpHead& head) {
        Request& request = open_request();
        std::string_view words = head.first_line;
        const auto method_end = words.find_first_of(" \t");
        request.method = words.substr(0, method_end);
        words.remove_prefix(std::min(method_end, words.size()));
        if (const auto version = words.rfind(" HTTP/"); version != std::string_view::npos)
            words = words.substr(0, version);
        request.line["method"] = request.method;
        request.line["uri"] = without_blanks(words);
        for (const auto& [name, value] : head.fields)
            request.line.emplace(name == "host" ? name : member_of(name), value);
        const bool leaves_http = request.method == "CONNECT" || request.method == "PRI";
        return leaves_http ? HttpBody::not_http : HttpBody::told;
    }

    // --- the server's stream

    void take_server(Bytes bytes) {
        if (speaks_ == Speaks::http && !answers_broken_) return answers_.take(bytes);
        count(bytes.size());
    }
    void lose_server(std::uint32_t bytes) {
        if (speaks_ == Speaks::http && !answers_broken_) return answers_.lost(bytes);
        count(bytes);
    }
    void count(std::uint64_t bytes) {
        if (!open_.empty()) open_.front().bytes = open_.front().bytes.value_or(0) + bytes;
    }

    HttpBody take_answer(const HttpHead& head) {
        if (open_.empty()) return HttpBody::until_closed;  // to no request that was captured
        Request& request = open_.front();
        const std::string_view line = head.first_line;
        unsigned status = 0;
        if (const auto blank = line.find(' '); blank != std::string_view::npos)
            std::from_chars(line.data() + blank + 1, line.data() + line.size(), status);
        is_interim_ = status >= 100 && status < 200 && status != 101;
        if (is_interim_) return HttpBody::none;
        request.line["status"] = status;
        count(0);
        if (const auto ttl = tools::shared_ttl(head.field("cache-control"))) request.line["ttl"] = *ttl;
        const bool leaves_http = status == 101 || (request.method == "CONNECT" && status < 300);
        if (leaves_http) return HttpBody::not_http;
        const bool has_none = request.method == "HEAD" || status == 204 || status == 304;
        return has_none ? HttpBody::none : HttpBody::until_closed;
    }
    void end_answer() {
        if (!std::exchange(is_interim_, false) && !open_.empty()) print_first();
    }

    void print_first() {
        Request& request = open_.front();
        if (!bridge_.empty() && bridge_ != "-") request.line["bridge"] = bridge_;
        if (request.bytes) request.line["bytes"] = *request.bytes;
        output_.line(request.line.dump(-1, ' ', false, Json::error_handler_t::replace));
        open_.pop_front();
    }

    struct ClientStream final : StreamReader {
        explicit ClientStream(Connection& owner) : connection(owner) {}
        void take(Bytes bytes) override { connection.take_client(bytes); }
        void lost(std::uint32_t bytes) override { connection.lose_client(bytes); }
        Connection& connection;
    };
    struct ServerStream final : StreamReader {
        explicit ServerStream(Connection& owner) : connection(owner) {}
        void take(Bytes bytes) override { connection.take_server(bytes); }
        void lost(std::uint32_t bytes) override { connection.lose_server(bytes); }
        Connection& connection;
    };
    struct RequestListener final : HttpMessages::Listener {
        explicit RequestListener(Connection& owner) : connection(owner) {}
        HttpBody head(const HttpHead& head) override { return connection.take_request(head); }
        void body(std::uint64_t) override {}
        void end() override {}
        void broken() override {}
        Connection& connection;
    };
    struct AnswerListener final : HttpMessages::Listener {
        explicit AnswerListener(Connection& owner) : connection(owner) {}
        HttpBody head(const HttpHead& head) override { return connection.take_answer(head); }
        void body(std::uint64_t bytes) override { connection.count(bytes); }
        void end() override { connection.end_answer(); }
        void broken() override { connection.answers_broken_ = true; }
        Connection& connection;
    };

    splice_flow_key key_;
    Output& output_;
    std::string id_, bridge_;
    Duration now_{};
    Speaks speaks_ = Speaks::unknown;
    std::string beginning_;  // of the client's stream, until it tells what it speaks
    std::optional<IpAddress> proxied_;
    std::deque<Request> open_;  // in their order; answers come in the same
    bool is_interim_ = false;   // the answer that is read: another comes after it
    bool answers_broken_ = false;
    bool client_ended_ = false, server_ended_ = false, was_reset_ = false;
    StreamOrder client_order_, server_order_;
    ClientStream client_stream_{*this};
    ServerStream server_stream_{*this};
    RequestListener request_listener_{*this};
    AnswerListener answer_listener_{*this};
    HttpMessages requests_{request_listener_};
    HttpMessages answers_{answer_listener_};
};

RequestReport::RequestReport(Output& output) : output_(output) {}
RequestReport::~RequestReport() = default;

RequestReport::Connection* RequestReport::find(const Step& step) {
    const auto found = connections_.find(step.conversation);
    return found == connections_.end() ? nullptr : found->second.get();
}

void RequestReport::came(const Step& step, Station from, Station /*to*/, Bytes bytes) {
    splice_packet packet{};
    if (step.conversation == 0 ||
        splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) != SPLICE_CONTINUE ||
        packet.protocol != SPLICE_PROTOCOL_TCP)
        return;
    Connection* connection = find(step);
    const bool from_client = from.place == Place::client;
    if (connection == nullptr && from_client && (packet.tcp_flags & SPLICE_SYN) != 0) {
        connection =
            connections_
                .emplace(step.conversation, std::make_unique<Connection>(step, Seq(packet.seq + 1), output_))
                .first->second.get();
    }
    if (connection == nullptr) return;
    const Bytes payload = bytes.subspan(packet.payload_offset, packet.payload_length);
    if (from_client)
        connection->from_client(step.time, packet, payload);
    else
        connection->from_server(packet, payload);
    if (!connection->ended()) return;
    connection->finish();
    connections_.erase(step.conversation);
}

void RequestReport::chose(const Step& step, const Choice& choice) {
    if (Connection* connection = find(step)) connection->set_bridge(choice.bridge);
}

// A bridge that refuses is not the one that has the connection in the end.
void RequestReport::left(const Step& step, Station from, Station to, Bytes) {
    if (from.place != Place::balancer || to.place != Place::bridge) return;
    if (Connection* connection = find(step)) connection->set_bridge(to.name);
}

void RequestReport::finish() {
    std::vector<std::uint32_t> in_order;
    in_order.reserve(connections_.size());
    for (const auto& [conversation, connection] : connections_) in_order.push_back(conversation);
    std::ranges::sort(in_order);
    for (const std::uint32_t conversation : in_order) connections_[conversation]->finish();
    connections_.clear();
}

}  // namespace splice::replay
