# The rest of the boot for tests of services: a root that outlives the boot, with systemd as its
# first process. Run by the agent in place of tests.
set -e

# The root of other tests is forgotten; what is written to this one lies on the scratch disk.
info=/scratch/root/data/var/lib/dpkg/info
if [[ ! -d $info ]]; then
    # Of packages, dpkg sees the names alone: it would read the lists of all their files first, a
    # minute for a host with many, and goes on without those that are missing.
    mkdir -p $info /scratch/root/work /scratch/root/merged
    cp /var/lib/dpkg/info/format $info/
    /usr/bin/python3 -c 'import os, sys
os.setxattr(sys.argv[1], "trusted.overlay.opaque", b"y")' $info
fi
mount -t overlay -o lowerdir=/,upperdir=/scratch/root/data,workdir=/scratch/root/work overlay \
    /scratch/root/merged
cd /scratch/root/merged

# Of what the host has installed, only what a boot needs: emulated, each service costs a second, and
# udev's look at all hardware a minute, for it loads modules. Nor is the index of manuals made anew.
units=etc/systemd/system
only_once() {
    rm -rf $units etc/rcS.d etc/rc?.d etc/init.d
    mkdir -p $units/multi-user.target.wants
    for unit in dbus.service dbus.socket systemd-logind.service getty.target \
        systemd-firstboot.service systemd-hwdb-update.service ldconfig.service \
        systemd-journal-catalog-update.service systemd-update-done.service \
        systemd-tmpfiles-clean.timer systemd-tmpfiles-setup.service systemd-sysusers.service \
        systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-user-sessions.service \
        systemd-machine-id-commit.service dev-hugepages.mount sys-kernel-tracing.mount \
        systemd-ask-password-wall.path systemd-ask-password-console.path \
        systemd-update-utmp.service systemd-update-utmp-runlevel.service \
        systemd-initctl.socket systemd-udev-trigger.service; do
        ln -s /dev/null $units/$unit
    done
    : >etc/fstab
    # In a container systemd would leave it to the host to sync before a reboot.
    rm -f var/lib/man-db/auto-update .dockerenv
    cat >$units/test-stages.service <<'END'
[Unit]
After=multi-user.target
[Service]
ExecStart=/bin/bash /results/.guest/tests/stage.sh
TimeoutStopSec=5
END
    ln -s ../test-stages.service $units/multi-user.target.wants/
    ln -s /lib/systemd/system/multi-user.target $units/default.target
    mkdir -p var/log/journal # kept, for the next boot to look at
}
[[ -e $units/test-stages.service ]] || only_once


# busybox asks no /proc, which moves as well; systemd makes anew what is not moved.
move() { busybox mount -o move "$1" ".$1"; }
modules=/usr/lib/modules/$(uname -r)
mkdir -p "./$modules"
busybox umount /dev/shm
busybox umount /sys/fs/cgroup
for point in "$modules" /tree /results /tmp /run /sys /dev /proc; do move "$point"; done
exec 3>&-
busybox mount -o move . /
exec busybox chroot . /lib/systemd/systemd
