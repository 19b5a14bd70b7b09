// The powers of root, one by one: capabilities(7).
#pragma once

#include <linux/capability.h>

static_assert(sizeof(__user_cap_header_struct) == 8);
static_assert(sizeof(__user_cap_data_struct) == 12);
