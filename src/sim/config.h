// What one simulated run is like: drawn whole from its seed, or with fields set by hand.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sim/kernel.h"

namespace ringloop::sim {

// Which ports clients come by, as bits of Config::ports.
inline constexpr u64 port_in_process = 1;
inline constexpr u64 port_ublk = 2;
inline constexpr u64 port_nbd = 4;

struct Config {
    u64 seed = 0;

    // The device and its server.
    u64 device_bytes = 256 * kib;
    u64 offset_pages = 0;  // of the device within the image
    u64 shards = 1;
    u64 policy = 0;  // index of engine::policies()
    u64 workers = 16;
    u64 direct = 1;
    u64 block_device = 0;
    u64 sparse = 0;
    u64 on_error = 0;  // engine::OnError
    u64 tenants = 0;   // cgroups with lanes of their own

    // Its clients.
    u64 ports = port_in_process;
    u64 depth = 8;  // of each port, or of each of its queues or connections
    u64 connections = 1;
    u64 jobs = 1000;
    u64 job_bytes_max = 16 * kib;
    u64 pause_ns_max = 0;  // between an answer and the next job of a slot
    u64 hot_sectors = 0;   // most jobs begin within so many; 0: anywhere
    u64 reads = 40;        // shares of a hundred; what is left are writes
    u64 flushes = 5;
    u64 zeroes = 5;
    u64 discards = 5;
    u64 fua = 10;  // of a hundred writes

    // What else happens.
    u64 lives = 1;        // of the server; between them it ends in one of these ways:
    u64 kills = 0;        // of a hundred ends
    u64 power_cuts = 0;   // of a hundred ends
    u64 changes = 0;      // freeze and change the policy, of a thousand answers
    u64 resizes = 0;      // the same of the size
    u64 truncations = 0;  // of the image by somebody else, of a million answers
    u64 free_pages = 0;   // of the file system of a sparse image; 0: enough
    u64 full = 0;         // the file system of a sparse image is full for a while, as changes
    u64 sets = 0;         // another choice of what becomes of errors, as changes
    u64 latency_us_max = 200;
    Faults faults{};

    // For shrinking: jobs are left out whose number, modulo 64, has its bit here.
    u64 without = 0;
    // For the oracle's own tests: after so many jobs the disk writes to the wrong place. 0: never.
    u64 misdirect = 0;

    static Config draw(u64 seed);
    // "device_bytes=65536 shards=2 …": what differs from the defaults.
    std::string text() const;
    Status set(std::string_view name, u64 value);
};

// A field by its name, for printing, setting and shrinking.
struct ConfigField {
    const char* name;
    u64 Config::* number;  // one of these two
    u32 Faults::* chance;
};
std::span<const ConfigField> config_fields();
u64 value_of(const Config& config, const ConfigField& field);
void set_value(Config& config, const ConfigField& field, u64 value);

}  // namespace ringloop::sim
