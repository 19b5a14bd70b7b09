#!/usr/bin/env python3
"""Asks the server of a device one question, and says on standard error what it answers was wrong.

    ask.py FOLDER/NAME QUESTION
"""

import json
import socket
import sys


def main():
    base, question = sys.argv[1:]
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.connect(f"{base}.sock")
    server.send(question.encode())
    answer = json.loads(server.recv(1 << 16))
    if "error" in answer:
        sys.exit(f"ringloop: {answer['error']}")


if __name__ == "__main__":
    main()
