#!/bin/bash
# kernel: 6.12
# timeout: 90
# 9p has no fallocate at all, and accepts O_DIRECT without always meaning it.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/lesser_backing.sh"

folder=/results/.guest
[[ -w $folder && $(findmnt -no FSTYPE -T $folder) == 9p ]] || skip "no writable 9p share is here"
image=$(make_image 32M $folder/image)
on_exit "rm -f $image"
check_lesser_backing "$image"
