"""A real worker whose restores are caught in the middle.

Run as `python -c "from tests.integration.support.slow_restore import main; main()"`.

Every partition is read by a process of its own, however few records it holds. In the folder that the environment names, such a
process leaves a file with its number once it has read a record, and reads on when no file `wait` is there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from agents.debtor.store import snapshot

FOLDER = "SLOW_RESTORE"
PROGRAM = ("-c", f"from {__name__} import main; main()", "worker")


def pack_snapshot(records: Iterable[tuple[str, bytes | None]]) -> bytes:
    return snapshot.pack_snapshot(_slowly(records))


def _slowly(records: Iterable[tuple[str, bytes | None]]) -> Iterator[tuple[str, bytes | None]]:
    folder = Path(os.environ[FOLDER])
    for record in records:
        yield record
        (folder / str(os.getpid())).touch()
        while (folder / "wait").exists():
            time.sleep(0.05)


def main() -> None:
    """Of `python -c` it is imported: the function that packs must be found by its module's name."""
    # Here, because those that only read need none of it.
    from agents.debtor.brain import DebtorBrain
    from streams.cli import main as cli
    from streams.engine import restore

    restore.MANY_ROWS = 1
    DebtorBrain.pack_snapshot = staticmethod(pack_snapshot)
    sys.argv[0] = "duewatch"
    cli.main()
