#include "tools/hash/cache/big_array.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace splice::cache {
namespace {

// Below, whole huge pages would waste more memory than they save time.
constexpr std::size_t kLeastBytes = std::size_t{4} << 20;

}  // namespace

void advise_huge_pages(void* begin, std::size_t bytes) noexcept {
    if (bytes < kLeastBytes) return;
    static const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t before = reinterpret_cast<std::uintptr_t>(begin) % page;
    const std::size_t skipped = before == 0 ? 0 : page - before;
    // It is a wish: where the kernel refuses, the simulation is slower, not wrong.
    (void)::madvise(static_cast<char*>(begin) + skipped, bytes - skipped, MADV_HUGEPAGE);
}

}  // namespace splice::cache
