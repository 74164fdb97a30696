"""Write what outsiders read: a JSON Schema for each type, and one AsyncAPI document (``python -m schemas.generate``)."""

from __future__ import annotations

import argparse
import difflib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from schemas import asyncapi, compat
from schemas.json_schema import schema_of
from schemas.registry import CONTRACTS

HERE = Path(__file__).parent
GENERATED = HERE / "generated"
EXAMPLES = HERE / "examples"
ASYNCAPI = "asyncapi.json"
MEND = "run `make schemas` and commit what it wrote"


def main(arguments: list[str] | None = None, folder: Path = GENERATED) -> int:
    """0 = done; 1 = what is committed differs (``--check``); 2 = a change breaks readers, nothing is written."""
    parser = argparse.ArgumentParser(prog="python -m schemas.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when something differs")
    parser.add_argument(
        "--unpublished",
        metavar="TYPE",
        action="append",
        default=[],
        help="this type has never left a development machine: replace it whatever the change (repeatable; all = every type)",
    )
    options = parser.parse_args(arguments)
    wanted = documents()
    if options.check and read(folder) == wanted:
        return 0
    found = [] if "all" in options.unpublished else refused(committed(folder), wanted, set(options.unpublished))
    if found:
        _say("These changes would break readers of events that exist:", *(f"  {one}" for one in found))
        return 2
    if options.check:
        return _check(read(folder), wanted)
    write(folder, wanted)
    _say(f"{len(wanted)} files are up to date in {folder.name}/")
    return 0


def documents() -> dict[str, str]:
    """File name -> content, from the contracts and the golden messages."""
    schemas = {event_type: schema_of(event_type, contract) for event_type, contract in CONTRACTS.items()}
    found = {f"{event_type}.json": dump(schema) for event_type, schema in schemas.items()}
    return found | {ASYNCAPI: dump(asyncapi.document(schemas, {event_type: examples(event_type) for event_type in schemas}))}


def examples(event_type: str) -> list[dict[str, Any]]:
    """The good golden messages of a type, as structured CloudEvents, in the order of their file names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((EXAMPLES / event_type).glob("*.json"))]


def dump(document: dict[str, Any]) -> str:
    """JSON that is equal for equal documents, and easy to read in a diff."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def read(folder: Path) -> dict[str, str]:
    """File name -> content of what was generated before."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.json"))}


def committed(folder: Path) -> dict[str, str]:
    """What the last commit holds of the folder; where git cannot tell (an unpacked archive), what lies there."""
    try:
        answer = subprocess.run(["git", "-C", folder, "archive", "HEAD", "."], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return read(folder)
    with tarfile.open(fileobj=io.BytesIO(answer.stdout)) as archive:
        files = {name: archive.extractfile(name) for name in archive.getnames() if name.endswith(".json")}
        return {name: content.read().decode() for name, content in files.items() if content}


def write(folder: Path, wanted: dict[str, str]) -> None:
    """Make the folder hold exactly these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in read(folder).keys() - wanted.keys():
        (folder / name).unlink()
    for name, content in wanted.items():
        (folder / name).write_text(content, encoding="utf-8")


def refused(before: dict[str, str], wanted: dict[str, str], unpublished: AbstractSet[str] = frozenset()) -> list[str]:
    """Why readers of ``wanted`` cannot read what was written under ``before``."""
    found: list[str] = []
    for name, content in before.items():
        event_type = name.removesuffix(".json")
        if name == ASYNCAPI or event_type in unpublished:
            continue
        if name not in wanted:
            found.append(f"{event_type}: the type was removed; keep it in schemas/registry.py, events of it exist")
        else:
            found += map(str, compat.breaks(event_type, json.loads(content), json.loads(wanted[name])))
    return found


def _check(present: dict[str, str], wanted: dict[str, str]) -> int:
    names = sorted(name for name in present.keys() | wanted.keys() if present.get(name) != wanted.get(name))
    for name in names:
        _say(*_difference(name, present.get(name, ""), wanted.get(name, "")))
    if names:
        _say(f"{len(names)} generated files differ from the contracts: {MEND}")
    return 1 if names else 0


def _difference(name: str, before: str, after: str, lines: int = 12) -> list[str]:
    """The first lines of the difference."""
    ours, theirs = f"committed/{name}", f"contracts/{name}"
    found = list(difflib.unified_diff(before.splitlines(), after.splitlines(), ours, theirs, lineterm="", n=1))
    return found[:lines] + ([f"... {len(found) - lines} more lines"] if len(found) > lines else [])


def _say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
