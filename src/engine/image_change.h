// Another image under a device that serves, or the same one opened in another way. Whatever can
// fail or take long happens before the shards are frozen; the change itself is a few words.
//
//   prepare     shards serve: each gets the new files, registered with its ring beside the old ones
//   carry_out   all are frozen, so each request is of the old image or the new one as a whole
//   destructor  shards serve: each lets go of the files that it does not use
#pragma once

#include <span>

#include "engine/device.h"
#include "engine/shard.h"

namespace ringloop::engine {

class ImageChange {
public:
    // Control thread, as everything here. The shards run, and outlive this object, as `device` and
    // `current`, the device's backing, do.
    ImageChange(std::span<Shard* const> shards, Device& device, backing::Backing& current)
        : shards_(shards), device_(device), current_(current) {}
    ~ImageChange();
    ImageChange(const ImageChange&) = delete;
    ImageChange& operator=(const ImageChange&) = delete;

    // Once. `next` is of Backing::open_other. After an error nothing has changed, and nothing will.
    Status prepare(const backing::Backing& next);

    // After prepare, with searching() of the current backing held: `next` is the old one
    // afterwards. It is kept until this object has ended, so that the last close of the image,
    // which may take long, is not a shard's.
    void carry_out(backing::Backing& next);

private:
    std::span<Shard* const> shards_;
    Device& device_;
    backing::Backing& current_;
};

}  // namespace ringloop::engine
