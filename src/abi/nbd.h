// The network block device protocol as it travels: doc/proto.md of the NBD project, with the
// extended headers of its branch extension-ext-header. "Section" below is a heading of that file.
// All integers are big-endian (section "Conventions"); every structure has alignment 1.
#pragma once

#include <cstddef>
#include <type_traits>

#include "base/endian.h"

namespace ringloop::abi::nbd {

// ---- Handshake: section "Newstyle negotiation" ----

inline constexpr u64 greeting_magic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr u64 option_magic = 0x49484156454f5054;    // "IHAVEOPT"

struct Greeting {
    u64be magic = greeting_magic;
    u64be option_magic = nbd::option_magic;
    u16be flags;
};
static_assert(sizeof(Greeting) == 18);

// Section "Handshake flags": the server's 16 bits and the client's 32 have the same meaning.
inline constexpr u16 handshake_fixed_newstyle = 1 << 0;
inline constexpr u16 handshake_no_zeroes = 1 << 1;

struct ClientFlags {
    u32be flags;
};
static_assert(sizeof(ClientFlags) == 4);

struct OptionHeader {
    u64be magic = option_magic;
    u32be option;
    u32be length;  // bytes of data behind it
};
static_assert(sizeof(OptionHeader) == 16);
static_assert(offsetof(OptionHeader, length) == 12);

// Section "Option types".
inline constexpr u32 option_export_name = 1;
inline constexpr u32 option_abort = 2;
inline constexpr u32 option_list = 3;
inline constexpr u32 option_starttls = 5;
inline constexpr u32 option_info = 6;
inline constexpr u32 option_go = 7;
inline constexpr u32 option_structured_reply = 8;
inline constexpr u32 option_list_meta_context = 9;
inline constexpr u32 option_set_meta_context = 10;
inline constexpr u32 option_extended_headers = 11;

inline constexpr u64 option_reply_magic = 0x0003e889045565a9;

// Section "Fixed newstyle negotiation".
struct OptionReply {
    u64be magic = option_reply_magic;
    u32be option;
    u32be type;
    u32be length;  // bytes of data behind it
};
static_assert(sizeof(OptionReply) == 20);
static_assert(offsetof(OptionReply, length) == 16);

// Section "Option reply types".
inline constexpr u32 reply_ack = 1;
inline constexpr u32 reply_server = 2;
inline constexpr u32 reply_info = 3;
inline constexpr u32 reply_meta_context = 4;
inline constexpr u32 reply_error_bit = u32{1} << 31;
inline constexpr u32 reply_error_unsupported = reply_error_bit + 1;
inline constexpr u32 reply_error_policy = reply_error_bit + 2;
inline constexpr u32 reply_error_invalid = reply_error_bit + 3;
inline constexpr u32 reply_error_platform = reply_error_bit + 4;
inline constexpr u32 reply_error_tls_required = reply_error_bit + 5;
inline constexpr u32 reply_error_unknown = reply_error_bit + 6;
inline constexpr u32 reply_error_shutdown = reply_error_bit + 7;
inline constexpr u32 reply_error_block_size_required = reply_error_bit + 8;
inline constexpr u32 reply_error_too_big = reply_error_bit + 9;
inline constexpr u32 reply_error_extended_headers_required = reply_error_bit + 10;

// Section "Option types", NBD_OPT_EXPORT_NAME: what a client that uses it gets, and 124 zeroes
// unless both sides agreed on handshake_no_zeroes.
struct ExportNameReply {
    u64be size;
    u16be flags;
};
static_assert(sizeof(ExportNameReply) == 10);
inline constexpr std::size_t export_name_zeroes_bytes = 124;

// Section "Option reply types", NBD_REP_INFO.
inline constexpr u16 info_export = 0;
inline constexpr u16 info_name = 1;
inline constexpr u16 info_description = 2;
inline constexpr u16 info_block_size = 3;

struct InfoExport {
    u16be type = info_export;
    u64be size;
    u16be flags;
};
static_assert(sizeof(InfoExport) == 12);

struct InfoBlockSize {
    u16be type = info_block_size;
    u32be minimum;
    u32be preferred;
    u32be payload_maximum;
};
static_assert(sizeof(InfoBlockSize) == 14);

// Section "The base: metadata namespace".
inline constexpr u32 state_hole = 1 << 0;
inline constexpr u32 state_zero = 1 << 1;

// Section "Transmission flags".
inline constexpr u16 has_flags = 1 << 0;
inline constexpr u16 read_only = 1 << 1;
inline constexpr u16 send_flush = 1 << 2;
inline constexpr u16 send_fua = 1 << 3;
inline constexpr u16 rotational = 1 << 4;
inline constexpr u16 send_trim = 1 << 5;
inline constexpr u16 send_write_zeroes = 1 << 6;
inline constexpr u16 send_df = 1 << 7;  // only with structured or extended replies
inline constexpr u16 can_multi_conn = 1 << 8;
inline constexpr u16 send_resize = 1 << 9;  // an experiment of 2017
inline constexpr u16 send_cache = 1 << 10;
inline constexpr u16 send_fast_zero = 1 << 11;
inline constexpr u16 block_status_payload = 1 << 12;  // only with extended headers

// ---- Transmission: section "Request message" ----

inline constexpr u32 request_magic = 0x25609513;
inline constexpr u32 extended_request_magic = 0x21e41c71;

struct Request {
    u32be magic = request_magic;
    u16be flags;
    u16be type;
    u64be cookie;
    u64be offset;
    u32be length;
};
static_assert(sizeof(Request) == 28);
static_assert(offsetof(Request, cookie) == 8);
static_assert(offsetof(Request, length) == 24);

struct ExtendedRequest {
    u32be magic = extended_request_magic;
    u16be flags;
    u16be type;
    u64be cookie;
    u64be offset;
    u64be length;  // of the payload with command_payload_len, otherwise of the effect
};
static_assert(sizeof(ExtendedRequest) == 32);
static_assert(offsetof(ExtendedRequest, length) == 24);

// Section "Request types".
inline constexpr u16 command_read = 0;
inline constexpr u16 command_write = 1;
inline constexpr u16 command_disconnect = 2;
inline constexpr u16 command_flush = 3;
inline constexpr u16 command_trim = 4;
inline constexpr u16 command_cache = 5;
inline constexpr u16 command_write_zeroes = 6;
inline constexpr u16 command_block_status = 7;

// Section "Command flags".
inline constexpr u16 flag_fua = 1 << 0;
inline constexpr u16 flag_no_hole = 1 << 1;
inline constexpr u16 flag_df = 1 << 2;
inline constexpr u16 flag_req_one = 1 << 3;
inline constexpr u16 flag_fast_zero = 1 << 4;
inline constexpr u16 flag_payload_len = 1 << 5;  // only with extended headers

// NBD_CMD_BLOCK_STATUS with flag_payload_len; u32be context ids follow.
struct BlockStatusPayload {
    u64be effect_length;
};
static_assert(sizeof(BlockStatusPayload) == 8);

// ---- Replies: sections "Simple reply message" to "Extended reply chunk message" ----

inline constexpr u32 simple_reply_magic = 0x67446698;
inline constexpr u32 structured_reply_magic = 0x668e33ef;
inline constexpr u32 extended_reply_magic = 0x6e8a278c;

struct SimpleReply {
    u32be magic = simple_reply_magic;
    u32be error;
    u64be cookie;
};
static_assert(sizeof(SimpleReply) == 16);

struct StructuredReply {
    u32be magic = structured_reply_magic;
    u16be flags;
    u16be type;
    u64be cookie;
    u32be length;  // of the payload
};
static_assert(sizeof(StructuredReply) == 20);
static_assert(offsetof(StructuredReply, length) == 16);

struct ExtendedReply {
    u32be magic = extended_reply_magic;
    u16be flags;
    u16be type;
    u64be cookie;
    u64be offset;  // of the request
    u64be length;  // of the payload
};
static_assert(sizeof(ExtendedReply) == 32);
static_assert(offsetof(ExtendedReply, length) == 24);

// Section "Structured and extended header reply flags".
inline constexpr u16 reply_flag_done = 1 << 0;

// Section "Structured reply types".
inline constexpr u16 chunk_none = 0;
inline constexpr u16 chunk_offset_data = 1;
inline constexpr u16 chunk_offset_hole = 2;
inline constexpr u16 chunk_block_status = 5;
inline constexpr u16 chunk_block_status_ext = 6;
inline constexpr u16 chunk_error = (1 << 15) + 1;
inline constexpr u16 chunk_error_offset = (1 << 15) + 2;

struct OffsetData {  // data follows
    u64be offset;
};
static_assert(sizeof(OffsetData) == 8);

struct OffsetHole {
    u64be offset;
    u32be length;
};
static_assert(sizeof(OffsetHole) == 12);

struct ChunkError {  // the message follows, and behind it u64be offset in chunk_error_offset
    u32be error;
    u16be message_length;
};
static_assert(sizeof(ChunkError) == 6);

struct BlockStatus {  // descriptors follow
    u32be context_id;
};
struct BlockDescriptor {
    u32be length;
    u32be flags;
};
static_assert(sizeof(BlockStatus) == 4 && sizeof(BlockDescriptor) == 8);

struct BlockStatusExt {  // descriptors follow
    u32be context_id;
    u32be count;
};
struct BlockDescriptorExt {
    u64be length;
    u64be flags;
};
static_assert(sizeof(BlockStatusExt) == 8 && sizeof(BlockDescriptorExt) == 16);

// Section "Error values": the only ones a reply may carry.
enum class Error : u32 {
    none = 0,
    eperm = 1,
    eio = 5,
    enomem = 12,
    einval = 22,
    enospc = 28,
    eoverflow = 75,
    enotsup = 95,
    eshutdown = 108,
};

static_assert(std::is_trivially_copyable_v<ExtendedRequest> && alignof(ExtendedRequest) == 1);

}  // namespace ringloop::abi::nbd
