#include "tests/simulation/tcp.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace splice::simulation {
namespace {

constexpr Duration kRto = 400ms;
constexpr Duration kRtoMax = 16s;
constexpr int kTries = 15;
constexpr Duration kTimeWait = 60s;
constexpr Duration kChallengeInterval = 100ms;
// A SYN-ACK speaks before the server's window is known: so much may be on its way whatever the server says.
constexpr std::int64_t kFirstWindow = 65535;
// What rounding to the advertised scale may add to a window that is not zero.
constexpr std::int64_t kWindowSlack = 1 << 14;

std::int32_t ahead(std::uint32_t to, std::uint32_t from) {
    return static_cast<std::int32_t>(to - from);
}

}  // namespace

void Tcp::connect(Duration now) {
    state_ = State::syn_sent;
    send_syn(now);
    snd_nxt_ = 1;
    arm(now);
}

void Tcp::accept(Duration now, const Segment& syn) {
    state_ = State::syn_received;
    peer_isn_ = syn.seq;
    rcv_nxt_ = 1;
    negotiate(syn);
    snd_right_ = 1 + syn.window;
    send_syn(now);
    snd_nxt_ = 1;
    arm(now);
}

void Tcp::negotiate(const Segment& peer) {
    sack_ = settings_.sack && peer.sack_permitted;
    timestamps_ = settings_.timestamps && peer.timestamps;
    scaled_ = settings_.window_scale && peer.window_scale;
    peer_scale_ = scaled_ ? *peer.window_scale : 0;
    peer_mss_ = peer.mss.value_or(settings_.local.address.family() == 4 ? 536 : 1220);
    if (peer.timestamps) ts_recent_ = peer.timestamps->value;
    congestion_window_ = 10 * static_cast<std::int64_t>(segment_size());
}

std::uint32_t Tcp::tsval(Duration now) const noexcept {
    return settings_.clock + static_cast<std::uint32_t>(now / 1ms);
}

std::size_t Tcp::segment_size() const noexcept {
    const std::size_t mss = std::min<std::size_t>(settings_.mss.value_or(1460), peer_mss_);
    return mss - (timestamps_ ? 12 : 0) - settings_.leading_nops;
}

std::uint16_t Tcp::window() {
    const auto free =
        static_cast<std::int64_t>(settings_.receive_buffer) - static_cast<std::int64_t>(inbox_.size());
    const std::int64_t right = std::max(rcv_right_, rcv_nxt_ + std::max<std::int64_t>(free, 0));
    const int scale = scaled_ ? *settings_.window_scale : 0;
    const auto field = std::min<std::int64_t>(65535, (right - rcv_nxt_) >> scale);
    rcv_right_ = std::max(rcv_right_, rcv_nxt_ + (field << scale));
    return static_cast<std::uint16_t>(field);
}

Segment Tcp::draft(Duration now, std::uint8_t flags, std::int64_t offset) {
    Segment segment;
    segment.source = settings_.local.address;
    segment.source_port = settings_.local.port;
    segment.destination = settings_.remote.address;
    segment.destination_port = settings_.remote.port;
    segment.seq = settings_.isn + static_cast<std::uint32_t>(offset);
    segment.flags = flags;
    if (flags & kAck) segment.ack = peer_isn_ + static_cast<std::uint32_t>(rcv_nxt_);
    segment.leading_nops = settings_.leading_nops;
    if (timestamps_ && !(flags & kSyn)) {
        segment.timestamps = Timestamps{tsval(now), flags & kAck ? ts_recent_ : 0};
        last_tsval_ = tsval(now);
    }
    return segment;
}

// --- Sending
// ----------------------------------------------------------------------------------------------------

void Tcp::send_syn(Duration now) {
    const bool answer = state_ == State::syn_received;
    Segment segment = draft(now, answer ? kSyn | kAck : kSyn, 0);
    segment.leading_nops = 0;
    segment.mss = settings_.mss;
    segment.sack_permitted = answer ? sack_ : settings_.sack;
    if (answer ? scaled_ : settings_.window_scale.has_value()) segment.window_scale = settings_.window_scale;
    if (answer ? timestamps_ : settings_.timestamps) {
        segment.timestamps = Timestamps{tsval(now), answer ? ts_recent_ : 0};
        last_tsval_ = tsval(now);
        if (!first_tsval_) first_tsval_ = last_tsval_;
    }
    // Not scaled (RFC 7323 section 2.2).
    segment.window = static_cast<std::uint16_t>(std::min<std::uint32_t>(65535, settings_.receive_buffer));
    rcv_right_ = std::max(rcv_right_, rcv_nxt_ + segment.window);
    output_.push_back(std::move(segment));
}

void Tcp::emit(Duration now, std::uint8_t flags, std::int64_t offset, std::size_t size) {
    Segment segment = draft(now, flags, offset);
    segment.window = window();
    if (size) segment.payload = stream_.substr(static_cast<std::size_t>(offset - 1), size);
    if (sack_ && !early_.empty()) {
        // Runs of what came early, at most three.
        for (const auto& [from, bytes] : early_) {
            const auto left = peer_isn_ + static_cast<std::uint32_t>(from);
            const auto right = left + static_cast<std::uint32_t>(bytes.size());
            if (!segment.sack.empty() && ahead(left, segment.sack.back().second) <= 0) {
                if (ahead(right, segment.sack.back().second) > 0) segment.sack.back().second = right;
            } else if (segment.sack.size() < 3) {
                segment.sack.emplace_back(left, right);
            }
        }
        segment.leading_nops = std::min<std::uint8_t>(segment.leading_nops, 1);
    }
    output_.push_back(std::move(segment));
}

void Tcp::send_more(Duration now) {
    if (state_ != State::established) return;
    while (send_next(now)) {
    }
    arm(now);
}

bool Tcp::send_next(Duration now) {
    if (fin_sent_) return false;
    const auto whole = static_cast<std::int64_t>(segment_size());
    if (snd_nxt_ == snd_end()) {
        if (!close_requested_) return false;
        emit(now, kFin | kAck, snd_nxt_++);
        fin_sent_ = true;
        return true;
    }
    std::int64_t size = std::min(whole, snd_end() - snd_nxt_);
    if (!settings_.nagle)
        if (const auto cut = std::ranges::upper_bound(cuts_, snd_nxt_); cut != cuts_.end())
            size = std::min(size, *cut - snd_nxt_);
    const std::int64_t limit = std::min(snd_right_, snd_una_ + congestion_window_);
    const bool outstanding = snd_nxt_ > snd_una_;
    if (snd_nxt_ + size > limit) {
        size = limit - snd_nxt_;
        if (size <= 0 || outstanding) return false;
    }
    const bool last = snd_nxt_ + size == snd_end();
    if (settings_.nagle && outstanding && size < whole && !(last && close_requested_)) return false;
    const bool with_fin = last && close_requested_;
    emit(now, static_cast<std::uint8_t>(kAck | kPsh | (with_fin ? kFin : 0)), snd_nxt_,
         static_cast<std::size_t>(size));
    snd_nxt_ += size + (with_fin ? 1 : 0);
    fin_sent_ = fin_sent_ || with_fin;
    return true;
}

// The first hole, from snd_una on; a zero window is probed with one byte.
void Tcp::retransmit(Duration now) {
    if (snd_una_ == 0) return send_syn(now);
    if (snd_una_ == snd_nxt_) {
        if (snd_nxt_ >= snd_end()) return;
        emit(now, kAck, snd_nxt_, 1);
        ++snd_nxt_;
        return;
    }
    std::int64_t until = std::min(snd_nxt_, snd_una_ + static_cast<std::int64_t>(segment_size()));
    if (const auto next = sacked_.upper_bound(snd_una_); next != sacked_.end())
        until = std::min(until, next->first);
    const bool fin = fin_sent_ && until > snd_end();
    const std::int64_t size = std::min(until, snd_end()) - snd_una_;
    emit(now, static_cast<std::uint8_t>(kAck | kPsh | (fin || size == 0 ? kFin : 0)), snd_una_,
         static_cast<std::size_t>(size));
}

void Tcp::arm(Duration now) {
    const bool waits = snd_una_ < snd_nxt_ || (state_ == State::established && snd_nxt_ < snd_end());
    if (!waits) {
        deadline_.reset();
        return;
    }
    if (!deadline_) deadline_ = now + std::min(kRtoMax, kRto * (1 << std::min(tries_, 6)));
}

void Tcp::tick(Duration now) {
    if (!deadline_ || *deadline_ > now) return;
    deadline_.reset();
    if (state_ == State::time_wait) return stop(End::finished);
    if (state_ == State::closed) return;
    if (++tries_ > kTries) {
        stop(End::timed_out);
        return;
    }
    congestion_window_ = 2 * static_cast<std::int64_t>(segment_size());
    recover_ = snd_nxt_;
    sacked_.clear();  // the receiver may have reneged (RFC 2018 section 8)
    retransmit(now);
    arm(now);
}

void Tcp::write(Duration now, std::string_view bytes) {
    stream_ += bytes;
    cuts_.push_back(snd_end());
    send_more(now);
}

void Tcp::close(Duration now) {
    if (close_requested_) return;
    close_requested_ = true;
    closed_first_ = !peer_fin_;
    send_more(now);
}

void Tcp::abort() {
    if (state_ == State::closed) return;
    if (state_ == State::established) {
        Segment segment = draft(Duration{}, kRst | kAck, snd_nxt_);
        segment.timestamps.reset();
        segment.leading_nops = 0;
        output_.push_back(std::move(segment));
    }
    stop(End::aborted);
}

std::string Tcp::read(Duration now, std::size_t most) {
    std::string bytes = inbox_.substr(0, most);
    inbox_.erase(0, bytes.size());
    const std::int64_t free =
        static_cast<std::int64_t>(settings_.receive_buffer) - static_cast<std::int64_t>(inbox_.size());
    const bool opens = rcv_right_ - rcv_nxt_ < static_cast<std::int64_t>(segment_size()) &&
                       rcv_nxt_ + free > rcv_right_ + static_cast<std::int64_t>(segment_size());
    if (!bytes.empty() && opens && established()) send_ack(now);
    return bytes;
}

// --- Receiving
// --------------------------------------------------------------------------------------------------

void Tcp::receive(Duration now, const Segment& segment) {
    if (state_ == State::syn_sent) return receive_syn_sent(now, segment);
    if (segment.has(kSyn)) {
        if (state_ == State::syn_received && !segment.has(kAck) && segment.seq == peer_isn_)
            return send_syn(now);
        return challenge(now);
    }
    const std::int64_t offset =
        rcv_nxt_ + ahead(segment.seq, peer_isn_ + static_cast<std::uint32_t>(rcv_nxt_));
    if (!acceptable(now, segment, offset)) return;
    if (segment.has(kRst)) {
        if (offset == rcv_nxt_) return stop(state_ == State::time_wait ? End::finished : End::reset);
        return challenge(now);  // RFC 5961 section 3.2
    }
    if (!segment.has(kAck) || !take_ack(now, segment)) return;
    if (timestamps_ && offset <= rcv_nxt_ && segment.timestamps) ts_recent_ = segment.timestamps->value;
    take_payload(segment, offset);
    if (segment.length() > 0) send_ack(now);
    send_more(now);
    finish_if_done(now);
}

void Tcp::receive_syn_sent(Duration now, const Segment& segment) {
    if (!segment.has(kAck)) return;
    if (segment.ack != settings_.isn + 1) {
        if (segment.has(kRst)) return;
        Segment reset = draft(now, kRst, 0);
        reset.seq = segment.ack;
        output_.push_back(std::move(reset));
        return;
    }
    if (segment.has(kRst)) return stop(End::reset);
    if (!segment.has(kSyn)) return;
    peer_isn_ = segment.seq;
    rcv_nxt_ = 1;
    negotiate(segment);
    if (segment.mss && !settings_.mss) violation_ = "a SYN-ACK offers an MSS that nobody asked for";
    if (timestamps_ && (ahead(segment.timestamps->echo_reply, *first_tsval_) < 0 ||
                        ahead(last_tsval_, segment.timestamps->echo_reply) < 0))
        violation_ = "a SYN-ACK echoes a timestamp that was never sent";
    snd_una_ = 1;
    snd_right_ = 1 + segment.window;
    rcv_right_ += 1;
    state_ = State::established;
    tries_ = 0;
    deadline_.reset();
    send_ack(now);
    send_more(now);
}

// RFC 9293 section 3.10.7.4, first check, and PAWS (RFC 7323 section 5).
bool Tcp::acceptable(Duration now, const Segment& segment, std::int64_t offset) {
    const std::int64_t end = offset + segment.length();
    if (end < rcv_nxt_ || offset > std::max(rcv_right_, rcv_nxt_ + kFirstWindow)) {
        if (!segment.has(kRst)) challenge(now);
        return false;
    }
    if (segment.has(kRst) || !timestamps_) return true;
    if (!segment.timestamps) {
        violation_ = "a segment without the timestamps that were negotiated";
        return false;
    }
    if (ahead(segment.timestamps->value, ts_recent_) < 0) {
        challenge(now);
        return false;
    }
    return true;
}

void Tcp::challenge(Duration now) {
    if (state_ == State::closed || now - last_challenge_ < kChallengeInterval) return;
    last_challenge_ = now;
    send_ack(now);
}

bool Tcp::take_ack(Duration now, const Segment& segment) {
    const std::int64_t ack =
        snd_una_ + ahead(segment.ack, settings_.isn + static_cast<std::uint32_t>(snd_una_));
    if (ack > snd_nxt_) {
        violation_ = fmt::format("an ACK of {} bytes that were never sent", ack - snd_nxt_);
        return false;
    }
    if (timestamps_ && segment.timestamps) {
        const std::uint32_t echo = segment.timestamps->echo_reply;
        if (ahead(echo, *first_tsval_) < 0 || ahead(last_tsval_, echo) < 0) {
            violation_ = fmt::format("TSecr {} where {} to {} were sent", echo, *first_tsval_, last_tsval_);
            return false;
        }
    }
    if (state_ == State::syn_received) {
        if (ack < 1) return false;
        state_ = State::established;
    }
    const std::int64_t right = ack + (std::int64_t{segment.window} << peer_scale_);
    const bool same_window = right <= snd_right_;
    snd_right_ = std::max(snd_right_, right);
    take_sack(segment);
    if (ack > snd_una_) {
        congestion_window_ +=
            std::min<std::int64_t>(ack - snd_una_, static_cast<std::int64_t>(segment_size()));
        snd_una_ = ack;
        duplicate_acks_ = tries_ = 0;
        deadline_.reset();
        std::erase_if(sacked_, [&](const auto& block) { return block.second <= ack; });
        if (ack < recover_) retransmit(now);  // a partial ACK (RFC 6582)
    } else if (ack == snd_una_ && segment.length() == 0 && same_window && snd_una_ < snd_nxt_) {
        if (++duplicate_acks_ == 3) {
            recover_ = snd_nxt_;
            retransmit(now);
        }
    }
    if (ack < 1) return true;
    arm(now);
    return true;
}

void Tcp::take_sack(const Segment& segment) {
    if (segment.sack.empty()) return;
    if (!sack_) violation_ = "a SACK that was not negotiated";
    for (const auto& [left, right] : segment.sack) {
        const auto base = settings_.isn + static_cast<std::uint32_t>(snd_una_);
        const std::int64_t from = snd_una_ + ahead(left, base), to = snd_una_ + ahead(right, base);
        if (from < 1 || to > snd_nxt_ || from >= to) {
            violation_ = fmt::format("a SACK block {}..{} of a stream that ends at {}", from, to, snd_nxt_);
            return;
        }
        if (to > snd_una_) sacked_[from] = std::max(sacked_[from], to);
    }
}

void Tcp::take_payload(const Segment& segment, std::int64_t offset) {
    const std::int64_t end = offset + static_cast<std::int64_t>(segment.payload.size());
    const bool probe = segment.payload.size() <= 1;
    if (end > std::max(rcv_right_ + kWindowSlack, 1 + kFirstWindow) && !probe)
        violation_ = fmt::format("payload to {} where the window ended at {}", end, rcv_right_);
    if (segment.has(kFin)) peer_fin_ = end;
    if (!segment.payload.empty() && end > rcv_nxt_ && end <= rcv_right_) {
        std::string& held = early_[offset];
        if (held.size() < segment.payload.size()) held = segment.payload;
    }
    while (!early_.empty() && early_.begin()->first <= rcv_nxt_) {
        const auto& [from, bytes] = *early_.begin();
        const std::int64_t known = rcv_nxt_ - from;
        if (known < static_cast<std::int64_t>(bytes.size())) {
            inbox_ += bytes.substr(static_cast<std::size_t>(known));
            rcv_nxt_ = from + static_cast<std::int64_t>(bytes.size());
        }
        early_.erase(early_.begin());
    }
    if (peer_fin_ && rcv_nxt_ == *peer_fin_) ++rcv_nxt_;
}

void Tcp::finish_if_done(Duration now) {
    if (state_ != State::established || !fin_sent_ || snd_una_ <= snd_end()) return;
    if (!peer_fin_ || rcv_nxt_ <= *peer_fin_) return;
    if (!closed_first_) return stop(End::finished);
    state_ = State::time_wait;
    end_ = End::finished;
    deadline_ = now + kTimeWait;
}

bool Tcp::yields_to(const Segment& syn) const noexcept {
    if (state_ == State::closed) return true;
    if (state_ != State::time_wait) return false;
    if (timestamps_ && syn.timestamps && ahead(syn.timestamps->value, ts_recent_) > 0) return true;
    return ahead(syn.seq, peer_isn_ + static_cast<std::uint32_t>(rcv_nxt_)) > 0;
}

void Tcp::stop(End end) {
    state_ = State::closed;
    if (end_ == End::none) end_ = end;
    deadline_.reset();
}

}  // namespace splice::simulation
