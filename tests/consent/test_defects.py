"""Defects put into the engine one by one: the oracle sees each of them."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from consent.test_oracle import KINDS_OF_RECORDING, decisions, expected
from consent.worlds import World, worlds

ROOT = Path(__file__).parents[2]
DEFECTS = [
    ("agreement", "reach &= silent | events", "reach &= events"),
    ("agreement", "return heard & (self.time == latest[self.place])", "return heard"),
    (
        "agreement",
        'self.now >= events.times("valid_until")',
        'self.now > events.times("valid_until")',
    ),
    (
        "agreement",
        'self.now < events.times("valid_from")',
        'self.now <= events.times("valid_from")',
    ),
    (
        "agreement",
        'now >= events.times("retention_until")',
        'now > events.times("retention_until")',
    ),
    ("agreement", "log.time < oldest", "log.time <= oldest"),
    ("agreement", "<= self.now + skew)", "<= self.now - skew)"),
    (
        "agreement",
        "scopes.start[self.event] <= self._start",
        "scopes.start[self.event] < self._start",
    ),
    ("agreement", "self._start < scopes.end", "self._start <= scopes.end"),
    ("agreement", "(self._start < self.time)", "(self._start <= self.time)"),
    ("agreement", "silent | own | (origin & ~derivative)", "silent | own | origin"),
    ("agreement", "~(guardian & ~own)", "~guardian"),
    ("agreement", "own != log.as_self[event]", "own == log.as_self[event]"),
    ("agreement", "self.permits & (self.names | ~named[self.place])", "self.permits.copy()"),
    ("agreement", "self.scopes.none[event] | self.names", "self.names"),
    ("agreement", "~terms.employee_ok[meeting]", "terms.employee_ok[meeting]"),
    ("policy", "use.now < policy.effective_from", "use.now <= policy.effective_from"),
    (
        "policy",
        "if change is None:\n            return True",
        "if change is None:\n            return False",
    ),
    ("policy", "for p in (policy, current)", "for p in (policy,)"),
    (
        "jurisdiction",
        "all(row.guardian_ok for row in rows)",
        "any(row.guardian_ok for row in rows)",
    ),
    ("jurisdiction", "min(row.max_retention_days", "max(row.max_retention_days"),
    ("jurisdiction", "if there != place", "if True"),
    ("demands", "self.frame.end > self._retention", "self.frame.end >= self._retention"),
    ("demands", "(self.min_age[meeting] > 0)", "(self.min_age[meeting] > 99)"),
    ("exclusion", "(self.frame.start[rows] < end)", "(self.frame.start[rows] <= end)"),
    ("exclusion", "now < microseconds(until)", "now <= microseconds(until)"),
    ("exclusion", "concerns(rule.scope.purposes, request.purpose)", "True"),
    ("exclusion", "(rules.reach[rule] & origins) > 0", "(rules.reach[rule] & origins) > 99"),
    ("modality", "operation is Operation.FINE_TUNING and", "False and"),
    ("modality", "due += new", "due += []"),
    ("frame", "same[of_person] < counts[which]", "same[of_person] > counts[which]"),
    ("decide", "remaining < defaults.min_speakers", "remaining <= defaults.min_speakers"),
    ("decide", "some & self.one_to_one", "self.one_to_one"),
    ("decide", "or not all(covers(", "or not any(covers("),
    (
        "decide",
        "(self.arm == len(ARMS)) & denied, np.uint64(0), of_arm",
        "(self.arm > len(ARMS)) & denied, np.uint64(0), of_arm",
    ),
    ("attendance", "& (self._size[event] > 1)", "& (self._size[event] > 9)"),
    ("agreement", "(time[before] < time[event[left]])", "(time[before] <= time[event[left]])"),
    ("agreement", "first, time = self.attendance.first[rows]", "first, time = 0 * rows"),
    ("events", "or not _rises(groups, time, seq)", "or False"),
]
WORKER = """
import pickle, sys
from pathlib import Path
import harness
assert Path(harness.__file__).parents[1] == Path(sys.argv[2]), harness.__file__
from consent.test_oracle import decisions
for world, wanted in pickle.loads(Path(sys.argv[1]).read_bytes()):
    try:
        same = decisions(world) == wanted
    except Exception:
        same = False
    if not same:
        sys.exit(1)
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Worlds with the oracle's decisions, all of which the engine as it stands shares."""
    found: list[World] = []

    @seed(7)
    @settings(max_examples=3000, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(worlds(KINDS_OF_RECORDING))
    def collect(world: World) -> None:
        found.append(world)

    collect()
    pairs = [(world, expected(world)) for world in found]
    assert all(decisions(world) == wanted for world, wanted in pairs[:100])
    path = tmp_path_factory.mktemp("worlds") / "cases"
    path.write_bytes(pickle.dumps(pairs))
    return path


@pytest.mark.parametrize(("module", "old", "new"), DEFECTS)
def test_every_defect_fits_the_engine(module: str, old: str, new: str) -> None:
    text = (ROOT / "src" / "harness" / "consent" / f"{module}.py").read_text()
    assert text.count(old) == 1
    assert old != new


@pytest.mark.slow
@pytest.mark.parametrize(("module", "old", "new"), DEFECTS)
def test_the_oracle_sees_the_defect(
    module: str, old: str, new: str, cases: Path, tmp_path: Path
) -> None:
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    path = source / "harness" / "consent" / f"{module}.py"
    text = path.read_text()
    path.write_text(text.replace(old, new))
    places = os.pathsep.join([str(source), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(cases), str(source)], check=False,
        env=os.environ | {"PYTHONPATH": places, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, "no world shows it"
    assert "Error" not in done.stderr
