#include "backing/image.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <string_view>

namespace ringloop::backing {
namespace {

// Set before there are threads, and taken back when they have ended.
Opener* opener_of_images = nullptr;

std::string_view kind_of(mode_t mode) {
    switch (mode & S_IFMT) {
        case S_IFDIR: return "a directory";
        case S_IFCHR: return "a character device";
        case S_IFIFO: return "a FIFO";
        case S_IFSOCK: return "a socket";
        default: return "of a kind that holds no bytes";
    }
}

std::unexpected<Error> look_up_failed(const std::string& name, int number) {
    switch (number) {
        case ENOENT:
            return fail(number,
                        "{}: no such file; check the path, or create the image with "
                        "'truncate -s SIZE FILE'",
                        name);
        case EACCES:
            return fail(number,
                        "{}: no permission to search a directory of this path; run as a "
                        "user who may, or move the image",
                        name);
        default: return fail_errno(number, "{}: cannot be looked up", name);
    }
}

std::unexpected<Error> read_failed(const std::string& name, int number) {
    if (number == EACCES || number == EPERM) {
        return fail(number,
                    "{}: no permission to read it; run as a user who may, or change its "
                    "mode",
                    name);
    }
    return fail(number, "{}: cannot be opened: {}", name, reopen_error(number));
}

// Writing was refused. `readable` decides whether --read-only is a way out.
std::unexpected<Error> write_failed(const std::string& name, int number, bool readable) {
    if (!readable) return read_failed(name, number);
    switch (number) {
        case EACCES:
            return fail(number,
                        "{}: no permission to write it; attach it with --read-only, or run "
                        "as a user who may",
                        name);
        case EPERM:
            return fail(number,
                        "{}: writing is not permitted (immutable or append-only, see "
                        "lsattr); attach it with --read-only",
                        name);
        case EROFS:
            return fail(number,
                        "{}: its file system or device is read-only; attach it with "
                        "--read-only",
                        name);
        case ETXTBSY:
            return fail(number,
                        "{}: in use as a swap file or a running program; stop that, or "
                        "attach it with --read-only",
                        name);
        default: return fail(number, "{}: cannot be opened: {}", name, reopen_error(number));
    }
}

Result<UniqueFd> open_data(int path_fd, const Options& options, const std::string& name) {
    if (options.read_only) {
        UniqueFd fd = reopen(path_fd, O_RDONLY);
        if (!fd) return read_failed(name, errno);
        return fd;
    }
    UniqueFd fd = reopen(path_fd, O_RDWR);
    if (fd) return fd;
    const int number = errno;
    return write_failed(name, number, static_cast<bool>(reopen(path_fd, O_RDONLY)));
}

Status check_block_device(const Image& image, const std::string& name) {
    int read_only = 0;
    if (ioctl(image.fd.get(), BLKROGET, &read_only) != 0) {
        return fail_errno(errno, "{}: this block device does not answer", name);
    }
    // A read-only block device may be opened for writing; only its writes fail, with EPERM.
    if (read_only != 0 && !image.read_only) return write_failed(name, EROFS, true);
    return {};
}

std::string absolute(const std::string& path) {
    char* resolved = realpath(path.c_str(), nullptr);
    if (!resolved) return path;
    std::string text = resolved;
    std::free(resolved);
    return text;
}

}  // namespace

Result<Image> open_image(const Options& options) {
    const std::string name = printable(options.path);
    if (options.path.empty()) return fail(EINVAL, "no image was named; give the path of one");

    const bool looked_up = options.looked_up_fd >= 0;
    const UniqueFd path_fd(looked_up ? fcntl(options.looked_up_fd, F_DUPFD_CLOEXEC, 0)
                                     : open(options.path.c_str(), O_PATH | O_CLOEXEC));
    if (!path_fd) return look_up_failed(name, errno);
    struct stat found = {};
    if (fstat(path_fd.get(), &found) != 0) return look_up_failed(name, errno);
    const bool block_device = S_ISBLK(found.st_mode);
    if (!block_device && !S_ISREG(found.st_mode)) {
        return fail(S_ISDIR(found.st_mode) ? EISDIR : EINVAL,
                    "{}: is {}; an image is a regular file or a block device", name,
                    kind_of(found.st_mode));
    }

    Result<UniqueFd> fd = open_data(path_fd.get(), options, name);
    if (!fd) return std::unexpected(std::move(fd).error());
    // Once more: overlayfs copies a file to its upper layer when it is opened for writing.
    if (fstat(fd->get(), &found) != 0) return look_up_failed(name, errno);

    Image image;
    image.fd = std::move(*fd);
    image.path = looked_up ? options.path : absolute(options.path);
    image.io_block_bytes = static_cast<u32>(found.st_blksize);
    image.block_device = block_device;
    image.read_only = options.read_only;
    image.device = block_device ? found.st_rdev : found.st_dev;
    if (block_device) TRY(check_block_device(image, name));
    const Result<u64> bytes = image_bytes(image.fd.get(), name);
    if (!bytes) return std::unexpected(bytes.error());
    image.size_bytes = *bytes;
    return image;
}

Result<u64> image_bytes(int fd, const std::string& name) {
    struct stat found = {};
    if (fstat(fd, &found) != 0) return fail_errno(errno, "{}: its size cannot be read", name);
    u64 bytes = static_cast<u64>(found.st_size);
    if (S_ISBLK(found.st_mode) && ioctl(fd, BLKGETSIZE64, &bytes) != 0) {
        return fail_errno(errno, "{}: the size of this block device cannot be read", name);
    }
    if (bytes == 0) {
        return fail(EINVAL,
                    "{}: is empty, so the device would have no bytes; give it a size with "
                    "'truncate -s SIZE FILE'",
                    name);
    }
    return bytes;
}

void reopen_by(Opener* opener) { opener_of_images = opener; }

UniqueFd reopen(int fd, int flags) {
    if (Opener* opener = opener_of_images) return opener->open_again(fd, flags);
    const std::string link = fmt::format("/proc/self/fd/{}", fd);
    // When an image was read last is nobody's business, costs a write, and makes the cgroup of the
    // first reader the owner of the inode, who is charged for everybody's writeback from then on.
    UniqueFd reopened(open(link.c_str(), flags | O_CLOEXEC | O_NOATIME));
    if (reopened || errno != EPERM) return reopened;
    // Only the file's owner may ask for that.
    return UniqueFd(open(link.c_str(), flags | O_CLOEXEC));
}

std::string reopen_error(int number) {
    if (number == ENOENT && access("/proc/self/fd", F_OK) != 0) {
        return "/proc is missing; mount it with 'mount -t proc proc /proc'";
    }
    return cause_and_way_out(number);
}

std::string printable(const std::string& path) {
    std::string text = path;
    for (char& character : text) {
        if (static_cast<unsigned char>(character) < 0x20 || character == 0x7f) character = '?';
    }
    return text;
}

}  // namespace ringloop::backing
