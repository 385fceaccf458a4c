#include "libsplice/core/tls_hello.hpp"

#include <doctest/doctest.h>

#include "tests/unit/core/key_answer.hpp"

using namespace splice;
using splice::test::ExactCopy;
using splice::test::to_text;

namespace {

std::string sni(std::string_view stream) {
    const ExactCopy copy(stream);
    std::string scratch = "left over from the last call";
    return to_text(tls_sni(copy.bytes(), scratch));
}

std::string number(std::size_t value, int bytes) {
    std::string text;
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
        text += static_cast<char>(value >> shift & 0xff);
    return text;
}

// Bytes behind their own length.
std::string sized(int length_bytes, const std::string& text) {
    return number(text.size(), length_bytes) + text;
}

std::string extension(std::size_t type, const std::string& body) {
    return number(type, 2) + sized(2, body);
}
std::string name_entry(const std::string& name, std::size_t type = 0) {
    return number(type, 1) + sized(2, name);
}
std::string server_name(const std::string& entries) {
    return extension(0, sized(2, entries));
}
std::string named(const std::string& name) {
    return server_name(name_entry(name));
}

// The message's body up to the extensions.
std::string hello_start(const std::string& session_id = std::string(32, 's')) {
    return std::string("\x03\x03") + std::string(32, 'r') + sized(1, session_id) +
           sized(2, std::string("\x1a\x1a\x13\x01", 4)) + sized(1, std::string(1, '\0'));
}

std::string message(const std::string& body, char type = 1) {
    return type + sized(3, body);
}
std::string record(const std::string& fragment, char type = 22) {
    return type + std::string("\x03\x01") + sized(2, fragment);
}
std::string hello(const std::string& extensions) {
    return message(hello_start() + sized(2, extensions));
}

std::string record_of(const std::string& extensions) {
    return record(hello(extensions));
}

const std::string kGrease = extension(0x2a2a, "") + extension(0xdada, std::string(1, '\0'));
const std::string kKeyShare =
    extension(0x0033, std::string(1216 + 32 + 12, 'k'));  // X25519MLKEM768 and X25519
const std::string kPadding = extension(0x0015, std::string(200, '\0'));

// Every prefix needs more, the whole gives the answer, and so does the whole with something behind it.
void check_complete(const std::string& stream, std::string_view answer) {
    for (std::size_t size = 0; size < stream.size(); ++size) {
        CAPTURE(size);
        CHECK(sni(std::string_view(stream).substr(0, size)) == "need_more");
    }
    CHECK(sni(stream) == answer);
    CHECK(sni(stream + "\x17\x03\x03") == answer);
}

// Refused as soon as `until` bytes are there.
void check_refused_at(const std::string& stream, std::string_view answer, std::size_t until) {
    for (std::size_t size = 0; size <= stream.size(); ++size) {
        CAPTURE(size);
        CHECK(sni(std::string_view(stream).substr(0, size)) == (size < until ? "need_more" : answer));
    }
}

// The message cut into records of `size` bytes.
std::string in_records(const std::string& whole, std::size_t size) {
    std::string stream;
    for (std::size_t at = 0; at < whole.size(); at += size) stream += record(whole.substr(at, size));
    return stream;
}

std::string from_hex(std::string_view hex) {
    std::string bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
        bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
    }
    return bytes;
}

// openssl s_client -servername WWW.Example.com
constexpr std::string_view kOpenSslWithName =
    "160301013c010001380303245daf54e15022a96960ecdca03163ed3d0232b669c68d9923375787560de04120c7d4586b"
    "3156b066fb01a523d943d99bbb67c6ffe1c0d1aac7e40ff7985543e3003e130213031301c02cc030009fcca9cca8ccaa"
    "c02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f00ff010000b1"
    "00000014001200000f5757572e4578616d706c652e636f6d000b000403000102000a00160014001d0017001e00190018"
    "01000101010201030104002300000016000000170000000d002a0028040305030603080708080809080a080b08040805"
    "0806040105010601030303010302040205020602002b0009080304030303020301002d00020101003300260024001d00"
    "207e6755937a61ae5f70cca707d67af7227f97284351d16dbc23aab3a445945e60";

// openssl s_client -noservername -tls1_2
constexpr std::string_view kOpenSslWithoutName =
    "16030100b7010000b30303f8d9ac9af1c247348dd69058e1d310bfea9e7410601c648bec0b191282ae0e93000038c02c"
    "c030009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c"
    "0035002f00ff01000052000b000403000102000a000c000a001d0017001e00190018002300000016000000170000000d"
    "002a0028040305030603080708080809080a080b080408050806040105010601030303010302040205020602";

}  // namespace

TEST_CASE("the name of a hello is lower-cased and without a trailing dot") {
    check_complete(record_of(named("example.com")), "key:example.com");
    CHECK(sni(record_of(named("WWW.Example.COM."))) == "key:www.example.com");
    CHECK(sni(record_of(named("xn--bcher-kva.example"))) == "key:xn--bcher-kva.example");
    CHECK(sni(record_of(named("192.0.2.1"))) == "key:192.0.2.1");
}

TEST_CASE("the name is found wherever the extension stands") {
    const auto name = named("a.example");
    check_complete(record_of(name + kGrease + kPadding), "key:a.example");
    check_complete(record_of(kGrease + name + kPadding), "key:a.example");
    check_complete(record_of(kGrease + kPadding + name), "key:a.example");
}

TEST_CASE("the hellos of OpenSSL 3.0") {
    check_complete(from_hex(kOpenSslWithName), "key:www.example.com");
    check_complete(from_hex(kOpenSslWithoutName), "no_sni");
}

TEST_CASE("a post-quantum hello of two segments and more") {
    check_complete(record_of(kGrease + kKeyShare + named("a.example") + kPadding), "key:a.example");
}

TEST_CASE("a hello of 16 KiB in one record and in several") {
    const auto large = hello(kKeyShare + extension(0x0029, std::string(14800, 't')) + named("a.example"));
    CHECK(large.size() > 16000);
    CHECK(large.size() < 16384);
    CHECK(sni(record(large)) == "key:a.example");
    CHECK(sni(in_records(large, 4096)) == "key:a.example");
    CHECK(sni(record(large).substr(0, large.size() + 4)) == "need_more");
}

TEST_CASE("the message may be cut into records anywhere") {
    const auto whole = hello(kGrease + named("A.example") + kPadding);
    for (std::size_t first = 1; first < whole.size(); ++first) {
        CAPTURE(first);
        CHECK(sni(record(whole.substr(0, first)) + record(whole.substr(first))) == "key:a.example");
    }
    for (const std::size_t size : {1, 2, 3, 5, 64, 100}) {
        CAPTURE(size);
        check_complete(in_records(whole, size), "key:a.example");
    }
}

TEST_CASE("with Encrypted ClientHello the outer name counts") {
    const auto inner = extension(0xfe0d, std::string("\0\0\1\0\1\x2a", 6) + sized(2, std::string(32, 'e')) +
                                             sized(2, named("inner.example") + std::string(200, 'p')));
    check_complete(record_of(inner + named("public.example") + kGrease), "key:public.example");
}

TEST_CASE("a hello without a name says so when it is complete") {
    check_complete(record_of(kGrease + kPadding), "no_sni");
    check_complete(record_of(""), "no_sni");
    check_complete(record(message(hello_start())), "no_sni");    // no extensions at all
    check_complete(record(message(hello_start(""))), "no_sni");  // no session to resume either
}

TEST_CASE("a list of names may hold other types, of which nothing is known, but one host only") {
    CHECK(sni(record_of(server_name(name_entry("what", 7) + name_entry("a.example")))) == "key:a.example");
    CHECK(sni(record_of(server_name(name_entry("a.example") + name_entry("what", 7)))) == "key:a.example");
    CHECK(sni(record_of(server_name(name_entry("what", 7)))) == "no_sni");
    CHECK(sni(record_of(server_name(name_entry("a.example") + name_entry("b.example")))) == "bad_hello");
    CHECK(sni(record_of(named("a.example") + named("b.example"))) == "bad_hello");
    CHECK(sni(record_of(named("a.example") + named("a.example"))) == "bad_hello");
}

TEST_CASE("a name that can be no host's makes the hello bad") {
    CHECK(sni(record_of(named(""))) == "bad_hello");
    CHECK(sni(record_of(named("."))) == "bad_hello");
    CHECK(sni(record_of(named(std::string("a.example\0.evil", 15)))) == "bad_hello");
    CHECK(sni(record_of(named("a example"))) == "bad_hello");
    CHECK(sni(record_of(named("b\xc3\xbc\x63her.example"))) == "bad_hello");
    CHECK(sni(record_of(named(std::string(255, 'a')))) == "key:" + std::string(255, 'a'));
    CHECK(sni(record_of(named(std::string(256, 'a')))) == "bad_hello");
}

TEST_CASE("lengths that do not fit make the hello bad") {
    const auto with_list = [](const std::string& list) { return sni(record_of(extension(0, list))); };
    CHECK(with_list("") == "bad_hello");
    CHECK(with_list(sized(2, "")) == "bad_hello");
    CHECK(with_list(number(11, 2) + name_entry("a.example")) == "bad_hello");
    CHECK(with_list(number(13, 2) + name_entry("a.example")) == "bad_hello");
    CHECK(with_list(sized(2, number(0, 1) + number(10, 2) + "a.example")) == "bad_hello");
    CHECK(with_list(sized(2, number(0, 1) + number(8, 2) + "a.example")) == "bad_hello");
    CHECK(sni(record(message(hello_start() + number(3, 2) + named("a.example")))) == "bad_hello");
    CHECK(sni(record(message(hello_start() + number(99, 2) + named("a.example")))) == "bad_hello");
    CHECK(sni(record(message(hello_start() + sized(2, named("a.example")) + "x"))) == "bad_hello");
    CHECK(sni(record_of(named("a.example") + number(0x15, 2) + number(5, 2) + "abc")) == "bad_hello");
    CHECK(sni(record(message(hello_start(std::string(33, 's')) + sized(2, "")))) == "bad_hello");
    CHECK(sni(record(message(""))) == "bad_hello");
    CHECK(sni(record(message("\x03\x03short"))) == "bad_hello");
}

TEST_CASE("a bad hello is told at the byte that shows it, before the hello is complete") {
    const auto name_first = named(std::string("\0", 1)) + kKeyShare;
    const std::size_t to_name = 5 + 4 + hello_start().size() + 2 + 9;
    check_refused_at(record_of(name_first), "bad_hello", to_name + 1);
    check_refused_at(record(message("\x02\x03" + hello_start())), "bad_hello", 10);
}

TEST_CASE("what is no hello is told at its first byte") {
    check_refused_at("GET / HTTP/1.1\r\n", "not_tls", 1);
    check_refused_at(std::string("\x15\x03\x01\x00\x02\x02\x28", 7), "not_tls", 1);  // an alert first
    check_refused_at(std::string("\x80\x2e\x01\x00\x02\x00\x15", 7), "not_tls", 1);  // SSLv2
    check_refused_at(std::string("\x16\x02\x01\x00", 4), "not_tls", 2);
    check_refused_at(record(""), "not_tls", 5);
    check_refused_at(std::string("\x16\x03\x01\x40\x01\x01", 6), "not_tls",
                     5);                                         // a record of more than 2^14 bytes
    check_refused_at(record(message("body", 2)), "not_tls", 6);  // a ServerHello
}

TEST_CASE("nothing may stand between the records of a hello") {
    const auto whole = hello(kPadding + named("a.example"));
    const auto first = record(whole.substr(0, 100));
    check_refused_at(first + record("\x02\x28", 21) + record(whole.substr(100)), "bad_hello",
                     first.size() + 1);
    check_refused_at(first + record("") + record(whole.substr(100)), "bad_hello", first.size() + 5);
}

TEST_CASE("what follows a complete hello is not judged") {
    CHECK(sni(record_of(named("a.example")) + "\xff\xff\xff") == "key:a.example");
    CHECK(sni(record(hello(named("a.example")) + message("more", 20))) == "key:a.example");
}

TEST_CASE("a hello that can never be held is told by its length") {
    check_refused_at(record(number(1, 1) + number(65536, 3) + "\x03\x03"), "too_long", 9);
    CHECK(sni(record(number(1, 1) + number(65536 - 4, 3) + "\x03\x03")) == "need_more");
}
