"""A worker whose commits fail by order and whose clock runs fast: `python -m tests.chaos.worker FOLDER BEGAN SPEED LASTS`."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

from tests.chaos.control import FastClock, Orders, stage_of


def main(folder: str, began: str, speed: str, lasts: str) -> int:
    import streams.clock.live
    from streams.settings import load_settings
    from streams.worker.app import build_app
    from streams.worker.run import run

    settings = load_settings()
    stage = stage_of(Orders(Path(folder)))
    with patch.object(streams.clock.live, "datetime", FastClock(float(began), float(speed), float(lasts)).as_datetime()):
        return run(settings, lambda: build_app(settings, stage=stage))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
