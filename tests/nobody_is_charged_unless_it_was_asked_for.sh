#!/usr/bin/env bash
# And what is asked of lanes where there are none is refused or said, whatever became of the device.
source "$(dirname "$0")/lib.sh"

truncate -s 1M image
pid_of() { # NAME
    "$RINGLOOP" status --json "$1" | sed -n 's/^  "pid": \([0-9]*\).*/\1/p'
}
"$RINGLOOP" attach --transport socket --name plain image >/dev/null

python3 - "$("$RINGLOOP" status --json plain)" "$("$RINGLOOP" list --json)" <<'END'
import json, sys
status, (listed,) = json.loads(sys.argv[1]), json.loads(sys.argv[2])
assert status["charge"] == listed["charge"] == "off", (status, listed)
assert status["lane_idle_s"] == listed["lane_idle_s"] == 60, (status, listed)
lanes = [field for field in status if field.startswith("lanes") or field == "lane_fallbacks"]
assert not lanes, lanes
END
assert_match "$("$RINGLOOP" status plain)" $'\n'"charge +off"$'\n' "what status says"
assert_eq "$(ps --ppid "$(pid_of plain)" -o comm= || true)" ringloop-opener \
    "the processes of the server"

# The one line of `list --lanes` that is not the header.
lanes() {
    "$RINGLOOP" list --lanes | sed -n '2,$ s/  */ /gp'
}
assert_match "$("$RINGLOOP" list --lanes)" \
    "^NAME +CGROUP +STATE +REQUESTS +READ +WRITTEN +INFLIGHT +WORKERS +IDLE"$'\n' "the header"
assert_eq "$(lanes)" "plain (charges nobody) - - - - - - -" "the lanes"
assert_match "$("$RINGLOOP" list --lanes --json)" '"charge": "off"' "the lanes as objects"

for option in --reap-lanes --lane-idle=5; do
    run_program "$RINGLOOP" set plain "$option" --policy linux-4.4
    assert_eq "$status" 1 "the exit code of set $option"
    assert_match "$stderr" "^ringloop: nbd[^ ]+: has no lanes, .*--charge issuer" "what set said"
    assert_match "$("$RINGLOOP" status --json plain)" '"policy": "auto"' "the policy"
done

# A server that does not answer hides no other, one that died neither.
"$RINGLOOP" attach --allow-overlap --transport socket --name stopped image >/dev/null
stopped=$(pid_of stopped)
kill -STOP "$stopped"
run_program "$RINGLOOP" list --lanes
kill -CONT "$stopped"
assert_eq "$status" 0 "the exit code of list --lanes"
assert_match "$stdout" $'\n'"plain +\\(charges nobody\\)" "the lanes of one device"
assert_match "$stdout" $'\n'"stopped +\\(no answer\\)" "the lanes of the other"
assert_match "$stderr" "^ringloop: warning: .*stopped" "what list said"
"$RINGLOOP" detach stopped
kill_server plain
assert_eq "$(lanes)" "plain (dead) - - - - - - -" "the lanes of a dead device"
"$RINGLOOP" recover plain >/dev/null
assert_eq "$(lanes)" "plain (charges nobody) - - - - - - -" "the lanes"
"$RINGLOOP" detach plain
assert_eq "$("$RINGLOOP" list --lanes)" "" "the lanes of no device"
assert_nothing_left
