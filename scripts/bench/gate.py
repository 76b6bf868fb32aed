"""How long the rules take beside a bare join of the same files, and beside policy engines.

For each size a signed manifest is made: a meeting has 5 participations, 10 consent events, and
there are rules of every kind. Then, in processes of their own, one after the other:

- *ours*: signature, digests, every row checked, every reference resolved, all rules, and one row of
  decisions for each meeting written, with two processes;
- *the join*: DuckDB counts the rows of participants joined with meetings and with consent events,
  with two threads and the memory that ours may take. It reads three columns, checks nothing and
  writes nothing.

``--peers`` gives Cedar and OPA what they can express: the latest event of a person, ready as a
dictionary, for one decision each. Ours decides participations by every rule of consent and all of
their people's events, ready as columns, on one core.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.consent.agreement import consent_codes
from harness.consent.attendance import Attendance
from harness.consent.columns import Columns
from harness.consent.decide import Bench, Question, Verdicts
from harness.consent.decisions import decision_columns
from harness.consent.events import Events
from harness.consent.manifest import load
from harness.consent.passes import Work, decide_parts, modalities_of
from harness.consent.records import Arm, Operation
from harness.consent.request import Request
from harness.consent.signing import load_trust
from harness.meetings.model import Modality
from made_manifest import CONTROLLER, NOW, PURPOSE, make

SIZES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
PROCESSES = 2
MEMORY = "4GB"
PEER_DECISIONS = 2_000


def main() -> None:
    """Print a table of sizes, and as the last line the largest in JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meetings", type=lambda n: int(float(n)), default=1_000_000)
    parser.add_argument("--only", action="store_true", help="leave the smaller sizes out")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each, up to 1 million")
    parser.add_argument("--peers", action="store_true", help="beside Cedar and OPA")
    parser.add_argument("--folder", type=Path, help="where manifests are made and kept")
    parser.add_argument(
        "--run", choices=("ours", "join", "rules", "cedar", "opa"), help=argparse.SUPPRESS
    )
    asked = parser.parse_args()
    if asked.run:
        print(json.dumps(RUNS[asked.run](asked.folder)))
        return
    smaller = [] if asked.only else [size for size in SIZES if size < asked.meetings]
    print(f"{'meetings':>10} {'events':>11} {'ours s':>8} {'join s':>8} {'ratio':>6} "
          f"{'us/meeting':>10} {'ours MB':>8} {'join MB':>8}")  # fmt: skip
    row: dict[str, Any] = {}
    for size in [*smaller, asked.meetings]:
        row = measure(size, asked)
    print(json.dumps(row))


def measure(meetings: int, asked: argparse.Namespace) -> dict[str, Any]:
    """One size: make it, run both in turn, print a line."""
    base = asked.folder or Path(tempfile.mkdtemp(prefix="bench-gate-"))
    folder = base / str(meetings)
    if not folder.exists():
        make(folder, meetings, PROCESSES)
    pairs = asked.pairs if meetings <= 1_000_000 else 1
    runs = [(_spawn("join", folder), _spawn("ours", folder)) for _ in range(pairs)]
    join = median(run["seconds"] for run, _ in runs)
    ours = median(run["seconds"] for _, run in runs)
    row = {
        "meetings": meetings, "participations": runs[0][1]["participations"],
        "events": runs[0][1]["events"], "admitted": runs[0][1]["admitted"],
        "seconds": round(ours, 2), "baseline_seconds": round(join, 2),
        "ratio": round(ours / join, 2), "peak_rss_mb": max(r["rss_mb"] for _, r in runs),
        "baseline_rss_mb": max(r["rss_mb"] for r, _ in runs),
    }  # fmt: skip
    print(f"{meetings:>10} {row['events']:>11} {ours:>8.2f} {join:>8.2f} {row['ratio']:>6.2f} "
          f"{ours / meetings * 1e6:>10.2f} {row['peak_rss_mb']:>8} {row['baseline_rss_mb']:>8}",
          flush=True)  # fmt: skip
    if asked.peers:
        row |= _beside_peers(folder)
    if asked.folder is None:
        shutil.rmtree(base)
    return row


def _beside_peers(folder: Path) -> dict[str, Any]:
    rate, found = _spawn("rules", folder)["rate"], {}
    for peer in ("cedar", "opa"):
        run = _spawn(peer, folder)
        found[f"{peer}_ratio"] = round(rate / run["rate"])
        print(f"{peer}: {run['rate']:.0f} decisions/s, ours {rate:.0f} decisions/s, "
              f"{found[f'{peer}_ratio']} times", flush=True)  # fmt: skip
    return found


def _spawn(what: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--run", what, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def request() -> Request:
    """Fine-tuning on transcripts."""
    return Request(CONTROLLER, PURPOSE, (Operation.FINE_TUNING,), (Modality.TRANSCRIPT,),
                   frozenset({Arm.TRAIN, Arm.VALIDATION}))  # fmt: skip


@dataclass(frozen=True)
class Written:
    """What a part was decided to: its file, what was admitted, and the memory of the process."""

    folder: Path

    def __call__(self, work: Work, part: int, verdicts: Verdicts) -> tuple[int, int, int]:
        """Write the decisions of one part."""
        table = decision_columns(work.ids(part), verdicts)
        pq.write_table(table, self.folder / f"{part}.parquet", compression="zstd")
        return int(verdicts.admitted.sum()), *_memory()


def _memory() -> tuple[int, int]:
    return os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run_ours(folder: Path) -> dict[str, Any]:
    """Decide all meetings."""
    begin = time.perf_counter()
    manifest = load(folder / "manifest", load_trust(folder / "trust.json"), NOW)
    assert manifest.parts is not None
    modalities = modalities_of(manifest.parts, request().modalities)
    question = Question(manifest.head, manifest.tables, request(), NOW, modalities)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        out = Path(scratch) / "out"
        work = Path(scratch) / "work"
        out.mkdir(), work.mkdir()
        mine = range(manifest.parts.count("meetings"))
        todo = Work(manifest.parts, question, work, mine)
        found = [*decide_parts(todo, Written(out), PROCESSES, lambda done, total: None)]
        seconds = time.perf_counter() - begin
    memory: dict[int, int] = dict([_memory()])
    for _, process, peak in found:
        memory[process] = max(peak, memory.get(process, 0))
    counts = manifest.head.counts
    return {
        "seconds": seconds, "rss_mb": sum(memory.values()), "participations": counts.participants,
        "events": counts.consent, "admitted": sum(admitted for admitted, *_ in found),
    }  # fmt: skip


def run_join(folder: Path) -> dict[str, Any]:
    """The bare join."""
    import duckdb

    begin, files = time.perf_counter(), folder / "manifest"
    connection = duckdb.connect()
    connection.execute(f"set threads = {PROCESSES}")
    connection.execute(f"set memory_limit = '{MEMORY}'")
    connection.execute(f"set temp_directory = '{folder / 'spill'}'")
    (rows,) = connection.execute(
        f"select count(*) from '{files}/participants-*.parquet' "
        f"join '{files}/meetings-*.parquet' using (meeting_id) "
        f"join '{files}/consent-*.parquet' using (subject_key)"
    ).fetchone() or (0,)
    return {"seconds": time.perf_counter() - begin, "rows": rows, "rss_mb": _memory()[1]}


def _cases(folder: Path) -> Iterator[dict[str, Any]]:
    """The latest event of a person, as a policy engine would be asked."""
    manifest = load(folder / "manifest", load_trust(folder / "trust.json"), NOW)
    assert manifest.parts is not None
    events = manifest.parts.read("consent", 0).table.slice(0, PEER_DECISIONS * 10)
    columns = Columns(events)
    keys = columns.array("subject_key").to_pylist()
    last = [n for n, key in enumerate(keys) if n + 1 == len(keys) or keys[n + 1] != key]
    rows = events.take(pa.array(last[:PEER_DECISIONS])).to_pylist()
    now = int(NOW.timestamp())
    for n, row in enumerate(rows):
        yield {
            "age_band": "adult", "excluded": n % 97 == 0, "state": row["state"],
            "consent_type": row["consent_type"], "controller": row["controller"],
            "operations": row["operations"], "purposes": row["purposes"],
            "modalities": row["modalities"], "method": row["method"], "now": now,
            "valid_from": int(row["valid_from"].timestamp()),
            "valid_until": int(row["valid_until"].timestamp()),
        }  # fmt: skip


def run_rules(folder: Path) -> dict[str, Any]:
    """Our decisions a second about consent, from columns in memory."""
    manifest = load(folder / "manifest", load_trust(folder / "trust.json"), NOW)
    parts = manifest.parts
    assert parts is not None
    frame, logs = parts.read_frame(0), range(min(4, parts.count("consent")))
    events = pa.concat_tables([parts.read("consent", n).table for n in logs]).unify_dictionaries()
    people = frame.roster.array("subject_key")
    events = events.filter(pc.is_in(events.column("subject_key"), people))
    question = Question(manifest.head, manifest.tables, request(), NOW, (Modality.TRANSCRIPT,))
    terms = Bench(question, frame).terms(Modality.TRANSCRIPT)
    rates = []
    for _ in range(5):
        attendance = Attendance.of(frame, Events(events))
        begin = time.perf_counter()
        uses = question.uses(Modality.TRANSCRIPT)
        codes = consent_codes(attendance, uses, question.policies, terms)
        rates.append(len(codes) / (time.perf_counter() - begin))
    return {"rate": max(rates), "allowed": int((codes == 0).sum())}


CEDAR = f"""
permit(principal, action, resource) when {{
  (context.state == "given" || context.state == "renewed") && context.consent_type == "explicit" &&
  context.controller == "{CONTROLLER}" && context.purposes.contains("{PURPOSE}") &&
  (context.operations.contains("ai:ModelFineTuning") ||
   context.operations.contains("ai:ModelTraining")) &&
  context.modalities.contains("transcript") && context.method != "terms" &&
  context.valid_from <= context.now && context.now < context.valid_until }};
forbid(principal, action, resource) when {{ context.excluded }};
forbid(principal, action, resource) when {{ context.age_band != "adult" }};
"""
REGO = f"""
package consent
import rego.v1
default allow := false
allow if {{
  input.state in {{"given", "renewed"}}
  input.consent_type == "explicit"
  input.controller == "{CONTROLLER}"
  "{PURPOSE}" in input.purposes
  some operation in input.operations
  operation in {{"ai:ModelFineTuning", "ai:ModelTraining"}}
  "transcript" in input.modalities
  input.method != "terms"
  input.valid_from <= input.now
  input.now < input.valid_until
  input.excluded == false
  input.age_band == "adult"
}}
"""


def run_cedar(folder: Path) -> dict[str, Any]:
    """Cedar's decisions a second, in its batch mode."""
    import cedarpy

    asked = [
        {"principal": f'User::"{n}"', "action": 'Action::"train"', "resource": 'Meeting::"m"',
         "context": case}
        for n, case in enumerate(_cases(folder))
    ]  # fmt: skip
    begin = time.perf_counter()
    answers = cedarpy.is_authorized_batch(asked, CEDAR, [])
    return _rate(sum(answer.allowed for answer in answers), len(asked), begin)


def run_opa(folder: Path) -> dict[str, Any]:
    """OPA's decisions a second, one input after the other."""
    from regopy import Interpreter

    cases = [*_cases(folder)]
    engine = Interpreter()
    engine.add_module("consent", REGO)
    begin, allowed = time.perf_counter(), 0
    for case in cases:
        engine.set_input(case)
        allowed += "true" in str(engine.query("data.consent.allow"))
    return _rate(allowed, len(cases), begin)


def _rate(allowed: int, decisions: int, begin: float) -> dict[str, Any]:
    assert 0 < allowed < decisions, "a policy that allows all or nothing decides nothing"
    return {"rate": decisions / (time.perf_counter() - begin), "allowed": allowed}


RUNS = {"ours": run_ours, "join": run_join, "rules": run_rules, "cedar": run_cedar, "opa": run_opa}

if __name__ == "__main__":
    main()
