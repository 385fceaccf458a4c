#include "libsplice/engine/fcntl.hpp"  // first: see there

#include "tools/hash/byte_source.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>
#include <vector>

#include "libsplice/base/quoted.hpp"
#include "tools/hash/interrupt.hpp"
#include "tools/hash/limits.hpp"

namespace splice::hash {
namespace {

using ReadAnswer = std::expected<std::size_t, std::string>;

std::string system_text(int error) {
    return std::generic_category().message(error);
}

class PlainSource final : public ByteSource {
  public:
    PlainSource(std::string name, Descriptor file) : name_(std::move(name)), file_(std::move(file)) {}

    ReadAnswer read(std::span<char> into) override {
        if (!ahead_.empty()) {
            const std::size_t taken = std::min(ahead_.size(), into.size());
            std::memcpy(into.data(), ahead_.data(), taken);
            ahead_.erase(0, taken);
            return taken;
        }
        for (;;) {
            const ssize_t got = ::read(file_.get(), into.data(), into.size());
            if (got >= 0) {
                consumed_ += static_cast<std::uint64_t>(got);
                return static_cast<std::size_t>(got);
            }
            if (errno == EINTR && interrupted()) return 0;
            if (errno != EINTR) return std::unexpected(fmt::format("read {}: {}", name_, system_text(errno)));
        }
    }

    // The first bytes, which read() gives again.
    std::expected<std::string_view, std::string> look_ahead(std::size_t wanted) {
        std::vector<char> bytes(wanted);
        while (ahead_.size() < wanted) {
            std::string before = std::move(ahead_);
            ahead_.clear();
            const auto got = read(std::span(bytes).first(wanted - before.size()));
            ahead_ = std::move(before);
            if (!got) return std::unexpected(got.error());
            if (*got == 0) break;
            ahead_.append(bytes.data(), *got);
        }
        return std::string_view(ahead_);
    }

    [[nodiscard]] std::uint64_t consumed() const noexcept override { return consumed_; }
    [[nodiscard]] const std::string& name() const noexcept { return name_; }

  private:
    std::string name_;
    Descriptor file_;
    std::string ahead_;
    std::uint64_t consumed_ = 0;
};

// A source whose bytes come packed out of another one.
class PackedSource : public ByteSource {
  public:
    [[nodiscard]] std::uint64_t consumed() const noexcept override { return packed_->consumed(); }

  protected:
    explicit PackedSource(std::unique_ptr<PlainSource> packed)
        : packed_(std::move(packed)), buffer_(kReadBytes) {}

    [[nodiscard]] ReadAnswer refill() { return packed_->read(buffer_); }
    [[nodiscard]] char* buffer() noexcept { return buffer_.data(); }
    [[nodiscard]] std::unexpected<std::string> damaged(std::string_view what, std::string_view why) const {
        return std::unexpected(fmt::format("{}: {} data are damaged: {}", packed_->name(), what, why));
    }

  private:
    std::unique_ptr<PlainSource> packed_;
    std::vector<char> buffer_;
};

class GzipSource final : public PackedSource {
  public:
    explicit GzipSource(std::unique_ptr<PlainSource> packed) : PackedSource(std::move(packed)) {
        constexpr int kGzipHeader = 16;
        ready_ = inflateInit2(&stream_, MAX_WBITS + kGzipHeader) == Z_OK;
    }
    ~GzipSource() override { inflateEnd(&stream_); }

    ReadAnswer read(std::span<char> into) override {
        if (!ready_) return damaged("gzip", "zlib has no memory");
        stream_.next_out = reinterpret_cast<Bytef*>(into.data());
        stream_.avail_out = static_cast<uInt>(into.size());
        while (stream_.avail_out == into.size()) {
            if (stream_.avail_in == 0) {
                const auto got = refill();
                if (!got) return got;
                if (*got == 0) {
                    if (within_member_) return damaged("gzip", "they end in the middle");
                    return 0;
                }
                stream_.next_in = reinterpret_cast<Bytef*>(buffer());
                stream_.avail_in = static_cast<uInt>(*got);
            }
            // A file may be several members, one after the other (RFC 1952 section 2.2); rotated logs are.
            if (!within_member_) inflateReset(&stream_);
            within_member_ = true;
            const int answer = inflate(&stream_, Z_NO_FLUSH);
            if (answer == Z_STREAM_END)
                within_member_ = false;
            else if (answer != Z_OK && answer != Z_BUF_ERROR)
                return damaged("gzip", stream_.msg != nullptr ? stream_.msg : "zlib does not say why");
        }
        return into.size() - stream_.avail_out;
    }

  private:
    z_stream stream_{};
    bool ready_ = false;
    bool within_member_ = false;
};

class ZstdSource final : public PackedSource {
  public:
    explicit ZstdSource(std::unique_ptr<PlainSource> packed)
        : PackedSource(std::move(packed)), context_(ZSTD_createDCtx(), &ZSTD_freeDCtx) {}

    ReadAnswer read(std::span<char> into) override {
        if (!context_) return damaged("zstd", "libzstd has no memory");
        ZSTD_outBuffer out{into.data(), into.size(), 0};
        while (out.pos == 0) {
            if (in_.pos == in_.size) {
                const auto got = refill();
                if (!got) return got;
                if (*got == 0) {
                    if (within_frame_) return damaged("zstd", "they end in the middle");
                    return 0;
                }
                in_ = {buffer(), *got, 0};
            }
            const std::size_t answer = ZSTD_decompressStream(context_.get(), &out, &in_);
            if (ZSTD_isError(answer) != 0) return damaged("zstd", ZSTD_getErrorName(answer));
            within_frame_ = answer != 0;
        }
        return out.pos;
    }

  private:
    std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context_;
    ZSTD_inBuffer in_{nullptr, 0, 0};
    bool within_frame_ = false;
};

// RFC 1952 section 2.3.1, RFC 8878 section 3.1.1.
constexpr std::string_view kGzipMagic = "\x1f\x8b\x08";
constexpr std::string_view kZstdMagic = "\x28\xb5\x2f\xfd";

}  // namespace

std::expected<std::unique_ptr<ByteSource>, std::string> ByteSource::open(const std::string& path) {
    const bool is_stdin = path == kStandardInput;
    const std::string name = is_stdin ? "standard input" : path;
    Descriptor file(is_stdin ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return std::unexpected(fmt::format("open {}: {}", name, system_text(errno)));
    auto plain = std::make_unique<PlainSource>(name, std::move(file));
    const auto first = plain->look_ahead(kZstdMagic.size());
    if (!first) return std::unexpected(first.error());
    if (first->starts_with(kGzipMagic)) return std::make_unique<GzipSource>(std::move(plain));
    if (*first == kZstdMagic) return std::make_unique<ZstdSource>(std::move(plain));
    return plain;
}

std::expected<std::uint64_t, std::string> size_of_log(const std::string& path) {
    if (path == kStandardInput) return 0;
    struct stat status{};
    const auto unreadable = [&](std::string_view why) {
        return std::unexpected(fmt::format("{}: {} (expected a log; a URL is given as --url {})",
                                           quoted(path), why, on_one_line(path)));
    };
    if (::stat(path.c_str(), &status) != 0) return unreadable(system_text(errno));
    if (S_ISDIR(status.st_mode)) return unreadable("is a directory");
    if (::access(path.c_str(), R_OK) != 0) return unreadable(system_text(errno));
    return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace splice::hash
