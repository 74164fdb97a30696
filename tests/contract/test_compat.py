"""The gate against incompatible changes: made-up changes, each judged as a reader of old events would suffer it."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas import generate
from schemas.compat import breaks, next_version
from schemas.registry import CONTRACTS

TYPE = "duewatch.thing.made.v1"
Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
MAYBE: Schema = {"anyOf": [TEXT, {"type": "null"}], "default": None}
PART: Schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
OLD: Schema = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 128},
        "kind": {"enum": ["a", "b"], "type": "string"},
        "amount": {"type": "string", "pattern": "^[0-9]+$"},
        "note": MAYBE,
        "share": {"type": "number", "minimum": 0.0, "maximum": 1.0},
        "count": {"type": "integer"},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
        "pair": {"type": "array", "prefixItems": [TEXT, {"type": "number"}], "minItems": 2, "maxItems": 2},
        "sums": {"type": "object", "additionalProperties": {"type": "integer"}},
        "rates": {"type": "object", "patternProperties": {"^[A-Z]{3}$": TEXT}, "additionalProperties": False},
    },
    "required": ["id", "kind", "amount", "share", "count"],
    "additionalProperties": False,
    "$defs": {"Part": PART},
}
GOOD = {
    "id": "1", "kind": "a", "amount": "1", "note": None, "share": 1.0, "count": 1, "parts": [{"n": 1}], "pair": ["x", 1.5],
    "sums": {"x": 1}, "rates": {"EUR": "1"},
}  # fmt: skip


def _change(*path: str | int, to: Any = None, drop: bool = False) -> dict[str, Any]:
    new = copy.deepcopy(OLD)
    place: Any = new
    for step in path[:-1]:
        place = place[step]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return new


FIELDS = "properties"
COMPATIBLE = {
    "nothing": OLD,
    "optional field added": _change(FIELDS, "new", to=MAYBE),
    "description": _change(FIELDS, "id", to={**OLD[FIELDS]["id"], "description": "said better"}),
    "word added to a list": _change(FIELDS, "kind", "enum", to=["a", "b", "c"]),
    "list of words opened": _change(FIELDS, "kind", to=TEXT),
    "longer ids": _change(FIELDS, "id", "maxLength", to=256),
    "limit dropped": _change(FIELDS, "share", to={"type": "number"}),
    "integer became number": _change(FIELDS, "count", to={"type": "number"}),
    "may be null now": _change(FIELDS, "amount", to={"anyOf": [OLD[FIELDS]["amount"], {"type": "null"}]}),
    "required became optional": _change("required", to=["id", "kind"]),
    "optional field in a part": _change("$defs", "Part", FIELDS, "m", to=MAYBE),
    "part given another name": {**_change(FIELDS, "parts", "items", "$ref", to="#/$defs/Piece"), "$defs": {"Piece": PART}},
    "pattern dropped": _change(FIELDS, "amount", to=TEXT),
    "values of a dictionary widened": _change(FIELDS, "sums", "additionalProperties", to={"type": "number"}),
}
INCOMPATIBLE = {
    "field removed": (_change(FIELDS, "note", drop=True), "note", "removed or renamed"),
    "required field removed": (_change(FIELDS, "amount", drop=True), "amount", "removed or renamed"),
    "required field added": (_change("required", to=[*OLD["required"], "new"]), "new", "is new and required"),
    "optional became required": (_change("required", to=[*OLD["required"], "note"]), "note", "was optional and is required"),
    "text became number": (_change(FIELDS, "amount", to={"type": "number"}), "amount", "was a string and is a number"),
    "number became integer": (_change(FIELDS, "share", "type", to="integer"), "share", "was a number and is a integer"),
    "null forbidden": (_change(FIELDS, "note", to=TEXT), "note", "could be null"),
    "choice retyped": (_change(FIELDS, "note", "anyOf", 0, to={"type": "integer"}), "note", "was a string and is a integer"),
    "word removed": (_change(FIELDS, "kind", "enum", to=["a"]), "kind", "no longer takes 'b'"),
    "word fixed": (_change(FIELDS, "kind", to={"const": "a", "type": "string"}), "kind", "no longer takes 'b'"),
    "free text became a list": (_change(FIELDS, "amount", to={"type": "string", "enum": ["1"]}), "amount", "one of a list"),
    "shorter ids": (_change(FIELDS, "id", "maxLength", to=64), "id", "tighter maxLength: 64 instead of 128"),
    "new minimum": (_change(FIELDS, "count", "minimum", to=1), "count", "tighter minimum: 1 instead of none"),
    "higher minimum": (_change(FIELDS, "share", "minimum", to=0.5), "share", "tighter minimum"),
    "other pattern": (_change(FIELDS, "amount", "pattern", to="^-?[0-9]+$"), "amount", "another pattern"),
    "new format": (_change(FIELDS, "amount", "format", to="date"), "amount", "another format"),
    "part changed": (_change("$defs", "Part", FIELDS, "n", to=TEXT), "parts[].n", "was a integer and is a string"),
    "part closed by a field": (_change("$defs", "Part", "required", to=["n", "m"]), "parts[].m", "is new and required"),
    "pair longer": (_change(FIELDS, "pair", "prefixItems", to=[TEXT, TEXT, TEXT]), "pair", "has 3 elements instead of 2"),
    "pair retyped": (_change(FIELDS, "pair", "prefixItems", to=[TEXT, TEXT]), "pair[1]", "was a number and is a string"),
    "dictionary retyped": (_change(FIELDS, "sums", "additionalProperties", to=TEXT), "sums.*", "was a integer and is a string"),
    "names of a dictionary": (_change(FIELDS, "rates", "patternProperties", to={"^x$": TEXT}), "rates", "other rules for the"),
}  # fmt: skip


@pytest.mark.parametrize("new", COMPATIBLE.values(), ids=COMPATIBLE.keys())
def test_compatible_change_passes_and_old_events_still_fit(new: dict[str, Any]) -> None:
    assert breaks(TYPE, OLD, new) == []
    Draft202012Validator(new).validate(GOOD)


@pytest.mark.parametrize(("new", "field", "what"), INCOMPATIBLE.values(), ids=INCOMPATIBLE.keys())
def test_incompatible_change_is_refused_by_type_field_and_mend(new: dict[str, Any], field: str, what: str) -> None:
    (breach,) = breaks(TYPE, OLD, new)
    assert (breach.event_type, breach.field) == (TYPE, field)
    assert what in breach.what
    assert "publish duewatch.thing.made.v2" in str(breach)


def test_a_required_field_names_the_mend() -> None:
    (breach,) = breaks(TYPE, OLD, INCOMPATIBLE["required field added"][0])
    assert str(breach) == f"{TYPE}: new is new and required; make it optional or publish {next_version(TYPE)}"


@pytest.mark.parametrize("event_type", CONTRACTS)
def test_no_contract_breaks_itself(event_type: str) -> None:
    schema = json.loads((generate.GENERATED / f"{event_type}.json").read_text())
    assert breaks(event_type, schema, copy.deepcopy(schema)) == []


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder whose last version had a field and a type that the contracts do not have."""
    before = generate.documents()
    schema = json.loads(before["duewatch.invoice.issued.v1.json"])
    schema["properties"]["order_id"] = TEXT
    before["duewatch.invoice.issued.v1.json"] = generate.dump(schema)
    before["duewatch.invoice.sold.v1.json"] = before["duewatch.invoice.issued.v1.json"]
    generate.write(tmp_path, before)
    return tmp_path


def test_generator_refuses_to_overwrite_what_readers_rely_on(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = generate.read(broken)
    assert generate.main([], broken) == 2
    output = capsys.readouterr().out
    assert "duewatch.invoice.issued.v1: order_id was removed or renamed" in output
    assert "duewatch.invoice.sold.v1: the type was removed" in output
    assert generate.read(broken) == before


def test_generator_replaces_what_was_never_published_when_told(broken: Path) -> None:
    assert generate.main(["--unpublished", "duewatch.invoice.issued.v1"], broken) == 2
    assert (
        generate.main(["--unpublished", "duewatch.invoice.issued.v1", "--unpublished", "duewatch.invoice.sold.v1"], broken) == 0
    )
    assert generate.read(broken) == generate.documents()


def test_generator_compares_with_the_last_commit_not_with_what_lies_there(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments], check=True)

    folder = tmp_path / "schemas" / "generated"
    generate.write(folder, {"a.json": "{}"})
    git("init", "--quiet")
    assert generate.committed(folder) == {"a.json": "{}"}, "before the first commit it is what lies there"
    git("add", ".")
    git("commit", "--quiet", "--message", "first", "--no-gpg-sign")
    generate.write(folder, {"b.json": "[]"})
    assert generate.committed(folder) == {"a.json": "{}"}
