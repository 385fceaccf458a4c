#include "libsplice/engine/packet_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <future>
#include <iterator>
#include <mutex>
#include <thread>
#include <utility>

#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {
namespace {

constexpr int kEventBatch = 16;

timespec to_timespec(Duration moment) noexcept {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(moment);
    return {.tv_sec = seconds.count(), .tv_nsec = (moment - seconds).count()};
}

class NfQueueSource final : public PacketSource {
  public:
    explicit NfQueueSource(NfQueue queue) noexcept : queue_(std::move(queue)) {}
    [[nodiscard]] int descriptor() const noexcept override { return queue_.descriptor(); }
    void receive(const Handler& handler, RawSender&) override { queue_.receive(handler); }
    [[nodiscard]] std::uint64_t overruns() const noexcept override { return queue_.overruns(); }

  private:
    NfQueue queue_;
};

}  // namespace

struct PacketLoop::Impl {
    Impl(RawSender raw_sender, PacketMachine& driven) : sender(std::move(raw_sender)), machine(driven) {}
    ~Impl() { stop(); }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    SystemResult<void> open() {
        poll = Descriptor(epoll_create1(EPOLL_CLOEXEC));
        wakeup = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        timer = Descriptor(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
        if (!poll || !wakeup || !timer) return system_error("open epoll, eventfd, timerfd", errno);
        // An event's number: a source's index, or one of the two behind them.
        for (std::size_t i = 0; i < sources.size(); i++) {
            if (!watch(sources[i]->descriptor(), i)) return system_error("watch a source of packets", errno);
        }
        if (!watch(wakeup.get(), wakeup_number()) || !watch(timer.get(), timer_number()))
            return system_error("watch eventfd and timerfd", errno);
        return {};
    }

    [[nodiscard]] std::size_t wakeup_number() const noexcept { return sources.size(); }
    [[nodiscard]] std::size_t timer_number() const noexcept { return sources.size() + 1; }

    bool watch(int descriptor, std::size_t number) noexcept {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = number;
        return epoll_ctl(poll.get(), EPOLL_CTL_ADD, descriptor, &event) == 0;
    }

    void loop() {
        while (!stopping.load(std::memory_order_acquire)) {
            std::array<epoll_event, kEventBatch> events;
            const int ready = epoll_wait(poll.get(), events.data(), kEventBatch, -1);
            const Instant now = read_clock();
            for (int i = 0; i < ready; i++) handle_event(events[static_cast<std::size_t>(i)].data.u64, now);
            sender.flush();
            arm_timer();
        }
    }

    void handle_event(std::size_t number, Instant now) {
        if (number == wakeup_number()) return run_tasks();
        if (number == timer_number()) return handle_timer(now);
        sources[number]->receive(
            [&](QueuedPacket& packet) { return machine.handle(number, now, packet, sender); }, sender);
        counters.batches.fetch_add(1, std::memory_order_relaxed);
    }

    void handle_timer(Instant now) {
        std::uint64_t expirations = 0;
        (void)!::read(timer.get(), &expirations, sizeof(expirations));
        armed.reset();
        machine.expire(now, sender);
    }

    // Only ever to an earlier moment: a timer that comes too early costs one idle expire(), setting it at
    // each batch would cost a system call.
    void arm_timer() noexcept {
        const std::optional<Duration> deadline = machine.next_deadline();
        if (!deadline || (armed && *armed <= *deadline)) return;
        itimerspec setting{};
        // Zero would disarm it.
        setting.it_value = to_timespec(std::max(*deadline, Duration(1)));
        if (timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &setting, nullptr) == 0) armed = deadline;
    }

    void run_tasks() {
        std::uint64_t count = 0;
        (void)!::read(wakeup.get(), &count, sizeof(count));
        std::vector<std::packaged_task<void()>> waiting;
        {
            const std::lock_guard lock(tasks_mutex);
            waiting.swap(tasks);
        }
        for (auto& task : waiting) task();
    }

    void wake() noexcept {
        const std::uint64_t one = 1;
        (void)!::write(wakeup.get(), &one, sizeof(one));
    }

    void stop() noexcept {
        if (!thread.joinable()) return;
        stopping.store(true, std::memory_order_release);
        wake();
        thread.join();
    }

    RawSender sender;
    PacketMachine& machine;
    std::vector<std::unique_ptr<PacketSource>> sources;
    Descriptor poll;
    Descriptor wakeup;
    Descriptor timer;
    std::optional<Duration> armed;  // the moment that the timer is set to
    PacketLoopCounters counters;
    std::atomic<bool> stopping{false};
    std::mutex tasks_mutex;
    std::vector<std::packaged_task<void()>> tasks;  // under tasks_mutex
    std::thread thread;
};

SystemResult<PacketLoop> PacketLoop::open(const std::vector<NfQueueOptions>& queues, PacketMachine& machine,
                                          std::vector<std::unique_ptr<PacketSource>> more) {
    std::vector<std::unique_ptr<PacketSource>> sources;
    for (const NfQueueOptions& options : queues) {
        auto queue = NfQueue::open(options);
        if (!queue) return std::unexpected(queue.error());
        sources.push_back(std::make_unique<NfQueueSource>(std::move(*queue)));
    }
    std::ranges::move(more, std::back_inserter(sources));
    return open(std::move(sources), machine);
}

SystemResult<PacketLoop> PacketLoop::open(std::vector<std::unique_ptr<PacketSource>> sources,
                                          PacketMachine& machine) {
    auto sender = RawSender::open();
    if (!sender) return std::unexpected(sender.error());
    auto impl = std::make_unique<Impl>(std::move(*sender), machine);
    impl->sources = std::move(sources);
    if (auto opened = impl->open(); !opened) return std::unexpected(opened.error());
    return PacketLoop(std::move(impl));
}

PacketLoop::PacketLoop(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
PacketLoop::PacketLoop(PacketLoop&&) noexcept = default;
PacketLoop& PacketLoop::operator=(PacketLoop&&) noexcept = default;
PacketLoop::~PacketLoop() = default;

void PacketLoop::start() {
    assert(!impl_->thread.joinable());
    impl_->thread = std::thread([&impl = *impl_] { impl.loop(); });
}

void PacketLoop::run(const std::function<void()>& task) {
    std::packaged_task<void()> packaged(task);
    std::future<void> done = packaged.get_future();
    {
        const std::lock_guard lock(impl_->tasks_mutex);
        impl_->tasks.push_back(std::move(packaged));
    }
    impl_->wake();
    done.get();
}

void PacketLoop::run_sending(const std::function<void(Actions&)>& task) {
    run([&] { task(impl_->sender); });
}

const PacketLoopCounters& PacketLoop::counters() const noexcept {
    return impl_->counters;
}
std::uint64_t PacketLoop::overruns() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& source : impl_->sources) sum += source->overruns();
    return sum;
}
const RawSenderCounters& PacketLoop::sender() const noexcept {
    return impl_->sender.counters();
}

}  // namespace splice
