#!/usr/bin/env python3
"""Builds ringloop and runs every test of it; `make test` is this without options.

    tests/run.py [--only STAGE,...] [--preset PRESET,...] [-k PATTERN] [-j N] [--minutes N]

The stages, in their order: tidy (the rules of the house, clang-format, clang-tidy), unit (for each
preset: build, ctest), sim (the server on a simulated kernel for an hour of its time, and every
planted defect), blackbox (tests/*.sh and tests/blackbox/*.sh against build/release/ringloop),
hostile (clients of its NBD server that lie or break off), interop (clients and suites that others
wrote), fuzz (each fuzzer for some seconds) and vm (tests/vm, once a kernel). Passing groups take
one line, whatever fails is shown in full, a skipped test says why. What failed is tried once more,
alone: a test that passes then is listed as unsteady, to be looked at, and does not fail the run.
The last line reads `N passed, N failed, N skipped`; exit code 0 only when something ran and nothing
failed. A limit of time is there for what hangs, not to be met: a machine may be PATIENCE times as
slow as an idle one, and $TEST_PATIENCE tells the tests so.

A black-box test is an executable script: exit code 0 passed, 77 skipped with the reason as its last
line, anything else failed. It finds the program in $RINGLOOP, a folder of its own in $TEST_DIR
(which is where it starts) and $RINGLOOP_RUNTIME_DIR below that, and leaves no process behind.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

from processes import become_subreaper, end_stragglers
from report import Report, last_line

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
RESULTS = BUILD / "test"
BINARY = BUILD / "release" / "ringloop"

STAGES = ("tidy", "unit", "sim", "blackbox", "hostile", "interop", "fuzz", "vm")
PRESETS = ("asan", "tsan")
OTHER_PRESETS = ("release", "debug")  # only when asked for: the same unit tests, seen by less
KERNELS = ("6.12", "6.1")

PATIENCE = 4
BLACKBOX_TIMEOUT_S = 120 * PATIENCE
CASES_TIMEOUT_S = 300 * PATIENCE
# About a minute in sum, two at a time. Strangers speak NBD; the other fuzzers' bytes come from
# whoever is root already, or from a process of our own.
FUZZ_NBD_S = 20
FUZZ_S = 11
FUZZ_AT_ONCE = 2
FUZZ_TIMEOUT_S = 90 * PATIENCE
VM_TIMEOUT_S = 1000 * PATIENCE
SIM_HOURS = 1
SIM_AT_ONCE = 2
SIM_TIMEOUT_S = 300 * PATIENCE
SKIPPED = 77
# More than these at once are no accident, and are not tried again.
SECOND_ATTEMPTS_MAX = 5
# Programs that a person runs, beside the tests in the same folder.
NOT_A_TEST = ("demo.sh",)
# What the runners of cases and of the guest's tests print for each.
CASE_LINE = re.compile(r"(PASS|FAIL|SKIP) (\S+) ([\d.]+)(?: s)?(?:: (.*))?")
NINJA_PROGRESS = re.compile(r"^\[\d+/\d+\] .*\n", re.MULTILINE)


def run(command, **keywords):
    """Runs to the end, both outputs in one text; a missing program is a failure like another."""
    try:
        return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                              **keywords)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, f"{error}; make deps installs it\n")


# ---- tidy --------------------------------------------------------------------------------------


def check_command(report, name, command):
    start = time.monotonic()
    done = run(command)
    outcome = "PASS" if done.returncode == 0 else "FAIL"
    report.test("tidy", name, outcome, time.monotonic() - start, done.stdout)


def run_tidy(report, options):
    with report.stage("tidy"):
        checks = [
            ("the rules of the house", ["tools/tidy.py"]),
            ("every rule can fail", ["tools/tidy_test.py"]),
            ("clang-format", ["clang-format-19", "--dry-run", "-Werror", *cpp_files()]),
        ]
        for name, command in checks:
            if re.search(options.pattern, name):
                check_command(report, name, command)
    if re.search(options.pattern, "clang-tidy"):
        # The tree of clang has the compile commands that clang-tidy understands.
        with report.stage("clang-tidy"):
            done = run(["cmake", "--preset", "asan"])
            if done.returncode == 0:
                done = run(["cmake", "--build", "--preset", "asan", "--target", "generated"])
            if done.returncode == 0:
                check_command(report, "clang-tidy", ["tools/clang_tidy.py", "-j", options.jobs])
            else:
                report.test("tidy", "clang-tidy", "FAIL", 0, done.stdout)


def cpp_files():
    folders = [ROOT / name for name in ("src", "bench", "fuzz", "tests")]
    return [str(path.relative_to(ROOT)) for folder in folders
            for path in sorted(folder.rglob("*")) if path.suffix in (".h", ".cc", ".c")]


# ---- build and unit tests ----------------------------------------------------------------------


def targets_of(preset, options):
    """The other tests run the release build, and the fuzzers share their objects with asan's."""
    targets = [] if preset == "release" and preset not in options.preset else ["unit_tests"]
    if preset == "release":
        targets += ["all", "native_benchmarks", "engine_test"]  # the last is for the mutants
    return targets + ["fuzzers"] if preset == "asan" else targets


def build(report, options, preset, built):
    """Configures and builds a preset once; a build that fails counts as a failed test."""
    if preset not in built:
        with report.stage(f"build/{preset}"):
            start = time.monotonic()
            done = run(["cmake", "--preset", preset])
            if done.returncode == 0:
                # On to the end, whatever fails: all the errors at once.
                done = run(["cmake", "--build", "--preset", preset, "-j", options.jobs,
                            "--target", *targets_of(preset, options), "--", "-k", "0"])
            built[preset] = done.returncode == 0
            seconds = time.monotonic() - start
            if built[preset]:
                report.line(f"[build/{preset}] built ({seconds:.1f} s)")
            else:
                report.test(f"build/{preset}", "builds without a warning", "FAIL", seconds,
                            NINJA_PROGRESS.sub("", done.stdout))
    return built[preset]


def run_unit(report, options, preset):
    group = f"unit/{preset}"
    results = RESULTS / f"unit-{preset}.xml"
    results.unlink(missing_ok=True)
    with report.stage(group):
        start = time.monotonic()
        done = run(["ctest", "--preset", preset, "-L", "^unit$", "-R", options.pattern or ".", "-Q",
                    "-j", options.jobs, "--output-junit", str(results),
                    "--test-output-size-failed", "1000000",
                    "--no-tests=ignore" if options.pattern else "--no-tests=error"])
        read_unit_results(report, group, results, done, time.monotonic() - start)


def read_unit_results(report, group, results, done, seconds):
    cases = []
    if results.exists():
        cases = xml.etree.ElementTree.parse(results).getroot().findall("testcase")
    passed, others = 0, []
    for case in cases:
        if case.get("status") == "run":
            passed += 1
            report.passed_names.add((group, case.get("name")))
        else:
            others.append(case)
    report.passed += passed
    skipped = sum(case.find("skipped") is not None for case in others)
    report.line(f"[{group}] {passed} passed, {len(others) - skipped} failed, {skipped} skipped "
                f"({seconds:.1f} s)")
    for case in others:
        output = case.findtext("system-out") or ""
        if case.find("skipped") is not None:
            found = re.search(r": Skipped\n(.*)", output)
            reason = found.group(1) if found else case.find("skipped").get("message")
            report.test(group, case.get("name"), "SKIP", float(case.get("time")), reason)
        else:
            report.test(group, case.get("name"), "FAIL", float(case.get("time")), output)
    # ctest itself may fail: no test at all, or a test program that cannot list its tests.
    if done.returncode != 0 and skipped == len(others):
        report.test(group, "ctest", "FAIL", seconds, done.stdout or "no unit test was found")


# ---- black-box tests ---------------------------------------------------------------------------


def blackbox_tests(pattern):
    found = [path for folder in ("tests", "tests/blackbox")
             for path in sorted((ROOT / folder).glob("*.sh"))]
    # A test names its interpreter, whatever its mode: what the tests share (lib.sh) does not.
    return [path for path in found if path.read_bytes().startswith(b"#!")
            and path.name not in NOT_A_TEST and re.search(pattern, path.stem)]


def run_blackbox_test(script, output_path):
    """(exit code, output) of one script in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="ringloop-test-") as folder:
        environment = {**os.environ, "RINGLOOP": str(BINARY), "TEST_DIR": folder,
                       "RINGLOOP_RUNTIME_DIR": f"{folder}/run"}
        with open(output_path, "w+", encoding="utf-8", errors="replace") as output:
            process = subprocess.Popen([script], cwd=folder, env=environment, stdout=output,
                                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       start_new_session=True)
            try:
                code = process.wait(BLACKBOX_TIMEOUT_S)
                late = []
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
                late = [f"no end after {BLACKBOX_TIMEOUT_S} s"]
            except KeyboardInterrupt:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            left = late + end_stragglers()
        text = output_path.read_text(encoding="utf-8", errors="replace")
        if left:
            text = "\n".join([text.rstrip("\n"), *left])
        return (1 if left else code), text


def run_blackbox(report, options):
    tests = blackbox_tests(options.pattern)
    if not tests:
        return
    with report.stage("blackbox"):
        become_subreaper()
        for script in tests:
            start = time.monotonic()
            code, output = run_blackbox_test(script, RESULTS / f"{script.stem}.log")
            outcome = {0: "PASS", SKIPPED: "SKIP"}.get(code, "FAIL")
            if outcome == "FAIL":
                output = f"{output.rstrip()}\nexit code {code}"
            report.test("blackbox", script.stem, outcome, time.monotonic() - start, output)


# ---- clients of the NBD server ------------------------------------------------------------------


def run_cases(report, options, stage):
    """Each file of tests/STAGE holds cases; tests/nbd/run.py runs them. Several files at once."""
    files = sorted((ROOT / "tests" / stage).glob("*.py"))
    with report.stage(stage), concurrent.futures.ThreadPoolExecutor(int(options.jobs)) as pool:
        for file, done in zip(files, pool.map(lambda file: run_file(file, options), files)):
            read_case_lines(report, f"{stage}/{file.stem}", done)


def run_file(file, options):
    # The system's own Python: it is the one that Debian's modules are for.
    command = ["timeout", "-k", "10", str(CASES_TIMEOUT_S), "/usr/bin/python3", "-B",
               "tests/nbd/run.py", str(file), "-k", options.pattern]
    return run(command, env={**os.environ, "RINGLOOP": str(BINARY)})


def read_case_lines(report, group, done):
    """Below the line of a test that failed stands, indented, why."""
    found, rest = [], []
    for line in done.stdout.splitlines():
        match = CASE_LINE.match(line)
        if match:
            found.append([*match.groups(), []])
        elif found and line.startswith("    "):
            found[-1][-1].append(line[4:])
        else:
            rest.append(line)
    for outcome, name, seconds, reason, lines in found:
        report.test(group, name, outcome, float(seconds), "\n".join([*lines, reason or ""]))
    failed = any(outcome == "FAIL" for outcome, *_ in found)
    if rest or (done.returncode != 0 and not failed):
        report.test(group, "the cases run to their end", "FAIL", 0,
                    "\n".join([*rest, f"exit code {done.returncode}"]))


def run_hostile(report, options):
    run_cases(report, options, "hostile")
    name = "every planted defect is noticed"
    if re.search(options.pattern, name):
        with report.stage("mutants"):
            start = time.monotonic()
            done = run(["/usr/bin/python3", "-B", "tests/nbd/mutants.py"])
            report.test("hostile", name, "FAIL" if done.returncode else "PASS",
                        time.monotonic() - start, done.stdout)


# ---- the simulator -----------------------------------------------------------------------------


def run_sim(report, options):
    """Another seed for each commit: a run that fails names its own, and so can be had again."""
    with report.stage("sim"):
        if re.search(options.pattern, "simulated"):
            commit = run(["git", "rev-parse", "HEAD"]).stdout.strip()
            first = int(commit[:10], 16) if re.fullmatch("[0-9a-f]{40}", commit) else 1
            seeds = [first + half * 1_000_000_000 for half in range(SIM_AT_ONCE)]
            with concurrent.futures.ThreadPoolExecutor(SIM_AT_ONCE) as pool:
                for seed, (done, seconds) in zip(seeds, pool.map(run_simulator, seeds)):
                    report.test("sim", f"nothing is wrong from seed {seed} on",
                                "FAIL" if done.returncode else "PASS", seconds, done.stdout)
                    if done.returncode == 0:
                        report.show(last_line(done.stdout))
    if re.search(options.pattern, "mutants"):
        with report.stage("sim/mutants"):
            done = run(["tests/mutants/run.py", "-j", options.jobs])
            read_case_lines(report, "sim/mutants", done)


def run_simulator(seed):
    start = time.monotonic()
    done = run(["timeout", "-k", "10", str(SIM_TIMEOUT_S), "build/release/ringloop-sim",
                "--seed", str(seed), "--simulated-hours", str(SIM_HOURS / SIM_AT_ONCE)])
    return done, time.monotonic() - start


# ---- fuzzers -----------------------------------------------------------------------------------


def run_fuzz(report, options):
    """What they discover goes into build/, what they were given stays."""
    names = [path.stem for path in sorted((ROOT / "fuzz").glob("*_fuzz.cc"))
             if re.search(options.pattern, path.stem)]
    with report.stage("fuzz"), concurrent.futures.ThreadPoolExecutor(FUZZ_AT_ONCE) as pool:
        for name, (done, seconds) in zip(names, pool.map(run_fuzzer, names)):
            report.test("fuzz", name, "FAIL" if done.returncode else "PASS", seconds, done.stdout)


def run_fuzzer(name):
    found = RESULTS / "fuzz" / name
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir(parents=True)
    seconds = FUZZ_NBD_S if name.startswith("nbd_") else FUZZ_S
    start = time.monotonic()
    done = run(["timeout", "-k", "10", str(FUZZ_TIMEOUT_S), f"build/asan/{name}",
                f"-max_total_time={seconds}", "-max_len=4096", "-print_final_stats=1",
                f"-artifact_prefix={found}/", str(found),
                f"fuzz/corpus/{name.removesuffix('_fuzz')}"])
    return done, time.monotonic() - start


# ---- tests in a guest --------------------------------------------------------------------------

VM_RUNNER = ROOT / "tests" / "vm" / "run.py"
VM_AT_ONCE = 3
VM_PARTS = 3
VM_OTHER_KERNEL = re.compile(r"^# kernel: *(?!any\b)(\S+)", re.MULTILINE)
VM_LAST_LINE = re.compile(r"\d+ passed, \d+ failed, \d+ skipped")


def vm_tests(pattern, kernel):
    """Names of the tests that the pattern chooses, among those for this kernel."""
    chosen = []
    for path in sorted((ROOT / "tests" / "vm" / "tests").glob("*.sh")):
        only = VM_OTHER_KERNEL.search(path.read_text(encoding="utf-8"))
        if re.search(pattern, path.stem) and (only is None or only.group(1) == kernel):
            chosen.append(path.stem)
    return chosen


def run_vm(report, options):
    """A guest keeps two thirds of a processor busy: most of its tests do one thing at a time."""
    guests = []
    for kernel in options.kernel:
        tests = vm_tests(options.pattern, kernel)
        guests += [(kernel, part, tests[part::VM_PARTS]) for part in range(VM_PARTS)
                   if tests[part::VM_PARTS]]
    running = []
    with concurrent.futures.ThreadPoolExecutor(VM_AT_ONCE) as pool:
        ends = [pool.submit(run_guest, report, options, running, *guest) for guest in guests]
        try:
            for end in ends:
                end.result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            raise


def run_guest(report, options, running, kernel, part, tests):
    group = f"vm/{kernel}"
    results = RESULTS / f"vm-{kernel}-{part + 1}"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    command = [str(VM_RUNNER), "--kernel", kernel, "--binary", str(BINARY), "--out", str(results),
               "--patience", str(PATIENCE), *tests]
    with report.stage(f"{group} {part + 1}"):
        start = time.monotonic()
        process = subprocess.Popen(["timeout", "-k", "10", str(VM_TIMEOUT_S), *command], cwd=ROOT,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, errors="replace")
        running.append(process)
        with ended_at(options.deadline, process):
            failures, said, ended = read_vm_lines(report, group, results, process.stdout)
            code = process.wait()
        if not ended and time.monotonic() > options.deadline:
            for name in tests:
                if not (results / f"{name}.rc").exists():
                    report.test(group, name, "SKIP", 0, no_time_left(options))
        elif not ended or (code != 0 and failures == 0):
            reason = f"no end after {VM_TIMEOUT_S} s" if code == 124 else f"exit code {code}"
            report.test(group, "the guest runs to its end", "FAIL", time.monotonic() - start,
                        "\n".join([*said, reason]))


@contextlib.contextmanager
def ended_at(deadline, process):
    """The process, unless it has ended by itself. deadline: of time.monotonic()."""
    wait_s = min(deadline - time.monotonic(), threading.TIMEOUT_MAX)
    timer = threading.Timer(max(wait_s, 0), process.terminate)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def read_vm_lines(report, group, results, stream):
    """Reports each test as its line arrives; (failures, other lines, did the last line come)."""
    failures, said, ended = 0, [], False
    for line in stream:
        line = line.rstrip("\n")
        match = CASE_LINE.match(line)
        if match:
            outcome, name, seconds, reason = match.groups()
            failures += outcome == "FAIL"
            log = results / f"{name}.log"
            output = log.read_text(errors="replace") if log.exists() else f"no {log.name}\n"
            report.test(group, name, outcome, float(seconds), output + (reason or ""))
        else:
            said.append(line)
            ended = ended or VM_LAST_LINE.fullmatch(line) is not None
    return failures, said, ended


# ---- the whole ---------------------------------------------------------------------------------


def choices(allowed):
    def parse(text):
        names = text.split(",")
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"'{name}' is not one of {', '.join(allowed)}")
        return names
    return parse


def parse_options():
    parser = argparse.ArgumentParser(description="Builds ringloop and runs every test of it.")
    parser.add_argument("--only", type=choices(STAGES), default=STAGES, metavar="STAGE,...",
                        help=f"of {', '.join(STAGES)}")
    parser.add_argument("--preset", type=choices(PRESETS + OTHER_PRESETS), default=PRESETS,
                        metavar="PRESET,...", help="of the unit tests: " + ", ".join(PRESETS) +
                        " unless given; " + ", ".join(OTHER_PRESETS))
    parser.add_argument("--kernel", type=choices(KERNELS), default=KERNELS, metavar="KERNEL,...",
                        help="of the guest: " + ", ".join(KERNELS))
    parser.add_argument("-k", dest="pattern", default="", metavar="PATTERN",
                        help="only tests whose name matches this regular expression")
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="N",
                        help="what has not begun by then, or runs in a guest, is skipped")
    parser.add_argument("-j", dest="jobs", default=str(os.cpu_count()), metavar="N")
    options = parser.parse_args()
    options.deadline = time.monotonic() + 60 * options.minutes
    return options


def no_time_left(options):
    return f"no time was left of {options.minutes:g} minutes"


def wanted(stage, report, options):
    """Whether the stage is to run. One that there is no time for is reported as skipped."""
    if stage not in options.only:
        return False
    if time.monotonic() > options.deadline:
        report.test(stage, "the whole stage", "SKIP", 0, no_time_left(options))
        return False
    return True


def attempt_twice(stage, report, options):
    """stage: a function of these two; failures of the second attempt are shown like those of the
    first."""
    before = len(report.failures)
    stage(report, options)
    failed = report.failures[before:]
    if not 0 < len(failed) <= SECOND_ATTEMPTS_MAX or time.monotonic() > options.deadline:
        return
    names = sorted({name for _, name in failed})
    report.line(f"once more, alone: {', '.join(names)}")
    again = Report()
    pattern = f"^({'|'.join(re.escape(name) for name in names)})$"
    stage(again, argparse.Namespace(**{**vars(options), "pattern": pattern, "jobs": "1"}))
    report.settle(failed, again)


def main():
    # The same as ^C, which is handled wherever something runs: no guest outlives this run.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.setdefault("TEST_PATIENCE", str(PATIENCE))
    options = parse_options()
    report = Report()
    built = {}
    RESULTS.mkdir(parents=True, exist_ok=True)
    if wanted("tidy", report, options):
        run_tidy(report, options)
    if wanted("unit", report, options):
        for preset in options.preset:
            if build(report, options, preset, built):
                attempt_twice(functools.partial(run_unit, preset=preset), report, options)
    if wanted("sim", report, options) and build(report, options, "release", built):
        run_sim(report, options)
    if wanted("blackbox", report, options) and build(report, options, "release", built):
        attempt_twice(run_blackbox, report, options)
    if wanted("hostile", report, options) and build(report, options, "release", built):
        attempt_twice(run_hostile, report, options)
    if wanted("interop", report, options) and build(report, options, "release", built):
        attempt_twice(functools.partial(run_cases, stage="interop"), report, options)
    if wanted("fuzz", report, options) and build(report, options, "asan", built):
        run_fuzz(report, options)
    if wanted("vm", report, options) and build(report, options, "release", built):
        attempt_twice(run_vm, report, options)
    return report.finish()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
