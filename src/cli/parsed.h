// What the parser fills, for the files that tell it the verbs (arguments*.cc) and nobody else.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/set_options.h"

namespace CLI {
class App;
}

namespace ringloop::cli {

// What the parser stores as text until it is checked.
struct DeviceTexts {
    std::string offset = "0";
    std::string sizelimit = "0";
    std::optional<std::string> sector_size;
    std::string direct_io = "auto";
    std::string transport;  // not given: auto, or socket with --nbd alone
    bool ublk = false;
    std::optional<std::string> charge;
    std::optional<std::string> partscan{};
    std::string on_error = "report";
    std::optional<std::string> metrics;
    std::string sandbox = "on";
    std::vector<std::string> nbd;
    std::string tls = "off";
    std::string request_max = "32M";
    std::string inflight_max = "4M";

    bool operator==(const DeviceTexts&) const = default;
};

struct Texts {
    DeviceTexts attach;
    DeviceTexts serve;
    SetTexts set;
    int ready_fd = -1;
};

struct Parsed {
    Texts texts;
    Attach attach;
    Serve serve;
    Detach detach;
    List list;
    StatusOf status;
    Resize resize;
    Set set;
    Recover recover;
    Upgrade upgrade;
    Doctor doctor;
    Stats stats;
    Metrics metrics;
    Log log;
    Top top;
    Verify verify;
    Up up;
    Down down;
    UdevProperties udev_properties;
    SystemdGenerator systemd_generator;
};

// arguments_look.cc: stats, metrics, log, top, verify, and --metrics of attach and serve.
void add_look_verbs(CLI::App& app, Parsed& parsed);
void add_metrics_option(CLI::App& verb, DeviceTexts& texts);
// nullopt: another verb. An error is wrong usage.
Result<std::optional<Command>> look_command_of(const std::string& verb, const Parsed& parsed);

}  // namespace ringloop::cli
