#include "tools/replay/ladder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "libsplice/base/address.hpp"
#include "libsplice/datapath/packet.h"
#include "tools/replay/report.hpp"

namespace splice::replay {
namespace {

constexpr std::size_t kPlaces = 4;
constexpr std::array<std::string_view, kPlaces> kNames = {"client", "balancer", "bridge", "backend"};

// Text: columns between the verticals.
constexpr std::size_t kGap = 44;
constexpr std::size_t kMargin = 18;  // time and number
// SVG, in pixels.
constexpr int kLeft = 110;
constexpr int kPitch = 330;
constexpr int kRowHeight = 22;
constexpr int kHeadHeight = 64;
constexpr int kWidth = kLeft + 3 * kPitch + 110;

std::size_t index_of(Place place) noexcept {
    return static_cast<std::size_t>(place);
}

// "SA seq=7 ack=9 ts=1/2 len=0", or an ICMP message's name.
std::string numbers_of(Bytes bytes) {
    splice_packet packet{};
    if (splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) != SPLICE_CONTINUE)
        return fmt::format("{} bytes", bytes.size());
    if (packet.protocol != SPLICE_PROTOCOL_TCP)
        return fmt::format("icmp type={} code={}", packet.icmp_type, packet.icmp_code);
    constexpr std::string_view kLetters = "FSRPAUEW";
    std::string text;
    for (std::size_t bit = 0; bit < kLetters.size(); ++bit) {
        if (packet.tcp_flags & (1U << bit)) text += kLetters[bit];
    }
    fmt::format_to(std::back_inserter(text), " {}", packet.seq);
    if (packet.tcp_flags & SPLICE_ACK) fmt::format_to(std::back_inserter(text), " ack {}", packet.ack);
    if (packet.payload_length) fmt::format_to(std::back_inserter(text), " len {}", packet.payload_length);
    return text;
}

std::string heading(const splice_flow_key& key) {
    return fmt::format("{} > {}", Endpoint{IpAddress(key.client), splice_ntohs(key.client_port)}.to_string(),
                       Endpoint{IpAddress(key.server), splice_ntohs(key.server_port)}.to_string());
}

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '&':
                out += "&amp;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

std::string trimmed(std::string text) {
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
}

// The verticals without anything between them.
std::string rails() {
    std::string line(kMargin + (kPlaces - 1) * kGap + 1, ' ');
    for (std::size_t i = 0; i < kPlaces; ++i) line[kMargin + i * kGap] = '|';
    return line;
}

// "|---- text --->|" between two verticals; text that is longer than the arrow is cut.
void draw_arrow(std::string& line, std::size_t from, std::size_t to, std::string_view text) {
    const std::size_t low = kMargin + std::min(from, to) * kGap + 1;
    const std::size_t width = (std::max(from, to) - std::min(from, to)) * kGap - 1;
    line.replace(low, width, std::string(width, '-'));
    line[from < to ? low + width - 1 : low] = from < to ? '>' : '<';
    const std::string_view label = text.substr(0, width - 6);
    line.replace(low + 2, label.size() + 2, fmt::format(" {} ", label));
}

}  // namespace

Ladder::Row* Ladder::add(const Step& step, Place from, Place to) {
    if (step.conversation == 0) return nullptr;
    if (conversations_.size() < step.conversation) conversations_.resize(step.conversation);
    Rungs& rungs = conversations_[step.conversation - 1];
    rungs.key = step.key;
    if (rows_ >= kMaxLadderRows) {
        ++left_out_;
        return nullptr;
    }
    ++rows_;
    rungs.rows.push_back(
        {.time = step.time - first_, .number = step.number, .from = from, .to = to, .text = {}});
    return &rungs.rows.back();
}

void Ladder::begins(const Step& step) {
    if (!started_) first_ = step.time;
    started_ = true;
}

void Ladder::add_arrow(const Step& step, Station from, Station to, Bytes packet, bool captured) {
    Row* const row = add(step, from.place, to.place);
    if (!row) return;
    row->text = numbers_of(packet);
    row->captured = captured;
    for (const Station& end : {from, to}) {
        if (end.place == Place::bridge) conversations_[step.conversation - 1].bridge = end.name;
    }
}

void Ladder::came(const Step& step, Station from, Station to, Bytes packet) {
    add_arrow(step, from, to, packet, true);
}

void Ladder::left(const Step& step, Station from, Station to, Bytes packet) {
    add_arrow(step, from, to, packet, false);
}

void Ladder::judged(const Step& step, Station where, Verdict verdict) {
    if (Row* row = add(step, where.place, where.place)) row->text = verdict_name(verdict);
}

void Ladder::chose(const Step& step, const Choice& choice) {
    if (Row* row = add(step, Place::balancer, Place::balancer))
        row->text = fmt::format("{} {}", choice.bridge, describe(choice));
}

void Ladder::noted(const Step& step, Place at, std::string_view text) {
    if (Row* row = add(step, at, at)) row->text = text;
}

void Ladder::print(Output& output) const {
    for (const Rungs& rungs : conversations_) {
        output.line(heading(rungs.key));
        std::string head(kMargin + (kPlaces - 1) * kGap + 16, ' ');
        for (std::size_t i = 0; i < kPlaces; ++i) {
            const std::string_view name =
                i == index_of(Place::bridge) && !rungs.bridge.empty() ? rungs.bridge : kNames[i];
            head.replace(kMargin + i * kGap, std::min<std::size_t>(name.size(), kGap - 1),
                         name.substr(0, kGap - 1));
        }
        output.line(trimmed(head));
        for (const Row& row : rungs.rows) {
            std::string line = rails();
            const std::string when = fmt::format("{:.6f} {}", std::chrono::duration<double>(row.time).count(),
                                                 row.number ? std::to_string(row.number) : "-");
            line.replace(0, std::min(when.size(), kMargin - 1), when.substr(0, kMargin - 1));
            if (row.from == row.to) {
                const std::size_t at = kMargin + index_of(row.from) * kGap + 2;
                if (line.size() < at + row.text.size()) line.resize(at + row.text.size(), ' ');
                line.replace(at, row.text.size(), row.text);
            } else {
                draw_arrow(line, index_of(row.from), index_of(row.to), row.text);
            }
            output.line(trimmed(line));
        }
        output.line("");
    }
    if (left_out_) output.line(fmt::format("{} more rows are left out", left_out_));
}

std::string Ladder::svg() const {
    std::size_t height = 0;
    for (const Rungs& rungs : conversations_) height += kHeadHeight + (rungs.rows.size() + 1) * kRowHeight;
    std::string out;
    const auto add_text = [&]<class... Arguments>(fmt::format_string<Arguments...> format,
                                                  Arguments&&... arguments) {
        fmt::format_to(std::back_inserter(out), format, std::forward<Arguments>(arguments)...);
    };
    add_text(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
        "font-family=\"monospace\" font-size=\"12\">\n"
        "<defs><marker id=\"tip\" markerWidth=\"9\" markerHeight=\"8\" refX=\"9\" refY=\"4\" orient=\"auto\">"
        "<path d=\"M0,0 L9,4 L0,8 z\" fill=\"context-stroke\"/></marker></defs>\n"
        "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n",
        kWidth, height + kRowHeight);
    int top = 0;
    for (const Rungs& rungs : conversations_) {
        const int rails_height = kRowHeight * (static_cast<int>(rungs.rows.size()) + 1);
        add_text("<text x=\"10\" y=\"{}\" font-weight=\"bold\">{}</text>\n", top + 24,
                 escaped(heading(rungs.key)));
        for (std::size_t i = 0; i < kPlaces; ++i) {
            const int x = kLeft + kPitch * static_cast<int>(i);
            const std::string_view name =
                i == index_of(Place::bridge) && !rungs.bridge.empty() ? rungs.bridge : kNames[i];
            add_text(
                "<text x=\"{0}\" y=\"{1}\" text-anchor=\"middle\">{4}</text>"
                "<line x1=\"{0}\" y1=\"{2}\" x2=\"{0}\" y2=\"{3}\" stroke=\"#999\"/>\n",
                x, top + kHeadHeight - 14, top + kHeadHeight - 6, top + kHeadHeight - 6 + rails_height,
                escaped(name));
        }
        int y = top + kHeadHeight + kRowHeight - 6;
        for (const Row& row : rungs.rows) {
            const int from = kLeft + kPitch * static_cast<int>(index_of(row.from));
            const int to = kLeft + kPitch * static_cast<int>(index_of(row.to));
            if (row.from == row.to) {
                const bool last = row.from == Place::backend;  // there is no room on its right
                add_text(
                    "<text x=\"{}\" y=\"{}\" fill=\"#666\" font-style=\"italic\" "
                    "text-anchor=\"{}\">{}</text>\n",
                    last ? from - 6 : from + 6, y - 2, last ? "end" : "start", escaped(row.text));
            } else {
                const std::string_view colour = row.captured ? "#1f6f3f" : "#1f4f9f";
                add_text("<text x=\"10\" y=\"{}\" fill=\"#666\">{:.6f}</text>\n", y - 2,
                         std::chrono::duration<double>(row.time).count());
                add_text(
                    "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{}\" "
                    "marker-end=\"url(#tip)\"/>\n",
                    from, y, to, y, colour);
                add_text(
                    "<text x=\"{}\" y=\"{}\" fill=\"{}\" text-anchor=\"middle\" "
                    "stroke=\"white\" stroke-width=\"4\" paint-order=\"stroke\">{}</text>\n",
                    (from + to) / 2, y - 3, colour, escaped(row.text));
            }
            y += kRowHeight;
        }
        top += kHeadHeight + rails_height;
    }
    out += "</svg>\n";
    return out;
}

}  // namespace splice::replay
