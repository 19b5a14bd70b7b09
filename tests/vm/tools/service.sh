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
dpkg() { command dpkg "$@" 2> >(grep -v 'files list file for package' >&2 || true); }
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

verify_until_told() {
    while [[ -e /run/load.on ]]; do
        fio --name=load --filename=/mnt/load --size=24m --rw=randwrite --bssplit=4k/60:64k/40 \
            --direct=1 --ioengine=libaio --iodepth=16 --fsync=32 --verify=crc32c \
            --verify_backlog=256 --verify_fatal=1 --time_based --runtime=10 || return 1
    done
}
has_another_server() { # FORMER-PID
    local now
    now=$(pid_of ringloop@disk)
    ((now != 0 && now != $1))
}
# At any moment: of many requests, of a recovery, of a server that has hardly begun.
kill_again_and_again() {
    local kills=$1 since killed before load
    ((kills > 0)) || return 0
    step "the server is killed $kills times at random moments while fio verifies"
    since=$(mounted_since)
    : >/run/load.on
    verify_until_told >/run/load.log 2>&1 &
    load=$!
    wait_until 60 test -s /mnt/load
    before=$(pid_of ringloop@disk)
    for ((killed = 1; killed <= kills; killed++)); do
        read -rt "$((RANDOM % 3)).$((RANDOM % 900 + 100))" <> <(:) || true
        kill -KILL "$before"
        wait_until 90 has_another_server "$before"
        before=$(pid_of ringloop@disk)
        kill -0 $load || fail "fio ended: $(</run/load.log)"
        if ((killed % 10 == 0)); then step "$killed kills"; fi
    done
    wait_until 90 is_active ringloop@disk
    rm /run/load.on
    wait $load || fail "fio: $(</run/load.log)"
    [[ $(mounted_since) == "$since" ]] && is_active mnt.mount
    if dmesg | grep -E 'I/O error|EXT4-fs (error|warning)'; then fail "the kernel noticed"; fi
    sha256sum -c /var/lib/file.sha256
    rm /mnt/load
}

upgrade() {
    local before
    step "an upgrade leaves the server alone"
    before=$(pid_of ringloop@disk)
    dpkg -i /results/.guest/ringloop.deb
    [[ $(pid_of ringloop@disk) == "$before" ]] && mountpoint /mnt

    step "a reload replaces it while files are written"
    dd if=/dev/urandom of=/mnt/reloaded bs=64k count=400 conv=fsync status=none &
    local load=$!
    wait_until 60 test -s /mnt/reloaded
    systemctl reload ringloop@disk
    is_served_anew "$before"
    wait $load
    [[ $(stat -c %s /mnt/reloaded) == $((400 * 65536)) ]]
    sha256sum /mnt/reloaded >>/var/lib/file.sha256
    before=$(pid_of ringloop@disk)
    systemctl reload ringloop@disk
    is_served_anew "$before"
    [[ $(state_of ringloop@disk) == active ]] && mountpoint /mnt
}

first_boot() {
    install_and_attach
    kill_and_recover
    kill_again_and_again "$(</results/.guest/kills)"
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

    step "partitions have links, over ublk and nbd"
    truncate -s 32M ${image%/*}/parts.img
    sfdisk -q ${image%/*}/parts.img <<<$'label: gpt\nsize=8MiB, name=first\nsize=8MiB'
    modprobe nbd
    for transport in ublk nbd; do
        printf '%s\n' "image = ${image%/*}/parts.img" "loop-ref = two parts" \
            "transport = $transport" >/etc/ringloop/parts.conf
        systemctl start ringloop@parts
        wait_until 20 test -b /dev/ringloop/parts-part2
        for name in ringloop/parts 'disk/by-loop-ref/two\x20parts' \
            "disk/by-loop-inode/$(stat -c %Hd:%Ld-%i ${image%/*}/parts.img)"; do
            [[ -b /dev/$name && /dev/$name-part1 -ef /dev/ringloop/parts-part1 ]] ||
                fail "no /dev/$name or no first partition: $(ls -l /dev/disk/by-loop-*)"
        done
        [[ /dev/disk/by-partlabel/first -ef /dev/ringloop/parts-part1 ]]
        systemctl stop ringloop@parts
        wait_until 20 eval '[[ ! -e /dev/ringloop/parts && ! -e /dev/ringloop/parts-part1 ]]'
    done

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
    [[ -s $image && -s ${image%/*}/parts.img ]]
    step "power off"
    tell done
    systemctl poweroff
}

if [[ $stage == 1 ]]; then first_boot; else second_boot; fi
