#!/bin/bash
source "$(dirname "$0")/../lib.sh"
skip "this is not the time"
