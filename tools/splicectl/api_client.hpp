// Asks a balancer's API: one connection a question.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "tools/splicectl/json_values.hpp"
#include "tools/splicectl/options.hpp"

namespace splice::control {

struct ApiAnswer {
    unsigned status = 0;
    std::string body;
};

// What stands in a token's file: its first line, without blanks at its end.
[[nodiscard]] SystemResult<std::string> read_token(const std::string& path);

class ApiClient {
  public:
    // An empty token: none is sent.
    ApiClient(ApiAddress address, std::string token)
        : address_(std::move(address)), token_(std::move(token)) {}

    // Whatever its status is. `body`: JSON; empty: none. The error is one line: what was tried, what the
    // system answered, what to do. Waits at most kAnswerTime.
    [[nodiscard]] SystemResult<ApiAnswer> ask(std::string_view method, const std::string& target,
                                              const std::string& body = {}) const;
    // The same, where only JSON with a status of 2xx will do.
    [[nodiscard]] SystemResult<Json> json(std::string_view method, const std::string& target,
                                          const Json& body = nullptr) const;
    [[nodiscard]] const ApiAddress& address() const noexcept { return address_; }

  private:
    ApiAddress address_;
    std::string token_;
};

// One line of why an answer is not what was asked for: "PATCH /x of 127.0.0.1:10001: 422: weight: ...".
[[nodiscard]] std::string describe_refusal(std::string_view asked, const ApiAnswer& answer);

// "/explain?service=web&url=http%3A%2F%2Fa": what is not unreserved (RFC 3986 section 2.3) is escaped, and
// parameters with an empty value are left out.
[[nodiscard]] std::string make_target(
    std::string_view path, const std::vector<std::pair<std::string_view, std::string>>& parameters);

}  // namespace splice::control
