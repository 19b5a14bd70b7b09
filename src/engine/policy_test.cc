#include "engine/policy.h"

#include <gtest/gtest.h>

#include <set>

namespace ringloop::engine {
namespace {

const Policy& named(const char* name) {
    const auto found = find_policy(name);
    EXPECT_TRUE(found) << name;
    return found ? **found : default_policy();
}

TEST(Policies, are_found_by_their_names) {
    std::set<std::string> names;
    for (const Policy& policy : policies()) {
        EXPECT_EQ(&named(policy.name), &policy);
        EXPECT_TRUE(names.insert(policy.name).second) << policy.name;
    }
    EXPECT_STREQ(default_policy().name, "auto");
}

TEST(Policies, that_do_not_exist_are_refused_with_all_that_do) {
    for (const char* name : {"", "Auto", "auto ", "linux", "linux-3.190"}) {
        const auto found = find_policy(name);
        ASSERT_FALSE(found) << name;
        for (const Policy& policy : policies()) {
            EXPECT_NE(found.error().message.find(policy.name), std::string::npos) << policy.name;
        }
    }
}

TEST(Policies, have_as_many_workers_as_a_device_may_have) {
    for (const Policy& policy : policies()) {
        EXPECT_GE(policy.workers, 1u) << policy.name;
        EXPECT_LE(policy.workers, workers_max) << policy.name;
    }
}

TEST(Dispatching, shares_the_workers_among_the_shards_and_leaves_none_without) {
    const auto of_shard = [](u32 workers, u32 shards) {
        return Dispatching{.workers = workers, .shards = shards}.workers_of_shard();
    };
    EXPECT_EQ(of_shard(16, 1), 16u);
    EXPECT_EQ(of_shard(16, 4), 4u);
    EXPECT_EQ(of_shard(16, 3), 5u);
    EXPECT_EQ(of_shard(1, 1), 1u);
    EXPECT_EQ(of_shard(1, 4), 1u);
}

struct Case {
    const char* policy;
    PathFacts facts;
    const char* reason;
};

void check(const Case& expected) {
    EXPECT_EQ(explain(named(expected.policy), expected.facts), expected.reason);
}

TEST(Explanation, of_direct_tries_says_how_many_would_have_blocked_and_why) {
    PathFacts facts = {.direct = true, .filesystem = "ext4", .workers = 16};
    check({"auto", facts, "direct I/O without blocking first; what would block goes to 1 worker"});
    facts.nowait_attempts = 1000;
    check({"auto", facts, "direct I/O without blocking first; so far none would have blocked"});
    facts.nowait_eagain = 1;
    check({"auto", facts,
           "direct I/O without blocking first; 1 % of 1000 tries would have blocked and went to 1 "
           "worker"});
    facts.nowait_eagain = 410;
    facts.sparse = true;
    check({"auto", facts,
           "direct I/O without blocking first; 41 % of 1000 tries would have blocked (sparse "
           "image: new blocks are allocated) and went to 1 worker"});
    facts.hint_skips = 7;
    check({"auto", facts,
           "direct I/O without blocking first; 41 % of 1000 tries would have blocked (sparse "
           "image: new blocks are allocated) and went to 1 worker, as did 7 untried while others "
           "were blocking or tries did not pay"});
    check({"loop-nowait", facts,
           "direct I/O without blocking first; 41 % of 1000 tries would have blocked (sparse "
           "image: new blocks are allocated) and went to 1 worker, as did 7 untried while others "
           "were blocking, as the NOWAIT series of 2025 did; all cgroups share one lane"});
    facts.read_only = true;
    facts.hint_skips = 0;
    check({"auto", facts,
           "direct I/O without blocking first; 41 % of 1000 tries would have blocked and went to 1 "
           "worker"});
}

TEST(Explanation, names_what_takes_no_nowait) {
    PathFacts facts = {.direct = true, .filesystem = "9p", .nowait_write = false, .workers = 16};
    check({"auto", facts,
           "direct I/O without blocking first; what would block goes to 1 worker; the filesystem "
           "(9p) takes no NOWAIT write: writes go to 1 worker"});
    facts.nowait_read = false;
    check({"auto", facts,
           "direct I/O: the filesystem (9p) takes no NOWAIT, so all goes to 1 worker"});
    facts.nowait_write = true;
    facts.read_only = true;
    check({"auto", facts,
           "direct I/O: the filesystem (9p) takes no NOWAIT, so all goes to 1 worker"});
    facts.block_device = true;
    check({"auto", facts, "direct I/O: the block device takes no NOWAIT, so all goes to 1 worker"});
}

TEST(Explanation, counts_a_submitter_for_each_queue) {
    const PathFacts facts = {.block_device = true, .direct = true, .workers = 16, .queues = 4};
    check({"auto", facts, "direct I/O without blocking first; what would block goes to 4 workers"});
}

TEST(Explanation, tells_of_a_filesystem_that_compresses) {
    check({"auto",
           {.direct = true, .filesystem = "btrfs", .compressing = true, .workers = 16},
           "direct I/O without blocking first; what would block goes to 1 worker; btrfs may "
           "compress: direct I/O of compressed data is copied there"});
}

TEST(Explanation, of_a_buffered_image_tells_reads_and_writes_apart) {
    PathFacts facts = {.filesystem = "ext4", .workers = 8};
    check({"auto", facts,
           "reads come from the page cache on the shard's own thread, what misses waits in the "
           "kernel; writes are copied into it there too, what would block goes to 8 workers"});
    facts.nowait_write = false;
    check({"auto", facts,
           "reads come from the page cache on the shard's own thread, what misses waits in the "
           "kernel; the filesystem (ext4) takes no NOWAIT write: writes are made at once while "
           "they are fast, then by 8 workers"});
    facts.read_only = true;
    check({"auto", facts,
           "reads come from the page cache on the shard's own thread, what misses waits in the "
           "kernel"});
    facts.nowait_attempts = 300;
    facts.nowait_eagain = 10;
    check({"auto", facts,
           "reads come from the page cache on the shard's own thread, what misses (4 % of 300 "
           "tries) waits in the kernel"});
    facts.nowait_read = false;
    check({"auto", facts, "the filesystem (ext4) takes no NOWAIT read: reads wait in 8 workers"});
}

TEST(Explanation, tells_of_lanes_where_others_are_charged_whatever_the_policy) {
    PathFacts facts = {.direct = true, .filesystem = "ext4", .workers = 16, .charged = true};
    check({"auto", facts,
           "direct I/O without blocking first; what would block goes to 1 worker; the same by a "
           "process in each cgroup that is charged"});
    facts.direct = false;
    facts.read_only = true;
    check({"auto", facts,
           "reads come from the page cache on the shard's own thread, what misses waits in the "
           "kernel; the same by a process in each cgroup that is charged"});
}

TEST(Explanation, of_a_preset_says_whose_way_it_is) {
    const PathFacts buffered = {.filesystem = "ext4"};
    PathFacts direct = buffered;
    direct.direct = true;
    check({"linux-3.19", buffered,
           "through the page cache: one worker takes everything in turn and waits for it, as "
           "Linux 3.19 did"});
    check({"linux-3.19", direct,
           "direct I/O: one worker takes everything in turn and waits for it, as Linux 3.19 did"});
    check({"linux-4.4", direct,
           "direct I/O: one worker submits everything in turn and waits for none of it, as Linux "
           "4.4 to 5.13 did"});
    check({"linux-4.4", buffered,
           "through the page cache: one worker takes everything in turn and waits for it, as "
           "Linux 4.4 to 5.13 did"});
    check({"linux-5.14", direct,
           "direct I/O: one worker submits everything in turn and waits for none of it, as Linux "
           "does since 5.14; all cgroups share one lane"});
    check({"loop-nowait", buffered,
           "through the page cache: one worker takes everything in turn and waits for it, as the "
           "NOWAIT series of 2025 did; all cgroups share one lane"});

    PathFacts charged = direct;
    charged.charged = true;
    check({"linux-5.14", charged,
           "direct I/O: one worker submits everything in turn and waits for none of it, as Linux "
           "does since 5.14; the same by a process in each cgroup that is charged"});

    PathFacts many = buffered;
    many.workers = 512;
    check({"linux-4.0", many,
           "through the page cache: each read waits in a worker of its own, 512 at most, more take "
           "turns with the writes in one, as Linux 4.0 did"});
    many.workers = 16;
    many.read_only = true;
    check({"linux-4.0-capped", many,
           "through the page cache: each read waits in a worker of its own, 16 at most, more take "
           "turns, as a patch to Linux 4.0 proposed"});
    many.queues = many.workers = 4;
    check({"linux-3.19", many,
           "through the page cache: one worker a queue takes everything in turn and waits for it, "
           "as Linux 3.19 did"});
}

}  // namespace
}  // namespace ringloop::engine
