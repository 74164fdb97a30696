"""Where a running sink listens: it writes its port into DIR/sink.json."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

SINK_FILE = "sink.json"


def running_sink(folder: Path) -> int | None:
    """The port of the sink that runs on this folder; None when none does (a killed one may have left its file)."""
    try:
        address = json.loads((folder / SINK_FILE).read_text())
        port, pid = int(address["port"]), int(address["pid"])
        os.kill(pid, 0)
        with socket.create_connection(("127.0.0.1", port), 1.0):
            return port
    except (OSError, ValueError, KeyError, TypeError):
        return None
