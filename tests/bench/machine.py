"""What the machine is, and what processes used of it. Linux: read from /proc."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import orjson

_TICKS_S = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
TURNS = 20_000


def cpu_s(pid: int) -> float:
    """Processor time that a process and its threads have used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def describe() -> str:
    """Cores, processor, versions, and how busy the machine was before."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {cpu[1].strip() if cpu else platform.machine()}, Python {platform.python_version()}, "
        f"{_java()}, load {load:.1f} before"
    )


def yardstick_us() -> float:
    """Processor microseconds of one turn of a fixed loop of Python (JSON, a dict, a string): how fast the machine is just now.

    A shared one may be half as fast an hour later; what is measured then is to be read with it.
    """
    text, costs = orjson.dumps({"a": [1.5, 2.25, {"x": "text", "y": None}], "b": "2026-03-01", "c": {"d": 1}}), []
    for _ in range(5):
        began, table = time.process_time(), {}
        for number in range(TURNS):
            table[f"k{number & 4095}"] = orjson.dumps(orjson.loads(text))
        costs.append((time.process_time() - began) / TURNS * 1e6)
    return round(statistics.median(costs), 2)


def stolen_s() -> float:
    """Steal time in seconds since the machine started: processor time that the host gave to other guests."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / _TICKS_S


def _java() -> str:
    try:
        text = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return "no Java"
    version = re.search(r'version "([\d.]+)', text)
    return f"Java {version[1]}" if version else "Java"


class Stopwatch:
    """Wall time since a moment, and the processor time of some processes (by name) since then."""

    def __init__(self, pids: Iterable[tuple[str, int]]) -> None:
        self._pids = list(pids)
        self._wall = time.perf_counter()
        self._cpu = {name: cpu_s(pid) for name, pid in self._pids}

    def read(self) -> dict[str, float]:
        """Seconds since it was made: ``wall``, and processor seconds by name."""
        seconds = {name: cpu_s(pid) - self._cpu[name] for name, pid in self._pids}
        return {"wall": time.perf_counter() - self._wall, **seconds}
