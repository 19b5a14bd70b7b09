#include "control/resize.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ringloop::control {
namespace {

// Writes down in which order the steps come; a step fails when it is told to.
struct Steps {
    std::string order;
    std::string failing;

    SizeStep step(const std::string& name) {
        return [this, name](u64 size_bytes) -> Status {
            order += fmt::format("{} {}, ", name, size_bytes);
            if (name == failing) return fail(EIO, "{} cannot", name);
            return {};
        };
    }
    Status run(u64 from, u64 to) { return change_size(from, to, step("engine"), step("kernel")); }
};

TEST(Resize, grows_the_engine_before_the_kernel_shows_more) {
    Steps steps;
    EXPECT_TRUE(steps.run(10, 20));
    EXPECT_EQ(steps.order, "engine 20, kernel 20, ");
}

TEST(Resize, shrinks_the_kernel_before_the_engine_refuses_more) {
    Steps steps;
    EXPECT_TRUE(steps.run(20, 10));
    EXPECT_EQ(steps.order, "kernel 10, engine 10, ");
}

TEST(Resize, stops_at_the_first_step_that_fails) {
    Steps grows{.order = "", .failing = "engine"};
    EXPECT_EQ(grows.run(10, 20).error().message, "engine cannot");
    EXPECT_EQ(grows.order, "engine 20, ");
    Steps shrinks{.order = "", .failing = "kernel"};
    EXPECT_EQ(shrinks.run(20, 10).error().message, "kernel cannot");
    EXPECT_EQ(shrinks.order, "kernel 10, ");
}

TEST(Resize, says_what_changed_or_that_nothing_did) {
    EXPECT_EQ(to_text({.size_bytes = 128 * mib, .previous_bytes = 64 * mib}, "/dev/nbd0"),
              "/dev/nbd0: 128 MiB (134217728 bytes) now, 64 MiB before");
    EXPECT_EQ(to_text({.size_bytes = 64 * mib, .previous_bytes = 64 * mib}, "/dev/nbd0"),
              "/dev/nbd0: 64 MiB (67108864 bytes) as before");
}

TEST(Resize, warns_of_a_tail_that_cannot_be_reached) {
    DeviceState state;
    state.backing_file = "/disk.img";
    EXPECT_EQ(to_json({.size_bytes = 512, .previous_bytes = 512}, state)["warnings"].size(), 0u);
    const auto object = to_json({.size_bytes = 512, .previous_bytes = 512, .bytes_cut = 7}, state);
    EXPECT_EQ(object["warnings"][0],
              "/disk.img: the last 7 bytes are less than a sector and cannot be reached");
}

}  // namespace
}  // namespace ringloop::control
