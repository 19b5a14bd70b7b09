// One shard and one lane with their shared memory, in one thread: the kernels of both are scripted,
// and the test plays the keeper. Whoever turns the loops decides the order of everything.
#pragma once

#include <memory>
#include <vector>

#include "cgroup/lane_process.h"
#include "cgroup/shard_lanes.h"
#include "sim/device_under_test.h"

namespace ringloop::sim {

class LaneWorld {
public:
    static constexpr u64 tenant = 4711;
    static constexpr u64 own = 7;

    LaneWorld() {
        auto made = cgroup::Switchboard::create(1);
        ASSERT(made.has_value());
        board = std::move(*made);
        lanes = std::make_unique<cgroup::ShardLanes>(world.shard(), *board, 0, mailbox,
                                                     cgroup::Charge{.fixed = 0, .own = {own, 1}});
        world.shard().serve(*lanes);
        lane_handle.direct = {101, false};
        lane_handle.buffered = {102, false};
    }

    // What the shard has told the keeper, oldest first; read once.
    std::vector<cgroup::Letter*> letters() {
        std::vector<cgroup::Letter*> all;
        for (cgroup::Letter* letter = mailbox.take(); letter;) {
            all.push_back(letter);
            letter = std::exchange(letter->next, nullptr);
        }
        return all;
    }

    // Answers a want.
    void open(cgroup::Letter& want, u32 lane = 0) {
        cgroup::Seat& seat = *want.seat;
        serial = seat.serial;
        seat.answer.lane = lane;
        seat.answer.event = lane_event;
        start_lane(lane);
        lanes->opened(seat.answer);
    }
    void refuse(cgroup::Letter& want, u64 for_ns) {
        want.seat->answer.refused_for_ns = for_ns;
        lanes->refused(want.seat->answer);
    }
    // The lane is killed as it stands; the keeper notices.
    void kill() {
        process.reset();
        lane_kernel = {};
        note.to = lanes.get();
        note.serial = serial;
        note.lane = number;
        lanes->lost(note);
    }
    void release() {
        note.to = lanes.get();
        note.serial = serial;
        note.lane = number;
        lanes->release(note);
    }

    DeviceUnderTest world;
    ScriptedKernel lane_kernel;
    backing::Handle lane_handle;
    std::unique_ptr<cgroup::Switchboard> board;
    cgroup::Mailbox mailbox{UniqueFd()};
    std::unique_ptr<cgroup::ShardLanes> lanes;
    std::unique_ptr<cgroup::LaneProcess> process;
    cgroup::Note note;
    u64 serial = 0;
    u32 number = 0;

    static constexpr int shard_event = 201;
    static constexpr int lane_event = 202;

private:
    void start_lane(u32 lane) {
        number = lane;
        lane_kernel = {};
        board->reset(lane);
        process = std::make_unique<cgroup::LaneProcess>(lane_kernel, lane_handle, *board, lane,
                                                        events_, lane_event);
    }

    static constexpr int events_[] = {shard_event};
};

}  // namespace ringloop::sim
