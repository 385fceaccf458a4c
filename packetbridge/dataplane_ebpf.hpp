// The ebpf engine: kernel programs on both sides of the interface carry packets; user space gets a copy of
// what they do not decide.
#pragma once

#include <memory>
#include <string>

#include "packetbridge/config.hpp"
#include "packetbridge/dataplane.hpp"

namespace splice {

// How the engine is asked for.
struct EbpfBridgeSettings {
    Mode mode = Mode::translate;       // never automatic
    std::vector<std::string> uplinks;  // at least one: what balancers send comes in by any of them
    std::string pin_folder;            // on a bpffs: pins of an earlier process are taken over
    bool keep = false;                 // the data path outlives the process
    splice_mark_field marks = kDefaultMarks;
    TcAttach tc = TcAttach::automatic;
};

// Whether the kernel loads the programs of that mode: an error says why not.
SystemResult<void> try_bridge_programs(Mode mode);

std::unique_ptr<BridgeDataPlane> make_ebpf_bridge(const EbpfBridgeSettings& settings,
                                                  std::shared_ptr<const JoinerSetup> setup);

}  // namespace splice
