#!/bin/bash
# kernel: any
# timeout: 300
# The same over nbd.ko.
transport=nbd
source "$(dirname "$0")/files-survive-a-round-trip.sh"
