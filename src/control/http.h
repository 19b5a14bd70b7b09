// The little of HTTP/1.1 (RFC 9112) that a scrape of metrics needs. Text in, text out: no socket.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/int.h"

namespace ringloop::control {

inline constexpr std::size_t http_request_bytes_max = 8 * 1024;

// What a request deserves: 200, 400 (no HTTP), 404 (another path than /metrics), 405 (another
// method than GET), 431 (too long), 505 (another version than 1.x). nullopt: its end has not come
// yet.
std::optional<u32> http_status_of(std::string_view request);

// With the status's own words as its body unless that is 200. The connection ends with it.
std::string http_response(u32 status, std::string_view body = "");

}  // namespace ringloop::control
