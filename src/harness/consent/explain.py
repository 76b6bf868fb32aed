"""``harness explain``: why a meeting, or a turn of it, was admitted or denied, in sentences.

The decision is made again from the signed manifest, with the clock of the run's gate, for this one
meeting; the events and rules that decided are named by their ids.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.config import Config
from harness.consent import withdrawals
from harness.consent.agreement import Agreement
from harness.consent.attendance import Attendance
from harness.consent.bits import PERSON
from harness.consent.decide import Bench, Question, Rulings, rule_tables
from harness.consent.events import Events
from harness.consent.exclusion import Exclusions
from harness.consent.frame import Frame
from harness.consent.head import Head, Tables
from harness.consent.manifest import Manifest, load_at_any_time
from harness.consent.parts import BY_MEETING
from harness.consent.present import Source, withdrawn
from harness.consent.reasons import REASONS, About, in_order, sentence
from harness.consent.records import Arm, ConsentEvent, Operation, format_time, parse_time
from harness.consent.request import Request
from harness.consent.signing import load_trust
from harness.consent.sources import locate
from harness.consent.withdrawals import Log
from harness.errors import ExitCode, Refused
from harness.flags import Parser
from harness.meetings.model import Modality
from harness.rundir import load_config, read_json


def main(words: Sequence[str]) -> int:
    """Run the command; return the exit code.

    Args:
        words: the command line after ``harness explain``.

    Raises:
        UsageError: ``FLAG``.
        Refused: ``MEETING_UNKNOWN``, ``TURN_UNKNOWN``, ``MANIFEST_CHANGED``, or a code of run
            directory and manifest.
    """
    arguments = _parser().parse_args(words)
    for line in explain(arguments.run_dir, arguments.meeting, arguments.turn, arguments.manifest):
        print(line)
    return ExitCode.DONE


def explain(
    run_dir: Path, meeting: str, turn: str | None, manifest_folder: Path | None = None
) -> Iterator[str]:
    """Sentences about one meeting of a run.

    Args:
        run_dir: whose gate has decided.
        meeting: meeting id.
        turn: ``MODALITY/INDEX``, or an index of the only modality.
        manifest_folder: of the run's epoch, where another one has taken its place since.
    """
    config, summary = load_config(run_dir), read_json(run_dir / "gate" / "summary.json")
    now = parse_time(summary["decided_at"])
    source = locate(config.data)
    source = replace(source, manifest=manifest_folder) if manifest_folder else source
    manifest, log = _then(source, summary, now)
    head, tables = manifest.head, _only(manifest, withdrawn(manifest, log), meeting)
    case = _Case(config, head, tables, now)
    rows = _decisions(run_dir, meeting)
    yield from case.meeting(next(row for row in rows if row["turn"] < 0))
    yield from _common(rows)
    if turn is not None:
        yield from _turn(rows, turn)
        yield from _masked(run_dir, meeting, turn)
    sha256 = summary["manifest_sha256"]
    yield f"Decided at {format_time(now)} under epoch {head.epoch}, manifest {sha256}."


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="harness explain", description="Say why a meeting, or a turn, was "
                     "admitted or denied, with the events and rules that decided.")  # fmt: skip
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("meeting", help="meeting id")
    parser.add_argument("turn", nargs="?", help="MODALITY/INDEX, as in decisions.parquet")
    parser.add_argument("--manifest", type=Path, metavar="DIR",
                        help="that of the run's epoch, where a newer one stands")  # fmt: skip
    return parser


class _Case:
    """One meeting, decided again."""

    def __init__(self, config: Config, head: Head, tables: Tables, now: datetime) -> None:
        job = config.job
        self.request = Request(
            job.controller, job.purpose, (Operation.FINE_TUNING,),
            tuple(map(Modality, job.modalities)), frozenset({Arm.TRAIN, Arm.VALIDATION}),
            tuple(job.recipients),
        )  # fmt: skip
        self.head, self.tables, self.now = head, tables, now
        self.frame, self.log = Frame.of(tables), Events.from_rows(tables.consent)
        self.events = {event.event_id: event for event in tables.consent}

    def meeting(self, decided: dict[str, Any]) -> Iterator[str]:
        """Sentences about the meeting as a whole: what was decided, then what the rows say."""
        rulings = rule_tables(self.head, self.tables, self.frame, self.log, self.request, self.now)
        (row,) = self.tables.meetings
        verdict = "denied" if decided["codes"] else "admitted"
        yield f"Meeting {row.meeting_id} of series {row.series_id} was {verdict} for training."
        for code in decided["codes"]:
            yield f"  {code}: {sentence(code)}"
        for modality in rulings.verdicts:
            yield from self._modality(rulings, modality)

    def _modality(self, rulings: Rulings, modality: Modality) -> Iterator[str]:
        codes = rulings.modality_codes(0, modality)
        yield f"Its {modality}: {', '.join(codes) if codes else 'nothing forbids it'}."
        exclusions = Exclusions(self.frame, rulings.rules)
        for rule in exclusions.concerning(modality):
            yield f"  Rule {rule.rule_id} ({rule.kind}, asked for by {rule.source}) excludes it."
        for place, bits in enumerate(rulings.verdicts[modality].people):
            yield from self._person(place, PERSON.names(bits), modality)

    def _person(self, place: int, codes: Sequence[str], modality: Modality) -> Iterator[str]:
        keys = self.frame.roster.table.column("subject_key")
        key = keys[place].as_py()
        who = f"person {key.hex()}" if key else "an unidentified label"
        if not codes:
            yield f"  {who}: nothing forbids it."
        for code in codes:
            yield f"  {who}: {code}: {sentence(code)}"
        for event in self._decisive(place, modality) if key else ():
            yield (f"    decided by event {event.event_id} ({event.state}, "
                   f"{format_time(event.event_time)}, by {event.method})")  # fmt: skip

    def _decisive(self, place: int, modality: Modality) -> list[ConsentEvent]:
        question = Question(self.head, self.tables, self.request, self.now, (modality,))
        attendance = Attendance.of(self.frame, self.log)
        (use,) = question.uses(modality)
        terms = Bench(question, self.frame).terms(modality)[use.operation]
        rows = Agreement(attendance, use, question.policies, terms).decisive(np.array([place]))
        ids = self.log.columns.array("event_id").take(pa.array(rows)).to_pylist()
        return [self.events[name] for name in ids]


def _then(source: Source, summary: dict[str, Any], now: datetime) -> tuple[Manifest, Log]:
    """The manifest that was decided on, and the withdrawals that were known then."""
    trust = load_trust(source.trust)
    manifest = load_at_any_time(source.manifest, trust, now)
    if manifest.sha256 != summary["manifest_sha256"]:
        raise Refused("MANIFEST_CHANGED", "it is not the manifest that the run was decided under",
                      "MANIFEST.json", "name that of the run's epoch by --manifest")  # fmt: skip
    log = withdrawals.read_at_any_time(source.withdrawals, trust, now)
    then = summary["withdrawals"]["entries"]
    known = Log(log.entries[:then], log.heads[:then], log.as_of)
    if known.sha256 != summary["withdrawals"]["sha256"]:
        raise Refused("WITHDRAWALS_ROLLED_BACK", "the log is not the one that the run saw",
                      "withdrawals.jsonl", "fetch the log that belongs to the run")  # fmt: skip
    return manifest, known


def _only(manifest: Manifest, more: Iterable[ConsentEvent], meeting: str) -> Tables:
    """The rows that concern one meeting, and of more events those of its people."""
    tables, parts = manifest.tables, manifest.parts
    of_it = parts.rows_of(meeting) if parts else {
        name: tuple(row for row in getattr(tables, name) if row.meeting_id == meeting)
        for name in BY_MEETING
    }  # fmt: skip
    if not of_it["meetings"]:
        raise Refused("MEETING_UNKNOWN", "no such meeting in the manifest", "MEETING",
                      "name a meeting_id of private/decisions.parquet")  # fmt: skip
    people = {row.subject_key for row in of_it["participants"]} - {None}
    log = parts.events_of(people) if parts else tables.consent
    consent = tuple(event for event in (*log, *more) if event.subject_key in people)
    return replace(tables, **of_it, consent=consent)


def _decisions(run_dir: Path, meeting: str) -> list[dict[str, Any]]:
    return _table(run_dir, "decisions.parquet", meeting)


def _table(run_dir: Path, name: str, meeting: str) -> list[dict[str, Any]]:
    """The rows about a meeting of a table that the gate wrote."""
    path, wanted = run_dir / "private" / name, [("meeting_id", "=", meeting)]
    try:
        return list(pq.read_table(path, filters=wanted).to_pylist())
    except (OSError, pa.ArrowInvalid):
        raise Refused("RUN_FILE", "no readable decisions", f"private/{name}",
                      "run the gate again") from None  # fmt: skip


def _common(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Codes about turns that all turns of a kind of content have: what its rows do not say."""
    found: dict[str, list[set[str]]] = {}
    for row in rows:
        if row["turn"] >= 0:
            found.setdefault(row["modality"], []).append({*row["codes"]})
    for modality, codes in found.items():
        for code in in_order(set.intersection(*codes)):
            if REASONS[code].about is About.TURN:
                yield f"All of its {modality}: {code}: {sentence(code)}"


def _turn(rows: list[dict[str, Any]], turn: str) -> Iterator[str]:
    found = [row for row in rows if _is_of(row, turn)]
    if len(found) != 1:
        raise Refused("TURN_UNKNOWN", "no such turn was decided, or several", "TURN",
                      "name MODALITY/INDEX; meetings denied whole have none")  # fmt: skip
    (row,) = found
    yield f"Turn {row['modality']}/{row['turn']}: {row['decision']}."
    for code in row["codes"]:
        yield f"  {code}: {sentence(code)}"


def _masked(run_dir: Path, meeting: str, turn: str) -> Iterator[str]:
    for row in _table(run_dir, "masked.parquet", meeting):
        if _is_of(row, turn):
            yield f"  Masked: {row['kind']}, characters {row['start']} to {row['end']}."


def _is_of(row: dict[str, Any], turn: str) -> bool:
    modality, _, index = turn.rpartition("/")
    return str(row["turn"]) == index and (not modality or row["modality"] == modality)
