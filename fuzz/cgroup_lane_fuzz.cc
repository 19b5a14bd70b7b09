// A lane gone mad: the input is the script of one that writes anything into the memory that it
// shares with a shard, of the keeper that starts and ends it, and of whoever sends requests. The
// shard must go on, give the engine nothing that no kernel would answer, complain of a lane that
// lies, and answer every request exactly once.
#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "base/assert.h"
#include "sim/fuzzing.h"
#include "sim/lane_world.h"

namespace ringloop::cgroup {
namespace {

using engine::Op;
using sim::DeviceUnderTest;
using sim::LaneWorld;
using Kind = Letter::Kind;

constexpr u32 requests_max = 32;

class Player {
public:
    void play(sim::Script script) {
        while (!script.ended()) {
            switch (script.take<u8>() % 12) {
                case 0:
                case 1: submit(script); break;
                case 2: sim_.world.pass(); break;
                case 3: keep(script.take<u8>()); break;
                case 4: complete_honestly(script.take<u8>()); break;
                case 5: lie_about_numbers(script); break;
                case 6: lie_about_count(script); break;
                case 7: lie_about_result(script); break;
                case 8: overwrite(script); break;
                case 9: sim_.board->shard(0).ring(script.take<u8>() % 64); break;
                case 10: root_completes(script.take<u8>()); break;
                case 11: open(); break;
            }
        }
        finish();
    }

private:
    void submit(sim::Script& script) {
        const auto what = script.take<u8>();
        const auto where = script.take<u8>();
        if (used_ == requests_max) return;
        sim::TestRequest& request = requests_[used_];
        request.op = static_cast<Op>(what % engine::op_count);
        request.cgroup = (what & 64) != 0 ? 0 : LaneWorld::tenant;
        request.fua = (what & 128) != 0 && request.op == Op::write;
        request.buffer = sim_.world.buffer(used_++);
        if (request.op != Op::flush) request.range = {where * 4 * kib, (where % 4 + 1) * 4 * kib};
        sim_.world.shard().submit(request);
    }

    Channel& channel() { return sim_.board->channel(0, 0); }

    // What the shard published last is done, as a lane would.
    void complete_honestly(u8 how) {
        if (!is_open_) return;
        const u32 submitted = channel().submitted.load();
        if (taken_ == submitted) return;
        const u16 number = channel().submissions[taken_++ % jobs_max];
        ASSERT(number < jobs_max || has_lied_);
        if (number >= jobs_max) return;
        Job& job = channel().jobs[number];
        const bool moves = job.operation.code <= io::Operation::Code::writev;
        job.result = how % 8 == 7 ? -EIO : moves ? static_cast<i32>(job.operation.length) : 0;
        const u32 completed = channel().completed.load();
        channel().completions[completed % jobs_max] = number;
        channel().completed.store(completed + 1);
        sim_.board->shard(0).ring(0);
    }

    // From here on nobody promises anything of this lane.
    void lie_about_numbers(sim::Script& script) {
        has_lied_ = true;
        const auto at = script.take<u8>();
        const auto number = script.take<u16>();
        channel().completions[at] = number;
    }
    void lie_about_count(sim::Script& script) {
        has_lied_ = true;
        const auto kind = script.take<u8>();
        const auto count = script.take<u32>();
        if (kind % 4 == 0) channel().submitted.store(count);
        if (kind % 4 == 1) channel().workers.store(count);
        if (kind % 4 == 2) channel().completed.store(count);
        if (kind % 4 == 3) channel().completed.fetch_add(count % 4);
        sim_.board->shard(0).ring(0);
    }
    void lie_about_result(sim::Script& script) {
        has_lied_ = true;
        Job& job = channel().jobs[script.take<u8>()];
        job.result = script.take<i32>();
        job.call_ns = script.take<u64>();
    }
    void overwrite(sim::Script& script) {
        has_lied_ = true;
        Job& job = channel().jobs[script.take<u8>()];
        const auto byte = script.take<u8>();
        std::memset(static_cast<void*>(&job), byte, sizeof job);
    }

    // The letters of the shard, as the keeper takes them.
    void read_letters() {
        for (Letter* letter : sim_.letters()) {
            switch (letter->kind) {
                case Kind::want:
                    ASSERT(!want_);
                    want_ = letter;
                    break;
                case Kind::broken: ASSERT(has_lied_ && letter->lane == 0); break;
                case Kind::kept: note_is_out_ = false; break;
                case Kind::released: is_open_ = false; [[fallthrough]];
                case Kind::gone:
                    note_is_out_ = false;
                    delete letter->seat;
                    break;
            }
        }
    }
    void open() {
        read_letters();
        if (!want_ || is_open_) return;
        sim_.open(*std::exchange(want_, nullptr));
        is_open_ = true;
        has_lied_ = false;
        taken_ = 0;
    }
    void kill() {
        note_is_out_ = true;
        is_open_ = false;
        sim_.kill();
    }
    void keep(u8 how) {
        read_letters();
        if (want_ && how % 4 == 0) {
            sim_.refuse(*std::exchange(want_, nullptr), how * 100u);
        } else if (is_open_ && !note_is_out_ && how % 4 == 1) {
            kill();
        } else if (is_open_ && !note_is_out_ && how % 4 == 2) {
            note_is_out_ = true;
            sim_.release();
        }
    }

    // What the kernel says is believed, so it is true here.
    void root_completes(u8 how) {
        auto& pending = sim_.world.kernel.pending;
        if (pending.empty()) return;
        const io::Operation& operation = pending.front()->operation;
        ASSERT(operation.code == io::Operation::Code::fdatasync ||
               (ByteRange{operation.offset, operation.length}.fits(DeviceUnderTest::image_bytes)));
        const bool moves = operation.code <= io::Operation::Code::writev;
        const i32 all = moves ? static_cast<i32>(operation.length) : 0;
        sim_.world.kernel.complete_first(how % 8 == 7 ? -EIO : all);
    }

    void finish() {
        for (u32 turn = 0; !quiet(); ++turn) {
            ASSERT(turn < 10'000);
            read_letters();
            if (want_) sim_.refuse(*std::exchange(want_, nullptr), ~u32{0});
            if (is_open_ && !note_is_out_) kill();
            root_completes(0);
            sim_.world.pass();
        }
        for (u32 i = 0; i < used_; ++i) ASSERT(requests_[i].answers == 1);
        const engine::ShardStats& stats = sim_.world.shard().stats();
        ASSERT(stats.started.get() == stats.finished.get());
        ASSERT(stats.root_lane.started.get() == stats.root_lane.finished.get());
        ASSERT(sim_.world.device().blocking_writes() == 0);
    }
    bool quiet() {
        read_letters();
        return !is_open_ && !want_ && !note_is_out_ &&
               std::none_of(requests_.begin(), requests_.begin() + used_,
                            [](const auto& request) { return request.active; });
    }

    LaneWorld sim_;
    std::array<sim::TestRequest, requests_max> requests_;
    u32 used_ = 0;
    u32 taken_ = 0;  // of the shard's jobs, by the honest half of the lane
    Letter* want_ = nullptr;
    bool is_open_ = false;
    bool note_is_out_ = false;  // to the shard, about the lane
    bool has_lied_ = false;     // this lane, since it was opened
};

}  // namespace
}  // namespace ringloop::cgroup

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments);
extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size);

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
    ringloop::sim::be_quiet(count, arguments);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size) {
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    ringloop::cgroup::Player().play(ringloop::sim::Script(input));
    return 0;
}
