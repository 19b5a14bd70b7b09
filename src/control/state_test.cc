#include "control/state.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ringloop::control {
namespace {

using nlohmann::json;

DeviceState example() {
    return {.name = "disk",
            .device = "/dev/ublkb0",
            .backing_file = "/images/disk.img",
            .size_bytes = ~u64{0},
            .offset_bytes = 512,
            .sizelimit_bytes = 1024,
            .sector_size = 4096,
            .read_only = true,
            .direct_io = false,
            .direct_io_reason = "tmpfs has none",
            .direct_io_requested = backing::DirectIo::off,
            .queues = 4,
            .depth = 128,
            .policy = "linux-4.0",
            .charge = "/tenants/a",
            .lane_idle_s = 7,
            .unprivileged = true,
            .on_error = engine::OnError::pause,
            .metrics = "127.0.0.1:9100",
            .pid = 42,
            .poisoned = true,
            .phase = Phase::live,
            .started_at = "2025-01-31T12:00:00Z",
            .boot_id = "6f3e"};
}

TEST(StateFile, gives_back_what_was_written) {
    for (const Phase phase : {Phase::starting, Phase::live, Phase::stopping}) {
        DeviceState state = example();
        state.phase = phase;
        const auto read = parse_state(to_file_text(state), "x.json");
        ASSERT_TRUE(read) << read.error().message;
        EXPECT_EQ(*read, state);
    }
}

// A server of before there was one wrote nothing of it, and its successor has one.
TEST(StateFile, keeps_what_was_said_of_the_sandbox) {
    DeviceState state = example();
    state.sandbox = SandboxChoice::require;
    EXPECT_EQ(recover_options(state).sandbox, SandboxChoice::require);
    json object = *parse_json(to_file_text(state));
    EXPECT_EQ(parse_state(dump_json(object), "x.json")->sandbox, SandboxChoice::require);
    object.erase("sandbox");
    EXPECT_EQ(parse_state(dump_json(object), "x.json")->sandbox, SandboxChoice::on);
    object["sandbox"] = "perhaps";
    EXPECT_FALSE(parse_state(dump_json(object), "x.json"));
}

TEST(StateFile, keeps_where_metrics_are_served) {
    EXPECT_EQ(recover_options(example()).metrics, "127.0.0.1:9100");
    json object = *parse_json(to_file_text(example()));
    object.erase("metrics");
    EXPECT_EQ(parse_state(dump_json(object), "x.json")->metrics, "");
    object["metrics"] = "0.0.0.0:9100";
    EXPECT_FALSE(parse_state(dump_json(object), "x.json"));
}

TEST(StateFile, gives_back_the_workers_that_somebody_asked_for) {
    DeviceState state = example();
    state.workers_requested = 9;
    const auto read = parse_state(to_file_text(state), "x.json");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, state);
    EXPECT_EQ(recover_options(*read).workers, 9u);
}

TEST(StateFile, of_before_there_were_lanes_charges_nobody) {
    json object = *parse_json(to_file_text(example()));
    object.erase("charge");
    object.erase("lane_idle_s");
    const auto read = parse_state(dump_json(object), "x.json");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->charge, "off");
    EXPECT_EQ(read->lane_idle_s, 60u);
    EXPECT_TRUE(charges_server(recover_options(*read).charge));
}

TEST(StateFile, keeps_the_bytes_of_a_cgroup_that_are_no_text) {
    DeviceState state = example();
    state.charge = "/tenants/\xff\xfe";
    const auto read = parse_state(to_file_text(state), "x.json");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, state);
}

TEST(StateFile, of_before_there_were_policies_means_the_default_one) {
    json object = *parse_json(to_file_text(example()));
    object.erase("policy");
    const auto read = parse_state(dump_json(object), "x.json");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->policy, "auto");
    EXPECT_FALSE(read->workers_requested);
    EXPECT_EQ(recover_options(*read).policy, "auto");
}

TEST(StateFile, gives_back_how_a_device_is_served_by_nbd) {
    DeviceState state = example();
    state.transport = TransportChoice::nbd;
    state.nbd = {.exported = {.addresses = {*parse_address("unix:/x"), *parse_address("tcp:1")},
                              .name = "e"},
                 .uris = {"nbd+unix:///e?socket=/x", "nbd://127.0.0.1:1/e"},
                 .backend_identifier = "ringloop-1"};
    const auto read = parse_state(to_file_text(state), "x.json");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, state);
    EXPECT_EQ(transports_text(*read), "nbd+socket");
    EXPECT_EQ(recover_options(*read).exported, state.nbd->exported);
}

TEST(StateFile, of_a_device_that_only_nbd_can_serve_says_how) {
    for (const char* transport : {"nbd", "socket", "auto"}) {
        json object = *parse_json(to_file_text(example()));
        object["transport"] = transport;
        EXPECT_FALSE(parse_state(dump_json(object), "x.json")) << transport;
    }
    json object = *parse_json(to_file_text(example()));
    object["nbd"] = json::object();
    EXPECT_FALSE(parse_state(dump_json(object), "x.json"));
}

TEST(StateFile, keeps_an_image_path_whose_bytes_are_no_utf8) {
    DeviceState state = example();
    state.backing_file = "/images/\xff\xfe\x80.img";
    const auto read = parse_state(to_file_text(state), "x.json");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->backing_file, state.backing_file);
}

TEST(StateFile, of_garbage_is_refused_with_its_name) {
    const std::string good = to_file_text(example());
    const std::string deep(100'000, '[');
    for (const std::string& text :
         {std::string(), std::string("x"), std::string("[]"), std::string("null"),
          std::string("{}"), std::string(1, '\0'), std::string("\xff\xff"),
          good.substr(0, good.size() / 2), deep}) {
        const auto read = parse_state(text, "/run/ringloop/x.json");
        ASSERT_FALSE(read);
        EXPECT_NE(read.error().message.find("/run/ringloop/x.json"), std::string::npos);
    }
}

TEST(StateFile, with_a_wrong_field_is_refused_with_the_fields_name) {
    struct Case {
        const char* field;
        json value;
    };
    const Case cases[] = {
        {"name", "../etc"},
        {"name", 1},
        {"device", std::string(5000, 'x')},
        {"device", std::string("a\0b", 3)},
        {"backing_file", nullptr},
        {"backing_file_hex", "zz"},
        {"backing_file_hex", "2f0"},
        {"backing_file_hex", "2f00"},
        {"size_bytes", -1},
        {"size_bytes", 1.5},
        {"size_bytes", "1"},
        {"sector_size", 0},
        {"sector_size", u64{1} << 32},
        {"queues", 0},
        {"queues", 5000},
        {"depth", 0},
        {"policy", "linux-9.9"},
        {"policy", 1},
        {"workers_requested", 0},
        {"workers_requested", 513},
        {"workers_requested", "2"},
        {"charge", ""},
        {"charge", "tenants/a"},
        {"charge", 1},
        {"charge_hex", "2f0"},
        {"lane_idle_s", 0},
        {"lane_idle_s", 86401},
        {"lane_idle_s", "60"},
        {"poisoned", 1},
        {"on_error", "retry"},
        {"on_error", 1},
        {"stopped_reason", 1},
        {"paused_reason", true},
        {"pid", 0},
        {"pid", u64{1} << 31},
        {"read_only", 1},
        {"transport", "teleport"},
        {"direct_io_requested", "maybe"},
        {"state", "undead"},
        {"boot_id", json::array()},
    };
    for (const Case& wrong : cases) {
        json object = *parse_json(to_file_text(example()));
        object[wrong.field] = wrong.value;
        const auto read = parse_state(dump_json(object), "x.json");
        ASSERT_FALSE(read) << wrong.field << " " << dump_json(wrong.value);
        EXPECT_NE(read.error().message.find(wrong.field), std::string::npos)
            << read.error().message;
    }
}

TEST(StateFile, without_any_one_of_its_fields_is_refused) {
    const json whole = *parse_json(to_file_text(example()));
    for (const auto& [field, value] : whole.items()) {
        if (field == "direct_io_reason") continue;  // says nothing where direct I/O is on
        // They have a default, or follow from the rest.
        if (field == "policy" || field == "workers") continue;
        if (field == "charge" || field == "lane_idle_s" || field == "poisoned") continue;
        if (field == "ref" || field == "allow_overlap" || field == "autoclear") continue;
        if (field == "partscan" || field == "watch_size" || field == "unprivileged") continue;
        if (field == "metrics" || field == "on_error" || field == "sandbox") continue;
        json object = whole;
        object.erase(field);
        EXPECT_FALSE(parse_state(dump_json(object), "x.json")) << field;
    }
}

TEST(StateFile, with_a_reason_against_the_direct_io_it_has_forgets_it) {
    json object = *parse_json(to_file_text(example()));
    object["direct_io"] = true;
    object["direct_io_reason"] = "none";
    const auto read = parse_state(dump_json(object), "x.json");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->direct_io_reason, "");
}

TEST(StateFile, with_a_zero_in_a_text_of_nbd_is_refused) {
    DeviceState state = example();
    state.nbd = DeviceState::Nbd{};
    json object = *parse_json(to_file_text(state));
    ASSERT_TRUE(parse_state(dump_json(object), "x.json"));
    const std::string cut("/x\0y", 4);
    for (const char* field : {"tls_certificates", "tls_psk"}) {
        json wrong = object;
        wrong["nbd"]["tls"] = "on";
        wrong["nbd"][field] = "/x";
        EXPECT_TRUE(parse_state(dump_json(wrong), "x.json")) << field;
        wrong["nbd"][field] = cut;
        EXPECT_FALSE(parse_state(dump_json(wrong), "x.json")) << field;
    }
    object["nbd"]["uris"] = {cut};
    EXPECT_FALSE(parse_state(dump_json(object), "x.json"));
}

TEST(StateFile, of_another_version_says_so) {
    json object = *parse_json(to_file_text(example()));
    object["version"] = 2;
    const auto read = parse_state(dump_json(object), "x.json");
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().message.find("another version"), std::string::npos);
}

TEST(State, names_why_direct_io_is_off_only_when_it_is) {
    DeviceState state = example();
    EXPECT_EQ(to_json(state, "live")["direct_io_reason"], "tmpfs has none");
    state.direct_io = true;
    EXPECT_FALSE(to_json(state, "live").contains("direct_io_reason"));
}

TEST(RecoverOptions, make_the_device_that_the_state_describes) {
    const DeviceOptions options = recover_options(example());
    EXPECT_EQ(options, (DeviceOptions{.image = "/images/disk.img",
                                      .name = "disk",
                                      .transport = TransportChoice::ublk,
                                      .offset_bytes = 512,
                                      .sizelimit_bytes = 1024,
                                      .read_only = true,
                                      .sector_size_bytes = 4096,
                                      .direct_io = backing::DirectIo::off,
                                      .queues = 4,
                                      .depth = 128,
                                      .policy = "linux-4.0",
                                      .charge = "/tenants/a",
                                      .lane_idle_s = 7,
                                      .partscan = true,
                                      .on_error = engine::OnError::pause,
                                      .metrics = "127.0.0.1:9100"}));
}

}  // namespace
}  // namespace ringloop::control
