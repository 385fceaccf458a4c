// A bridge host for tests: a network namespace with one Ethernet link, the bridge's programs on its near end,
// and the frames that go in and come out at its far end. Sockets of the test's own process are the backend.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/tc_filter.hpp"
#include "libsplice/engine/tcx_link.hpp"
#include "packetbridge/bridge_programs.hpp"
#include "tests/support/lib/machines.hpp"

namespace splice::testing {

inline constexpr std::size_t kEthernet = 14;

// Moves the process into a new network namespace. False: no privilege.
bool enter_network_namespace();

// The frame that carries `packet` from the far end to the near one.
[[nodiscard]] PacketBytes frame_of(Bytes packet);

class BridgeHost {
  public:
    // The programs of `mode` on the link, with the addresses of the family's topology. Namespace and link are
    // new for each: an earlier host's sockets linger, repeat themselves and would be counted with this one's.
    BridgeHost(Mode mode, int family, const JoinerSetup& setup,
               const splice_mark_field& marks = kDefaultMarks);
    ~BridgeHost();
    BridgeHost(const BridgeHost&) = delete;
    BridgeHost& operator=(const BridgeHost&) = delete;

    // Hosts from now on have their programs by TCX, or by clsact (the default).
    static void hang_by_tcx(bool yes) noexcept;
    [[nodiscard]] static bool hangs_by_tcx() noexcept;

    // The index of the link's near end, where the programs are.
    [[nodiscard]] int interface() const noexcept;

    // A packet arrives.
    void inject(const Segment& segment);
    // The next TCP frame that leaves within half a second; its bytes from the Ethernet header on.
    std::optional<PacketBytes> next_frame();
    // Its packet; fails the test when there is none.
    testing::Parsed next();
    // That nothing leaves within 50 ms.
    bool is_silent();

    // One run of a program on a frame, attached or not; the frame is edited. The program's answer.
    static int run(int program, PacketBytes& frame);

    [[nodiscard]] std::uint64_t count(Verdict verdict) const {
        return programs_->counters().common.verdicts[verdict];
    }
    // By the programs of all hosts that are gone.
    [[nodiscard]] static const std::set<Verdict>& verdicts_given() noexcept;
    [[nodiscard]] std::uint64_t asked() const { return programs_->counters().common.asked; }
    [[nodiscard]] const BridgePrograms& programs() const { return *programs_; }
    [[nodiscard]] BridgePrograms& programs() { return *programs_; }

  private:
    std::optional<PacketBytes> receive(std::chrono::milliseconds wait);

    std::optional<BridgePrograms> programs_;
    using Attached = std::variant<std::monostate, TcFilter, TcxLink>;
    static Attached attach(TcSide side, int program);
    Attached ingress_, egress_;
    Descriptor far_end_;
};

// A backend's socket; the address is this host's own.
class Listener {
  public:
    struct Options {
        int backlog = 16;
        bool reuse_port = false;
        int mark = 0;
    };
    Listener(const Endpoint& local, const Options& options);
    explicit Listener(const Endpoint& local) : Listener(local, Options{}) {}
    // A connection that is there within half a second.
    std::optional<Descriptor> accept();
    // Whether one is there now.
    [[nodiscard]] bool has_connection() const;

  private:
    Descriptor socket_;
};

// What a connected socket has received within half a second; "<reset>" when it was reset.
std::string receive_text(const Descriptor& socket);
void send_text(const Descriptor& socket, const std::string& text);

}  // namespace splice::testing
