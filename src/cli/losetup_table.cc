#include "cli/losetup_table.h"

#include <libsmartcols/libsmartcols.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <cerrno>
#include <memory>

#include "base/library.h"

namespace ringloop::cli {
namespace {

using control::DeviceState;

struct Smartcols {
    decltype(&::scols_new_table) new_table;
    decltype(&::scols_unref_table) unref_table;
    decltype(&::scols_table_new_column) new_column;
    decltype(&::scols_column_set_json_type) set_json_type;
    decltype(&::scols_table_new_line) new_line;
    decltype(&::scols_line_set_data) set_data;
    decltype(&::scols_table_set_name) set_name;
    decltype(&::scols_table_enable_json) enable_json;
    decltype(&::scols_table_enable_raw) enable_raw;
    decltype(&::scols_table_enable_noheadings) enable_noheadings;
    decltype(&::scols_print_table) print;
};

Result<Smartcols> load_smartcols() {
    static constexpr std::array symbols = {
        "scols_new_table",        "scols_unref_table",
        "scols_table_new_column", "scols_column_set_json_type",
        "scols_table_new_line",   "scols_line_set_data",
        "scols_table_set_name",   "scols_table_enable_json",
        "scols_table_enable_raw", "scols_table_enable_noheadings",
        "scols_print_table"};
    return load_library<Smartcols>(
        {"libsmartcols.so.1", "libsmartcols1", "use ringloop list, or losetup -a"}, symbols);
}

enum class Kind : u8 { text, number, flag };

Kind kind_of(std::string_view column) {
    for (const std::string_view flag : {"AUTOCLEAR", "PARTSCAN", "RO", "DIO"}) {
        if (column == flag) return Kind::flag;
    }
    for (const std::string_view number : {"BACK-INO", "OFFSET", "SIZELIMIT", "LOG-SEC"}) {
        if (column == number) return Kind::number;
    }
    return Kind::text;
}

// Wider ones than this share of the terminal are not needed; as losetup has them.
double width_of(std::string_view column) {
    if (column == "NAME") return 0.25;
    if (column == "BACK-FILE") return 0.3;
    if (column == "REF") return 0.1;
    return kind_of(column) == Kind::flag ? 1 : 5;
}

int json_type_of(Kind kind) {
    switch (kind) {
        case Kind::text: return SCOLS_JSON_STRING;
        case Kind::number: return SCOLS_JSON_NUMBER;
        case Kind::flag: return SCOLS_JSON_BOOLEAN;
    }
    return SCOLS_JSON_STRING;
}

std::string flag_text(bool flag) { return flag ? "1" : "0"; }

// As the kernel puts both into one number for its loop devices.
u64 device_number(dev_t device) {
    const u64 low = minor(device) & 0xff;
    return low | u64{major(device)} << 8 | u64{minor(device) & ~0xffU} << 12;
}

}  // namespace

std::optional<std::string> losetup_cell(std::string_view column, const DeviceState& state) {
    if (column == "NAME") return state.device;
    if (column == "BACK-FILE") return state.backing_file;
    if (column == "OFFSET") return fmt::format("{}", state.offset_bytes);
    if (column == "SIZELIMIT") return fmt::format("{}", state.sizelimit_bytes);
    if (column == "LOG-SEC") return fmt::format("{}", state.sector_size);
    if (column == "RO") return flag_text(state.read_only);
    if (column == "DIO") return flag_text(state.direct_io);
    if (column == "AUTOCLEAR") return flag_text(state.autoclear);
    if (column == "PARTSCAN") return flag_text(state.partscan);
    if (column == "REF") return state.ref;
    struct stat status{};
    const std::string& path = column == "MAJ:MIN" ? state.device : state.backing_file;
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    if (column == "BACK-INO") return fmt::format("{}", status.st_ino);
    const dev_t device = column == "MAJ:MIN" ? status.st_rdev : status.st_dev;
    return fmt::format("{}:{}", major(device), minor(device));
}

std::string losetup_line(const DeviceState& state) {
    struct stat status{};
    ::stat(state.backing_file.c_str(), &status);  // zeroes for a file that is gone
    std::string line = fmt::format("{}: [{:04}]:{} ({})", state.device,
                                   device_number(status.st_dev), status.st_ino, state.backing_file);
    if (state.offset_bytes != 0) line += fmt::format(", offset {}", state.offset_bytes);
    if (state.sizelimit_bytes != 0) line += fmt::format(", sizelimit {}", state.sizelimit_bytes);
    return line;
}

Status print_losetup_table(const LosetupCommand& command,
                           const std::vector<control::KnownDevice>& devices) {
    const auto library = load_smartcols();
    if (!library) return std::unexpected(library.error());
    const std::unique_ptr<libscols_table, decltype(library->unref_table)> table(
        library->new_table(), library->unref_table);
    if (!table) return fail(ENOMEM, "no memory for the list; free some");
    bool done = library->set_name(table.get(), "loopdevices") == 0 &&
                library->enable_json(table.get(), command.json) == 0 &&
                library->enable_raw(table.get(), command.raw) == 0 &&
                library->enable_noheadings(table.get(), command.no_headings) == 0;
    for (const std::string_view name : command.columns) {
        const Kind kind = kind_of(name);
        const bool right = kind != Kind::text;
        libscols_column* const column = library->new_column(
            table.get(), std::string(name).c_str(), width_of(name), right ? SCOLS_FL_RIGHT : 0);
        done = done && column && library->set_json_type(column, json_type_of(kind)) == 0;
    }
    for (const control::KnownDevice& device : devices) {
        libscols_line* const line = done ? library->new_line(table.get(), nullptr) : nullptr;
        done = line != nullptr;
        for (std::size_t i = 0; done && i < command.columns.size(); ++i) {
            const auto cell = losetup_cell(command.columns[i], device.state);
            if (cell) done = library->set_data(line, i, cell->c_str()) == 0;
        }
    }
    if (done && library->print(table.get()) == 0 && std::fflush(stdout) == 0) return {};
    return fail(EIO, "the list could not be printed; see where standard output goes");
}

}  // namespace ringloop::cli
