// The sandbox of a server: what it may still do once it is set up. Whoever takes it over then, by a
// defect in what reads clients' bytes, gets the image that it serves and its own files, but no
// other file, no program, no connection. ARCHITECTURE.md, "Sandbox", says what is left and why.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/capabilities.h"
#include "control/harden.h"
#include "control/landlock.h"
#include "control/opener.h"
#include "control/options.h"
#include "engine/survey.h"

namespace ringloop::control {

// What this device needs of the system after it was set up.
struct SandboxPlan {
    SandboxChoice choice = SandboxChoice::on;
    TransportChoice transport = TransportChoice::socket;
    std::string device;               // "/dev/ublkb0"; of a socket its URI
    bool lanes = false;               // processes in other cgroups come and go
    int runtime_fd = -1;              // the runtime directory; -1: it has no files of its own
    std::vector<int> socket_folders;  // in which it has made sockets, and removes them
};

class Sandbox {
public:
    // Control thread, before there are others: starts the opener, and prepares the rules. With
    // `require`, an error where a part cannot be had here.
    Status prepare(SandboxPlan plan);

    // Control thread: the last step of a start, when all threads run. With `require`, an error
    // where any part could not be had. A server does not get out again.
    Status confine();

    // Each other thread by itself, when it has opened what it needs, and before the control thread:
    // confine() waits for a keeper's. Failures are reported. Without one it allocates nothing: a
    // shard serves already.
    void confine_shard() { confine_worker(Worker::shard); }
    void confine_keeper() { confine_worker(Worker::keeper); }
    // The survey's thread, asked to do it by the control thread.
    void confine_survey(engine::Survey& survey);
    // A lane: a process by itself, so nobody hears of failures.
    static void confine_lane();

    // Whether rings are to be restricted, and whether one of them is. Any thread.
    bool wanted() const { return plan_.choice != SandboxChoice::off; }
    void note_ring(bool restricted);

    // Any time; complete after confine(). Control thread.
    Confinement report() const;

private:
    enum class Worker : u8 { shard, keeper };
    void confine_worker(Worker worker);
    Status prepare_rules();
    Status allow_own_files();
    Status check_required() const;

    SandboxPlan plan_{.choice = SandboxChoice::off};
    std::unique_ptr<Opener> opener_;
    std::optional<Landlock> server_rules_;
    std::optional<Landlock> worker_rules_;
    std::condition_variable changed_;
    std::vector<Capability> shard_kept_;
    bool keeper_confined_ = false;  // guarded by mutex_
    std::mutex mutex_;              // of report_, which workers write to before confine() returns
    Confinement report_;
};

}  // namespace ringloop::control
