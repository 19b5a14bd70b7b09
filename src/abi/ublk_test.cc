// The numbers that Debian's own header has, of Linux 6.1, are the numbers written down here.
#include "abi/ublk.h"

#include <gtest/gtest.h>
#include <linux/ioctl.h>
#include <linux/ublk_cmd.h>

namespace ringloop::abi::ublk {
namespace {

TEST(UblkAbi, StructuresAreAsLargeAsTheSystemHeadersAre) {
    EXPECT_EQ(sizeof(ControlCommand), sizeof(ublksrv_ctrl_cmd));
    EXPECT_EQ(sizeof(DeviceInfo), sizeof(ublksrv_ctrl_dev_info));
    EXPECT_EQ(sizeof(IoCommand), sizeof(ublksrv_io_cmd));
    EXPECT_EQ(sizeof(IoDescriptor), sizeof(ublksrv_io_desc));
    EXPECT_EQ(sizeof(BasicParams), sizeof(ublk_param_basic));
    EXPECT_EQ(sizeof(DiscardParams), sizeof(ublk_param_discard));
}

TEST(UblkAbi, FieldsLieWhereTheSystemHeadersHaveThem) {
    EXPECT_EQ(offsetof(ControlCommand, data), offsetof(ublksrv_ctrl_cmd, data));
    EXPECT_EQ(offsetof(DeviceInfo, server_pid), offsetof(ublksrv_ctrl_dev_info, ublksrv_pid));
    EXPECT_EQ(offsetof(DeviceInfo, flags), offsetof(ublksrv_ctrl_dev_info, flags));
    EXPECT_EQ(offsetof(IoCommand, address), offsetof(ublksrv_io_cmd, addr));
    EXPECT_EQ(offsetof(IoDescriptor, start_sector), offsetof(ublksrv_io_desc, start_sector));
    EXPECT_EQ(offsetof(BasicParams, sectors_max), offsetof(ublk_param_basic, max_sectors));
    EXPECT_EQ(offsetof(BasicParams, device_sectors), offsetof(ublk_param_basic, dev_sectors));
    EXPECT_EQ(offsetof(DiscardParams, segments_max),
              offsetof(ublk_param_discard, max_discard_segments));
    EXPECT_EQ(offsetof(Params, basic), offsetof(ublk_params, basic));
    EXPECT_EQ(offsetof(Params, discard), offsetof(ublk_params, discard));
}

TEST(UblkAbi, LegacyNumbersAreTheSystemHeaders) {
    EXPECT_EQ(get_device_info.legacy, UBLK_CMD_GET_DEV_INFO);
    EXPECT_EQ(add_device.legacy, UBLK_CMD_ADD_DEV);
    EXPECT_EQ(delete_device.legacy, UBLK_CMD_DEL_DEV);
    EXPECT_EQ(start_device.legacy, UBLK_CMD_START_DEV);
    EXPECT_EQ(stop_device.legacy, UBLK_CMD_STOP_DEV);
    EXPECT_EQ(set_params.legacy, UBLK_CMD_SET_PARAMS);
    EXPECT_EQ(get_params.legacy, UBLK_CMD_GET_PARAMS);
    EXPECT_EQ(start_user_recovery.legacy, UBLK_CMD_START_USER_RECOVERY);
    EXPECT_EQ(end_user_recovery.legacy, UBLK_CMD_END_USER_RECOVERY);
    EXPECT_EQ(fetch.legacy, UBLK_IO_FETCH_REQ);
    EXPECT_EQ(commit_and_fetch.legacy, UBLK_IO_COMMIT_AND_FETCH_REQ);
}

TEST(UblkAbi, EncodedNumbersAreThoseOfTheIoctlMacros) {
    EXPECT_EQ(add_device.encoded, _IOWR('u', UBLK_CMD_ADD_DEV, ublksrv_ctrl_cmd));
    EXPECT_EQ(get_device_info.encoded, _IOR('u', UBLK_CMD_GET_DEV_INFO, ublksrv_ctrl_cmd));
    EXPECT_EQ(get_features.encoded, _IOR('u', 0x13, ublksrv_ctrl_cmd));
    EXPECT_EQ(update_size.encoded, _IOWR('u', 0x15, ublksrv_ctrl_cmd));
    EXPECT_EQ(fetch.encoded, _IOWR('u', UBLK_IO_FETCH_REQ, ublksrv_io_cmd));
    EXPECT_EQ(commit_and_fetch.encoded, _IOWR('u', UBLK_IO_COMMIT_AND_FETCH_REQ, ublksrv_io_cmd));
}

TEST(UblkAbi, FlagsAndOpsAreTheSystemHeaders) {
    EXPECT_EQ(flag_complete_in_task, u64{UBLK_F_URING_CMD_COMP_IN_TASK});
    EXPECT_EQ(flag_user_recovery, u64{UBLK_F_USER_RECOVERY});
    EXPECT_EQ(flag_user_recovery_reissue, u64{UBLK_F_USER_RECOVERY_REISSUE});
    EXPECT_EQ(attribute_volatile_cache, u32{UBLK_ATTR_VOLATILE_CACHE});
    EXPECT_EQ(attribute_fua, u32{UBLK_ATTR_FUA});
    EXPECT_EQ(op_write_zeroes, u32{UBLK_IO_OP_WRITE_ZEROES});
    EXPECT_EQ(io_flag_fua, UBLK_IO_F_FUA);
    EXPECT_EQ(io_flag_no_unmap, UBLK_IO_F_NOUNMAP);
    EXPECT_EQ(aborted, UBLK_IO_RES_ABORT);
}

TEST(UblkAbi, DescriptorsOfAQueueBeginOnAPageWhateverItsSize) {
    // 4096 descriptors of 24 bytes are 96 KiB: 24 small pages, but not whole pages of 64 KiB.
    EXPECT_EQ(descriptors_offset(3, 4096), 3u * 98304);
    EXPECT_EQ(descriptors_offset(3, 65536), 3u * 131072);
    EXPECT_EQ(descriptors_length(128, 4096), 4096u);
    EXPECT_EQ(descriptors_length(171, 4096), 8192u);
}

}  // namespace
}  // namespace ringloop::abi::ublk
