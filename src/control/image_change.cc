#include "control/image_change.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "control/json_fields.h"
#include "control/opener.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

constexpr u64 flush_timeout_ms = 30'000;
constexpr std::size_t path_chars_max = 4096;

const char* to_text(bool read_only) { return read_only ? "read-only" : "writable"; }

// What is written must be on the image before another takes its place, or the page cache does. A
// failure is heard of once, so the device has to remember it.
Status synced_or_poisoned(const ImageParts& parts) {
    Status synced = parts.device.sync_at_end();
    if (!synced) parts.device.poison(Errno::io);
    return synced;
}

// Of the block device, if it has one, before the engine refuses writes: what its users and the
// kernel's page cache still hold comes down first, and nobody opens it for writing any more.
Status close_to_writers(const ImageWanted& wanted, const DeviceState& state) {
    if (state.transport == TransportChoice::socket) return {};
    const auto writers = holders_seen(state.device, Holding::writing);
    if (!writers.empty() && !wanted.force) {
        return fail(EBUSY,
                    "{}: still used for writing ({}); end that first, or give --force: their "
                    "writes fail from then on",
                    state.device, writers.front());
    }
    if (!flush_disk_seen(state.device, flush_timeout_ms)) {
        return fail(ETIMEDOUT,
                    "{}: what its users wrote did not reach it within {} s; see that the image "
                    "answers, then set again",
                    state.device, flush_timeout_ms / 1000);
    }
    return set_read_only_seen(state.device, true);
}

Status exchange(const backing::Backing::Other& other, const ImageParts& parts,
                const DeviceState& state) {
    auto next = parts.backing.open_other(other);
    if (!next) return std::unexpected(std::move(next).error());
    // Most of it before anybody waits.
    if (!state.read_only) TRY(synced_or_poisoned(parts));
    // Those that are idle now need not be waited for later.
    if (parts.keeper) static_cast<void>(parts.keeper->reap());
    Status changed =
        parts.shards.change_image(state.device, parts.backing, **next, [&]() -> Status {
            if (!state.read_only) TRY(synced_or_poisoned(parts));
            return parts.keeper ? parts.keeper->change_image((*next)->fd()) : Status();
        });
    if (!changed) {
        next->reset();
        parts.backing.lock_again();
        return changed;
    }
    parts.transports.image_changed();
    return {};
}

std::string direct_text(bool direct, const std::string& reason) {
    return direct ? "direct I/O" : "buffered" + (reason.empty() ? "" : " (" + reason + ")");
}

}  // namespace

void ask_for(json& question, const ImageWanted& wanted) {
    if (!wanted.backing_file.empty()) question["backing_file"] = wanted.backing_file;
    if (wanted.direct_io) question["direct_io"] = to_text(*wanted.direct_io);
    if (wanted.read_only) question["read_only"] = *wanted.read_only;
    if (wanted.force) question["force"] = true;
}

Result<ImageWanted> image_wanted_in(const json& question) {
    ImageWanted wanted;
    if (question.contains("backing_file")) {
        wanted.backing_file = text_in(question, "backing_file");
        const bool plain = wanted.backing_file.starts_with('/') &&
                           wanted.backing_file.size() < path_chars_max &&
                           wanted.backing_file.find('\0') == std::string::npos;
        if (!plain) return fail(EINVAL, "backing_file: not an absolute path");
    }
    if (question.contains("direct_io")) {
        const auto direct = parse_direct_io(text_in(question, "direct_io"));
        if (!direct) return std::unexpected(direct.error());
        wanted.direct_io = *direct;
    }
    if (question.contains("read_only")) {
        wanted.read_only = flag_in(question, "read_only");
        if (!wanted.read_only) return fail(EINVAL, "read_only: not true or false");
    }
    if (question.contains("force")) {
        const auto force = flag_in(question, "force");
        if (!force) return fail(EINVAL, "force: not true or false");
        wanted.force = *force;
    }
    return wanted;
}

Status may_change_image(const ImageWanted& wanted, const DeviceState& state) {
    const bool written = !state.read_only || wanted.read_only == false;
    if (wanted.backing_file.empty() || !written || wanted.force) return {};
    return fail(EBUSY,
                "{}: is writable, and what its users have in their caches is of {}; make it "
                "read-only first, or give --force if the new image has the same content",
                state.device, state.backing_file);
}

Status change_image(const ImageWanted& wanted, int looked_up_fd, const ImageParts& parts,
                    DeviceState& state) {
    TRY(may_change_image(wanted, state));
    const backing::Backing::Other other = {
        .path = wanted.backing_file,
        .looked_up_fd = looked_up_fd,
        .direct_io = wanted.direct_io.value_or(state.direct_io_requested),
        .read_only = wanted.read_only.value_or(state.read_only)};
    const bool same = other.path.empty() && other.direct_io == state.direct_io_requested &&
                      other.read_only == state.read_only;
    if (same) return {};
    if (!other.path.empty() && looked_up_fd < 0) {
        return fail(EINVAL, "{}: no descriptor of it came with the question", other.path);
    }
    TRY(opener_health());
    const bool closes = other.read_only && !state.read_only;
    const bool opens = !other.read_only && state.read_only;
    const bool disk = state.transport != TransportChoice::socket;
    if (closes) TRY(close_to_writers(wanted, state));
    if (opens && disk) TRY(set_read_only_seen(state.device, false));
    if (Status exchanged = exchange(other, parts, state); !exchanged) {
        if ((closes || opens) && disk) {
            static_cast<void>(set_read_only_seen(state.device, state.read_only));
        }
        return exchanged;
    }
    const backing::Geometry& geometry = parts.backing.geometry();
    state.backing_file = parts.backing.path();
    state.direct_io_requested = other.direct_io;
    state.direct_io = geometry.direct;
    state.direct_io_reason = geometry.direct_reason;
    state.read_only = geometry.read_only;
    state.degraded.clear();
    return {};
}

void add_image_to(json& answer, const ImageWanted& wanted, const DeviceState& before,
                  const DeviceState& after) {
    if (!wanted.backing_file.empty()) {
        answer["backing_file"] = after.backing_file;
        answer["previous_backing_file"] = before.backing_file;
    }
    if (wanted.direct_io) {
        answer["direct_io"] = after.direct_io;
        if (!after.direct_io) answer["direct_io_reason"] = after.direct_io_reason;
        answer["previous_direct_io"] = before.direct_io;
    }
    if (wanted.read_only) {
        answer["read_only"] = after.read_only;
        answer["previous_read_only"] = before.read_only;
    }
}

std::string image_text(const json& answer, const std::string& device) {
    std::string text;
    const auto add = [&](const std::string& now, const std::string& before, bool same) {
        text += fmt::format("{}: {}{}\n", device, now,
                            same ? ", as before" : fmt::format(" now, {} before", before));
    };
    const std::string file = text_in(answer, "backing_file");
    const std::string previous_file = text_in(answer, "previous_backing_file");
    if (!file.empty()) add("serves " + file, previous_file, file == previous_file);
    const auto direct = flag_in(answer, "direct_io");
    const auto previous_direct = flag_in(answer, "previous_direct_io");
    if (direct && previous_direct) {
        add(direct_text(*direct, text_in(answer, "direct_io_reason")),
            direct_text(*previous_direct, ""), *direct == *previous_direct);
    }
    const auto read_only = flag_in(answer, "read_only");
    const auto previous_read_only = flag_in(answer, "previous_read_only");
    if (read_only && previous_read_only) {
        add(to_text(*read_only), to_text(*previous_read_only), *read_only == *previous_read_only);
    }
    return text;
}

}  // namespace ringloop::control
