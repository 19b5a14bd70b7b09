#include "control/hand_over.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "control/file_passing.h"
#include "control/json_fields.h"
#include "control/state.h"
#include "control/wait.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

// More than the server waits for requests in flight; its sync has no bound but the disk's.
constexpr u64 answer_timeout_of_old_ms = 120'000;
constexpr u64 end_timeout_ms = 60'000;
// From the moment on at which the next server has everything that it asked for; all that its start
// needs of the image it has opened by then.
constexpr u64 replacement_timeout_ms = 15'000;
constexpr u64 carried_file_bytes_max = 1 * gib;
constexpr std::string_view replaced = "replaced";

// What clients have sent can be more than a packet holds.
Result<UniqueFd> file_of(const std::vector<nbd::Service::Held>& held) {
    std::vector<nbd::CarriedClient> clients;
    clients.reserve(held.size());
    for (const nbd::Service::Held& client : held) clients.push_back(client.client);
    const auto bytes = nbd::encode_carried(clients);
    UniqueFd file(::memfd_create("ringloop-clients", MFD_CLOEXEC));
    if (!file) return fail_errno(errno, "memfd_create");
    for (std::size_t done = 0; done < bytes.size();) {
        const ssize_t wrote = ::write(file.get(), bytes.data() + done, bytes.size() - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return fail_errno(errno, "cannot describe the clients");
        done += static_cast<std::size_t>(wrote);
    }
    return file;
}

Result<std::vector<nbd::CarriedClient>> clients_in(int file) {
    struct stat status{};
    if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode) ||
        static_cast<u64>(status.st_size) > carried_file_bytes_max) {
        return fail(EBADMSG,
                    "what the old server says of its clients is no file; detach and attach");
    }
    std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
    for (std::size_t done = 0; done < bytes.size();) {
        const ssize_t got =
            ::pread(file, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            return fail(EBADMSG,
                        "what the old server says of its clients is cut short; detach and attach");
        }
        done += static_cast<std::size_t>(got);
    }
    return nbd::decode_carried(bytes);
}

json facts_of(const Bequest& bequest, std::size_t files) {
    json listeners = json::array();
    for (const Bequest::Listener& listener : bequest.listeners) {
        if (!listener.file) {
            listeners.push_back(json::object());
            continue;
        }
        listeners.push_back({{"name", listener.file->name},
                             {"device", listener.file->device},
                             {"inode", listener.file->inode}});
    }
    return {{"format", hand_over_format},
            {"files", files},
            {"image_lock", bequest.image_lock >= 0},
            {"listeners", listeners},
            {"accepted", bequest.counts.accepted},
            {"handshakes_failed", bequest.counts.handshakes_failed},
            {"broken", bequest.counts.broken},
            {"held_since_ns", bequest.held_since_ns}};
}

// In the order in which Files takes them.
std::vector<int> files_of(const Bequest& bequest, const UniqueFd& clients) {
    std::vector<int> files = {bequest.name_lock, bequest.request_mark};
    if (bequest.image_lock >= 0) files.push_back(bequest.image_lock);
    for (const Bequest::Listener& listener : bequest.listeners) {
        files.push_back(listener.socket);
        if (listener.file) files.push_back(listener.file->directory);
    }
    files.push_back(clients.get());
    for (const nbd::Service::Held& client : bequest.clients) files.push_back(client.socket);
    return files;
}

Status wait_for_replacement(int socket) {
    const Deadline deadline(replacement_timeout_ms);
    for (;;) {
        pollfd poll_fd{socket, POLLIN, 0};
        const int ready = ::poll(&poll_fd, 1, deadline.poll_timeout_ms());
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return fail(ETIMEDOUT, "the next server does not say that it is ready");
        break;
    }
    std::array<char, 64> word{};
    const ssize_t length = ::recv(socket, word.data(), word.size(), MSG_DONTWAIT);
    if (length > 0 && std::string_view(word.data(), static_cast<std::size_t>(length)) == replaced) {
        return {};
    }
    return fail(EPIPE, "the next server has given up");
}

// One after another, with a look at whether there are any left.
class Files {
public:
    explicit Files(std::vector<UniqueFd> files) : files_(std::move(files)) {}
    UniqueFd take() {
        if (next_ < files_.size()) return std::move(files_[next_++]);
        ran_out_ = true;
        return {};
    }
    std::size_t left() const { return files_.size() - next_; }
    bool ran_out() const { return ran_out_; }

private:
    std::vector<UniqueFd> files_;
    std::size_t next_ = 0;
    bool ran_out_ = false;
};

std::vector<Listening> listeners_in(const json& facts, Files& files) {
    std::vector<Listening> listeners;
    const auto found = facts.find("listeners");
    if (found == facts.end() || !found->is_array()) return listeners;
    for (const json& entry : *found) {
        UniqueFd socket = files.take();
        if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string()) {
            listeners.emplace_back(std::move(socket));
            continue;
        }
        listeners.emplace_back(std::move(socket), files.take(),
                               Listening::File{.name = entry["name"].get<std::string>(),
                                               .device = number_in(entry, "device"),
                                               .inode = number_in(entry, "inode")});
    }
    return listeners;
}

}  // namespace

Status bequeath(const Question& question, const Bequest& bequest) {
    const int socket = question.client.get();
    const auto clients = file_of(bequest.clients);
    if (!clients) return std::unexpected(clients.error());
    const std::vector<int> files = files_of(bequest, *clients);
    answer(question, dump_json({{"hand_over", facts_of(bequest, files.size())}}));
    TRY(send_files(socket, files, Deadline(replacement_timeout_ms)));
    return wait_for_replacement(socket);
}

Result<Predecessor> Predecessor::find(const RuntimeDir& directory, const std::string& name) {
    auto conversation = Conversation::connect(directory.socket_path(name));
    if (!conversation) return std::unexpected(std::move(conversation).error());
    return Predecessor(std::move(*conversation));
}

Result<std::optional<Estate>> Predecessor::ask(bool force) {
    const json question = {{"verb", "upgrade"}, {"force", force}, {"format", hand_over_format}};
    TRY(conversation_.ask(dump_json(question)));
    const auto answer = conversation_.answer(Deadline(answer_timeout_of_old_ms));
    if (!answer) return std::unexpected(answer.error());
    const auto told = *answer ? parse_json(**answer) : std::nullopt;
    if (!told || !told->is_object()) {
        return fail(EIO, "its server ended without an answer; see ringloop list");
    }
    if (told->contains("error") && (*told)["error"].is_string()) {
        return fail(EBUSY, "{}", (*told)["error"].get<std::string>());
    }
    const auto facts = told->find("hand_over");
    if (facts == told->end()) return std::optional<Estate>();
    auto estate = receive(*facts);
    if (!estate) return std::unexpected(std::move(estate).error());
    return std::optional<Estate>(std::move(*estate));
}

Result<Estate> Predecessor::receive(const json& facts) const {
    if (!facts.is_object() || number_in(facts, "format") != hand_over_format) {
        return fail(EPROTONOSUPPORT,
                    "its server hands over in a form that this ringloop does not "
                    "know; detach and attach, or upgrade by a newer ringloop");
    }
    auto received = receive_files(conversation_.socket(), number_in(facts, "files"),
                                  Deadline(replacement_timeout_ms));
    if (!received) return std::unexpected(std::move(received).error());
    Files files(std::move(*received));
    Estate estate;
    estate.name_lock = files.take();
    estate.request_mark = files.take();
    if (facts.contains("image_lock") && facts["image_lock"] == true) {
        estate.image_lock = files.take();
    }
    estate.listeners = listeners_in(facts, files);
    const UniqueFd carried = files.take();
    auto clients = clients_in(carried.get());
    if (!clients) return std::unexpected(std::move(clients).error());
    for (nbd::CarriedClient& client : *clients) {
        estate.clients.push_back({files.take(), std::move(client)});
    }
    if (files.ran_out() || files.left() > 0) {
        return fail(EBADMSG,
                    "its server hands over something else than it says; detach and attach");
    }
    estate.counts = {.accepted = number_in(facts, "accepted"),
                     .handshakes_failed = number_in(facts, "handshakes_failed"),
                     .broken = number_in(facts, "broken")};
    estate.held_since_ns = number_in(facts, "held_since_ns");
    return estate;
}

Status Predecessor::replace(bool said) {
    if (said) TRY(conversation_.ask(replaced));
    if (conversation_.wait_for_exit(Deadline(end_timeout_ms))) return {};
    return fail(ETIMEDOUT, "the old server does not end; see ringloop list");
}

}  // namespace ringloop::control
