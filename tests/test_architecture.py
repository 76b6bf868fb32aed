"""The design's rules about the code, as tests."""

import ast
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "harness"
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def functions() -> Iterator[tuple[str, Function]]:
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{path.relative_to(SOURCE)}:{node.name}", node


def length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_rooms_import_one_way() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    if not tool.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [tool, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_functions_are_small() -> None:
    lengths = {name: length(node) for name, node in functions()}
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}
    assert statistics.median(lengths.values()) <= 10


def test_what_is_public_says_what_it_is() -> None:
    silent = []
    for path, tree in modules():
        for node in ast.walk(tree):
            named = isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
            inner = isinstance(node, Function) and _is_nested(tree, node)
            if named and not inner and not ast.get_docstring(node) and not _in_private(tree, node):
                silent.append(f"{path.relative_to(SOURCE)}:{node.name}")
    assert silent == []


def test_only_the_gate_holds_the_key_to_permissions() -> None:
    holders = [
        str(path.relative_to(SOURCE)) for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(a.name == "GATE_KEY" for a in node.names)
    ]  # fmt: skip
    mentions = [str(p.relative_to(SOURCE)) for p, _ in modules() if "GATE_KEY" in p.read_text()]
    assert holders == ["consent/gate.py"]
    assert sorted(mentions) == ["consent/capability.py", "consent/gate.py"]


def test_no_room_for_odds_and_ends() -> None:
    names = {path.stem for path, _ in modules()} | {path.parent.name for path, _ in modules()}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


def test_no_pickle_and_no_remote_code() -> None:
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
                assert "pickle" not in imported, path
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path
            if isinstance(node, ast.Attribute) and node.attr == "load":
                assert ast.unparse(node) != "torch.load", path


def test_every_package_ships() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {
        ".".join(["harness", *path.parent.relative_to(SOURCE).parts])
        for path in SOURCE.rglob("__init__.py")
    }
    assert listed == found | {"harness.conf"}


def _is_nested(tree: ast.Module, node: ast.AST) -> bool:
    return any(
        node is not outer and any(inner is node for inner in ast.walk(outer))
        for outer in ast.walk(tree)
        if isinstance(outer, Function)
    )


def _in_private(tree: ast.Module, node: ast.AST) -> bool:
    return any(
        outer.name.startswith("_") and any(inner is node for inner in ast.walk(outer))
        for outer in ast.walk(tree)
        if isinstance(outer, ast.ClassDef)
    )
