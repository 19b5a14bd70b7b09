#!/bin/bash
mkdir /run/ringloop
touch /run/ringloop/immutable
chattr +i /run/ringloop/immutable
