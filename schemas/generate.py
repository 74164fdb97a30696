"""Generate what outsiders read: a JSON Schema for each type, and one AsyncAPI document (``python -m schemas.generate``)."""

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
FIX = "run `make schemas` and commit the files that it wrote"


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
    documents_now = documents()
    if options.check and read(folder) == documents_now:
        return 0
    problems = (
        [] if "all" in options.unpublished else breaking_changes(committed(folder), documents_now, set(options.unpublished))
    )
    if problems:
        _print("These changes would break readers of events that exist:", *(f"  {problem}" for problem in problems))
        return 2
    if options.check:
        return _check(read(folder), documents_now)
    write(folder, documents_now)
    _print(f"{len(documents_now)} files are up to date in {folder.name}/")
    return 0


def documents() -> dict[str, str]:
    """File name -> content, from the contracts and the golden messages."""
    schemas = {event_type: schema_of(event_type, contract) for event_type, contract in CONTRACTS.items()}
    files = {f"{event_type}.json": dump(schema) for event_type, schema in schemas.items()}
    return files | {ASYNCAPI: dump(asyncapi.document(schemas, {event_type: examples(event_type) for event_type in schemas}))}


def examples(event_type: str) -> list[dict[str, Any]]:
    """The good golden messages of a type, as structured CloudEvents, in the order of their file names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((EXAMPLES / event_type).glob("*.json"))]


def dump(document: dict[str, Any]) -> str:
    """JSON that is equal for equal documents, and easy to read in a diff."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def read(folder: Path) -> dict[str, str]:
    """File name -> content of the files in the folder."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.json"))}


def committed(folder: Path) -> dict[str, str]:
    """File name -> content in the last commit; without git (an unpacked archive), of the files in the folder."""
    try:
        answer = subprocess.run(["git", "-C", folder, "archive", "HEAD", "."], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return read(folder)
    with tarfile.open(fileobj=io.BytesIO(answer.stdout)) as archive:
        files = {name: archive.extractfile(name) for name in archive.getnames() if name.endswith(".json")}
        return {name: content.read().decode() for name, content in files.items() if content}


def write(folder: Path, documents_now: dict[str, str]) -> None:
    """Make the folder hold exactly these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in read(folder).keys() - documents_now.keys():
        (folder / name).unlink()
    for name, content in documents_now.items():
        (folder / name).write_text(content, encoding="utf-8")


def breaking_changes(
    before: dict[str, str], documents_now: dict[str, str], unpublished: AbstractSet[str] = frozenset()
) -> list[str]:
    """Why readers of ``documents_now`` cannot read what was written under ``before``; empty = they can."""
    problems: list[str] = []
    for name, content in before.items():
        event_type = name.removesuffix(".json")
        if name == ASYNCAPI or event_type in unpublished:
            continue
        if name not in documents_now:
            problems.append(f"{event_type}: the type was removed; keep it in schemas/registry.py, events of it exist")
        else:
            problems += map(str, compat.breaks(event_type, json.loads(content), json.loads(documents_now[name])))
    return problems


def _check(present: dict[str, str], documents_now: dict[str, str]) -> int:
    names = sorted(name for name in present.keys() | documents_now.keys() if present.get(name) != documents_now.get(name))
    for name in names:
        _print(*_difference(name, present.get(name, ""), documents_now.get(name, "")))
    if names:
        _print(f"{len(names)} generated files differ from the contracts: {FIX}")
    return 1 if names else 0


def _difference(name: str, before: str, after: str, lines: int = 12) -> list[str]:
    """The first lines of the difference."""
    old_name, new_name = f"committed/{name}", f"contracts/{name}"
    lines_of_diff = list(difflib.unified_diff(before.splitlines(), after.splitlines(), old_name, new_name, lineterm="", n=1))
    return lines_of_diff[:lines] + ([f"... {len(lines_of_diff) - lines} more lines"] if len(lines_of_diff) > lines else [])


def _print(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
