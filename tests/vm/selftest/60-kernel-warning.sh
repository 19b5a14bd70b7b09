#!/bin/bash
echo '<4>WARNING: CPU: 0 PID: 1 at block/made-up.c:1' >/dev/kmsg
