#!/bin/sh
# First process of the guest, in the initramfs: makes a writable root out of the host's and hands
# over to agent.sh. When a step fails this shell dies, the kernel panics and QEMU ends: the host
# then shows the console.
set -e
export PATH=/bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
# shellcheck disable=SC2086 # options are several words
while read -r module options; do insmod "/modules/$module" $options; done </modules/order

share() {
    mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2"
}

# The host's programs do not change during a run, so their pages may be kept (cache=loose). The
# tree and the results do change, and are asked for every time.
share host /lower ro,cache=loose
mount -t tmpfs -o mode=755 tmpfs /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /guest

modules=/guest/usr/lib/modules/$(uname -r)
mkdir -p /guest/proc /guest/sys /guest/dev /guest/tmp /guest/run /guest/scratch /guest/tree \
    /guest/results "$modules"
share tree /guest/tree ro
share results /guest/results rw
share modules "$modules" ro,cache=loose

mount -t ext4 -o noatime,noinit_itable /dev/vda /guest/scratch
stty -F /dev/ttyS1 raw -echo

mount --move /dev /guest/dev
mkdir -p /guest/dev/pts /guest/dev/shm
ln -s /proc/self/fd /guest/dev/fd
ln -s /proc/self/fd/0 /guest/dev/stdin
ln -s /proc/self/fd/1 /guest/dev/stdout
ln -s /proc/self/fd/2 /guest/dev/stderr
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /guest/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /guest/dev/shm
mount -t tmpfs -o mode=1777 tmpfs /guest/tmp
mount -t tmpfs -o mode=755 tmpfs /guest/run
mount --move /sys /guest/sys
mount -t cgroup2 cgroup2 /guest/sys/fs/cgroup
mount -t bpf bpf /guest/sys/fs/bpf
mount -t debugfs debugfs /guest/sys/kernel/debug
ifconfig lo 127.0.0.1 up
hostname ringloop-guest
mount --move /proc /guest/proc
exec switch_root /guest /bin/bash /results/.guest/agent.sh
