#include "libsplice/ops/metrics.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace splice {

struct MetricsPage::Families {
    std::vector<prometheus::MetricFamily> all;

    prometheus::ClientMetric& add(const std::string& name, const std::string& help,
                                  prometheus::MetricType type, const MetricLabels& labels) {
        auto family = std::ranges::find(all, name, &prometheus::MetricFamily::name);
        if (family == all.end()) family = all.insert(family, {name, help, type, {}});
        prometheus::ClientMetric& metric = family->metric.emplace_back();
        for (const auto& [label, value] : labels) metric.label.push_back({label, value});
        return metric;
    }
};

MetricsPage::MetricsPage() : families_(std::make_unique<Families>()) {}
MetricsPage::~MetricsPage() = default;

void MetricsPage::counter(const std::string& name, const std::string& help, std::uint64_t value,
                          const MetricLabels& labels) {
    families_->add(name, help, prometheus::MetricType::Counter, labels).counter.value =
        static_cast<double>(value);
}

void MetricsPage::gauge(const std::string& name, const std::string& help, double value,
                        const MetricLabels& labels) {
    families_->add(name, help, prometheus::MetricType::Gauge, labels).gauge.value = value;
}

void MetricsPage::histogram(const std::string& name, const std::string& help, std::span<const double> bounds,
                            std::span<const std::uint64_t> counts, double sum, const MetricLabels& labels) {
    auto& histogram = families_->add(name, help, prometheus::MetricType::Histogram, labels).histogram;
    std::uint64_t so_far = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        so_far += counts[i];
        histogram.bucket.push_back(
            {so_far, i < bounds.size() ? bounds[i] : std::numeric_limits<double>::infinity()});
    }
    histogram.sample_count = so_far;
    histogram.sample_sum = sum;
}

std::string MetricsPage::text() const {
    return prometheus::TextSerializer().Serialize(families_->all);
}

}  // namespace splice
