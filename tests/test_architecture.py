"""The shape of the code: layers, short functions, docstrings, and what is never imported."""

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HARNESS = ROOT / "src" / "harness"
MODULES = sorted(HARNESS.rglob("*.py"))
TREES = {path.relative_to(HARNESS).as_posix(): ast.parse(path.read_bytes()) for path in MODULES}
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef


def functions() -> Iterator[tuple[str, Function]]:
    """Every function and method with its place."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{name}:{node.lineno} {node.name}", node


def length(node: Function) -> int:
    """Lines of code from the signature to the end, decorators and docstring apart."""
    total = (node.end_lineno or 0) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        total -= (first.end_lineno or 0) - first.lineno + 1
    return total


def public(name: str, body: list[ast.stmt]) -> Iterator[tuple[str, Documented]]:
    """Public functions, classes and methods; properties count, dunder methods do not."""
    for node in body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield f"{name}:{node.lineno} {node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(f"{name}:{node.name}", node.body)


def overrides(node: Documented) -> bool:
    """Whether a method says that its documentation stands in the base class."""
    return any(isinstance(item, ast.Name) and item.id == "override" for item in node.decorator_list)


def packages(folder: Path, name: str) -> set[str]:
    """Dotted names of the packages in a folder."""
    return {
        ".".join([name, *path.parent.relative_to(folder).parts])
        for path in folder.rglob("__init__.py")
    }


def test_there_is_code_to_look_at() -> None:
    assert {"cli.py", "consent/gate.py", "training/fit.py"} <= TREES.keys()


def test_import_contracts() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip(f"import-linter is not installed beside {sys.executable}")
    done = subprocess.run([command, "--no-logo", "--no-cache"], cwd=ROOT, text=True,
                          capture_output=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert f"Contracts: {len(contracts['contracts'])} kept, 0 broken" in done.stdout


def test_no_function_is_over_60_lines_and_most_are_short() -> None:
    lengths = {place: length(node) for place, node in functions()}
    assert {place: lines for place, lines in lengths.items() if lines > 60} == {}
    assert statistics.median(lengths.values()) <= 10


def test_everything_public_has_a_docstring() -> None:
    bare = [
        place
        for name, tree in TREES.items()
        for place, node in public(name, tree.body)
        if ast.get_docstring(node) is None and not overrides(node)
    ]
    assert bare == []


def test_every_module_says_what_it_is() -> None:
    assert [name for name, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_every_function_is_annotated() -> None:
    def missing(node: Function) -> bool:
        spec = node.args
        given = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg]
        named = [item for item in given if item and item.arg not in ("self", "cls")]
        return node.returns is None or any(item.annotation is None for item in named)

    assert [place for place, node in functions() if missing(node)] == []


def test_only_the_gate_can_make_permissions() -> None:
    def mentions(tree: ast.Module) -> bool:
        return any(
            (isinstance(node, ast.Name) and node.id == "GATE_KEY")
            or (isinstance(node, ast.Attribute) and node.attr == "GATE_KEY")
            or (isinstance(node, ast.alias) and node.name in ("GATE_KEY", "*"))
            or (isinstance(node, ast.Constant) and node.value == "GATE_KEY")
            for node in ast.walk(tree)
        )

    makers = {name for name, tree in TREES.items() if mentions(tree)}
    assert makers == {"consent/gate.py", "consent/capability.py"}


def test_names_say_what_a_module_is_for() -> None:
    parts = {part for path in MODULES for part in path.relative_to(HARNESS).with_suffix("").parts}
    assert parts & VAGUE == set()


@pytest.mark.parametrize(
    "pattern",
    [
        r"trust_remote_code\s*=\s*True", r"^\s*(import|from)\s+(pickle|dill|cloudpickle|joblib)\b",
        r"\bpickle\.", r"\btorch\.load\(", r"\beval\(", r"\bexec\(", r"shell\s*=\s*True",
        r"verify\s*=\s*False", r"yaml\.(load|unsafe_load)\(",
    ],
)  # fmt: skip
def test_nothing_in_the_code_runs_what_it_reads(pattern: str) -> None:
    found = re.compile(pattern, re.MULTILINE)
    texts = {path.relative_to(HARNESS).as_posix(): path.read_text() for path in MODULES}
    # a model is put into evaluation by a method of that name
    hits = [name for name, text in texts.items() if found.search(text.replace(".eval()", ""))]
    assert hits == []


def test_the_wheel_holds_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    exist = packages(HARNESS, "harness") | packages(ROOT / "conf", "harness.conf")
    assert settings["packages"] == sorted(exist)
    assert {path.parent for path in MODULES} == {
        path.parent for path in MODULES if path.name == "__init__.py"
    }
