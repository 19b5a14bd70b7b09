// The transmission phase on a real engine and a scripted kernel: the test is the client, the
// backing, and the socket that takes the replies.
#include "frontend/nbd/transmission.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>

#include "frontend/nbd/test_client.h"
#include "sim/device_under_test.h"

namespace ringloop::nbd {
namespace {

using namespace test;
using io::Operation;
using End = Transmission::End;

constexpr u16 flags = wire::has_flags | wire::send_flush | wire::send_fua | wire::send_trim |
                      wire::send_write_zeroes | wire::send_fast_zero | wire::send_df |
                      wire::send_cache;

struct Chunk {
    u16 type = 0;
    bool done = false;
    u64 cookie = 0;
    std::string data;
};

// Byte `offset` of the image.
char content(u64 offset) { return static_cast<char>('a' + offset / 4096 % 23); }

class TransmissionTest : public ::testing::Test {
protected:
    void begin(ReplyStyle style, Transmission::Options options = {.depth = 4, .large_slots = 8}) {
        const Agreement agreement = {.style = style,
                                     .flags = flags,
                                     .size_bytes = sim::DeviceUnderTest::image_bytes,
                                     .block_status = style != ReplyStyle::simple};
        changed_.run = [](engine::PassEnd&) {};
        transmission_ = Transmission::create(dut_.shard(), survey_, agreement, options, changed_);
        ASSERT_NE(transmission_, nullptr);
    }

    static Script request(u16 type, u64 cookie, u64 offset, u32 length, u16 request_flags = 0) {
        return Script().put(wire::Request{.flags = request_flags,
                                          .type = type,
                                          .cookie = cookie,
                                          .offset = offset,
                                          .length = length});
    }

    std::size_t say(const Script& script) {
        const std::size_t taken = transmission_->consume(script.bytes());
        dut_.pass();
        return taken;
    }

    // Reads deliver the image's content, whatever else succeeds in full.
    void complete(std::size_t index, i32 error = 0) {
        const io::Completion& pending = *dut_.kernel.pending[index];
        const Operation& operation = pending.operation;
        u64 offset = operation.offset;
        if (operation.code == Operation::Code::read) {
            fill(operation.data, operation.length, offset);
        } else if (operation.code == Operation::Code::readv) {
            for (u32 i = 0; i < operation.vector_count; ++i) {
                const iovec& vector = operation.vectors[i];
                fill(static_cast<std::byte*>(vector.iov_base), vector.iov_len, offset);
                offset += vector.iov_len;
            }
        }
        const bool moves = operation.code <= Operation::Code::writev;
        dut_.kernel.complete(index, error   ? -error
                                    : moves ? static_cast<i32>(operation.length)
                                            : 0);
        dut_.pass();
    }
    void complete_all() {
        while (!dut_.kernel.pending.empty()) complete(0);
    }

    void fill(std::byte* data, u64 length, u64 offset) const {
        for (u64 i = 0; i < length; ++i) {
            data[i] = all_zero_ ? std::byte{0} : static_cast<std::byte>(content(offset + i));
        }
    }

    // Takes one reply as the socket would; false when there is none.
    bool take_one() {
        Slot* slot = transmission_->outgoing();
        if (!slot) return false;
        for (u32 i = 0; i < slot->fragment_count; ++i) {
            const Fragment& fragment = slot->fragments[i];
            append(slot->head.data() + fragment.head_begin, fragment.head_bytes);
            append(slot->buffer + fragment.data_begin, fragment.data_bytes);
        }
        for (Slot* piece = slot->collected; piece; piece = piece->link) {
            append(piece->buffer, piece->range.length);
        }
        transmission_->sent(*slot);
        dut_.pass();
        return true;
    }
    void take_all() {
        while (take_one()) {
        }
    }
    // Until nothing moves any more.
    void settle() {
        do {
            complete_all();
            take_all();
        } while (!dut_.kernel.pending.empty());
    }
    void append(const std::byte* data, u64 bytes) {
        output_.append(reinterpret_cast<const char*>(data), bytes);
    }

    // The structured replies in output_.
    std::vector<Chunk> chunks() {
        std::vector<Chunk> found;
        Reader reader(std::as_bytes(std::span(output_)));
        for (wire::StructuredReply head; reader.take(head);) {
            EXPECT_EQ(head.magic, wire::structured_reply_magic);
            std::string_view data;
            EXPECT_TRUE(reader.take_text(head.length, data));
            found.push_back({head.type, (head.flags & wire::reply_flag_done) != 0, head.cookie,
                             std::string(data)});
        }
        EXPECT_EQ(reader.left(), 0u);
        output_.clear();
        return found;
    }
    wire::SimpleReply simple_reply() {
        Reader reader(std::as_bytes(std::span(output_)));
        wire::SimpleReply reply;
        EXPECT_TRUE(reader.take(reply));
        output_.erase(0, sizeof reply);
        return reply;
    }
    // The data of a read that came in chunks, in the order of its offsets.
    static std::string assembled(const std::vector<Chunk>& chunks) {
        std::map<u64, std::string> parts;
        for (const Chunk& chunk : chunks) {
            Reader reader(std::as_bytes(std::span(chunk.data)));
            if (chunk.type == wire::chunk_offset_data) {
                wire::OffsetData head;
                EXPECT_TRUE(reader.take(head));
                parts[head.offset] = chunk.data.substr(sizeof head);
            } else {
                wire::OffsetHole head;
                EXPECT_EQ(chunk.type, wire::chunk_offset_hole);
                EXPECT_TRUE(reader.take(head));
                parts[head.offset] = std::string(head.length, '\0');
            }
        }
        std::string all;
        for (auto& [offset, data] : parts) all += data;
        return all;
    }
    std::string expected(u64 offset, u64 length) const {
        std::string text(length, '\0');
        fill(reinterpret_cast<std::byte*>(text.data()), length, offset);
        return text;
    }

    void TearDown() override {
        transmission_->abandon();
        complete_all();
        EXPECT_TRUE(transmission_->idle());
    }

    bool all_zero_ = false;
    sim::DeviceUnderTest dut_{{.byte_granular = true}};
    engine::Survey survey_{dut_.device().backing()};
    engine::PassEnd changed_;
    std::string output_;
    std::unique_ptr<Transmission> transmission_;
};

TEST_F(TransmissionTest, AReadIsAnsweredWithItsData) {
    begin(ReplyStyle::simple);
    say(request(wire::command_read, 7, 100, 5000));
    settle();
    const wire::SimpleReply reply = simple_reply();
    EXPECT_EQ(reply.error, 0u);
    EXPECT_EQ(reply.cookie, 7u);
    EXPECT_EQ(output_, expected(100, 5000));
}

TEST_F(TransmissionTest, AnErrorIsToldInsteadOfData) {
    begin(ReplyStyle::simple);
    say(request(wire::command_read, 7, 0, 4096));
    complete(0, EIO);
    take_all();
    EXPECT_EQ(simple_reply().error, static_cast<u32>(wire::Error::eio));
    EXPECT_EQ(output_, "");
}

TEST_F(TransmissionTest, AWholeLongReadIsOneReplyWithoutChunks) {
    begin(ReplyStyle::simple);
    constexpr u32 length = 5 * piece_bytes_max + 1234;
    say(request(wire::command_read, 7, 4096, length));
    EXPECT_FALSE(take_one());
    settle();
    EXPECT_EQ(simple_reply().error, 0u);
    EXPECT_TRUE(output_ == expected(4096, length));
}

TEST_F(TransmissionTest, AWholeLongReadThatFailsInPartSendsNoData) {
    begin(ReplyStyle::simple);
    say(request(wire::command_read, 7, 0, 8 * piece_bytes_max));
    complete(0, EIO);  // several pieces in one operation: each goes again by itself
    while (!dut_.kernel.pending.empty()) complete(0, dut_.kernel.pending.size() == 1 ? EIO : 0);
    take_all();
    EXPECT_EQ(simple_reply().error, static_cast<u32>(wire::Error::eio));
    EXPECT_EQ(output_, "");
}

TEST_F(TransmissionTest, AReadThatIsTooLongToBeHeldIsSentInOrder) {
    begin(ReplyStyle::simple);
    constexpr u32 length = 9 * piece_bytes_max;
    say(request(wire::command_read, 7, 0, length));
    complete(0);
    EXPECT_TRUE(take_one());
    // Nothing else may come between its parts.
    say(request(wire::command_flush, 8, 0, 0));
    for (std::size_t i = 0; i < dut_.kernel.pending.size(); ++i) {
        if (dut_.kernel.pending[i]->operation.code == Operation::Code::fdatasync) complete(i);
    }
    EXPECT_FALSE(take_one());
    settle();
    EXPECT_EQ(simple_reply().cookie, 7u);
    EXPECT_TRUE(output_.substr(0, length) == expected(0, length));
    output_.erase(0, length);
    EXPECT_EQ(simple_reply().cookie, 8u);
}

TEST_F(TransmissionTest, AnOrderedReadThatFailsOnTheWayEndsTheConnection) {
    begin(ReplyStyle::simple);
    say(request(wire::command_read, 7, 0, 9 * piece_bytes_max));
    complete(0);
    EXPECT_TRUE(take_one());
    complete(0, EIO);
    EXPECT_EQ(transmission_->end(), End::broken);
    EXPECT_FALSE(take_one());
}

TEST_F(TransmissionTest, ALongReadComesInChunksOfWhichOneIsTheLast) {
    begin(ReplyStyle::structured);
    constexpr u32 length = 20 * piece_bytes_max;
    say(request(wire::command_read, 7, 8192, length));
    settle();
    const std::vector<Chunk> found = chunks();
    ASSERT_FALSE(found.empty());
    for (const Chunk& chunk : found) EXPECT_EQ(chunk.done, &chunk == &found.back());
    EXPECT_TRUE(assembled(found) == expected(8192, length));
}

TEST_F(TransmissionTest, ALongReadThatFailsSaysWhereAndEnds) {
    begin(ReplyStyle::structured);
    say(request(wire::command_read, 7, 0, 20 * piece_bytes_max));
    complete(0);
    take_all();
    while (!dut_.kernel.pending.empty()) complete(0, EIO);
    take_all();
    const std::vector<Chunk> found = chunks();
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found.back().type, wire::chunk_error_offset);
    EXPECT_TRUE(found.back().done);
    EXPECT_EQ(std::ranges::count(found, true, &Chunk::done), 1);
}

TEST_F(TransmissionTest, AShortRequestOvertakesALongOne) {
    begin(ReplyStyle::structured);
    say(request(wire::command_read, 7, 0, 20 * piece_bytes_max));
    complete(0);
    say(request(wire::command_read, 8, 0, 4096));
    complete(dut_.kernel.pending.size() - 1);
    ASSERT_TRUE(take_one());
    EXPECT_EQ(chunks().front().cookie, 8u);
    settle();
    output_.clear();
}

TEST_F(TransmissionTest, ZeroesDoNotTravel) {
    begin(ReplyStyle::structured);
    all_zero_ = true;
    say(request(wire::command_read, 7, 0, 3 * piece_bytes_max));
    settle();
    EXPECT_LT(output_.size(), 1000u);
    const std::vector<Chunk> found = chunks();
    EXPECT_EQ(assembled(found), std::string(3 * piece_bytes_max, '\0'));
}

TEST_F(TransmissionTest, AnUnfragmentedReadIsOneChunkOfData) {
    begin(ReplyStyle::structured);
    all_zero_ = true;
    say(request(wire::command_read, 7, 0, 4 * piece_bytes_max, wire::flag_df));
    settle();
    const std::vector<Chunk> found = chunks();
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].type, wire::chunk_offset_data);
    EXPECT_EQ(found[0].data.size(), sizeof(wire::OffsetData) + 4 * piece_bytes_max);
}

TEST_F(TransmissionTest, AnUnfragmentedReadThatIsTooLongIsRefused) {
    begin(ReplyStyle::structured);
    say(request(wire::command_read, 7, 0, 9 * piece_bytes_max, wire::flag_df));
    settle();
    const std::vector<Chunk> found = chunks();
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].type, wire::chunk_error);
}

TEST_F(TransmissionTest, ALongWriteGoesPieceByPieceAndIsAnsweredOnce) {
    begin(ReplyStyle::simple);
    constexpr u32 length = 3 * piece_bytes_max;
    Script script = request(wire::command_write, 7, 0, length);
    script.fill(length, 'x');
    EXPECT_EQ(say(script), script.size());
    EXPECT_FALSE(take_one());
    settle();
    EXPECT_EQ(simple_reply().error, 0u);
    EXPECT_EQ(output_, "");
}

TEST_F(TransmissionTest, ALongDurableWriteIsSyncedBehindItsLastPiece) {
    begin(ReplyStyle::simple);
    constexpr u32 length = 3 * piece_bytes_max;
    Script script = request(wire::command_write, 7, 0, length, wire::flag_fua);
    script.fill(length, 'x');
    say(script);
    while (dut_.kernel.pending.front()->operation.code != Operation::Code::fdatasync) complete(0);
    EXPECT_EQ(dut_.kernel.pending.size(), 1u);
    EXPECT_FALSE(take_one());
    complete(0);
    take_all();
    EXPECT_EQ(simple_reply().error, 0u);
}

TEST_F(TransmissionTest, AWriteThatFailsInPartFails) {
    begin(ReplyStyle::simple);
    constexpr u32 length = 2 * piece_bytes_max;
    Script script = request(wire::command_write, 7, 0, length);
    script.fill(length, 'x');
    say(script);
    complete(0, ENOSPC);
    while (!dut_.kernel.pending.empty()) complete(0, dut_.kernel.pending.size() == 1 ? ENOSPC : 0);
    take_all();
    EXPECT_EQ(simple_reply().error, static_cast<u32>(wire::Error::enospc));
}

TEST_F(TransmissionTest, AClientWithMoreRequestsThanSlotsWaits) {
    begin(ReplyStyle::simple);
    Script script;
    for (u64 i = 0; i < 6; ++i) {
        script.put(wire::Request{
            .type = wire::command_read, .cookie = i, .offset = i * 65536, .length = 512});
    }
    EXPECT_EQ(say(script), 4 * sizeof(wire::Request));
    EXPECT_FALSE(transmission_->wants_input());
    complete_all();
    take_all();
    EXPECT_EQ(transmission_->consume(script.bytes().subspan(4 * sizeof(wire::Request))),
              2 * sizeof(wire::Request));
    dut_.pass();
    settle();
    EXPECT_TRUE(transmission_->idle());
}

TEST_F(TransmissionTest, AStoppingServerRefusesWhatComesAndTakesItsPayload) {
    begin(ReplyStyle::simple);
    say(request(wire::command_read, 1, 0, 4096));
    transmission_->shutdown_start();
    Script script = request(wire::command_write, 2, 0, 40000);
    script.fill(40000, 'x').text(request(wire::command_flush, 3, 0, 0).str());
    EXPECT_EQ(say(script), script.size());
    settle();
    constexpr auto shutdown = static_cast<u32>(wire::Error::eshutdown);
    EXPECT_EQ(simple_reply().error, shutdown);
    EXPECT_EQ(simple_reply().error, shutdown);
    EXPECT_EQ(simple_reply().error, 0u);
}

TEST_F(TransmissionTest, AWriteWhoseRestNeverComesIsDropped) {
    begin(ReplyStyle::simple);
    Script script = request(wire::command_write, 7, 0, 2 * piece_bytes_max);
    script.fill(piece_bytes_max + 10, 'x');
    say(script);
    transmission_->input_end();
    complete_all();
    EXPECT_FALSE(take_one());
    EXPECT_TRUE(transmission_->idle());
}

TEST_F(TransmissionTest, AnAbandonedConnectionIsIdleOnceTheEngineIs) {
    begin(ReplyStyle::structured);
    say(request(wire::command_read, 1, 0, 12 * piece_bytes_max));
    say(request(wire::command_read, 2, 0, 12 * piece_bytes_max));
    say(request(wire::command_read, 3, 0, 4096));
    complete(0);
    transmission_->abandon();
    EXPECT_FALSE(transmission_->idle());
    EXPECT_FALSE(take_one());
    complete_all();
    EXPECT_TRUE(transmission_->idle());
}

// What waits for room must not land on what the client writes when it has come again.
TEST_F(TransmissionTest, AClientThatHasHungUpWaitsForNoRoom) {
    dut_.device().set_on_error(engine::OnError::pause);
    begin(ReplyStyle::simple);
    say(request(wire::command_write, 7, 0, 4096).text(std::string(4096, 'x')));
    while (dut_.device().paused().requests == 0) complete(0, ENOSPC);
    EXPECT_FALSE(take_one());
    transmission_->input_end();
    dut_.pass();
    ASSERT_TRUE(take_one());
    EXPECT_EQ(simple_reply().error, static_cast<u32>(wire::Error::enospc));
    EXPECT_TRUE(transmission_->idle());
    EXPECT_EQ(dut_.device().paused().requests, 0u);
    complete_all();
}

TEST_F(TransmissionTest, AHintThatTheImageCannotTakeSucceeds) {
    begin(ReplyStyle::simple);
    say(request(wire::command_trim, 7, 0, 4096));
    while (!dut_.kernel.pending.empty()) complete(0, EOPNOTSUPP);
    take_all();
    EXPECT_EQ(simple_reply().error, 0u);
}

}  // namespace
}  // namespace ringloop::nbd
