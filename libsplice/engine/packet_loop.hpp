// The data plane's thread, the same for both executables: packets out of queues into a machine of core, what
// it sends out of a raw socket, its deadlines by a timer. One thread owns the machine; the clock is read once
// a batch.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "libsplice/base/time.hpp"
#include "libsplice/engine/nfqueue.hpp"
#include "libsplice/engine/packet_source.hpp"
#include "libsplice/engine/raw_socket.hpp"

namespace splice {

// What the thread drives. Called in its thread only.
class PacketMachine {
  public:
    virtual ~PacketMachine() = default;
    // A packet out of the source at `queue` in the list that the loop was given.
    virtual Disposition handle(std::size_t queue, Instant now, QueuedPacket& packet, Actions& out) = 0;
    virtual void expire(Instant now, Actions& out) = 0;
    [[nodiscard]] virtual std::optional<Duration> next_deadline() const = 0;
};

// Read by any thread.
struct PacketLoopCounters {
    std::atomic<std::uint64_t> batches{};
};

class PacketLoop {
  public:
    // The machine must outlive the loop. The thread starts at start().
    // `more`: other sources, after the queues in the list.
    static SystemResult<PacketLoop> open(const std::vector<NfQueueOptions>& queues, PacketMachine& machine,
                                         std::vector<std::unique_ptr<PacketSource>> more = {});
    static SystemResult<PacketLoop> open(std::vector<std::unique_ptr<PacketSource>> sources,
                                         PacketMachine& machine);
    PacketLoop(PacketLoop&&) noexcept;
    PacketLoop& operator=(PacketLoop&&) noexcept;
    // Stops the thread; what waits in the queues is the kernel's to decide.
    ~PacketLoop();

    void start();
    // Runs `task` in the thread between two batches and returns when it is done.
    void run(const std::function<void()>& task);
    // The same for a task that sends packets.
    void run_sending(const std::function<void(Actions&)>& task);

    [[nodiscard]] const PacketLoopCounters& counters() const noexcept;
    // Packets that the kernel dropped before we saw them. Any thread; it reads a file of /proc, so only for
    // who asks.
    [[nodiscard]] std::uint64_t overruns() const noexcept;
    [[nodiscard]] const RawSenderCounters& sender() const noexcept;

  private:
    struct Impl;
    explicit PacketLoop(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

}  // namespace splice
