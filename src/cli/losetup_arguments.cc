#include "cli/losetup_arguments.h"

#include <fmt/format.h>
#include <getopt.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>

#include "base/say.h"
#include "base/size.h"
#include "cli/output.h"

namespace ringloop::cli {
namespace {

using Action = LosetupCommand::Action;

constexpr const char* exclusive_text =
    "mutually exclusive arguments: --detach-all --all --set-capacity --detach --find --associated";
constexpr const char* setup_only_text =
    "the options --{sizelimit,partscan,read-only,show} are allowed during loop device setup only";
constexpr const char* offset_setup_only_text = "the option --offset is not allowed in this context";

enum Long : int {
    opt_sizelimit = 256,
    opt_show,
    opt_raw,
    opt_direct_io,
    opt_output_all,
    opt_ref,
    opt_remove
};

constexpr std::array long_options = {
    option{"all", no_argument, nullptr, 'a'},
    option{"set-capacity", required_argument, nullptr, 'c'},
    option{"detach", required_argument, nullptr, 'd'},
    option{"detach-all", no_argument, nullptr, 'D'},
    option{"find", no_argument, nullptr, 'f'},
    option{"nooverlap", no_argument, nullptr, 'L'},
    option{"help", no_argument, nullptr, 'h'},
    option{"associated", required_argument, nullptr, 'j'},
    option{"json", no_argument, nullptr, 'J'},
    option{"list", no_argument, nullptr, 'l'},
    option{"sector-size", required_argument, nullptr, 'b'},
    option{"noheadings", no_argument, nullptr, 'n'},
    option{"offset", required_argument, nullptr, 'o'},
    option{"output", required_argument, nullptr, 'O'},
    option{"output-all", no_argument, nullptr, opt_output_all},
    option{"sizelimit", required_argument, nullptr, opt_sizelimit},
    option{"partscan", no_argument, nullptr, 'P'},
    option{"read-only", no_argument, nullptr, 'r'},
    option{"direct-io", optional_argument, nullptr, opt_direct_io},
    option{"raw", no_argument, nullptr, opt_raw},
    option{"show", no_argument, nullptr, opt_show},
    option{"loop-ref", required_argument, nullptr, opt_ref},
    option{"remove", required_argument, nullptr, opt_remove},
    option{"verbose", no_argument, nullptr, 'v'},
    option{"version", no_argument, nullptr, 'V'},
    option{nullptr, 0, nullptr, 0},
};

constexpr std::array default_columns = {"NAME", "SIZELIMIT", "OFFSET", "AUTOCLEAR",
                                        "RO",   "BACK-FILE", "DIO",    "LOG-SEC"};

bool same_word(std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, [](char x, char y) {
        return std::toupper(static_cast<unsigned char>(x)) ==
               std::toupper(static_cast<unsigned char>(y));
    });
}

// Gathers what the options say; their combination is looked at afterwards.
class Reader {
public:
    // False: refused, and said.
    bool take(int option, const char* value);
    std::expected<LosetupCommand, int> finish(std::vector<std::string> rest);

private:
    bool choose(Action action) {
        if (chosen_ && *chosen_ != action) return refuse(exclusive_text);
        chosen_ = action;
        return true;
    }
    bool refuse(const std::string& message) {
        losetup_fails(message);
        return false;
    }
    bool take_bytes(const char* what, const char* value, u64& bytes);
    bool take_columns(std::string_view names);
    bool take_direct_io(const char* value);
    std::expected<LosetupCommand, int> without_action(std::vector<std::string> rest);
    std::expected<LosetupCommand, int> allowed() const;

    LosetupCommand command_;
    std::optional<Action> chosen_;
    bool all_ = false;
    bool associated_ = false;
    bool has_sizelimit_ = false;
};

bool Reader::take_bytes(const char* what, const char* value, u64& bytes) {
    const auto size = parse_size(value, what);
    if (!size)
        return refuse(fmt::format("failed to parse {}: '{}': Invalid argument", what, value));
    bytes = *size;
    return true;
}

bool Reader::take_columns(std::string_view names) {
    command_.table = true;
    command_.columns.clear();
    if (names.starts_with('+')) {
        names.remove_prefix(1);
        command_.columns.assign(default_columns.begin(), default_columns.end());
    }
    while (!names.empty()) {
        const std::size_t end = std::min(names.find(','), names.size());
        const std::string_view name = names.substr(0, end);
        const auto found = std::ranges::find_if(
            losetup_columns(), [name](std::string_view column) { return same_word(name, column); });
        if (found == losetup_columns().end()) {
            return refuse(fmt::format("unknown column: {}", names));
        }
        command_.columns.push_back(*found);
        names.remove_prefix(std::min(end + 1, names.size()));
    }
    return true;
}

bool Reader::take_direct_io(const char* value) {
    const std::string_view text = value ? value : "on";
    if (text != "on" && text != "off") return refuse(fmt::format("argument error: '{}'", text));
    command_.direct_io = text == "on";
    return true;
}

bool Reader::take(int option, const char* value) {
    switch (option) {
        case 'a': all_ = true; return choose(Action::list);
        case 'c': command_.devices.assign(1, value); return choose(Action::set_capacity);
        case 'd': command_.devices.assign(1, value); return choose(Action::detach);
        case 'D': return choose(Action::detach_all);
        case 'f': return choose(Action::find);
        case 'j':
            associated_ = true;
            command_.file = value;
            return all_ ? refuse(exclusive_text) : choose(Action::list);
        case opt_remove: command_.devices.assign(1, value); return choose(Action::remove);
        case 'b': {
            u64 bytes = 0;
            if (!take_bytes("logical block size", value, bytes)) return false;
            // What does not fit is none either.
            command_.sector_size_bytes =
                static_cast<u32>(std::min<u64>(bytes, std::numeric_limits<u32>::max()));
            return true;
        }
        case 'o':
            command_.has_offset = true;
            return take_bytes("offset", value, command_.offset_bytes);
        case opt_sizelimit:
            has_sizelimit_ = true;
            return take_bytes("size", value, command_.sizelimit_bytes);
        case 'J': command_.json = command_.table = true; return true;
        case 'l': command_.table = true; return true;
        case 'n': command_.no_headings = true; return true;
        case 'O': return take_columns(value);
        case opt_output_all:
            command_.columns = losetup_columns();
            command_.table = true;
            return true;
        case opt_raw: command_.raw = command_.table = true; return true;
        case 'L': command_.no_overlap = true; return true;
        case 'P': command_.partscan = true; return true;
        case 'r': command_.read_only = true; return true;
        case opt_show: command_.show = true; return true;
        case opt_ref: command_.ref = value; return true;
        case opt_direct_io: return take_direct_io(value);
        case 'v': return true;
        case 'h': chosen_ = Action::help; return true;
        case 'V': chosen_ = Action::version; return true;
        default:  // getopt has said what is wrong
            say("Try 'losetup --help' for more information.\n");
            return false;
    }
}

// One word is a device to show or to change, two are a device and its image.
std::expected<LosetupCommand, int> Reader::without_action(std::vector<std::string> rest) {
    if (rest.size() > 2) return std::unexpected(losetup_fails("unexpected arguments"));
    if (rest.size() == 2) {
        command_.action = Action::attach;
        command_.file = rest[1];
        rest.pop_back();
    } else if (rest.size() == 1) {
        const bool changes = command_.direct_io || command_.sector_size_bytes != 0;
        command_.action = changes ? Action::change : Action::list;
    } else if (!command_.table) {
        return std::unexpected(losetup_fails("no loop device specified"));
    }
    command_.devices = std::move(rest);
    return allowed();
}

std::expected<LosetupCommand, int> Reader::allowed() const {
    const bool sets_up = command_.action == Action::attach ||
                         (command_.action == Action::find && !command_.file.empty());
    const bool setup_option = has_sizelimit_ || command_.partscan || command_.read_only ||
                              command_.show || command_.no_overlap || !command_.ref.empty();
    if (setup_option && !sets_up) return std::unexpected(losetup_fails(setup_only_text));
    if (command_.has_offset && !sets_up && !associated_) {
        return std::unexpected(losetup_fails(offset_setup_only_text));
    }
    return command_;
}

std::expected<LosetupCommand, int> Reader::finish(std::vector<std::string> rest) {
    if (command_.columns.empty()) {
        command_.columns.assign(default_columns.begin(), default_columns.end());
    }
    if (!chosen_) return without_action(std::move(rest));
    command_.action = *chosen_;
    switch (command_.action) {
        case Action::detach:
        case Action::remove:
            command_.devices.insert(command_.devices.end(), rest.begin(), rest.end());
            break;
        case Action::find:
            if (rest.size() > 1) return std::unexpected(losetup_fails("unexpected arguments"));
            if (!rest.empty()) command_.file = rest[0];
            break;
        case Action::help:
        case Action::version: return command_;
        default:
            if (!rest.empty()) return std::unexpected(losetup_fails("unexpected arguments"));
    }
    return allowed();
}

}  // namespace

const std::vector<std::string_view>& losetup_columns() {
    static const std::vector<std::string_view> columns = {
        "NAME",     "AUTOCLEAR", "BACK-FILE", "BACK-INO", "BACK-MAJ:MIN", "MAJ:MIN", "OFFSET",
        "PARTSCAN", "RO",        "SIZELIMIT", "DIO",      "LOG-SEC",      "REF"};
    return columns;
}

int losetup_fails(std::string_view message) {
    say(fmt::format("losetup: {}\n", one_line(message)));
    return 1;
}

std::expected<LosetupCommand, int> parse_losetup(const std::vector<std::string>& arguments) {
    std::vector<std::string> words = {"losetup"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    const int count = static_cast<int>(words.size());
    Reader reader;
    if (arguments.empty()) reader.take('l', nullptr);  // all devices in a table
    ::optind = 0;                                      // begins anew
    for (;;) {
        const int option = ::getopt_long(count, pointers.data(), "ac:d:Dfhj:Jlb:nLo:O:PrvV",
                                         long_options.data(), nullptr);
        if (option < 0) break;
        if (!reader.take(option, ::optarg)) return std::unexpected(1);
    }
    return reader.finish({pointers.begin() + ::optind, pointers.begin() + count});
}

}  // namespace ringloop::cli
