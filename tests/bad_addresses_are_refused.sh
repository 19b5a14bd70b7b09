#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"

truncate -s 1M image
for address in "" unix: tcp: tcp:0 tcp:65536 tcp:x:y 'tcp:[::1:1' tcp:::1:1 udp:1 /run/x vsock:0; do
    assert_refused "address '.*write unix:PATH" attach --nbd "$address" image
done
assert_refused "missing/socket: .*folder.*: No such file" attach --nbd unix:missing/socket image
assert_refused "given twice" attach --nbd tcp:1 --nbd tcp:1 image
# Nobody else is let in by mistake.
for address in tcp:0.0.0.0:10809 'tcp:[::]:10809' tcp:192.0.2.1:10809 tcp:disk.example:10809; do
    assert_refused "other hosts .*--tls require.*--insecure" attach --nbd "$address" image
    assert_refused "other hosts" serve --tls on --tls-psk keys --nbd "$address" image
done
assert_refused "tcp:192.0.2.1:10809: cannot listen|means no address" \
    attach --insecure --nbd tcp:192.0.2.1:10809 image
assert_refused "choose one" attach --ublk --transport nbd image
assert_refused "TLS has keys but is off" attach --tls-psk keys --nbd unix:s image
assert_refused "give the keys" attach --tls require --nbd unix:s image
assert_refused "max-connections 0: use 1 to" attach --max-connections 0 --nbd unix:s image
assert_refused "max-request 1024: use 65536 to 33554432" attach --max-request 1K --nbd unix:s image
assert_refused "max-inflight" attach --max-inflight 1K --nbd unix:s image
assert_refused "handshake-timeout 0" attach --handshake-timeout 0 --nbd unix:s image
assert_refused "107 characters" attach --nbd "unix:$(printf 'x%.0s' {1..108})" image
[[ ! -e s ]] || die "a socket was left"
