"""The structure of the source, counted: import circles, long functions, doctests, annotations, names that say nothing.

`python -m tests.support.structure` prints the figures; tests/unit/test_architecture.py holds them.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ("agents", "streams", "schemas")
Function = ast.FunctionDef | ast.AsyncFunctionDef

BARE_NAMES = frozenset(
    """
    told made found one said asked wanted ours theirs again begun shown kept given named held sent seen gone taken written
    lost moved issued published rated refused answered fitted turned otherwise everywhere closely ahead against besides
    lately standing whoever others both so there it them brought built bought caught chosen drawn fallen felt got heard
    known led lent meant met paid put read_in risen sold shut spent stood struck sworn taught thought thrown understood
    woken won worn wished looked learned counted gathered stated assumed assessed announced reached awaited
    """.split()  # noqa: SIM905 - a list of single literals would be one name a line
)
"""Participles, adverbs and pronouns that are no name by themselves: they leave open which thing or act is meant."""


def python_files(*tops: str) -> list[Path]:
    """The Python files below these folders, without generated ones, in order."""
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py") if "generated" not in path.parts)


@cache
def tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[Function]:
    """All functions of a file, methods and nested ones included."""
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def length(function: Function) -> int:
    """Lines of a function with its signature, without its docstring and decorators."""
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    documented = (first.end_lineno or first.lineno) - first.lineno + 1 if is_docstring else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - documented


def is_annotated(function: Function) -> bool:
    """Whether the result and all parameters have a type; `self` and `cls` need none."""
    parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    parameters += [star for star in (function.args.vararg, function.args.kwarg) if star is not None]
    return function.returns is not None and all(p.annotation is not None or p.arg in {"self", "cls"} for p in parameters)


def bare_names(path: Path) -> Counter[str]:
    """How often a file gives a variable, parameter, function or field a name that says nothing by itself."""
    names: list[str] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, Function):
            names.append(node.name)
    return Counter(name for name in names if name.strip("_") in BARE_NAMES)


def module_name(path: Path) -> str:
    """The dotted name of a file.

    >>> module_name(ROOT / "agents" / "debtor" / "react.py")
    'agents.debtor.react'
    """
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports, those under TYPE_CHECKING and inside functions included."""
    modules = {module_name(path): path for path in python_files(*SOURCE)}
    return {name: {target for target in _imported(path) if target in modules} - {name} for name, path in modules.items()}


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            files = [name for name in submodules if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()]
            yield from files
            if len(files) < len(submodules):
                yield node.module


def circles() -> list[list[str]]:
    """Groups of modules that import each other, directly or by others: Tarjan's strongly connected components of two or more."""
    graph, order, low, stack, groups = imports(), {}, {}, [], []  # type: ignore[var-annotated]

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            group = [stack.pop()]
            while group[-1] != name:
                group.append(stack.pop())
            groups.append(sorted(group))

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return sorted(group for group in groups if len(group) > 1)


def without_doctest() -> list[str]:
    """Public functions of every decide.py that show no example."""
    names = []
    for path in python_files("agents"):
        if path.name == "decide.py":
            public = [node for node in tree(path).body if isinstance(node, Function) and not node.name.startswith("_")]
            names += [f"{module_name(path)}.{node.name}" for node in public if ">>>" not in (ast.get_docstring(node) or "")]
    return names


def long_functions(limit: int, *tops: str) -> list[str]:
    """Functions of more lines than the limit, with their lines."""
    rows = [(path, function) for path in python_files(*tops) for function in functions(path)]
    return [f"{module_name(path)}.{function.name} {length(function)}" for path, function in rows if length(function) > limit]


def lines_of(*tops: str) -> int:
    """Lines of Python below these folders."""
    return sum(path.read_text(encoding="utf-8").count("\n") for path in python_files(*tops))


def _share_annotated(*tops: str) -> str:
    rows = [is_annotated(function) for path in python_files(*tops) for function in functions(path)]
    return f"{sum(rows)} of {len(rows)}"


def _main() -> None:
    decided = sum(
        isinstance(node, Function) and not node.name.startswith("_")
        for path in python_files("agents")
        if path.name == "decide.py"
        for node in tree(path).body
    )
    source, tests = lines_of(*SOURCE), lines_of("tests")
    bare = {tops: sum(sum(bare_names(path).values()) for path in python_files(*tops)) for tops in (SOURCE, ("tests",))}
    print(f"files at the top of streams/             {len(list((ROOT / 'streams').glob('*.py'))) - 1}")
    print(f"import circles                           {len(circles())} {circles()}")
    print(f"functions above 50 lines, source, tests  {len(long_functions(50, *SOURCE))}, {len(long_functions(50, 'tests'))}")
    print(f"functions above 25 lines, source         {len(long_functions(25, *SOURCE))}")
    print(f"bare names, source, tests                {bare[SOURCE]}, {bare[('tests',)]}")
    print(f"doctests of decide.py                    {decided - len(without_doctest())} of {decided}")
    print(f"annotated functions, source, tests       {_share_annotated(*SOURCE)}, {_share_annotated('tests')}")
    print(f"lines of tests to lines of source        {tests} / {source} = {tests / source:.2f}")


if __name__ == "__main__":
    _main()
