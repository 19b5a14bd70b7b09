#!/usr/bin/env bash
# Each offset lies behind the end of the image, so the message tells what was understood.
source "$(dirname "$0")/lib.sh"

truncate -s 1K image
for pair in 2048=2048 2K=2048 2k=2048 2KiB=2048 2KB=2000 1M=1048576 1MiB=1048576 1MB=1000000 \
    3G=3221225472 1GB=1000000000 1T=1099511627776 0x1000=4096; do
    assert_refused "offset ${pair#*=} is beyond" attach --offset "${pair%=*}" image
done
for wrong in "" x 1X 1Kx -1 1.5M 99999999999999999999 16E 8E; do
    assert_refused "offset" attach --offset "$wrong" image
    assert_refused "sizelimit" attach --sizelimit "$wrong" image
done
