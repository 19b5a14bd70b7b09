// For tests: a folder of their own that goes away with them, on a disk where that is possible.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/int.h"
#include "base/unique_fd.h"

namespace ringloop::backing {

class TestDir {
public:
    // $TMPDIR or /var/tmp: /tmp is a tmpfs on many machines.
    static std::string on_disk() {
        const char* folder = std::getenv("TMPDIR");
        return folder ? folder : "/var/tmp";
    }

    explicit TestDir(const std::string& parent = on_disk()) {
        path_ = parent + "/ringloop-backing-XXXXXX";
        if (!mkdtemp(path_.data())) {
            ADD_FAILURE() << "no folder can be made in " << parent;
            return;
        }
        // For the tests that drop their privileges.
        std::filesystem::permissions(path_, std::filesystem::perms(0755));
    }
    ~TestDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TestDir(const TestDir&) = delete;
    TestDir& operator=(const TestDir&) = delete;

    std::string file(const std::string& name) const { return path_ + "/" + name; }

    // A file of `bytes` bytes, all holes.
    std::string sparse(const std::string& name, u64 bytes) const {
        const UniqueFd fd(open(file(name).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        if (!fd || ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
            ADD_FAILURE() << "cannot make " << file(name);
        }
        return file(name);
    }

private:
    std::string path_;
};

}  // namespace ringloop::backing
