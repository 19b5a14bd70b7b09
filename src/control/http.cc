#include "control/http.h"

#include <fmt/format.h>

#include <algorithm>

namespace ringloop::control {
namespace {

const char* reason_of(u32 status) {
    switch (status) {
        case 200: return "OK";
        case 404: return "Not Found";
        case 405: return "Method Not Allowed";
        case 431: return "Request Header Fields Too Large";
        case 505: return "HTTP Version Not Supported";
        default: return "Bad Request";
    }
}

bool is_token(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-';
    });
}

// "GET /metrics HTTP/1.1"
u32 status_of_line(std::string_view line) {
    const std::size_t first = line.find(' ');
    const std::size_t last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) return 400;
    const std::string_view method = line.substr(0, first);
    const std::string_view target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!is_token(method) || target.find(' ') != std::string_view::npos || target.empty()) {
        return 400;
    }
    if (!version.starts_with("HTTP/")) return 400;
    if (version != "HTTP/1.1" && version != "HTTP/1.0") return 505;
    if (target.substr(0, target.find('?')) != "/metrics") return 404;
    return method == "GET" ? 200 : 405;
}

}  // namespace

std::optional<u32> http_status_of(std::string_view request) {
    const bool ended = request.find("\r\n\r\n") != std::string_view::npos ||
                       request.find("\n\n") != std::string_view::npos;
    if (request.size() > http_request_bytes_max) return 431;
    if (!ended) return std::nullopt;
    std::string_view line = request.substr(0, request.find('\n'));
    if (line.ends_with('\r')) line.remove_suffix(1);
    return status_of_line(line);
}

std::string http_response(u32 status, std::string_view body) {
    const std::string words = fmt::format("{} {}\n", status, reason_of(status));
    if (status != 200) body = words;
    return fmt::format(
        "HTTP/1.1 {} {}\r\n"
        "Content-Type: text/plain; {}charset=utf-8\r\n"
        "Content-Length: {}\r\n"
        "{}"
        "Connection: close\r\n"
        "\r\n"
        "{}",
        status, reason_of(status), status == 200 ? "version=0.0.4; " : "", body.size(),
        status == 405 ? "Allow: GET\r\n" : "", body);
}

}  // namespace ringloop::control
