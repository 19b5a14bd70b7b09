// Filters of system calls: the program, what it looks at, and what it answers.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

static_assert(sizeof(sock_filter) == 8);
static_assert(sizeof(seccomp_data) == 64);
