#include "frontend/nbd/tls.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "frontend/nbd/test_tls.h"

namespace ringloop::nbd {
namespace {

using namespace test;

constexpr std::string_view key_of_alice = "00112233445566778899aabbccddeeff";
constexpr std::string_view key_of_bob = "ffeeddccbbaa99887766554433221100";
constexpr const char* only_tls12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2";
constexpr const char* psk13 = "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK";
constexpr const char* psk12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2:+ECDHE-PSK:+DHE-PSK:+PSK";

// A megabyte in which no two places look alike.
std::string long_text(std::size_t bytes = 1 << 20) {
    std::string text(bytes, '\0');
    u32 state = 1;
    for (char& byte : text) byte = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    return text;
}

class WithKeys : public testing::Test {
protected:
    static void SetUpTestSuite() {
        ca = std::make_unique<Identity>(Names{.subject = "CN=Our CA"});
        server = std::make_unique<Identity>(
            Names{.subject = "CN=server", .purpose = GNUTLS_KP_TLS_WWW_SERVER}, ca.get());
        alice = std::make_unique<Identity>(Names{.subject = "CN=alice,O=Example Org",
                                                 .dns = "alice.example.org",
                                                 .uri = "urn:client:alice",
                                                 .email = "alice@example.org"},
                                           ca.get());
        mallory = std::make_unique<Identity>(Names{.subject = "CN=mallory"}, ca.get());
    }
    static void TearDownTestSuite() {
        for (auto* identity : {&ca, &server, &alice, &mallory}) identity->reset();
    }

    void SetUp() override {
        std::string path = testing::TempDir() + "nbd-tls-XXXXXX";
        ASSERT_TRUE(::mkdtemp(path.data()));
        dir = path;
        write("ca-cert.pem", ca->certificate_pem());
        write("server-cert.pem", server->certificate_pem());
        write("server-key.pem", server->key_pem());
        write("keys.psk", "alice:" + std::string(key_of_alice) +
                              "\n# a comment\n\n#626f62:" + std::string(key_of_bob) + "\r\n");
    }
    void TearDown() override { std::filesystem::remove_all(dir); }

    void write(const std::string& name, std::string_view text) {
        write_file(dir + "/" + name, text);
    }
    void remove(const std::string& name) { std::filesystem::remove(dir + "/" + name); }

    std::unique_ptr<TlsContext> certificates(std::vector<std::string> authorized = {}) {
        return made({.certificates_dir = dir, .authorized = std::move(authorized)});
    }
    std::unique_ptr<TlsContext> keys() { return made({.psk_file = dir + "/keys.psk"}); }

    static std::unique_ptr<TlsContext> made(const TlsOptions& options) {
        auto context = TlsContext::create(options);
        EXPECT_TRUE(context.has_value()) << context.error().message;
        return context ? std::move(*context) : nullptr;
    }
    static std::string error_of(const TlsOptions& options) {
        const auto context = TlsContext::create(options);
        return context ? "" : context.error().message;
    }
    // Empty when the client is let in.
    std::string refusal_of(const ClientOptions& client, const TlsContext& context) {
        Talk talk(context, client);
        const Outcome outcome = talk.shake_hands();
        EXPECT_EQ(outcome == Outcome::failed, !talk.server.reason().empty());
        EXPECT_TRUE(outcome == Outcome::failed || outcome == Outcome::done);
        return std::string(talk.server.reason());
    }

    static inline std::unique_ptr<Identity> ca, server, alice, mallory;
    std::string dir;
};

using NbdTlsContext = WithKeys;
using NbdTlsHandshake = WithKeys;
using NbdTlsPeer = WithKeys;
using NbdTlsData = WithKeys;

ClientOptions psk(std::string user, std::string_view key, const char* priority = psk13) {
    return {.psk_user = std::move(user), .psk_key = std::string(key), .priority = priority};
}

// ---- What the server is given ----

TEST_F(NbdTlsContext, TakesEitherCertificatesOrKeys) {
    EXPECT_NE(error_of({}).find("has none"), std::string::npos);
    EXPECT_NE(error_of({.certificates_dir = dir, .psk_file = dir + "/keys.psk"}).find("has both"),
              std::string::npos);
}

// A list that nobody looks at would be worse than none.
TEST_F(NbdTlsContext, RefusesAuthorizedNamesWithKeys) {
    EXPECT_NE(error_of({.psk_file = dir + "/keys.psk", .authorized = {"alice"}}), "");
}

TEST_F(NbdTlsContext, RefusesAnEmptyName) {
    EXPECT_NE(error_of({.certificates_dir = dir, .authorized = {"alice", ""}}), "");
}

TEST_F(NbdTlsContext, NamesTheFileThatIsMissing) {
    remove("server-key.pem");
    EXPECT_EQ(error_of({.certificates_dir = dir}),
              dir +
                  "/server-key.pem: TLS needs this file, and it cannot be read: No such file or "
                  "directory");
}

TEST_F(NbdTlsContext, RefusesAKeyOfAnotherCertificate) {
    write("server-key.pem", alice->key_pem());
    EXPECT_NE(error_of({.certificates_dir = dir}).find("belong together"), std::string::npos);
}

TEST_F(NbdTlsContext, NeedsTheAuthorityOnlyToJudgeClients) {
    remove("ca-cert.pem");
    EXPECT_EQ(error_of({.certificates_dir = dir}), "");
    EXPECT_EQ(
        error_of({.certificates_dir = dir, .authorized = {"alice"}}),
        dir +
            "/ca-cert.pem: TLS needs this file, and it cannot be read: No such file or directory");
}

TEST_F(NbdTlsContext, RefusesAnAuthorityAndAListThatAreNone) {
    write("ca-crl.pem", "not PEM");
    const std::string error = error_of({.certificates_dir = dir, .authorized = {"alice"}});
    EXPECT_NE(error.find("/ca-crl.pem: "), std::string::npos) << error;
    EXPECT_TRUE(error.ends_with("; it has to be a list of ca-cert.pem that is not out of date"));
    write("ca-cert.pem", "");
    EXPECT_NE(error_of({.certificates_dir = dir, .authorized = {"alice"}}).find("/ca-cert.pem: "),
              std::string::npos);
}

TEST_F(NbdTlsContext, RefusesAListOfTheRevokedThatIsOldOrOfAnotherAuthority) {
    const TlsOptions options = {.certificates_dir = dir, .authorized = {"alice"}};
    write("ca-crl.pem", ca->revoke(*mallory, -1));
    EXPECT_NE(error_of(options).find("/ca-crl.pem: "), std::string::npos);
    const Identity other_ca({.subject = "CN=Our CA"});
    write("ca-crl.pem", other_ca.revoke(*mallory));
    EXPECT_NE(error_of(options).find("/ca-crl.pem: "), std::string::npos);
}

TEST_F(NbdTlsContext, RefusesAFileThatIsTooLarge) {
    write("keys.psk", std::string(tls_file_bytes_max + 1, '\n'));
    EXPECT_NE(error_of({.psk_file = dir + "/keys.psk"}).find("more than"), std::string::npos);
}

TEST_F(NbdTlsContext, NamesTheLineOfABadKeyWithoutRepeatingIt) {
    for (const char* line : {"alice", "alice:", ":0011", "alice:001", "alice:5ecre7"}) {
        write("keys.psk", std::string("bob:0011\n") + line + "\n");
        EXPECT_EQ(error_of({.psk_file = dir + "/keys.psk"}),
                  dir + "/keys.psk:2: not of the form user:hexkey");
    }
}

TEST_F(NbdTlsContext, RefusesAUserWithTwoKeysAndAFileWithoutAny) {
    write("keys.psk", "alice:00\nalice:11\n");
    EXPECT_NE(error_of({.psk_file = dir + "/keys.psk"}).find(":2: this user has"),
              std::string::npos);
    write("keys.psk", "# nobody\n");
    EXPECT_NE(error_of({.psk_file = dir + "/keys.psk"}).find("no user"), std::string::npos);
}

TEST_F(NbdTlsContext, ComplainsAboutAKeyThatEveryoneCanRead) {
    ASSERT_EQ(::chmod((dir + "/server-key.pem").c_str(), 0644), 0);
    testing::internal::CaptureStderr();
    certificates();
    EXPECT_NE(testing::internal::GetCapturedStderr().find("server-key.pem: every user can read"),
              std::string::npos);
}

TEST_F(NbdTlsContext, ComplainsAboutACertificateOfItsOwnOutsideItsTime) {
    const auto said_of = [this](int days_left) {
        const Identity late({.subject = "CN=server", .days_left = days_left}, ca.get());
        write("server-cert.pem", late.certificate_pem());
        write("server-key.pem", late.key_pem());
        testing::internal::CaptureStderr();
        certificates();
        return testing::internal::GetCapturedStderr();
    };
    EXPECT_NE(said_of(-1).find("server-cert.pem: has expired, and clients"), std::string::npos);
    EXPECT_NE(said_of(20).find("server-cert.pem: is not valid yet, and clients"),
              std::string::npos);
    EXPECT_EQ(said_of(1), "");
}

// ---- Handshake ----

TEST_F(NbdTlsHandshake, SpeaksBothVersionsWithCertificates) {
    const auto context = certificates();
    for (const char* priority : {"NORMAL", only_tls12}) {
        Talk talk(*context, {.priority = priority});
        EXPECT_EQ(talk.shake_hands(), Outcome::done) << talk.server.reason();
        EXPECT_EQ(talk.client_error, 0);
        const auto version = gnutls_protocol_get_version(talk.client.session());
        EXPECT_EQ(version, priority == only_tls12 ? GNUTLS_TLS1_2 : GNUTLS_TLS1_3);
    }
}

TEST_F(NbdTlsHandshake, SpeaksBothVersionsWithKeys) {
    const auto context = keys();
    for (const char* priority : {psk13, psk12}) {
        Talk talk(*context, psk("alice", key_of_alice, priority));
        EXPECT_EQ(talk.shake_hands(), Outcome::done) << talk.server.reason();
        EXPECT_EQ(talk.client_error, 0);
        EXPECT_EQ(gnutls_auth_get_type(talk.client.session()), GNUTLS_CRD_PSK);
    }
}

TEST_F(NbdTlsHandshake, RefusesOldVersions) {
    EXPECT_NE(refusal_of({.priority = "NORMAL:-VERS-ALL:+VERS-TLS1.1:+VERS-TLS1.0:%COMPAT"},
                         *certificates()),
              "");
}

TEST_F(NbdTlsHandshake, KnowsAUserByANameInHexadecimal) {
    EXPECT_EQ(refusal_of(psk("bob", key_of_bob), *keys()), "");
}

TEST_F(NbdTlsHandshake, RefusesAWrongKeyAndAnUnknownUserAlike) {
    const auto context = keys();
    for (const char* priority : {psk13, psk12}) {
        const std::string wrong = refusal_of(psk("alice", key_of_bob, priority), *context);
        EXPECT_NE(wrong, "");
        EXPECT_EQ(refusal_of(psk("eve", key_of_bob, priority), *context), wrong);
    }
}

TEST_F(NbdTlsHandshake, RefusesAClientWithoutAKeyWhereKeysAreNeeded) {
    EXPECT_NE(refusal_of({}, *keys()), "");
}

TEST_F(NbdTlsHandshake, GoesOnAtAnyByteAndWithAnyRoom) {
    const auto context = certificates({"alice"});
    for (const char* priority : {"NORMAL", only_tls12}) {
        Talk talk(*context, {.identity = alice.get(), .priority = priority}, 1, 1);
        EXPECT_EQ(talk.shake_hands(), Outcome::done) << talk.server.reason();
        EXPECT_EQ(talk.client_error, 0);
    }
}

TEST_F(NbdTlsHandshake, FailsOnGarbage) {
    const auto context = certificates();
    for (const std::string& garbage :
         {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(200, '\0'), std::string(200, '\xff'),
          long_text(70'000)}) {
        Talk talk(*context, {});
        Bytes input = std::as_bytes(std::span(garbage));
        EXPECT_EQ(talk.server.handshake(input, talk.output), Outcome::failed);
        EXPECT_NE(talk.server.reason(), "");
        EXPECT_EQ(talk.server.handshake(input, talk.output), Outcome::failed);
    }
}

// Almost 16 MiB are announced, and gnutls would wait for all of them.
TEST_F(NbdTlsHandshake, EndsAClientHelloThatIsTooLong) {
    const auto context = certificates();
    Talk talk(*context, {});
    std::string record("\x16\x03\x01\x40\x00\x01\xff\xff\xff", 9);
    record.resize(5 + 0x4000);
    Outcome outcome = Outcome::need_input;
    std::size_t sent = 0;
    for (; sent <= tls_fruitless_bytes_max && outcome == Outcome::need_input;
         sent += record.size()) {
        Bytes input = std::as_bytes(std::span(record));
        outcome = talk.server.handshake(input, talk.output);
        std::fill(record.begin() + 5, record.end(), '\0');
    }
    EXPECT_EQ(outcome, Outcome::failed);
    EXPECT_EQ(talk.server.reason(), "the client sends TLS messages without end");
}

TEST_F(NbdTlsHandshake, SurvivesEverySingleBrokenByteOfTheClientHello) {
    const auto context = certificates();
    TlsClient client({});
    client.handshake();
    for (std::size_t i = 0; i < client.to_server.size(); ++i) {
        std::string broken = client.to_server;
        broken[i] = static_cast<char>(broken[i] ^ 0x81);
        Talk talk(*context, {});
        Bytes input = std::as_bytes(std::span(broken));
        EXPECT_NE(talk.server.handshake(input, talk.output), Outcome::done);
    }
}

TEST_F(NbdTlsHandshake, SaysWhichAlertTheClientSent) {
    const auto context = certificates();
    Talk talk(*context, {.priority = only_tls12});
    EXPECT_EQ(talk.client.handshake(), GNUTLS_E_AGAIN);
    must(gnutls_alert_send(talk.client.session(), GNUTLS_AL_FATAL, GNUTLS_A_UNKNOWN_CA));
    Bytes input = std::as_bytes(std::span(talk.client.to_server));
    EXPECT_EQ(talk.server.handshake(input, talk.output), Outcome::failed);
    EXPECT_EQ(talk.server.reason(), "the client ended TLS: CA is unknown");
}

// ---- Who the client is ----

TEST_F(NbdTlsPeer, ShowsNoCertificateWhereNobodyIsNamed) {
    EXPECT_EQ(refusal_of({}, *certificates()), "");
}

TEST_F(NbdTlsPeer, IsLetInUnderEachOfItsNames) {
    for (const char* name : {"CN=alice,O=Example Org", "alice", "alice.example.org",
                             "urn:client:alice", "alice@example.org"}) {
        const auto context = certificates({"somebody", name});
        EXPECT_EQ(refusal_of({.identity = alice.get()}, *context), "") << name;
        EXPECT_EQ(refusal_of({.identity = alice.get(), .priority = only_tls12}, *context), "");
    }
}

// A certificate of the right CA alone proves nothing.
TEST_F(NbdTlsPeer, IsRefusedUnderAnyOtherName) {
    for (const char* name : {"alic", "alice2", "Alice", "*", "alice.example", "*.example.org",
                             "CN=alice", "O=Example Org", "Example Org", "Our CA"}) {
        const auto context = certificates({name});
        EXPECT_EQ(refusal_of({.identity = alice.get()}, *context),
                  "no name in the client's certificate is authorized")
            << name;
    }
}

TEST_F(NbdTlsPeer, IsRefusedWhenItsNameHasANulBehindTheAuthorizedOne) {
    const Identity trick({.subject = "O=trick", .common_name = std::string("alice\0.evil", 11)},
                         ca.get());
    EXPECT_NE(refusal_of({.identity = &trick}, *certificates({"alice"})), "");
}

TEST_F(NbdTlsPeer, LearnsOfItsRefusalByAnAlert) {
    const auto context = certificates({"alice"});
    Talk talk(*context, {.identity = mallory.get()});
    EXPECT_EQ(talk.shake_hands(), Outcome::failed);
    if (talk.client_error == 0) talk.client_error = talk.client.receive();
    EXPECT_EQ(talk.client_error, GNUTLS_E_FATAL_ALERT_RECEIVED);
    EXPECT_EQ(gnutls_alert_get(talk.client.session()), GNUTLS_A_ACCESS_DENIED);
}

TEST_F(NbdTlsPeer, IsRefusedWithoutACertificate) {
    const auto context = certificates({"alice"});
    EXPECT_NE(refusal_of({}, *context), "");
    EXPECT_NE(refusal_of({.priority = only_tls12}, *context), "");
}

TEST_F(NbdTlsPeer, IsRefusedWithTheRightNameOfAnotherAuthority) {
    const Identity other_ca({.subject = "CN=Our CA"});
    const Identity impostor({.subject = "CN=alice"}, &other_ca);
    EXPECT_NE(refusal_of({.identity = &impostor}, *certificates({"alice"})), "");
}

TEST_F(NbdTlsPeer, IsRefusedAfterItsTime) {
    const Identity old({.subject = "CN=alice", .days_left = -1}, ca.get());
    EXPECT_EQ(refusal_of({.identity = &old}, *certificates({"alice"})),
              "the client's certificate has expired");
}

TEST_F(NbdTlsPeer, IsRefusedBeforeItsTime) {
    const Identity early({.subject = "CN=alice", .days_left = 20}, ca.get());
    EXPECT_EQ(refusal_of({.identity = &early}, *certificates({"alice"})),
              "the client's certificate is not valid yet");
}

TEST_F(NbdTlsPeer, IsRefusedWithACertificateOfAServer) {
    const Identity other({.subject = "CN=alice", .purpose = GNUTLS_KP_TLS_WWW_SERVER}, ca.get());
    EXPECT_EQ(refusal_of({.identity = &other}, *certificates({"alice"})),
              "the client's certificate was made for another purpose than a TLS client");
}

TEST_F(NbdTlsPeer, IsRefusedWhenRevoked) {
    write("ca-crl.pem", ca->revoke(*mallory));
    const auto context = certificates({"alice", "mallory"});
    EXPECT_EQ(refusal_of({.identity = mallory.get()}, *context),
              "the client's certificate is revoked");
    EXPECT_EQ(refusal_of({.identity = alice.get()}, *context), "");
}

// ---- Data ----

TEST_F(NbdTlsData, PassesBothWaysHoweverItIsCut) {
    const auto context = certificates();
    const std::string text = long_text(40'000);
    for (const char* priority : {"NORMAL", only_tls12,
                                 "NORMAL:-VERS-ALL:+VERS-TLS1.2:-AES-128-GCM:"
                                 "-AES-256-GCM:-CHACHA20-POLY1305"}) {
        for (const std::size_t cut : {1u, 7u, 1000u}) {
            Talk talk(*context, {.priority = priority}, tls_output_bytes_min, cut);
            ASSERT_EQ(talk.shake_hands(), Outcome::done) << talk.server.reason();
            talk.client.send(text);
            ASSERT_EQ(talk.read_all(cut), Outcome::need_input)
                << priority << cut << talk.server.reason();
            EXPECT_TRUE(talk.received == text);
            EXPECT_EQ(talk.write_all(text), Outcome::done);
            EXPECT_TRUE(talk.client.plain == text);
        }
    }
}

TEST_F(NbdTlsData, PassesAMegabyteBothWaysThroughASmallOutput) {
    const std::string text = long_text();
    const auto context = keys();
    Talk talk(*context, psk("alice", key_of_alice), 20'000, 9000);
    ASSERT_EQ(talk.shake_hands(), Outcome::done) << talk.server.reason();
    talk.client.send(text);
    EXPECT_EQ(talk.read_all(), Outcome::need_input);
    EXPECT_TRUE(talk.received == text);
    EXPECT_EQ(talk.write_all(text), Outcome::done);
    EXPECT_TRUE(talk.client.plain == text);
}

TEST_F(NbdTlsData, TakesWhatThereIsRoomForAndKeepsNothingOfTheRest) {
    const auto context = certificates();
    Talk talk(*context, {}, 4096);
    ASSERT_EQ(talk.shake_hands(), Outcome::done);
    const std::string text = long_text(10'000);
    Bytes plain = std::as_bytes(std::span(text));
    EXPECT_EQ(talk.server.write(plain, talk.output), Outcome::need_room);
    const std::size_t taken = text.size() - plain.size();
    EXPECT_GT(taken, 3500u);
    EXPECT_EQ(talk.server.write(plain, talk.output), Outcome::need_room);
    EXPECT_EQ(text.size() - plain.size(), taken);
    talk.flush();
    talk.client.receive();
    EXPECT_TRUE(talk.client.plain == text.substr(0, taken));
}

TEST_F(NbdTlsData, SentRightBehindTheHandshakeIsNotLost) {
    const auto context = certificates();
    Talk talk(*context, {});
    EXPECT_EQ(talk.client.handshake(), GNUTLS_E_AGAIN);
    Bytes input = std::as_bytes(std::span(talk.client.to_server));
    EXPECT_EQ(talk.server.handshake(input, talk.output), Outcome::need_input);
    talk.client.to_server.clear();
    talk.flush();
    EXPECT_EQ(talk.client_error = talk.client.handshake(), 0);
    talk.client.send("early");
    EXPECT_EQ(talk.shake_hands(), Outcome::done);
    EXPECT_EQ(talk.read_all(), Outcome::need_input);
    EXPECT_EQ(talk.received, "early");
}

TEST_F(NbdTlsData, GoesOnAfterNewKeys) {
    const auto context = certificates();
    Talk talk(*context, {}, tls_output_bytes_min, 3);
    ASSERT_EQ(talk.shake_hands(), Outcome::done);
    const std::string text = long_text(3000);
    std::string sent;
    for (int i = 0; i < 4; ++i) {
        must(gnutls_session_key_update(talk.client.session(), GNUTLS_KU_PEER));
        talk.client.send(text);
        sent += text;
        ASSERT_EQ(talk.read_all(), Outcome::need_input) << i << talk.server.reason();
        ASSERT_EQ(talk.write_all(text), Outcome::done) << talk.server.reason();
    }
    EXPECT_TRUE(talk.received == sent && talk.client.plain == sent);
}

TEST_F(NbdTlsData, EndsAFloodOfNewKeys) {
    const auto context = certificates();
    Talk talk(*context, {});
    ASSERT_EQ(talk.shake_hands(), Outcome::done);
    Outcome outcome = Outcome::need_input;
    for (int i = 0; i < 1000 && outcome == Outcome::need_input; ++i) {
        must(gnutls_session_key_update(talk.client.session(), GNUTLS_KU_PEER));
        outcome = talk.read_all();
    }
    EXPECT_EQ(outcome, Outcome::failed);
}

// TLS 1.3 has no warnings but those that end the connection.
TEST_F(NbdTlsData, MayFollowAWarningButNotAFloodOfThem) {
    const auto context = certificates();
    Talk talk(*context, {.priority = only_tls12});
    ASSERT_EQ(talk.shake_hands(), Outcome::done);
    const auto warn = [&] {
        must(gnutls_alert_send(talk.client.session(), GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED));
    };
    warn();
    talk.client.send("text");
    EXPECT_EQ(talk.read_all(), Outcome::need_input) << talk.server.reason();
    EXPECT_EQ(talk.received, "text");
    while (talk.client.to_server.size() <= tls_fruitless_bytes_max) warn();
    EXPECT_EQ(talk.read_all(), Outcome::failed);
    EXPECT_EQ(talk.server.reason(), "the client sends TLS messages without end");
}

TEST_F(NbdTlsData, EndsWhereTheClientRenegotiates) {
    const auto context = certificates();
    Talk talk(*context, {.priority = only_tls12});
    ASSERT_EQ(talk.shake_hands(), Outcome::done);
    EXPECT_EQ(talk.client.handshake(), GNUTLS_E_AGAIN);
    EXPECT_EQ(talk.read_all(), Outcome::failed);
    EXPECT_EQ(talk.server.reason(), "the client wants to renegotiate, which is refused");
}

TEST_F(NbdTlsData, EndsWhereAByteOfItWasChanged) {
    for (const char* priority : {"NORMAL", only_tls12}) {
        const auto context = certificates();
        Talk talk(*context, {.priority = priority});
        ASSERT_EQ(talk.shake_hands(), Outcome::done);
        talk.client.send("text");
        talk.client.to_server.back() ^= 1;
        EXPECT_EQ(talk.read_all(), Outcome::failed);
        EXPECT_EQ(talk.received, "");
        Bytes plain = std::as_bytes(std::span("text"));
        EXPECT_EQ(talk.server.write(plain, talk.output), Outcome::failed);
        EXPECT_EQ(talk.client.receive(), GNUTLS_E_FATAL_ALERT_RECEIVED);
    }
}

// ---- The end ----

TEST_F(NbdTlsData, IsFollowedByTheClientsClose) {
    for (const char* priority : {"NORMAL", only_tls12}) {
        const auto context = certificates();
        Talk talk(*context, {.priority = priority}, tls_output_bytes_min, 1);
        ASSERT_EQ(talk.shake_hands(), Outcome::done);
        talk.client.send("last");
        must(gnutls_bye(talk.client.session(), GNUTLS_SHUT_WR));
        EXPECT_EQ(talk.read_all(), Outcome::closed);
        EXPECT_EQ(talk.received, "last");
        // What was asked for before is still answered.
        EXPECT_EQ(talk.write_all("answer"), Outcome::done);
        EXPECT_EQ(talk.client.plain, "answer");
        EXPECT_EQ(talk.read_all(), Outcome::closed);
    }
}

// A cut connection has no `closed`: that is how its owner knows.
TEST_F(NbdTlsData, CutOffInARecordIsWaitedFor) {
    const auto context = certificates();
    Talk talk(*context, {});
    ASSERT_EQ(talk.shake_hands(), Outcome::done);
    talk.client.send("text");
    talk.client.to_server.pop_back();
    EXPECT_EQ(talk.read_all(), Outcome::need_input);
    EXPECT_EQ(talk.received, "");
}

TEST_F(NbdTlsData, IsFollowedByOurClose) {
    for (const char* priority : {"NORMAL", only_tls12}) {
        const auto context = certificates();
        Talk talk(*context, {.priority = priority}, tls_output_bytes_min);
        ASSERT_EQ(talk.shake_hands(), Outcome::done);
        EXPECT_EQ(talk.write_all("last"), Outcome::done);
        EXPECT_EQ(talk.server.close_start(talk.output), Outcome::done);
        EXPECT_EQ(talk.server.close_start(talk.output), Outcome::done);
        talk.flush();
        EXPECT_EQ(talk.client.receive(), 0);
        EXPECT_EQ(talk.client.plain, "last");
    }
}

TEST_F(NbdTlsData, ClosesWhenThereIsRoom) {
    const auto context = certificates();
    Talk talk(*context, {}, tls_output_bytes_min);
    ASSERT_EQ(talk.shake_hands(), Outcome::done);
    const std::string text = long_text(1000);
    Bytes plain = std::as_bytes(std::span(text));
    EXPECT_EQ(talk.server.write(plain, talk.output), Outcome::need_room);
    EXPECT_EQ(talk.server.close_start(talk.output), Outcome::need_room);
    talk.flush();
    EXPECT_EQ(talk.server.close_start(talk.output), Outcome::done);
    talk.flush();
    EXPECT_EQ(talk.client.receive(), 0);
}

}  // namespace
}  // namespace ringloop::nbd
