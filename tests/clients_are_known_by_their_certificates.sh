#!/usr/bin/env bash
# --tls-certificates and --tls-authorize, with the keys that certtool makes and libnbd's clients. A
# certificate of our authority opens nothing by itself: its name has to be on the list.
source "$(dirname "$0")/lib.sh"
need_program certtool
need_program nbdcopy

make_authority ours "Our CA"
make_authority others "Our CA"  # of the same name: a client shows what the server says it wants
make_certificate ours server tls_www_server 'dns_name = "localhost"'
make_certificate ours alice tls_www_client 'organization = "Example"'
make_certificate ours bob tls_www_client
make_certificate others impostor tls_www_client 'cn = "alice"'
mkdir nobody
cp ours/ca-cert.pem nobody
cp ours/ca-cert.pem impostor  # so that the client, for its part, takes the server

head -c 3000001 /dev/urandom >content
truncate -s 3000001 image
uri_for() { # SOCKET CLIENT
    echo "nbds+unix://localhost/?socket=$TEST_DIR/$1&tls-certificates=$TEST_DIR/$2"
}
refused() { # SOCKET CLIENT
    ! nbdinfo --size "$(uri_for "$1" "$2")" &>.refused || die "$2 was let in"
}

uri=$("$RINGLOOP" attach --allow-overlap --name listed --tls require --tls-certificates server \
    --tls-authorize alice --nbd unix:listed image)
assert_eq "$uri" "nbds+unix:///?socket=$TEST_DIR/listed" "the URI"
nbdcopy --flush content "$(uri_for listed alice)"
cmp content image
nbdcopy "$(uri_for listed alice)" copy
cmp content copy
refused listed bob
# The client may know of it before the log does.
wait_until 10 grep -q "no name in the client's certificate is authorized" \
    "$RINGLOOP_RUNTIME_DIR/listed.log"
refused listed impostor
refused listed nobody

# The whole name, and one of several.
"$RINGLOOP" attach --allow-overlap --name named --tls require --tls-certificates server \
    --tls-authorize CN=carol --tls-authorize CN=alice,O=Example --nbd unix:named image >/dev/null
assert_eq "$(nbdinfo --size "$(uri_for named alice)")" 3000001 "the size"
refused named impostor
assert_match "$(<"$RINGLOOP_RUNTIME_DIR/named.log")" "certificate is not of our CA" "the log"
refused named bob

# Without a list nobody is asked who he is.
port=$(free_port)
"$RINGLOOP" attach --allow-overlap --name open \
    --tls require --tls-certificates server --nbd unix:open \
    --nbd "tcp:$port" image >/dev/null
for client in alice bob impostor nobody; do
    assert_eq "$(nbdinfo --size "$(uri_for open "$client")")" 3000001 "the size for $client"
done

# A client that does not know our authority goes away by itself. (libnbd looks at the certificate of
# a server that it reached by a host's name.)
tcp_uri="nbds://localhost:$port/?tls-certificates=$TEST_DIR/nobody"
assert_eq "$(nbdinfo --size "$tcp_uri")" 3000001 "the size over TCP"
cp others/ca-cert.pem nobody
! nbdinfo --size "$tcp_uri" &>.refused || die "the client took an unknown authority"
"$RINGLOOP" detach --all
assert_nothing_left
