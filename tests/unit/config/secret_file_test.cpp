#include "libsplice/config/secret_file.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

using namespace splice;

namespace {

const std::string kKey = "000102030405060708090a0b0c0d0e0f";

std::string error_of(const std::string& text) {
    const auto secret = parse_secret(text, "secret");
    REQUIRE_FALSE(secret.has_value());
    return secret.error();
}

class SecretFile {
  public:
    explicit SecretFile(const std::string& text) {
        const int number = mkstemp(path_.data());
        REQUIRE(number >= 0);
        close(number);
        std::ofstream(path_) << text;
    }
    ~SecretFile() { unlink(path_.c_str()); }
    SecretFile(const SecretFile&) = delete;
    SecretFile& operator=(const SecretFile&) = delete;

    auto read(mode_t mode) const {
        REQUIRE(chmod(path_.c_str(), mode) == 0);
        return read_secret_file(path_);
    }

  private:
    std::string path_ = "/tmp/splicelb-secret-XXXXXX";
};

}  // namespace

TEST_CASE("a key's bytes are two little-endian words, as SipHash's authors read them") {
    const auto secret = parse_secret(kKey + "\n", "secret");
    REQUIRE(secret.has_value());
    CHECK(secret->count == 1);
    CHECK(secret->keys[0].k0 == 0x0706050403020100);
    CHECK(secret->keys[0].k1 == 0x0f0e0d0c0b0a0908);
}

TEST_CASE("two keys, comments, blank lines, capitals, CR and a missing last newline are taken") {
    const auto secret =
        parse_secret("# issues\n\n" + kKey + "\r\n  \n# verifies too\nFFFFFFFFFFFFFFFF0000000000000000", "s");
    REQUIRE(secret.has_value());
    CHECK(secret->count == 2);
    CHECK(secret->keys[1].k0 == 0xffffffffffffffff);
    CHECK(secret->keys[1].k1 == 0);
}

TEST_CASE("the lane line has a key of its own; without it the first key serves") {
    const std::string other = "0f0e0d0c0b0a09080706050403020100";
    const auto derived = parse_secret(kKey + "\n", "secret");
    const auto given = parse_secret("lane " + other + "\n" + kKey + "\n", "secret");
    const auto same = parse_secret(kKey + "\nlane " + kKey + "\n", "secret");
    REQUIRE((derived && given && same));
    CHECK(derived->lane_is_derived == 1);
    CHECK(given->lane_is_derived == 0);
    CHECK(given->count == 1);
    CHECK(given->keys[0].k0 == derived->keys[0].k0);
    CHECK(given->lane.words[0] != derived->lane.words[0]);
    CHECK(same->lane.words[9] == derived->lane.words[9]);
    CHECK(error_of(kKey + "\nlane 00ff\n").starts_with("secret:2:10: 4 characters; a key is 32 hex digits"));
    CHECK(error_of("lane " + kKey + "\n" + kKey + "\nlane " + kKey + "\n") ==
          "secret:3:1: a second lane line; expected at most one");
    CHECK(error_of("lane " + kKey + "\n").starts_with("secret holds no key"));
}

TEST_CASE("a wrong digit is named by line and column, and never shown") {
    CHECK(error_of("# x\n00010203040506070809xa0b0c0d0e0f\n") ==
          "secret:2:21: not a hex digit; a key is 32 of them");
    CHECK(error_of(" " + kKey).starts_with("secret:1:1: "));
}

TEST_CASE("a key of another length is named by line and column") {
    CHECK(error_of("00ff\n").starts_with("secret:1:5: 4 characters"));
    CHECK(error_of(kKey + "00\n").starts_with("secret:1:33: 34 characters"));
}

TEST_CASE("no key says how to make one; a third is refused where it stands") {
    CHECK(error_of("# nothing\n").find("openssl rand -hex 16") != std::string::npos);
    CHECK(error_of(kKey + "\n" + kKey + "\n\n" + kKey + "\n").starts_with("secret:4:1: a third key"));
}

TEST_CASE("a file that others may use, or the group may write, is refused with the command that helps") {
    const SecretFile file(kKey);
    CHECK(file.read(0600).has_value());
    CHECK(file.read(0640).has_value());
    for (const mode_t mode : {0644U, 0604U, 0602U, 0601U, 0660U, 0620U}) {
        CAPTURE(mode);
        const auto secret = file.read(mode);
        REQUIRE_FALSE(secret.has_value());
        CHECK(secret.error().find("chmod 600") != std::string::npos);
    }
}

TEST_CASE("a missing file and a directory are refused in words") {
    const auto missing = read_secret_file("/nonexistent/secret");
    REQUIRE_FALSE(missing.has_value());
    CHECK(missing.error().find("No such file") != std::string::npos);
    CHECK(missing.error().find("openssl rand -hex 16") != std::string::npos);
    CHECK_FALSE(read_secret_file("/tmp").has_value());
}

TEST_CASE("a file without an end is not read to its end") {
    const SecretFile file(std::string(100'000, '#'));
    CHECK_FALSE(file.read(0600).has_value());
}

TEST_CASE("a key of zeros is refused, in the first line or the second") {
    const std::string zeros(32, '0');
    CHECK(error_of(zeros).starts_with("secret:1:1: a key of zeros"));
    CHECK(error_of(kKey + "\n" + zeros).starts_with("secret:2:1: a key of zeros"));
}

TEST_CASE("the key that the lab's file has is refused for an address outside the lab") {
    std::ifstream file(SPLICELB_SOURCE_DIR "/provision/lab-secret");
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const auto lab = parse_secret(text, "lab-secret");
    REQUIRE(lab.has_value());
    const auto rotated = parse_secret(kKey + "\n" + text, "both");
    REQUIRE(rotated.has_value());
    const IpAddress inside = IpAddress::parse("192.168.33.10").value();
    const IpAddress outside = IpAddress::parse("192.0.2.10").value();
    CHECK(check_lab_key(*lab, "s", {inside}).has_value());
    for (const splice_secret& secret : {*lab, *rotated}) {
        const auto refused = check_lab_key(secret, "s", {inside, outside});
        REQUIRE_FALSE(refused.has_value());
        CHECK(refused.error().find("192.0.2.10") != std::string::npos);
        CHECK(refused.error().find("openssl rand -hex 16") != std::string::npos);
    }
    CHECK(check_lab_key(parse_secret(kKey, "s").value(), "s", {outside}).has_value());
}

TEST_CASE("a file in a folder that others may write, and a stranger's file, are refused") {
    std::string folder = "/tmp/splicelb-secret-folder-XXXXXX";
    REQUIRE(mkdtemp(folder.data()) != nullptr);
    const std::string path = folder + "/secret";
    std::ofstream(path) << kKey;
    REQUIRE(chmod(path.c_str(), 0600) == 0);
    CHECK(read_secret_file(path).has_value());
    REQUIRE(chmod(folder.c_str(), 0777) == 0);
    const auto exchanged = read_secret_file(path);
    REQUIRE(chmod(folder.c_str(), 0700) == 0);
    if (geteuid() == 0) {
        REQUIRE(chown(path.c_str(), 65'534, 65'534) == 0);
        const auto strange = read_secret_file(path);
        CHECK_FALSE(strange.has_value());
        if (!strange) CHECK(strange.error().find("belongs to user 65534") != std::string::npos);
    }
    unlink(path.c_str());
    rmdir(folder.c_str());
    REQUIRE_FALSE(exchanged.has_value());
    CHECK(exchanged.error().find("chmod go-w " + folder) != std::string::npos);
}
