// What a server gives the next one of each of its clients, beside the socket: what was agreed on,
// and the bytes that have come and were not carried out. In a form that has a version, because the
// two servers may be of different ringloops; read like a stranger's, because it is cheap to do so.
#pragma once

#include <vector>

#include "base/result.h"
#include "frontend/nbd/agreement.h"
#include "frontend/nbd/bytes.h"

namespace ringloop::nbd {

struct CarriedClient {
    Agreement agreement;
    // Begins with a request; up to carried_bytes_max.
    std::vector<std::byte> input;
};

inline constexpr u32 carried_format = 1;
// A request's head, a piece of its payload, and what a receive brings: several times over.
inline constexpr u32 carried_bytes_max = 1024 * 1024;

std::vector<std::byte> encode_carried(const std::vector<CarriedClient>& clients);

// EPROTONOSUPPORT: another version of the form. EBADMSG: anything else that encode_carried does not
// write.
Result<std::vector<CarriedClient>> decode_carried(Bytes bytes);

}  // namespace ringloop::nbd
