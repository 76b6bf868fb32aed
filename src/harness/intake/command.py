"""``harness import PLATFORM SRC DST``: exports to a content store and a draft to complete.

``DST/store`` holds the content, ``DST/draft`` the tables that ``harness manifest lint`` and
``sign`` take, ``DST/private`` (for its owner alone) what names people: the list of labels that
stand for nobody known, the key of the subject keys, and how far the import is.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.consent.aliases import AliasLine, read_aliases
from harness.consent.progress import progress
from harness.consent.records import to_json
from harness.consent.signing import load_trust
from harness.digest import code_digest, digest_of, sha256_hex
from harness.errors import ExitCode, Refused, UsageError
from harness.flags import Parser
from harness.intake import draft
from harness.intake.consents import read_consents
from harness.intake.exports import exports_in
from harness.intake.ledger import Ledger
from harness.intake.meeting import PLATFORMS, take
from harness.intake.people import People, read_known
from harness.intake.series import read_series
from harness.intake.store import Store
from harness.rundir import clear_leftovers, replaced, write_bytes, write_json

_SECRET = "subjects.key"
_SHOWN = 10


def main(words: Sequence[str]) -> int:
    """Import; 0 also where files were refused, which are listed.

    Args:
        words: the command line after ``harness import``.

    Raises:
        UsageError: ``FLAG`` for what argparse does not take, or a folder that there is not.
        Refused: of the people, the aliases or the draft.
    """
    asked = _parser().parse_args(words)
    if not asked.src.is_dir():
        raise UsageError("FLAG", "no folder", "SRC", "name the folder with the exports")
    src, dst = asked.src.resolve(), asked.dst.resolve()
    if src.is_relative_to(dst) or dst.is_relative_to(src):
        raise UsageError("FLAG", "one of them lies in the other", "SRC and DST", "name others")
    private = asked.dst / "private"
    private.mkdir(0o700, parents=True, exist_ok=True)
    private.chmod(0o700)
    for folder in (asked.dst, asked.dst / "draft", private):
        clear_leftovers(folder)
    people = _people(asked, private)
    declared = read_series(asked.series) if asked.series else {}
    consents = [*read_consents(asked.consents, people)] if asked.consents else []
    said = [sorted(f"{name} {what}" for name, what in by_name.items())
            for by_name in (people.known, declared)]  # fmt: skip
    settings = digest_of([code_digest(), asked.platform, asked.licence, to_json(people.aliases),
                          said, sha256_hex(people.secret)])  # fmt: skip
    exports, ledger = [*exports_in(asked.src)], Ledger(private / "taken.jsonl", settings)
    store = Store(asked.dst / "store", asked.licence)
    for export in exports:  # what is taken and stays keeps its meeting
        if ledger.has(asked.src, export):
            store.claim(ledger.meeting(export), export.name)
    with progress("importing") as tick:
        for done, export in enumerate(exports):
            if not ledger.has(asked.src, export):
                state = ledger.state(asked.src, export)
                taken = take(asked.src, export, asked.platform, people, declared, store)
                ledger.add(export, taken, state)
            tick(done + 1, len(exports))
    names = [export.name for export in exports]
    ledger.compact(names)
    ledger = Ledger(private / "taken.jsonl", settings)
    draft.write(asked.dst / "draft", private, lambda: ledger.all(names), people, asked.controller,
                consents)  # fmt: skip
    store.prune({row["path"] for taken in ledger.all(names) for row in taken["content"]})
    summary = _summary(ledger, names)
    write_json(asked.dst / "import.json", summary)
    _list_unresolved(private / "unresolved.csv", ledger, names)
    _say(summary, asked)
    return ExitCode.DONE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="harness import", description="Turn a folder of exports into a content "
                     "store and a draft to complete; the same command goes on where it was "
                     "stopped.")  # fmt: skip
    parser.add_argument("platform", choices=PLATFORMS, help="whose exports these are")
    parser.add_argument(
        "src", type=Path, help="the exports; the files of one folder are one meeting"
    )
    parser.add_argument("dst", type=Path, help="gets store/, draft/ and private/")
    parser.add_argument("--people", type=Path, metavar="CSV",
                        help="email,age_band,relation,jurisdictions of people")  # fmt: skip
    parser.add_argument("--aliases", type=Path, metavar="JSONL",
                        help="labels that stand for people; signed, as harness manifest "
                        "sign-aliases does")  # fmt: skip
    parser.add_argument("--series", type=Path, metavar="CSV",
                        help="series_id,special_category,tags of series; * for others")  # fmt: skip
    parser.add_argument("--consents", type=Path, metavar="JSONL",
                        help="consent events of other systems, with addresses")  # fmt: skip
    parser.add_argument("--controller", default="https://example.org", help="whose recordings")
    parser.add_argument("--licence", default="own", help="licence_id of the content")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON, last")
    return parser


def _people(asked: argparse.Namespace, private: Path) -> People:
    secret = private / _SECRET
    if not secret.exists():
        write_bytes(secret, os.urandom(32).hex().encode(), 0o600)
    aliases: tuple[AliasLine, ...] = ()
    if asked.aliases:
        trust = os.environ.get("HARNESS_TRUST")
        if not trust:
            raise Refused("TRUST_MISSING", "no trust root to check the aliases by", "HARNESS_TRUST",
                          "set it to the file with the pinned keys")  # fmt: skip
        aliases = read_aliases(asked.aliases, load_trust(Path(trust)), datetime.now(UTC))
    known = read_known(asked.people) if asked.people else {}
    return People(bytes.fromhex(secret.read_text()), known, aliases)


def _summary(ledger: Ledger, names: list[str]) -> dict[str, Any]:
    """Counts, and the files that were refused; nobody is named."""
    counts = dict.fromkeys(("files", "read", "meetings", "turns", "words", "unresolved"), 0)
    refused, zones = [], dict[str, int]()
    for taken in ledger.all(names):
        for key in ("files", "read", "turns", "words"):
            counts[key] += taken[key]
        counts["unresolved"] += len(taken["unresolved"])
        if taken["meeting"]:
            counts["meetings"] += 1
            zones[taken["told_by"]] = zones.get(taken["told_by"], 0) + 1
        refused += taken["problems"]
    files = counts.pop("files"), counts.pop("read")
    return {"files": files[0], "read": files[1], "refused": refused, **counts,
            "zones_told_by": zones}  # fmt: skip


def _list_unresolved(path: Path, ledger: Ledger, names: list[str]) -> None:
    with replaced(path, 0o600) as target, target.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(draft.unresolved(ledger.all(names)))


def _say(summary: dict[str, Any], asked: argparse.Namespace) -> None:
    for problem in summary["refused"][:_SHOWN]:
        place = problem["file"] + (f" {problem['where']}" if problem["where"] else "")
        print(Refused(problem["code"], problem["what"], place, problem["remedy"]), file=sys.stderr)
    if len(summary["refused"]) > _SHOWN:
        rest = len(summary["refused"]) - _SHOWN
        print(f"and {rest} more: {asked.dst / 'import.json'}", file=sys.stderr)
    print(f"{summary['read']} of {summary['files']} files read, {summary['meetings']} meetings, "
          f"{summary['turns']} turns, {summary['words']} words")  # fmt: skip
    if summary["unresolved"]:
        print(f"{summary['unresolved']} rows of rosters stand for nobody known, by series and "
              f"reason in {asked.dst / 'private' / 'unresolved.csv'}: list who came "
              "(attendees.csv), or name them in aliases, see docs/import.md")  # fmt: skip
    if not summary["meetings"]:
        print(Refused("IMPORT_OCCASION", "no meeting could be read", str(asked.src),
                      "see the refusals above"), file=sys.stderr)  # fmt: skip
    print(f"next: complete {asked.dst / 'draft'}, then harness manifest lint {asked.dst / 'draft'}")
    if asked.json:
        print(json.dumps({key: summary[key] for key in ("files", "read", "refused", "meetings",
                                                        "turns", "words")}))  # fmt: skip
