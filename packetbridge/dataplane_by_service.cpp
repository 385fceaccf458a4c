#include "packetbridge/dataplane_by_service.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "libsplice/engine/bpffs.hpp"
#include "libsplice/engine/clock.hpp"
#include "libsplice/ops/firewall_rules.hpp"
#include "packetbridge/adoption_checks.hpp"

namespace splice {
namespace {

bool has(const std::vector<Endpoint>& backends, const Endpoint& backend) noexcept {
    return std::ranges::find(backends, backend) != backends.end();
}

// The setup with those services alone whose backends are, or are not, in the list.
std::shared_ptr<const JoinerSetup> part_of(const JoinerSetup& setup, const std::vector<Endpoint>& backends,
                                           bool in_list) {
    auto part = std::make_shared<JoinerSetup>(setup);
    std::erase_if(part->services,
                  [&](const JoinerService& service) { return has(backends, service.backend) != in_list; });
    return part;
}

// Which backends' services translate, and why a backend of these does that did not before.
struct Choice {
    std::vector<Endpoint> translated;
    std::optional<std::string> why;

    [[nodiscard]] bool same_as(const std::vector<Endpoint>& other) const noexcept {
        return translated.size() == other.size() &&
               std::ranges::all_of(translated, [&](const Endpoint& each) { return has(other, each); });
    }
};

class BridgeByService final : public BridgeDataPlane {
  public:
    BridgeByService(const EbpfBridgeSettings& settings, std::shared_ptr<const JoinerSetup> setup)
        : settings_(settings), setup_(std::move(setup)) {}

    SystemResult<void> start() override {
        translated_ = choose(*setup_).translated;
        if (!translated_.empty()) {
            if (auto made = make_translating(part_of(*setup_, translated_, true)); !made) return made;
        }
        EbpfBridgeSettings settings = settings_;
        settings.pin_folder = beside_folder_of(settings_.pin_folder);
        settings.beside = translating_.get();
        adopting_ = make_ebpf_bridge(settings, part_of(*setup_, translated_, false));
        return adopting_->start();
    }

    SystemResult<void> replace_setup(std::shared_ptr<const JoinerSetup> setup) override {
        // One that leaves opens nothing, and may keep what it has.
        return apply(setup, setup->leaving ? translated_beside() : choose(*setup).translated);
    }

    void settle() override {
        settled_ = true;
        adopting_->settle();
        if (translating_) return translating_->settle();
        // An earlier process may have translated: its flows' connections have ended with its programs.
        if (const auto pins = PinFolder::open(settings_.pin_folder)) pins->remove_all();
    }

    [[nodiscard]] bool goes_on() const override { return adopting_->goes_on(); }

    void hand_over() override {
        settings_.keep = true;
        adopting_->hand_over();
        if (translating_) translating_->hand_over();
    }

    std::size_t end_flows() override {
        return adopting_->end_flows() + (translating_ ? translating_->end_flows() : 0);
    }

    [[nodiscard]] HostFactList facts() override {
        HostFactList facts = adopting_->facts();
        facts.push_back(choice_fact());
        return facts;
    }

    [[nodiscard]] BridgeStatistics statistics() const override {
        BridgeStatistics all = adopting_->statistics();
        if (const EbpfBridge* translating = shown_.load(std::memory_order_acquire))
            all.add(translating->statistics());
        return all;
    }

    std::vector<ServiceConnections> connections() override {
        std::vector<ServiceConnections> counts = adopting_->connections();
        if (EbpfBridge* translating = shown_.load(std::memory_order_acquire)) {
            for (ServiceConnections& each : translating->connections()) counts.push_back(std::move(each));
        }
        return counts;
    }

    [[nodiscard]] std::vector<Endpoint> translated_beside() const override {
        const std::lock_guard lock(mutex_);
        return translated_;
    }

  private:
    SystemResult<void> make_translating(std::shared_ptr<const JoinerSetup> setup) {
        EbpfBridgeSettings settings = settings_;
        settings.mode = Mode::translate;
        settings.by_service = false;
        settings.hangs = false;
        auto made = make_ebpf_bridge(settings, std::move(setup));
        if (auto started = made->start(); !started) return started;
        if (settled_) made->settle();
        translating_ = std::move(made);
        shown_.store(translating_.get(), std::memory_order_release);
        return {};
    }

    // Those that translate first: what both name is taken by the programs that adopt, which come first.
    SystemResult<void> apply(std::shared_ptr<const JoinerSetup> setup, std::vector<Endpoint> translated) {
        auto translate = part_of(*setup, translated, true);
        const std::vector<Endpoint> before = translated_beside();
        const bool had = translating_ != nullptr;
        if (had) {
            if (auto replaced = translating_->replace_setup(translate); !replaced) return replaced;
        } else if (!translated.empty()) {
            if (auto made = make_translating(std::move(translate)); !made) return made;
            if (auto set = adopting_->set_beside(*translating_); !set) return set;
        }
        if (auto replaced = adopting_->replace_setup(part_of(*setup, translated, false)); !replaced) {
            if (translating_) (void)translating_->replace_setup(part_of(*setup_, before, true));
            return replaced;
        }
        setup_ = std::move(setup);
        const std::lock_guard lock(mutex_);
        translated_ = std::move(translated);
        return {};
    }

    [[nodiscard]] Choice choose(const JoinerSetup& setup) {
        AdoptionFacts facts = read_changing_facts(setup, settings_.uplinks);
        facts.firewall = firewall_.look(read_clock().monotonic);
        const AdoptionFindings findings = judge_adoption(facts, setup);
        const std::vector<Endpoint> before = translated_beside();
        const bool has_flows = translating_ && translating_->statistics().flows != 0;
        Choice choice;
        for (const BackendFacts& each : facts.backends) {
            const bool was = has(before, each.backend);
            const auto why = findings.of_backend(each.backend);
            if (why && !was && !choice.why) choice.why = why;
            // Nobody listens: who will, and how, is not known.
            if (why || (was && (has_flows || !each.listens))) choice.translated.push_back(each.backend);
        }
        return choice;
    }

    [[nodiscard]] HostFact choice_fact() {
        return {.kind = "mode",
                .words = "the mode of each service",
                .observe = [this]() -> std::optional<std::string> {
                    const Choice choice = choose(*setup_);
                    if (choice.same_as(translated_beside())) return std::nullopt;
                    return choice.why ? "is no longer what it needs, for " + *choice.why
                                      : std::string("can be adopt where it was translate");
                },
                .put_right = [this] { return apply(setup_, choose(*setup_).translated); },
                .may_wait = true,
                .follows = true,
                .silent = true};
    }

    EbpfBridgeSettings settings_;
    std::shared_ptr<const JoinerSetup> setup_;
    FirewallWatch firewall_;
    bool settled_ = false;
    mutable std::mutex mutex_;
    std::vector<Endpoint> translated_;          // backends; under mutex_
    std::unique_ptr<EbpfBridge> translating_;   // from when the first service needs it
    std::atomic<EbpfBridge*> shown_ = nullptr;  // the same, for any thread
    std::unique_ptr<EbpfBridge> adopting_;      // gone first: its programs hang on the interfaces
};

}  // namespace

std::unique_ptr<BridgeDataPlane> make_bridge_by_service(const EbpfBridgeSettings& settings,
                                                        std::shared_ptr<const JoinerSetup> setup) {
    return std::make_unique<BridgeByService>(settings, std::move(setup));
}

}  // namespace splice
