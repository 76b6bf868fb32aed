"""The draft that an import leaves: its own tables are written anew, what people wrote is kept.

Meetings, participants, content and aliases are the import's; people complete them through the file
of people and the signed aliases, so that they can be made again. A table that somebody changed
since is not overwritten. Answers to the recording disclaimer are added to the consent log, as
consent to the recording and to nothing else, and events of other systems as they say; the log only
grows.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from harness.consent.drafting import new_draft
from harness.consent.records import Operation, format_time, parse_time
from harness.digest import canonical_json, digest_of, sha256_file
from harness.errors import Refused
from harness.intake.people import People
from harness.rundir import read_json, replaced, write_json

OWN = ("meetings", "participants", "content", "aliases")
_WRITTEN = "written.json"
_YES = {"y", "yes", "ok", "agree", "agreed", "accept", "accepted", "true"}
_NO = {"n", "no", "decline", "declined", "refuse", "refused", "false", "disagree"}
_LONG = timedelta(days=36500)
_NO_TEXT = {"policy_id": "recording-disclaimer", "version": "unknown", "sha256": "0" * 64,
            "language": "und"}  # fmt: skip

Rows = Callable[[], Iterator[dict[str, Any]]]
"""What was taken of each meeting, as often as it is asked for."""


def write(
    folder: Path, private: Path, taken: Rows, people: People, controller: str,
    consents: Iterable[dict[str, Any]] = (),
) -> None:  # fmt: skip
    """Write the import's tables into a draft, which is made where there is none.

    Args:
        folder: of the draft.
        private: where it is noted what was written.
        taken: of all meetings.
        people: for their keys.
        controller: whose recording it was.
        consents: events of other systems, without ``seq``.

    Raises:
        Refused: ``DRAFT_EDITED`` where a table is not what an import wrote.
    """
    if not folder.exists():
        new_draft(folder)
        _note(folder, private)
    _check(folder, private)
    noted = read_json(private / _WRITTEN)
    for table in OWN:
        with replaced(folder / f"{table}.jsonl") as target:
            with target.open("wb") as file:
                file.writelines(canonical_json(row) + b"\n" for row in _rows(table, taken))
            noted[table] = [
                *noted[table],
                sha256_file(target),
            ]  # either may stand there, if cut short
            write_json(private / _WRITTEN, noted)
    answers = _answers(taken, people, controller)
    _append(folder / "consent.jsonl", itertools.chain(answers, consents))
    _note(folder, private)


def _rows(table: str, taken: Rows) -> Iterator[Any]:
    if table == "aliases":
        seen: set[bytes] = set()
        for row in (row for one in taken() for row in one["aliases"]):
            data = canonical_json(row)
            if data not in seen:
                seen.add(data)
                yield row
    elif table == "meetings":
        yield from (one["meeting"] for one in taken() if one["meeting"] is not None)
    else:
        yield from (row for one in taken() for row in one[table])


def _note(folder: Path, private: Path) -> None:
    digests = {table: [sha256_file(folder / f"{table}.jsonl")] for table in OWN}
    write_json(private / _WRITTEN, digests)


def _check(folder: Path, private: Path) -> None:
    written = read_json(private / _WRITTEN) if (private / _WRITTEN).exists() else {}
    for table in OWN:
        path = folder / f"{table}.jsonl"
        if not path.exists() or sha256_file(path) not in written.get(table, ()):
            raise Refused("DRAFT_EDITED", "a table is not what the last import wrote", path.name,
                          "say it in --people or --aliases and restore the table, or import "
                          "elsewhere")  # fmt: skip


def _append(path: Path, events: Iterable[dict[str, Any]]) -> None:
    """Append the events that the log does not have yet."""
    known, count = dict[str, str](), 0
    with path.open("rb") as file:
        for line in file:
            event = json.loads(line)
            known[event.pop("event_id", "")] = _said(event)
            count += 1
    logged, written = {*known}, set[str]()
    with replaced(path) as target, path.open("rb") as old, target.open("wb") as new:
        for block in iter(lambda: old.read(1 << 20), b""):
            new.write(block)
        for event in events:
            name, said = event["event_id"], _said(event)
            if known.setdefault(name, said) != said:
                raise Refused("CONSENTS_INVALID", "an event_id that the log has for something else",
                              name, "give the new event an id of its own")  # fmt: skip
            if name not in written and name not in logged:
                written.add(name)
                new.write(canonical_json({"seq": count, **event}) + b"\n")
                count += 1


def _said(event: dict[str, Any]) -> str:
    """Digest of what an event says, its number and id apart."""
    return digest_of({key: event[key] for key in event if key not in ("seq", "event_id")})


def _answers(taken: Rows, people: People, controller: str) -> Iterator[dict[str, Any]]:
    for one in taken():
        for answer in one["answers"] if one["meeting"] else ():
            state = _state(answer["answer"])
            if state:
                yield _event(one["meeting"], answer, state, people, controller)


def _state(answer: str) -> str:
    word = answer.strip().casefold()
    return "given" if word in _YES else "refused" if word in _NO else ""


def _event(
    meeting: dict[str, Any], answer: dict[str, Any], state: str, people: People, controller: str
) -> dict[str, Any]:
    """An answer as an event of the consent log, about the recording of one meeting alone."""
    key, since = people.key(answer["email"]), answer["since"] or meeting["start"]
    name = f"{controller} {meeting['meeting_id']} {key} {answer['answer']}"
    far = format_time(parse_time(since) + _LONG)
    return {
        "event_id": f"recording-{hashlib.sha256(name.encode()).hexdigest()[:24]}",
        "subject_key": key, "actor_key": key, "delegation": "self", "state": state,
        "consent_type": "expressed", "controller": controller, "recipients": [],
        "operations": [str(Operation.RECORDING)], "purposes": [], "modalities": [],
        "derivatives": [], "notice": _NO_TEXT,
        "scope": {"meetings": [meeting["meeting_id"]], "series": [], "from": meeting["start"],
                  "until": _after(meeting["end"])},
        "retroactive": False, "event_time": since, "recorded_time": since, "valid_from": since,
        "valid_until": far, "retention_until": far, "method": "prompt", "evidence_sha256": None,
    }  # fmt: skip


def _after(time: str) -> str:
    moment: datetime = parse_time(time) + timedelta(seconds=1)
    return format_time(moment)


def unresolved(taken: Iterable[dict[str, Any]]) -> Iterator[list[str]]:
    """Rows of the list of labels that stand for nobody known."""
    yield ["series_id", "meeting_id", "label", "turns", "reason"]
    for one in taken:
        series = one["meeting"]["series_id"] if one["meeting"] else ""
        for row in one["unresolved"]:
            yield [series, row["meeting_id"], row["label"], str(row["turns"]), row["reason"]]
