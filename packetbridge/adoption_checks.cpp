#include "packetbridge/adoption_checks.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "libsplice/engine/next_hop.hpp"
#include "libsplice/engine/socket_diag.hpp"
#include "libsplice/engine/sysctl.hpp"
#include "packetbridge/network_facts.hpp"

namespace splice {
namespace {

bool kernel_has_kfunc() noexcept {
    const std::unique_ptr<btf, decltype(&btf__free)> kernel(btf__load_vmlinux_btf(), btf__free);
    return kernel && btf__find_by_name_kind(kernel.get(), "bpf_sk_assign_tcp_reqsk", BTF_KIND_FUNC) > 0;
}

bool has(const std::string& line, std::string_view word) {
    return line.find(word) != std::string::npos;
}

bool refuses(const std::string& line) {
    return has(line, "-j DROP") || has(line, "-j REJECT") || has(line, " drop") || has(line, " reject");
}

// An adopted connection begins, for conntrack, with a segment that is no SYN.
bool drops_new_without_syn(const std::string& line) {
    const bool without_syn = has(line, "! --tcp-flags FIN,SYN,RST,ACK SYN") || has(line, "! --syn") ||
                             has(line, "flags & (fin | syn | rst | ack) != syn") ||
                             has(line, "flags != syn") || has(line, "flags syn / fin,syn,rst,ack != ");
    return without_syn && refuses(line) && (has(line, "NEW") || has(line, "ct state new"));
}

bool drops_invalid(const std::string& line) {
    return refuses(line) && (has(line, "INVALID") || has(line, "ct state invalid"));
}

bool sets_marks(const std::string& line) {
    return has(line, "-A PREROUTING") && (has(line, "-j MARK") || has(line, "-j CONNMARK"));
}

bool listens_on_vip(const JoinerService& service) noexcept {
    return service.backend == service.vip;
}

void judge_sysctls(const AdoptionFacts& facts, AdoptionFindings& findings) {
    const auto must = [&](bool good, std::string_view name, std::string_view wanted, std::string_view why) {
        if (!good)
            findings.obstacles.push_back(fmt::format(
                "net.ipv4.{} must {}: {}; set it with `sysctl -w net.ipv4.{}=...`", name, wanted, why, name));
    };
    must(facts.tcp_syncookies != 0, "tcp_syncookies", "not be 0", "the kernel adopts by its SYN cookie path");
    must(facts.tcp_sack != 0, "tcp_sack", "be 1",
         "clients were offered SACK, and the kernel refuses to adopt with it");
    must(facts.tcp_timestamps != 0, "tcp_timestamps", "not be 0",
         "clients were offered timestamps, and the kernel refuses to adopt with them");
    must(facts.tcp_window_scaling != 0, "tcp_window_scaling", "be 1",
         "clients were offered window scaling, and the kernel refuses to adopt with it");
    must(facts.tcp_rfc1337 == 0, "tcp_rfc1337", "be 0",
         "an old TIME_WAIT socket of a reused client port could not be cleared");
}

void judge_firewall(const AdoptionFacts& facts, const JoinerSetup& setup, AdoptionFindings& findings) {
    if (const std::string line = first_rule(facts.firewall, drops_new_without_syn); !line.empty())
        findings.obstacles.push_back(
            "the firewall drops new connections that do not begin with a SYN, as adopted "
            "ones do not: " +
            line);
    if (const std::string line = first_rule(facts.firewall, drops_invalid);
        !line.empty() && facts.conntrack_tcp_loose == 0)
        findings.obstacles.push_back(
            "net.netfilter.nf_conntrack_tcp_loose is 0 and the firewall drops INVALID, which "
            "adopted connections then are: " +
            line);
    if (const std::string line = first_rule(facts.firewall, sets_marks); !line.empty() && needs_egress(setup))
        findings.warnings.push_back(
            "the firewall writes packet marks before sockets see them; if it does so to "
            "adopted connections, their answers keep the backend's address: " +
            line);
}

// Each backend of the families for which the kernel would answer an adopted segment with a RST.
void judge_nat(const AdoptionFacts& facts, const JoinerSetup& setup, AdoptionFindings& findings) {
    for (const int family : {4, 6}) {
        if (!nat_takes_adopted_segments(facts.firewall, family)) continue;
        for (const Endpoint& backend : backends_of(setup)) {
            if (backend.address.family() != family || leaves_untracked(facts.firewall, backend)) continue;
            findings.backends.push_back(
                {backend,
                 fmt::format("a chain of type nat and connection tracking (Docker, libvirt, firewalld, "
                             "MASQUERADE) take adopted segments from their socket, and connections to {0} "
                             "are tracked: keep them from it with "
                             "`{1} -t raw -A PREROUTING -d {2} -p tcp --dport {3} -j CT --notrack` and "
                             "`{1} -t raw -A OUTPUT -s {2} -p tcp --sport {3} -j CT --notrack`",
                             backend.to_string(), family == 4 ? "iptables" : "ip6tables",
                             backend.address.to_string(), backend.port)});
        }
    }
}

// What cannot be asked is taken for good. `sockets`: null where the kernel tells nothing of them.
BackendFacts look_at_backend(const Endpoint& backend, SocketDiag* sockets) {
    BackendFacts facts{.backend = backend};
    const auto way = way_to(backend.address);
    facts.here = way && way->local;
    if (way && !way->local) facts.way = way->interface;
    if (!sockets) return facts;
    const auto listener = sockets->listener(backend);
    facts.listens = listener.has_value();
    facts.mptcp = listener && listener->mptcp;
    facts.mark = listener ? listener->mark : 0;
    return facts;
}

// An adopted connection is a socket that the kernel makes of the listener, here.
void judge_backends(const AdoptionFacts& facts, const JoinerSetup& setup, AdoptionFindings& findings) {
    for (const BackendFacts& each : facts.backends) {
        const std::string name = each.backend.to_string();
        const auto stands_against = [&](std::string why) {
            findings.backends.push_back({each.backend, std::move(why)});
        };
        if (!each.here)
            stands_against(fmt::format(
                "the backend {} is not this host's own ({}), and only a socket of this host can adopt", name,
                each.way.empty() ? std::string("no route leads there") : "it is reached by " + each.way));
        if (each.mptcp)
            stands_against(fmt::format(
                "the listener at {} speaks MPTCP, and the kernel adopts by plain TCP alone (Go since 1.24: "
                "GODEBUG=multipathtcp=0; nginx: listen without multipath)",
                name));
        if (each.mark != 0 && needs_egress(setup))
            stands_against(
                fmt::format("the listener at {} sets a mark of its own ({:#x}), which takes the place of "
                            "ours on its connections",
                            name, each.mark));
        if (each.here && !each.listens)
            findings.warnings.push_back(fmt::format(
                "nobody listens at {}: connections are bounced to the balancer until somebody does", name));
    }
}

void judge_uplinks(const AdoptionFacts& facts, AdoptionFindings& findings) {
    for (const UplinkFacts& uplink : facts.uplinks) {
        if (uplink.rp_filter == 1)
            findings.warnings.push_back(
                fmt::format("rp_filter of {0} is strict: a client whose route does not lead out by {0} is "
                            "dropped; 2 is loose",
                            uplink.name));
    }
}

}  // namespace

std::optional<std::string> AdoptionFindings::of_host() const {
    return obstacles.empty() ? std::nullopt : std::optional(obstacles.front());
}

std::optional<std::string> AdoptionFindings::of_backend(const Endpoint& backend) const {
    const auto found = std::ranges::find(backends, backend, &BackendObstacle::backend);
    return found == backends.end() ? std::nullopt : std::optional(found->why);
}

std::optional<std::string> AdoptionFindings::first_obstacle() const {
    if (!obstacles.empty() || backends.empty()) return of_host();
    return backends.front().why;
}

std::vector<Endpoint> backends_of(const JoinerSetup& setup) {
    std::vector<Endpoint> backends;
    for (const JoinerService& service : setup.services) {
        if (std::ranges::find(backends, service.backend) == backends.end())
            backends.push_back(service.backend);
    }
    return backends;
}

bool needs_egress(const JoinerSetup& setup) noexcept {
    return !std::ranges::all_of(setup.services, listens_on_vip);
}

AdoptionFacts read_adoption_facts(const JoinerSetup& setup, const std::vector<std::string>& uplinks) {
    AdoptionFacts facts = read_changing_facts(setup, uplinks);
    facts.has_kfunc = kernel_has_kfunc();
    facts.firewall = read_firewall_rules();
    return facts;
}

AdoptionFacts read_changing_facts(const JoinerSetup& setup, const std::vector<std::string>& uplinks) {
    AdoptionFacts facts;
    const auto ipv4 = [](const std::string& name, int unknown) {
        return read_sysctl("net/ipv4/" + name).value_or(unknown);
    };
    facts.tcp_syncookies = ipv4("tcp_syncookies", 0);
    facts.tcp_sack = ipv4("tcp_sack", 1);
    facts.tcp_timestamps = ipv4("tcp_timestamps", 1);
    facts.tcp_window_scaling = ipv4("tcp_window_scaling", 1);
    facts.tcp_rfc1337 = ipv4("tcp_rfc1337", 0);
    facts.conntrack_tcp_loose = read_sysctl("net/netfilter/nf_conntrack_tcp_loose").value_or(1);
    for (const std::string& name : uplinks)
        facts.uplinks.push_back({.name = name, .rp_filter = interface_sysctl(name, "rp_filter")});
    auto sockets = SocketDiag::open();
    for (const Endpoint& backend : backends_of(setup))
        facts.backends.push_back(look_at_backend(backend, sockets ? &*sockets : nullptr));
    return facts;
}

AdoptionFindings judge_adoption(const AdoptionFacts& facts, const JoinerSetup& setup) {
    AdoptionFindings findings;
    if (!facts.has_kfunc)
        findings.obstacles.emplace_back(
            "the kernel has no bpf_sk_assign_tcp_reqsk (Linux 6.9 with "
            "CONFIG_DEBUG_INFO_BTF and CONFIG_SYN_COOKIES has)");
    judge_sysctls(facts, findings);
    judge_firewall(facts, setup, findings);
    judge_nat(facts, setup, findings);
    judge_uplinks(facts, findings);
    judge_backends(facts, setup, findings);
    return findings;
}

}  // namespace splice
