# What tests/vm/service.py does in each boot. PID 1 is systemd, the root is kept.
exec >"/results/stage-$(</results/.guest/stage).log" 2>&1
set -eE -o pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root
stage=$(</results/.guest/stage)
image=/var/lib/images/disk.img
link=/dev/ringloop/disk

tell() { echo "$*" >/dev/ttyS1; }
step() {
    echo "== $*"
    tell step "$*"
}
# systemd would stop what is told here: the disks stay, the log is complete.
fail() {
    echo "FAILED: $*"
    { systemctl --no-pager status 'ringloop@*' 'mnt.mount' || true
    journalctl -b --no-pager -o short-monotonic | tail -n 120 || true
    cat /run/ringloop/*.json || true; }
    sync
    tell failed "$*"
    exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND (status $?)"' ERR
wait_until() { # SECONDS COMMAND...
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "still not true: $*"
        read -rt 0.2 <> <(:) || true
    done
}
dpkg() { command dpkg "$@" 2> >(grep -v 'files list file for package' >&2); }
pid_of() { systemctl show -p MainPID --value "$1"; }
# "active", "inactive", "failed"; systemctl is-active fails for those that it names.
state_of() { systemctl show -p ActiveState --value "$1"; }
is_active() { [[ $(state_of "$1") == active ]]; }

mounted_since() { systemctl show -p ActiveEnterTimestampMonotonic --value mnt.mount; }
# Where the package, or what it makes, could have left something; systemd itself remembers units.
traces() {
    find /etc /run /dev /lib/systemd /lib/udev /usr/bin /usr/share/doc /usr/share/man \
        /usr/share/bash-completion /usr/share/zsh /var/lib/dpkg/info /var/lib/systemd \
        -path /run/systemd/units -prune -o -name '*ringloop*' -print 2>/dev/null || true
}

install_and_attach() {
    [[ -z $(traces) ]] || fail "there before: $(traces)"
    step "dpkg installs the package"
    dpkg -i /results/.guest/ringloop.deb
    mkdir -p ${image%/*} /mnt
    truncate -s 256M $image
    echo "image = $image" >/etc/ringloop/disk.conf

    step "systemctl start ringloop@disk"
    systemctl daemon-reload
    [[ $(systemctl show -p RequiresMountsFor ringloop@disk) == *$image* ]]
    systemctl start ringloop@disk
    is_active ringloop@disk
    wait_until 20 test -b $link
    ringloop list
    mkfs.ext4 -q -L ringdisk $link

    step "fstab mounts it"
    echo "$link /mnt ext4 x-systemd.requires=ringloop@disk.service 0 2" >>/etc/fstab
    systemctl daemon-reload
    systemctl start mnt.mount
    mountpoint /mnt
    head -c 20M /dev/urandom >/mnt/file
    sha256sum /mnt/file >/var/lib/file.sha256
}

is_served_anew() { # FORMER-PID
    [[ $(pid_of ringloop@disk) != "$1" ]] && is_active ringloop@disk
}

kill_and_recover() {
    local before since load
    since=$(mounted_since)
    step "a server that is killed is started again, and nothing is unmounted"
    before=$(pid_of ringloop@disk)
    kill -KILL "$before"
    wait_until 60 is_served_anew "$before"
    [[ $(mounted_since) == "$since" ]] && is_active mnt.mount
    echo 3 >/proc/sys/vm/drop_caches
    sha256sum -c /var/lib/file.sha256

    step "the same while files are written"
    before=$(pid_of ringloop@disk)
    dd if=/dev/urandom of=/mnt/written bs=64k count=400 conv=fsync status=none &
    load=$!
    wait_until 60 test -s /mnt/written
    kill -KILL "$before"
    wait_until 60 is_served_anew "$before"
    wait $load
    [[ $(stat -c %s /mnt/written) == $((400 * 65536)) ]]
    sha256sum /mnt/written >>/var/lib/file.sha256
    [[ $(mounted_since) == "$since" ]] && is_active mnt.mount
}

upgrade() {
    local before
    step "an upgrade leaves the server alone"
    before=$(pid_of ringloop@disk)
    dpkg -i /results/.guest/ringloop.deb
    [[ $(pid_of ringloop@disk) == "$before" ]] && mountpoint /mnt
}

first_boot() {
    install_and_attach
    kill_and_recover
    upgrade
    step "reboot"
    tell done # the last word: systemd ends this script as well
    systemctl reboot
}

second_boot() {
    step "the device is back and mounted"
    mountpoint /mnt
    sha256sum -c /var/lib/file.sha256
    is_active ringloop@disk
    # The device outlived its file system: that was unmounted, and has nothing to recover.
    if dmesg | grep -E 'EXT4-fs \(ublkb.*recover'; then fail "it was not unmounted cleanly"; fi
    [[ /dev/disk/by-label/ringdisk -ef $link ]]
    [[ /dev/disk/by-loop-inode/$(stat -c %Hd:%Ld-%i $image) -ef $link ]]

    step "systemctl stop unmounts first"
    systemctl stop ringloop@disk
    if mountpoint -q /mnt; then fail "/mnt is still mounted"; fi
    [[ -z $(ringloop list) && ! -e /dev/ublkb0 ]]
    [[ $(state_of ringloop@disk) == inactive ]]

    step "a client of the socket starts a server"
    echo "image = $image" >/etc/ringloop/net.conf
    systemctl start ringloop@net.socket
    [[ $(state_of ringloop@net) == inactive ]]
    [[ $(nbdinfo --size 'nbd+unix:///?socket=/run/ringloop-net.nbd') == $((256 << 20)) ]]
    is_active ringloop@net

    step "purge leaves nothing but the image"
    systemctl enable ringloop@net.socket
    : >/etc/fstab
    dpkg --purge ringloop
    [[ -z $(traces) ]] || fail "left: $(traces)"
    [[ -s $image ]]
    step "power off"
    tell done
    systemctl poweroff
}

if [[ $stage == 1 ]]; then first_boot; else second_boot; fi
