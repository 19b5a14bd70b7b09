// Something to do on every shard's own thread.
#pragma once

#include <functional>
#include <span>

#include "engine/shard.h"

namespace ringloop::engine {

// Control thread; returns when all have done it. The shards run meanwhile.
void on_each(std::span<Shard* const> shards, const std::function<void(std::size_t, Shard&)>& work);

}  // namespace ringloop::engine
