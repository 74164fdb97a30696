"""Start child processes that end when we end, and stop them without leaving an orphan."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Runs in the child before the program itself. On Linux the kernel then kills the child when its parent ends, however it ends
# (PR_SET_PDEATHSIG is 1, SIGKILL 9). Done in a fresh interpreter, not in `preexec_fn`, which runs Python between fork and exec
# and is unsafe in a process with threads.
_LAUNCH = """
import os, sys
parent = int(sys.argv[1])
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != parent:
        sys.exit("the parent ended before the child began")
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"cannot start {sys.argv[2]}: {error.strerror}")
"""

# The kernel watches the thread that forked, not its process: this one lives until the interpreter ends.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawn")


FAULT_HANDLER = {"PYTHONFAULTHANDLER": "1"}
"""With this variable a Python program that is aborted writes what each of its threads was doing."""
STACKS_S, STACK_LINES = 10.0, 300


class ChildFailedError(RuntimeError):
    """A child process ended, or did not become ready, when it should have; the message holds the end of its log."""


class Child:
    """A running program in a session of its own, so that Ctrl-C in a terminal reaches us and we decide how it stops."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log_path: Path | None) -> None:
        self.name = name
        self.log_path = log_path
        self._popen = popen
        _children.add(self)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Its exit status, once it has ended by itself. Raises subprocess.TimeoutExpired."""
        return self._popen.wait(timeout_s)

    def signal(self, number: int) -> None:
        """Send a signal to the child alone; nothing happens when it has ended."""
        if self.running:
            self._popen.send_signal(number)

    def stop(self, grace_s: float = 10.0) -> int:
        """SIGTERM, up to `grace_s` seconds of patience, then kill(); returns its exit status. May be repeated."""
        self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(grace_s)
        return self.kill()

    def kill(self) -> int:
        """SIGKILL to the child and all that it started; returns its exit status. May be repeated."""
        if self in _children:
            # Nobody of its group may be left; macOS says EPERM for a group of zombies.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            _children.discard(self)
        return self._popen.wait()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log, empty without one."""
        if self.log_path is None or not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def stacks(self) -> str:
        """Abort a stuck Python program that was started with FAULT_HANDLER; returns the end of its log, with its stacks."""
        self.signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(STACKS_S)
        return self.log_tail(STACK_LINES)

    def wait_until(self, ready: Callable[[], bool], timeout_s: float, every_s: float = 0.05) -> None:
        """Return once `ready()` holds. Raises ChildFailedError when the child ends before, or after `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise ChildFailedError(f"{self.name} ended with status {self.returncode}. Its log ends:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ChildFailedError(f"{self.name} was not ready after {timeout_s:g} s. Its log ends:\n{self.log_tail()}")
            time.sleep(every_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


_children: set[Child] = set()


@atexit.register
def _kill_all() -> None:
    # Only where the kernel does not do it: elsewhere than on Linux.
    for child in list(_children):
        child.kill()


def spawn(
    argv: Sequence[str | os.PathLike[str]],
    env: Mapping[str, str] | None = None,
    log_path: str | os.PathLike[str] | None = None,
    *,
    name: str = "",
    cwd: str | os.PathLike[str] | None = None,
) -> Child:
    """Start a program that ends with us; `env` is added to our environment, output to the end of `log_path` (default: nowhere).

    It returns as soon as the process exists; a program that cannot be started ends with status 1 and says why in its log.
    """
    log = Path(log_path) if log_path else None
    words = [os.fspath(word) for word in argv]
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *words]
    environment = os.environ | (env or {})

    def start() -> subprocess.Popen[bytes]:
        with Path(log or os.devnull).open("ab") as output:
            return subprocess.Popen(
                launch, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    return Child(name or Path(words[0]).name, _starter.submit(start).result(), log)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now; another process may still take it before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether a server listens at this host and port."""
    try:
        with socket.create_connection((host, port), timeout_s):
            return True
    except OSError:
        return False
