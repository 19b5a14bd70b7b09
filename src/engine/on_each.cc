#include "engine/on_each.h"

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

}  // namespace

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

}  // namespace ringloop::engine
