#include <nlohmann/json.hpp>

#include "backing/geometry.h"
#include "backing/preallocate.h"
#include "cli/background.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "control/state.h"

namespace ringloop::cli {

namespace {

Status preallocate(const control::DeviceOptions& options) {
    const backing::Options wanted = control::backing_options(options);
    const auto image = backing::open_image(wanted);
    if (!image) return std::unexpected(image.error());
    constexpr u32 any_sector_bytes = 512;  // what is cut off at the end is less than one
    const auto extent = backing::fit_extent(image->size_bytes, wanted.offset_bytes,
                                            wanted.sizelimit_bytes, any_sector_bytes);
    if (!extent) return fail(extent.error().number, "{}: {}", image->path, extent.error().message);
    Progress progress("preallocate", extent->size_bytes);
    const auto done = backing::preallocate(*image, {wanted.offset_bytes, extent->size_bytes},
                                           [&progress](u64 bytes) { progress.advance(bytes); });
    if (!done) return std::unexpected(done.error());
    return {};
}

}  // namespace

int run(const Attach& command) {
    if (command.preallocate) {
        const Status allocated = preallocate(command.options);
        if (!allocated) return report(allocated.error());
    }
    const auto device = start_in_background(control::serve_arguments(command.options),
                                            control::WhenInterrupted::stop);
    if (!device) return report(device.error());
    const std::string line =
        command.json ? control::dump_json(*device, true) : (*device)["device"].get<std::string>();
    return print_line(line) ? exit_done : exit_failed;
}

}  // namespace ringloop::cli
