#include "engine/image_change.h"

#include <vector>

#include "engine/on_each.h"

namespace ringloop::engine {
ImageChange::~ImageChange() {
    on_each(shards_, [](std::size_t, Shard& shard) { shard.drop_spare(); });
}

Status ImageChange::prepare(const backing::Backing& next) {
    std::vector<backing::Handle> files;
    for (std::size_t i = 0; i < shards_.size(); ++i) {
        auto opened = next.open_files();
        if (!opened) return std::unexpected(std::move(opened).error());
        files.push_back(std::move(*opened));
    }
    std::vector<Status> taken(shards_.size());
    on_each(shards_, [&](std::size_t index, Shard& shard) {
        taken[index] = shard.take_spare(std::move(files[index]));
    });
    for (Status& status : taken) TRY(std::move(status));
    return {};
}

void ImageChange::carry_out(backing::Backing& next) {
    for (Shard* shard : shards_) shard->use_spare();
    current_.exchange(next);
    device_.image_changed();
}

}  // namespace ringloop::engine
