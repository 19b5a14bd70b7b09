// The ublk driver as a server meets it: requests of the disk wait for a tag that is armed, are
// handed over by its command, and end with the commit. Copy mode, with user recovery and reissue:
// what a dead server had not committed is given to the next one. Documentation/block/ublk.rst.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "abi/ublk.h"
#include "cgroup/issuers.h"
#include "frontend/ublk/queue.h"
#include "sim/port.h"

namespace ringloop::sim {

class UblkDriver final : public Port, public Endpoint {
public:
    struct Options {
        u32 queues = 1;                // one for each seat of every server
        u32 depth = 16;                // tags of a queue
        u32 io_bytes_max = 256 * kib;  // of one read or write; whole pages
        u64 delay_ns_max = 50'000;     // of a hand-over or an abort; at least 1
    };

    // `audience` and `machine` outlive the driver. The driver outlives the timeline's last step.
    UblkDriver(Machine& machine, Audience& audience, const Options& options);
    ~UblkDriver() override;

    // The driver has no prefetch, and reads and writes of io_bytes_max at most: the block layer
    // would cut longer ones. Whole sectors.
    static bool takes(const Job& job) { return job.op != engine::Op::prefetch; }

    void start(Server& server) override;
    void send(Job& job) override;
    u32 depth() const override { return options_.queues * options_.depth; }

    // Also with jobs left: they are still handed over and answered, and a tag is aborted once it
    // has none.
    void stop() override;
    bool ended() const override;
    void killed(bool power_cut) override;
    void clear() override;

    const std::string& violation() const override { return violation_; }

    // Hand-overs, those among them of a job that a dead server had, and of what was left of one
    // after a short commit.
    u64 handed_over() const { return handed_over_; }
    u64 reissued() const { return reissued_; }
    u64 resent() const { return resent_; }

    void start(Kernel& kernel, io::Completion& completion) override;
    bool cancel(Kernel& kernel, io::Completion& completion) override;

private:
    struct Tag;
    enum class State : u8 { cleared, serving, stopping, killed };

    Tag& tag_of(u32 queue, u32 number) { return *tags_[queue * options_.depth + number]; }
    Tag* free_tag();
    void seat_start(u32 index, const Seat& seat);
    void command_on_server(Kernel& kernel, io::Completion& completion);
    bool arm(Tag& tag, Kernel& kernel, io::Completion& completion);
    void commit(Tag& tag, i32 result);
    void answer(Tag& tag, i32 error);
    void wake(Tag& tag);
    static void tag_on_time(Event& event);
    void hand_over(Tag& tag);
    void describe(const Tag& tag);
    void scribble(std::byte* bytes, u64 length);
    void violate(const char* what, const Tag* tag);

    Machine& machine_;
    Audience& audience_;
    const Options options_;
    State state_ = State::cleared;
    bool power_cut_ = false;  // the disk's requests went with the machine
    bool encoded_opcodes_ = true;
    std::vector<std::unique_ptr<Tag>> tags_;  // by queue and number
    std::vector<abi::ublk::IoDescriptor> descriptors_;
    std::vector<u64> issuer_slots_;
    cgroup::Issuers issuers_;
    std::vector<Kernel*> kernels_;                       // of this life, by queue
    std::vector<std::unique_ptr<ublk::Queue>> servers_;  // of this life, by queue
    u64 handed_over_ = 0;
    u64 reissued_ = 0;
    u64 resent_ = 0;
    std::string violation_;
};

}  // namespace ringloop::sim
