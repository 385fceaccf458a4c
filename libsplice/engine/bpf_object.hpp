// A set of kernel programs and their maps (libbpf): loaded from the bytes of an object file that the
// executable carries, gone with the last reference: this object, a pin, an attachment.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"

struct bpf_object;

namespace splice {

class BpfObject {
  public:
    // `name`: for messages and the kernel's lists. `bytes` need not outlive the call.
    static SystemResult<BpfObject> open(const std::string& name, std::span<const std::byte> bytes);

    // Before load(). The map must be one of the object's: anything else is a programmer's error.
    void set_capacity(const char* map, std::uint32_t entries);
    // Before load(): the program's constants in the section `map` (.rodata.NAME), of which `bytes` are all.
    void set_constants(const char* map, std::span<const std::byte> bytes);
    // The map of this descriptor in place of a new one; errors: its key, value or capacity are not the
    // object's.
    SystemResult<void> reuse_map(const char* map, int descriptor);

    // Creates the maps and has the kernel verify the programs. The error has the verifier's last lines.
    SystemResult<void> load();

    // After load(); live as long as the object.
    [[nodiscard]] int map(const char* name) const;
    [[nodiscard]] int program(const char* name) const;

  private:
    struct Close {
        void operator()(bpf_object* object) const noexcept;
    };
    explicit BpfObject(std::string name) noexcept : name_(std::move(name)) {}

    std::string name_;
    std::unique_ptr<std::vector<char>>
        log_;  // the verifier's, until load() is over; libbpf knows its address
    std::unique_ptr<bpf_object, Close> object_;
};

// The memory of an array map that was made for it (global data is), shared with the kernel's programs.
class MappedBpfArray {
  public:
    MappedBpfArray() = default;
    static SystemResult<MappedBpfArray> map(int descriptor, std::size_t bytes);
    MappedBpfArray(MappedBpfArray&& other) noexcept
        : address_(std::exchange(other.address_, nullptr)), bytes_(other.bytes_) {}
    MappedBpfArray& operator=(MappedBpfArray&& other) noexcept {
        std::swap(address_, other.address_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~MappedBpfArray();

    [[nodiscard]] void* data() const noexcept { return address_; }

  private:
    void* address_ = nullptr;
    std::size_t bytes_ = 0;
};

// The id of a loaded program; 0: the descriptor is none.
[[nodiscard]] std::uint32_t program_id(int program) noexcept;

}  // namespace splice
