// What the API has changed: laid over what the configuration file says, and kept in a file of its own, so
// that a restart finds it. Where both speak of one thing the API's word goes before the file's, and notes say
// so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/config.hpp"

namespace splice {

// A service that only the API knows, or that stands in the place of the file's of that name.
struct AddedService {
    std::string uuid;
    std::string name;
    std::string text;  // one JSON object: the service as parse_service() reads it
};

struct AddedBridge {
    std::string uuid;
    std::string service;  // its name; the file's, too
    BridgeConfig bridge;
    std::uint16_t port = 0;  // where its cache listens, as somebody said; 0: nobody did
};

// Of a bridge of the file's.
struct ChangedBridge {
    std::string service;
    std::string bridge;
    std::optional<std::uint32_t> weight;
    std::optional<BridgeState> state;
};

struct LaidOver {
    BalancerConfig config;
    std::vector<std::string> notes;  // what of the file does not hold, as sentences
};

// A value. Edits do not look whether what they lead to is a valid configuration: over() does.
class Desired {
  public:
    // The text of a state file; errors are a sentence each.
    static Parsed<Desired> parse(std::string_view text);
    [[nodiscard]] std::string text() const;
    [[nodiscard]] bool empty() const noexcept;

    // Errors: what comes out is no configuration that could run.
    [[nodiscard]] Parsed<LaidOver> over(const BalancerConfig& file) const;

    // The UUID of a service or bridge of that name: for the file's it follows from the names alone, so it is
    // the same after a restart, and on every balancer of that file.
    [[nodiscard]] std::string uuid_of(std::string_view service) const;
    [[nodiscard]] std::string uuid_of(std::string_view service, std::string_view bridge) const;
    // Null: it is the file's, and as the file says.
    [[nodiscard]] const AddedService* added(std::string_view service) const noexcept;
    [[nodiscard]] const AddedBridge* added(std::string_view service, std::string_view bridge) const noexcept;
    [[nodiscard]] const ChangedBridge* changed(std::string_view service,
                                               std::string_view bridge) const noexcept;

    void add(AddedService service);
    void add(AddedBridge bridge);
    // `file` says whether there is one to be kept out.
    void remove(std::string_view service, const BalancerConfig& file);
    void remove(std::string_view service, std::string_view bridge, const BalancerConfig& file);
    // A bridge that over() has. Nothing: leave that as it is.
    void set_weight(std::string_view service, std::string_view bridge, std::uint32_t weight);
    void set_state(std::string_view service, std::string_view bridge, BridgeState state);
    // The file's word holds again; no change for bridges that the API has added.
    void unset_weight(std::string_view service, std::string_view bridge);
    void unset_state(std::string_view service, std::string_view bridge);

  private:
    struct BridgeName {
        std::string service;
        std::string bridge;
    };

    void lay_bridges(BalancerConfig& config, std::vector<std::string>& notes) const;
    void lay_changes(BalancerConfig& config, std::vector<std::string>& notes) const;
    AddedBridge* own(std::string_view service, std::string_view bridge) noexcept;
    ChangedBridge& change(std::string_view service, std::string_view bridge);
    void forget_empty_changes();

    std::vector<AddedService> services_;
    std::vector<AddedBridge> bridges_;
    std::vector<ChangedBridge> changes_;
    std::vector<std::string> removed_services_;
    std::vector<BridgeName> removed_bridges_;
};

// A UUID that nothing else has (RFC 9562 section 5.4).
[[nodiscard]] std::string new_uuid();

}  // namespace splice
