# shellcheck shell=bash disable=SC2119,SC2120
# Words for the rows that run ringloop, beside those of tests/lib.sh: what is there before it is
# called. TEST_DIR is the folder of the row.
source "$MESSAGES/../lib.sh"

# A device "disk" of the image, served on s.sock.
served() { # ARGUMENT...
    "$RINGLOOP" attach --transport socket --nbd unix:s.sock --name disk "$@" image >uri
}

# without CALL[,CALL...]:ERRNO WORD...: a word whose ringloop has these calls fail (denied.py).
without() {
    printf '#!/bin/sh\nexec python3 "%s" %s "%s" "$@"\n' "$MESSAGES/denied.py" "$1" "$RINGLOOP" \
        >wrapped
    chmod +x wrapped
    RINGLOOP=$PWD/wrapped "${@:2}"
}

# The same as `served`, and its server has died.
dead() {
    served
    kill_server disk
}

# A device whose server answers every question with this text, as one of another version might.
strange() { # TEXT
    dead
    python3 "$MESSAGES/strange_server.py" "$RINGLOOP_RUNTIME_DIR/disk" "$1" &
    wait_until 10 test -e ready
}

# What the server of "disk" answers to a question that ringloop itself never asks.
ask() { # QUESTION
    python3 "$MESSAGES/ask.py" "$RINGLOOP_RUNTIME_DIR/disk" "$1"
}

# conf NAME LINE...: a file that says what is attached under this name.
conf() {
    local name=$1
    shift
    printf '%s\n' "$@" >"etc/$name.conf"
}

# A state file that is none.
rubbish() { # NAME
    mkdir -m 700 "$RINGLOOP_RUNTIME_DIR"
    echo rubbish >"$RINGLOOP_RUNTIME_DIR/$1.json"
}

# many NUMBER: a word of so many letters.
many() {
    printf 'x%.0s' $(seq "$1")
}

# --nbd with so many addresses.
addresses() { # NUMBER
    seq -f '--nbd tcp:%.0f' "$1"
}

# What a row leaves behind.
end_all() {
    [[ ! -e ready ]] || kill "$(<ready)"
    "$RINGLOOP" detach --all --force
}
