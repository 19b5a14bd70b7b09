#include "control/state.h"

#include <nlohmann/json.hpp>

#include <array>
#include <charconv>
#include <ctime>
#include <limits>

#include "control/dispatching.h"
#include "control/metrics_server.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

constexpr u32 version = 1;
constexpr std::size_t path_chars_max = 4096;
constexpr std::array phases = {Phase::starting, Phase::live, Phase::recovering, Phase::stopping};

// Reads typed fields and remembers the first one that is missing or wrong.
class Fields {
public:
    explicit Fields(const json& object) : object_(object) {}

    std::string text(const char* field, std::size_t chars_max) {
        const json* value = find(field);
        if (value && value->is_string()) {
            const auto& text = value->get_ref<const std::string&>();
            if (is_text(text, chars_max)) return text;
        }
        return refuse(field), std::string();
    }

    std::vector<std::string> texts(const char* field, std::size_t count_max,
                                   std::size_t chars_max) {
        std::vector<std::string> texts;
        const json* value = find(field);
        if (!value || !value->is_array() || value->size() > count_max) return refuse(field), texts;
        for (const json& item : *value) {
            if (!item.is_string() || !is_text(item.get_ref<const std::string&>(), chars_max)) {
                return refuse(field), texts;
            }
            texts.push_back(item.get<std::string>());
        }
        return texts;
    }

    u64 number(const char* field, u64 min, u64 max) {
        const json* value = find(field);
        if (value && value->is_number_unsigned()) {
            const u64 number = value->get<u64>();
            if (number >= min && number <= max) return number;
        }
        return refuse(field), u64{0};
    }

    u32 small(const char* field, u32 min, u32 max) {
        return static_cast<u32>(number(field, min, max));
    }

    bool flag(const char* field) {
        const json* value = find(field);
        if (value && value->is_boolean()) return value->get<bool>();
        return refuse(field), false;
    }

    bool has(const char* field) const { return object_.contains(field); }
    const json& at(const char* field) const { return object_.at(field); }
    void refuse(const char* field) {
        if (!wrong_) wrong_ = field;
    }
    const char* wrong() const { return wrong_; }

private:
    // A NUL would cut the text in the next system call.
    static bool is_text(const std::string& text, std::size_t chars_max) {
        return text.size() <= chars_max && text.find('\0') == std::string::npos;
    }
    const json* find(const char* field) const {
        const auto found = object_.find(field);
        return found == object_.end() ? nullptr : &*found;
    }

    const json& object_;
    const char* wrong_ = nullptr;
};

std::string to_hex(std::string_view bytes) {
    std::string hex;
    for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
    return hex;
}

std::optional<std::string> from_hex(std::string_view hex) {
    if (hex.size() % 2 != 0) return std::nullopt;
    std::string bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        u8 byte = 0;
        const char* pair = hex.data() + i;
        const auto [end, error] = std::from_chars(pair, pair + 2, byte, 16);
        if (error != std::errc{} || end != pair + 2 || byte == 0) return std::nullopt;
        bytes.push_back(static_cast<char>(byte));
    }
    return bytes;
}

// JSON is text and a path is bytes: one that is no UTF-8 is kept in a second field.
struct PathField {
    const char* name;
    const char* hex_name;
    std::string DeviceState::* path;
};
constexpr PathField backing_file_field = {"backing_file", "backing_file_hex",
                                          &DeviceState::backing_file};
constexpr PathField charge_field = {"charge", "charge_hex", &DeviceState::charge};
constexpr PathField ref_field = {"ref", "ref_hex", &DeviceState::ref};

std::string read_path(Fields& fields, const PathField& field) {
    const std::string readable = fields.text(field.name, path_chars_max);
    if (!fields.has(field.hex_name)) return readable;
    const auto bytes = from_hex(fields.text(field.hex_name, 2 * path_chars_max));
    if (!bytes) fields.refuse(field.hex_name);
    return bytes.value_or("");
}

std::optional<DeviceState::Nbd> read_nbd(Fields& fields) {
    if (!fields.has("nbd")) return std::nullopt;
    const json& object = fields.at("nbd");
    auto exported = parse_export_options(object);
    if (!exported) return fields.refuse("nbd"), std::nullopt;
    Fields inner(object);
    DeviceState::Nbd nbd{.exported = std::move(*exported),
                         .uris = inner.texts("uris", addresses_max, path_chars_max),
                         .backend_identifier = inner.text("backend_identifier", path_chars_max)};
    if (inner.wrong()) fields.refuse("nbd");
    return nbd;
}

// Servers of before there were policies wrote none.
void read_dispatching(Fields& fields, DeviceState& state) {
    const engine::Policy* policy = &engine::default_policy();
    if (fields.has("policy")) {
        const auto found = engine::find_policy(fields.text("policy", name_chars_max));
        if (!found) return fields.refuse("policy");
        policy = *found;
    }
    state.policy = policy->name;
    if (fields.has("workers_requested")) {
        state.workers_requested = fields.small("workers_requested", 1, engine::workers_max);
    }
}

// Servers of before there were lanes wrote none of it, and charged nobody else.
void read_charge(Fields& fields, DeviceState& state) {
    if (fields.has(charge_field.name)) {
        state.charge = read_path(fields, charge_field);
        if (!check_charge(state.charge)) fields.refuse(charge_field.name);
    }
    if (fields.has("lane_idle_s")) {
        state.lane_idle_s = fields.small("lane_idle_s", 1, lane_idle_max_s);
    }
}

// Servers of before there was a choice wrote none, and reported.
void read_on_error(Fields& fields, DeviceState& state) {
    if (fields.has("on_error")) {
        const auto on_error = parse_on_error(fields.text("on_error", name_chars_max));
        if (!on_error) fields.refuse("on_error");
        state.on_error = on_error.value_or(engine::OnError::report);
    }
    if (fields.has("stopped_reason")) state.stopped = fields.text("stopped_reason", path_chars_max);
    if (fields.has("paused_reason")) state.paused = fields.text("paused_reason", path_chars_max);
}

DeviceState read_fields(Fields& fields) {
    constexpr u64 any = std::numeric_limits<u64>::max();
    DeviceState state;
    state.name = fields.text("name", name_chars_max);
    state.device = fields.text("device", path_chars_max);
    state.backing_file = read_path(fields, backing_file_field);
    state.size_bytes = fields.number("size_bytes", 0, any);
    state.offset_bytes = fields.number("offset_bytes", 0, any);
    state.sizelimit_bytes = fields.number("sizelimit_bytes", 0, any);
    state.sector_size = fields.small("sector_size", 512, 65536);
    state.read_only = fields.flag("read_only");
    state.direct_io = fields.flag("direct_io");
    // Says why not, so beside direct I/O it says nothing.
    if (!state.direct_io && fields.has("direct_io_reason")) {
        state.direct_io_reason = fields.text("direct_io_reason", path_chars_max);
    }
    state.queues = fields.small("queues", 1, queues_max);
    state.depth = fields.small("depth", 1, depth_max);
    read_dispatching(fields, state);
    read_charge(fields, state);
    if (fields.has(ref_field.name)) state.ref = read_path(fields, ref_field);
    if (state.ref.size() > ref_bytes_max) fields.refuse(ref_field.name);
    if (fields.has("allow_overlap")) state.allow_overlap = fields.flag("allow_overlap");
    if (fields.has("autoclear")) state.autoclear = fields.flag("autoclear");
    if (fields.has("partscan")) state.partscan = fields.flag("partscan");
    if (fields.has("unprivileged")) state.unprivileged = fields.flag("unprivileged");
    if (fields.has("watch_size")) state.watch_size = fields.flag("watch_size");
    read_on_error(fields, state);
    if (fields.has("sandbox")) {
        const auto sandbox = parse_sandbox(fields.text("sandbox", name_chars_max));
        if (!sandbox) fields.refuse("sandbox");
        state.sandbox = sandbox.value_or(SandboxChoice::on);
    }
    if (fields.has("metrics")) {
        state.metrics = fields.text("metrics", name_chars_max);
        if (!parse_metrics_address(state.metrics)) fields.refuse("metrics");
    }
    if (fields.has("degraded_reason")) {
        state.degraded = fields.text("degraded_reason", path_chars_max);
    }
    if (fields.has("poisoned")) state.poisoned = fields.flag("poisoned");
    state.pid = static_cast<i32>(fields.number("pid", 1, std::numeric_limits<i32>::max()));
    state.started_at = fields.text("started_at", name_chars_max);
    state.boot_id = fields.text("boot_id", name_chars_max);

    const auto transport = parse_transport(fields.text("transport", name_chars_max));
    if (!transport) fields.refuse("transport");
    state.transport = transport.value_or(TransportChoice::ublk);
    if (state.transport == TransportChoice::automatic) fields.refuse("transport");
    state.nbd = read_nbd(fields);
    if (!state.nbd && state.transport != TransportChoice::ublk) fields.refuse("nbd");
    const auto direct = parse_direct_io(fields.text("direct_io_requested", name_chars_max));
    if (!direct) fields.refuse("direct_io_requested");
    state.direct_io_requested = direct.value_or(backing::DirectIo::automatic);
    const std::string word = fields.text("state", name_chars_max);
    bool known = false;
    for (const Phase phase : phases) {
        if (word != to_text(phase)) continue;
        state.phase = phase;
        known = true;
    }
    if (!known) fields.refuse("state");
    if (!is_plain_name(state.name)) fields.refuse("name");
    return state;
}

}  // namespace

std::string utc_now() { return utc_text(std::time(nullptr)); }

std::string utc_text(i64 since_1970_s) {
    const std::time_t now = since_1970_s;
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

DeviceOptions recover_options(const DeviceState& state) {
    return {.image = state.backing_file,
            .name = state.name,
            .transport = state.transport,
            .offset_bytes = state.offset_bytes,
            .sizelimit_bytes = state.sizelimit_bytes,
            .read_only = state.read_only,
            .sector_size_bytes = state.sector_size,
            .direct_io = state.direct_io_requested,
            .queues = state.queues,
            .depth = state.depth,
            .policy = state.policy,
            .workers = state.workers_requested,
            .charge = state.charge,
            .lane_idle_s = state.lane_idle_s,
            .ref = state.ref,
            .allow_overlap = state.allow_overlap,
            .autoclear = state.autoclear,
            .partscan = state.partscan,
            .watch_size = state.watch_size,
            .on_error = state.on_error,
            .metrics = state.metrics,
            .sandbox = state.sandbox,
            .exported = state.nbd ? state.nbd->exported : ExportOptions{}};
}

std::string transports_text(const DeviceState& state) {
    std::string text = to_text(state.transport);
    const bool listens = state.nbd && !state.nbd->exported.addresses.empty();
    if (listens && state.transport != TransportChoice::socket) text += "+socket";
    return text;
}

const char* to_text(Phase phase) {
    switch (phase) {
        case Phase::starting: return "starting";
        case Phase::live: return "live";
        case Phase::recovering: return "recovering";
        case Phase::stopping: return "stopping";
    }
    return "starting";
}

json to_json(const DeviceState& state, std::string_view status_word) {
    json object = {{"name", state.name},
                   {"device", state.device},
                   {"transport", to_text(state.transport)},
                   {"backing_file", state.backing_file},
                   {"size_bytes", state.size_bytes},
                   {"offset_bytes", state.offset_bytes},
                   {"sizelimit_bytes", state.sizelimit_bytes},
                   {"sector_size", state.sector_size},
                   {"read_only", state.read_only},
                   {"direct_io", state.direct_io},
                   {"direct_io_requested", to_text(state.direct_io_requested)},
                   {"queues", state.queues},
                   {"depth", state.depth},
                   {"policy", state.policy},
                   {"workers", workers_of(state)},
                   {"charge", state.charge},
                   {"lane_idle_s", state.lane_idle_s},
                   {"ref", state.ref},
                   {"allow_overlap", state.allow_overlap},
                   {"autoclear", state.autoclear},
                   {"partscan", state.partscan},
                   {"watch_size", state.watch_size},
                   {"on_error", to_text(state.on_error)},
                   {"pid", state.pid},
                   {"state", status_word},
                   {"started_at", state.started_at}};
    const auto add_trouble = [&object](const std::string& field, const std::string& reason) {
        if (reason.empty()) return;
        object[field] = true;
        object[field + "_reason"] = reason;
    };
    add_trouble("degraded", state.degraded);
    add_trouble("stopped", state.stopped);
    add_trouble("paused", state.paused);
    if (state.unprivileged) object["unprivileged"] = true;
    if (!state.direct_io) object["direct_io_reason"] = state.direct_io_reason;
    if (state.workers_requested) object["workers_requested"] = *state.workers_requested;
    object["sandbox"] = to_text(state.sandbox);
    if (!state.metrics.empty()) object["metrics"] = state.metrics;
    if (!state.nbd) return object;
    json nbd = to_json(state.nbd->exported);
    nbd["uris"] = state.nbd->uris;
    nbd["backend_identifier"] = state.nbd->backend_identifier;
    object["nbd"] = std::move(nbd);
    return object;
}

std::string to_file_text(const DeviceState& state) {
    json object = to_json(state, to_text(state.phase));
    object["version"] = version;
    object["boot_id"] = state.boot_id;
    if (state.poisoned) object["poisoned"] = true;
    const std::string text = dump_json(object, true) + "\n";
    const auto read_back = parse_json(text);
    for (const PathField& field : {backing_file_field, charge_field, ref_field}) {
        const std::string& path = state.*field.path;
        if (!read_back || (*read_back)[field.name] != path) object[field.hex_name] = to_hex(path);
    }
    return dump_json(object, true) + "\n";
}

Result<DeviceState> parse_state(std::string_view text, std::string_view source) {
    const auto object = parse_json(text);
    if (!object || !object->is_object()) return fail(EINVAL, "{}: not a state file", source);
    Fields fields(*object);
    const u64 found = fields.number("version", 0, std::numeric_limits<u32>::max());
    if (!fields.wrong() && found != version) {
        return fail(EINVAL, "{}: written by another version of ringloop (format {})", source,
                    found);
    }
    DeviceState state = read_fields(fields);
    if (fields.wrong()) return fail(EINVAL, "{}: bad field '{}'", source, fields.wrong());
    return state;
}

std::optional<json> parse_json(std::string_view text) {
    json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (value.is_discarded()) return std::nullopt;
    return value;
}

std::string dump_json(const json& value, bool pretty) {
    return value.dump(pretty ? 2 : -1, ' ', false, json::error_handler_t::replace);
}

}  // namespace ringloop::control
