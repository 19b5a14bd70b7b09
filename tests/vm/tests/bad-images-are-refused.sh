#!/bin/bash
# kernel: 6.12
# timeout: 90
# Each with one line that names the image, and nothing is left behind.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

attach_fails() { # REGEX ARGUMENT...
    assert_refused "$1" "$RINGLOOP" attach "${@:2}"
    assert_nothing_left
}

image=$(make_image 1M "$PWD/image")
chmod 600 image
attach_fails "$PWD/missing: no such file" "$PWD/missing"
attach_fails "$PWD: is a directory" "$PWD"
attach_fails "empty: is empty" "$(make_image 0 "$PWD/empty")"
attach_fails "tiny: .*less than one sector" "$(make_image 511 "$PWD/tiny")"
attach_fails "image: .*beyond" --offset 2M "$image"
attach_fails "image: .*offset" --offset 1000 --direct-io=on "$image"
attach_fails "/dev/null: is a character device" /dev/null
attach_fails "sector-size.*1000" --sector-size 1000 "$image"
attach_fails "queues.*0" --queues 0 "$image"
attach_fails "depth.*0" --depth 0 "$image"
# A user who may use ublk but not read the image.
chmod 755 "$PWD"
RINGLOOP_RUNTIME_DIR=$(mktemp -d)
chmod 777 "$RINGLOOP_RUNTIME_DIR"
export RINGLOOP_RUNTIME_DIR
assert_refused "image: no permission" setpriv --reuid 65534 --clear-groups \
    "$RINGLOOP" attach --read-only "$image"
assert_nothing_left
