// One server: the steps from an image to a device (server_start.cc), what it answers while the
// device lives, and the way back (server.cc). Control thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "control/answers.h"
#include "control/attention.h"
#include "control/control_socket.h"
#include "control/hand_over.h"
#include "control/lanes.h"
#include "control/metrics_server.h"
#include "control/ready.h"
#include "control/runtime_dir.h"
#include "control/sandbox.h"
#include "control/server.h"
#include "control/shard_threads.h"
#include "control/signals.h"
#include "control/socket_transport.h"
#include "control/transports.h"
#include "control/upkeep_change.h"

namespace ringloop::control {

class Server {
public:
    Server(const ServeRequest& request, Signals signals, Attention attention, ReadyPipe ready,
           RuntimeDir directory)
        : request_(request),
          signals_(std::move(signals)),
          attention_(std::move(attention)),
          ready_(std::move(ready)),
          directory_(std::move(directory)) {}

    int run() noexcept;

private:
    Status start();
    Status take_inherited();
    Status choose_transport();
    Status claim_name();
    Status claim_socket_name();
    Status claim_dead_device();
    Status find_predecessor();
    Status take_estate();
    Status end_predecessor(bool replaced);
    Status replace_predecessor();
    void adopt_state();
    std::string about_device(const std::string& message) const;
    Status open_image();
    Status open_backing();
    Status bind_sockets();
    Status read_service_settings();
    Status listen_for_metrics();
    Status create_device();
    Status create_block_device();
    bool is_unprivileged() const;
    Status announce_device(const std::string& path);
    Status claim_own_name(const std::string& path);
    std::optional<DeviceState::Nbd> nbd_state() const;
    Status prepare_sandbox();
    Status watch_others();
    Status start_shards();
    Status bring_up();
    std::string ready_line() const;
    Status listen_for_questions();
    Status close_sandbox();
    Status announce();
    Status check_wanted();

    Status serve_until_told();
    // {"verb": "upgrade", "force": false, "format": 1}; without a format it is an older ringloop
    // that asks.
    struct UpgradeQuestion {
        bool force = false;
        std::optional<u32> format{};  // 0: none that we know
    };
    static std::optional<UpgradeQuestion> wants_upgrade(std::string_view question);
    Status may_hand_over(const UpgradeQuestion& wanted, pid_t next) const;
    Status sync_for_next();
    Status hand_over(const Question& question, const UpgradeQuestion& wanted);
    Bequest bequest(u64 held_since_ns);
    bool upkeep_ends_it();
    void follow_image_size();
    void end_waiting();
    void flush_users() const;
    LiveDevice live_device();
    Status attend_to_others();

    Status take_down();
    [[noreturn]] void give_up(Error error);
    int end(const Status& ended);

    bool recovering() const { return !request_.recover_name.empty(); }
    bool sockets_alone() const { return options_.transport == TransportChoice::socket; }
    bool background() const { return request_.ready_fd.has_value(); }
    Status start_log(const std::string& name) const;

    const ServeRequest& request_;
    Signals signals_;
    Attention attention_;
    ReadyPipe ready_;
    RuntimeDir directory_;

    // In the order in which start() makes them; take_down() goes backwards.
    DeviceOptions options_;
    std::string note_;  // which transport was chosen, where that needs saying
    std::vector<Inherited> inherited_;
    std::optional<NameLock> lock_;
    std::unique_ptr<backing::Backing> backing_;
    std::unique_ptr<SocketTransport> sockets_;  // until transports_ has it
    const SocketTransport* listening_ = nullptr;
    std::optional<Predecessor> predecessor_;  // until it is replaced
    std::optional<Estate> estate_;            // what it gave, as far as that was not taken up
    u64 pause_us_ = 0;                        // for which requests waited then
    Hardening hardening_;
    std::vector<int> socket_folders_;
    std::optional<engine::Device> device_;
    Lanes lanes_;
    std::optional<ServiceSettings> service_settings_;
    Transports transports_;
    UniqueFd request_mark_;
    ShardThreads shards_;
    std::string backend_identifier_;
    DeviceState state_;
    Sandbox sandbox_;
    std::unique_ptr<Upkeep> upkeep_;
    UniqueFd others_;           // readable when something else than a question waits
    std::string size_trouble_;  // why the image's size was not taken, last
    std::optional<ControlSocket> socket_;
    std::unique_ptr<MetricsServer> metrics_;  // with --metrics
    std::string metrics_shortcoming_;         // why there are none though they were asked for
    std::optional<Question> stopper_;         // waits to hear how the end went
    bool live_ = false;
    Status started_;  // why it never became ready, if so
};

}  // namespace ringloop::control
