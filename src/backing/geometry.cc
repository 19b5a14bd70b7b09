#include "backing/geometry.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>

#include "backing/direct_io.h"

namespace ringloop::backing {
namespace {

// File systems over networks call a megabyte their block. As a granularity it would make the
// client drop nearly every discard.
constexpr u32 discard_granularity_max_bytes = 64 * kib;

constexpr u32 block_max_bytes = 1u << 31;

// The largest power of two that divides `value`; `limit`, a power of two, at most.
u32 largest_divisor(u64 value, u32 limit) {
    if (value == 0) return limit;
    return static_cast<u32>(std::min<u64>(u64{1} << std::countr_zero(value), limit));
}

u32 power_of_two_below(u32 value) { return std::bit_floor(std::max(value, 1u)); }

void shape_blocks(const ShapeFacts& facts, Geometry& geometry) {
    const u32 sector_size = facts.sector_size_bytes;
    u32 physical = facts.limits.physical_block_bytes;
    u32 io_min = facts.limits.io_min_bytes;
    u32 io_optimal = facts.limits.io_optimal_bytes;
    if (!facts.block_device) {
        // A file system rewrites a whole block of its own for a part of one.
        physical = std::min(power_of_two_below(facts.io_block_bytes), sector_size_max_bytes);
        io_min = physical;
        io_optimal = 0;
    }
    // Blocks of the layer below only show through when the image starts on one of them.
    const auto shown = [&facts](u32 bytes) {
        const u32 divisor = bytes != 0 ? largest_divisor(bytes, block_max_bytes) : 1;
        return largest_divisor(facts.offset_bytes, divisor);
    };
    geometry.physical_block_size = std::max(shown(physical), sector_size);
    geometry.io_size_min = std::max(shown(io_min), geometry.physical_block_size);
    geometry.io_size_optimal = shown(io_optimal) >= geometry.io_size_min ? shown(io_optimal) : 0;
}

void shape_discard(const ShapeFacts& facts, Geometry& geometry) {
    if (facts.read_only) return;
    if (!facts.block_device) {
        if (!facts.punch_hole) return;
        geometry.discard = geometry.write_zeroes = true;
        geometry.discard_granularity = std::max(
            std::min(power_of_two_below(facts.io_block_bytes), discard_granularity_max_bytes),
            facts.sector_size_bytes);
        return;
    }
    // A block device takes ranges of whole blocks of its own only, anything else is EINVAL.
    const u32 logical = std::max(facts.limits.logical_block_bytes, sector_size_min_bytes);
    geometry.deallocate_alignment = logical;
    if (facts.sector_size_bytes < logical || facts.offset_bytes % logical != 0) return;
    geometry.write_zeroes = facts.limits.write_zeroes_max_bytes > 0;
    geometry.discard =
        geometry.write_zeroes || (facts.limits.discard_max_bytes > 0 && facts.discard_command);
    if (!geometry.discard) return;
    const u32 granularity = facts.limits.discard_granularity_bytes;
    geometry.discard_granularity =
        std::max(granularity != 0 ? largest_divisor(granularity, block_max_bytes) : logical,
                 facts.sector_size_bytes);
}

}  // namespace

Result<Extent> fit_extent(u64 image_bytes, u64 offset_bytes, u64 sizelimit_bytes,
                          u32 sector_size_bytes) {
    // off_t is signed: what lies behind cannot be addressed by any system call.
    constexpr u64 end_max = std::numeric_limits<i64>::max();
    if (offset_bytes > end_max || sizelimit_bytes > end_max - offset_bytes) {
        return fail(EOVERFLOW, "offset {} plus sizelimit {} is beyond 2^63-1; make them smaller",
                    offset_bytes, sizelimit_bytes);
    }
    if (offset_bytes >= image_bytes) {
        return fail(EINVAL, "offset {} is beyond its end ({} bytes); use a smaller --offset",
                    offset_bytes, image_bytes);
    }
    const u64 left = image_bytes - offset_bytes;
    const u64 shown = sizelimit_bytes != 0 ? std::min(left, sizelimit_bytes) : left;
    if (shown >= sector_size_bytes) {
        const u64 size = align_down(shown, sector_size_bytes);
        return Extent{size, shown - size};
    }
    if (shown < left) {
        return fail(EINVAL,
                    "sizelimit {} is less than one sector of {} bytes; use a larger "
                    "--sizelimit",
                    shown, sector_size_bytes);
    }
    return fail(EINVAL,
                "its {} bytes{} are less than one sector of {} bytes; enlarge it with "
                "'truncate -s SIZE FILE'{}",
                left, offset_bytes != 0 ? fmt::format(" behind offset {}", offset_bytes) : "",
                sector_size_bytes, offset_bytes != 0 ? " or use a smaller --offset" : "");
}

void shape(const ShapeFacts& facts, Geometry& geometry) {
    geometry.sector_size = facts.sector_size_bytes;
    geometry.read_only = facts.read_only;
    geometry.block_device = facts.block_device;
    geometry.rotational = facts.limits.rotational;
    shape_blocks(facts, geometry);
    shape_discard(facts, geometry);
}

}  // namespace ringloop::backing
