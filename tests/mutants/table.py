"""The defects that run.py plants: each is one change of one place in the server's code."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutant:
    name: str
    what: str  # for the table in docs/testing.md
    file: str
    before: str  # exactly once in the file
    after: str
    unit: str = ""  # the source to compile, where the file is a header
    test: str = ""  # "engine_test:PlugTest.*": who has to notice, where no run can
    settings: tuple = ()  # of ringloop-sim, where a run needs something special


DISPATCH = "src/engine/dispatch.cc"
LANE = "src/engine/lane.cc"
PLUG = "src/engine/plug.cc"
SHARD = "src/engine/shard.cc"
DEVICE = "src/engine/device.cc"
QUEUE = "src/frontend/ublk/queue.cc"
WIRE = "src/frontend/ublk/wire.cc"
TRANSMISSION = "src/frontend/nbd/transmission.cc"
CONNECTION = "src/frontend/nbd/connection.cc"
REPLY = "src/frontend/nbd/reply.cc"
LANE_LINK = "src/cgroup/lane_link.cc"
LANE_PROCESS = "src/cgroup/lane_process.cc"
BACKING = "src/backing/backing.cc"

MUTANTS = (
    # ---- Durability.
    Mutant("flush-without-sync", "a flush is answered without a sync", DISPATCH,
           "if (device_.geometry().read_only) {", "if (true) {"),
    Mutant("flush-joins-running-sync", "a flush shares a sync that began before it", DISPATCH,
           "syncs_waiting_.push(transfer);", "syncs_covered_.push(transfer);"),
    Mutant("fua-without-sync", "a buffered FUA write is answered before its sync", DISPATCH,
           "} else if (transfer.needs_sync) {", "} else if (false) {"),
    Mutant("fua-sync-not-asked", "a buffered FUA write asks for no sync", DISPATCH,
           "if (transfer.fua && !transfer.durable) transfer.needs_sync = true;", ""),
    Mutant("fua-plain-write", "a direct FUA write goes as a plain one", BACKING,
           "if (access.kind == Access::Kind::write_durable) operation.rw_flags = RWF_DSYNC;", ""),
    Mutant("fua-merged", "a FUA write joins a transfer that is not durable", PLUG,
           "(request.op == Op::read || request.op == Op::write) && !request.fua;",
           "(request.op == Op::read || request.op == Op::write);"),
    Mutant("sync-failure-forgotten", "a failed sync does not poison the device", DISPATCH,
           "        dispatch.device_.poison(error);\n        dispatch.sync_ended",
           "        dispatch.sync_ended"),
    Mutant("other-shards-poison-ignored", "a sync succeeds while another shard's has failed",
           DISPATCH, "dispatch.device_.poisoned() ? Errno::io : Errno::ok", "Errno::ok",
           settings=("shards=3", "sync_error=20000", "flushes=30", "power_cuts=90", "lives=4",
                     "device_bytes=16384", "ports=1", "latency_us_max=2000")),
    Mutant("poison-not-inherited", "a recovered device has forgotten that it lost writes", DEVICE,
           "poisoned_.store(true, std::memory_order_release);", "",
           settings=("sync_error=50000", "lives=5", "kills=60", "power_cuts=30", "flushes=20",
                     "device_bytes=16384")),
    # ---- Bytes.
    Mutant("short-write-acknowledged", "a short write counts as a whole one", DISPATCH,
           "if (transfer.range.length > 0) {", "if (false) {"),
    Mutant("rest-from-the-start", "the rest of a short write begins with its first bytes again",
           DISPATCH,
           "if (moves_data(transfer)) drop_front(transfer.vectors.data(), transfer.vector_first, "
           "bytes);", ""),
    Mutant("rest-at-the-start", "the rest of a short write goes where its first bytes went",
           DISPATCH, "    transfer.range.offset += bytes;\n", ""),
    Mutant("neighbour-too-early", "a merged request is answered when its bytes begin", DISPATCH,
           "transfer.requests.front()->range.end() <= transfer.range.offset",
           "transfer.requests.front()->range.offset <= transfer.range.offset"),
    Mutant("merge-keeps-start", "a request that is merged in front does not move the start", PLUG,
           "        neighbour->range.offset = request.range.offset;\n", ""),
    Mutant("merge-any-kind", "a read joins a write", PLUG, "transfer.op == request.op && ", ""),
    Mutant("merge-across-overlap", "a request is merged past one that overlaps it", PLUG,
           "if (transfer->range.overlaps(request.range)) return nullptr;", "",
           test="engine_test:*Plug*"),
    Mutant("merge-across-flush", "a write is merged with one from before a flush", PLUG,
           "    if (request.op == Op::flush) {\n        recent_count_ = 0;",
           "    if (request.op == Op::flush) {", test="engine_test:*Plug*"),
    Mutant("merge-across-cgroups", "requests of two cgroups become one", PLUG,
           " && transfer.cgroup == request.cgroup &&", " &&", test="engine_test:*Plug*"),
    Mutant("end-off-by-one", "a request may end one sector behind the device", DEVICE,
           "if (!request.range.fits(size_now())) {",
           "if (!request.range.fits(size_now() + 512)) {"),
    Mutant("offset-forgotten", "data goes where the image begins and not the device", BACKING,
           "        .file = direct ? handle.direct : handle.buffered,\n"
           "        .offset = offset_ + access.range.offset,",
           "        .file = direct ? handle.direct : handle.buffered,\n"
           "        .offset = access.range.offset,"),
    Mutant("punch-offset-forgotten", "holes are punched where the image begins", BACKING,
           "        .code = Code::fallocate,\n        .file = handle.buffered,\n"
           "        .offset = offset_ + access.range.offset,",
           "        .code = Code::fallocate,\n        .file = handle.buffered,\n"
           "        .offset = access.range.offset,"),
    Mutant("discard-rounds-outwards", "a discard takes blocks that it names in part", DISPATCH,
           "const u64 begin = align_up(transfer.range.offset, alignment);",
           "const u64 begin = align_down(transfer.range.offset, alignment);"),
    Mutant("nounmap-ignored", "zeroes give their blocks back though asked to keep them", DISPATCH,
           "return transfer.no_unmap ? Kind::zero_keep : Kind::zero_unmap;",
           "return Kind::zero_unmap;"),
    Mutant("zeroes-not-written", "zeroes that cannot be punched are not written either", DISPATCH,
           "        if (transfer.op == Op::write_zeroes) {\n            zeroes_start(transfer);",
           "        if (transfer.op == Op::write_zeroes) {\n"
           "            finish(transfer, Errno::ok);"),
    # ---- Answers.
    Mutant("answered-twice", "a request is answered twice", DISPATCH,
           "    lane.answered(request);\n", "    lane.answered(request);\n"
           "    on_answer_(context_, request);\n"),
    Mutant("eagain-to-client", "EAGAIN leaves the server", DISPATCH,
           "access_failed(transfer, again ? Errno::io : error);", "access_failed(transfer, error);",
           settings=("again_late=900000",)),
    Mutant("split-loses-one", "of a merged request that failed only the first is tried again",
           DISPATCH,
           "while (Request* request = requests.pop()) {\n        Transfer& alone",
           "if (Request* request = requests.pop()) {\n        Transfer& alone"),
    Mutant("waiting-sync-forgotten", "flushes that waited for a sync are never synced", DISPATCH,
           "if (Transfer* next = syncs_waiting_.pop()) {",
           "if (Transfer* next = nullptr; next != nullptr) {"),
    Mutant("held-forgotten", "of the writes that wait for room only one is tried again", SHARD,
           "while (Request* request = held.pop()) admit(*request);",
           "if (Request* request = held.pop()) admit(*request);",
           settings=("on_error=2", "sparse=1", "block_device=0", "full=20", "depth=16", "reads=10",
                     "lives=1", "sets=0")),
    Mutant("stop-spares-flushes", "a flush succeeds on a device that has stopped", DEVICE,
           "return poisoned() || stopped() ? Errno::io : Errno::ok;",
           "return poisoned() ? Errno::io : Errno::ok;",
           settings=("on_error=1", "io_error=20000", "flushes=20", "reads=20", "sets=0")),
    Mutant("no-nowait-is-final", "a file that takes no NOWAIT fails the request",
           "src/engine/nowait.h",
           "            stats_.nowait_unsupported.add(1);\n            return true;",
           "            stats_.nowait_unsupported.add(1);\n            return false;", unit=LANE),
    # ---- Bounds and bookkeeping.
    Mutant("hint-not-decremented", "a blocking write is counted for ever", LANE,
           "        blocking_writes_.fetch_sub(1, std::memory_order_relaxed);\n", ""),
    Mutant("serial-slot-leaks", "the serial list's turn is not given back", LANE,
           "case LanePlace::serial: --serial_; break;", "case LanePlace::serial: break;"),
    Mutant("worker-slot-leaks", "a worker is not given back", LANE,
           "case LanePlace::concurrent: --concurrent_; break;",
           "case LanePlace::concurrent: break;"),
    Mutant("freeze-lets-one-through", "a frozen shard admits requests", SHARD,
           "    if (frozen_) {\n        frozen_out_.push(request);\n        return;\n    }\n", ""),
    Mutant("frozen-too-early", "a shard is frozen with requests in flight", SHARD,
           "if (frozen_ && on_frozen_ && inflight_ == 0) {", "if (frozen_ && on_frozen_) {"),
    Mutant("thaw-forgets", "of the requests held by a freeze only the first goes on", SHARD,
           "while (Request* request = arrived.pop()) admit(*request);",
           "if (Request* request = arrived.pop()) admit(*request);"),
    # ---- The ublk frontend.
    Mutant("ublk-fua-dropped", "the driver's FUA flag is not seen", WIRE,
           "request.fua = (descriptor.op_flags & wire::io_flag_fua) != 0;", "request.fua = false;",
           settings=("ports=2",)),
    Mutant("ublk-nounmap-dropped", "the driver's NOUNMAP flag is not seen", WIRE,
           "request.no_unmap = (descriptor.op_flags & wire::io_flag_no_unmap) != 0;",
           "request.no_unmap = false;", settings=("ports=2",)),
    Mutant("ublk-read-of-nothing", "a read is committed with no bytes", WIRE,
           "return carries_data(request.op) ?", "return request.op == engine::Op::write ?"),
    Mutant("ublk-other-descriptor", "a tag takes the descriptor of the first one", QUEUE,
           "queue.descriptors_[slot.tag];", "queue.descriptors_[0];"),
    Mutant("ublk-other-tag", "a commit names another tag", QUEUE,
           ".tag = slot.tag,", ".tag = static_cast<u16>(slot.tag / 2),"),
    Mutant("ublk-buffers-overlap", "two tags share a part of their buffers", QUEUE,
           "slot.request.buffer = buffer + u64{tag} * io_bytes_max_;",
           "slot.request.buffer = buffer + u64{tag} * (io_bytes_max_ - 4096);"),
    # ---- The NBD frontend.
    Mutant("nbd-fua-dropped", "FUA of a short write is not seen", TRANSMISSION,
           "lead.fua = lead.command.fua;", "lead.fua = false;", settings=("ports=4",)),
    Mutant("nbd-long-fua-dropped", "FUA of a write in pieces is not seen", TRANSMISSION,
           "} else if (lead.command.fua) {", "} else if (false) {",
           settings=("ports=4", "job_bytes_max=65536", "fua=60", "lives=4", "power_cuts=90")),
    Mutant("nbd-no-hole-ignored", "NO_HOLE is not seen", TRANSMISSION,
           "slot.no_unmap = slot.command.no_hole;", "slot.no_unmap = false;",
           settings=("ports=4",)),
    Mutant("nbd-piece-error-forgotten", "a piece that was not written fails nobody", TRANSMISSION,
           "if (lead.error == Errno::ok) lead.error = piece.result;", "",
           settings=("ports=4", "job_bytes_max=65536", "io_error=20000")),
    Mutant("nbd-pieces-overlap", "each piece of a write goes to its beginning", TRANSMISSION,
           "target_->range = {lead.command.range.offset + lead.started_bytes,",
           "target_->range = {lead.command.range.offset,",
           settings=("ports=4", "job_bytes_max=700416", "device_bytes=1048576", "jobs=300",
                     "depth=2")),
    Mutant("nbd-first-piece-answers", "a write is answered with its first piece", TRANSMISSION,
           "if (lead.pieces > 0 || receiving_ == &lead) return;",
           "if (receiving_ == &lead) return;",
           settings=("ports=4", "job_bytes_max=700416", "device_bytes=1048576", "jobs=300",
                     "depth=2")),
    Mutant("nbd-other-cookie", "a chunk carries another request's cookie", REPLY,
           "                                     .cookie = command.cookie,\n"
           "                                     .length = static_cast<u32>(length)",
           "                                     .cookie = command.cookie ^ 1,\n"
           "                                     .length = static_cast<u32>(length)",
           settings=("ports=4",)),
    Mutant("nbd-sent-again", "the rest of a message begins at its start again", CONNECTION,
           "    drop_front(self.vectors_.data(), self.vector_begin_, taken);\n",
           "    if (taken == self.sending_bytes_) {\n"
           "        drop_front(self.vectors_.data(), self.vector_begin_, taken);\n    }\n",
           settings=("ports=4",)),
    # ---- Lanes of other cgroups.
    Mutant("lane-lost-is-done", "what a dead lane had counts as done", LANE_LINK,
           "completion.result = engine::lane_lost;",
           "completion.result = static_cast<i32>(completion.operation.length);",
           settings=("tenants=3", "lanes_killed=100000")),
    Mutant("lane-done-is-lost-too", "what a lane has done is done once more when it dies",
           LANE_LINK, "*std::exchange(jobs_[number], nullptr);", "*jobs_[number];",
           settings=("tenants=3", "lanes_killed=100000")),
    Mutant("lane-sleeps-on", "nobody wakes a lane that sleeps", LANE_LINK,
           "    return lane_->ring(shard_);",
           "    static_cast<void>(lane_->ring(shard_));\n    return false;",
           settings=("tenants=3",)),
    Mutant("lane-other-result", "a lane answers with what the job before had", LANE_PROCESS,
           "    job.result = task.result;\n", "", settings=("tenants=3",)),
    Mutant("lane-not-left", "a request that went to the root lane is still its old lane's",
           DISPATCH, "    transfer.lane->withdraw(transfer);\n    root_.enter(transfer);",
           "    root_.enter(transfer);", settings=("tenants=3", "lanes_killed=100000")),
)
