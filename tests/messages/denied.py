#!/usr/bin/env python3
"""Runs a program for which system calls fail, as where the kernel has run out of something.

    denied.py CALL[,CALL...]:ERRNO PROGRAM ARGUMENT...

A seccomp filter answers these calls with the errno; everything that the program starts has it too.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
RETURN_ALLOW, RETURN_ERRNO = 0x7FFF0000, 0x00050000

# Of x86-64; elsewhere a row that denies something is skipped.
NUMBERS = {
    "write": 1, "poll": 7, "ppoll": 271, "socket": 41, "connect": 42, "sendto": 44, "sendmsg": 46,
    "bind": 49, "listen": 50, "clone": 56, "fork": 57, "vfork": 58, "fcntl": 72, "flock": 73,
    "rename": 82, "renameat": 264, "renameat2": 316, "signalfd4": 289, "eventfd2": 290,
    "epoll_ctl": 233, "epoll_create1": 291, "pipe2": 293, "inotify_init1": 294,
    "timerfd_create": 283, "memfd_create": 319, "io_uring_setup": 425, "io_uring_register": 427,
    "clone3": 435, "socketpair": 53, "pidfd_open": 434, "bpf": 321, "fallocate": 285,
    "accept4": 288, "fdatasync": 75, "fsync": 74,
}  # fmt: skip


def possible():
    return platform.machine() == "x86_64"


def instruction(code, value, if_true=0, if_false=0):
    return struct.pack("=HBBI", code, if_true, if_false, value)


def filter_of(calls, number):
    program = [instruction(LOAD, 0)]
    for index, call in enumerate(calls):
        program.append(instruction(JUMP_IF_EQUAL, NUMBERS[call], if_true=len(calls) - index))
    program.append(instruction(RETURN, RETURN_ALLOW))
    program.append(instruction(RETURN, RETURN_ERRNO | number))
    return b"".join(program)


def deny(calls, number):
    libc = ctypes.CDLL(None, use_errno=True)
    code = filter_of(calls, number)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP,
                                                                  SECCOMP_MODE_FILTER, program):
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")


def main():
    calls, name = sys.argv[1].split(":")
    deny(calls.split(","), getattr(errno, name))
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
