#include "sim/world.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/policy.h"
#include "sim/in_process.h"
#include "sim/nbd_client.h"
#include "sim/ublk_driver.h"

namespace ringloop::sim {
namespace {

// Beyond that, whoever waits waits for ever: no answer takes a thousandth of it.
constexpr u64 patience_steps = 3'000'000;
constexpr u64 frozen_ns_max = 3'000'000;
constexpr u64 full_ns_max = 5'000'000'000;  // some tries of what waits for room (engine/held.h)
constexpr u64 last_jobs = 64;

Disk::Options disk_options(const Config& config) {
    const u64 begin = config.offset_pages * page_bytes;
    // Behind the device lie other people's pages too.
    return {.image_bytes = begin + align_up(config.device_bytes, page_bytes) + 4 * page_bytes,
            .device = {begin, config.device_bytes},
            .sparse = config.sparse != 0,
            .free_pages = config.free_pages > 0 ? config.free_pages : ~u64{0}};
}

u32 io_bytes_max(const Config& config) {
    return static_cast<u32>(align_up(config.job_bytes_max, page_bytes));
}

}  // namespace

World::World(const Config& config, u64 keep)
    : config_(config),
      trace_(keep),
      prng_(config.seed),
      disk_(disk_options(config), prng_, trace_, timeline_),
      machine_{.timeline = timeline_,
               .prng = prng_,
               .trace = trace_,
               .disk = disk_,
               .faults = config.faults,
               .latency_ns_max = std::max<u64>(config.latency_us_max, 1) * 1000},
      oracle_(disk_, disk_options(config).device, prng_, trace_, timeline_),
      clients_(config_, machine_, oracle_),
      device_bytes_(config.device_bytes),
      on_error_(static_cast<engine::OnError>(config.on_error % 3)) {
    const auto depth = static_cast<u32>(config.depth);
    if (config.ports & port_in_process || config.ports == 0) {
        ports_.push_back(
            std::make_unique<InProcess>(machine_, clients_, depth, config.job_bytes_max));
    }
    if (config.ports & port_ublk) {
        ports_.push_back(std::make_unique<UblkDriver>(
            machine_, clients_,
            UblkDriver::Options{.queues = static_cast<u32>(config.shards),
                                .depth = depth,
                                .io_bytes_max = io_bytes_max(config)}));
    }
    if (config.ports & port_nbd) {
        ports_.push_back(std::make_unique<NbdClients>(
            machine_, clients_,
            NbdClients::Options{.connections = static_cast<u32>(config.connections),
                                .depth = depth}));
    }
    for (const auto& port : ports_) clients_.add(*port);
    clients_.on_answer = job_is_answered;
    clients_.on_answer_context = this;
    clients_.stop_now = stop_now;
    // A client of NBD that has hung up waits for nothing.
    const bool waits = on_error_ == engine::OnError::pause && config.sets == 0 &&
                       (config.ports & port_nbd) == 0 && config.resizes == 0;
    if (waits) clients_.expect_room();
    room_.happen = room_comes;
    room_.world = this;
    change_.happen = change_ends;
    change_.world = this;
}

// What went wrong in the middle is left as it lies: it could not be taken apart in order.
World::~World() {
    if (wrong_.empty()) return;
    static_cast<void>(life_.release());
    for (auto& port : ports_) static_cast<void>(port.release());
}

void World::note(What what, u64 number, i64 value) {
    trace_.add({.at_ns = timeline_.now_ns(), .what = what, .number = number, .value = value});
}

Verdict World::run() {
    const u64 lives = std::max<u64>(config_.lives, 1);
    for (u64 number = 1; number <= lives && wrong_.empty(); ++number) {
        const u64 drawn = prng_.below(100);
        const End end = drawn < config_.kills                        ? End::kill
                        : drawn < config_.kills + config_.power_cuts ? End::power_cut
                                                                     : End::drain;
        live(number, config_.jobs * number / lives, end);
    }
    if (wrong_.empty()) last_life();
    return {.wrong = wrong_,
            .wrong_range = oracle_.wrong_range(),
            .hash = trace_.hash(),
            .jobs = oracle_.answers(),
            .operations = machine_.operations,
            .virtual_ns = timeline_.now_ns()};
}

void World::begin_life() {
    note(What::life, ++lives_, 0);
    ++stops_;
    life_ = std::make_unique<Life>(config_, machine_,
                                   Life::Inherited{.device_bytes = device_bytes_,
                                                   .poisoned = poisoned_,
                                                   .stopped = stopped_,
                                                   .on_error = on_error_});
    life_->turned = [this](u32) {
        for (const auto& port : ports_) port->turned();
        return false;
    };
    for (const auto& port : ports_) port->start(life_->server());
    life_->begin();
    may_change_ = true;
    clients_.resume();
}

void World::live(u64 number, u64 jobs, End end) {
    const u64 before = clients_.sent();
    const u64 moment = before + 1 + prng_.below(std::max<u64>(jobs - std::min(before, jobs), 1));
    clients_.limit(jobs);
    begin_life();
    const bool last = number == config_.lives;
    if (end == End::drain) {
        pass_time_until([&] { return clients_.done(); }, "the clients' jobs");
        drain();
        if (last) oracle_.check_all("after the drain");
        static_cast<void>(something_is_wrong());
        return;
    }
    pass_time_until([&] { return clients_.sent() >= moment || clients_.done(); },
                    "the clients' jobs");
    die(end == End::power_cut);
}

// No faults from now on: everything has to succeed, and what is read is what should be there.
void World::last_life() {
    note(What::faults_off, 0, 0);
    machine_.faults = {};
    disk_.heal();
    poisoned_ = stopped_ = false;
    clients_.limit(0);
    begin_life();
    may_change_ = false;
    pass_time_until([&] { return clients_.quiet(); }, "what an earlier life left");
    if (config_.resizes == 0) clients_.expect_success();
    clients_.sweep();
    pass_time_until([&] { return clients_.swept(); }, "the last look at everything");
    clients_.end_sweep();
    clients_.limit(clients_.sent() + last_jobs);
    clients_.resume();
    pass_time_until([&] { return clients_.done(); }, "the last jobs");
    drain();
    if (!wrong_.empty()) return;
    oracle_.check_all("at the end");
    note(What::power_cut, 0, static_cast<i64>(disk_.power_cut()));
    oracle_.power_cut();
    static_cast<void>(something_is_wrong());
}

// Stop fetching, answer what is in flight, and nothing may be left.
void World::drain() {
    if (!wrong_.empty()) return;
    clients_.pause();
    may_change_ = false;
    pass_time_until([&] { return clients_.quiet() && !changing_; }, "the drain");
    for (const auto& port : ports_) port->stop();
    wind_up();
    if (!wrong_.empty()) return;
    const std::string left = life_->leftovers();
    if (!left.empty()) wrong_ = "after an orderly end: " + left;
    for (const auto& port : ports_) port->clear();
    poisoned_ = life_->poisoned();
    stopped_ = life_->server().device->stopped();
    life_.reset();
}

void World::die(bool power_cut) {
    if (!wrong_.empty()) return;
    clients_.pause();
    may_change_ = false;
    note(What::killed, lives_, 0);
    const bool poisoned = life_->poisoned();
    stopped_ = life_->server().device->stopped();
    life_->kill();
    for (const auto& port : ports_) port->killed(power_cut);
    pass_time_until([&] { return !changing_; }, "a change that the kill met");
    if (power_cut) note(What::power_cut, lives_, static_cast<i64>(disk_.power_cut()));
    wind_up();
    if (!wrong_.empty()) return;
    for (const auto& port : ports_) port->clear();
    poisoned_ = poisoned;
    life_.reset();
    if (power_cut) oracle_.power_cut();
    static_cast<void>(something_is_wrong());
}

void World::wind_up() {
    pass_time_until([&] { return all_ended(); }, "the ports' end");
    if (!wrong_.empty()) return;
    life_->quiesce();
    pass_time_until([&] { return life_->quiesced(); }, "the lanes' end");
    if (!wrong_.empty()) return;
    life_->stop();
    pass_time_until([&] { return life_->stopped(); }, "the shards' end");
}

bool World::all_ended() const {
    return std::ranges::all_of(ports_, [](const auto& port) { return port->ended(); });
}

template <typename Condition>
bool World::pass_time_until(Condition condition, const char* what) {
    u64 progress = timeline_.steps();
    u64 answers = oracle_.answers();
    while (wrong_.empty() && !condition()) {
        if (answers != oracle_.answers()) {
            answers = oracle_.answers();
            progress = timeline_.steps();
        }
        if (timeline_.steps() - progress > patience_steps) {
            wrong_ = fmt::format("no progress: waiting for {} for ever", what);
        } else if (!timeline_.step()) {
            wrong_ = fmt::format("stuck: waiting for {}, and nothing happens any more", what);
        }
        if (changing_) change_when_frozen();
        // Whoever waits for room gets it in the end.
        if (life_ && !room_.scheduled && life_->server().device->paused().requests > 0) {
            timeline_.after(prng_.below(full_ns_max), room_);
        }
        if (something_is_wrong()) break;
    }
    return wrong_.empty();
}

bool World::something_is_wrong() {
    if (!wrong_.empty()) return true;
    if (!oracle_.violation().empty()) wrong_ = oracle_.violation();
    if (!disk_.violation().empty()) wrong_ = disk_.violation();
    if (!clients_.complaint().empty()) wrong_ = clients_.complaint();
    for (const auto& port : ports_) {
        if (!port->violation().empty()) wrong_ = port->violation();
    }
    return !wrong_.empty();
}

// ---- What else happens ----

void World::job_is_answered(void* context) {
    World& world = *static_cast<World*>(context);
    if (world.may_change_) world.mishap();
}

void World::mishap() {
    const Faults& faults = machine_.faults;
    if (prng_.below(16) == 0) disk_.write_back_some();
    if (prng_.chance(faults.writeback_error)) disk_.writeback_fails();
    if (prng_.chance(faults.io_error / 8)) {
        disk_.spoil(config_.offset_pages * page_bytes + prng_.below(config_.device_bytes));
    }
    if (prng_.chance(static_cast<u32>(config_.truncations))) {
        const u64 bytes = prng_.below(config_.device_bytes / sector_bytes) * sector_bytes;
        disk_.truncate(config_.offset_pages * page_bytes + bytes);
        oracle_.truncated(bytes);
        note(What::truncated, 0, static_cast<i64>(bytes));
    }
    const bool lies = config_.misdirect > 0 && clients_.sent() >= config_.misdirect;
    if (lies && !std::exchange(misdirected_, true)) disk_.misdirect_next = true;
    if (config_.full > 0 && prng_.chance(static_cast<u32>(1000 * config_.full))) room_ends();
    if (config_.sets > 0 && prng_.chance(static_cast<u32>(1000 * config_.sets))) set_on_error();
    const auto wishes = static_cast<u32>(config_.changes + config_.resizes);
    if (!changing_ && prng_.chance(1000 * wishes)) change_start();
}

u64 World::stop_now(void* context) {
    const World& world = *static_cast<World*>(context);
    return world.life_ && world.life_->server().device->stopped() ? world.stops_ : 0;
}

void World::room_ends() {
    const u64 pages = prng_.below(4);
    disk_.give_room(pages);
    note(What::room, 0, static_cast<i64>(pages));
    if (!room_.scheduled) timeline_.after(prng_.below(full_ns_max), room_);
}

void World::room_comes(Event& event) {
    World& world = *static_cast<Room&>(event).world;
    world.disk_.give_room(~u64{0});
    world.note(What::room, 0, -1);
}

// As control/on_error.h has it.
void World::set_on_error() {
    engine::Device& device = *life_->server().device;
    on_error_ = static_cast<engine::OnError>(prng_.below(3));
    const bool goes_on = !life_->poisoned() && prng_.below(2) == 0;
    trace_.add({.at_ns = timeline_.now_ns(),
                .what = What::on_error,
                .detail = static_cast<u8>(goes_on ? 1 : 0),
                .value = static_cast<i64>(on_error_)});
    device.set_on_error(on_error_);
    if (goes_on) {
        ++stops_;
        device.go_on();
    }
    life_->retry_held();
}

void World::change_start() {
    changing_ = true;
    life_->freeze();
}

void World::change_when_frozen() {
    if (change_.scheduled || !life_ || !life_->freezing() || !life_->frozen()) {
        // Killed meanwhile: there is nothing to change any more.
        if (life_ && !life_->freezing() && !change_.scheduled) changing_ = false;
        return;
    }
    note(What::frozen, 0, 0);
    if (machine_.inflight > 0) wrong_ = "frozen with operations in flight";
    change_.operations = machine_.operations;
    timeline_.after(prng_.below(frozen_ns_max), change_);
}

void World::change_ends(Event& event) {
    World& world = *static_cast<Change&>(event).world;
    world.changing_ = false;
    if (!world.life_ || !world.life_->freezing()) return;
    if (world.machine_.operations != world.change_.operations) {
        world.wrong_ = "an operation started while all shards were frozen";
    }
    Prng& prng = world.prng_;
    engine::Device& device = *world.life_->server().device;
    if (prng.below(world.config_.changes + world.config_.resizes) < world.config_.resizes) {
        const u64 sectors = world.config_.device_bytes / sector_bytes;
        world.device_bytes_ = prng.between(1, sectors) * sector_bytes;
        world.life_->resize(world.device_bytes_);
        world.clients_.set_device_bytes(world.device_bytes_);
        world.note(What::resized, 0, static_cast<i64>(world.device_bytes_));
    } else {
        engine::Dispatching dispatching = device.dispatching();
        const u64 policy = prng.below(engine::policies().size());
        dispatching.policy = &engine::policies()[policy];
        device.dispatch_by(dispatching);
        world.note(What::policy, 0, static_cast<i64>(policy));
    }
    world.note(What::thawed, 0, 0);
    world.life_->thaw();
}

}  // namespace ringloop::sim
