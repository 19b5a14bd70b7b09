#!/usr/bin/env bash
# top on terminals of two sizes, driven by keys: what it draws stays within them, and whatever way
# it ends, the terminal is as it was.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 16M image
mkdir -p "$(printf 'long%.0s' {1..30})"
cp --sparse=always image "$(printf 'long%.0s' {1..30})/"$'im\x1b[31mage'
uri=$("$RINGLOOP" attach --nbd unix:socket --name a-disk image)
"$RINGLOOP" attach --nbd unix:other --charge issuer --name "$(printf 'z%.0s' {1..64})" \
    "$(printf 'long%.0s' {1..30})/"$'im\x1b[31mage' >/dev/null
python_nbd "$uri" <<'END'
import fcntl, os, pty, re, select, signal, struct, subprocess, sys, termios, threading, time

ringloop = os.environ["RINGLOOP"]
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


class Terminal:
    """Runs top on a terminal and keeps what the screen shows."""

    def __init__(self, columns, lines, *arguments, kind="xterm"):
        self.primary, self.secondary = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self.secondary)
        self.text, self.screen = "", {}
        environment = dict(os.environ, TERM=kind)
        self.process = subprocess.Popen(
            [ringloop, "top", "--interval", "0.2", *arguments], stdin=self.secondary,
            stdout=self.secondary, stderr=self.secondary, env=environment,
            preexec_fn=self.begin_session)

    @staticmethod
    def begin_session():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # Whoever runs the tests may have them ignored (nohup, or a shell's background).
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    def resize(self, columns, lines):
        self.columns, self.lines = columns, lines
        fcntl.ioctl(self.primary, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys):
        os.write(self.primary, keys.encode())

    def read(self):
        if not select.select([self.primary], [], [], 0.05)[0]:
            return
        self.text += os.read(self.primary, 65536).decode()
        for at, erased, line in re.findall(r"\x1b\[(\d+);1H(\x1b\[2K|\x1b\[J)([^\x1b]*)",
                                           self.text):
            if erased == "\x1b[J":
                self.screen = {row: text for row, text in self.screen.items() if row < int(at)}
            else:
                self.screen[int(at)] = line

    def shows(self):
        return [self.screen[row] for row in sorted(self.screen)]

    def until(self, what, condition):
        deadline = time.monotonic() + 20
        while not condition(self.shows()):
            assert time.monotonic() < deadline, f"not seen: {what}\n" + "\n".join(self.shows())
            assert self.process.poll() is None, f"top ended: {self.text}"
            self.read()
        return self.shows()

    def check_size(self):
        shown = self.shows()
        assert len(shown) <= self.lines and max(self.screen) <= self.lines, shown
        assert all(len(line) <= self.columns for line in shown), shown
        # Nothing of a file's name reaches the terminal as an escape.
        rest = self.text.replace(ENTER + "\x1b[2J", "").replace(LEAVE, "")
        rest = re.sub(r"\x1b\[\d+;1H(\x1b\[2K|\x1b\[J)", "", rest)
        assert "\x1b" not in rest, repr(rest)

    def check_end(self, code):
        deadline = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "top does not end"
            self.read()
        self.read()
        assert self.process.returncode == code, (self.process.returncode, self.text)
        assert self.text.startswith(ENTER) and self.text.endswith(LEAVE), repr(self.text[-200:])
        assert termios.tcgetattr(self.secondary) == self.before, "the terminal's modes"
        os.close(self.primary)
        os.close(self.secondary)


def row(shown, name):
    return next((line.split() for line in shown if line.startswith(name)), None)


done = threading.Event()
client = nbd.NBD()
client.connect_uri(sys.argv[1])


def load():
    while not done.is_set():
        client.pread(4096, 0)
    client.shutdown()


thread = threading.Thread(target=load)
thread.start()
try:
    top = Terminal(80, 24)
    shown = top.until("rates", lambda shown: (row(shown, "a-disk") or ["", "-"])[1] not in "-0")
    assert shown[1].split() == ["DEVICE", "R/S", "W/S", "RMB/S", "WMB/S", "P50", "P99", "QD",
                                "NW%", "MRG/S", "ERR", "IMAGE"], shown
    assert re.search(r"^  \(server\) ", "\n".join(shown), re.M), "there are no lanes"
    assert re.search(r"^z+~ ", "\n".join(shown), re.M), "the long name is not cut"
    assert shown[-1].startswith("q quit"), shown
    top.press("l")
    top.until("no lanes", lambda shown: not any("(server)" in line for line in shown))
    top.press("s")
    top.until("another order", lambda shown: ", by R/S" in shown[0])
    top.press("<<")
    top.until("the last column", lambda shown: ", by IMAGE" in shown[0])
    top.press(">r")
    shown = top.until("the reverse", lambda shown: ", by DEVICE reversed" in shown[0])
    assert shown[2].startswith("zz") and row(shown, "a-disk"), shown
    top.press(" ")
    paused = top.until("a pause", lambda shown: "[paused]" in shown[0])
    for _ in range(20):
        top.read()
    assert top.shows() == paused, "a pause holds still"
    top.press(" ")
    top.until("more", lambda shown: "[paused]" not in shown[0] and shown != paused)
    top.check_size()
    text, top.text = top.text, ""  # what comes from here on is of the other size
    top.screen = {}
    top.resize(40, 10)
    top.until("the new size", lambda shown: len(shown) == 10 and len(shown[1]) <= 40)
    assert top.shows()[1].split() == ["DEVICE", "R/S", "W/S", "P99", "QD", "ERR"], top.shows()
    top.check_size()
    top.text = text + top.text
    top.press("q")
    top.check_end(0)

    for end in (lambda top: top.press("\x03"), lambda top: top.process.terminate(),
                lambda top: top.process.send_signal(signal.SIGHUP)):
        top = Terminal(40, 10)
        top.until("a table", lambda shown: row(shown, "a-disk"))
        top.check_size()
        assert termios.tcgetattr(top.secondary) != top.before, "keys need no return"
        end(top)
        top.check_end(0)

    # ^Z gives the terminal back as well, and it goes on where it was.
    top = Terminal(80, 24)
    top.until("a table", lambda shown: row(shown, "a-disk"))
    top.process.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(top.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), status
    top.read()
    assert top.text.endswith(LEAVE) and termios.tcgetattr(top.secondary) == top.before
    top.screen = {}
    top.text = top.text.replace("\x1b[2K", "")
    top.process.send_signal(signal.SIGCONT)
    top.until("it again", lambda shown: row(shown, "a-disk"))
    top.press("q")
    top.check_end(0)

    # A dumb terminal gets tables, and no escape.
    top = Terminal(80, 24, kind="dumb")
    while top.text.count("DEVICE") < 2:
        assert top.process.poll() is None, top.text
        top.read()
    top.process.send_signal(signal.SIGINT)
    assert top.process.wait(20) == 0 and "\x1b" not in top.text, top.text

    # A pipe gets whole names, as often as one asks for.
    table = subprocess.run([ringloop, "top", "--once", "--interval", "0.3"], check=True,
                           capture_output=True, text=True).stdout
    assert table.count("DEVICE") == 1 and "z" * 64 in table, table
    assert "long/im\\x1b[31mage" in table, table
    assert float(row(table.split("\n"), "a-disk")[1].rstrip("kM")) > 0, table
finally:
    done.set()
    thread.join()
END

# A server that does not answer, or is dead, costs the others nothing.
pid=$("$RINGLOOP" status --json a-disk | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
kill -STOP "$pid"
table=$("$RINGLOOP" top --once --interval 0.1) || { kill -CONT "$pid"; die "top failed"; }
kill -CONT "$pid"
assert_match "$table" 'a-disk \(no answer\) +- '
assert_match "$table" 'zzz +0 '
kill_server a-disk
assert_match "$("$RINGLOOP" top --once --interval 0.1)" 'a-disk \(dead\) +- '
"$RINGLOOP" detach --all
assert_nothing_left
assert_eq "$("$RINGLOOP" top --once --interval 0.1 | wc -l)" 1 "the lines without a device"
