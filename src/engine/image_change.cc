#include "engine/image_change.h"

#include <functional>
#include <semaphore>
#include <vector>

namespace ringloop::engine {
namespace {

// One for each shard; in place until all have run.
struct Errand : Message {
    const std::function<void(std::size_t, Shard&)>* work = nullptr;
    std::size_t index = 0;
    std::counting_semaphore<>* ran = nullptr;
};

// On every shard's own thread; returns when all have done it.
void on_each(std::span<Shard* const> shards, const std::function<void(std::size_t, Shard&)>& work) {
    std::counting_semaphore<> ran{0};
    std::vector<Errand> errands(shards.size());
    for (std::size_t i = 0; i < shards.size(); ++i) {
        errands[i].work = &work;
        errands[i].index = i;
        errands[i].ran = &ran;
        errands[i].run = [](Message& message, Shard& shard) {
            const Errand& errand = static_cast<Errand&>(message);
            (*errand.work)(errand.index, shard);
            errand.ran->release();
        };
        shards[i]->post(errands[i]);
    }
    for (std::size_t i = 0; i < shards.size(); ++i) ran.acquire();
}

}  // namespace

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
