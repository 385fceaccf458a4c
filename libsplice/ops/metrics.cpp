#include "libsplice/ops/metrics.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <vector>

namespace splice {

struct MetricsPage::Families {
    std::vector<prometheus::MetricFamily> all;

    prometheus::ClientMetric& add(const std::string& name, const std::string& help,
                                  prometheus::MetricType type, const MetricLabels& labels) {
        if (all.empty() || all.back().name != name) all.push_back({name, help, type, {}});
        prometheus::ClientMetric& metric = all.back().metric.emplace_back();
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

std::string MetricsPage::text() const {
    return prometheus::TextSerializer().Serialize(families_->all);
}

}  // namespace splice
