#include "cli/set_options.h"

#include "base/size.h"

namespace ringloop::cli {
namespace {

Status read_switch(const std::string& text, const char* option, std::optional<bool>& on) {
    if (text.empty()) return {};
    if (text != "on" && text != "off") return fail(EINVAL, "{} {}: use on or off", option, text);
    on = text == "on";
    return {};
}

}  // namespace

void add_set_options(CLI::App& verb, control::Change& change, SetTexts& texts) {
    verb.add_option("--backing-file", texts.backing_file,
                    "another image of the same size, while it is in use");
    verb.add_option("--direct-io", texts.direct_io, "on, off or auto: bypass the page cache");
    verb.add_option("--read-only", texts.read_only, "on or off: refuse writes");
    verb.add_option("--size", texts.size,
                    "auto: what the image has now, as resize; or a size limit, 0 for none");
    verb.add_option("--on-error", texts.on_error,
                    "report, stop or pause: what follows a failed write");
    verb.add_flag("--resume", change.on_error.resume,
                  "go on after a stop, and try again now what waits for room");
    verb.add_option("--autoclear", texts.autoclear,
                    "on or off: ends when whoever uses it now, or next, has gone");
    verb.add_option("--watch-size", texts.watch_size, "on or off: follows the size of the image");
    verb.add_flag("--force", change.image.force,
                  "another image, or read-only, even under those who write");
}

Status read_set_texts(const SetTexts& texts, control::Change& change) {
    change.image.backing_file = texts.backing_file;
    if (!texts.direct_io.empty()) {
        const auto direct = control::parse_direct_io(texts.direct_io);
        if (!direct) return std::unexpected(direct.error());
        change.image.direct_io = *direct;
    }
    TRY(read_switch(texts.read_only, "--read-only", change.image.read_only));
    TRY(read_switch(texts.autoclear, "--autoclear", change.upkeep.autoclear));
    TRY(read_switch(texts.watch_size, "--watch-size", change.upkeep.watch_size));
    if (!texts.on_error.empty()) {
        const auto on_error = control::parse_on_error(texts.on_error);
        if (!on_error) return std::unexpected(on_error.error());
        change.on_error.on_error = *on_error;
    }
    if (texts.size.empty()) return {};
    change.resize = true;
    if (texts.size == "auto") return {};
    const auto size = parse_size(texts.size, "--size");
    if (!size) return std::unexpected(size.error());
    change.sizelimit_bytes = *size;
    return {};
}

}  // namespace ringloop::cli
