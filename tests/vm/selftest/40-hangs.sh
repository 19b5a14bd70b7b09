#!/bin/bash
# timeout: 3
source "$(dirname "$0")/../lib.sh"
on_exit 'echo cleaned up'
echo "before the hang"
(trap '' TERM; sleep 1000)
