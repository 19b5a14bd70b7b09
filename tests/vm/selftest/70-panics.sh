#!/bin/bash
echo "before the panic"
echo c >/proc/sysrq-trigger
