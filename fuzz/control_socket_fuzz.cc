// Whoever may open the control socket asks anything. The packet goes through a real socket, so that
// it must arrive as it was sent, and the answer too; the server behind it has no threads and no
// transports, but a state, an image and a folder. Whatever was asked, the answer is one object of
// JSON, the state stays one that can be written and read, and only `stop` has no answer yet.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "control/answers.h"
#include "control/control_socket.h"
#include "control/set.h"
#include "sim/fuzzing.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

// Made once: what one question changes, the next one finds. Two inputs in a row that set the same
// are what the second branch of each message is for.
class Server {
public:
    Server() {
        const std::string image = folder_ + "/image";
        const UniqueFd fd(::open(image.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        ASSERT(fd && ::ftruncate(fd.get(), mib) == 0);
        auto backing = backing::Backing::open({.path = image});
        auto directory = RuntimeDir::open_at(folder_ + "/run");
        auto socket = ControlSocket::listen(folder_ + "/socket");
        ASSERT(backing && directory && socket);
        backing_ = std::move(*backing);
        directory_.emplace(std::move(*directory));
        socket_.emplace(std::move(*socket));
        device_ = std::make_unique<engine::Device>(*backing_);
        state_ = {.name = "disk",
                  .device = "nbd+unix:///?socket=/s",
                  .transport = TransportChoice::socket,
                  .nbd = DeviceState::Nbd{},
                  .backing_file = image,
                  .size_bytes = mib,
                  .sector_size = 512,
                  .queues = 2,
                  .depth = 128,
                  .policy = std::string(engine::default_policy().name),
                  .pid = 1,
                  .phase = Phase::live,
                  .started_at = utc_now(),
                  .boot_id = "b"};
        device_->dispatch_by(dispatching_of(recover_options(state_), state_.queues));
        auto upkeep = Upkeep::create(state_);
        ASSERT(upkeep);
        upkeep_ = std::move(*upkeep);
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server() { std::filesystem::remove_all(folder_); }

    Question receive(std::string_view text, const std::optional<Conversation>& client) {
        ASSERT(client);
        auto question = socket_->next(never_.get());
        ASSERT(question && *question);
        ASSERT((*question)->text == text);
        return std::move(**question);
    }
    std::optional<std::string> answer_to(std::string_view question) {
        return control::answer_to(question, {.directory = *directory_,
                                             .hardening = hardening_,
                                             .backing = *backing_,
                                             .device = *device_,
                                             .transports = transports_,
                                             .shards = shards_,
                                             .upkeep = *upkeep_,
                                             .state = state_});
    }
    const std::string& folder() const { return folder_; }
    const DeviceState& state() const { return state_; }
    const RuntimeDir& directory() const { return *directory_; }

private:
    static std::string make_folder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "ringloop-fuzz-XXXXXX");
        ASSERT(::mkdtemp(pattern.data()) != nullptr);
        return pattern;
    }

    std::string folder_ = make_folder();
    UniqueFd never_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
    Hardening hardening_;
    std::unique_ptr<backing::Backing> backing_;
    std::optional<RuntimeDir> directory_;
    std::optional<ControlSocket> socket_;
    std::unique_ptr<engine::Device> device_;
    Transports transports_;
    ShardThreads shards_;
    std::unique_ptr<Upkeep> upkeep_;
    DeviceState state_;
};

// What a client of another version would make of the same bytes, as an answer and as a change.
void check_change_of(const json& object) {
    if (!object.is_object()) return;
    const auto change = parse_question(object);
    if (!change) return;
    ASSERT(check_change(*change));
    const auto again = parse_question(to_question(*change));
    ASSERT(again && *again == *change);
    if (const auto changed = lanes_changed_in(object, *change)) {
        ASSERT(!change->lane_idle_s || changed->lane_idle_s);
    }
}

void check_answer(std::string_view question, const std::optional<std::string>& text) {
    const auto asked = parse_json(question);
    if (asked) check_change_of(*asked);
    if (!text) {
        ASSERT(asked && asked->is_object() && (*asked)["verb"] == "stop");
        return;
    }
    ASSERT(!text->empty() && text->size() <= message_bytes_max);
    ASSERT(text->find('\n') == std::string::npos);
    const auto object = parse_json(*text);
    ASSERT(object && object->is_object());
    if (const auto error = object->find("error"); error != object->end()) {
        ASSERT(error->is_string() && !error->get<std::string>().empty());
    }
}

void play(std::string_view input) {
    static Server server;
    if (input.empty()) return;  // the end of a connection, not a question
    auto connected = Conversation::connect(server.folder() + "/socket");
    ASSERT(connected && connected->ask(input));
    std::optional<Conversation> client(std::move(*connected));

    const DeviceState before = server.state();
    std::optional<std::string> text;
    {
        const Question question = server.receive(input, client);
        text = server.answer_to(question.text);
        check_answer(input, text);
        if (text) answer(question, *text);
    }
    const auto arrived = client->answer(Deadline(1000));
    ASSERT(arrived && *arrived == text);

    if (before == server.state()) return;
    const auto written = server.directory().read_state(server.state().name);
    ASSERT(written && *written == server.state());
}

}  // namespace
}  // namespace ringloop::control

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments);
extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size);

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
    ringloop::sim::be_quiet(count, arguments);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size) {
    ringloop::control::play({reinterpret_cast<const char*>(data), size});
    return 0;
}
