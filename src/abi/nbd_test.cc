// The numbers that the kernel's own header has are the numbers written down here.
#include "abi/nbd.h"

#include <gtest/gtest.h>
#include <linux/nbd.h>

#include <string_view>

namespace ringloop::abi::nbd {
namespace {

TEST(NbdAbi, RequestsAndSimpleRepliesAreTheKernelsOwn) {
    EXPECT_EQ(sizeof(Request), sizeof(nbd_request));
    EXPECT_EQ(offsetof(Request, cookie), offsetof(nbd_request, handle));
    EXPECT_EQ(offsetof(Request, length), offsetof(nbd_request, len));
    EXPECT_EQ(sizeof(SimpleReply), sizeof(nbd_reply));
    EXPECT_EQ(offsetof(SimpleReply, cookie), offsetof(nbd_reply, handle));
    EXPECT_EQ(request_magic, u32{NBD_REQUEST_MAGIC});
    EXPECT_EQ(simple_reply_magic, u32{NBD_REPLY_MAGIC});
}

TEST(NbdAbi, CommandsAreTheKernelsOwn) {
    EXPECT_EQ(command_read, u16{NBD_CMD_READ});
    EXPECT_EQ(command_write, u16{NBD_CMD_WRITE});
    EXPECT_EQ(command_disconnect, u16{NBD_CMD_DISC});
    EXPECT_EQ(command_flush, u16{NBD_CMD_FLUSH});
    EXPECT_EQ(command_trim, u16{NBD_CMD_TRIM});
}

TEST(NbdAbi, FlagsAreTheKernelsOwn) {
    EXPECT_EQ(has_flags, NBD_FLAG_HAS_FLAGS);
    EXPECT_EQ(read_only, NBD_FLAG_READ_ONLY);
    EXPECT_EQ(send_flush, NBD_FLAG_SEND_FLUSH);
    EXPECT_EQ(send_fua, NBD_FLAG_SEND_FUA);
    EXPECT_EQ(send_trim, NBD_FLAG_SEND_TRIM);
    EXPECT_EQ(can_multi_conn, NBD_FLAG_CAN_MULTI_CONN);
    // In the kernel's word the flags of a command stand above its type.
    EXPECT_EQ(u32{flag_fua} << 16, u32{NBD_CMD_FLAG_FUA});
}

TEST(NbdAbi, MagicNumbersSpellTheirNames) {
    const auto spelled = [](u64be magic) {
        return std::string(reinterpret_cast<const char*>(&magic), sizeof magic);
    };
    EXPECT_EQ(spelled(greeting_magic), "NBDMAGIC");
    EXPECT_EQ(spelled(option_magic), "IHAVEOPT");
}

}  // namespace
}  // namespace ringloop::abi::nbd
