#!/usr/bin/env bash
# gnutls, libnl and libbpf are not linked: their relocations and constructors would take more than
# half of the time of every start, and 0.8 MiB of every server, though most want neither TLS nor
# nbd.ko nor the issuers of ublk requests. So they may be missing as well, and whoever wants them is
# told what to install.
source "$(dirname "$0")/lib.sh"

linked=$(ldd "$RINGLOOP")
assert_match "$linked" "libc\.so" "what ldd says"
[[ ! $linked =~ libgnutls|libnl|libbpf ]] || die "linked with ${BASH_REMATCH[0]}"

truncate -s 1M image
echo "alice:00112233445566778899aabbccddeeff" >keys.psk
chmod 600 keys.psk
loaded_by() { # TARGET
    local pid
    pid=$("$RINGLOOP" status --json "$1" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
    grep -o 'lib\(gnutls\|nl\)[^/]*\.so' "/proc/$pid/maps" | sort -u || true
}
"$RINGLOOP" attach --allow-overlap --name plain --transport socket image >/dev/null
"$RINGLOOP" attach --allow-overlap \
    --name secured --transport socket --tls on --tls-psk keys.psk image >/dev/null
assert_eq "$(loaded_by plain)" "" "what the server without TLS has loaded"
assert_eq "$(loaded_by secured)" "libgnutls.so" "what the server with TLS has loaded"
"$RINGLOOP" detach --all

# A file that is no library stands for one that is missing: the dynamic linker stops at it.
mkdir broken
echo none | tee broken/libgnutls.so.30 broken/libbpf.so.1 >broken/libnl-genl-3.so.200
export LD_LIBRARY_PATH=$TEST_DIR/broken
assert_refused "libgnutls.so.30: .*; install the Debian package libgnutls30, or .*--tls off" \
    attach --transport socket --tls on --tls-psk keys.psk image
assert_refused "libnl-genl-3.so.200: .*; install the Debian package libnl-genl-3-200, or " \
    attach --transport nbd image
assert_match "$("$RINGLOOP" doctor)" \
    "warn +issuers +.*(libbpf.so.1: .*; install the Debian package libbpf1, or |built without)" \
    "what doctor says"
"$RINGLOOP" attach --transport socket image >/dev/null
"$RINGLOOP" detach image
assert_nothing_left
