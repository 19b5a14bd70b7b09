#include "frontend/nbd/reply.h"

namespace ringloop::nbd {

namespace wire = abi::nbd;

wire::Error errno_on_wire(Errno error) {
    switch (error) {
        case Errno::ok: return wire::Error::none;
        case Errno::not_permitted:
        case Errno::read_only: return wire::Error::eperm;
        case Errno::no_memory: return wire::Error::enomem;
        case Errno::invalid: return wire::Error::einval;
        // No space for us: "Error values" maps these two in words.
        case Errno::quota:
        case Errno::file_too_big:
        case Errno::no_space: return wire::Error::enospc;
        case Errno::not_supported: return wire::Error::enotsup;
        case Errno::shutdown: return wire::Error::eshutdown;
        // EAGAIN and EINTR mean nothing to a client and never leave as themselves.
        case Errno::again:
        case Errno::interrupted:
        case Errno::io:
        case Errno::stale:
        case Errno::timed_out:
        case Errno::remote_io:
        case Errno::cancelled: return wire::Error::eio;
    }
    ASSERT(!"an Errno of its enumeration");
    return wire::Error::eio;
}

wire::Error error_for(const Command& command, Errno error) {
    const wire::Error narrowed = errno_on_wire(error);
    if (narrowed == wire::Error::enotsup && !command.fast_zero) return wire::Error::einval;
    return narrowed;
}

void ReplyEncoder::success(const Command& command, OutputBuffer& output) const {
    if (style_ == ReplyStyle::simple) {
        ASSERT(command.type != CommandType::read);
        return output.put(wire::SimpleReply{.error = 0, .cookie = command.cookie});
    }
    put_chunk(command, wire::chunk_none, More::no, 0, output);
}

void ReplyEncoder::error(const Command& command, wire::Error error, std::string_view message,
                         OutputBuffer& output) const {
    ASSERT(error != wire::Error::none);
    const u32 number = static_cast<u32>(error);
    if (style_ == ReplyStyle::simple) {
        return output.put(wire::SimpleReply{.error = number, .cookie = command.cookie});
    }
    const std::string_view text = message.substr(0, message_bytes_max);
    put_chunk(command, wire::chunk_error, More::no, sizeof(wire::ChunkError) + text.size(), output);
    output.put(wire::ChunkError{.error = number, .message_length = static_cast<u16>(text.size())});
    output.put(text);
}

void ReplyEncoder::error_at(const Command& command, wire::Error error, u64 offset,
                            std::string_view message, OutputBuffer& output) const {
    ASSERT(style_ != ReplyStyle::simple && error != wire::Error::none);
    ASSERT(offset >= command.range.offset && offset - command.range.offset < command.range.length);
    const std::string_view text = message.substr(0, message_bytes_max);
    put_chunk(command, wire::chunk_error_offset, More::no,
              sizeof(wire::ChunkError) + text.size() + sizeof(u64be), output);
    output.put(wire::ChunkError{.error = static_cast<u32>(error),
                                .message_length = static_cast<u16>(text.size())});
    output.put(text);
    output.put(u64be{offset});
}

void ReplyEncoder::data(const Command& command, ByteRange range, More more,
                        OutputBuffer& output) const {
    ASSERT(command.type == CommandType::read && range.length > 0);
    if (style_ == ReplyStyle::simple) {
        ASSERT(range == command.range && more == More::no);
        return output.put(wire::SimpleReply{.error = 0, .cookie = command.cookie});
    }
    put_chunk(command, wire::chunk_offset_data, more, sizeof(wire::OffsetData) + range.length,
              output);
    output.put(wire::OffsetData{.offset = range.offset});
}

void ReplyEncoder::hole(const Command& command, ByteRange range, More more,
                        OutputBuffer& output) const {
    ASSERT(style_ != ReplyStyle::simple && command.type == CommandType::read);
    // The length has 32 bits, whatever the headers have; no read is as long.
    ASSERT(range.length > 0 && range.length <= request_bytes_max);
    put_chunk(command, wire::chunk_offset_hole, more, sizeof(wire::OffsetHole), output);
    output.put(wire::OffsetHole{.offset = range.offset, .length = static_cast<u32>(range.length)});
}

void ReplyEncoder::block_status(const Command& command, std::span<const Extent> extents,
                                OutputBuffer& output) const {
    ASSERT(style_ != ReplyStyle::simple && command.type == CommandType::block_status);
    ASSERT(!extents.empty() && extents.size() <= extents_on_wire_max);
    const auto count = static_cast<u32>(extents.size());
    if (style_ == ReplyStyle::extended) {
        put_chunk(command, wire::chunk_block_status_ext, More::no,
                  sizeof(wire::BlockStatusExt) + sizeof(wire::BlockDescriptorExt) * u64{count},
                  output);
        output.put(wire::BlockStatusExt{.context_id = allocation_context_id, .count = count});
        for (const Extent& extent : extents) {
            output.put(wire::BlockDescriptorExt{.length = extent.length, .flags = extent.flags});
        }
        return;
    }
    put_chunk(command, wire::chunk_block_status, More::no,
              sizeof(wire::BlockStatus) + sizeof(wire::BlockDescriptor) * u64{count}, output);
    output.put(wire::BlockStatus{.context_id = allocation_context_id});
    for (const Extent& extent : extents) {
        ASSERT(extent.length <= 0xffffffff);
        output.put(wire::BlockDescriptor{.length = static_cast<u32>(extent.length),
                                         .flags = extent.flags});
    }
}

std::size_t ReplyEncoder::block_status_bytes(std::size_t extents) const {
    if (style_ == ReplyStyle::extended) {
        return sizeof(wire::ExtendedReply) + sizeof(wire::BlockStatusExt) +
               sizeof(wire::BlockDescriptorExt) * extents;
    }
    return sizeof(wire::StructuredReply) + sizeof(wire::BlockStatus) +
           sizeof(wire::BlockDescriptor) * extents;
}

void ReplyEncoder::put_chunk(const Command& command, u16 type, More more, u64 length,
                             OutputBuffer& output) const {
    const u16 flags = more == More::no ? wire::reply_flag_done : u16{0};
    if (style_ == ReplyStyle::extended) {
        return output.put(wire::ExtendedReply{.flags = flags,
                                              .type = type,
                                              .cookie = command.cookie,
                                              .offset = command.wire_offset,
                                              .length = length});
    }
    ASSERT(style_ == ReplyStyle::structured && length <= 0xffffffff);
    output.put(wire::StructuredReply{.flags = flags,
                                     .type = type,
                                     .cookie = command.cookie,
                                     .length = static_cast<u32>(length)});
}

}  // namespace ringloop::nbd
