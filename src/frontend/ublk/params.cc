#include "frontend/ublk/params.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace ringloop::ublk {

namespace wire = abi::ublk;

namespace {

// The kernel's loop device has the same: the largest range that a bio's 32-bit size can hold.
constexpr u32 unmap_bytes_max = std::numeric_limits<u32>::max();
// A hint that does not fit the driver's int is no hint.
constexpr u64 hint_bytes_max = u64{1} << 30;

u8 shift_of(u64 bytes) { return static_cast<u8>(std::countr_zero(bytes)); }

// The driver speaks in powers of two only. A stripe of three disks cannot be told, and half of it
// would align everything wrongly: then it is left at what is always true.
u64 hint(u64 bytes, u64 at_least) {
    const bool sayable = is_power_of_two(bytes) && bytes <= hint_bytes_max;
    return sayable ? std::max(bytes, at_least) : at_least;
}

u32 attributes_of(const backing::Geometry& geometry) {
    u32 attributes = geometry.rotational ? wire::attribute_rotational : 0;
    // Without a volatile cache the kernel sends neither FLUSH nor FUA: right where nothing can be
    // written, and wrong everywhere else, as the image's page cache is one.
    if (geometry.read_only) return attributes | wire::attribute_read_only;
    return attributes | wire::attribute_volatile_cache | wire::attribute_fua;
}

}  // namespace

Result<wire::Params> params_of(const backing::Geometry& geometry, u32 io_bytes_max,
                               u32 page_size_bytes) {
    const u32 sector_size = geometry.sector_size;
    if (!is_power_of_two(sector_size) || sector_size < 512 || sector_size > page_size_bytes) {
        return fail(EINVAL,
                    "sector size {}: ublk takes a power of two from 512 to {}, the size of a page",
                    sector_size, page_size_bytes);
    }
    if (io_bytes_max < sector_size) {
        return fail(EINVAL, "requests of at most {} bytes cannot hold a sector of {}", io_bytes_max,
                    sector_size);
    }
    const u64 physical = hint(geometry.physical_block_size, sector_size);
    const u64 io_min = hint(geometry.io_size_min, physical);

    wire::Params params;
    params.types = wire::params_basic;
    params.basic = {
        .attributes = attributes_of(geometry),
        .logical_block_shift = shift_of(sector_size),
        .physical_block_shift = shift_of(physical),
        .io_optimal_shift = shift_of(hint(geometry.io_size_optimal, io_min)),
        .io_min_shift = shift_of(io_min),
        .sectors_max =
            static_cast<u32>(align_down(io_bytes_max, sector_size) >> wire::sector_shift),
        .device_sectors = geometry.size >> wire::sector_shift,
    };

    const bool discard = geometry.discard && !geometry.read_only;
    const bool write_zeroes = geometry.write_zeroes && !geometry.read_only;
    if (!discard && !write_zeroes) return params;
    const u32 granularity =
        discard ? std::max(geometry.discard_granularity, sector_size) : sector_size;
    const auto sectors_max = [](u32 granule) {
        return static_cast<u32>(align_down(unmap_bytes_max, granule) >> wire::sector_shift);
    };
    params.types |= wire::params_discard;
    params.discard = {
        .granularity = granularity,
        .sectors_max = discard ? sectors_max(granularity) : 0,
        .write_zeroes_sectors_max = write_zeroes ? sectors_max(sector_size) : 0,
        .segments_max = 1,
    };
    return params;
}

}  // namespace ringloop::ublk
