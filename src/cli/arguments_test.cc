#include "cli/arguments.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ringloop::cli {
namespace {

std::expected<Command, int> parse(std::vector<std::string> words) {
    std::vector<const char*> pointers = {"ringloop"};
    for (const std::string& word : words) pointers.push_back(word.c_str());
    return parse_arguments(static_cast<int>(pointers.size()), pointers.data());
}

template <typename Verb>
Verb parsed(std::vector<std::string> words) {
    const auto command = parse(std::move(words));
    EXPECT_TRUE(command);
    if (!command) return {};
    EXPECT_TRUE(std::holds_alternative<Verb>(*command));
    return std::get<Verb>(*command);
}

// attach hands its options to serve as arguments; nothing may be lost or changed on the way.
TEST(Arguments, of_serve_give_back_the_options_they_were_made_of) {
    std::vector<control::DeviceOptions> all(9, {.image = "disk.img"});
    all[1] = {.image = "--help",
              .name = "n.a-m_e",
              .transport = control::TransportChoice::ublk,
              .offset_bytes = 1'048'576,
              .sizelimit_bytes = ~u64{0},
              .read_only = true,
              .sector_size_bytes = 4096,
              .direct_io = backing::DirectIo::off,
              .queues = 512,
              .depth = 1,
              .policy = "linux-4.0-capped",
              .workers = 512,
              .charge = "/a b/=c",
              .lane_idle_s = control::lane_idle_max_s,
              .on_error = engine::OnError::stop,
              .metrics = "[::1]:9100",
              .exported = {.addresses = {*control::parse_address("unix:a b"),
                                         *control::parse_address("tcp:[::1]:1")},
                           .name = "export",
                           .description = "a \"text\" of\nlines",
                           .tls = nbd::TlsMode::required,
                           .tls_certificates = "-keys",
                           .tls_psk = "",
                           .tls_authorize = {"CN=a, O=b", "[c]"},
                           .insecure = true,
                           .connections_max = 1,
                           .handshake_timeout_s = 1,
                           .request_bytes_max = 65536,
                           .in_flight_bytes = 2 * mib}};
    all[2].image = "-";
    all[3].image = "a b\n=c";
    // With addresses, no transport and `auto` are two things.
    all[4].exported.addresses = {*control::parse_address("vsock:1")};
    all[5].exported.addresses = all[4].exported.addresses;
    all[5].transport = control::TransportChoice::socket;
    all[6].transport = control::TransportChoice::nbd;
    all[7].charge = "issuer";
    all[8].charge = "off";
    all[8].lane_idle_s = 1;
    for (const control::DeviceOptions& options : all) {
        std::vector<std::string> words = control::serve_arguments(options);
        words.insert(words.begin(), "serve");
        EXPECT_EQ(parsed<Serve>(words).request.options, options);
    }
}

TEST(Arguments, take_sizes_as_people_write_them) {
    const auto options =
        parsed<Attach>({"attach", "i", "-o", "1M", "--sizelimit", "1GB", "-b", "4K"}).options;
    EXPECT_EQ(options.offset_bytes, mib);
    EXPECT_EQ(options.sizelimit_bytes, 1'000'000'000U);
    EXPECT_EQ(options.sector_size_bytes, 4096U);
}

TEST(Arguments, let_direct_io_stand_alone_before_the_image) {
    const auto options = parsed<Attach>({"attach", "--direct-io", "disk.img"}).options;
    EXPECT_EQ(options.image, "disk.img");
    EXPECT_EQ(options.direct_io, backing::DirectIo::on);
    EXPECT_EQ(parsed<Attach>({"attach", "--direct-io=off", "i"}).options.direct_io,
              backing::DirectIo::off);
    EXPECT_EQ(parsed<Attach>({"attach", "i"}).options.direct_io, backing::DirectIo::automatic);
}

TEST(Arguments, say_whom_to_charge) {
    EXPECT_EQ(parsed<Attach>({"attach", "i"}).options.charge, "");
    const auto options =
        parsed<Attach>({"attach", "--charge", "/tenants/a", "--lane-idle", "5", "i"}).options;
    EXPECT_EQ(options.charge, "/tenants/a");
    EXPECT_EQ(options.lane_idle_s, 5u);
    EXPECT_EQ(options.image, "i");
    for (const char* word : {"", "tenants/a", "everybody"}) {
        const auto command = parse({"attach", "--charge", word, "i"});
        ASSERT_FALSE(command) << word;
        EXPECT_EQ(command.error(), exit_failed) << word;
    }
}

TEST(Arguments, say_what_to_look_at_and_how_often) {
    const auto stats = parsed<Stats>({"stats", "a", "--watch", "--interval", "0.5", "--json"});
    EXPECT_EQ(stats.target, "a");
    EXPECT_TRUE(stats.watch && stats.json);
    EXPECT_EQ(stats.interval_s, 0.5);
    for (const char* interval : {"0", "-1", "0.05", "3601", "nan", "x"}) {
        const auto command = parse({"stats", "a", "--interval", interval});
        ASSERT_FALSE(command) << interval;
        EXPECT_EQ(command.error(), exit_usage) << interval;
    }
    EXPECT_EQ(parsed<Top>({"top", "-i", "3600"}).interval_s, 3600);
    EXPECT_EQ(parse({"top", "-i", "0.01"}).error(), exit_usage);
    EXPECT_TRUE(parsed<Top>({"top", "--once"}).once);
    EXPECT_EQ(parsed<Log>({"log"}).target, "");
    EXPECT_TRUE(parsed<Log>({"log", "a", "--follow", "--json"}).follow);
    EXPECT_TRUE(parsed<Metrics>({"metrics", "--all"}).all);
    EXPECT_EQ(parsed<Metrics>({"metrics", "a"}).target, "a");
    EXPECT_EQ(parse({"metrics"}).error(), exit_usage);
    EXPECT_EQ(parse({"metrics", "a", "--all"}).error(), exit_usage);
    for (const char* address : {"", "0", "0.0.0.0:9100", "example.org:9100"}) {
        const auto command = parse({"attach", "i", "--metrics", address});
        ASSERT_FALSE(command) << address;
        EXPECT_EQ(command.error(), exit_failed) << address;
    }
}

TEST(Arguments, that_name_an_address_alone_ask_for_no_block_device) {
    using enum control::TransportChoice;
    const auto transport_of = [](std::vector<std::string> words) {
        words.insert(words.begin(), {"attach", "disk.img"});
        return parsed<Attach>(words).options.transport;
    };
    EXPECT_EQ(transport_of({}), automatic);
    EXPECT_EQ(transport_of({"--nbd", "unix:x"}), socket);
    EXPECT_EQ(transport_of({"--nbd", "unix:x", "--ublk"}), ublk);
    EXPECT_EQ(transport_of({"--nbd", "unix:x", "--transport", "nbd"}), nbd);
    EXPECT_EQ(transport_of({"--nbd", "unix:x", "--transport=auto"}), automatic);
    EXPECT_EQ(transport_of({"--ublk"}), ublk);
    EXPECT_EQ(parse({"attach", "i", "--ublk", "--transport", "nbd"}).error(), exit_failed);
}

TEST(Arguments, that_take_one_value_leave_the_image_alone) {
    const auto options =
        parsed<Attach>({"attach", "--nbd", "tcp:1", "--nbd", "tcp:2", "disk.img"}).options;
    EXPECT_EQ(options.image, "disk.img");
    EXPECT_EQ(options.exported.addresses.size(), 2U);
}

TEST(Arguments, of_detach_name_devices_or_mean_all_of_them) {
    EXPECT_EQ(parsed<Detach>({"detach", "a", "b", "--force", "--timeout", "3"}).targets,
              (std::vector<std::string>{"a", "b"}));
    EXPECT_TRUE(parsed<Detach>({"detach", "--all"}).all);
    EXPECT_EQ(parse({"detach"}).error(), exit_usage);
    EXPECT_EQ(parse({"detach", "--all", "a"}).error(), exit_usage);
}

TEST(Arguments, of_list_ask_for_devices_or_their_lanes) {
    EXPECT_FALSE(parsed<List>({"list"}).lanes);
    EXPECT_TRUE(parsed<List>({"list", "--lanes", "--json"}).lanes);
}

TEST(Arguments, of_up_and_down_name_files_or_mean_all_of_them) {
    EXPECT_EQ(parsed<Up>({"up", "a", "b"}).configured.names, (std::vector<std::string>{"a", "b"}));
    EXPECT_TRUE(parsed<Up>({"up", "--all", "--json"}).configured.all);
    const auto down = parsed<Down>({"down", "a", "--config-dir=/x", "--timeout=3", "--force"});
    EXPECT_EQ(down.configured.directory, "/x");
    EXPECT_EQ(down.timeout_s, 3U);
    EXPECT_TRUE(down.force);
    for (const char* verb : {"up", "down"}) {
        EXPECT_EQ(parse({verb}).error(), exit_usage);
        EXPECT_EQ(parse({verb, "--all", "a"}).error(), exit_usage);
    }
    EXPECT_EQ(parse({"up", "a", "--force"}).error(), exit_usage);
}

TEST(Arguments, of_serve_leave_everything_to_a_file) {
    const auto serve = parsed<Serve>({"serve", "--config", "a", "--config-dir", "/x"});
    EXPECT_EQ(serve.config_name, "a");
    EXPECT_EQ(serve.config_directory, "/x");
    for (const char* word : {"i", "--read-only", "--offset=1", "--stdio", "--recover=a"}) {
        EXPECT_EQ(parse({"serve", "--config=a", word}).error(), exit_usage) << word;
    }
}

// A file has every option of attach, whatever is added, and none of the program's own.
TEST(Arguments, of_a_device_are_the_keys_of_a_file) {
    const auto keys = config_keys();
    const auto key_of = [&keys](const std::string& name) {
        const auto found = std::ranges::find(keys, name, &control::ConfigKey::name);
        return found == keys.end() ? nullptr : &*found;
    };
    for (const char* name : {"image", "offset", "policy", "direct-io", "charge"}) {
        ASSERT_TRUE(key_of(name)) << name;
        EXPECT_FALSE(key_of(name)->yes_or_no) << name;
        EXPECT_FALSE(key_of(name)->repeatable) << name;
    }
    for (const char* name : {"read-only", "insecure", "ublk"}) {
        ASSERT_TRUE(key_of(name)) << name;
        EXPECT_TRUE(key_of(name)->yes_or_no) << name;
    }
    for (const char* name : {"nbd", "tls-authorize"}) EXPECT_TRUE(key_of(name)->repeatable) << name;
    for (const char* name : {"name", "help", "json", "stdio", "recover", "ready-fd", "config"}) {
        EXPECT_FALSE(key_of(name)) << name;
    }
}

TEST(Arguments, of_a_device_are_checked_like_a_command_line) {
    const auto options =
        parse_device_options({"--direct-io=off", "--nbd=tcp:1", "--tls=on", "--tls-certificates=/x",
                              "--tls-authorize=[c]", "--", "--help"});
    ASSERT_TRUE(options) << options.error().message;
    EXPECT_EQ(options->image, "--help");
    EXPECT_EQ(options->direct_io, backing::DirectIo::off);
    EXPECT_EQ(options->transport, control::TransportChoice::socket);
    EXPECT_EQ(options->exported.tls_authorize, std::vector<std::string>{"[c]"});
    EXPECT_FALSE(parse_device_options({"--queues=many", "--", "i"}));
    EXPECT_FALSE(parse_device_options({"--queues=0", "--", "i"}));
}

TEST(Arguments, of_resize_name_one_device) {
    EXPECT_EQ(parsed<Resize>({"resize", "a"}).target, "a");
    EXPECT_TRUE(parsed<Resize>({"resize", "--json", "a"}).json);
    EXPECT_EQ(parse({"resize"}).error(), exit_usage);
    EXPECT_EQ(parse({"resize", "a", "b"}).error(), exit_usage);
}

TEST(Arguments, of_set_say_what_becomes_of_one_device) {
    const auto set = parsed<Set>({"set", "a", "--policy", "linux-4.4", "--workers", "3", "--json"});
    EXPECT_EQ(set.target, "a");
    EXPECT_EQ(set.change, (control::Change{.dispatching = {.policy = "linux-4.4", .workers = 3}}));
    EXPECT_TRUE(set.json);
    EXPECT_EQ(parsed<Set>({"set", "a", "--workers=1"}).change,
              (control::Change{.dispatching = {.policy = "", .workers = 1}}));
    EXPECT_EQ(parsed<Set>({"set", "--reap-lanes", "a", "--lane-idle", "2"}).change,
              (control::Change{.lane_idle_s = 2, .reap_lanes = true}));
    for (const std::vector<std::string>& words : {std::vector<std::string>{"set"},
                                                  {"set", "a"},
                                                  {"set", "a", "--policy=fast"},
                                                  {"set", "a", "--workers=0"},
                                                  {"set", "a", "--workers=513"},
                                                  {"set", "a", "--workers=x"},
                                                  {"set", "a", "--lane-idle=0"},
                                                  {"set", "a", "--lane-idle=86401"},
                                                  {"set", "--reap-lanes"},
                                                  {"set", "a", "--policy=auto", "b"},
                                                  {"set", "--policy=auto"}}) {
        const auto command = parse(words);
        ASSERT_FALSE(command);
        EXPECT_EQ(command.error(), exit_usage) << words.back();
    }
}

TEST(Arguments, that_are_no_command_line_of_ours_are_bad_usage) {
    const std::vector<std::vector<std::string>> all = {{},
                                                       {"frobnicate"},
                                                       {"attach"},
                                                       {"attach", "a", "b"},
                                                       {"serve"},
                                                       {"attach", "a", "-x"},
                                                       {"status"},
                                                       {"attach", "a", "--queues=many"},
                                                       {"recover"},
                                                       {"attach", "a", "--queues=-1"},
                                                       {"serve", "a", "--recover=b"},
                                                       {"serve", "a", "--take-over"},
                                                       {"serve", "--recover=b", "--force"},
                                                       {"serve", "--stdio", "a", "--ublk"},
                                                       {"serve", "--stdio", "a", "--charge=/b"},
                                                       {"attach", "a", "--lane-idle=soon"},
                                                       {"attach", "a", "--lane-idle=-1"}};
    for (const auto& words : all) {
        const auto command = parse(words);
        ASSERT_FALSE(command);
        EXPECT_EQ(command.error(), exit_usage) << (words.empty() ? "" : words[0]);
    }
}

TEST(Arguments, with_a_value_that_no_device_can_have_are_a_failure) {
    const std::vector<std::string> bad = {
        "--queues=0",           "--depth=0",       "--sector-size=1000",
        "--offset=x",           "--name=..",       "--nbd=x",
        "--tls=maybe",          "--max-request=1", "--workers=0",
        "--policy=fast",        "--offset=-1",     "--direct-io=maybe",
        "--transport=teleport", "--sizelimit=99E", "--lane-idle=0",
        "--lane-idle=86401",    "--charge=a"};
    for (const std::string& word : bad) {
        const auto command = parse({"attach", word, "disk.img"});
        ASSERT_FALSE(command) << word;
        EXPECT_EQ(command.error(), exit_failed) << word;
    }
}

TEST(Arguments, that_ask_for_help_or_the_version_are_done_at_once) {
    for (const char* word : {"--help", "--version", "-h"}) {
        const auto command = parse({word});
        ASSERT_FALSE(command);
        EXPECT_EQ(command.error(), exit_done) << word;
    }
}

}  // namespace
}  // namespace ringloop::cli
