// What adoption needs of a host, looked at before the first packet: each defect is one sentence that says
// what is wrong and what to do.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libsplice/core/joiner.hpp"
#include "libsplice/ops/firewall_rules.hpp"

namespace splice {

// Where a service's backend is, and what listens there.
struct BackendFacts {
    Endpoint backend{};
    bool here = true;   // the address is this host's own
    std::string way{};  // else: the interface that leads there; empty: none
    bool listens = true;
    bool mptcp = false;      // the listener's protocol
    std::uint32_t mark = 0;  // the listener's SO_MARK
};

// IPv4's settings of an interface by which balancers send: its own, or those of all where they are stricter.
struct UplinkFacts {
    std::string name;
    int rp_filter = 0;
};

struct AdoptionFacts {
    bool has_kfunc = true;  // bpf_sk_assign_tcp_reqsk, Linux 6.9
    int tcp_syncookies = 1;
    int tcp_sack = 1;
    int tcp_timestamps = 1;
    int tcp_window_scaling = 1;
    int tcp_rfc1337 = 0;
    int conntrack_tcp_loose = 1;
    std::vector<UplinkFacts> uplinks;
    FirewallRules firewall;
    std::vector<BackendFacts> backends;
};

// Why a backend's connections cannot be adopted, where those of others can.
struct BackendObstacle {
    Endpoint backend;
    std::string why;
};

struct AdoptionFindings {
    std::vector<std::string> obstacles;     // adoption would not work, whatever the backend
    std::vector<BackendObstacle> backends;  // of these it would not; one may be named more than once
    std::vector<std::string> warnings;

    // The first of either; nothing: adoption works for every service.
    [[nodiscard]] std::optional<std::string> first_obstacle() const;
    // The first of those that are of no backend.
    [[nodiscard]] std::optional<std::string> of_host() const;
    // Why not this backend's.
    [[nodiscard]] std::optional<std::string> of_backend(const Endpoint& backend) const;
};

// Whether some service's backend does not listen on the VIP: then what it sends is edited on its way out, and
// net.ipv4.tcp_fwmark_accept must be 1.
[[nodiscard]] bool needs_egress(const JoinerSetup& setup) noexcept;

[[nodiscard]] AdoptionFacts read_adoption_facts(const JoinerSetup& setup,
                                                const std::vector<std::string>& uplinks);
// Without the firewall's rules and the kernel's functions: cheap.
[[nodiscard]] AdoptionFacts read_changing_facts(const JoinerSetup& setup,
                                                const std::vector<std::string>& uplinks);
// Each once.
[[nodiscard]] std::vector<Endpoint> backends_of(const JoinerSetup& setup);
[[nodiscard]] AdoptionFindings judge_adoption(const AdoptionFacts& facts, const JoinerSetup& setup);

}  // namespace splice
