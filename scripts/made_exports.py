"""Make a folder of Zoom exports of any number of meetings, and what completes their import.

Written are, below DIR: ``exports/`` (a folder for each meeting: transcript, chat, participants,
recordings JSON), ``people.csv``, ``series.csv``, ``consents.jsonl`` and ``terms/``, the tables of a
draft that an import leaves to people. Meetings are those of the demo's grammar, of as many seeds as
it takes. Three people in a hundred refuse; docs/import.md goes on from here.

usage: python scripts/made_exports.py DIR MEETINGS
"""

import argparse
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.consent.authoring import lines
from harness.consent.drafting import TERMS, Terms
from harness.consent.head import Draw, Scope
from harness.consent.invented import (
    BEGINNING,
    CHANGE,
    CONTROLLER,
    DEFAULTS,
    DISCLOSED,
    END,
    LICENCE,
    OLD_POLICY,
    OPERATIONS,
    PLACE,
    POLICY,
    PURPOSE,
    RULE_OF_PLACE,
)
from harness.consent.records import AgeBand, Licence, Relation, format_time, to_json
from harness.digest import canonical_json
from harness.intake.people import Known, write_known
from harness.meetings import synthetic
from harness.meetings.model import Modality
from harness.meetings.synthetic import DemoMeeting
from harness.rundir import write_bytes, write_json


def meetings(count: int) -> Iterator[DemoMeeting]:
    """So many meetings, of seeds 0, 1 and so on."""
    every = (meeting for seed in itertools.count() for meeting in synthetic.generate(seed))
    return itertools.islice(every, count)


def consent(email: str) -> dict[str, Any]:
    """What somebody said of all meetings: yes, or, three in a hundred, no."""
    refuses = int(hashlib.sha256(email.encode()).hexdigest(), 16) % 100 < 3
    told = format_time(DISCLOSED)
    far = format_time(END)
    return {
        "event_id": f"form-{hashlib.sha256(email.encode()).hexdigest()[:16]}",
        "subject": email, "actor": email, "delegation": "self",
        "state": "refused" if refuses else "given", "consent_type": "explicit",
        "controller": CONTROLLER, "recipients": [], "operations": list(map(str, OPERATIONS)),
        "purposes": [PURPOSE], "modalities": [str(Modality.TRANSCRIPT)], "derivatives": [],
        "notice": {"policy_id": POLICY.policy_id, "version": POLICY.version,
                   "sha256": POLICY.sha256, "language": "en"},
        "scope": {"meetings": ["*"], "series": [], "from": format_time(BEGINNING), "until": far},
        "retroactive": False, "event_time": told, "recorded_time": told, "valid_from": told,
        "valid_until": far, "retention_until": far, "method": "form", "evidence_sha256": None,
    }  # fmt: skip


def write_terms(folder: Path) -> None:
    """The tables and terms of a draft that are the controller's to say."""
    scope = Scope(CONTROLLER, (), OPERATIONS, (PURPOSE,), (Modality.TRANSCRIPT,), (PLACE,))
    terms = Terms(f"{CONTROLLER}/privacy", scope, DEFAULTS, Draw("change-me", False))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / TERMS, to_json(terms))
    tables = {
        "policies": (OLD_POLICY, POLICY), "policy_changes": (CHANGE,),
        "jurisdictions": (RULE_OF_PLACE,), "licences": (Licence(LICENCE, OPERATIONS, (PURPOSE,)),),
    }  # fmt: skip
    for name, rows in tables.items():
        write_bytes(folder / f"{name}.jsonl", lines(rows))


def main() -> None:
    """Write everything."""
    parser = argparse.ArgumentParser(description="Make Zoom exports and what completes them.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("meetings", type=int)
    asked = parser.parse_args()
    people: dict[str, Known] = {}
    for meeting in meetings(asked.meetings):
        synthetic.write([meeting], asked.folder / "exports")
        for person in meeting.people:
            if person.email:
                age = AgeBand.ADULT if person.adult else AgeBand.MINOR
                people[person.email] = Known(age, Relation.OTHER, (PLACE,))
    write_bytes(asked.folder / "people.csv", write_known(sorted(people.items())))
    write_bytes(asked.folder / "series.csv", b"series_id,special_category,tags\n*,no,\n")
    events = b"".join(canonical_json(consent(email)) + b"\n" for email in sorted(people))
    write_bytes(asked.folder / "consents.jsonl", events)
    write_terms(asked.folder / "terms")
    print(json.dumps({"meetings": asked.meetings, "people": len(people)}))


if __name__ == "__main__":
    main()
