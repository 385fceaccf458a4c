// What carries the packets: an engine behind one small interface, so that each engine is a pair of files
// beside the others (dataplane_nfqueue.*).
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "libsplice/core/joiner.hpp"
#include "libsplice/engine/host_fact.hpp"
#include "libsplice/ops/data_plane_statistics.hpp"
#include "packetbridge/config.hpp"

namespace splice {

struct BridgeStatistics : DataPlaneStatistics {
    std::uint64_t flows_opening = 0;
    std::uint64_t held_bytes = 0;
    // Of both together.
    void add(const BridgeStatistics& other) noexcept;
    using DataPlaneStatistics::add;
};

// A service's connections that are open now. Two services that adopt by one backend have the same sockets:
// each is told all of them.
struct ServiceConnections {
    Endpoint vip;
    Endpoint backend;
    std::uint64_t open = 0;
    bool shared = false;  // counted with an earlier service of that backend, too
};

// Carries packets from start() on; destruction detaches and gives the host back as it was.
class BridgeDataPlane {
  public:
    virtual ~BridgeDataPlane() = default;
    virtual SystemResult<void> start() = 0;
    // Takes the new setup as a whole, or leaves the old one as it is and says why; flows of services that
    // are gone end when nothing can fail any more.
    virtual SystemResult<void> replace_setup(std::shared_ptr<const JoinerSetup> setup) = 0;
    // The start has succeeded. One that took over an earlier process's programs and is given up before leaves
    // them where they are.
    virtual void settle() {}
    // Whether packets are handled after destruction, too.
    [[nodiscard]] virtual bool goes_on() const { return false; }
    // From here on as with `keep`: what can go on without the process does.
    virtual void hand_over() {}
    // The bridge stops for good: ends the connections that live by its translation, each at both its ends.
    // Their number; adopted ones are the kernel's and live on.
    virtual std::size_t end_flows() = 0;
    // What the data path needs of the host, after start(). The facts refer to this.
    [[nodiscard]] virtual HostFactList facts() = 0;
    // Any thread.
    [[nodiscard]] virtual BridgeStatistics statistics() const = 0;
    // Of each service. Looks at every connection. Any thread but the packets', for which it may wait.
    [[nodiscard]] virtual std::vector<ServiceConnections> connections() = 0;
    // Backends whose services translate while others adopt. Any thread.
    [[nodiscard]] virtual std::vector<Endpoint> translated_beside() const { return {}; }
};

// What stands against the ebpf engine in each mode here; nothing: it works.
struct BridgeObstacles {
    std::optional<std::string> adopt;  // for any service
    std::optional<std::string> translate;
    std::optional<std::string> adopt_some{};  // for some services
};
// Where the ebpf engine has its pins; and where the programs that adopt have theirs when each service has a
// mode of its own.
[[nodiscard]] std::string pin_folder_of(const CommonConfig& config);
[[nodiscard]] std::string beside_folder_of(const std::string& pin_folder);

// Asks the kernel and the host; `tell` decides whether what is only a warning goes to the log.
enum class Tell : std::uint8_t { warnings, nothing };
BridgeObstacles find_bridge_obstacles(const PacketbridgeConfig& config, Tell tell = Tell::warnings);

// Counts translated connections by service.
class TranslatedCount {
  public:
    explicit TranslatedCount(const JoinerSetup& setup);
    void add(const splice_bridge_flow& flow) noexcept;
    [[nodiscard]] std::vector<ServiceConnections> take() && { return std::move(counts_); }

  private:
    std::vector<ServiceConnections> counts_;
    std::vector<std::uint16_t> numbers_;  // of the services, in the same order
};

// Engine, mode and why.
struct BridgeEngineDecision {
    std::string_view name;
    std::string reason;
    Mode mode = Mode::translate;  // never automatic
    bool by_service = false;      // mode adopt: but what cannot be adopted translates
};

// The best that works of what is asked for. Errors: what was asked for by name does not work here.
std::expected<BridgeEngineDecision, std::string> choose_bridge_engine(EngineChoice engine, Mode mode,
                                                                      const BridgeObstacles& obstacles);

// `connection_log` outlives the data plane.
std::unique_ptr<BridgeDataPlane> make_bridge_dataplane(const BridgeEngineDecision& decision,
                                                       const PacketbridgeConfig& config,
                                                       std::shared_ptr<const JoinerSetup> setup,
                                                       ConnectionLog& connection_log);

}  // namespace splice
