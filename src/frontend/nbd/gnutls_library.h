// gnutls, loaded when TLS is wanted: linked, it would cost every start of the program four million
// instructions and every server 0.8 MiB. `gnutls.init(...)` is gnutls_init(...).
#pragma once

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "base/result.h"

// All that this frontend calls; free and malloc are variables of the library, pointers to
// functions.
#define RINGLOOP_GNUTLS(X)                  \
    X(alert_get)                            \
    X(alert_get_name)                       \
    X(alert_send)                           \
    X(bye)                                  \
    X(certificate_allocate_credentials)     \
    X(certificate_free_credentials)         \
    X(certificate_get_crt_raw)              \
    X(certificate_get_peers)                \
    X(certificate_get_trust_list)           \
    X(certificate_server_set_request)       \
    X(certificate_set_x509_key_mem2)        \
    X(certificate_set_x509_trust_mem)       \
    X(certificate_verify_peers)             \
    X(credentials_set)                      \
    X(deinit)                               \
    X(error_to_alert)                       \
    X(free)                                 \
    X(handshake)                            \
    X(handshake_set_timeout)                \
    X(hex_decode2)                          \
    X(init)                                 \
    X(malloc)                               \
    X(priority_deinit)                      \
    X(priority_init2)                       \
    X(priority_set)                         \
    X(psk_allocate_server_credentials)      \
    X(psk_free_server_credentials)          \
    X(psk_set_server_credentials_function2) \
    X(record_get_max_size)                  \
    X(record_overhead_size)                 \
    X(record_recv)                          \
    X(record_send)                          \
    X(session_get_ptr)                      \
    X(session_set_ptr)                      \
    X(strerror)                             \
    X(transport_set_errno)                  \
    X(transport_set_ptr)                    \
    X(transport_set_pull_function)          \
    X(transport_set_push_function)          \
    X(x509_crt_deinit)                      \
    X(x509_crt_get_activation_time)         \
    X(x509_crt_get_dn3)                     \
    X(x509_crt_get_dn_by_oid)               \
    X(x509_crt_get_expiration_time)         \
    X(x509_crt_get_subject_alt_name)        \
    X(x509_crt_import)                      \
    X(x509_crt_init)                        \
    X(x509_trust_list_add_trust_mem)

namespace ringloop::nbd {

struct GnutlsLibrary {
// NOLINTNEXTLINE(bugprone-macro-parentheses): what it declares has none
#define RINGLOOP_MEMBER(name) decltype(&::gnutls_##name) name;
    RINGLOOP_GNUTLS(RINGLOOP_MEMBER)
#undef RINGLOOP_MEMBER
};

// Null pointers before load_gnutls, constant afterwards; any thread.
extern GnutlsLibrary gnutls;

// Control thread, before any other uses it; once more does nothing.
Status load_gnutls();

}  // namespace ringloop::nbd
