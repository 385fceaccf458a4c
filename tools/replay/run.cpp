#include "tools/replay/run.hpp"

#include "tools/replay/replayer.hpp"
#include "tools/replay/survey.hpp"

namespace splice::replay {
namespace {

template <class Take>
SystemResult<void> for_each_packet(const std::string& path, Take&& take) {
    auto reader = PcapReader::open(path);
    if (!reader) return std::unexpected(reader.error());
    for (;;) {
        const auto packet = reader->next();
        if (!packet) return std::unexpected(packet.error());
        if (!*packet) return {};
        take(**packet);
    }
}

}  // namespace

Fleets survey_capture(const std::string& path, Checksums checksums) {
    Survey survey;
    Mender mender(checksums);
    // What stands before a damage is replayed, too; the replay will meet the damage again and tell it.
    (void)for_each_packet(path, [&](const CapturedPacket& packet) { survey.take(mender.mend(packet)); });
    return survey.services();
}

SystemResult<void> replay_capture(const std::string& path, Fleets& fleets, std::vector<Observer*> observers,
                                  Checksums checksums) {
    Replayer replayer(fleets, std::move(observers), checksums);
    auto done = for_each_packet(path, [&](const CapturedPacket& packet) { replayer.take(packet); });
    replayer.finish();
    return done;
}

}  // namespace splice::replay
