// A TlsSession with its buffers: what a connection puts between its socket and its plain bytes.
#pragma once

#include <sys/uio.h>

#include <memory>
#include <span>

#include "frontend/nbd/tls.h"

namespace ringloop::nbd {

class TlsChannel {
public:
    using Outcome = TlsSession::Outcome;

    explicit TlsChannel(const TlsContext& context);

    // Where ciphertext is received; never empty once all of it was taken by handshake or read.
    std::span<std::byte> room();
    void received(u32 bytes);

    // True once plain bytes can be moved.
    bool up() const { return up_; }
    // done: it is up.
    Outcome handshake();
    // See TlsSession::read.
    Outcome read(std::span<std::byte> plain, std::size_t& got);

    // Encrypts from the front of `vectors`, as much as there is room for, and moves `begin` to the
    // first that is not taken in full. False: failed.
    bool write(std::span<iovec> vectors, u32& begin);
    // True when it has been said, or cannot be.
    bool close_start();

    OutputBuffer& output() { return output_; }
    std::string_view reason() const { return session_.reason(); }

private:
    static constexpr u32 input_bytes = 32 * 1024;
    static constexpr u32 output_bytes = 128 * 1024;
    // A record takes this much; short heads and their data share one.
    static constexpr u32 plain_bytes = 16 * 1024;

    Bytes input() const { return {storage_.get() + input_begin_, input_end_ - input_begin_}; }
    void taken(Bytes left) { input_begin_ = input_end_ - static_cast<u32>(left.size()); }
    bool flush_plain();

    TlsSession session_;
    bool up_ = false;
    bool closed_ = false;
    std::unique_ptr<std::byte[]> storage_;  // ciphertext in, ciphertext out, plain bytes to go out
    u32 input_begin_ = 0;
    u32 input_end_ = 0;
    OutputBuffer output_;
    std::byte* plain_;
    u32 plain_begin_ = 0;
    u32 plain_end_ = 0;
};

}  // namespace ringloop::nbd
