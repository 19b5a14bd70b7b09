#!/usr/bin/env bash
# The Debian package in a root of its own, without a service manager: it runs, an upgrade leaves
# devices alone, it is not removed under a client, and a purge leaves nothing but the image.
tree=$(cd "$(dirname "$0")/.." && pwd)
source "$(dirname "$0")/lib.sh"
need_program dpkg-shlibdeps
need_program nbdinfo
need_python_nbd
((EUID == 0)) || skip "only root can make a root of its own"

out=$TEST_DIR/deb
package=$("$tree/packaging/deb.sh" "$(dirname "$RINGLOOP")" "$out") || die "no package was made"
[[ $(dpkg-deb -f "$package" Depends) == *liburing2* ]] || die "no dependency of the program"
if command -v lintian >/dev/null; then
    lintian --allow-root --fail-on error --suppress-tags initial-upload-closes-no-bugs \
        "$package" >lintian.log 2>&1 || die "lintian: $(<lintian.log)"
fi

cat >inside.sh <<'END'
set -euo pipefail
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR
unset RINGLOOP_RUNTIME_DIR RINGLOOP_CONFIG_DIR
export DEBIAN_FRONTEND=noninteractive
traces() {
    find /etc /run /lib/systemd /lib/udev /usr/bin /usr/share/doc /usr/share/man \
        /usr/share/bash-completion /usr/share/zsh /var/lib/dpkg/info /var/lib/systemd \
        -name '*ringloop*'
}
pid_of() { ringloop status --json "$1" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p'; }
rm -f /var/lib/man-db/auto-update
[[ -z $(traces) ]] || fail "there before: $(traces)"

dpkg --force-depends -i /package.deb
[[ $(command -v ringloop) == /usr/bin/ringloop ]]
[[ -L /etc/systemd/system/multi-user.target.wants/ringloop.target ]]
truncate -s 1M /var/disk.img
printf 'image = /var/disk.img\ntransport = socket\n' >/etc/ringloop/disk.conf
uri=$(ringloop up disk)
[[ $(nbdinfo --size "$uri") == 1048576 ]]
pid=$(pid_of disk)

dpkg --force-depends -i /package.deb
[[ $(pid_of disk) == "$pid" && $(ringloop up disk) == "$uri" ]]

# A client that stays: detach waits for it, and gives up.
/usr/bin/python3 -c '
import nbd, sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
print(client.get_size(), flush=True)
sys.stdin.read()' "$uri" < <(exec tail -f /dev/null) >client.log &
client=$!
until [[ -s client.log ]]; do kill -0 $client; done
if dpkg -r ringloop 2>removal.log; then fail "it was removed under a client"; fi
[[ $(<removal.log) == *"its devices are in use"* ]] || fail "it said: $(<removal.log)"
[[ $(pid_of disk) == "$pid" ]]
kill $client
wait $client || true

dpkg --force-depends -i /package.deb
dpkg -r ringloop
[[ ! -e /proc/$pid && -e /etc/ringloop/disk.conf && ! -e /usr/bin/ringloop ]]
dpkg --purge ringloop
[[ -z $(traces) ]] || fail "left: $(traces)"
[[ -s /var/disk.img ]]
END

# What happens in there is forgotten with the namespace, and its processes end with it.
unshare --mount --pid --fork --mount-proc bash -c '
    set -e
    mount -t tmpfs tmpfs "$1"
    mkdir "$1/data" "$1/work" "$1/root"
    mount -t overlay -o "lowerdir=/,upperdir=$1/data,workdir=$1/work" overlay "$1/root" || exit 77
    mount -t proc proc "$1/root/proc"
    mount -t tmpfs tmpfs "$1/root/run"
    mount -t tmpfs tmpfs "$1/root/tmp"
    mount --bind /dev "$1/root/dev"
    cp "$2" "$1/root/package.deb"
    cp inside.sh "$1/root/inside.sh"
    chroot "$1/root" bash -c "cd /tmp && exec bash /inside.sh"' \
    bash "$(mktemp -d "$TEST_DIR/root-XXXXXX")" "$package" >log 2>&1 || {
    code=$?
    [[ $code != 77 ]] || skip "no root of its own can be made here: $(tail -n 1 log)"
    die "in the root of its own: $(<log)"
}
