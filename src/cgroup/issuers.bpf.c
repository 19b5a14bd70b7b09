/* SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Notes for each request of one disk which cgroup issued it. The kernel runs this when it hands a
 * request to the disk's driver (blk_mq_start_request), so before a server of ublk can see it.
 *
 * The disk is known by its name and not by its number, because the number is only chosen when the
 * disk appears, and by then the kernel has read its partition table.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "cgroup/issuers_disk.h"

/* What is read of the kernel's structures; the loader finds out where the running one has it. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
    __u64 id;
};

struct cgroup {
    struct kernfs_node* kn;
};

struct cgroup_subsys_state {
    struct cgroup* cgroup;
};

struct blkcg {
    struct cgroup_subsys_state css;
};

struct blkcg_gq {
    struct blkcg* blkcg;
};

struct bio {
    struct blkcg_gq* bi_blkg;
};

struct gendisk {
    char disk_name[32];
};

struct request_queue {
    struct gendisk* disk;
};

struct blk_mq_hw_ctx {
    unsigned int queue_num;
};

struct request {
    struct request_queue* q;
    struct blk_mq_hw_ctx* mq_hctx;
    int tag;
    struct bio* bio;
};

#pragma clang attribute pop

struct IssuersDisk disk = {}; /* .bss, which the server maps too */

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1); /* the loader says how many */
    __type(key, __u32);
    __type(value, __u64);
} issuers SEC(".maps");

/* Other disks differ in the first letter, mostly: that much is what this costs their requests. */
static __always_inline int is_ours(const struct gendisk* other) {
    if (!other) return 0;
#pragma unroll
    for (unsigned int i = 0; i < sizeof(disk.name); ++i) {
        const char letter = disk.name[i];
        if (other->disk_name[i] != letter) return 0;
        if (letter == 0) return i > 0;
    }
    return 0;
}

/* A request that was merged is charged to its first issuer, as everywhere in the kernel. One that
 * only the block layer wanted (a flush of its own) has no bio. A null pointer on the way reads 0.
 */
static __always_inline __u64 issuer_of(const struct request* request) {
    const struct bio* bio = request->bio;
    if (!bio || !bio->bi_blkg) return 0;
    return bio->bi_blkg->blkcg->css.cgroup->kn->id;
}

SEC("tp_btf/block_rq_issue")
int note_issuer(__u64* arguments) {
    const struct request* request = (const struct request*)arguments[0];
    if (!is_ours(request->q->disk)) return 0;
    const __u32 queue = request->mq_hctx->queue_num;
    const __u32 tag = (__u32)request->tag;
    if (queue >= disk.queues || tag >= disk.depth) return 0;
    const __u32 index = queue * disk.depth + tag;
    __u64* slot = bpf_map_lookup_elem(&issuers, &index);
    if (slot) *slot = issuer_of(request);
    return 0;
}

const char license_text[] SEC("license") = "Dual MIT/GPL";
