// What the tests of the codec say as a client, and how they listen: whole sessions, each of them
// replayed cut at every byte, because a stream has no messages.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "frontend/nbd/negotiate.h"

namespace ringloop::nbd::test {

namespace wire = abi::nbd;

class Script {
public:
    Script() = default;
    explicit Script(std::string_view text) : bytes_(text) {}

    template <typename T>
    Script& put(const T& wire_structure) {
        bytes_.append(reinterpret_cast<const char*>(&wire_structure), sizeof(T));
        return *this;
    }
    Script& text(std::string_view text) {
        bytes_ += text;
        return *this;
    }
    Script& fill(std::size_t bytes, char byte) {
        bytes_.append(bytes, byte);
        return *this;
    }
    Script& option(u32 option, const Script& data = {}) {
        put(wire::OptionHeader{.option = option, .length = static_cast<u32>(data.size())});
        return text(data.bytes_);
    }
    const std::string& str() const { return bytes_; }
    std::size_t size() const { return bytes_.size(); }
    Bytes bytes() const { return std::as_bytes(std::span(bytes_)); }

private:
    std::string bytes_;
};

inline Script hello(u32 flags = wire::handshake_fixed_newstyle | wire::handshake_no_zeroes) {
    return Script().put(wire::ClientFlags{.flags = flags});
}

// Data of INFO and GO.
inline Script choose(std::string_view name, std::initializer_list<u16> infos = {}) {
    Script data;
    data.put(u32be{static_cast<u32>(name.size())}).text(name);
    data.put(u16be{static_cast<u16>(infos.size())});
    for (const u16 info : infos) data.put(u16be{info});
    return data;
}

// Data of LIST_META_CONTEXT and SET_META_CONTEXT.
inline Script query(std::string_view name, std::initializer_list<std::string_view> queries) {
    Script data;
    data.put(u32be{static_cast<u32>(name.size())}).text(name);
    data.put(u32be{static_cast<u32>(queries.size())});
    for (const std::string_view text : queries) {
        data.put(u32be{static_cast<u32>(text.size())}).text(text);
    }
    return data;
}

// Every place to cut a stream at; of a long one, every place near its ends and some between.
inline std::vector<std::size_t> cuts_of(std::size_t size) {
    constexpr std::size_t edge = 2048;
    std::vector<std::size_t> cuts;
    for (std::size_t at = 0; at <= size; ++at) {
        if (at <= edge || at + edge / 8 >= size || at % 4099 == 0) cuts.push_back(at);
    }
    return cuts;
}

struct Reply {
    u32 option = 0;
    u32 type = 0;
    std::string data;
};

// What came of a handshake.
struct Handshake {
    std::string output;
    std::vector<Negotiation::Event> events;  // but need_input and need_room
    Agreement agreement;
    std::string_view reason;
    std::size_t left = 0;  // bytes of the script that were not consumed

    bool ended_with(Negotiation::Event event) const {
        return !events.empty() && events.back() == event;
    }
    // Of the options, in their order; what is behind the greeting has to be nothing else.
    std::vector<Reply> replies() const {
        std::vector<Reply> found;
        Reader reader(std::as_bytes(std::span(output)).subspan(sizeof(wire::Greeting)));
        for (wire::OptionReply head; reader.take(head);) {
            std::string_view data;
            EXPECT_EQ(head.magic, wire::option_reply_magic);
            if (head.magic != wire::option_reply_magic) break;
            EXPECT_TRUE(reader.take_text(head.length, data));
            found.push_back({head.option, head.type, std::string(data)});
        }
        EXPECT_EQ(reader.left(), 0u);
        return found;
    }
    std::vector<u32> types() const {
        std::vector<u32> found;
        for (const Reply& reply : replies()) found.push_back(reply.type);
        return found;
    }
};

// Plays one side of the pipe. The output has room for one reply and is emptied only when there is
// none left, or after each call.
class Server {
public:
    Server(const Negotiation::Options& options, bool is_read_late)
        : negotiation_(options), is_read_late_(is_read_late) {
        receive({});
    }

    void receive(Bytes input) {
        for (;;) {
            const Negotiation::Progress progress = negotiation_.consume(input, output_);
            EXPECT_LE(progress.consumed, input.size());
            input = input.subspan(progress.consumed);
            const bool is_full = progress.event == Negotiation::Event::need_room;
            if (is_full || !is_read_late_) read_output();
            if (is_full) continue;
            last_ = progress.event;
            const bool wants_input = progress.event == Negotiation::Event::need_input;
            EXPECT_TRUE(!wants_input || input.empty());
            if (!wants_input &&
                (result_.events.empty() || result_.events.back() != progress.event)) {
                result_.events.push_back(progress.event);
            }
            result_.left += input.size();
            return;
        }
    }
    void start_tls_when_told() {
        if (last_ == Negotiation::Event::start_tls) negotiation_.tls_started();
        last_ = Negotiation::Event::need_input;
    }
    Handshake finish() {
        read_output();
        result_.agreement = negotiation_.agreement();
        result_.reason = negotiation_.reason();
        return result_;
    }
    Negotiation& negotiation() { return negotiation_; }

private:
    void read_output() {
        const Bytes bytes = output_.pending();
        result_.output.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        output_.take(bytes.size());
    }

    Negotiation negotiation_;
    bool is_read_late_;
    std::vector<std::byte> storage_ = std::vector<std::byte>(negotiation_output_bytes_min);
    OutputBuffer output_{storage_};
    Negotiation::Event last_ = Negotiation::Event::need_input;
    Handshake result_;
};

// Each script is what the client sends before, and after, one more start of TLS.
inline Handshake shake_hands_cut(const Negotiation::Options& options,
                                 const std::vector<Script>& scripts, std::size_t cut, bool late) {
    Server server(options, late);
    for (std::size_t i = 0; i < scripts.size(); ++i) {
        if (i > 0) server.start_tls_when_told();
        const Bytes bytes = scripts[i].bytes();
        const std::size_t here = std::min(cut, bytes.size());
        server.receive(bytes.first(here));
        server.receive(bytes.subspan(here));
    }
    return server.finish();
}

inline void expect_same(const Handshake& one, const Handshake& other, std::size_t cut) {
    ASSERT_EQ(one.output, other.output) << "cut at " << cut;
    ASSERT_EQ(one.events, other.events) << "cut at " << cut;
    ASSERT_EQ(one.reason, other.reason) << "cut at " << cut;
    ASSERT_EQ(one.left, other.left) << "cut at " << cut;
}

inline Handshake shake_hands(const Negotiation::Options& options,
                             const std::vector<Script>& scripts) {
    std::size_t longest = 0;
    for (const Script& script : scripts) longest = std::max(longest, script.size());
    const Handshake whole = shake_hands_cut(options, scripts, longest, false);
    for (const std::size_t cut : cuts_of(longest)) {
        expect_same(whole, shake_hands_cut(options, scripts, cut, cut % 2 == 1), cut);
        if (testing::Test::HasFatalFailure()) break;
    }
    Server server(options, true);
    for (std::size_t i = 0; i < scripts.size(); ++i) {
        if (i > 0) server.start_tls_when_told();
        const Bytes bytes = scripts[i].bytes();
        for (std::size_t at = 0; at < bytes.size(); ++at) server.receive(bytes.subspan(at, 1));
    }
    const Handshake slow = server.finish();
    EXPECT_EQ(whole.output, slow.output);
    EXPECT_EQ(whole.events, slow.events);
    return whole;
}

inline Handshake shake_hands(const Negotiation::Options& options, const Script& script) {
    return shake_hands(options, std::vector<Script>{script});
}

}  // namespace ringloop::nbd::test
