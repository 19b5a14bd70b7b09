#!/usr/bin/env bash
# Five upgrades in a row under clients that check all they read (upgrades.py --rounds does it as
# often as wanted), under copies that begin and end meanwhile, and under fio; and the tool finds
# what it is there to find.
tool=$(cd "$(dirname "$0")" && pwd)/upgrades.py
source "$(dirname "$0")/lib.sh"
need_python_nbd
need_program nbdcopy
need_program fio
export RINGLOOP

/usr/bin/python3 "$tool" --rounds 5 >upgrades.json || die "upgrades.py failed: $(<upgrades.json)"
python3 - <<'PYTHON'
import json
result = json.load(open("upgrades.json"))
assert result["rounds"] == 5 and result["requests"] > 100, result
assert 0 < result["pause_us"]["p50"] <= result["pause_us"]["max"], result
print(result["pause_us"])
PYTHON

head -c 24M /dev/urandom >source.img
truncate -s 64M image
uri=$("$RINGLOOP" attach --transport socket image)
copy_again_and_again() {
    local copies=0
    until [[ -e enough && $copies -gt 0 ]]; do
        nbdcopy source.img "$uri" || return 1
        nbdcopy "$uri" copy.img || return 1
        cmp -n 25165824 source.img copy.img || return 1
        copies=$((copies + 1))
    done
    echo "$copies copies"
}
copy_again_and_again &
copies=$!
fio --name=load --ioengine=nbd --uri="$uri" --rw=randrw --bs=4k-64k --iodepth=16 --offset=32M \
    --size=24M --io_size=1G --time_based --runtime=60 --verify=crc32c --verify_backlog=64 \
    --verify_fatal=1 --trigger-file=fio.enough --output=fio.log &
fio=$!
for _ in 1 2 3 4 5; do
    "$RINGLOOP" upgrade image >/dev/null
done
touch enough fio.enough
wait "$copies" || die "a copy met an upgrade"
wait "$fio" || die "fio met an upgrade: $(<fio.log)"
"$RINGLOOP" detach image

# Clients that are cut off, and a payload that is lost on the way, do not go unnoticed.
sed 's/"upgrade", "--json"/"recover", "--json"/' "$tool" >broken.py
cp "$(dirname "$tool")/live_changes.py" .
run_program /usr/bin/python3 broken.py --rounds 2
assert_eq "$status" 1 "the exit code where no server takes over ($stdout)"
"$RINGLOOP" detach --all --force
assert_nothing_left
