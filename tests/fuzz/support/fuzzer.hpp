// What every fuzzer stands on: its entry, its input, and how it says that a promise was broken.
//
// FUZZER(name)(Bytes input) { ... } is libFuzzer's entry in a build with SPLICELB_FUZZ, one program a fuzzer;
// in every other build it registers itself with the one test program that runs all seeds
// (support/seeds_test.cpp).
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "libsplice/base/bytes.hpp"

namespace splice::fuzz {

using Run = void (*)(Bytes input);

// By name; what the test program runs.
inline std::map<std::string, Run>& registered() {
    static std::map<std::string, Run> fuzzers;
    return fuzzers;
}
struct Registration {
    Registration(const char* name, Run run) { registered().emplace(name, run); }
};

// libFuzzer keeps the input of an abort, and says which it was.
[[noreturn]] inline void broken(const char* file, int line, const std::string& what) {
    fmt::print(stderr, "{}:{}: broken promise: {}\n", file, line, what);
    std::abort();
}

// Numbers and bytes out of an input's beginning. What it lacks is zero, so that every input means something.
class Input {
  public:
    explicit Input(Bytes bytes) noexcept : bytes_(bytes) {}

    std::uint8_t number8() noexcept {
        const Bytes taken = take(1);
        return taken.empty() ? std::uint8_t{0} : std::to_integer<std::uint8_t>(taken[0]);
    }
    std::uint16_t number16() noexcept {
        const unsigned high = number8();
        return static_cast<std::uint16_t>(high << 8 | number8());
    }
    std::uint32_t number32() noexcept {
        const std::uint32_t high = number16();
        return high << 16 | number16();
    }
    Bytes take(std::size_t size) noexcept {
        const Bytes taken = bytes_.first(std::min(size, bytes_.size()));
        bytes_ = bytes_.subspan(taken.size());
        return taken;
    }
    [[nodiscard]] Bytes rest() const noexcept { return bytes_; }

  private:
    Bytes bytes_;
};

// Bytes on a heap block of exactly their size, so that AddressSanitizer sees a read behind them. (A vector of
// the standard library may have room behind its end.)
class ExactCopy {
  public:
    explicit ExactCopy(Bytes bytes) : size_(bytes.size()), bytes_(new std::byte[bytes.size()]) {
        std::ranges::copy(bytes, bytes_.get());
    }
    [[nodiscard]] Bytes bytes() const noexcept { return {bytes_.get(), size_}; }
    [[nodiscard]] MutableBytes mutable_bytes() noexcept { return {bytes_.get(), size_}; }
    [[nodiscard]] std::byte* data() noexcept { return bytes_.get(); }
    [[nodiscard]] std::byte* end() noexcept { return bytes_.get() + size_; }

  private:
    std::size_t size_;
    std::unique_ptr<std::byte[]> bytes_;
};

// For messages: bytes outside of ASCII, controls, quotes and backslashes as \xNN.
inline std::string printable(std::string_view text) {
    std::string line = "\"";
    for (const char c : text) {
        const bool plain = c >= ' ' && c < 0x7f && c != '"' && c != '\\';
        line += plain ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    return line + "\"";
}

}  // namespace splice::fuzz

// A promise: the message says what was seen instead.
#define FUZZ_REQUIRE(condition, ...)                                                                \
    do {                                                                                            \
        if (!(condition))                                                                           \
            ::splice::fuzz::broken(__FILE__, __LINE__, #condition ": " + fmt::format(__VA_ARGS__)); \
    } while (false)

#ifdef SPLICELB_LIBFUZZER
#define FUZZER(name)                                                                    \
    static void fuzz_##name(splice::Bytes input);                                       \
    extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);  \
    extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
        fuzz_##name(std::as_bytes(std::span(data, size)));                              \
        return 0;                                                                       \
    }                                                                                   \
    static void fuzz_##name
#else
#define FUZZER(name)                                                                    \
    static void fuzz_##name(splice::Bytes input);                                       \
    static const splice::fuzz::Registration registration_of_##name(#name, fuzz_##name); \
    static void fuzz_##name
#endif
