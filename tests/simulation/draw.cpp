// What a seed decides: the network, the machines, the clients, and what happens to them.
#include "tests/simulation/scene.hpp"

namespace splice::simulation {

void World::draw_network() {
    family_ = random_.chance(0.5) ? 4 : 6;
    for (std::size_t i = 0; i < kClients; ++i)
        clients_[i] = *IpAddress::parse(fmt::format("{}{}", family_ == 4 ? "192.0.2." : "2001:db8::", i + 1));
    vip_ = {*IpAddress::parse(testing::topology(family_).vip), 80};
    const bool calm = random_.chance(0.2);
    orderly_ = calm && random_.chance(0.5);
    const auto some = [&](double most) {
        return calm || random_.chance(0.3) ? 0.0 : most * static_cast<double>(random_.between(1, 100)) / 100;
    };
    const auto far = [&](std::uint64_t low_us, std::uint64_t high_us) {
        Faults faults;
        faults.loss = some(0.12);
        faults.duplicate = some(0.1);
        faults.reorder = some(0.2);
        faults.corrupt = some(0.05);
        faults.delay = std::chrono::microseconds(random_.between(low_us, high_us));
        if (!orderly_) faults.jitter = std::chrono::microseconds(random_.between(0, high_us / 4));
        return faults;
    };
    up_ = far(200, 60'000);
    down_ = far(200, 60'000);
    inside_ = far(20, 2'000);
    // Half of the time the backend is a host of its own, and its network no better.
    if (random_.chance(0.5)) local_ = far(20, 500);
    unfinished_checksums_ = random_.chance(0.3);
}

void World::draw_machines() {
    const auto clock = [&] {
        HostClock drawn;
        drawn.boot = std::chrono::milliseconds(random_.between(1'000, 1'000'000));
        // Timestamps wrap during the run.
        if (random_.chance(0.2))
            drawn.boot = std::chrono::milliseconds((1ULL << 32) - random_.between(0, 60'000));
        return drawn;
    };
    balancer_clock_ = clock();
    const bool lanes = random_.chance(0.5);
    splicer_rules_ = std::make_shared<SplicerSetup>(lanes ? testing::laned_setup(family_)
                                                          : testing::splicer_setup(family_));
    splicer_rules_->timeouts = {900, 60, 300};
    SplicerService& service = splicer_rules_->services[0];
    const auto kind = random_.between(0, 9);
    if (kind >= 6 && kind < 8) {
        service.protocol = Protocol::tls;
        service.key = *HashKeyRule::parse("sni");
    } else if (kind >= 8) {
        service.protocol = Protocol::tcp;
        service.key = *HashKeyRule::parse("source");
        server_first_ = true;
    }
    protocol_ = service.protocol;
    service.first_payload_max = random_.chance(0.2) ? 2048 : kFirstPayloadMax;
    service.first_payload_wait = std::chrono::milliseconds(random_.between(5, 200));
    splicer_ = std::make_unique<Splicer>(splicer_rules_);

    const std::int64_t skew = random_.chance(0.5) ? 0 : 30;
    for (std::size_t i = 0; i < kBridges; ++i) {
        BridgeHost& host = bridges_[i];
        host.clock = clock();
        if (skew) host.clock.skew_s = static_cast<std::int64_t>(random_.between(0, 60)) - 30;
        host.address = *IpAddress::parse(testing::topology(family_).bridges[i]);
        host.backend = {
            *IpAddress::parse(fmt::format("{}{}", family_ == 4 ? "10.0.1." : "2001:db8:3::", i + 1)), 8080};
        host.setup = std::make_shared<JoinerSetup>(testing::joiner_setup(family_));
        if (lanes) host.setup->number = static_cast<std::uint16_t>(i + 1);
        host.setup->timeouts = {900, 60, 300};
        host.setup->addresses = {host.address};
        host.setup->services[0].backend = host.backend;
        host.machine = std::make_unique<Joiner>(host.setup);
    }
}

void World::draw_disturbances() {
    const auto moment = [&] { return std::chrono::milliseconds(random_.between(100, 40'000)); };
    if (random_.chance(0.2))
        at(moment(), [this] {
            if (verbose_) fmt::print("{:.6f} the balancer is restarted\n", seconds());
            splicer_ = std::make_unique<Splicer>(splicer_rules_);
            for (Session& session : sessions_) {
                if (session.done || !session.tcp) continue;
                session.disturbed = true;
                session.bridge.reset();
            }
        });
    if (random_.chance(0.2))
        at(moment(), [this, i = random_.between(0, kBridges - 1)] {
            if (verbose_) fmt::print("{:.6f} bridge {} is restarted\n", seconds(), i + 1);
            bridges_[i].machine = std::make_unique<Joiner>(bridges_[i].setup);
            for (Session& session : sessions_)
                if (session.tcp && !session.done) session.disturbed = true;
        });
    if (random_.chance(0.3))
        at(moment(), [this, members = random_.between(1, kBridges)] {
            if (verbose_) fmt::print("{:.6f} reload: {} bridges\n", seconds(), members);
            std::vector<std::uint16_t> left;
            for (std::uint16_t i = 0; i < members; ++i) left.push_back(i);
            reload(std::move(left));
        });
    else
        drain_on_refusal_ = random_.chance(0.5);
    if (random_.chance(0.3)) {
        // The new key is known everywhere before the balancer issues by it; the old one goes when no cookie
        // of it can live any more.
        const Duration first = moment();
        const splice_key fresh{random_.next(), random_.next(), {}};
        const splice_key old = testing::kSecret.keys[0];
        at(first, [this, fresh, old] {
            for (BridgeHost& host : bridges_) {
                host.setup = std::make_shared<JoinerSetup>(*host.setup);
                host.setup->secret = {{old, fresh}, 2, 0, testing::kSecret.lane};
                host.machine->replace_setup(host.setup);
            }
        });
        const auto balancer_secret = [this](splice_secret secret) {
            splicer_rules_ = std::make_shared<SplicerSetup>(*splicer_rules_);
            splicer_rules_->secret = secret;
            splicer_->replace_setup(splicer_rules_);
        };
        at(first + 1s,
           [fresh, old, balancer_secret] { balancer_secret({{fresh, old}, 2, 0, testing::kSecret.lane}); });
        at(first + 130s, [this, fresh, balancer_secret] {
            balancer_secret({{fresh, {}}, 1, 0, testing::kSecret.lane});
            for (BridgeHost& host : bridges_) {
                host.setup = std::make_shared<JoinerSetup>(*host.setup);
                host.setup->secret = {{fresh, {}}, 1, 0, testing::kSecret.lane};
                host.machine->replace_setup(host.setup);
            }
        });
    }
    if (random_.chance(0.4))
        for (BridgeHost& host : bridges_)
            if (random_.chance(0.5)) {
                const Duration from = std::chrono::milliseconds(random_.between(0, 20'000));
                host.refuses.emplace_back(from,
                                          from + std::chrono::milliseconds(random_.between(100, 20'000)));
            }
}

void World::draw_sessions() {
    const std::size_t count = random_.between(4, 14);
    const bool all_at_once = random_.chance(0.3);
    for (std::size_t i = 0; i < count; ++i) {
        Session& session = sessions_.emplace_back();
        session.started = std::chrono::milliseconds(random_.between(0, all_at_once ? 100 : 40'000));
        session.conversation = draw_conversation(random_, random_.next() >> 8, protocol_, server_first_, 500);
        session.client_stream = session.conversation.client_stream();
        session.slow_reader = random_.chance(0.1);
        // Few ports: they are used again.
        session.port = static_cast<std::uint16_t>(40000 + random_.between(0, 5));
        at(session.started, [this, &session] { begin(session); });
        if (random_.chance(0.1))
            at(session.started + std::chrono::milliseconds(random_.between(0, 2000)), [this, &session] {
                // Somebody else's SYN with this client's address.
                Segment spoofed;
                spoofed.source = client_address(session.port);
                spoofed.source_port = session.port;
                spoofed.destination = vip_.address;
                spoofed.destination_port = vip_.port;
                spoofed.seq = random_.number();
                spoofed.flags = kSyn;
                spoofed.mss = 1460;
                to_balancer(encode(spoofed));
            });
    }
}

}  // namespace splice::simulation
