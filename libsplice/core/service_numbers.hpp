// Which number a service has in tables, maps and flow entries: its own, whatever marks its packets. A name
// keeps its number over any number of reloads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace splice {

// A value: a reload works on a copy and keeps it when all else has succeeded.
class ServiceNumbers {
  public:
    ServiceNumbers() = default;
    // Those that an earlier process gave and flows in the kernel still bear: names by number, from number 0
    // on; an empty name is a gap.
    explicit ServiceNumbers(std::vector<std::string> names);

    // The numbers of the names, in their order: 1 to SPLICE_SERVICE_NUMBERS - 1. At most SPLICE_MAX_SERVICES
    // names, each once. A name that is no longer asked for keeps its number until all others are given out;
    // then the one that rests longest gives its number up.
    std::vector<std::uint16_t> assign(std::span<const std::string> names);

    // By number, from number 0 on, which nobody has; those that are no longer asked for too.
    [[nodiscard]] std::vector<std::string> names() const;

  private:
    struct Slot {
        std::string name;
        std::uint64_t asked = 0;  // the last assign() that named it
    };

    std::uint16_t take(const std::string& name);

    std::vector<Slot> slots_ = std::vector<Slot>(1);
    std::uint64_t assigned_ = 0;
};

}  // namespace splice
