#include "tests/support/client_crowd/crowd.hpp"

#include <bpf/bpf.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <thread>
#include <utility>

#include "crowd.skel.h"
#include "tests/support/client_crowd/frames.hpp"

namespace splice::crowd {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kTries = 10;
constexpr std::uint32_t kBatch = 64;  // frames that the veth takes at once, of the 256 it holds
constexpr auto kQuiet = 5ms;          // without an answer: what is lost is lost
// A system call sleeps for some 30 ms when it has sent its frames: a step makes few of them, a flood many at
// once.
constexpr std::uint32_t kPiece = 1U << 17;
constexpr std::uint32_t kFloodPiece = 1U << 13;
constexpr std::size_t kFloodSpeakers = 16;
constexpr auto kFloodTick = 1ms;
constexpr std::uint32_t kFloodFirst = 1U << 24;

// The last two bytes are the client's number.
splice_address prefix_of(int family) {
    return IpAddress::parse(family == 4 ? "10.21.0.0" : "fd21::").value().raw();
}

}  // namespace

SystemResult<Crowd> Crowd::enter(const Place& place) {
    std::size_t size = 0;
    const void* const bytes = crowd__elf_bytes(&size);
    auto object = BpfObject::open("crowd", {static_cast<const std::byte*>(bytes), size});
    if (!object) return std::unexpected(object.error());
    object->set_capacity("clients", place.clients);
    if (auto loaded = object->load(); !loaded) return std::unexpected(loaded.error());
    auto settings = MappedBpfArray::map(object->map(".bss"), sizeof(crowd_settings));
    if (!settings) return std::unexpected(settings.error());
    auto clients = MappedBpfArray::map(object->map("clients"), place.clients * sizeof(crowd_client));
    if (!clients) return std::unexpected(clients.error());
    static_cast<crowd_settings*>(settings->data())->prefix = prefix_of(place.service.address.family());
    auto link = XdpLink::attach(object->program("hear"), place.interface, XdpMode::native);
    if (!link) return std::unexpected(link.error());
    return Crowd(place, std::move(*object), std::move(*link), std::move(*settings), std::move(*clients));
}

Crowd::Crowd(Place place, BpfObject object, XdpLink link, MappedBpfArray settings,
             MappedBpfArray clients) noexcept
    : place_(std::move(place)),
      object_(std::move(object)),
      link_(std::move(link)),
      settings_memory_(std::move(settings)),
      clients_memory_(std::move(clients)),
      settings_(static_cast<crowd_settings*>(settings_memory_.data())),
      clients_(static_cast<const crowd_client*>(clients_memory_.data())) {
    settings_->interface = place_.interface.index;
    settings_->dscp = place_.dscp;
    settings_->hosts = place_.hosts;
}

void Crowd::prepare(crowd_step step, std::uint32_t first, std::uint32_t count) {
    const auto own = ethernet_address_of(place_.interface.index);
    settings_->frame = frame_of(step, {.from = own.value_or(EthernetAddress{}),
                                       .to = place_.balancer,
                                       .client = settings_->prefix,
                                       .vip = place_.service.address.raw(),
                                       .port = place_.service.port});
    settings_->step = step;
    settings_->first = first;
    settings_->count = count;
    settings_->next = 0;
    settings_->round++;
    settings_->seq_offset = step == CROWD_FIRST  ? 1
                            : step == CROWD_NEXT ? static_cast<std::uint32_t>(1 + kRequest.size())
                                                 : 0;
    settings_->sent = settings_->answered = settings_->forwarded = settings_->strayed = 0;
}

void Crowd::speak(std::uint32_t times) {
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = settings_->frame.bytes;
    options.data_size_in = settings_->frame.length;
    options.repeat = static_cast<int>(times);
    options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
    options.batch_size = std::min(times, kBatch);
    (void)bpf_prog_test_run_opts(object_.program("speak"), &options);  // what it did is counted
}

Count Crowd::counted() const {
    return {.sent = settings_->sent,
            .answered = settings_->answered,
            .forwarded = settings_->forwarded,
            .strayed = settings_->strayed};
}

Count Crowd::flood(std::uint32_t rate, const std::function<bool()>& ends) {
    prepare(CROWD_FLOOD, kFloodFirst, ~kFloodFirst);
    const auto started = Clock::now();
    const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - started).count(); };
    std::atomic<std::uint64_t> taken = 0;
    const auto speaker = [&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            std::uint64_t before = taken;
            const auto due = static_cast<std::uint64_t>(elapsed() * rate);
            const std::uint64_t piece = std::min<std::uint64_t>(due - std::min(due, before), kFloodPiece);
            if (piece < kBatch)
                std::this_thread::sleep_for(kFloodTick);
            else if (taken.compare_exchange_strong(before, before + piece))
                speak(static_cast<std::uint32_t>(piece));
        }
    };
    {
        std::vector<std::jthread> speakers;
        for (std::size_t i = 0; i < kFloodSpeakers; ++i) speakers.emplace_back(speaker);
        while (!ends()) {
        }
        for (std::jthread& each : speakers) each.request_stop();
    }
    Count count = counted();
    count.seconds = elapsed();
    return count;
}

Count Crowd::take_step(crowd_step step, std::uint32_t first, std::uint32_t count) {
    prepare(step, first, count);
    const auto started = Clock::now();
    std::uint32_t answered = 0;
    for (int tries = 0; tries < kTries && answered < count; ++tries) {
        settings_->next = 0;
        for (std::uint32_t done = 0; done < count; done += kPiece) speak(std::min(kPiece, count - done));
        for (std::uint32_t before = answered;; before = answered) {
            answered = answered_clients();
            if (answered == count || answered == before) break;
            std::this_thread::sleep_for(kQuiet);
        }
    }
    Count all = counted();
    all.clients = answered;
    all.seconds = std::chrono::duration<double>(Clock::now() - started).count();
    return all;
}

std::uint32_t Crowd::answered_clients() const {
    return static_cast<std::uint32_t>(
        std::count_if(clients_ + settings_->first, clients_ + settings_->first + settings_->count,
                      [this](const crowd_client& client) { return client.answered_in == settings_->round; }));
}

std::vector<std::uint32_t> Crowd::bridges() const {
    std::vector<std::uint32_t> found;
    for (std::uint32_t i = 0; i < place_.clients; ++i) {
        if (clients_[i].bridge && std::ranges::find(found, clients_[i].bridge) == found.end())
            found.push_back(clients_[i].bridge);
    }
    return found;
}

}  // namespace splice::crowd
