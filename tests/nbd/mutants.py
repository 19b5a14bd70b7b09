#!/usr/bin/python3
"""Shows that the hostile cases can fail: plants each defect of toy.py and runs the case that has
to notice. A case that passes all the same is a failure here.

    tests/nbd/mutants.py [BUG...]
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

import toy

HERE = pathlib.Path(__file__).resolve().parent
HOSTILE = HERE.parent / "hostile"
LIMIT_S = 100

# defect: (file, case)
NOTICED_BY = {
    "huge-option": ("handshake", "an_option_without_end_is_cut_off"),
    "name-length": ("handshake", "a_name_longer_than_its_option_is_refused"),
    "long-name": ("handshake", "a_name_of_4096_bytes_is_unknown_and_a_longer_one_refused"),
    "query-count": ("handshake", "counts_inside_an_option_are_compared_with_its_length"),
    "early-close": ("handshake", "a_client_may_leave_after_any_byte_of_the_handshake"),
    "options-without-end": ("handshake", "haggling_without_end_is_cut_off"),
    "no-deadline": (
        "handshake", "a_hundred_half_open_connections_hinder_nobody_and_are_dropped"),
    "deadline-anew": ("handshake", "a_handshake_byte_by_byte_has_the_same_deadline"),
    "leak": ("handshake", "no_descriptor_is_left_of_a_connection"),
    "tls-injection": ("tls", "plain_text_behind_starttls_is_forgotten"),
    "tls-keeps-state": ("tls", "what_was_agreed_before_tls_is_forgotten"),
    "tls-optional": ("tls", "without_tls_nothing_is_told_where_it_is_required"),
    "any-certificate": ("tls", "only_who_is_on_the_list_is_let_in"),
    "offset-wrap": ("requests", "a_read_past_the_end_is_invalid_and_a_write_has_no_space"),
    "length-wrap": ("requests", "a_read_past_the_end_is_invalid_and_a_write_has_no_space"),
    "unknown-ends": ("requests", "an_unknown_command_or_flag_is_invalid"),
    "zero-length-ends": ("requests", "a_request_of_no_length_keeps_the_connection"),
    "oversize-ends": (
        "requests", "a_payload_over_the_limit_is_skipped_and_a_huge_one_ends_the_connection"),
    "sigpipe": ("requests", "a_client_that_leaves_before_its_replies_harms_nobody"),
    "mid-payload": (
        "requests", "a_client_that_dies_within_a_payload_writes_what_it_sent_at_most"),
    "stale-payload": (
        "requests", "a_client_that_dies_within_a_payload_writes_what_it_sent_at_most"),
    "write-read-only": ("requests", "a_read_only_export_refuses_every_change"),
    "unbounded-replies": ("pressure", "clients_that_stop_reading_cost_bounded_memory"),
    "oversize-kept": ("pressure", "payloads_that_never_end_cost_bounded_memory"),
    "extent-too-long": ("boundaries", "block_status_neither_wraps_nor_exceeds_its_range"),
    "extent-zero": ("boundaries", "block_status_neither_wraps_nor_exceeds_its_range"),
    "zero-31": ("boundaries", "write_zeroes_covers_its_whole_range"),
    "zero-64m": ("boundaries", "write_zeroes_covers_its_whole_range"),
    "trim-64m": ("boundaries", "trim_stays_within_its_range"),
    "no-hole-ignored": ("boundaries", "zeroing_without_holes_keeps_the_blocks"),
    "flush-own": ("coherence", "a_flush_on_one_connection_covers_the_writes_of_another"),
}


def notices(bug, file, name):
    """None, or why this defect goes unnoticed."""
    command = [sys.executable, HERE / "run.py", HOSTILE / f"{file}.py", "-k", f"^{name}$"]
    environment = {**os.environ, "NBD_SERVER": "toy", "NBD_BUG": bug, "NBD_WAIT_S": "5"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=LIMIT_S)
    outcome = re.match(r"(PASS|FAIL|SKIP)", done.stdout)
    if outcome is None:
        return f"{name} did not run: {done.stdout}{done.stderr}"
    return None if outcome.group(1) == "FAIL" else f"{name}: {done.stdout.splitlines()[0]}"


def main():
    assert set(NOTICED_BY) == set(toy.BUGS), set(NOTICED_BY) ^ set(toy.BUGS)
    chosen = sys.argv[1:] or list(NOTICED_BY)
    missed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = pool.map(lambda bug: notices(bug, *NOTICED_BY[bug]), chosen)
        for bug, reason in zip(chosen, reasons):
            missed += reason is not None
            print(f"{'noticed' if reason is None else 'MISSED'} {bug}: "
                  f"{reason or NOTICED_BY[bug][1]}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} defects are noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
