// TLS of one NBD connection, by gnutls and without I/O: ciphertext in, ciphertext out; the owner of
// the socket moves both. doc/proto.md of the NBD project, section "TLS support"; RFC 8446 and 5246.
//
// TLS 1.2 and 1.3. No session tickets and no resumption: each connection is authenticated by
// itself. Renegotiation is refused; a KeyUpdate of TLS 1.3 is answered with the next write.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "frontend/nbd/bytes.h"

struct gnutls_certificate_credentials_st;
struct gnutls_priority_st;
struct gnutls_psk_server_credentials_st;
struct gnutls_session_int;
struct gnutls_x509_crt_int;

namespace ringloop::nbd {

// Exactly one of certificates_dir and psk_file.
struct TlsOptions {
    // server-cert.pem (with the chain behind it) and server-key.pem; ca-cert.pem and, if there is
    // one, ca-crl.pem: the names that the other NBD servers use. The latter two say which clients
    // are trusted and are read only when `authorized` names some.
    std::string certificates_dir;
    // Lines of `user:hexkey` as psktool writes them; `#6162:hexkey` for a user whose name is told
    // in hexadecimal. Other lines that begin with # are comments.
    std::string psk_file;
    // Empty: no certificate is asked of clients; TLS protects what is sent, and whoever reaches
    // the socket may use it. Otherwise a client needs a certificate of the CA, valid today, not
    // revoked and not made for another purpose, whose subject (RFC 4514, as `certtool -i` prints
    // it), common name or alternative name (DNS, URI, email) equals one of these byte for byte: a
    // certificate of the CA alone is not enough, for a CA has many customers.
    std::vector<std::string> authorized;
};

// Longest entry of TlsOptions::authorized; a longer name in a certificate matches none.
inline constexpr u32 tls_name_bytes_max = 1024;
// A file that is larger than this is none of ours.
inline constexpr u32 tls_file_bytes_max = 1024 * 1024;
// What a client may send in the handshake, and after it from one byte of data to the next. gnutls
// itself collects a message up to the 16 MiB that its header can announce, of anybody. A chain of
// certificates is some KiB; a record is 16.
inline constexpr u32 tls_fruitless_bytes_max = 128 * 1024;
// Capacity that the output of a TlsSession needs for write() and close_start() to make progress.
inline constexpr u32 tls_output_bytes_min = 512;

// Who the server is and whom it trusts: everything is read and checked once, by create(), on the
// control thread; so is the age of ca-crl.pem, and a newer list takes a new start. Afterwards
// constant, for the sessions of all threads; outlives them.
class TlsContext {
public:
    // Loads gnutls, which may be missing. Complained about in the log: a secret in a file that
    // others can read, and a certificate of ours that has expired or is not valid yet.
    static Result<std::unique_ptr<TlsContext>> create(const TlsOptions& options);

private:
    friend class TlsSession;

    struct Refusal {
        std::string_view reason;  // empty: none
        int alert = 0;            // gnutls_alert_description_t
    };
    struct Release {
        void operator()(gnutls_certificate_credentials_st* certificates) const;
        void operator()(gnutls_psk_server_credentials_st* keys) const;
        void operator()(gnutls_priority_st* priority) const;
    };

    TlsContext() = default;
    Status load_certificates(const std::string& dir);
    Status load_clients_authority(const std::string& dir);
    Status load_keys(const std::string& file);
    Status add_key(std::string_view line);
    Status set_priority(const char* priority);

    // Of a session; negative: an error of gnutls.
    int equip(gnutls_session_int* session) const;
    Refusal judge_peer(gnutls_session_int* session) const;
    bool is_authorized(std::string_view name) const;
    bool subject_matches(gnutls_x509_crt_int* certificate) const;
    bool common_name_matches(gnutls_x509_crt_int* certificate) const;
    bool alternative_name_matches(gnutls_x509_crt_int* certificate) const;
    static int key_on_gnutls(gnutls_session_int* session, const void* user, void* key);

    std::unique_ptr<gnutls_certificate_credentials_st, Release> certificates_;
    std::unique_ptr<gnutls_psk_server_credentials_st, Release> keys_;
    std::unique_ptr<gnutls_priority_st, Release> priority_;
    std::map<std::string, std::string, std::less<>> keys_by_user_;
    std::vector<std::string> authorized_;
};

// One connection, server's side, from behind the answer to STARTTLS. One thread. What it allocates
// is gnutls' own: the session, and a record at a time.
//
//     handshake()* -> done -> [read() | write()]* -> close_start()
class TlsSession {
public:
    enum class Outcome : u8 {
        need_input,  // all input was consumed; send what is in the output, bring more
        need_room,   // send the output, then call again with the input that was not consumed
        done,        // as each function says
        closed,      // the peer said that it sends no more (close_notify)
        failed,      // reason() says why; send the output (an alert may be in it), then close
    };

    // When gnutls has no memory for it, the first handshake() fails.
    explicit TlsSession(const TlsContext& context);
    TlsSession(const TlsSession&) = delete;
    TlsSession& operator=(const TlsSession&) = delete;
    ~TlsSession() = default;

    // The functions below take from the front of `cipher_in`. An end of file is not told to them:
    // without `closed` before it, the peer, or somebody between, has cut the connection off.

    // done: the peer is who it has to be. What is left of the input is for read().
    Outcome handshake(Bytes& cipher_in, OutputBuffer& cipher_out);

    // Fills `plain`, which is not empty, from its front; `got` counts, whatever the outcome is.
    // done: it is full, and there may be more, even without any input. Never need_room.
    Outcome read(Bytes& cipher_in, std::span<std::byte> plain, std::size_t& got,
                 OutputBuffer& cipher_out);

    // Takes from the front of `plain` as much as there is room for, in records of up to 16 KiB:
    // each costs some 30 bytes, so it wants few large pieces. done: all of it. need_room: what is
    // left in `plain` is for the next call; nothing is remembered here.
    Outcome write(Bytes& plain, OutputBuffer& cipher_out);

    // No write() after it. done or need_room; nothing is put before the handshake is done. The peer
    // may still be sending.
    Outcome close_start(OutputBuffer& cipher_out);

    // One line for the log, without anything of the peer's making; empty before Outcome::failed.
    std::string_view reason() const { return reason_; }

private:
    enum class State : u8 { handshake, open, failed };
    enum class Step : u8 { again, need_input, need_room, failed };
    struct Release {
        void operator()(gnutls_session_int* session) const;
    };
    class Transport;

    Step step_on_gnutls(long error);
    static Outcome outcome_of(Step step);
    Outcome judge_peer();
    std::size_t record_room() const;
    void fail(long error);
    void fail(std::string_view reason, int alert);

    static long pull_on_gnutls(void* self, void* data, std::size_t size);
    static long push_on_gnutls(void* self, const void* data, std::size_t size);

    const TlsContext& context_;
    std::unique_ptr<gnutls_session_int, Release> session_;
    State state_ = State::handshake;
    bool close_sent_ = false;

    // What gnutls may take from and put into: those of the call under way, null between calls.
    Bytes* input_ = nullptr;
    OutputBuffer* output_ = nullptr;
    bool starved_ = false;  // since the last call of gnutls: it wanted input that was not there
    bool crowded_ = false;  // the same of output
    std::size_t fruitless_bytes_ = 0;  // input since the last data or the start

    std::string_view reason_;
    std::array<char, 96> reason_text_;  // where an alert's name has to go into it
};

}  // namespace ringloop::nbd
