#include "tests/bpf/bridge_host.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <doctest/doctest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "libsplice/engine/subprocess.hpp"
#include "libsplice/engine/sysctl.hpp"

namespace splice::testing {
namespace {

using namespace std::chrono_literals;

constexpr const char* kNear = "near";
constexpr const char* kFar = "far";
constexpr std::array<std::uint8_t, 6> kNearMac = {2, 0, 0, 0, 0, 1};
constexpr std::array<std::uint8_t, 6> kFarMac = {2, 0, 0, 0, 0, 2};
constexpr auto kPatience = 500ms;

bool by_tcx = false;

void run_tool(const std::string& name, const std::string& line) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at < line.size();) {
        const std::size_t end = std::min(line.find(' ', at), line.size());
        words.push_back(line.substr(at, end - at));
        at = end + 1;
    }
    const auto path = find_program(name, name);
    if (!path) throw std::runtime_error(path.error().text);
    const auto result = run_program(*path, words, "");
    if (!result || result->exit_code != 0)
        throw std::runtime_error(name + " " + line + ": " +
                                 (result ? result->complaints : result.error().text));
}

void require(bool good, const std::string& what) {
    if (!good) throw std::runtime_error(what + ": " + std::strerror(errno));
}

void make_link(int family) {
    const Topology& hosts = topology(family);
    const std::string bits = family == 4 ? "/32" : "/128 nodad";
    run_tool("ip",
             "link add near address 02:00:00:00:00:01 type veth peer name far address 02:00:00:00:00:02");
    run_tool("ip", "link set near up");
    run_tool("ip", "link set far up");
    // Checksums are finished on the wire, as the tests' oracle expects.
    run_tool("ethtool", "-K near tx off");
    run_tool("ip", "address add " + hosts.bridges[0] + bits + " dev near");
    run_tool("ip", "address add " + hosts.backend + bits + " dev near");
    run_tool("ip", "neigh add " + hosts.client + " lladdr 02:00:00:00:00:02 dev near");
    run_tool("ip", "route add " + hosts.client + " dev near");
}

sockaddr_storage address_of(const Endpoint& endpoint, socklen_t& length) {
    sockaddr_storage storage{};
    if (endpoint.address.family() == 4) {
        auto* to = reinterpret_cast<sockaddr_in*>(&storage);
        to->sin_family = AF_INET;
        to->sin_port = htons(endpoint.port);
        std::memcpy(&to->sin_addr, &endpoint.address.raw().words[3], 4);
        length = sizeof(sockaddr_in);
    } else {
        auto* to = reinterpret_cast<sockaddr_in6*>(&storage);
        to->sin6_family = AF_INET6;
        to->sin6_port = htons(endpoint.port);
        std::memcpy(&to->sin6_addr, &endpoint.address.raw(), 16);
        length = sizeof(sockaddr_in6);
    }
    return storage;
}

bool is_readable(int descriptor, std::chrono::milliseconds wait) {
    pollfd wanted{.fd = descriptor, .events = POLLIN, .revents = 0};
    return poll(&wanted, 1, static_cast<int>(wait.count())) == 1;
}

std::set<Verdict>& given() {
    static std::set<Verdict> all;
    return all;
}

}  // namespace

bool enter_network_namespace() {
    if (unshare(CLONE_NEWNET) != 0) return false;
    run_tool("ip", "link set lo up");
    // A namespace may inherit strictness that a host with one link does not need.
    (void)write_sysctl("net/ipv4/conf/all/rp_filter", 0);
    (void)write_sysctl("net/ipv4/conf/default/rp_filter", 0);
    (void)write_sysctl("net/ipv4/tcp_fwmark_accept", 1);
    return true;
}

PacketBytes frame_of(Bytes packet) {
    PacketBytes frame(kEthernet + packet.size());
    std::memcpy(frame.data(), kNearMac.data(), 6);
    std::memcpy(frame.data() + 6, kFarMac.data(), 6);
    const bool is_ipv4 = (std::to_integer<unsigned>(packet[0]) >> 4) == 4;
    const std::uint16_t ethertype = splice_htons(is_ipv4 ? SPLICE_ETHERTYPE_IPV4 : SPLICE_ETHERTYPE_IPV6);
    std::memcpy(frame.data() + 12, &ethertype, 2);
    std::memcpy(frame.data() + kEthernet, packet.data(), packet.size());
    return frame;
}

BridgeHost::BridgeHost(Mode mode, int family, const JoinerSetup& setup, const splice_mark_field& marks) {
    require(enter_network_namespace(), "enter a network namespace");
    make_link(family);
    auto programs = BridgePrograms::load(mode, 1024, std::nullopt, marks);
    if (!programs) throw std::runtime_error(programs.error().text);
    programs_ = std::move(*programs);
    if (auto written = programs_->write(setup); !written) throw std::runtime_error(written.error().text);
    egress_ = attach(TcSide::egress, programs_->egress());
    ingress_ = attach(TcSide::ingress, programs_->ingress());

    far_end_ = Descriptor(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)));
    sockaddr_ll place{};
    place.sll_family = AF_PACKET;
    place.sll_protocol = htons(ETH_P_ALL);
    place.sll_ifindex = static_cast<int>(if_nametoindex(kFar));
    require(bind(far_end_.get(), reinterpret_cast<sockaddr*>(&place), sizeof(place)) == 0,
            "bind to the link");
}

BridgeHost::Attached BridgeHost::attach(TcSide side, int program) {
    if (by_tcx) {
        auto link = TcxLink::attach(kNear, side, program);
        if (!link) throw std::runtime_error(link.error().text);
        return std::move(*link);
    }
    auto filter = TcFilter::attach(kNear, side, program);
    if (!filter) throw std::runtime_error(filter.error().text);
    return std::move(*filter);
}

void BridgeHost::hang_by_tcx(bool yes) noexcept {
    by_tcx = yes;
}

bool BridgeHost::hangs_by_tcx() noexcept {
    return by_tcx;
}

int BridgeHost::interface() const noexcept {
    return static_cast<int>(if_nametoindex(kNear));
}

BridgeHost::~BridgeHost() {
    const splice_bridge_counters counted = programs_->counters();
    for (std::size_t i = 0; i < kVerdictCount; ++i)
        if (counted.common.verdicts[i]) given().insert(static_cast<Verdict>(i));
    ingress_ = std::monostate();
    egress_ = std::monostate();
    run_tool("ip", "link delete near");
}

void BridgeHost::inject(const Segment& segment) {
    const PacketBytes frame = frame_of(segment.build());
    require(send(far_end_.get(), frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size()),
            "inject");
}

std::optional<PacketBytes> BridgeHost::receive(std::chrono::milliseconds wait) {
    const auto end = std::chrono::steady_clock::now() + wait;
    for (;;) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        if (left.count() <= 0 || !is_readable(far_end_.get(), left)) return std::nullopt;
        PacketBytes frame(2048);
        sockaddr_ll from{};
        socklen_t length = sizeof(from);
        const ssize_t size = recvfrom(far_end_.get(), frame.data(), frame.size(), 0,
                                      reinterpret_cast<sockaddr*>(&from), &length);
        if (size <= static_cast<ssize_t>(kEthernet) || from.sll_pkttype == PACKET_OUTGOING) continue;
        frame.resize(static_cast<std::size_t>(size));
        splice_packet packet{};
        packet.l3_offset = kEthernet;
        const std::byte* data = frame.data();
        if (splice_parse_ip(data, data + frame.size(), &packet) == SPLICE_CONTINUE &&
            packet.protocol == SPLICE_PROTOCOL_TCP)
            return frame;
    }
}

std::optional<PacketBytes> BridgeHost::next_frame() {
    return receive(kPatience);
}
bool BridgeHost::is_silent() {
    return !receive(50ms);
}

const std::set<Verdict>& BridgeHost::verdicts_given() noexcept {
    return given();
}

testing::Parsed BridgeHost::next() {
    const auto frame = next_frame();
    REQUIRE(frame.has_value());
    return parse(Bytes(*frame).subspan(kEthernet));
}

int BridgeHost::run(int program, PacketBytes& frame) {
    PacketBytes out(frame.size() + 256);
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.data_out = out.data();
    options.data_size_out = static_cast<__u32>(out.size());
    options.repeat = 1;
    require(bpf_prog_test_run_opts(program, &options) == 0, "run a program");
    out.resize(options.data_size_out);
    frame = std::move(out);
    return static_cast<int>(options.retval);
}

Listener::Listener(const Endpoint& local, const Options& options) {
    const int one = 1;
    socklen_t length = 0;
    const sockaddr_storage address = address_of(local, length);
    socket_ = Descriptor(socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    setsockopt(socket_.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (options.reuse_port) setsockopt(socket_.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    if (options.mark) setsockopt(socket_.get(), SOL_SOCKET, SO_MARK, &options.mark, sizeof(options.mark));
    require(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0, "bind a listener");
    require(listen(socket_.get(), options.backlog) == 0, "listen");
}

bool Listener::has_connection() const {
    return is_readable(socket_.get(), 0ms);
}

std::optional<Descriptor> Listener::accept() {
    if (!is_readable(socket_.get(), kPatience)) return std::nullopt;
    Descriptor accepted(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted) return std::nullopt;
    return accepted;
}

std::string receive_text(const Descriptor& socket) {
    std::array<char, 4096> text;
    if (!is_readable(socket.get(), kPatience)) return "<nothing>";
    const ssize_t length = recv(socket.get(), text.data(), text.size(), 0);
    if (length < 0) return errno == ECONNRESET ? "<reset>" : std::strerror(errno);
    return {text.data(), static_cast<std::size_t>(length)};
}

void send_text(const Descriptor& socket, const std::string& text) {
    require(send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()),
            "send");
}

}  // namespace splice::testing
