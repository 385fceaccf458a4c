// The nfqueue engine of both executables: a machine of core behind netfilter queues, and the rules that bring
// it its packets. They begin, change and end together.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libsplice/engine/host_fact.hpp"
#include "libsplice/engine/netfilter_rules.hpp"
#include "libsplice/engine/packet_loop.hpp"

namespace splice {

class QueuedMachine {
  public:
    // `owner` of the rules, and by what they are made; see NetfilterRules.
    QueuedMachine(std::string owner, NetfilterTool tool) : owner_(std::move(owner)), tool_(tool) {}

    // The machine and what the `more` sources refer to must outlive this. Errors: another process has the
    // queues, and its rules stay; or the rules are refused.
    SystemResult<void> start(const std::vector<NfQueueOptions>& queues, PacketMachine& machine,
                             const std::vector<NetfilterMatch>& matches,
                             std::vector<std::unique_ptr<PacketSource>> more = {});
    // `apply` changes the machine and `undo` changes it back, both in the loop's thread. Errors: the rules
    // are refused; then all is as before.
    SystemResult<void> replace(const std::vector<NetfilterMatch>& matches, const std::function<void()>& apply,
                               const std::function<void()>& undo);
    // In the loop's thread.
    void run(const std::function<void()>& task) { loop_->run(task); }
    void run_sending(const std::function<void(Actions&)>& task) { loop_->run_sending(task); }

    // Once it is started.
    [[nodiscard]] const PacketLoop& loop() const noexcept { return *loop_; }
    // That the rules are there. It refers to this.
    [[nodiscard]] HostFact fact();

  private:
    std::string owner_;
    NetfilterTool tool_;
    std::optional<PacketLoop> loop_;
    std::optional<NetfilterRules> netfilter_;  // gone before the loop: nothing is queued that nobody takes
};

}  // namespace splice
