# What tests of lanes share; sourced after device.sh.

cgroups=/sys/fs/cgroup

# make_cgroup NAME: with the io and memory controllers; removed when the test ends.
make_cgroup() {
    echo "+io +memory" >$cgroups/cgroup.subtree_control
    mkdir "$cgroups/$1"
    on_exit "remove_cgroup $1"
}
remove_cgroup() { # NAME
    [[ -d $cgroups/$1 ]] || return 0
    echo 1 >"$cgroups/$1/cgroup.kill"
    wait_until 10 rmdir "$cgroups/$1" 2>/dev/null
}

# in_cgroup NAME COMMAND...
in_cgroup() {
    (
        echo "$BASHPID" >"$cgroups/$1/cgroup.procs"
        shift
        exec "$@"
    )
}

# io_bytes NAME DISK rbytes|wbytes: what was charged to it for a disk of the system ("vda").
io_bytes() {
    awk -v disk="$(<"/sys/block/$2/dev")" -v field="$3=" '
        $1 == disk {
            for (i = 2; i <= NF; i++)
                if (index($i, field) == 1) sum = substr($i, length(field) + 1)
        }
        END { print sum + 0 }' "$cgroups/$1/io.stat"
}
memory_of() { # NAME
    cat "$cgroups/$1/memory.current"
}

# Pids of the lanes in a cgroup.
lanes_in() { # NAME
    local pid
    while read -r pid; do
        if [[ $(<"/proc/$pid/comm") == ringloop-lane ]]; then echo "$pid"; fi
    done <"$cgroups/$1/cgroup.procs"
}
has_lane() { # NAME
    [[ -n $(lanes_in "$1") ]]
}
has_no_lane() { # NAME
    ! has_lane "$1"
}
