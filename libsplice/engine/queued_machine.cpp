#include "libsplice/engine/queued_machine.hpp"

namespace splice {

SystemResult<void> QueuedMachine::start(const std::vector<NfQueueOptions>& queues, PacketMachine& machine,
                                        const std::vector<NetfilterMatch>& matches,
                                        std::vector<std::unique_ptr<PacketSource>> more) {
    // The queues first: another process that runs here keeps its rules.
    auto loop = PacketLoop::open(queues, machine, std::move(more));
    if (!loop) return std::unexpected(loop.error());
    loop_ = std::move(*loop);
    loop_->start();
    auto installed = NetfilterRules::install(owner_, matches, tool_);
    if (!installed) return std::unexpected(installed.error());
    netfilter_ = std::move(*installed);
    return {};
}

SystemResult<void> QueuedMachine::replace(const std::vector<NetfilterMatch>& matches,
                                          const std::function<void()>& apply,
                                          const std::function<void()>& undo) {
    // The machine first: a new service's packets must find it ready, or the host would answer them.
    loop_->run(apply);
    auto replaced = netfilter_->replace(matches);
    if (!replaced) loop_->run(undo);
    return replaced;
}

HostFact QueuedMachine::fact() {
    return {.kind = "netfilter_rules",
            .words = "the netfilter rules that bring packets to the queues",
            .observe = [this]() -> std::optional<std::string> {
                if (netfilter_->are_whole()) return std::nullopt;
                return "are not as they were installed";
            },
            .put_right = [this] { return netfilter_->restore(); },
            // Legacy iptables sends no notice.
            .silent = netfilter_->tool() == NetfilterTool::iptables};
}

}  // namespace splice
