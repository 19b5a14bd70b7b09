#include "frontend/nbd/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "base/log.h"
#include "base/unique_fd.h"
#include "frontend/nbd/gnutls_library.h"

namespace ringloop::nbd {

namespace {

constexpr const char* priority_x509 = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
constexpr const char* priority_psk =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:+ECDHE-PSK:+DHE-PSK:+PSK";

// What one call of gnutls may put out beside the record that it was asked for: the KeyUpdate that
// goes before it (RFC 8446 4.6.3: 5 bytes of handshake message, and a record around them).
constexpr std::size_t key_update_room = 64;
// An alert is two bytes (RFC 8446 6).
constexpr std::size_t alert_bytes = 2;

enum class Content : u8 { open, secret };

// gnutls could read files itself, but would not say what was wrong with them.
Result<std::string> read_file(const std::string& path, Content content) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    struct stat about = {};
    if (!fd || ::fstat(fd.get(), &about) != 0)
        return fail_errno(errno, "{}: TLS needs this file, and it cannot be read", path);
    if (content == Content::secret && (about.st_mode & (S_IROTH | S_IWOTH)) != 0) {
        log::warning("{}: every user can read or write this key; chmod o= it", path);
    }
    std::string text(tls_file_bytes_max + 1, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t part = ::read(fd.get(), text.data() + size, text.size() - size);
        if (part < 0 && errno == EINTR) continue;
        if (part < 0)
            return fail_errno(errno, "{}: TLS needs this file, and it cannot be read", path);
        if (part == 0) break;
        size += static_cast<std::size_t>(part);
    }
    if (size > tls_file_bytes_max) {
        return fail(EFBIG, "{}: more than {} bytes; certificates and keys are smaller", path,
                    tls_file_bytes_max);
    }
    text.resize(size);
    return text;
}

void wipe(std::string& secret) { ::explicit_bzero(secret.data(), secret.size()); }

gnutls_datum_t datum_of(std::string& text) {
    return {reinterpret_cast<unsigned char*>(text.data()), static_cast<unsigned>(text.size())};
}

std::string_view view_of(const gnutls_datum_t& datum) {
    return {reinterpret_cast<const char*>(datum.data), datum.size};
}

// The bytes that `digits` mean; empty when they are not hexadecimal.
std::string from_hex(std::string digits) {
    const gnutls_datum_t text = datum_of(digits);
    gnutls_datum_t decoded = {};
    if (digits.size() % 2 != 0 || gnutls.hex_decode2(&text, &decoded) < 0) return {};
    std::string bytes(view_of(decoded));
    ::explicit_bzero(decoded.data, decoded.size);
    (*gnutls.free)(decoded.data);
    return bytes;
}

// Only clients judge it, each by its own clock; when all refuse it, the log says why.
void warn_of_age(gnutls_certificate_credentials_t certificates, const std::string& path) {
    gnutls_datum_t data = {};
    gnutls_x509_crt_t certificate = nullptr;
    if (gnutls.certificate_get_crt_raw(certificates, 0, 0, &data) < 0 ||
        gnutls.x509_crt_init(&certificate) < 0) {
        return;
    }
    if (gnutls.x509_crt_import(certificate, &data, GNUTLS_X509_FMT_DER) == 0) {
        const std::time_t now_s = std::time(nullptr);
        if (gnutls.x509_crt_get_expiration_time(certificate) < now_s) {
            log::warning("{}: has expired, and clients will refuse it; put a new one there", path);
        } else if (gnutls.x509_crt_get_activation_time(certificate) > now_s) {
            log::warning("{}: is not valid yet, and clients will refuse it; see the clock", path);
        }
    }
    gnutls.x509_crt_deinit(certificate);
}

std::string_view reason_of_status(unsigned status) {
    if (status & GNUTLS_CERT_REVOKED) return "the client's certificate is revoked";
    if (status & GNUTLS_CERT_SIGNER_NOT_FOUND) return "the client's certificate is not of our CA";
    if (status & GNUTLS_CERT_EXPIRED) return "the client's certificate has expired";
    if (status & GNUTLS_CERT_NOT_ACTIVATED) return "the client's certificate is not valid yet";
    if (status & GNUTLS_CERT_PURPOSE_MISMATCH) {
        return "the client's certificate was made for another purpose than a TLS client";
    }
    return "the client's certificate is not valid";
}

}  // namespace

// ---- TlsContext ----

void TlsContext::Release::operator()(gnutls_certificate_credentials_st* certificates) const {
    gnutls.certificate_free_credentials(certificates);
}
void TlsContext::Release::operator()(gnutls_psk_server_credentials_st* keys) const {
    gnutls.psk_free_server_credentials(keys);
}
void TlsContext::Release::operator()(gnutls_priority_st* priority) const {
    gnutls.priority_deinit(priority);
}

Result<std::unique_ptr<TlsContext>> TlsContext::create(const TlsOptions& options) {
    const bool has_certificates = !options.certificates_dir.empty();
    if (has_certificates == !options.psk_file.empty()) {
        return fail(0,
                    "TLS needs either certificates or pre-shared keys and has {}; give one of {}",
                    has_certificates ? "both" : "none", "--tls-certificates and --tls-psk");
    }
    if (!has_certificates && !options.authorized.empty()) {
        return fail(0,
                    "--tls-authorize is about certificates, and the clients have keys instead; "
                    "leave it out, or use --tls-certificates");
    }
    // An empty one would be the name of every certificate whose subject or common name is empty.
    for (const std::string& name : options.authorized) {
        if (name.empty() || name.size() > tls_name_bytes_max) {
            return fail(0, "--tls-authorize: a name of {} bytes; give 1 to {} bytes", name.size(),
                        tls_name_bytes_max);
        }
    }
    TRY(load_gnutls());
    std::unique_ptr<TlsContext> context(new TlsContext());
    context->authorized_ = options.authorized;
    if (has_certificates) {
        TRY(context->load_certificates(options.certificates_dir));
    } else {
        TRY(context->load_keys(options.psk_file));
    }
    TRY(context->set_priority(has_certificates ? priority_x509 : priority_psk));
    return context;
}

Status TlsContext::set_priority(const char* priority) {
    gnutls_priority_t made = nullptr;
    const int error = gnutls.priority_init2(&made, priority, nullptr, 0);
    priority_.reset(made);
    if (error < 0)
        return fail(0, "TLS 1.2 and 1.3 with gnutls: {}; do without: --tls off",
                    gnutls.strerror(error));
    return {};
}

Status TlsContext::load_certificates(const std::string& dir) {
    gnutls_certificate_credentials_t made = nullptr;
    int error = gnutls.certificate_allocate_credentials(&made);
    if (error < 0) return fail(ENOMEM, "{}: {}", dir, gnutls.strerror(error));
    certificates_.reset(made);

    auto certificate = read_file(dir + "/server-cert.pem", Content::open);
    TRY(certificate);
    auto key = read_file(dir + "/server-key.pem", Content::secret);
    if (!key) return std::unexpected(key.error());  // TRY would leave a copy of the key behind
    const gnutls_datum_t certificate_data = datum_of(*certificate);
    const gnutls_datum_t key_data = datum_of(*key);
    error = gnutls.certificate_set_x509_key_mem2(made, &certificate_data, &key_data,
                                                 GNUTLS_X509_FMT_PEM, nullptr, 0);
    wipe(*key);
    if (error < 0) {
        return fail(EINVAL,
                    "{}: server-cert.pem and server-key.pem: {} It takes PEM files that "
                    "belong together, the key without a password",
                    dir, gnutls.strerror(error));
    }
    warn_of_age(made, dir + "/server-cert.pem");
    return authorized_.empty() ? Status() : load_clients_authority(dir);
}

Status TlsContext::load_clients_authority(const std::string& dir) {
    auto authority = read_file(dir + "/ca-cert.pem", Content::open);
    TRY(authority);
    const gnutls_datum_t data = datum_of(*authority);
    int count =
        gnutls.certificate_set_x509_trust_mem(certificates_.get(), &data, GNUTLS_X509_FMT_PEM);
    if (count <= 0) {
        return fail(EINVAL, "{}/ca-cert.pem: {}; --tls-authorize needs the CA of the clients", dir,
                    count == 0 ? "no certificate in it" : gnutls.strerror(count));
    }
    auto revoked = read_file(dir + "/ca-crl.pem", Content::open);
    if (!revoked && revoked.error().number == ENOENT) return {};
    TRY(revoked);
    // A list of another CA revokes nothing, and an old one not enough.
    gnutls_x509_trust_list_t trusted = nullptr;
    gnutls.certificate_get_trust_list(certificates_.get(), &trusted);
    const gnutls_datum_t list = datum_of(*revoked);
    count = gnutls.x509_trust_list_add_trust_mem(
        trusted, nullptr, &list, GNUTLS_X509_FMT_PEM,
        GNUTLS_TL_VERIFY_CRL | GNUTLS_TL_FAIL_ON_INVALID_CRL, 0);
    if (count <= 0) {
        return fail(EINVAL,
                    "{}/ca-crl.pem: {}; it has to be a list of ca-cert.pem that is not out of date",
                    dir, count == 0 ? "no list in it" : gnutls.strerror(count));
    }
    return {};
}

// gnutls would open the file again for every client, on the thread that serves the data.
Status TlsContext::load_keys(const std::string& file) {
    gnutls_psk_server_credentials_t made = nullptr;
    const int error = gnutls.psk_allocate_server_credentials(&made);
    if (error < 0) return fail(ENOMEM, "{}: {}", file, gnutls.strerror(error));
    keys_.reset(made);
    gnutls.psk_set_server_credentials_function2(
        made, [](gnutls_session_t session, const gnutls_datum_t* user, gnutls_datum_t* key) {
            return key_on_gnutls(session, user, key);
        });

    auto text = read_file(file, Content::secret);
    if (!text) return std::unexpected(text.error());
    Status status;
    std::size_t number = 0;
    for (std::string_view rest = *text; status && !rest.empty();) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line.ends_with('\r')) line.remove_suffix(1);
        ++number;
        status = add_key(line);
        if (!status) status = fail(EINVAL, "{}:{}: {}", file, number, status.error().message);
    }
    wipe(*text);
    TRY(status);
    if (keys_by_user_.empty()) {
        return fail(EINVAL, "{}: no user in it; psktool -u NAME -p {} adds one", file, file);
    }
    return {};
}

Status TlsContext::add_key(std::string_view line) {
    if (line.empty()) return {};
    const std::size_t colon = line.find(':');
    std::string user(line.substr(0, colon));
    if (line.front() == '#') {
        user = from_hex(user.substr(1));
        if (user.empty()) return {};
    }
    std::string key;
    if (colon != std::string_view::npos) key = from_hex(std::string(line.substr(colon + 1)));
    if (user.empty() || key.empty()) return fail(EINVAL, "not of the form user:hexkey");
    if (!keys_by_user_.emplace(std::move(user), std::move(key)).second) {
        return fail(EINVAL, "this user has a key already; leave one line of the two");
    }
    return {};
}

// 1 lets gnutls go on with a random key, so that nobody learns which users exist.
int TlsContext::key_on_gnutls(gnutls_session_int* session, const void* user, void* key) {
    const auto& context = *static_cast<const TlsContext*>(gnutls.session_get_ptr(session));
    const auto found =
        context.keys_by_user_.find(view_of(*static_cast<const gnutls_datum_t*>(user)));
    if (found == context.keys_by_user_.end()) return 1;
    const std::string& known = found->second;
    auto* copy = static_cast<unsigned char*>((*gnutls.malloc)(known.size()));
    if (!copy) return -1;
    std::ranges::copy(known, copy);
    *static_cast<gnutls_datum_t*>(key) = {copy, static_cast<unsigned>(known.size())};
    return 0;
}

int TlsContext::equip(gnutls_session_t session) const {
    int error = gnutls.priority_set(session, priority_.get());
    if (error < 0) return error;
    // The callback for keys takes it back as what it is.
    gnutls.session_set_ptr(session, const_cast<TlsContext*>(this));
    if (keys_) return gnutls.credentials_set(session, GNUTLS_CRD_PSK, keys_.get());
    error = gnutls.credentials_set(session, GNUTLS_CRD_CERTIFICATE, certificates_.get());
    gnutls.certificate_server_set_request(
        session, authorized_.empty() ? GNUTLS_CERT_IGNORE : GNUTLS_CERT_REQUIRE);
    return error;
}

// The certificate of the session's peer is valid and one of its names is authorized.
TlsContext::Refusal TlsContext::judge_peer(gnutls_session_t session) const {
    if (authorized_.empty()) return {};
    unsigned status = 0;
    // A certificate of the same CA that was made for a server is none of a client.
    std::string purpose = GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st wanted = {GNUTLS_DT_KEY_PURPOSE_OID, datum_of(purpose).data, 0};
    if (gnutls.certificate_verify_peers(session, &wanted, 1, &status) < 0) {
        return {"the client's certificate could not be verified", GNUTLS_A_BAD_CERTIFICATE};
    }
    if (status != 0) return {reason_of_status(status), GNUTLS_A_BAD_CERTIFICATE};

    unsigned count = 0;
    const gnutls_datum_t* chain = gnutls.certificate_get_peers(session, &count);
    gnutls_x509_crt_t certificate = nullptr;
    if (!chain || count == 0 || gnutls.x509_crt_init(&certificate) < 0) {
        return {"the client's certificate could not be read", GNUTLS_A_BAD_CERTIFICATE};
    }
    const bool known = gnutls.x509_crt_import(certificate, &chain[0], GNUTLS_X509_FMT_DER) == 0 &&
                       (subject_matches(certificate) || common_name_matches(certificate) ||
                        alternative_name_matches(certificate));
    gnutls.x509_crt_deinit(certificate);
    if (known) return {};
    return {"no name in the client's certificate is authorized", GNUTLS_A_ACCESS_DENIED};
}

bool TlsContext::is_authorized(std::string_view name) const {
    return std::ranges::find(authorized_, name) != authorized_.end();
}

bool TlsContext::subject_matches(gnutls_x509_crt_t certificate) const {
    gnutls_datum_t name = {};
    if (gnutls.x509_crt_get_dn3(certificate, &name, 0) < 0) return false;
    const bool found = is_authorized(view_of(name));
    (*gnutls.free)(name.data);
    return found;
}

// Names are compared with their lengths: one with a NUL in it equals nothing, least of all what
// stands before the NUL.
bool TlsContext::common_name_matches(gnutls_x509_crt_t certificate) const {
    for (unsigned i = 0;; ++i) {
        std::array<char, tls_name_bytes_max + 1> name;
        std::size_t size = name.size();
        const int error = gnutls.x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, i,
                                                        0, name.data(), &size);
        if (error == GNUTLS_E_SHORT_MEMORY_BUFFER) continue;
        if (error < 0) return false;
        if (is_authorized({name.data(), size})) return true;
    }
}

bool TlsContext::alternative_name_matches(gnutls_x509_crt_t certificate) const {
    for (unsigned i = 0;; ++i) {
        std::array<char, tls_name_bytes_max + 1> name;
        std::size_t size = name.size();
        const int type =
            gnutls.x509_crt_get_subject_alt_name(certificate, i, name.data(), &size, nullptr);
        if (type == GNUTLS_E_SHORT_MEMORY_BUFFER) continue;
        if (type < 0) return false;
        const bool is_text =
            type == GNUTLS_SAN_DNSNAME || type == GNUTLS_SAN_URI || type == GNUTLS_SAN_RFC822NAME;
        if (is_text && is_authorized({name.data(), size})) return true;
    }
}

// ---- TlsSession ----

void TlsSession::Release::operator()(gnutls_session_t session) const { gnutls.deinit(session); }

// What gnutls may use while one call of ours is under way.
class TlsSession::Transport {
public:
    Transport(TlsSession& session, Bytes* input, OutputBuffer& output) : session_(session) {
        session.input_ = input;
        session.output_ = &output;
    }
    ~Transport() {
        session_.input_ = nullptr;
        session_.output_ = nullptr;
    }
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;

private:
    TlsSession& session_;
};

TlsSession::TlsSession(const TlsContext& context) : context_(context) {
    gnutls_session_t session = nullptr;
    int error = gnutls.init(&session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS);
    session_.reset(session);
    if (error >= 0) error = context.equip(session);
    if (error < 0) {
        fail(gnutls.strerror(error), -1);
        return;
    }
    // The owner of the socket has a deadline; gnutls would poll a descriptor.
    gnutls.handshake_set_timeout(session, 0);
    gnutls.transport_set_ptr(session, this);
    gnutls.transport_set_pull_function(session, pull_on_gnutls);
    gnutls.transport_set_push_function(session, push_on_gnutls);
}

long TlsSession::pull_on_gnutls(void* self, void* data, std::size_t size) {
    auto& session = *static_cast<TlsSession*>(self);
    if (!session.input_ || session.input_->empty()) {
        session.starved_ = true;
        gnutls.transport_set_errno(session.session_.get(), EAGAIN);
        return -1;
    }
    const std::size_t taken = std::min(size, session.input_->size());
    session.fruitless_bytes_ += taken;
    if (session.fruitless_bytes_ > tls_fruitless_bytes_max) {
        gnutls.transport_set_errno(session.session_.get(), EMSGSIZE);
        return -1;
    }
    std::memcpy(data, session.input_->data(), taken);
    *session.input_ = session.input_->subspan(taken);
    return static_cast<long>(taken);
}

long TlsSession::push_on_gnutls(void* self, const void* data, std::size_t size) {
    auto& session = *static_cast<TlsSession*>(self);
    const std::size_t taken = session.output_ ? std::min(size, session.output_->room()) : 0;
    if (taken == 0 && size > 0) {
        session.crowded_ = true;
        gnutls.transport_set_errno(session.session_.get(), EAGAIN);
        return -1;
    }
    session.output_->put(Bytes(static_cast<const std::byte*>(data), taken));
    return static_cast<long>(taken);
}

TlsSession::Outcome TlsSession::handshake(Bytes& cipher_in, OutputBuffer& cipher_out) {
    if (state_ == State::failed) return Outcome::failed;
    ASSERT(state_ == State::handshake);
    const Transport transport(*this, &cipher_in, cipher_out);
    for (;;) {
        starved_ = crowded_ = false;
        const int error = gnutls.handshake(session_.get());
        if (error == GNUTLS_E_SUCCESS) return judge_peer();
        const Step step = step_on_gnutls(error);
        if (step != Step::again) return outcome_of(step);
    }
}

TlsSession::Outcome TlsSession::judge_peer() {
    const TlsContext::Refusal refusal = context_.judge_peer(session_.get());
    if (!refusal.reason.empty()) {
        fail(refusal.reason, refusal.alert);
        return Outcome::failed;
    }
    state_ = State::open;
    fruitless_bytes_ = 0;
    return Outcome::done;
}

TlsSession::Outcome TlsSession::read(Bytes& cipher_in, std::span<std::byte> plain, std::size_t& got,
                                     OutputBuffer& cipher_out) {
    got = 0;
    if (state_ == State::failed) return Outcome::failed;
    ASSERT(state_ == State::open && !plain.empty());
    const Transport transport(*this, &cipher_in, cipher_out);
    while (got < plain.size()) {
        starved_ = crowded_ = false;
        const std::span<std::byte> rest = plain.subspan(got);
        const ssize_t size = gnutls.record_recv(session_.get(), rest.data(), rest.size());
        if (size == 0) return Outcome::closed;
        if (size > 0) {
            got += static_cast<std::size_t>(size);
            fruitless_bytes_ = 0;
            continue;
        }
        const Step step = step_on_gnutls(size);
        if (step != Step::again) return outcome_of(step);
    }
    return Outcome::done;
}

// A record is only begun when all of it has room: gnutls would keep the rest of it, and want the
// same data again.
TlsSession::Outcome TlsSession::write(Bytes& plain, OutputBuffer& cipher_out) {
    if (state_ == State::failed) return Outcome::failed;
    ASSERT(state_ == State::open && !close_sent_);
    const Transport transport(*this, nullptr, cipher_out);
    const std::size_t overhead = record_room();
    while (!plain.empty()) {
        if (cipher_out.room() <= overhead) return Outcome::need_room;
        const std::size_t size = std::min({plain.size(), cipher_out.room() - overhead,
                                           gnutls.record_get_max_size(session_.get())});
        const ssize_t taken = gnutls.record_send(session_.get(), plain.data(), size);
        if (taken <= 0) {
            fail(taken);
            return Outcome::failed;
        }
        plain = plain.subspan(static_cast<std::size_t>(taken));
    }
    return Outcome::done;
}

TlsSession::Outcome TlsSession::close_start(OutputBuffer& cipher_out) {
    if (state_ == State::failed) return Outcome::failed;
    if (state_ == State::handshake || close_sent_) return Outcome::done;
    if (cipher_out.room() < record_room() + alert_bytes) return Outcome::need_room;
    const Transport transport(*this, nullptr, cipher_out);
    const int error = gnutls.bye(session_.get(), GNUTLS_SHUT_WR);
    if (error < 0) {
        fail(error);
        return Outcome::failed;
    }
    close_sent_ = true;
    return Outcome::done;
}

std::size_t TlsSession::record_room() const {
    return gnutls.record_overhead_size(session_.get()) + key_update_room;
}

// gnutls also returns EAGAIN when it has consumed something that is no data, a KeyUpdate for
// instance: only a callback of ours knows whether anything is missing.
TlsSession::Step TlsSession::step_on_gnutls(long error) {
    if (error == GNUTLS_E_AGAIN || error == GNUTLS_E_INTERRUPTED) {
        if (crowded_) return Step::need_room;
        return starved_ ? Step::need_input : Step::again;
    }
    if (error == GNUTLS_E_WARNING_ALERT_RECEIVED) return Step::again;
    fail(error);
    return Step::failed;
}

TlsSession::Outcome TlsSession::outcome_of(Step step) {
    switch (step) {
        case Step::need_input: return Outcome::need_input;
        case Step::need_room: return Outcome::need_room;
        case Step::again:
        case Step::failed: return Outcome::failed;
    }
    ASSERT(!"a Step of its enumeration");
    return Outcome::failed;
}

void TlsSession::fail(long error) {
    if (error == GNUTLS_E_REHANDSHAKE) {
        return fail("the client wants to renegotiate, which is refused", GNUTLS_A_NO_RENEGOTIATION);
    }
    if (error == GNUTLS_E_PULL_ERROR) {
        return fail("the client sends TLS messages without end", GNUTLS_A_UNEXPECTED_MESSAGE);
    }
    if (error == GNUTLS_E_FATAL_ALERT_RECEIVED) {
        // The name is one of gnutls' own; the client has chosen only which.
        const char* name = gnutls.alert_get_name(gnutls.alert_get(session_.get()));
        const auto end =
            fmt::format_to_n(reason_text_.data(), reason_text_.size(), "the client ended TLS: {}",
                             name ? name : "unknown alert");
        return fail({reason_text_.data(), end.out}, -1);
    }
    int level = 0;
    fail(gnutls.strerror(static_cast<int>(error)),
         gnutls.error_to_alert(static_cast<int>(error), &level));
}

// The alert is a courtesy: without room for it the client only sees the end of the connection.
void TlsSession::fail(std::string_view reason, int alert) {
    state_ = State::failed;
    reason_ = reason;
    if (alert < 0 || !output_ || output_->room() < record_room() + alert_bytes) return;
    gnutls.alert_send(session_.get(), GNUTLS_AL_FATAL,
                      static_cast<gnutls_alert_description_t>(alert));
}

}  // namespace ringloop::nbd
