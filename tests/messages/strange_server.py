#!/usr/bin/env python3
"""Stands in for the server of a device: answers every question on its control socket with one text,
as a server of another version might.

    strange_server.py FOLDER/NAME ANSWER

The file `ready` in the present folder has its pid as soon as it can be asked.
"""

import fcntl
import os
import socket
import struct
import sys

F_OFD_SETLK = 37


def main():
    base, answer = sys.argv[1:]
    lock = open(f"{base}.lock", "r+b")
    fcntl.fcntl(lock, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
    if os.path.exists(f"{base}.sock"):
        os.unlink(f"{base}.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{base}.sock")
    listener.listen()
    with open("draft", "w", encoding="ascii") as ready:
        ready.write(str(os.getpid()))
    os.rename("draft", "ready")
    while True:
        client, _ = listener.accept()
        client.recv(1 << 16)
        client.send(answer.encode())
        client.close()


if __name__ == "__main__":
    main()
