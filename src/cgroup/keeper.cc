#include "cgroup/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>

#include "base/log.h"

namespace ringloop::cgroup {
namespace {

// How often lanes are looked at while there are any.
constexpr u64 tick_ms = 1000;
// A cgroup whose lane could not be started, or was lost, gets the next one after this, and twice as
// much each time that it goes wrong again; forgotten when it went well for as long as that.
constexpr u64 setback_ms = 1000;
constexpr u32 setback_doublings_max = 6;
constexpr std::chrono::seconds reap_timeout{5};

u64 clock_ms() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<u64>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

u64 in_flight(const engine::LaneStats& stats) {
    // In this order: what is counted in between looks as if it were in flight.
    const u64 finished = stats.finished.get();
    return stats.started.get() - finished;
}

}  // namespace

struct Keeper::Tenant {
    enum class State : u8 { vacant, live, retiring, ending, losing };

    // One shard's part.
    struct Part {
        Seat* seat = nullptr;  // it has one that is open
        Note release;
        Note lost;
    };

    // What shards did that have let go of their seats.
    struct Past {
        u64 requests = 0;
        u64 bytes_read = 0;
        u64 bytes_written = 0;
    };

    State state = State::vacant;
    u32 number = 0;
    u64 id = 0;
    std::string path;
    Process process;
    UniqueFd event;
    std::vector<Part> parts;  // by shard
    Past past;
    u32 replies = 0;        // that are due
    std::string why;        // it is being killed, other than for being idle
    u64 seen_requests = 0;  // when it was looked at last
    u64 active_ms = 0;      // when it had done something, or had something to do

    u64 finished() const {
        u64 sum = past.requests;
        for (const Part& part : parts) sum += part.seat ? part.seat->stats.finished.get() : 0;
        return sum;
    }
    u64 inflight() const {
        u64 sum = 0;
        for (const Part& part : parts) sum += part.seat ? in_flight(part.seat->stats) : 0;
        return sum;
    }
    const char* state_text() const {
        switch (state) {
            case State::vacant: return "none";
            case State::live: return inflight() > 0 ? "busy" : "idle";
            case State::retiring:
            case State::ending: return "ending";
            case State::losing: return "lost";
        }
        return "";
    }
};

struct Keeper::Setback {
    u64 id = 0;
    u32 times = 0;
    u64 until_ms = 0;
};

Result<std::unique_ptr<Keeper>> Keeper::create(const Hierarchies& hierarchies,
                                               const backing::Backing& backing,
                                               engine::Device& device, const Options& options) {
    if (options.shards > shards_max) {
        return fail(EINVAL, "lanes for cgroups serve {} queues at most; use --queues {}",
                    shards_max, shards_max);
    }
    std::unique_ptr<Keeper> keeper(new Keeper(hierarchies, device, options));
    TRY(keeper->prepare(backing));
    keeper->thread_ = std::thread([&self = *keeper] { self.run(); });
    return keeper;
}

Keeper::Keeper(const Hierarchies& hierarchies, engine::Device& device, const Options& options)
    : hierarchies_(hierarchies),
      device_(device),
      options_(options),
      charge_{.fixed = options.fixed, .own = {hierarchies.own_id(), Hierarchies::root_id}},
      shards_(options.shards),
      shard_lanes_(options.shards),
      idle_ms_(options.idle_ms) {
    for (u32 number = 0; number < lanes_max; ++number) {
        tenants_.push_back(std::make_unique<Tenant>());
        tenants_.back()->number = number;
        tenants_.back()->parts = std::vector<Tenant::Part>(options.shards);
    }
}

Status Keeper::prepare(const backing::Backing& backing) {
    auto board = Switchboard::create(options_.shards);
    if (!board) return std::unexpected(std::move(board).error());
    board_ = std::move(*board);
    context_ = {.image_fd = backing.fd(), .board = board_.get(), .events = {}, .held_fd = -1};
    std::vector<int> kept = {backing.fd()};
    for (u32 shard = 0; shard < options_.shards; ++shard) {
        events_.emplace_back(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        if (!events_.back()) return fail_errno(errno, "cannot create an eventfd");
        context_.events.push_back(events_.back().get());
        kept.push_back(events_.back().get());
    }
    context_.held_fd = options_.held_fd;
    context_.confine = options_.confine_lane;
    if (options_.held_fd >= 0) kept.push_back(options_.held_fd);
    UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) return fail_errno(errno, "cannot create an eventfd");
    mailbox_ = std::make_unique<Mailbox>(std::move(event));
    auto spawner = Spawner::start(lane_entry, &context_, kept);
    if (!spawner) return std::unexpected(std::move(spawner).error());
    spawner_ = std::make_unique<Spawner>(std::move(*spawner));
    return {};
}

Keeper::~Keeper() {
    stop();
    // What shards sent, and nobody read any more.
    for (Letter* letter = mailbox_ ? mailbox_->take() : nullptr; letter;) {
        Letter* next = letter->next;
        if (letter->kind == Letter::Kind::released || letter->kind == Letter::Kind::gone) {
            delete letter->seat;
        }
        letter = next;
    }
}

Result<UniqueFd> Keeper::wakeup_of(u32 shard) const {
    UniqueFd event(::fcntl(events_[shard].get(), F_DUPFD_CLOEXEC, 0));
    if (!event) return fail_errno(errno, "cannot duplicate an eventfd");
    return event;
}

std::unique_ptr<ShardLanes> Keeper::join(u32 index, engine::Shard& shard) {
    auto lanes = std::make_unique<ShardLanes>(shard, *board_, index, *mailbox_, charge_);
    shard.serve(*lanes);
    const std::lock_guard lock(mutex_);
    shards_[index] = &shard;
    shard_lanes_[index] = lanes.get();
    return lanes;
}

void Keeper::leave(u32 index) {
    const std::lock_guard lock(mutex_);
    ASSERT(stopping_ || shard_lanes_[index]->empty());
    shards_[index] = nullptr;
    shard_lanes_[index] = nullptr;
}

void Keeper::stop() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    mailbox_->wake();
    thread_.join();
    for (const auto& tenant : tenants_) {
        if (tenant->state != Tenant::State::vacant) Spawner::kill(tenant->process);
    }
    for (const auto& tenant : tenants_) {
        if (tenant->state == Tenant::State::vacant) continue;
        pollfd life = {.fd = tenant->process.life.get(), .events = POLLIN, .revents = 0};
        static_cast<void>(::poll(&life, 1, static_cast<int>(tick_ms)));
    }
    spawner_.reset();
}

void Keeper::run() {
    ::prctl(PR_SET_NAME, "ringloop-keeper");
    if (options_.confine) options_.confine();
    for (;;) {
        wait();
        std::unique_lock lock(mutex_);
        if (stopping_) return;
        const u64 now_ms = clock_ms();
        for (Letter* letter = mailbox_->take(); letter;) {
            Letter* next = std::exchange(letter->next, nullptr);
            handle(*letter, now_ms);
            letter = next;
        }
        tick(now_ms);
        changed_.notify_all();
    }
}

// Until a letter comes, a lane ends, or it is time to look at them. Only this thread changes which
// lanes there are.
void Keeper::wait() {
    std::array<pollfd, lanes_max + 1> fds;
    std::array<Tenant*, lanes_max + 1> whose{};
    u32 count = 0;
    fds[count++] = {.fd = mailbox_->event(), .events = POLLIN, .revents = 0};
    for (const auto& tenant : tenants_) {
        const bool watched =
            tenant->state != Tenant::State::vacant && tenant->state != Tenant::State::losing;
        if (!watched) continue;
        whose[count] = tenant.get();
        fds[count++] = {.fd = tenant->process.life.get(), .events = POLLIN, .revents = 0};
    }
    const int timeout_ms = count > 1 ? static_cast<int>(tick_ms) : -1;
    if (::poll(fds.data(), count, timeout_ms) <= 0) return;
    u64 posted = 0;
    [[maybe_unused]] const ssize_t bytes = ::read(mailbox_->event(), &posted, sizeof posted);
    const std::lock_guard lock(mutex_);
    for (u32 i = 1; i < count; ++i) {
        if (fds[i].revents != 0) ended(*whose[i], clock_ms());
    }
}

void Keeper::handle(Letter& letter, u64 now_ms) {
    if (letter.kind == Letter::Kind::want) {
        want(letter, now_ms);
        return;
    }
    Tenant& tenant = *tenants_[letter.lane];
    if (letter.kind == Letter::Kind::broken) {
        kill(tenant, "it wrote into its shared memory what no lane writes");
        return;
    }
    const bool lost = letter.kind == Letter::Kind::gone;
    if (letter.seat) let_go(tenant, letter.shard, letter.seat);
    // A lane may have ended while it was being retired: then only the shards that lost it count.
    if (lost != (tenant.state == Tenant::State::losing)) return;
    if (--tenant.replies > 0) return;
    lost ? vacate(tenant) : retired(tenant);
    ask_again(now_ms);
}

void Keeper::want(Letter& letter, u64 now_ms) {
    const u64 id = letter.seat->cgroup;
    Tenant* tenant = tenant_of(id);
    if (tenant && tenant->state == Tenant::State::live) {
        open(letter, *tenant);
        return;
    }
    const u64 wait_ms = set_back_for_ms(id, now_ms);
    if (wait_ms > 0) {
        refuse(letter, wait_ms);
        return;
    }
    if (!tenant) {
        const bool room = make_room() != nullptr;
        const bool ending = std::ranges::any_of(tenants_, [](const auto& other) {
            return other->state != Tenant::State::live && other->state != Tenant::State::vacant;
        });
        if (room) {
            tenant = start(id);
            tenant ? open(letter, *tenant) : refuse(letter, set_back_for_ms(id, now_ms));
            return;
        }
        if (!ending) {
            trouble(id, fmt::format("{} cgroups are busy with this device already", lanes_max));
            refuse(letter, set_back_for_ms(id, now_ms));
            return;
        }
    }
    // Until the lane that is ending has ended.
    letter.next = std::exchange(parked_, &letter);
}

void Keeper::ask_again(u64 now_ms) {
    for (Letter* letter = std::exchange(parked_, nullptr); letter;) {
        Letter* next = std::exchange(letter->next, nullptr);
        want(*letter, now_ms);
        letter = next;
    }
}

void Keeper::open(Letter& letter, Tenant& tenant) {
    Seat& seat = *letter.seat;
    Tenant::Part& part = tenant.parts[letter.shard];
    ASSERT(part.seat == nullptr);
    part.seat = &seat;
    for (Note* note : {&part.release, &part.lost}) {
        note->to = shard_lanes_[letter.shard];
        note->serial = seat.serial;
        note->lane = tenant.number;
    }
    part.release.run = [](engine::Message& note, engine::Shard&) {
        static_cast<Note&>(note).to->release(static_cast<Note&>(note));
    };
    part.lost.run = [](engine::Message& note, engine::Shard&) {
        static_cast<Note&>(note).to->lost(static_cast<Note&>(note));
    };
    seat.answer.lane = tenant.number;
    seat.answer.event = tenant.event.get();
    seat.answer.run = [](engine::Message& answer, engine::Shard&) {
        static_cast<Answer&>(answer).to->opened(static_cast<Answer&>(answer));
    };
    tenant.active_ms = clock_ms();
    shards_[letter.shard]->post(seat.answer);
}

void Keeper::refuse(Letter& letter, u64 for_ms) {
    Seat& seat = *letter.seat;
    seat.answer.refused_for_ns = for_ms * 1'000'000;
    seat.answer.run = [](engine::Message& answer, engine::Shard&) {
        static_cast<Answer&>(answer).to->refused(static_cast<Answer&>(answer));
    };
    shards_[letter.shard]->post(seat.answer);
}

Keeper::Tenant* Keeper::tenant_of(u64 id) {
    const auto found = std::ranges::find_if(tenants_, [id](const auto& tenant) {
        return tenant->state != Tenant::State::vacant && tenant->id == id;
    });
    return found == tenants_.end() ? nullptr : found->get();
}

// A vacant place; if there is none, the lane that was idle for longest goes.
Keeper::Tenant* Keeper::make_room() {
    Tenant* idlest = nullptr;
    for (const auto& tenant : tenants_) {
        if (tenant->state == Tenant::State::vacant) return tenant.get();
        const bool idle = tenant->state == Tenant::State::live && tenant->inflight() == 0;
        if (idle && (!idlest || tenant->active_ms < idlest->active_ms)) idlest = tenant.get();
    }
    const bool one_is_ending = std::ranges::any_of(
        tenants_, [](const auto& tenant) { return tenant->state != Tenant::State::live; });
    if (idlest && !one_is_ending) retire(*idlest);
    return nullptr;
}

Keeper::Tenant* Keeper::start(u64 id) {
    Tenant& tenant = *make_room();
    const auto failed = [&](const std::string& reason) {
        ++counts_.refused;
        trouble(id, reason);
        return nullptr;
    };
    const auto place = hierarchies_.find(id);
    if (!place) return failed(place.error().message);
    UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event)
        return failed(fmt::format("cannot create an eventfd: {}", cause_and_way_out(errno)));
    auto process = spawner_->spawn(*place, tenant.number, event.get());
    if (!process) return failed(process.error().message);
    tenant.state = Tenant::State::live;
    tenant.id = id;
    tenant.path = place->path;
    tenant.process = std::move(*process);
    tenant.event = std::move(event);
    tenant.active_ms = clock_ms();
    device_.lanes().fetch_add(1, std::memory_order_relaxed);
    ++counts_.started;
    return &tenant;
}

// Asks every shard that has a seat there to let go of it.
void Keeper::retire(Tenant& tenant) {
    ASSERT(tenant.state == Tenant::State::live);
    tenant.state = Tenant::State::retiring;
    tenant.replies = 0;
    for (u32 shard = 0; shard < tenant.parts.size(); ++shard) {
        if (!tenant.parts[shard].seat) continue;
        ++tenant.replies;
        shards_[shard]->post(tenant.parts[shard].release);
    }
    if (tenant.replies == 0) retired(tenant);
}

void Keeper::retired(Tenant& tenant) {
    const bool kept =
        std::ranges::any_of(tenant.parts, [](const auto& part) { return part.seat != nullptr; });
    if (kept) {
        tenant.state = Tenant::State::live;
        tenant.active_ms = clock_ms();
        return;
    }
    tenant.state = Tenant::State::ending;
    ++counts_.reaped;
    Spawner::kill(tenant.process);
}

void Keeper::kill(Tenant& tenant, std::string why) {
    if (tenant.state != Tenant::State::live && tenant.state != Tenant::State::retiring) return;
    if (!tenant.why.empty()) return;
    tenant.why = std::move(why);
    Spawner::kill(tenant.process);
}

// The process has gone, and so has all that it had given to the kernel.
void Keeper::ended(Tenant& tenant, u64 now_ms) {
    if (tenant.state == Tenant::State::ending) {
        vacate(tenant);
        ask_again(now_ms);
        return;
    }
    ++counts_.lost;
    trouble(tenant.id, fmt::format("the lane of {} has ended: {}", tenant.path,
                                   tenant.why.empty() ? "somebody killed it" : tenant.why));
    tenant.state = Tenant::State::losing;
    tenant.replies = 0;
    for (u32 shard = 0; shard < tenant.parts.size(); ++shard) {
        if (!tenant.parts[shard].seat) continue;
        ++tenant.replies;
        shards_[shard]->post(tenant.parts[shard].lost);
    }
    if (tenant.replies > 0) return;
    vacate(tenant);
    ask_again(now_ms);
}

void Keeper::vacate(Tenant& tenant) {
    board_->reset(tenant.number);
    device_.lanes().fetch_sub(1, std::memory_order_relaxed);
    const u32 number = tenant.number;
    std::vector<Tenant::Part> parts = std::move(tenant.parts);
    tenant = {};
    tenant.number = number;
    tenant.parts = std::move(parts);
}

void Keeper::let_go(Tenant& tenant, u32 shard, Seat* seat) {
    Tenant::Part& part = tenant.parts[shard];
    ASSERT(part.seat == seat);
    tenant.past.requests += seat->stats.finished.get();
    tenant.past.bytes_read += seat->stats.bytes_read.get();
    tenant.past.bytes_written += seat->stats.bytes_written.get();
    part.seat = nullptr;
    delete seat;
}

// Said once for each reason: what is wrong with one cgroup is wrong with each of its requests.
void Keeper::trouble(u64 id, const std::string& reason) {
    if (reason != counts_.reason) {
        log::warning("{}; its requests are served, and charged, by the server for now", reason);
        counts_.reason = reason;
    }
    set_back(id, clock_ms());
}

u64 Keeper::set_back_for_ms(u64 id, u64 now_ms) const {
    const auto found = std::ranges::find(setbacks_, id, &Setback::id);
    return found == setbacks_.end() || found->until_ms <= now_ms ? 0 : found->until_ms - now_ms;
}

void Keeper::set_back(u64 id, u64 now_ms) {
    const auto pause_ms = [](const Setback& setback) {
        return setback_ms << std::min(setback.times - 1, setback_doublings_max);
    };
    std::erase_if(setbacks_, [&](const Setback& setback) {
        return setback.until_ms + pause_ms(setback) < now_ms;
    });
    auto found = std::ranges::find(setbacks_, id, &Setback::id);
    if (found == setbacks_.end()) found = setbacks_.insert(found, Setback{.id = id});
    ++found->times;
    found->until_ms = now_ms + pause_ms(*found);
}

void Keeper::tick(u64 now_ms) {
    for (const auto& tenant : tenants_) {
        if (tenant->state == Tenant::State::live) watch(*tenant, now_ms);
    }
}

void Keeper::watch(Tenant& tenant, u64 now_ms) {
    const u64 requests = tenant.finished();
    if (std::exchange(tenant.seen_requests, requests) != requests) tenant.active_ms = now_ms;
    if (tenant.inflight() > 0) {
        // It may wait for a throttled disk for as long as that takes. But if it is kept from
        // running at all, its requests may never end.
        const bool stuck = now_ms - tenant.active_ms >= tick_ms;
        if (stuck && hierarchies_.process_is_held(tenant.process.pid)) {
            kill(tenant, "it was stopped or frozen with requests in flight");
        }
        return;
    }
    if (reaping_ || now_ms - tenant.active_ms >= idle_ms_) retire(tenant);
}

u32 Keeper::reap() {
    std::unique_lock lock(mutex_);
    reaping_ = true;
    mailbox_->wake();
    u32 left = 0;
    changed_.wait_for(lock, reap_timeout, [&] {
        left = 0;
        bool ending = false;
        for (const auto& tenant : tenants_) {
            if (tenant->state == Tenant::State::vacant) continue;
            ++left;
            ending |= tenant->state != Tenant::State::live || tenant->inflight() == 0;
        }
        return !ending;
    });
    reaping_ = false;
    return left;
}

// With nothing in flight none is asked for before the shards thaw.
Status Keeper::change_image(int image_fd) {
    if (const u32 left = reap(); left > 0) {
        return fail(EBUSY, "{} of its lanes did not end within {} s; try again", left,
                    reap_timeout.count());
    }
    const std::lock_guard lock(mutex_);
    return spawner_->replace(context_.image_fd, image_fd);
}

void Keeper::idle_after(u64 idle_ms) {
    {
        const std::lock_guard lock(mutex_);
        idle_ms_ = idle_ms;
    }
    mailbox_->wake();
}

KeeperReport Keeper::report() const {
    const std::lock_guard lock(mutex_);
    KeeperReport report = counts_;
    const u64 now_ms = clock_ms();
    for (const auto& tenant : tenants_) {
        if (tenant->state == Tenant::State::vacant) continue;
        LaneReport lane = {.cgroup = tenant->path,
                           .state = tenant->state_text(),
                           .pid = tenant->process.pid,
                           .requests = tenant->finished(),
                           .bytes_read = tenant->past.bytes_read,
                           .bytes_written = tenant->past.bytes_written,
                           .inflight = tenant->inflight(),
                           .workers = 0,
                           .idle_s = 0};
        for (const Tenant::Part& part : tenant->parts) {
            if (!part.seat) continue;
            lane.bytes_read += part.seat->stats.bytes_read.get();
            lane.bytes_written += part.seat->stats.bytes_written.get();
            lane.workers += part.seat->stats.workers_now.get();
        }
        const bool quiet = lane.inflight == 0 && lane.requests == tenant->seen_requests;
        if (quiet) lane.idle_s = (now_ms - tenant->active_ms) / 1000;
        report.lanes.push_back(std::move(lane));
    }
    for (const ShardLanes* lanes : shard_lanes_) {
        if (lanes) report.refusals += lanes->refusals().get();
    }
    return report;
}

}  // namespace ringloop::cgroup
