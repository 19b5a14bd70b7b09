#!/usr/bin/python3
"""Writes the kernel's events of block devices to a file, a line each: "add ublkb0p1".

uevents.py FILE READY: creates READY once it listens; ends when it is told to (SIGTERM).
The kernel sends each event as text to every netlink socket of the group (netlink(7),
NETLINK_KOBJECT_UEVENT), whether udev runs or not.
"""

import socket
import sys

NETLINK_KOBJECT_UEVENT = 15
KERNEL_GROUP = 1


def main():
    path, ready = sys.argv[1:]
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT)
    events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    events.bind((0, KERNEL_GROUP))
    with open(path, "a", encoding="utf-8", buffering=1) as out:
        open(ready, "w", encoding="utf-8").close()
        while True:
            fields = dict(line.split("=", 1)
                          for line in events.recv(65536).decode(errors="replace").split("\0")
                          if "=" in line)
            if fields.get("SUBSYSTEM") == "block":
                out.write(f"{fields['ACTION']} {fields['DEVNAME']}\n")


main()
