"""Where a running sink listens, as it says in DIR/sink.json."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

FILE = "sink.json"
DEFAULT_DATA = Path("duewatch-data")
"""The folder of whoever names none; here because nothing that answers at once may load the settings for it."""


def running_sink(folder: Path) -> int | None:
    """The port of the sink that runs on this folder, None when none does (a file may be left of one that was killed)."""
    try:
        told = json.loads((folder / FILE).read_text())
        port, pid = int(told["port"]), int(told["pid"])
        os.kill(pid, 0)
        with socket.create_connection(("127.0.0.1", port), 1.0):
            return port
    except (OSError, ValueError, KeyError, TypeError):
        return None
