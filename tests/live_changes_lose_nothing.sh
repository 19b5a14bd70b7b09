#!/usr/bin/env bash
# Every live change a few times under clients that check all they read (live_changes.py --rounds
# does it as often as wanted), and the tool finds what it is there to find.
tool=$(cd "$(dirname "$0")" && pwd)/live_changes.py
source "$(dirname "$0")/lib.sh"
need_python_nbd
export RINGLOOP

/usr/bin/python3 "$tool" --rounds 12 >changes.json || die "live_changes.py failed: $(<changes.json)"
python3 - <<'PYTHON'
import json
changes = json.load(open("changes.json"))
assert len(changes) == 7, changes
for name, result in changes.items():
    if "skipped" in result:
        print(name, result["skipped"])
        continue
    assert result["rounds"] == 12 and result["requests"] > 100, (name, result)
    assert result["pause_us"]["max"] > 0, (name, result)
    print(name, result["pause_us"])
# Only a device that is read-only half of the time refuses something.
assert changes["read-only"]["refused"] > 0, changes
PYTHON

# A name of another file in place of the same one: what was written is not there.
sed 's/os.link("a", name)/fill(name, "x")/' "$tool" >broken.py
run_program /usr/bin/python3 broken.py --rounds 12 --changes backing-file-force
assert_eq "$status" 1 "the exit code where writes are lost ($stdout)"
assert_match "$stderr" "block [0-9]+ is (lost|not what was written)"
assert_nothing_left
