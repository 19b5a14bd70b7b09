#include "frontend/nbd/kernel_device.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "abi/nbd_netlink.h"
#include "base/assert.h"
#include "frontend/nbd/netlink_library.h"

namespace ringloop::nbd {

namespace wire = abi::nbd_netlink;

namespace {

// A command runs inside the call that sends it, behind the driver's mutexes: connect freezes the
// queue, disconnect waits for the socket to take 28 bytes and for the driver's receivers.
constexpr std::chrono::seconds answer_wait{30};

struct SocketFree {
    void operator()(nl_sock* socket) const { libnl.nl_socket_free(socket); }
};
struct MessageFree {
    void operator()(nl_msg* message) const { libnl.nlmsg_free(message); }
};
using Socket = std::unique_ptr<nl_sock, SocketFree>;
using Message = std::unique_ptr<nl_msg, MessageFree>;

// One command and its answer. Owned by the thread that waits in the kernel together with the one
// that waits for it, whichever is longer.
struct Exchange {
    Socket socket;
    Message message;

    std::mutex mutex;
    std::condition_variable changed;
    bool ended = false;  // guarded by mutex
    i32 number = 0;      // guarded by mutex: a positive errno, or 0
};

// libnl's own codes do not tell EBUSY from the others, so the kernel's answer is read as it came.
int error_on_answer(sockaddr_nl*, nlmsgerr* error, void* number) {
    *static_cast<i32*>(number) = -error->error;
    return NL_STOP;
}

i32 send_and_wait(Exchange& exchange) {
    i32 number = 0;
    libnl.nl_socket_modify_err_cb(exchange.socket.get(), NL_CB_CUSTOM, error_on_answer, &number);
    if (libnl.nl_send_auto(exchange.socket.get(), exchange.message.get()) < 0) {
        return errno != 0 ? errno : EIO;
    }
    const int received = libnl.nl_wait_for_ack(exchange.socket.get());
    if (number != 0) return number;
    return received < 0 ? EIO : 0;
}

// The thread is left behind when the kernel does not answer: it ends with the answer, or with us.
i32 run_bounded(const std::shared_ptr<Exchange>& exchange) {
    std::thread([exchange] {
        const i32 number = send_and_wait(*exchange);
        const std::lock_guard lock(exchange->mutex);
        exchange->number = number;
        exchange->ended = true;
        exchange->changed.notify_all();
    }).detach();
    std::unique_lock lock(exchange->mutex);
    const bool ended =
        exchange->changed.wait_for(lock, answer_wait, [&] { return exchange->ended; });
    return ended ? exchange->number : ETIME;
}

Result<std::shared_ptr<Exchange>> begin(u8 command) {
    TRY(load_libnl());
    auto exchange = std::make_shared<Exchange>();
    exchange->socket.reset(libnl.nl_socket_alloc());
    exchange->message.reset(libnl.nlmsg_alloc());
    if (!exchange->socket || !exchange->message)
        return fail(ENOMEM, "nbd driver: out of memory; free some");
    if (libnl.genl_connect(exchange->socket.get()) < 0) {
        return fail(EIO,
                    "nbd driver: this process may not use generic netlink; allow it AF_NETLINK");
    }
    const int family = libnl.genl_ctrl_resolve(exchange->socket.get(), wire::family_name);
    if (family < 0) {
        return fail(ENOENT, "the kernel's nbd driver is not loaded: load it with: modprobe nbd");
    }
    const void* header =
        libnl.genlmsg_put(exchange->message.get(), NL_AUTO_PORT, NL_AUTO_SEQ, family, 0,
                          NLM_F_REQUEST | NLM_F_ACK, command, wire::version);
    if (!header) return fail(ENOMEM, "nbd driver: out of memory; free some");
    return exchange;
}

// A message of libnl is a page; what does not fit is told by the put that fails.
class Attributes {
public:
    explicit Attributes(Exchange& exchange) : message_(exchange.message.get()) {}

    void number(int attribute, u32 value) { note(libnl.nla_put_u32(message_, attribute, value)); }
    void number(int attribute, u64 value) { note(libnl.nla_put_u64(message_, attribute, value)); }
    void text(int attribute, const std::string& value) {
        if (!value.empty()) note(libnl.nla_put_string(message_, attribute, value.c_str()));
    }
    void sockets(std::span<const UniqueFd> sockets) {
        nlattr* list = libnl.nla_nest_start(message_, wire::attribute_sockets);
        if (!list) return note(-1);
        for (const UniqueFd& socket : sockets) {
            nlattr* item = libnl.nla_nest_start(message_, wire::socket_item);
            if (!item) return note(-1);
            number(wire::socket_fd, static_cast<u32>(socket.get()));
            libnl.nla_nest_end(message_, item);
        }
        libnl.nla_nest_end(message_, list);
    }
    bool fit() const { return fit_; }

private:
    void note(int result) { fit_ = fit_ && result >= 0; }

    nl_msg* message_;
    bool fit_ = true;
};

Status outcome(i32 number, u32 index, const char* what) {
    const std::string device = kernel_device_path(index);
    switch (number) {
        case 0: return {};
        case EPERM:
            return fail(EPERM, "{}: not permitted to {}: nbd needs CAP_SYS_ADMIN, run as root",
                        device, what);
        case EBUSY: return fail(EBUSY, "{}: somebody else uses it; detach it there", device);
        case ETIME:
            return fail(ETIME,
                        "{}: the nbd driver did not {} within {} s; see dmesg, and whether the "
                        "image's disk answers",
                        device, what, answer_wait.count());
        default:
            return fail(number, "{}: the nbd driver did not {}: {}; see dmesg", device, what,
                        errno_text(number));
    }
}

template <typename Fill>
Status command(u8 number, u32 index, const char* what, Fill&& fill) {
    auto exchange = begin(number);
    if (!exchange) return std::unexpected(std::move(exchange).error());
    Attributes attributes(**exchange);
    attributes.number(wire::attribute_index, index);
    fill(attributes);
    if (!attributes.fit()) {
        return fail(E2BIG, "{}: too many connections for one message; use fewer --queues",
                    kernel_device_path(index));
    }
    return outcome(run_bounded(*exchange), index, what);
}

}  // namespace

Status prepare_kernel_calls() { return load_libnl(); }

Status kernel_connect(const KernelConnection& connection) {
    ASSERT(connection.index <= kernel_device_index_max && !connection.sockets.empty());
    return command(wire::command_connect, connection.index, "connect", [&](Attributes& put) {
        put.number(wire::attribute_size_bytes, connection.size_bytes);
        put.number(wire::attribute_block_size_bytes, u64{connection.block_bytes});
        put.number(wire::attribute_server_flags, u64{connection.flags});
        put.number(wire::attribute_timeout, connection.request_timeout_s);
        put.number(wire::attribute_dead_connection_timeout, connection.dead_connection_timeout_s);
        // Stated, because a device keeps what its last user chose.
        put.number(wire::attribute_client_flags, u64{0});
        put.text(wire::attribute_backend_identifier, connection.backend_identifier);
        put.sockets(connection.sockets);
    });
}

Status kernel_reconnect(u32 index, const std::string& backend_identifier, const UniqueFd& socket) {
    return command(wire::command_reconfigure, index, "take a new connection", [&](Attributes& put) {
        put.text(wire::attribute_backend_identifier, backend_identifier);
        put.sockets({&socket, 1});
    });
}

Status kernel_resize(u32 index, const std::string& backend_identifier, u64 size_bytes) {
    return command(wire::command_reconfigure, index, "change the size", [&](Attributes& put) {
        put.text(wire::attribute_backend_identifier, backend_identifier);
        put.number(wire::attribute_size_bytes, size_bytes);
    });
}

Status kernel_disconnect(u32 index) {
    return command(wire::command_disconnect, index, "disconnect", [](Attributes&) {});
}

Status kernel_driver_answers() {
    const auto exchange = begin(wire::command_status);
    if (!exchange) return std::unexpected(exchange.error());
    return {};
}

std::string kernel_device_path(u32 index) { return fmt::format("/dev/nbd{}", index); }

std::optional<u32> kernel_device_index(const std::string& device) {
    std::string_view name = device;
    if (name.starts_with("/dev/")) name.remove_prefix(5);
    if (!name.starts_with("nbd")) return std::nullopt;
    name.remove_prefix(3);
    u32 index = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
    const bool plain = error == std::errc{} && end == name.data() + name.size() &&
                       (name.size() == 1 || name[0] != '0');
    if (!plain || index > kernel_device_index_max) return std::nullopt;
    return index;
}

}  // namespace ringloop::nbd
