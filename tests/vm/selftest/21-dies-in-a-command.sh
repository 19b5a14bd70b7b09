#!/bin/bash
source "$(dirname "$0")/../lib.sh"
on_exit 'echo cleaned up'
ls /does/not/exist
