#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"

run_program "$RINGLOOP" doctor --json
echo "$stdout"
python3 - "$status" <<'END'
import json, sys
doctor = json.load(open(".stdout"))
findings = doctor["findings"]
topics = {finding["topic"] for finding in findings}
missing = {"kernel", "ublk", "nbd", "io_uring", "cgroup", "lanes"} - topics
assert not missing, f"no finding about {missing}"
for finding in findings:
    assert finding["health"] in ("ok", "warn", "fail"), finding
    assert finding["fact"], finding
    if finding["health"] != "ok":
        assert finding["remedy"] or ": " in finding["fact"], f"no way out: {finding}"
failed = any(finding["health"] == "fail" for finding in findings)
assert doctor["usable"] == (not failed), doctor
assert sys.argv[1] == ("1" if failed else "0"), f"exit code {sys.argv[1]}"
END
run_program "$RINGLOOP" doctor
assert_match "$stdout" "(ok|warn|fail) +ublk " "what doctor says"
