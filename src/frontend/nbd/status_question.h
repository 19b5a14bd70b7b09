// The one question about extents that a connection has under way. Written by the survey's thread
// between ask and its answer, by the shard's thread otherwise.
#pragma once

#include <array>
#include <span>

#include "engine/survey.h"
#include "frontend/nbd/transmission.h"

namespace ringloop::nbd {

struct Transmission::StatusQuestion : engine::Survey::Question {
    Transmission* transmission = nullptr;
    Command command;
    bool asked = false;
    std::span<const Extent> answer;
    std::array<Extent, extents_max> extents;
};

}  // namespace ringloop::nbd
