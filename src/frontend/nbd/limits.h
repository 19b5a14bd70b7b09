// Every limit of the NBD server, and how they depend on one another. What a client can make us
// hold, read or compute is bounded by a number on this page.
#pragma once

#include "base/int.h"

namespace ringloop::nbd {

// ---- Handshake ----

// The protocol's longest string (doc/proto.md, "Conventions"): export names, descriptions, queries.
inline constexpr u32 name_bytes_max = 4096;
inline constexpr u32 description_bytes_max = 4096;
inline constexpr u32 exports_max = 64;

// Data of one option. The largest that makes sense is a list of metadata queries; a client that
// announces more is cut off, because reading it to its end is all that it could want (4 GiB in
// CVE-2017-15119).
inline constexpr u32 option_bytes_max = 64 * 1024;
// Options of one session, over TLS and before it. The longest haggling of libnbd takes a dozen.
inline constexpr u32 options_max = 128;
// Enough for one reply of the longest kind, NBD_REP_SERVER: 20 + 4 + name + description.
inline constexpr u32 negotiation_output_bytes_min = 24 + name_bytes_max + description_bytes_max;

// From accept to the end of the handshake, TLS included (CVE-2024-7409: idle connections).
inline constexpr u64 handshake_deadline_ms = 10'000;
inline constexpr u32 connections_max = 128;

// ---- Transmission ----

// The largest payload in either direction. The protocol wants at least this much to work without
// any negotiation ("Size constraints": 2^25). A longer payload is not even drained.
inline constexpr u32 request_bytes_max = 32 * 1024 * 1024;
// An unfragmented read of this length has to work (NBD_CMD_READ, "don't fragment").
inline constexpr u32 unfragmented_read_bytes_min = 64 * 1024;
inline constexpr u32 block_bytes_max = 64 * 1024;  // the largest minimum block size
inline constexpr u32 preferred_block_bytes_min = 512;

// A connection has a slot with a small buffer for each request in flight, and a few large buffers
// in which longer requests are carried out piece by piece. Both are its own: a client that stops
// reading, or asks for 32 MiB at a time, holds up nobody else, and the memory of all together is
// the number of connections times this.
inline constexpr u32 depth_default = 128;
inline constexpr u32 depth_max = 1024;
inline constexpr u32 small_slot_bytes = 16 * 1024;
inline constexpr u32 piece_bytes_max = 256 * 1024;
inline constexpr u64 in_flight_bytes_default = 4 * mib;  // of large buffers
inline constexpr u64 in_flight_bytes_min = 2 * mib;
inline constexpr u64 in_flight_bytes_max = 1 * gib;
// Read as a whole before any of it is sent, where the reply cannot be cut into chunks.
inline constexpr u32 whole_read_pieces_max = 8;
// Pieces of one command at a time, so that several long ones share a connection.
inline constexpr u32 pieces_per_command_max = 4;
// What is received at a time besides payloads.
inline constexpr u32 input_bytes = 128 * 1024;

// One chunk of block status (NBD_REPLY_TYPE_BLOCK_STATUS: "more than 2^20 extents").
inline constexpr u32 extents_on_wire_max = 1 << 20;
// What we look up for one request; the client asks again from where the answer ends.
inline constexpr u32 extents_max = 1020;

// Text in an error chunk, for people.
inline constexpr u32 message_bytes_max = 255;
// Room that any reply takes but its data and its descriptors: 32 + 6 + message + 8.
inline constexpr u32 reply_head_bytes_max = 46 + message_bytes_max;
// The same for a whole chunk of block status: 32 + 8, and 16 for each descriptor.
inline constexpr u32 block_status_bytes_max = 40 + 16 * extents_max;

static_assert(name_bytes_max <= 4096 && description_bytes_max <= 4096);
static_assert(option_bytes_max >= 4 + name_bytes_max + 2 + 2 * 0xff, "an INFO with many requests");
static_assert(option_bytes_max >= 4 + name_bytes_max + 4 + 4 + name_bytes_max, "one long query");
static_assert(options_max >= 32);
static_assert(request_bytes_max >= 1 << 25, "doc/proto.md: not to be taken for an attack");
static_assert(request_bytes_max >= unfragmented_read_bytes_min);
static_assert(request_bytes_max % block_bytes_max == 0);
static_assert(in_flight_bytes_min >= u64{whole_read_pieces_max} * piece_bytes_max);
static_assert(small_slot_bytes % 4096 == 0 && piece_bytes_max % block_bytes_max == 0);
static_assert(block_status_bytes_max <= small_slot_bytes);
static_assert(unfragmented_read_bytes_min <= u64{whole_read_pieces_max} * piece_bytes_max);
static_assert(extents_max > 0 && extents_max <= extents_on_wire_max);
static_assert(message_bytes_max <= 4096);

}  // namespace ringloop::nbd
