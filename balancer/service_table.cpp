#include "balancer/service_table.hpp"

#include <algorithm>
#include <random>

namespace splice {
namespace {

class Writer {
  public:
    explicit Writer(splice_service_table& table) noexcept : table_(table) { table_ = {}; }

    // What is there already stays.
    void add(const IpAddress& vip, std::uint16_t port, const splice_service_entry& entry) noexcept {
        const splice_service_key key{vip.raw(), splice_htons(port), {}};
        for (std::uint32_t number = 1; number <= count_; ++number)
            if (is_same(table_.keys[number], key)) return;
        ++count_;
        table_.keys[count_] = key;
        table_.entries[count_] = entry;
    }

    // Of the multipliers that are tried one in some forty gives each key of a full table a slot of its own.
    void choose_multipliers() noexcept {
        std::mt19937_64 random;
        do {
            for (__u64& multiplier : table_.multipliers) multiplier = random() | 1;
        } while (!assign_slots());
    }

  private:
    static bool is_same(const splice_service_key& one, const splice_service_key& other) noexcept {
        return one.port == other.port && splice_address_equal(&one.vip, &other.vip);
    }

    bool assign_slots() noexcept {
        std::ranges::fill(table_.slots, __u8{0});
        for (std::uint32_t number = 1; number <= count_; ++number) {
            const splice_service_key& key = table_.keys[number];
            __u8& slot = table_.slots[splice_service_slot(&table_, &key.vip, key.port)];
            if (slot != 0) return false;
            slot = static_cast<__u8>(number);
        }
        return true;
    }

    splice_service_table& table_;
    std::uint32_t count_ = 0;
};

}  // namespace

void write_service_table(std::span<const ServiceTableRow> rows, splice_service_table& table) noexcept {
    Writer writer(table);
    for (const ServiceTableRow& row : rows) {
        writer.add(row.vip.address, row.vip.port, row.entry);
        writer.add(row.vip.address, 0, {});
    }
    writer.choose_multipliers();
}

}  // namespace splice
