#include "base/log.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace ringloop::log {
namespace {

constexpr std::size_t file_size_bytes_max = 1024 * 1024;

spdlog::level::level_enum level_of(Level level) {
    switch (level) {
        case Level::debug: return spdlog::level::debug;
        case Level::info: return spdlog::level::info;
        case Level::warning: return spdlog::level::warn;
        case Level::error: return spdlog::level::err;
    }
    return spdlog::level::err;
}

void install(std::shared_ptr<spdlog::logger> logger, Level lowest) {
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%l%$ %v", spdlog::pattern_time_type::utc);
    logger->set_level(level_of(lowest));
    logger->flush_on(spdlog::level::debug);
    spdlog::set_default_logger(std::move(logger));
}

}  // namespace

void to_stderr(Level lowest) {
    install(std::make_shared<spdlog::logger>("ringloop",
                                             std::make_shared<spdlog::sinks::stderr_sink_mt>()),
            lowest);
}

Status to_file(const std::string& path, Level lowest) {
    try {
        install(std::make_shared<spdlog::logger>(
                    "ringloop", std::make_shared<spdlog::sinks::rotating_file_sink_mt>(
                                    path, file_size_bytes_max, 1)),
                lowest);
    } catch (const spdlog::spdlog_ex& error) {
        return fail(EIO, "cannot write the log: {}; see that its folder can be written to",
                    error.what());
    }
    return {};
}

void write(Level level, const std::string& line) {
    static const bool ready = [] {
        if (spdlog::default_logger()->name().empty()) to_stderr(Level::info);
        return true;
    }();
    (void)ready;
    spdlog::log(level_of(level), line);
}

}  // namespace ringloop::log
