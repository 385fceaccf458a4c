// The program itself, at the loopback's door of a namespace of its own.
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/interface.hpp"
#include "tests/support/lab/lab.hpp"
#include "tests/support/lib/loopback.hpp"

using namespace splice;

namespace {

// A started program whose output is read line by line.
class Program {
  public:
    explicit Program(std::vector<std::string> arguments) {
        int ends[2] = {-1, -1};
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        output_ = Descriptor(ends[0]);
        const Descriptor write_end(ends[1]);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, write_end.get(), 1);
        arguments.insert(arguments.begin(), FAULT_INJECTOR);
        std::vector<char*> argv;
        for (std::string& each : arguments) argv.push_back(each.data());
        argv.push_back(nullptr);
        REQUIRE(posix_spawn(&pid_, FAULT_INJECTOR, &actions, nullptr, argv.data(), environ) == 0);
        posix_spawn_file_actions_destroy(&actions);
    }
    ~Program() {
        if (pid_ > 0) end(SIGKILL);
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    std::string read_line() {
        std::string line;
        char byte = 0;
        while (lab::wait_readable(output_.get()) && read(output_.get(), &byte, 1) == 1 && byte != '\n')
            line += byte;
        return line;
    }
    // Its exit code.
    int end(int signal) {
        kill(pid_, signal);
        int status = 0;
        waitpid(pid_, &status, 0);
        pid_ = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

  private:
    pid_t pid_ = 0;
    Descriptor output_;
};

long count_of(const std::string& counts, const std::string& name) {
    const std::size_t at = (" " + counts).find(" " + name + "=");
    REQUIRE(at != std::string::npos);
    return std::stol(counts.substr(at + name.size() + 1));
}

// Sends `length` bytes to port 80 of the loopback over TCP; what arrived is what was sent.
bool transfer(std::size_t length) {
    const Descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in address = splice::testing::loopback(80);
    REQUIRE(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(listen(listener.get(), 1) == 0);
    const Descriptor client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit{20, 0};
    setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    setsockopt(listener.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    REQUIRE(connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);

    std::string sent(length, '\0');
    for (std::size_t i = 0; i < length; i++) sent[i] = static_cast<char>(i * 2654435761U >> 24);
    std::string received;
    std::thread reader([&] {
        const Descriptor server(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        setsockopt(server.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        std::string piece(65536, '\0');
        for (ssize_t got = 1; got > 0 && received.size() < length;) {
            got = recv(server.get(), piece.data(), piece.size(), 0);
            if (got > 0) received.append(piece, 0, static_cast<std::size_t>(got));
        }
    });
    std::size_t at = 0;
    while (at < length) {
        const ssize_t wrote = send(client.get(), sent.data() + at, length - at, MSG_NOSIGNAL);
        if (wrote <= 0) break;
        at += static_cast<std::size_t>(wrote);
    }
    shutdown(client.get(), SHUT_WR);
    reader.join();
    return received == sent;
}

// Made by nftables or by iptables, as the kernel can.
bool are_rules_left(const std::string& hook) {
    const std::string chain = hook == "forward" ? "-A SPLICELB-FAULTS-F " : "-A SPLICELB-FAULTS-I ";
    const std::string saved =
        lab::run("iptables-save", {"-t", "mangle"}) + lab::run("ip6tables-save", {"-t", "mangle"});
    const std::string listed = lab::run("nft", {"list", "ruleset"});
    return saved.find(chain) != std::string::npos ||
           (listed.find("table inet splicelb-faults") != std::string::npos &&
            listed.find("hook " + hook) != std::string::npos);
}

bool is_a_rule_left() {
    const std::string all = lab::run("iptables-save", {"-t", "mangle"}) +
                            lab::run("ip6tables-save", {"-t", "mangle"}) +
                            lab::run("nft", {"list", "ruleset"});
    return all.find("SPLICELB") != std::string::npos || all.find("splicelb") != std::string::npos;
}

}  // namespace

TEST_CASE(
    "a transfer survives loss, doubles, reordering and flipped bits, and each is seen to have happened") {
    for (const char* hook : {"output", "input"}) {
        lab::in_new_namespace([&] {
            CAPTURE(hook);
            lab::set_mtu("lo", 1500);
            Program program({"--on", hook, "--interface", "lo", "--loss", "0.01", "--duplicate", "0.01",
                             "--reorder", "0.02", "--corrupt", "0.01"});
            REQUIRE(program.read_line() == "ready");
            CHECK(transfer(1'000'000));
            const int code = program.end(SIGTERM);
            const std::string counts = program.read_line();
            CAPTURE(counts);
            CHECK(code == 0);
            for (const char* name : {"lost", "duplicated", "reordered", "corrupted"})
                CHECK(count_of(counts, name) > 0);
            CHECK(count_of(counts, "resent") ==
                  count_of(counts, "duplicated") + count_of(counts, "reordered"));
            CHECK(count_of(counts, "resend_failures") == 0);
            CHECK_FALSE(is_a_rule_left());
        });
    }
}

TEST_CASE("the SYN, the SYN-ACK and the first payload of a connection are lost once each, and it succeeds") {
    lab::in_new_namespace([] {
        Program program(
            {"--on", "output", "--drop-first", "syn", "--drop-first", "synack", "--drop-first", "payload"});
        REQUIRE(program.read_line() == "ready");
        CHECK(transfer(1000));
        CHECK(program.end(SIGINT) == 0);
        const std::string counts = program.read_line();
        CHECK(count_of(counts, "lost_first_syn") == 1);
        CHECK(count_of(counts, "lost_first_synack") == 1);
        CHECK(count_of(counts, "lost_first_payload") == 1);
        CHECK(count_of(counts, "lost_first_fin") == 0);
    });
}

TEST_CASE("after a kill -9 the next start replaces the rules, and none is left in the end") {
    lab::in_new_namespace([] {
        {
            Program killed({"--on", "forward"});
            REQUIRE(killed.read_line() == "ready");
            killed.end(SIGKILL);
        }
        CHECK(are_rules_left("forward"));
        Program next({"--on", "input"});
        REQUIRE(next.read_line() == "ready");
        CHECK_FALSE(are_rules_left("forward"));
        CHECK(are_rules_left("input"));
        CHECK(next.end(SIGTERM) == 0);
        CHECK_FALSE(is_a_rule_left());
    });
}
