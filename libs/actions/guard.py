"""The guard: a small process between a worker and a command, so that nothing outlives the step.

Run as `python -I -S guard.py` with one end of a socket pair as standard input. First message: the orders, fields that
end with NUL, after a line with their total length. Then lines from the worker: `limit <monotonic>` moves the time at
which everything must be dead, `cancel` stops now. Lines back: `started <pid>`, `refused <errno> <what>` (nothing ran),
`exit <code>` or `signal <n>`, `leftover <n>` (processes that the command left behind), `stopping <why>`,
`unstopped <pid,…>`, and `ended` as the last.

The command gets a session of its own. The guard adopts every orphan among its descendants, so "no child left" is the
kernel's word for "all gone". It stops them with TERM and then KILL: before the limit, when told to, when the command
has ended, and when the worker is gone (end of file, or the parent-death signal). Whoever kills the guard kills the
command itself (parent-death signal), but not what the command has put elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CONTROL = 3
POLL_SECONDS = 0.02
LINUX = sys.platform == "linux"


class Orders:
    """What to run: limits in `time.monotonic()`, leads in seconds before the limit."""

    def __init__(self, fields: list[str]) -> None:
        self.parent = int(fields[0])
        self.limit = float(fields[1])
        self.term_lead = float(fields[2])
        self.kill_lead = float(fields[3])
        self.grace = float(fields[4])
        self.cwd = fields[5]
        self.path = fields[6]
        count = int(fields[7])
        self.argv = fields[8 : 8 + count]
        self.environ = dict(pair.split("=", 1) for pair in fields[8 + count :])


class Guard:
    """One command from fork to the last descendant."""

    def __init__(self, orders: Orders, said: bytes, wakeup: int) -> None:
        self.orders = orders
        self.wakeup = wakeup
        self.buffer = said
        self.pid = 0
        self.main_ended = False
        self.connected = True
        self.why = ""
        self.term_at = 0.0
        self.killing_since = 0.0

    def run(self) -> None:
        """Start the command, watch it, end with nothing left or say what is."""
        self.obey(b"")
        if self.why or not self.start():
            self.say("ended")
            return
        while self.alive():
            self.decide(time.monotonic())
            self.wait(self.pause(time.monotonic()))
            if self.killing_since and time.monotonic() > max(self.orders.limit, self.killing_since + 2.0):
                self.say("unstopped " + ",".join(str(pid) for pid in descendants(os.getpid())))
                return
        self.say("ended")

    def start(self) -> bool:
        """Fork and exec; False when nothing was started (said with the reason)."""
        failure_read, failure_write = os.pipe()
        me = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            run_command(self.orders, failure_write, me)
        os.close(failure_write)
        failure = os.read(failure_read, 512)
        os.close(failure_read)
        release_output()
        if failure:
            os.waitpid(self.pid, 0)
            self.say("refused " + failure.decode())
            return False
        self.say(f"started {self.pid}")
        return True

    def alive(self) -> bool:
        """Reap what has ended; False when no descendant is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                self.main_ended = True
                code = os.waitstatus_to_exitcode(status)
                self.say(f"exit {code}" if code >= 0 else f"signal {-code}")

    def decide(self, now: float) -> None:
        """Stop everything when it is time, first gently."""
        orders = self.orders
        if self.main_ended and not self.why:
            self.say(f"leftover {len(descendants(os.getpid()))}")
            self.stop("ended", now)
        if now >= orders.limit - orders.term_lead:
            self.stop("limit", now)
        if self.why and now >= min(self.term_at + orders.grace, max(orders.limit - orders.kill_lead, self.term_at)):
            self.killing_since = self.killing_since or now
            self.signal_all(signal.SIGKILL)

    def stop(self, why: str, now: float) -> None:
        """Ask everything to end; the first reason stays."""
        if self.why:
            return
        self.why = why
        self.term_at = now
        self.say(f"stopping {why}")
        self.signal_all(signal.SIGTERM)
        self.signal_all(signal.SIGCONT)

    def signal_all(self, number: int) -> None:
        """Signal the command's group and every descendant, wherever it went."""
        if self.pid and not self.main_ended:
            send(-self.pid, number)
        for pid in descendants(os.getpid()):
            send(pid, number)

    def pause(self, now: float) -> float:
        """Seconds to the next thing to decide."""
        orders = self.orders
        if not self.why:
            return max(0.0, orders.limit - orders.term_lead - now)
        if self.killing_since:
            return POLL_SECONDS
        return min(0.1, max(0.0, self.term_at + orders.grace - now))

    def wait(self, seconds: float) -> None:
        """Sleep until a message, a signal or the time."""
        poll = select.poll()
        poll.register(self.wakeup, select.POLLIN)
        if self.connected:
            poll.register(CONTROL, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(int(min(seconds, 3600.0) * 1000) + 1)]
        if self.wakeup in ready and any(number != signal.SIGCHLD for number in os.read(self.wakeup, 512)):
            self.stop("orphaned", time.monotonic())
        if CONTROL in ready:
            self.listen()

    def listen(self) -> None:
        """Read what the worker says; its end of file is its death."""
        try:
            data = os.read(CONTROL, 4096)
        except OSError:
            data = b""
        if not data:
            self.connected = False
            self.stop("orphaned", time.monotonic())
        self.obey(data)

    def obey(self, data: bytes) -> None:
        """Do what whole lines say."""
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            word, _, rest = line.partition(b" ")
            if word == b"limit":
                self.orders.limit = float(rest)
            elif word == b"cancel":
                self.stop("cancel", time.monotonic())

    def say(self, line: str) -> None:
        """Tell the worker; nobody may be listening any more."""
        try:
            os.write(CONTROL, line.encode() + b"\n")
        except OSError:
            self.connected = False


def run_command(orders: Orders, failure: int, guard: int) -> None:
    """In the child: become the command; never returns."""
    what = "session"
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(125)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        what = "cwd"
        os.chdir(orders.cwd)
        what = "exec"
        os.execve(orders.path, orders.argv, orders.environ)  # noqa: S606 - an argument list; no shell reads it
    except OSError as error:
        os.write(failure, f"{error.errno} {what}".encode())
    os._exit(126)


def release_output() -> None:
    """Let go of the command's output, so that its end is seen when the command's processes are gone."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def descendants(root: int) -> list[int]:
    """All living processes below `root`, from the process table; zombies are left out. Empty without /proc."""
    parents: dict[int, int] = {}
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - pathlib costs start time
    except OSError:
        return []
    for name in names:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        parents[int(name)] = int(fields[1]) if fields[0] not in {b"Z", b"X"} else -1
    return [pid for pid in parents if parents[pid] != -1 and below(pid, root, parents)]


def below(pid: int, root: int, parents: dict[int, int]) -> bool:
    """Whether `pid` hangs under `root`."""
    seen = 0
    while pid > 1 and seen < 10_000:
        pid = parents.get(pid, 0)
        seen += 1
        if pid == root:
            return True
    return False


def send(pid: int, number: int) -> None:
    """Signal a process or a group that may be gone or not ours."""
    try:
        os.kill(pid, number)
    except OSError:
        return


def prctl(option: int, value: int) -> None:
    """A process attribute of Linux; elsewhere the pipe alone tells of the worker's death."""
    if LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def read_orders() -> tuple[Orders, bytes]:
    """The first message, and what was already said after it."""
    data = b""
    while b"\n" not in data:
        data += os.read(CONTROL, 65536) or b"0\n"
    head, _, body = data.partition(b"\n")
    while len(body) < int(head):
        chunk = os.read(CONTROL, 65536)
        if not chunk:
            os._exit(3)
        body += chunk
    if not body:
        os._exit(3)
    fields = body[: int(head)].split(b"\0")[:-1]
    return Orders([field.decode("utf-8", "surrogateescape") for field in fields]), body[int(head) :]


def main() -> None:
    """The guard's life."""
    os.dup2(0, CONTROL, inheritable=False)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    orders, said = read_orders()
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != orders.parent:
        os._exit(3)
    Guard(orders, said, read_end).run()


if __name__ == "__main__":
    main()
