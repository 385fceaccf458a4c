// `splicectl watch`: looks again and again.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <ctime>
#include <memory>
#include <thread>

#include "tools/splicectl/commands.hpp"
#include "tools/splicectl/table.hpp"
#include "tools/splicectl/watch_view.hpp"

namespace splice::control {
namespace {

constexpr std::string_view kClear = "\x1b[2J", kHideCursor = "\x1b[?25l", kShowCursor = "\x1b[?25h";

// Ctrl-C is how a watch ends; kill, or its terminal's end, are told as a shell tells them. At once, even
// while the balancer does not answer: everything that was shown is written, so nothing is left to do.
void end_now(int number) noexcept {
    constexpr int kBySignal = 128;
    if (isatty(STDOUT_FILENO) == 1) {
        const ssize_t unused = write(STDOUT_FILENO, kShowCursor.data(), kShowCursor.size());
        (void)unused;
    }
    _exit(number == SIGINT ? 0 : kBySignal + number);
}

void end_at_signals() noexcept {
    struct sigaction action{};
    action.sa_handler = end_now;
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
}

// What is shown last stays, and the cursor is seen below it.
class Screen {
  public:
    Screen() : is_terminal_(isatty(STDOUT_FILENO) == 1) {
        end_at_signals();
        if (is_terminal_) (void)print(std::string(kClear) + std::string(kHideCursor));
    }
    ~Screen() {
        if (is_terminal_) (void)print(kShowCursor);
    }
    Screen(const Screen&) = delete;
    Screen& operator=(const Screen&) = delete;

    [[nodiscard]] bool is_terminal() const noexcept { return is_terminal_; }
    [[nodiscard]] std::expected<void, std::string> show(const std::string& text) const {
        return print(is_terminal_ ? over_the_last(text) : text);
    }

  private:
    bool is_terminal_;
};

double now_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string clock_time() {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    return fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
}

std::expected<Look, std::string> look(const Options& options, const ApiClient& api) {
    auto status = api.json("GET", "/status");
    if (!status) return std::unexpected(status.error().text);
    const double at = now_seconds();
    auto metrics = api.ask("GET", "/metrics");
    if (!metrics) return std::unexpected(metrics.error().text);
    if (metrics->status != 200)
        return std::unexpected(describe_refusal("GET /metrics of " + api.address().to_string(), *metrics));
    Look seen = look_at(at, *status, metrics->body, options.service);
    if (seen.bridges.empty() && !options.service.empty())
        return std::unexpected("there is no service " + options.service +
                               "; `splicectl services` lists them");
    return seen;
}

std::string shown(const Options& options, const Look* before, const Look& now, bool is_terminal) {
    if (options.format == OutputFormat::json)
        return watch_json(before, now).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    std::string head = is_terminal ? fmt::format("{} at {}, each {:g} s; Ctrl-C ends\n\n", clock_time(),
                                                 options.api.to_string(), options.interval)
                                   : clock_time() + "\n";
    return head + watch_view(before, now) + (is_terminal ? "" : "\n");
}

}  // namespace

std::expected<void, std::string> run_watch(const Options& options, const ApiClient& api) {
    auto now = look(options, api);
    if (!now) return std::unexpected(now.error());
    const Screen screen;
    std::unique_ptr<Look> before;
    for (std::uint64_t looks = 1;; looks++) {
        if (now) {
            if (auto printed = screen.show(shown(options, before.get(), *now, screen.is_terminal()));
                !printed)
                return printed;
            before = std::make_unique<Look>(std::move(*now));
        } else if (!screen.is_terminal()) {
            // A balancer that restarts is there again in a moment: the watch goes on.
            fmt::print(stderr, "splicectl: {}\n", now.error());
        } else if (auto printed = screen.show(clock_time() + " " + now.error() + "\n"); !printed) {
            return printed;
        }
        if (looks == options.looks) return {};
        std::this_thread::sleep_for(std::chrono::duration<double>(options.interval));
        now = look(options, api);
    }
}

}  // namespace splice::control
