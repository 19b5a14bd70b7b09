#include "abi/nbd_netlink.h"

#include <gtest/gtest.h>
#include <linux/nbd-netlink.h>
#include <linux/nbd.h>

// The kernel's own header is the witness where it is installed.
namespace ringloop::abi::nbd_netlink {
namespace {

TEST(NbdNetlink, has_the_numbers_of_the_kernel) {
    EXPECT_STREQ(family_name, NBD_GENL_FAMILY_NAME);
    EXPECT_STREQ(group_name, NBD_GENL_MCAST_GROUP_NAME);
    EXPECT_EQ(version, NBD_GENL_VERSION);
    EXPECT_EQ(command_connect, NBD_CMD_CONNECT);
    EXPECT_EQ(command_disconnect, NBD_CMD_DISCONNECT);
    EXPECT_EQ(command_reconfigure, NBD_CMD_RECONFIGURE);
    EXPECT_EQ(command_link_dead, NBD_CMD_LINK_DEAD);
    EXPECT_EQ(command_status, NBD_CMD_STATUS);
    EXPECT_EQ(attribute_index, NBD_ATTR_INDEX);
    EXPECT_EQ(attribute_size_bytes, NBD_ATTR_SIZE_BYTES);
    EXPECT_EQ(attribute_block_size_bytes, NBD_ATTR_BLOCK_SIZE_BYTES);
    EXPECT_EQ(attribute_timeout, NBD_ATTR_TIMEOUT);
    EXPECT_EQ(attribute_server_flags, NBD_ATTR_SERVER_FLAGS);
    EXPECT_EQ(attribute_client_flags, NBD_ATTR_CLIENT_FLAGS);
    EXPECT_EQ(attribute_sockets, NBD_ATTR_SOCKETS);
    EXPECT_EQ(attribute_dead_connection_timeout, NBD_ATTR_DEAD_CONN_TIMEOUT);
    EXPECT_EQ(attribute_device_list, NBD_ATTR_DEVICE_LIST);
    EXPECT_EQ(attribute_backend_identifier, NBD_ATTR_BACKEND_IDENTIFIER);
    EXPECT_EQ(socket_item, NBD_SOCK_ITEM);
    EXPECT_EQ(socket_fd, NBD_SOCK_FD);
    EXPECT_EQ(device_item, NBD_DEVICE_ITEM);
    EXPECT_EQ(device_index, NBD_DEVICE_INDEX);
    EXPECT_EQ(device_connected, NBD_DEVICE_CONNECTED);
    EXPECT_EQ(client_flag_destroy_on_disconnect, u64{NBD_CFLAG_DESTROY_ON_DISCONNECT});
    EXPECT_EQ(client_flag_disconnect_on_close, u64{NBD_CFLAG_DISCONNECT_ON_CLOSE});
}

}  // namespace
}  // namespace ringloop::abi::nbd_netlink
