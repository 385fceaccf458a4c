// Metrics in the text format of Prometheus (version 0.0.4), written by prometheus-cpp.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace prometheus {
struct MetricFamily;
}

namespace splice {

using MetricLabels = std::map<std::string, std::string>;

// One page of metrics. Values of one name stand together on it, whenever they are given; the help text is
// that of the first.
class MetricsPage {
  public:
    MetricsPage();
    ~MetricsPage();
    MetricsPage(const MetricsPage&) = delete;
    MetricsPage& operator=(const MetricsPage&) = delete;

    // By convention a counter's name ends in _total.
    void counter(const std::string& name, const std::string& help, std::uint64_t value,
                 const MetricLabels& labels = {});
    void gauge(const std::string& name, const std::string& help, double value,
               const MetricLabels& labels = {});

    // `counts`: of values in each bucket; one bucket more than `bounds`, the largest values that are in a
    // bucket.
    void histogram(const std::string& name, const std::string& help, std::span<const double> bounds,
                   std::span<const std::uint64_t> counts, double sum, const MetricLabels& labels = {});

    [[nodiscard]] std::string text() const;
    static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

  private:
    struct Families;
    std::unique_ptr<Families> families_;
};

}  // namespace splice
