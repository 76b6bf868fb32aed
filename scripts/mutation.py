"""Run mutants of the gate's rules against the oracle's decisions, and say which survive.

Cosmic Ray's operators change one place of a rule module; each mutant is imported in a fork of this
process and decides generated worlds until one comes out otherwise than the oracle says. What worlds
do not see (turns, the draw, what ``harness explain`` asks) the unit tests named in ``TESTS`` see.
Survivors are printed with the reason that ``tests/consent/mutants.txt`` gives, if any: why no test
could tell them from the rules as they are. The rate is that of the others; the last line is JSON,
with the rate of all beside it; the exit code is 1 below the required rate.

usage: python scripts/mutation.py [--worlds N] [--every N] [--only MODULE ...] [--again FILE]
       (needs the extra `mutation`)
"""

import argparse
import ast
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import resource
import signal
import sys
import warnings
import zoneinfo
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any

import cosmic_ray.plugins
import numpy as np
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from hypothesis import HealthCheck, Phase, given, seed, settings

ROOT = Path(__file__).parents[1]
RULES = ROOT / "src" / "harness" / "consent"
NOTES = ROOT / "tests" / "consent" / "mutants.txt"
REQUIRED = 0.95
WORLD_S, TESTS_S = 10, 120
"""Seconds after which one world, or the unit tests together, count as a hang."""
MEMORY = 8 << 30
"""Bytes that a mutant may ask for beyond what this process holds; more is an error."""

TESTS: dict[str, tuple[str, ...]] = {
    "agreement": ("test_explain.py",),
    "attendance": ("test_attendance.py",),
    "decide": (
        "test_verdicts.py",
        "test_worlds.py::test_what_is_admitted_and_who_is_dropped",
        "test_opening.py",
    ),
    "demands": (),
    "events": ("test_events.py", "test_explain.py"),
    "exclusion": (
        "test_exclusion.py::test_a_rule_names_meetings_whatever_their_ids",
        "test_worlds.py::test_a_rule_about_a_file_that_is_several_kinds_of_content",
        "test_explain.py",
    ),
    "frame": ("test_frame.py",),
    "jurisdiction": ("test_jurisdiction.py",),
    "labels": ("test_labels.py",),
    "modality": ("test_modality.py",),
    "policy": ("test_policy.py",),
    "request": (),
    "split": ("test_split.py",),
    "turns": ("test_turns.py",),
}
"""Rule modules, and the unit tests under tests/consent that see what worlds do not."""
UNSEEN_BY_WORLDS = {"split", "turns"}
_SURVIVED = "survived: "
SMALL = {"agreement": {"PAIRS_AT_ONCE": 3}}
"""Constants that only bound memory, set so low that worlds are large beside them."""


@dataclass(frozen=True)
class Mutant:
    """A rule module with one place changed.

    Attributes:
        module: its name within ``harness.consent``.
        operator: Cosmic Ray's name of the change.
        line: number of the changed line.
        old, new: that line before and after, without margins.
        source: the whole module.
    """

    module: str
    operator: str
    line: int
    old: str
    new: str
    source: str

    @property
    def change(self) -> str:
        """What is changed, wherever it stands."""
        return f"{self.operator}: {self.old} -> {self.new}"

    def __str__(self) -> str:
        return f"{_SURVIVED}{self.module}.py:{self.line} {self.change}"


@dataclass(frozen=True)
class Note:
    """Why survivors are equivalent or harmless.

    Attributes:
        module: of the mutants.
        operator: their operator, a pattern as of file names.
        old: their changed line, before.
        new: and after; empty for any.
        reason: one sentence.
    """

    module: str
    operator: str
    old: str
    new: str
    reason: str

    def fits(self, mutant: Mutant) -> bool:
        """Whether the note speaks of a mutant."""
        return (
            (self.module, self.old) == (mutant.module, mutant.old)
            and fnmatchcase(mutant.operator, self.operator)
            and self.new in ("", mutant.new)
        )


# Mutants


def mutants(module: str) -> list[Mutant]:
    """All mutants of a module that could matter, in the order of their lines.

    Args:
        module: name within ``harness.consent``.
    """
    source = (RULES / f"{module}.py").read_text()
    tree, meaning, found = get_ast(source), _meaning(source), []
    for name in cosmic_ray.plugins.operator_names():
        kind = cosmic_ray.plugins.get_operator(name)
        if kind.arguments():  # these change a variable that has to be named
            continue
        places = sum(1 for node in ast_nodes(tree) for _ in kind().mutation_positions(node))
        for place in range(places):
            changed = mutate_code(source, kind(), place)
            if changed is not None and _meaning(changed) not in (None, meaning):
                found.append(_mutant(module, name.split("/")[-1], source, changed))
    return sorted(found, key=lambda mutant: mutant.line)


def _mutant(module: str, operator: str, source: str, changed: str) -> Mutant:
    lines = zip(source.splitlines(), changed.splitlines(), strict=False)
    line, (old, new) = next((n, pair) for n, pair in enumerate(lines, 1) if pair[0] != pair[1])
    return Mutant(module, operator, line, old.strip(), new.strip(), changed)


def _meaning(source: str) -> str | None:
    """A program without what cannot change a decision; None for what is no program.

    Left out are, and with them the mutants that differ in nothing else:
    annotations, which nothing evaluates for a decision, and ``from __future__``, which is about
    them; docstrings; decorators and their arguments, as they cache, freeze and make properties of
    rules but hold none; and what stands in ``raise``, which is text for people. A mutant that does
    not compile is left out as well, since killing it would show nothing.
    """
    try:
        tree = ast.parse(source)
        compile(tree, "mutant", "exec")
    except (SyntaxError, ValueError):
        return None
    return ast.dump(_Bare().visit(tree))


class _Bare(ast.NodeTransformer):
    """Takes out what :func:`_meaning` names."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                setattr(node, name, ast.Constant(None))
        if hasattr(node, "decorator_list"):
            node.decorator_list = []
        return super().generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise()


# Cases


def make_cases(count: int) -> list[tuple[Any, Any]]:
    """Worlds with the oracle's decisions: each mutation alone, with last words, on an edge or with
    many rules; and drawn ones.

    Args:
        count: of worlds.
    """
    from consent.test_oracle import KINDS_OF_RECORDING, expected
    from consent.worlds import World, edges, last_words, many_rules, singles, worlds

    found = [*singles(2, KINDS_OF_RECORDING)]
    for n, world in enumerate(singles(1, KINDS_OF_RECORDING)):
        beside = [*last_words(world), *edges(world, n)]
        found += [*beside[n % 2 :: 2], many_rules(world, n)]
    more = count - len(found)

    @seed(20261124)
    @settings(max_examples=max(more, 1), database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(worlds(KINDS_OF_RECORDING))
    def collect(world: World) -> None:
        found.append(world)

    collect()
    return [(world, expected(world)) for world in found]


# One mutant in a fork


class _Served(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports one module from a text."""

    def __init__(self, name: str, source: str) -> None:
        self._name, self._source = name, source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def get_source(self, fullname: str) -> str:
        return self._source

    def is_package(self, fullname: str) -> bool:
        return False


class Trial:
    """Runs mutants, each in a fork, on worlds that killed its neighbours first.

    Args:
        cases: worlds with the oracle's decisions.
    """

    def __init__(self, cases: Sequence[tuple[Any, Any]]) -> None:
        self._cases = cases
        self._order = [*range(len(cases))]

    def outcome(self, mutant: Mutant, is_noted: bool = False) -> str:
        """What becomes of a mutant: ``killed``, ``timeout`` or ``survived``.

        Args:
            mutant: to run.
            is_noted: whether it is known to survive; a fifth of the worlds is then enough.
        """
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            status = 1
            try:
                status = self._try(mutant, is_noted, writer)
            finally:
                os._exit(status)
        os.close(writer)
        with open(reader, "rb") as stream:
            told = stream.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
            return "timeout"
        if told:
            self._order.remove(int(told))
            self._order.insert(0, int(told))
        return "survived" if status == 0 else "killed"

    def _try(self, mutant: Mutant, is_noted: bool, writer: int) -> int:
        """In the fork: 0 if nothing sees the mutant; an alarm ends the process."""
        limit = _memory() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(WORLD_S)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        warnings.simplefilter("error", RuntimeWarning)
        np.seterr(all="raise")  # an engine that divides by zero is seen by that
        _forget()
        sys.meta_path.insert(0, _Served(f"harness.consent.{mutant.module}", mutant.source))
        if mutant.module not in UNSEEN_BY_WORLDS:
            from consent.test_oracle import decisions

            for module, constants in SMALL.items():
                vars(sys.modules[f"harness.consent.{module}"]).update(constants)
            for number in self._order[: len(self._order) // (5 if is_noted else 1)]:
                signal.alarm(WORLD_S)
                world, wanted = self._cases[number]
                if not _same(decisions, world, wanted):
                    os.write(writer, str(number).encode())
                    return 1
        signal.alarm(TESTS_S)
        return 0 if is_noted else int(_fails(TESTS[mutant.module]))


def _same(decisions: Any, world: Any, wanted: Any) -> bool:
    try:
        return bool(decisions(world) == wanted)
    except Exception:
        return False


def _fails(names: Sequence[str]) -> bool:
    """Whether one of the unit tests fails."""
    paths = [str(ROOT / "tests" / "consent" / name) for name in names]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={ROOT}"]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return bool(paths) and pytest.main([*options, *paths]) != pytest.ExitCode.OK


def _forget() -> None:
    """Drop the project's modules but the oracle, so that users of a mutant are imported anew."""
    for name in [*sys.modules]:
        if name.split(".")[0] == "harness" or name.startswith("consent.test_"):
            del sys.modules[name]


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


# Notes


def read_notes(path: Path) -> list[Note]:
    """The notes about survivors.

    Args:
        path: blocks of lines; ``=`` opens a reason, ``MODULE OPERATOR`` an entry, ``-`` and ``+``
            are the changed line before and after, the latter may be left out; ``#`` is a comment.
    """
    found: list[Note] = []
    reason = module = operator = ""
    for line in path.read_text().splitlines() if path.exists() else ():
        sign, text = line[:1], line[1:].strip()
        if sign == "=":
            reason = text
        elif sign == "-":
            found.append(Note(module, operator, text, "", reason))
        elif sign == "+":
            last = found.pop()
            found.append(Note(last.module, last.operator, last.old, text, last.reason))
        elif sign not in ("#", ""):
            module, operator = line.split()
    return found


def survivors(path: Path) -> set[str]:
    """Changes that an earlier run printed as surviving without a reason."""
    rows = [row.removeprefix(_SURVIVED) for row in path.read_text().splitlines()]
    return {row.partition(" ")[2] for row in rows if not row.endswith("]") or "  [" not in row}


def main() -> int:
    """Run all mutants; 1 when too few are killed, 2 when the rules as they are do not pass."""
    parser = argparse.ArgumentParser(description="Run mutants of the gate's rules.")
    parser.add_argument("--worlds", type=int, default=1000, help="worlds decided by each mutant")
    parser.add_argument("--every", type=int, default=1, help="run each N-th mutant of a module")
    parser.add_argument("--only", nargs="+", metavar="MODULE", help="rule modules to run")
    parser.add_argument(
        "--again",
        type=Path,
        metavar="FILE",
        help="run only the survivors that an earlier run printed without a reason",
    )
    arguments = parser.parse_args()
    modules = arguments.only or [name for name in TESTS if (RULES / f"{name}.py").exists()]
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    zoneinfo.available_timezones = functools.cache(zoneinfo.available_timezones)
    settings.register_profile("mutation", database=None, derandomize=True, deadline=None,
                              phases=[Phase.explicit, Phase.generate])  # fmt: skip
    settings.load_profile("mutation")
    again = survivors(arguments.again) if arguments.again else None
    trial = Trial(make_cases(arguments.worlds))
    notes = [note for note in read_notes(NOTES) if note.module in modules]
    outcomes: dict[str, Counter[str]] = {}
    idle = set(notes)
    for module in modules:
        untouched = Mutant(module, "NoOp", 0, "", "", (RULES / f"{module}.py").read_text())
        if trial.outcome(untouched) != "survived":
            print(f"{module}.py: worlds or tests fail without any mutation", file=sys.stderr)
            return 2
        outcomes[module] = Counter()
        for mutant in mutants(module)[:: arguments.every]:
            if again is not None and mutant.change not in again:
                continue
            fitting = [note for note in notes if note.fits(mutant)]
            outcome = trial.outcome(mutant, is_noted=bool(fitting))
            outcomes[module][outcome] += 1
            if outcome == "survived":
                outcomes[module]["equivalent"] += bool(fitting)
                idle -= {*fitting}
                reason = f"  [{fitting[0].reason}]" if fitting else ""
                print(f"{mutant}{reason}", flush=True)
        print(f"{module}: {json.dumps(_summary(outcomes[module]))}", file=sys.stderr, flush=True)
    for note in notes:
        if note in idle and arguments.every == 1 and again is None:
            print(f"note fits no survivor: {note.module} {note.operator} - {note.old}")
    summary = _summary(sum(outcomes.values(), Counter()))
    by_module = {module: _summary(found) for module, found in outcomes.items()}
    print(json.dumps(summary | {"by_module": by_module}))
    return int(summary["rate"] < REQUIRED)


def _summary(outcomes: Counter[str]) -> dict[str, Any]:
    killed, survived = outcomes["killed"] + outcomes["timeout"], outcomes["survived"]
    total, other = killed + survived, survived - outcomes["equivalent"]
    return {"mutants": total, "killed": killed, "timeouts": outcomes["timeout"],
            "survived": survived, "equivalent": outcomes["equivalent"],
            "rate": round(killed / max(killed + other, 1), 4),
            "rate_of_all": round(killed / total, 4)}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
