#include "frontend/nbd/carried.h"

#include <bit>
#include <cerrno>
#include <span>

#include "base/endian.h"

namespace ringloop::nbd {
namespace {

constexpr u64 carried_magic = 0x72696e676c6f6f70;  // "ringloop"

struct Head {
    u64be magic = carried_magic;
    u32be format = carried_format;
    u32be clients;
};
static_assert(sizeof(Head) == 16);

struct ClientHead {
    u16be style;
    u16be flags;
    u32be block_bytes_min;
    u32be payload_bytes_max;
    u32be block_status;  // 0 or 1
    u64be size_bytes;
    u32be input_bytes;  // behind this
};
static_assert(sizeof(ClientHead) == 28);

template <typename T>
void put(const T& structure, std::vector<std::byte>& bytes) {
    const auto raw = std::as_bytes(std::span(&structure, 1));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
}

bool is_good(const ClientHead& head) {
    const u32 block = head.block_bytes_min;
    return head.style <= static_cast<u16>(ReplyStyle::extended) && std::has_single_bit(block) &&
           block <= block_bytes_max && head.payload_bytes_max <= request_bytes_max &&
           head.block_status <= 1 && head.input_bytes <= carried_bytes_max;
}

std::unexpected<Error> malformed() {
    return fail(EBADMSG,
                "what the old server says of its clients cannot be read; detach and attach");
}

}  // namespace

std::vector<std::byte> encode_carried(const std::vector<CarriedClient>& clients) {
    std::vector<std::byte> bytes;
    put(Head{.clients = static_cast<u32>(clients.size())}, bytes);
    for (const CarriedClient& client : clients) {
        const Agreement& agreement = client.agreement;
        put(ClientHead{.style = static_cast<u16>(agreement.style),
                       .flags = agreement.flags,
                       .block_bytes_min = agreement.block_bytes_min,
                       .payload_bytes_max = agreement.payload_bytes_max,
                       .block_status = agreement.block_status ? 1U : 0U,
                       .size_bytes = agreement.size_bytes,
                       .input_bytes = static_cast<u32>(client.input.size())},
            bytes);
        bytes.insert(bytes.end(), client.input.begin(), client.input.end());
    }
    return bytes;
}

Result<std::vector<CarriedClient>> decode_carried(Bytes bytes) {
    Reader reader(bytes);
    Head head;
    if (!reader.take(head) || head.magic != carried_magic) return malformed();
    if (head.format != carried_format) {
        return fail(EPROTONOSUPPORT,
                    "the old server describes its clients in form {}, this ringloop knows form {}; "
                    "detach and attach",
                    u32{head.format}, carried_format);
    }
    std::vector<CarriedClient> clients;
    for (u32 left = head.clients; left > 0; --left) {
        ClientHead client;
        std::string_view input;
        if (!reader.take(client) || !is_good(client)) return malformed();
        if (!reader.take_text(client.input_bytes, input)) return malformed();
        const auto raw = std::as_bytes(std::span(input));
        clients.push_back({.agreement = {.style = static_cast<ReplyStyle>(u16{client.style}),
                                         .flags = client.flags,
                                         .size_bytes = client.size_bytes,
                                         .block_bytes_min = client.block_bytes_min,
                                         .payload_bytes_max = client.payload_bytes_max,
                                         .block_status = client.block_status == 1},
                           .input = {raw.begin(), raw.end()}});
    }
    if (reader.left() > 0) return malformed();
    return clients;
}

}  // namespace ringloop::nbd
