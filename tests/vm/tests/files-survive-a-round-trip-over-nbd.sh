#!/bin/bash
# kernel: 6.1
# timeout: 300
# The same over nbd.ko.
transport=nbd
source "${RINGLOOP_TREE:?}/tests/vm/tests/files-survive-a-round-trip.sh"
