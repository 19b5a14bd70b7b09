/* What issuers.bpf.c knows of the disk, in its section .bss. C, for both sides. */
#pragma once

struct IssuersDisk {
    char name[16];       /* as in /sys/block, with its terminating zero; "" is no disk */
    unsigned int queues; /* of the array of issuers */
    unsigned int depth;
};
