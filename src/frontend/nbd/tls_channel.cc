#include "frontend/nbd/tls_channel.h"

#include <algorithm>
#include <cstring>

namespace ringloop::nbd {

TlsChannel::TlsChannel(const TlsContext& context)
    : session_(context),
      storage_(std::make_unique<std::byte[]>(input_bytes + output_bytes + plain_bytes)),
      output_({storage_.get() + input_bytes, output_bytes}),
      plain_(storage_.get() + input_bytes + output_bytes) {}

std::span<std::byte> TlsChannel::room() {
    if (input_begin_ == input_end_) input_begin_ = input_end_ = 0;
    return {storage_.get() + input_end_, input_bytes - input_end_};
}

void TlsChannel::received(u32 bytes) { input_end_ += bytes; }

TlsChannel::Outcome TlsChannel::handshake() {
    Bytes cipher = input();
    const Outcome outcome = session_.handshake(cipher, output_);
    taken(cipher);
    if (outcome == Outcome::done) up_ = true;
    return outcome;
}

TlsChannel::Outcome TlsChannel::read(std::span<std::byte> plain, std::size_t& got) {
    Bytes cipher = input();
    const Outcome outcome = session_.read(cipher, plain, got, output_);
    taken(cipher);
    return outcome;
}

// What is left of the last record's bytes; true when nothing is.
bool TlsChannel::flush_plain() {
    Bytes rest(plain_ + plain_begin_, plain_end_ - plain_begin_);
    if (rest.empty()) return true;
    const Outcome outcome = session_.write(rest, output_);
    plain_begin_ = plain_end_ - static_cast<u32>(rest.size());
    if (outcome == Outcome::failed) closed_ = true;
    return rest.empty();
}

bool TlsChannel::write(std::span<iovec> vectors, u32& begin) {
    while (flush_plain()) {
        plain_begin_ = plain_end_ = 0;
        while (begin < vectors.size() && plain_end_ < plain_bytes) {
            iovec& vector = vectors[begin];
            const u64 taken = std::min<u64>(vector.iov_len, plain_bytes - plain_end_);
            std::memcpy(plain_ + plain_end_, vector.iov_base, taken);
            plain_end_ += static_cast<u32>(taken);
            vector.iov_base = static_cast<std::byte*>(vector.iov_base) + taken;
            vector.iov_len -= taken;
            if (vector.iov_len == 0) ++begin;
        }
        if (plain_end_ == 0) return true;
    }
    return !closed_;
}

bool TlsChannel::close_start() {
    if (!up_ || closed_ || !flush_plain()) return closed_ || !up_;
    if (session_.close_start(output_) == Outcome::need_room) return false;
    return closed_ = true;
}

}  // namespace ringloop::nbd
