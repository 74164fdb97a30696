"""Run one part in this process and write down what it measured: `python -m tests.bench.part NAME FOLDER`."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path

import orjson

from streams.logs import LIBRDKAFKA


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    logging.getLogger(LIBRDKAFKA).setLevel(logging.CRITICAL)
    figures = importlib.import_module(f"tests.bench.parts.{name}").measure(folder)
    (folder / f"{name}.json").write_bytes(orjson.dumps(figures))


if __name__ == "__main__":
    main()
