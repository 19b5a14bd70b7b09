// A real engine on a scripted kernel: what the unit tests of the engine and the frontends stand on.
// Nothing is read from or written to the image: the test plays the backing.
#pragma once

#include <fcntl.h>
#include <stdlib.h>

#include <memory>
#include <string>

#include "engine/shard.h"
#include "sim/scripted_kernel.h"

namespace ringloop::sim {

class DeviceUnderTest {
public:
    static constexpr u64 image_bytes = 16 * mib;
    static constexpr u32 slots_max = 128;

    explicit DeviceUnderTest(backing::Options options = {}) {
        const char* base = ::getenv("TEST_TMPDIR");
        path_ = std::string(base ? base : "/var/tmp") + "/ringloop-engine-XXXXXX";
        const UniqueFd fd(::mkostemp(path_.data(), O_CLOEXEC));
        ASSERT(fd && ::ftruncate(fd.get(), static_cast<off_t>(image_bytes)) == 0);
        options.path = path_;
        auto opened = backing::Backing::open(options);
        ::unlink(path_.c_str());
        ASSERT(opened.has_value());
        backing_ = std::move(*opened);
        device_ = std::make_unique<engine::Device>(*backing_);
        auto shard = engine::Shard::create(kernel, *device_, slots_max);
        ASSERT(shard.has_value());
        shard_ = std::move(*shard);
    }

    engine::Device& device() { return *device_; }
    engine::Shard& shard() { return *shard_; }

    // Page aligned, slot_bytes long.
    std::byte* buffer(u32 slot) {
        const u64 start = align_up(reinterpret_cast<u64>(buffers_.get()), 4096);
        return reinterpret_cast<std::byte*>(start) + slot * slot_bytes;
    }

    void pass() { shard_->pass(0); }

    ScriptedKernel kernel;

    static constexpr u64 slot_bytes = 64 * kib;

private:
    std::string path_;
    // Not cleared: a test that makes thousands of these pays for what it touches.
    std::unique_ptr<std::byte[]> buffers_ =
        std::make_unique_for_overwrite<std::byte[]>((slots_max + 1) * slot_bytes);
    std::unique_ptr<backing::Backing> backing_;
    std::unique_ptr<engine::Device> device_;
    std::unique_ptr<engine::Shard> shard_;
};

// A request that counts its answers.
struct TestRequest : engine::Request {
    TestRequest() {
        done = [](engine::Request& request) { ++static_cast<TestRequest&>(request).answers; };
    }
    u32 answers = 0;
};

}  // namespace ringloop::sim
