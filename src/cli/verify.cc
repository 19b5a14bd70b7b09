#include <nlohmann/json.hpp>

#include "backing/geometry.h"
#include "backing/scrub.h"
#include "base/size.h"
#include "cli/background.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "control/devices.h"
#include "control/state.h"

namespace ringloop::cli {
namespace {

using backing::BadRanges;
using backing::Image;
using backing::Scrubbed;
using nlohmann::json;

// Lines for people; whoever wants all of them takes --json.
constexpr std::size_t ranges_shown_max = 10;

struct Part {
    Image image;
    ByteRange range;
};

Result<Part> open_part(const backing::Options& options) {
    Result<Image> image = backing::open_image(options);
    if (!image) return std::unexpected(image.error());
    const auto extent =
        backing::fit_extent(image->size_bytes, options.offset_bytes, options.sizelimit_bytes, 1);
    if (!extent) {
        return fail(extent.error().number, "{}: {}", options.path, extent.error().message);
    }
    return Part{std::move(*image), {options.offset_bytes, extent->size_bytes}};
}

// The part of its image that a device is; a path that is no device's means all of a file.
Result<Part> find_part(const std::string& target) {
    auto plain = open_part({.path = target, .read_only = true});
    if (plain && !plain->image.block_device) return plain;
    const auto directory = control::RuntimeDir::open();
    if (!directory) return std::unexpected(directory.error());
    const auto device = control::find_device(*directory, target);
    if (device) {
        return open_part({.path = device->state.backing_file,
                          .offset_bytes = device->state.offset_bytes,
                          .sizelimit_bytes = device->state.size_bytes,
                          .read_only = true});
    }
    // "no such image" is no answer to the name of a device.
    const bool is_path = plain || plain.error().number != ENOENT || target.contains('/');
    if (is_path) return plain;
    return std::unexpected(device.error());
}

json to_json(const BadRanges& bad) {
    json list = json::array();
    for (const ByteRange& range : bad.ranges) {
        list.push_back({{"offset", range.offset}, {"bytes", range.length}});
    }
    return list;
}

json to_json(const Part& part, const Scrubbed& found) {
    return {{"image", part.image.path},
            {"offset", part.range.offset},
            {"size_bytes", part.range.length},
            {"read_bytes", found.read_bytes},
            {"unreadable_bytes", found.unreadable.bytes},
            {"unreadable", to_json(found.unreadable)},
            {"different_bytes", found.different.bytes},
            {"different", to_json(found.different)}};
}

std::string bad_text(const BadRanges& bad, const char* what) {
    std::string text;
    for (std::size_t i = 0; i < std::min(bad.ranges.size(), ranges_shown_max); ++i) {
        text +=
            fmt::format("\n{}: {} bytes at {}", what, bad.ranges[i].length, bad.ranges[i].offset);
    }
    if (bad.ranges.size() > ranges_shown_max) {
        text += fmt::format("\n{}: {} ranges more, see --json", what,
                            bad.ranges.size() - ranges_shown_max);
    }
    return text;
}

std::string to_text(const Part& part, const Scrubbed& found) {
    return fmt::format("{}: {} of {} read, the rest are holes", part.image.path,
                       format_size(found.read_bytes), format_size(part.range.length)) +
           bad_text(found.unreadable, "unreadable") + bad_text(found.different, "different");
}

Status check(const Verify& command, const Part& part, const Scrubbed& found) {
    if (found.unreadable.bytes > 0) {
        return fail(EIO,
                    "{}: {} bytes cannot be read; copy what is left with ddrescue and attach the "
                    "copy",
                    part.image.path, found.unreadable.bytes);
    }
    if (found.different.bytes > 0) {
        return fail(EIO, "{}: {} bytes are not those of {}; one of them has changed since",
                    part.image.path, found.different.bytes, command.against);
    }
    return {};
}

Result<Scrubbed> read_all(const Part& part, const Part* other) {
    if (other && other->range.length != part.range.length) {
        return fail(EINVAL, "{} has {} bytes and {} has {}; give two of one size", part.image.path,
                    part.range.length, other->image.path, other->range.length);
    }
    Progress progress("verify", part.range.length);
    return backing::scrub(part.image, part.range, other ? &other->image : nullptr,
                          other ? other->range.offset : 0,
                          [&progress](u64 bytes) { progress.advance(bytes); });
}

}  // namespace

int run(const Verify& command) {
    const auto part = find_part(command.target);
    if (!part) return report(part.error());
    std::optional<Part> other;
    if (!command.against.empty()) {
        auto found = find_part(command.against);
        if (!found) return report(found.error());
        other = std::move(*found);
    }
    const auto found = read_all(*part, other ? &*other : nullptr);
    if (!found) return report(found.error());
    const std::string text =
        command.json ? control::dump_json(to_json(*part, *found), true) : to_text(*part, *found);
    if (!print_line(text)) return exit_failed;
    const Status checked = check(command, *part, *found);
    return checked ? exit_done : report(checked.error());
}

}  // namespace ringloop::cli
