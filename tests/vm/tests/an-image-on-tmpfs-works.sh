#!/bin/bash
# kernel: 6.12
# timeout: 90
# tmpfs punches holes but cannot zero a range in place.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/lesser_backing.sh"

image=$(make_image 64M /dev/shm/image)
check_lesser_backing "$image"
