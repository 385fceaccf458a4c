// The head of a request as Boost.Beast reads it: a second judge of core/http_key's scanner. Beast refuses
// more; what it takes the scanner must take, with the same target and the same value.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace splice::fuzz {

class BeastHead final : public boost::beast::http::basic_parser<true> {
    using Error = boost::beast::error_code;
    using Text = boost::beast::string_view;

  public:
    // Reads up to the first field of that name (in any case), or to the head's end.
    BeastHead(std::string_view text, std::string_view field) : field_(field) {
        header_limit(std::numeric_limits<std::uint32_t>::max());
        skip(true);
        Error error;
        put(boost::asio::const_buffer(text.data(), text.size()), error);
        whole = stopped_ || !error;
    }

    bool whole = false;  // no part of it was lacking or wrong
    std::string method, target;
    std::optional<std::string> value;

  private:
    void on_request_impl(boost::beast::http::verb, Text is, Text where, int, Error&) override {
        method = std::string(is);
        target = std::string(where);
    }
    void on_field_impl(boost::beast::http::field, Text name, Text is, Error& error) override {
        if (!boost::beast::iequals(name, Text(field_.data(), field_.size()))) return;
        value = std::string(is);
        stopped_ = true;
        error = make_error_code(boost::system::errc::operation_canceled);
    }
    void on_response_impl(int, Text, int, Error&) override {}
    void on_header_impl(Error&) override {}
    void on_body_init_impl(const boost::optional<std::uint64_t>&, Error&) override {}
    std::size_t on_body_impl(Text body, Error&) override { return body.size(); }
    void on_chunk_header_impl(std::uint64_t, Text, Error&) override {}
    std::size_t on_chunk_body_impl(std::uint64_t, Text body, Error&) override { return body.size(); }
    void on_finish_impl(Error&) override {}

    std::string_view field_;
    bool stopped_ = false;
};

}  // namespace splice::fuzz
