// Captures that others recorded, judged by what stands beside them. llhttp's requests and nginx's ketama
// choices are judged in tests/unit/core.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/replay/recorder.hpp"
#include "tools/replay/report.hpp"
#include "tools/replay/run.hpp"

namespace splice::replay {
namespace {

// The corpus file; nothing, with a word about the skip, where the corpora are not.
std::optional<std::string> corpus(const std::string& name) {
    const char* corpora = std::getenv("SPLICELB_CORPORA");
    const auto path = std::filesystem::path(corpora == nullptr ? "" : corpora) / name;
    if (corpora != nullptr && std::filesystem::exists(path)) return path.string();
    std::cout << "SKIP " << name << ": SPLICELB_CORPORA does not name the corpora\n";
    return std::nullopt;
}

struct Replayed {
    Recorder told;
    std::vector<std::vector<std::string>> keys;  // the seven fields of each connection
};

void replay(const std::string& path, Replayed& out) {
    KeyReport keys;
    Fleets fleets = survey_capture(path);
    const auto done = replay_capture(path, fleets, {&out.told, &keys});
    REQUIRE_MESSAGE(done.has_value(), path);
    Lines lines;
    keys.print(lines);
    for (const std::string& line : lines.all) {
        std::vector<std::string> fields;
        for (std::size_t at = 0; at <= line.size();) {
            const std::size_t tab = std::min(line.find('\t', at), line.size());
            fields.push_back(line.substr(at, tab - at));
            at = tab + 1;
        }
        REQUIRE(fields.size() == 7);
        out.keys.push_back(std::move(fields));
    }
    for (const Travelled& packet : out.told.sent) REQUIRE(testing::parse(packet.bytes).checksums_right);
}

// kind and key of the connection from that client's port.
std::vector<std::string> key_from(const Replayed& replayed, const std::string& port) {
    for (const auto& line : replayed.keys)
        if (line[1] == port) return {line[4], line[5]};
    return {};
}

}  // namespace

TEST_CASE("every server name of the ja4 captures is as their JSON says") {
    std::size_t names = 0;
    for (const std::string name : {"tls/ja4-browsers-x509", "tls/ja4-tls-handshake", "tls/ja4-tls-sni"}) {
        const auto path = corpus(name + ".pcapng");
        if (!path) continue;
        Replayed replayed;
        replay(*path, replayed);
        std::map<std::string, std::vector<std::string>> found;
        for (const auto& line : replayed.keys)
            found[line[0] + ' ' + line[1] + ' ' + line[2] + ' ' + line[3]] = {line[4], line[5]};
        std::ifstream file(*path + ".json");
        for (const auto& stream : nlohmann::json::parse(file)) {
            if (!stream.contains("domain")) continue;
            const auto text = [&](const char* key) { return stream[key].get<std::string>(); };
            const std::string ends =
                text("src") + ' ' + text("srcport") + ' ' + text("dst") + ' ' + text("dstport");
            CAPTURE(ends);
            CHECK(found[ends] == std::vector<std::string>{"sni", text("domain")});
            ++names;
        }
    }
    CHECK((names == 0 || names == 121));
}

TEST_CASE("nDPI: hellos over two and more segments give their names") {
    for (const auto& [name, server_name] :
         {std::pair{"tls/ndpi-tls_2_reasms.pcapng", "i.instagram.com"},
          std::pair{"tls/ndpi-tls_2_reasms_b.pcapng", "video.fmct2-3.fna.fbcdn.net"}}) {
        const auto path = corpus(name);
        if (!path) continue;
        Replayed replayed;
        replay(*path, replayed);
        REQUIRE(replayed.keys.size() == 1);
        CHECK(replayed.keys[0][4] == "sni");
        CHECK(replayed.keys[0][5] == server_name);
    }
}

TEST_CASE("nDPI: with Encrypted ClientHello the outer name is the key") {
    const auto path = corpus("tls/ndpi-tls_ech.pcapng");
    if (!path) return;
    Replayed replayed;
    replay(*path, replayed);
    CHECK(key_from(replayed, "47460") == std::vector<std::string>{"sni", "performance.radar.cloudflare.com"});
}

TEST_CASE("nDPI: hellos without a name go by the client's address, and say why") {
    const auto path = corpus("tls/ndpi-no_sni.pcap");
    if (!path) return;
    Replayed replayed;
    replay(*path, replayed);
    CHECK(key_from(replayed, "51606") == std::vector<std::string>{"sni", "mozilla.cloudflare-dns.com"});
    for (const char* port : {"51612", "51637", "51638", "51639"})
        CHECK(key_from(replayed, port) == std::vector<std::string>{"source", "192.168.1.119"});
    std::size_t nameless = 0;
    for (const Choice& choice : replayed.told.choices) nameless += choice.fallback == Fallback::no_sni;
    CHECK(nameless == 4);
    // Its beginning is not in the capture.
    CHECK(key_from(replayed, "51331") == std::vector<std::string>{"-", "-"});
}

TEST_CASE("nDPI: a hello with a missing fragment and one that waits for acknowledgements end by the wait") {
    for (const char* name : {"tls/ndpi-tls_missing_ch_frag.pcap", "tls/ndpi-tls_with_huge_ch.pcapng"}) {
        const auto path = corpus(name);
        if (!path) continue;
        CAPTURE(name);
        Replayed replayed;
        replay(*path, replayed);
        REQUIRE(replayed.keys.size() == 1);
        CHECK(replayed.keys[0][4] == "source");
        REQUIRE(replayed.told.choices.size() == 1);
        CHECK(replayed.told.choices[0].fallback == Fallback::wait_expired);
    }
}

TEST_CASE("ja4: every HTTP/1 conversation gets its URI") {
    const auto path = corpus("http/ja4-http1.pcapng");
    if (!path) return;
    Replayed replayed;
    replay(*path, replayed);
    CHECK(replayed.keys.size() == 56);
    for (const auto& line : replayed.keys) {
        CAPTURE(line[1]);
        // Of one conversation the capture has the server's answer only.
        CHECK(line[4] == (line[1] == "48474" ? "-" : "uri"));
    }
    CHECK(key_from(replayed, "56404")[1] == "/generate_204");
    CHECK(key_from(replayed, "44238")[1] == "/rootDesc.xml");
    CHECK(key_from(replayed, "38660")[1] == "/2020/001030-0000.bin?DEV=001032&SYS=1.80&LEN=576");
}

TEST_CASE("nDPI: a request whose lines arrive split gets its URI with the first line") {
    const auto path = corpus("http/ndpi-http-lines-split.pcap");
    if (!path) return;
    Replayed replayed;
    replay(*path, replayed);
    REQUIRE(replayed.keys.size() == 1);
    CHECK(key_from(replayed, "39236") == std::vector<std::string>{"uri", "/"});
}

TEST_CASE("judged: a second segment that was captured first changes nothing of what is reported") {
    const auto forward = corpus("judged/http-two-segments-fwd.pcap");
    const auto reverse = corpus("judged/http-two-segments-rev.pcap");
    if (!forward || !reverse) return;
    Replayed in_order, overtaken;
    replay(*forward, in_order);
    replay(*reverse, overtaken);
    REQUIRE(in_order.keys.size() == 8);
    CHECK(in_order.keys[0][5] == "/object/0");
    CHECK(overtaken.keys == in_order.keys);
}

TEST_CASE("judged: a file whose interfaces differ in their snapshot length is read") {
    const auto path = corpus("judged/two-interfaces-snaplen.pcapng");
    if (!path) return;
    Replayed replayed;
    replay(*path, replayed);
    REQUIRE(replayed.keys.size() == 1);
    CHECK(key_from(replayed, "40000") == std::vector<std::string>{"uri", "/a"});
}

TEST_CASE("judged: a checksum that was left at 0 is repaired") {
    const auto path = corpus("judged/zero-tcp-checksum.pcap");
    if (!path) return;
    Replayed replayed;
    replay(*path, replayed);
    CHECK(key_from(replayed, "40000") == std::vector<std::string>{"uri", "/a"});
}

TEST_CASE("judged: IPv6 packets that are whole behind a fragment header give what those without it give") {
    const auto plain = corpus("judged/ipv6-plain.pcap");
    const auto fragments = corpus("judged/ipv6-atomic-fragments.pcap");
    if (!plain || !fragments) return;
    Replayed is, expected;
    replay(*plain, expected);
    replay(*fragments, is);
    REQUIRE(expected.keys.size() == 1);
    CHECK(expected.keys[0][4] == "uri");
    CHECK(is.keys == expected.keys);
}

}  // namespace splice::replay
