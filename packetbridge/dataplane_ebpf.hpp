// The ebpf engine: kernel programs on both sides of the interface carry packets; user space gets a copy of
// what they do not decide.
#pragma once

#include <memory>
#include <string>

#include "packetbridge/config.hpp"
#include "packetbridge/dataplane.hpp"

namespace splice {

class EbpfBridge;

// How the engine is asked for.
struct EbpfBridgeSettings {
    Mode mode = Mode::translate;  // never automatic
    bool by_service = false;      // mode adopt: but those services translate whose backends cannot be adopted
    std::vector<std::string> uplinks;  // at least one: what balancers send comes in by any of them
    std::string pin_folder;            // on a bpffs: pins of an earlier process are taken over
    bool keep = false;                 // the data path outlives the process
    splice_mark_field marks = kDefaultMarks;
    TcAttach tc = TcAttach::automatic;
    // Where two stand side by side, one translates and does not hang on the interfaces: the other adopts, and
    // hands it what is of no service of its own. Null: there is one.
    bool hangs = true;
    const EbpfBridge* beside = nullptr;
    ConnectionLog* connection_log = nullptr;  // it outlives the bridge
};

// The programs of one mode, with their machine.
class EbpfBridge : public BridgeDataPlane {
  public:
    // Adopting: as settings.beside, from now on.
    virtual SystemResult<void> set_beside(const EbpfBridge& translating) = 0;
    // The programs, while this lives.
    [[nodiscard]] virtual int ingress() const = 0;
    [[nodiscard]] virtual int egress() const = 0;
};

// Whether the kernel loads the programs of that mode: an error says why not.
SystemResult<void> try_bridge_programs(Mode mode);

std::unique_ptr<EbpfBridge> make_ebpf_bridge(const EbpfBridgeSettings& settings,
                                             std::shared_ptr<const JoinerSetup> setup);

}  // namespace splice
