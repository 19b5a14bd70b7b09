#!/bin/bash
# First process of the guest once its root stands: runs what the host planned, one test after the
# other, and tells the host about each by one line on ttyS1:
#   ready RELEASE | begin NAME | end NAME STATUS MILLISECONDS REASON | dirty REASON | bye
# The plan (/results/.guest/plan) has one line per test: NAME SECONDS. Output goes to
# /results/NAME.log. STATUS is the test's own, or one of the three below.
set -u
status_timeout=124
status_left_behind=98
status_kernel=99

kernel_complaint='BUG:|WARNING:|Oops|general protection fault|kernel BUG|blocked for more than|'
kernel_complaint+='detected stall|soft lockup|hard LOCKUP|UBSAN:|KASAN|refcount_t:'
grace_seconds=3
cgroups=/sys/fs/cgroup
group=$cgroups/test # every test runs in it: nothing that it starts can get away
shopt -s nullglob dotglob

# Starting a process costs some 40 ms here: between tests the work is done by bash itself, and by
# other programs only where there is something to do.

prepare_guest() {
    cd /
    exec 3>/dev/ttyS1
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export HOME=/root LANG=C.UTF-8 DM_DISABLE_UDEV=1
    export RINGLOOP=/usr/local/bin/ringloop SCRATCH=/scratch RAW_DISK=/dev/vdb
    export RINGLOOP_TREE=/tree VM_LIB=/results/.guest/lib.sh
    set -a
    source /results/.guest/environment
    set +a
    if [[ -e /results/.guest/ringloop ]]; then
        # A copy: a rebuild on the host cannot change it under the tests.
        install -m 755 /results/.guest/ringloop "$RINGLOOP"
    fi
    local controller
    for controller in $(<$cgroups/cgroup.controllers); do
        echo "+$controller" >$cgroups/cgroup.subtree_control
    done
    echo 1 >/proc/sys/kernel/sysrq
    echo 60 >/proc/sys/kernel/hung_task_timeout_secs
    mkdir $group
    mapfile -t baseline_mounts < <(mount_points)
}

tell() {
    echo "$*" >&3
}

power_off() {
    sync -f /scratch
    tell bye
    echo o >/proc/sysrq-trigger
    while :; do sleep 60; done
}

mount_points() {
    local point _
    while read -r _ point _; do echo "$point"; done </proc/mounts
}

run_test() {
    local name=$1 limit=$2 log=/results/$1.log
    local started=${EPOCHREALTIME/./} status reason="" dirty=""
    tell begin "$name"
    echo "<4>vm: $name begins" >/dev/kmsg
    : >"$log"
    (
        echo $BASHPID >$group/cgroup.procs
        cd /scratch || exit
        exec bash "/results/.guest/tests/$name.sh"
    ) >>"$log" 2>&1 </dev/null 3>&- &
    wait_for_test $! "$limit"
    find_leftovers
    clean_up 2>>"$log"
    find_kernel_complaints
    if [[ -n $reason ]]; then echo "vm: $reason" >>"$log"; fi
    tell end "$name" "$status" $(((${EPOCHREALTIME/./} - started) / 1000)) "$reason"
    if [[ -n $dirty ]]; then
        tell dirty "$dirty"
        power_off
    fi
}

# The functions below work on run_test's variables: name, log; status, reason, dirty.

wait_for_test() {
    local test=$1 limit=$2 timer first processes
    sleep "$limit" &
    timer=$!
    wait -n -p first "$test" "$timer"
    status=$?
    if [[ $first == "$test" ]]; then
        kill "$timer"
        wait "$timer" 2>/dev/null
        return
    fi
    status=$status_timeout
    reason="timed out after $limit s"
    describe_hang >>"$log" 2>&1
    # TERM first: the test's own cleanup may still work.
    mapfile -t processes <$group/cgroup.procs
    kill -TERM "${processes[@]}" 2>/dev/null
    wait_until_gone "$test" || echo 1 >$group/cgroup.kill
    wait_until_gone "$test" || note_dirty "$name does not die"
}

wait_until_gone() {
    local deadline=$((SECONDS + grace_seconds))
    while [[ -e /proc/$1 ]] && kill -0 "$1" 2>/dev/null; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

describe_hang() {
    echo "vm: timed out; its processes:"
    ps -o pid,stat,wchan:24,args -p "$(paste -sd, $group/cgroup.procs)"
    echo w >/proc/sysrq-trigger
    echo "vm: tasks blocked in the kernel:"
    dmesg | sed -n '/sysrq: Show Blocked State/h; //!H; ${x;p}'
}

note() {
    reason="${reason:+$reason; }$1"
}

# The guest cannot be made clean: the host starts another one for the rest of the tests.
note_dirty() {
    dirty="${dirty:+$dirty; }$1"
}

# A server that is just leaving gets a moment before it counts as left behind.
find_leftovers() {
    local deadline=$((SECONDS + grace_seconds)) left
    while left=$(leftovers) && [[ -n $left ]] && ((SECONDS < deadline)); do sleep 0.2; done
    [[ -n $left ]] || return 0
    note "left behind: ${left//$'\n'/, }"
    [[ $status != 0 && $status != 77 ]] || status=$status_left_behind
    remove_leftovers 2>>"$log"
}

leftovers() {
    local pid file
    for pid in $(ringloop_processes); do
        echo "process $pid ($(tr '\0' ' ' </proc/"$pid"/cmdline 2>/dev/null))"
    done
    for file in /dev/ublkb* /dev/ublkc[0-9]* /sys/block/nbd*/pid /run/ringloop/*; do
        echo "$file"
    done
}

ringloop_processes() {
    find /proc/[0-9]*/exe -lname '*/ringloop*' 2>/dev/null |
        while IFS=/ read -r _ _ pid _; do echo "$pid"; done
}

remove_leftovers() {
    local devices left pid
    unmount_leftovers
    for pid in $(ringloop_processes); do kill -KILL "$pid"; done
    wait_until_empty
    devices=(/dev/ublkc[0-9]* /sys/block/nbd*/pid)
    if ((${#devices[@]})) && [[ -x $RINGLOOP ]]; then
        timeout -k 1 5 "$RINGLOOP" detach --all --force >>"$log" 2>&1
    fi
    rm -rf /run/ringloop
    left=$(leftovers)
    [[ -z $left ]] || note_dirty "cannot remove ${left//$'\n'/, }"
}

# What a test may leave without blame, but the next one must not find.
clean_up() {
    local found writes
    wait_until_empty
    unmount_leftovers
    found=("$cgroups"/*/ "$group"/*/)
    if ((${#found[@]} > 1)); then remove_cgroups; fi
    found=(/dev/mapper/[!c]*)
    if ((${#found[@]})); then dmsetup remove_all -f; fi
    found=(/sys/block/loop*/loop)
    if ((${#found[@]})); then losetup -D; fi
    found=(/tmp/* /dev/shm/* /scratch/*)
    if ((${#found[@]} > 1)); then
        find /tmp /dev/shm /scratch -mindepth 1 ! -path /scratch/lost+found -delete
    fi
    read -r _ _ _ _ writes _ </sys/block/"${RAW_DISK##*/}"/stat
    if ((writes != raw_writes)); then blkdiscard -f "$RAW_DISK" 2>/dev/null; fi
    read -r _ _ _ _ raw_writes _ </sys/block/"${RAW_DISK##*/}"/stat
    # Bit 7 of the taint: the kernel has died once (Oops or BUG) and cannot be trusted further.
    if (($(</proc/sys/kernel/tainted) & 128)); then note_dirty "the kernel is broken"; fi
}
raw_writes=0

unmount_leftovers() {
    local points i
    mapfile -t points < <(mount_points)
    for ((i = ${#points[@]} - 1; i >= ${#baseline_mounts[@]}; i--)); do
        timeout -k 1 5 umount "${points[i]}" || umount -l "${points[i]}"
    done
}

wait_until_empty() {
    local deadline=$((SECONDS + grace_seconds)) events
    while read -r -d '' events <$group/cgroup.events; [[ $events != *"populated 0"* ]]; do
        echo 1 >$group/cgroup.kill
        if ((SECONDS >= deadline)); then
            note_dirty "processes of $name do not die"
            return
        fi
        sleep 0.05
    done
}

remove_cgroups() {
    local child
    find $cgroups -mindepth 1 -depth -type d ! -path $group | while read -r child; do
        echo 1 >"$child/cgroup.kill"
        for _ in {1..60}; do
            if rmdir "$child" 2>/dev/null; then break; fi
            sleep 0.05
        done
    done
}

find_kernel_complaints() {
    local lines
    lines=$(dmesg | awk -v mark="vm: $name begins" -v complaint="$kernel_complaint" '
        index($0, mark) { delete found; count = 0; next }
        $0 ~ complaint { found[count++] = $0 }
        END { for (i = 0; i < count; i++) print found[i] }')
    [[ -n $lines ]] || return 0
    note "the kernel complained: ${lines%%$'\n'*}"
    printf 'vm: from the kernel log:\n%s\n' "$lines" >>"$log"
    [[ $status != 0 && $status != 77 ]] || status=$status_kernel
}

run_shell() {
    stty -F /dev/ttyS0 sane rows "${LINES:-24}" cols "${COLUMNS:-80}"
    setsid -cw bash -l </dev/ttyS0 >/dev/ttyS0 2>&1 3>&-
}

prepare_guest
tell ready "$(uname -r)"
if [[ -n ${VM_INIT:-} ]]; then exec bash "/tree/tests/vm/tools/$VM_INIT"; fi
if [[ -n ${VM_SHELL:-} ]]; then
    run_shell
else
    while read -r name limit; do run_test "$name" "$limit"; done </results/.guest/plan
fi
power_off
