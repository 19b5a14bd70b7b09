#!/bin/bash
# kernel: 6.1
exit 1
