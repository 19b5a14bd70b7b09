#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"

truncate -s 1M image
assert_refused "--sector-size 0" attach --sector-size 0 image
assert_refused "--sector-size 1000" attach --sector-size 1000 image
assert_refused "--sector-size 8192" attach --sector-size 8K image
assert_refused "--queues 0" attach --queues 0 image
assert_refused "--depth 0" attach --depth 0 image
assert_refused "--queues 100000" attach --queues 100000 image
assert_refused "--transport=carrier-pigeon" attach --transport carrier-pigeon image
assert_refused "--direct-io=perhaps" attach --direct-io=perhaps image
assert_refused "name '../up'" attach --name ../up image
assert_refused "name '.hidden'" attach --name .hidden image
assert_refused "name 'ublkb7'" attach --name ublkb7 image
assert_refused "--charge 'tenants/a': use off, issuer, or the path .*: /tenants/a" \
    attach --charge tenants/a image
assert_refused "--charge '': use off, issuer" attach --charge "" image
assert_refused "--lane-idle 0: use 1 to 86400 seconds" attach --lane-idle 0 image
assert_refused "--on-error retry: use report, stop or pause" attach --on-error retry image
assert_refused "--on-error pause needs --queues 1" \
    attach --transport nbd --queues 2 --on-error pause image
assert_refused "--lane-idle 86401" attach --lane-idle 86401 image

refused_status=2 # what is no command at all
assert_refused "help" attach --no-such-option image
assert_refused "(image|IMAGE)" attach
assert_refused "--all|TARGET" detach
assert_refused "help" no-such-verb
assert_refused "help"
assert_refused "help" attach image second
assert_refused "help" attach --queues many image
assert_refused "help" attach --lane-idle soon image
assert_refused "--stdio is one connection: .*--charge" serve --stdio --charge issuer image
