#!/usr/bin/env bash
# Whatever ringloop says to a person names what it is about, what is wrong with it and what to do:
# the table of tests/messages, after each fault it is there to find was planted in it.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/lib.sh"

"$here/messages/run.py" --self-test
RINGLOOP=$RINGLOOP TEST_DIR=$TEST_DIR "$here/messages/run.py"
