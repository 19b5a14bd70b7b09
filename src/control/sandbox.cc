#include "control/sandbox.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "abi/capability.h"
#include "base/mountinfo.h"
#include "control/capabilities.h"
#include "control/files.h"
#include "control/seccomp.h"

namespace ringloop::control {
namespace {

// ---- capabilities ------------------------------------------------------------------------------

bool has_locked_memory() {
    const auto text = read_text("/proc/self/status");
    if (!text) return true;
    const auto at = text->find("VmLck:");
    return at == std::string::npos ||
           !text->substr(at, text->find('\n', at) - at).contains(" 0 kB");
}

// RLIMIT_MEMLOCK counts for what is mapped after mlockall, too, unless one has CAP_IPC_LOCK.
bool needs_ipc_lock(const SandboxPlan&) {
    rlimit limit{};
    const bool finite = ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return finite && has_locked_memory();
}

// A socket's file goes with the device. Where the folder is another user's, even root may not
// remove it without more.
bool has_foreign_folder(const SandboxPlan& plan) {
    for (const int fd : plan.socket_folders) {
        struct stat folder{};
        if (::fstat(fd, &folder) != 0) continue;
        if (folder.st_uid != ::geteuid() && (folder.st_mode & S_IWOTH) == 0) return true;
    }
    return false;
}

enum class Of : u8 { server, keeper, all };

// All that is ever kept, where the server has it at all.
struct Kept {
    Capability capability;
    Of of;
    const char* why;
    bool (*needed)(const SandboxPlan&);
};
constexpr std::array kept_capabilities = {
    Kept{{CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
         Of::server,
         "the driver of the device takes orders from nobody else: resize, stop, remove",
         [](const SandboxPlan& plan) { return plan.transport != TransportChoice::socket; }},
    Kept{{CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"},
         Of::keeper,
         "a cgroup is found by its number (open_by_handle_at)",
         [](const SandboxPlan& plan) { return plan.lanes; }},
    Kept{{CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
         Of::server,
         "a socket is in a folder of another user, and is removed with the device",
         has_foreign_folder},
    Kept{{CAP_IPC_LOCK, "CAP_IPC_LOCK"},
         Of::all,
         "memory is locked and RLIMIT_MEMLOCK could not be lifted",
         needs_ipc_lock},
};

std::vector<Capability> capabilities_of(Of whom, const SandboxPlan& plan) {
    std::vector<Capability> needed;
    for (const Kept& kept : kept_capabilities) {
        const bool theirs = kept.of == Of::all || kept.of == whom;
        if (theirs && kept.needed(plan)) needed.push_back(kept.capability);
    }
    return needed;
}

// While that is permitted, so that nobody needs CAP_IPC_LOCK for it.
void lift_memlock() {
    const rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    if (has_capability(CAP_SYS_RESOURCE)) ::setrlimit(RLIMIT_MEMLOCK, &none);
}

// ---- one step after the other ------------------------------------------------------------------

Protection to_protection(const Status& status) {
    return status ? Protection{true, ""} : Protection{false, status.error().message};
}

Status refuse_new_privileges() {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno(errno, "no_new_privs");
    return {};
}

Status enter(const std::optional<Landlock>& rules) {
    TRY(refuse_new_privileges());
    return rules ? rules->enter() : Status();
}

// What any of its threads reads: facts of the system, of devices, and of whom a client is.
Status allow_facts(const Landlock& rules) {
    TRY(rules.allow("/proc", Landlock::Allow::read));
    TRY(rules.allow("/sys", Landlock::Allow::read));
    return {};
}

// Wherever they are mounted; the mount table of the server has the system's own only.
Status allow_cgroups(const Landlock& rules) {
    const auto text = read_text("/proc/self/mountinfo");
    for (const Mount& mount : parse_mountinfo(text.value_or(""))) {
        if (mount.type != "cgroup2" && mount.type != "cgroup") continue;
        TRY(rules.allow(mount.mount_point, Landlock::Allow::read));
    }
    return {};
}

}  // namespace

Status Sandbox::prepare(SandboxPlan plan) {
    plan_ = std::move(plan);
    if (!wanted()) return {};
    lift_memlock();
    shard_kept_ = capabilities_of(Of::all, plan_);
    report_.rings = {true, ""};
    report_.capabilities = {true, ""};
    report_.landlock = to_protection(prepare_rules());
    report_.seccomp = to_protection(system_call_filter_available());
    TRY(check_required());
    auto opener = Opener::start(plan_.device);
    if (!opener) return std::unexpected(std::move(opener).error());
    opener_ = std::move(*opener);
    return {};
}

Status Sandbox::prepare_rules() {
    auto server = Landlock::create(plan_.lanes);
    if (!server) return std::unexpected(std::move(server).error());
    auto worker = Landlock::create(plan_.lanes);
    if (!worker) return std::unexpected(std::move(worker).error());
    TRY(allow_facts(*server));
    TRY(allow_facts(*worker));
    if (plan_.lanes) TRY(allow_cgroups(*worker));
    server_rules_ = std::move(*server);
    worker_rules_ = std::move(*worker);
    return {};
}

// What the control thread writes and removes, and the node of its device, which exists by now.
Status Sandbox::allow_own_files() {
    if (!server_rules_) return {};
    if (plan_.runtime_fd >= 0) {
        TRY(server_rules_->allow(plan_.runtime_fd, Landlock::Allow::write));
    }
    for (const int folder : plan_.socket_folders) {
        TRY(server_rules_->allow(folder, Landlock::Allow::remove));
    }
    if (plan_.transport == TransportChoice::socket) return {};
    return server_rules_->allow(plan_.device, Landlock::Allow::device);
}

Status Sandbox::confine() {
    if (!wanted()) return {};
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return !plan_.lanes || keeper_confined_; });
        if (report_.landlock.on) {
            const Status allowed = allow_own_files();
            report_.landlock = to_protection(allowed ? enter(server_rules_) : allowed);
        }
        const auto kept = capabilities_of(Of::server, plan_);
        const Status dropped = keep_capabilities(kept);
        if (!dropped) report_.capabilities = to_protection(dropped);
        for (const Kept& each : kept_capabilities) {
            if (!each.needed(plan_) || ::geteuid() != 0) continue;
            report_.kept.push_back(fmt::format("{}: {}", each.capability.name, each.why));
        }
        if (report_.seccomp.on) {
            const Status silent = refuse_new_privileges();
            report_.seccomp = to_protection(
                silent ? filter_system_calls({.disk = plan_.transport != TransportChoice::socket,
                                              .netlink = plan_.transport == TransportChoice::nbd,
                                              .cgroups = plan_.lanes})
                       : silent);
        }
    }
    return check_required();
}

void Sandbox::confine_worker(Worker worker) {
    if (!wanted()) return;
    const Status entered = enter(worker_rules_);
    const Status dropped = worker == Worker::shard
                               ? keep_capabilities(shard_kept_)
                               : keep_capabilities(capabilities_of(Of::keeper, plan_));
    const std::lock_guard lock(mutex_);
    if (!entered && report_.landlock.on) report_.landlock = to_protection(entered);
    keeper_confined_ |= worker == Worker::keeper;
    changed_.notify_all();
    if (!dropped && report_.capabilities.on) report_.capabilities = to_protection(dropped);
}

void Sandbox::confine_survey(engine::Survey& survey) {
    survey.run({[](void* self) { static_cast<Sandbox*>(self)->confine_shard(); }, this});
}

void Sandbox::confine_lane() {
    if (const auto rules = Landlock::create(false); rules && refuse_new_privileges()) {
        static_cast<void>(rules->enter());
    }
    static_cast<void>(keep_capabilities({}));
    if (refuse_new_privileges()) static_cast<void>(filter_system_calls({}));
}

void Sandbox::note_ring(bool restricted) {
    if (restricted || !wanted()) return;
    const std::lock_guard lock(mutex_);
    report_.rings = {false, "this kernel does not restrict rings"};
}

Confinement Sandbox::report() const {
    Confinement report = report_;
    if (opener_) report.opener = to_protection(opener_->health());
    return report;
}

Status Sandbox::check_required() const {
    if (plan_.choice != SandboxChoice::require) return {};
    for (const auto& [name, part] :
         {std::pair{"capabilities", &report_.capabilities},
          std::pair{"landlock", &report_.landlock}, std::pair{"seccomp", &report_.seccomp},
          std::pair{"rings", &report_.rings}}) {
        if (part->on) continue;
        return fail(ENOTSUP,
                    "--sandbox=require: {}: {}; --sandbox=on does without what cannot be had", name,
                    part->reason);
    }
    return {};
}

}  // namespace ringloop::control
