"""Child processes start with their environment, end when asked, and never outlive us."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.process.children import FAULT_HANDLER, ChildFailedError, accepts, free_port, spawn

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel watches parents on Linux only")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition: Callable[[], object], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_output_goes_to_the_log_and_env_is_added_to_ours(tmp_path: Path) -> None:
    code = "import os; print(os.environ['ANSWER'], 'PATH' in os.environ)"
    child = spawn([sys.executable, "-c", code], {"ANSWER": "42"}, tmp_path / "log")
    assert child.wait(10) == 0
    assert child.log_tail() == "42 True"


def test_what_a_stuck_program_was_at_is_told(tmp_path: Path) -> None:
    code = "import time\ndef stuck():\n    print('there', flush=True)\n    time.sleep(60)\nstuck()"
    child = spawn([sys.executable, "-c", code], FAULT_HANDLER, tmp_path / "log")
    child.wait_until(lambda: child.log_tail() == "there", 10)
    assert "in stuck" in child.stacks()
    assert child.returncode == -signal.SIGABRT


def test_stop_asks_first() -> None:
    with spawn(SLEEP) as child:
        assert child.running
        # The launcher may not have become the program yet; SIGTERM ends either.
        assert child.stop() == -signal.SIGTERM
    assert not child.running


def test_stop_kills_what_does_not_listen_and_may_be_repeated(tmp_path: Path) -> None:
    child = spawn(STUBBORN, log_path=tmp_path / "log")
    child.wait_until(lambda: child.log_tail() == "deaf", 10)
    assert child.stop(grace_s=0.2) == -signal.SIGKILL
    assert child.stop() == -signal.SIGKILL


def test_kill_takes_grandchildren_along(tmp_path: Path) -> None:
    code = f"import subprocess, time; print(subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(60)"
    child = spawn([sys.executable, "-c", code], log_path=tmp_path / "log")
    child.wait_until(lambda: child.log_tail() != "", 10)
    grandchild = int(child.log_tail())
    child.kill()
    assert eventually(lambda: not alive(grandchild))


def test_a_program_that_does_not_exist_says_so_in_its_log(tmp_path: Path) -> None:
    child = spawn(["no-such-program"], log_path=tmp_path / "log")
    with pytest.raises(ChildFailedError, match="cannot start no-such-program: No such file"):
        child.wait_until(lambda: False, 10)


def test_waiting_ends_when_the_child_is_never_ready() -> None:
    with (
        spawn(SLEEP, name="the sleeper") as child,
        pytest.raises(ChildFailedError, match=r"the sleeper was not ready after 0\.1 s"),
    ):
        child.wait_until(lambda: False, 0.1)


@linux_only
@pytest.mark.parametrize("from_a_thread", [False, True], ids=["main thread", "thread that ended"])
def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path, from_a_thread: bool) -> None:
    code = textwrap.dedent(f"""
        import threading, time
        from streams.process.children import spawn
        def start():
            print(spawn({SLEEP!r}).pid, flush=True)
        if {from_a_thread}:
            thread = threading.Thread(target=start); thread.start(); thread.join()
        else:
            start()
        time.sleep(60)
    """)
    root = Path(__file__).parents[4]
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert alive(pid)
        parent.kill()
    assert eventually(lambda: not alive(pid))


@linux_only
def test_a_child_outlives_the_thread_that_asked_for_it() -> None:
    started = []
    thread = threading.Thread(target=lambda: started.append(spawn(SLEEP)))
    thread.start()
    thread.join()
    time.sleep(0.3)
    with started[0] as child:
        assert child.running


def test_a_free_port_has_no_listener() -> None:
    assert not accepts("127.0.0.1", free_port())
