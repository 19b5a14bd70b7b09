#!/bin/bash
echo "some output"
exit 3
