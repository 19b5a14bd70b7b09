// The other end of TLS in tests: keys and certificates made on the spot, a client of gnutls that
// talks through strings, and the wire between it and a TlsSession, cut as a test wants it.
#pragma once

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/nbd/tls.h"

namespace ringloop::nbd::test {

inline void must(int error) { ASSERT_GE(error, 0) << gnutls_strerror(error); }

inline void write_file(const std::string& path, std::string_view text) {
    std::ofstream(path, std::ios::binary) << text;
    ::chmod(path.c_str(), 0600);
}

// ---- Keys ----

struct Names {
    std::string subject;      // RFC 4514
    std::string common_name;  // any bytes, behind those of the subject
    std::string dns;          // a name of each kind that is not empty
    std::string uri;
    std::string email;
    std::string purpose = GNUTLS_KP_TLS_WWW_CLIENT;
    int days_left = 1;
};

// A certificate and its key, P-256: the fastest that everybody takes.
class Identity {
public:
    // Without an issuer it is a CA of its own.
    explicit Identity(const Names& names, const Identity* issuer = nullptr) {
        static unsigned char serial = 0;
        ++serial;
        must(gnutls_x509_privkey_init(&key_));
        must(gnutls_x509_privkey_generate(key_, GNUTLS_PK_ECDSA,
                                          GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
        must(gnutls_x509_crt_init(&certificate_));
        must(gnutls_x509_crt_set_version(certificate_, 3));
        must(gnutls_x509_crt_set_serial(certificate_, &serial, 1));
        must(gnutls_x509_crt_set_key(certificate_, key_));
        must(gnutls_x509_crt_set_dn(certificate_, names.subject.c_str(), nullptr));
        if (!names.common_name.empty()) {
            must(gnutls_x509_crt_set_dn_by_oid(certificate_, GNUTLS_OID_X520_COMMON_NAME, 0,
                                               names.common_name.data(),
                                               static_cast<unsigned>(names.common_name.size())));
        }
        set_name(GNUTLS_SAN_DNSNAME, names.dns);
        set_name(GNUTLS_SAN_URI, names.uri);
        set_name(GNUTLS_SAN_RFC822NAME, names.email);
        const std::time_t day_s = 24 * 60 * 60;
        const std::time_t end_s = std::time(nullptr) + names.days_left * day_s;
        must(gnutls_x509_crt_set_activation_time(certificate_, end_s - 10 * day_s));
        must(gnutls_x509_crt_set_expiration_time(certificate_, end_s));
        must(gnutls_x509_crt_set_ca_status(certificate_, issuer ? 0 : 1));
        must(gnutls_x509_crt_set_key_usage(
            certificate_, issuer ? GNUTLS_KEY_DIGITAL_SIGNATURE
                                 : GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN));
        if (issuer) {
            must(gnutls_x509_crt_set_key_purpose_oid(certificate_, names.purpose.c_str(), 0));
        }
        const Identity& signer = issuer ? *issuer : *this;
        must(gnutls_x509_crt_sign2(certificate_, signer.certificate_, signer.key_,
                                   GNUTLS_DIG_SHA256, 0));
    }
    Identity(const Identity&) = delete;
    Identity& operator=(const Identity&) = delete;
    ~Identity() {
        gnutls_x509_crt_deinit(certificate_);
        gnutls_x509_privkey_deinit(key_);
    }

    gnutls_x509_crt_t certificate() const { return certificate_; }
    gnutls_x509_privkey_t key() const { return key_; }

    std::string certificate_pem() const {
        gnutls_datum_t text = {};
        must(gnutls_x509_crt_export2(certificate_, GNUTLS_X509_FMT_PEM, &text));
        return take(text);
    }
    std::string key_pem() const {
        gnutls_datum_t text = {};
        must(gnutls_x509_privkey_export2(key_, GNUTLS_X509_FMT_PEM, &text));
        return take(text);
    }
    // A list of this CA with one certificate on it.
    std::string revoke(const Identity& revoked, int days_left = 1) const {
        gnutls_x509_crl_t list = nullptr;
        must(gnutls_x509_crl_init(&list));
        const std::time_t now_s = std::time(nullptr);
        must(gnutls_x509_crl_set_version(list, 2));
        must(gnutls_x509_crl_set_this_update(list, now_s - 10 * 24 * 60 * 60));
        must(gnutls_x509_crl_set_next_update(list, now_s + days_left * 24 * 60 * 60));
        must(gnutls_x509_crl_set_crt(list, revoked.certificate_, now_s - 1));
        must(gnutls_x509_crl_sign2(list, certificate_, key_, GNUTLS_DIG_SHA256, 0));
        gnutls_datum_t text = {};
        must(gnutls_x509_crl_export2(list, GNUTLS_X509_FMT_PEM, &text));
        gnutls_x509_crl_deinit(list);
        return take(text);
    }

private:
    static std::string take(gnutls_datum_t text) {
        std::string result(reinterpret_cast<const char*>(text.data), text.size);
        gnutls_free(text.data);
        return result;
    }
    void set_name(gnutls_x509_subject_alt_name_t type, const std::string& name) {
        if (name.empty()) return;
        must(gnutls_x509_crt_set_subject_alt_name(certificate_, type, name.data(),
                                                  static_cast<unsigned>(name.size()),
                                                  GNUTLS_FSAN_APPEND));
    }

    gnutls_x509_privkey_t key_ = nullptr;
    gnutls_x509_crt_t certificate_ = nullptr;
};

// ---- The client ----

struct ClientOptions {
    const Identity* identity = nullptr;  // the certificate it shows
    std::string psk_user;                // keys instead of certificates
    std::string psk_key;                 // hexadecimal
    std::string priority = "NORMAL";
};

class TlsClient {
public:
    explicit TlsClient(const ClientOptions& options) {
        must(gnutls_init(&session_, GNUTLS_CLIENT | GNUTLS_NONBLOCK));
        must(gnutls_priority_set_direct(session_, options.priority.c_str(), nullptr));
        if (options.psk_user.empty()) {
            must(gnutls_certificate_allocate_credentials(&certificates_));
            if (options.identity) show(*options.identity);
            must(gnutls_credentials_set(session_, GNUTLS_CRD_CERTIFICATE, certificates_));
        } else {
            must(gnutls_psk_allocate_client_credentials(&keys_));
            const gnutls_datum_t key = datum(options.psk_key);
            must(gnutls_psk_set_client_credentials(keys_, options.psk_user.c_str(), &key,
                                                   GNUTLS_PSK_KEY_HEX));
            must(gnutls_credentials_set(session_, GNUTLS_CRD_PSK, keys_));
        }
        gnutls_handshake_set_timeout(session_, 0);
        gnutls_transport_set_ptr(session_, this);
        gnutls_transport_set_pull_function(session_, pull);
        gnutls_transport_set_push_function(session_, push);
    }
    TlsClient(const TlsClient&) = delete;
    TlsClient& operator=(const TlsClient&) = delete;
    ~TlsClient() {
        gnutls_deinit(session_);
        if (certificates_) gnutls_certificate_free_credentials(certificates_);
        if (keys_) gnutls_psk_free_client_credentials(keys_);
    }

    gnutls_session_t session() { return session_; }

    // As far as the input goes. GNUTLS_E_SUCCESS, GNUTLS_E_AGAIN or what it failed with.
    int handshake() { return gnutls_handshake(session_); }

    void send(std::string_view data) {
        while (!data.empty()) {
            const ssize_t sent = gnutls_record_send(session_, data.data(), data.size());
            ASSERT_GT(sent, 0) << gnutls_strerror(static_cast<int>(sent));
            data.remove_prefix(static_cast<std::size_t>(sent));
        }
    }
    // Appends what came to `plain`. GNUTLS_E_AGAIN, 0 at the server's close_notify, or an error.
    int receive() {
        std::array<char, 4000> piece;
        for (;;) {
            const ssize_t size = gnutls_record_recv(session_, piece.data(), piece.size());
            if (size <= 0) return static_cast<int>(size);
            plain.append(piece.data(), static_cast<std::size_t>(size));
        }
    }

    std::string to_server;
    std::string from_server;
    std::string plain;

private:
    static gnutls_datum_t datum(const std::string& text) {
        return {reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
                static_cast<unsigned>(text.size())};
    }
    void show(const Identity& identity) {
        const std::string certificate = identity.certificate_pem();
        const std::string key = identity.key_pem();
        const gnutls_datum_t certificate_data = datum(certificate);
        const gnutls_datum_t key_data = datum(key);
        must(gnutls_certificate_set_x509_key_mem2(certificates_, &certificate_data, &key_data,
                                                  GNUTLS_X509_FMT_PEM, nullptr, 0));
    }
    static ssize_t pull(void* self, void* data, std::size_t size) {
        auto& client = *static_cast<TlsClient*>(self);
        const std::size_t taken = std::min(size, client.from_server.size());
        if (taken == 0) {
            gnutls_transport_set_errno(client.session_, EAGAIN);
            return -1;
        }
        std::memcpy(data, client.from_server.data(), taken);
        client.from_server.erase(0, taken);
        return static_cast<ssize_t>(taken);
    }
    static ssize_t push(void* self, const void* data, std::size_t size) {
        static_cast<TlsClient*>(self)->to_server.append(static_cast<const char*>(data), size);
        return static_cast<ssize_t>(size);
    }

    gnutls_session_t session_ = nullptr;
    gnutls_certificate_credentials_t certificates_ = nullptr;
    gnutls_psk_client_credentials_t keys_ = nullptr;
};

// ---- Both ----

using Outcome = TlsSession::Outcome;

// A client and a server, and between them an output of `room` bytes and inputs of up to `cut`.
class Talk {
public:
    Talk(const TlsContext& context, const ClientOptions& options, std::size_t room = 64 * 1024,
         std::size_t cut = 1 << 20)
        : client(options), server(context), cut_(cut), storage_(room), output(storage_) {}

    // What the server has put out goes to the client.
    void flush() {
        const Bytes pending = output.pending();
        client.from_server.append(reinterpret_cast<const char*>(pending.data()), pending.size());
        output.take(pending.size());
    }

    // Until the server is done or has failed, or nobody moves any more.
    Outcome shake_hands() {
        for (;;) {
            // Once more after its success would be a KeyUpdate.
            if (client_error == GNUTLS_E_AGAIN) client_error = client.handshake();
            const std::size_t before = client.to_server.size();
            Bytes input = next_input();
            const std::size_t offered = input.size();
            const Outcome outcome = server.handshake(input, output);
            client.to_server.erase(0, offered - input.size());
            const bool moved = client.to_server.size() < before || !output.pending().empty();
            flush();
            if (outcome == Outcome::done || outcome == Outcome::failed) {
                if (client_error == GNUTLS_E_AGAIN) client_error = client.handshake();
                return outcome;
            }
            EXPECT_TRUE(outcome != Outcome::need_input || input.empty());
            if (!moved) return outcome;
        }
    }

    // All that the client has sent, by reads of up to `piece` bytes, appended to `received`.
    Outcome read_all(std::size_t piece = 5000) {
        std::vector<std::byte> plain(piece);
        for (;;) {
            Bytes input = next_input();
            const std::size_t offered = input.size();
            std::size_t got = 0;
            const Outcome outcome = server.read(input, plain, got, output);
            client.to_server.erase(0, offered - input.size());
            received.append(reinterpret_cast<const char*>(plain.data()), got);
            flush();
            if (outcome == Outcome::done) continue;
            if (outcome != Outcome::need_input || client.to_server.empty()) return outcome;
        }
    }

    // All of `data` through the output, which the client empties whenever it is full.
    Outcome write_all(std::string_view data) {
        Bytes plain = std::as_bytes(std::span(data));
        for (;;) {
            const std::size_t before = plain.size();
            const Outcome outcome = server.write(plain, output);
            flush();
            client_error = client.receive();
            if (outcome != Outcome::need_room || plain.size() == before) return outcome;
        }
    }

    TlsClient client;
    TlsSession server;
    int client_error = GNUTLS_E_AGAIN;  // of its last call
    std::string received;

private:
    Bytes next_input() const {
        return std::as_bytes(std::span(client.to_server))
            .first(std::min(cut_, client.to_server.size()));
    }

    std::size_t cut_;
    std::vector<std::byte> storage_;

public:
    OutputBuffer output;
};

}  // namespace ringloop::nbd::test
