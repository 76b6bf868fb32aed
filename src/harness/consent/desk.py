"""``harness manifest``: where manifests are made, checked, signed, compared and trusted."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.consent import drafting, material, withdrawals
from harness.consent.aliases import SIGNATURE, sign_aliases
from harness.consent.authoring import Draft
from harness.consent.differences import differences
from harness.consent.drawing import draw_split
from harness.consent.head import COPIES, INDEX_LIMIT, LogHead
from harness.consent.manifest import load_at_any_time
from harness.consent.present import Source, present_missed, read_copies_key, trust_first
from harness.consent.progress import progress
from harness.consent.reading import read_once
from harness.consent.records import format_time, parse_lines, to_json
from harness.consent.signing import (
    KeyRole,
    create_key,
    load_key,
    load_trust,
    save_trust,
    trust_root,
)
from harness.errors import ExitCode, Refused, UsageError
from harness.flags import Parser
from harness.rundir import write_bytes

_LISTED = 20
"""Problems of one code that are listed when nobody asks for all."""


def main(words: Sequence[str]) -> int:
    """Run one subcommand; return the exit code.

    Args:
        words: the command line after ``harness manifest``.

    Raises:
        UsageError: ``FLAG`` for what argparse does not take.
        Refused: of what is signed, read or trusted.
    """
    arguments = _parser().parse_args(words)
    work: Callable[[argparse.Namespace], int] = arguments.work
    return work(arguments)


_Take = Callable[[Parser], None]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="harness manifest", description="Make, check, sign, compare and trust manifests; "
        "docs/manifest.md says what they are.",
    )  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (work, take, text) in _commands().items():
        command: Parser = commands.add_parser(name, help=text, description=text)
        command.set_defaults(work=work)
        take(command)
    return parser


def _commands() -> dict[str, tuple[Callable[[argparse.Namespace], int], _Take, str]]:
    """Name of each command to its work, what it takes, and what it is for."""
    return {
        "keygen": (
            _keygen, _keygen_takes,
            "make a private key for each role, a key for the index, and a trust root",
        ),
        "new": (_new, _new_takes, "write an empty draft with the strictest terms"),
        "lint": (_lint, _lint_takes, "list every error and warning by file, row and field"),
        "draw": (_draw, _draw_takes, "draw the random split of a draft, before anybody looks"),
        "sign": (_sign, _sign_takes, "sign a draft as the next epoch of a manifest"),
        "sign-aliases": (
            _sign_aliases, _sign_aliases_takes, "sign the labels that stand for people in an import"
        ),
        "diff": (_diff, _diff_takes, "compare two signed manifests by terms and rows"),
        "log": (_log, _log_takes, "add withdrawals to a log, or say anew that these are all"),
        "trust-first": (
            _trust_first, _trust_first_takes, "vouch for an issuer's first manifest by hand"
        ),
        "present": (
            _present, _present_takes, "take the epochs that this place has missed, in order"
        ),
    }  # fmt: skip


def _keygen_takes(command: Parser) -> None:
    command.add_argument("folder", type=Path, help="for ROLE.pem and copies.key, mode 0600")
    command.add_argument("trust", type=Path, help="the trust root, public; pin it on every node")


def _new_takes(command: Parser) -> None:
    command.add_argument("draft", type=Path)


def _lint_takes(command: Parser) -> None:
    command.add_argument("folder", type=Path, help="a draft, or a manifest directory")
    command.add_argument("--all", action="store_true",
                         help=f"list all, not {_LISTED} of each code")  # fmt: skip


def _draw_takes(command: Parser) -> None:
    command.add_argument("draft", type=Path)
    command.add_argument("--validation", nargs="*", default=[], metavar="SERIES",
                         help="series that go to validation as a whole")  # fmt: skip


def _sign_takes(command: Parser) -> None:
    command.add_argument("draft", type=Path)
    command.add_argument("manifest", type=Path, help="replaced as a whole")
    _add(command, "--key", "private keys of the role manifest", nargs="+", required=True)
    _add(command, "--log", "folder of the withdrawals log", required=True)
    _add(command, "--copies-key", "key of the index of excluded content, to find copies of it")
    _add(command, "--store", "content store, from which that index is made")
    command.add_argument("--copies-of-refused", action="store_true",
                         help="index what people refused or withdrew too: reads it, once; "
                         "docs/copies.md says what to weigh")  # fmt: skip
    _add_trust(command)
    command.add_argument("--hours", type=float, default=24.0, help="how long it holds (default 24)")


def _sign_aliases_takes(command: Parser) -> None:
    command.add_argument("aliases", type=Path,
                         help='a JSON object a line: {"series_id", "label", "emails"}')  # fmt: skip
    _add(command, "--key", "private keys of the role manifest", nargs="+", required=True)


def _diff_takes(command: Parser) -> None:
    command.add_argument("old", type=Path)
    command.add_argument("new", type=Path)
    _add_trust(command)


def _log_takes(command: Parser) -> None:
    command.add_argument("folder", type=Path)
    _add(command, "--key", "private keys of the role log", nargs="+", required=True)
    _add(command, "--add", "file of withdrawals, a JSON object a line")
    _add_trust(command)


def _trust_first_takes(command: Parser) -> None:
    command.add_argument("manifest", type=Path)
    command.add_argument("--sha256", required=True,
                         help="of MANIFEST.json, as the issuer told it elsewhere")  # fmt: skip
    _add_state(command)


def _present_takes(command: Parser) -> None:
    command.add_argument("manifest", type=Path, nargs="+", help="the oldest first")
    _add_state(command)


def _add_state(command: Parser) -> None:
    _add(command, "--log", "folder of the withdrawals log", required=True)
    _add(command, "--state", "file of the last-seen state", required=True)
    _add_trust(command)


def _add(
    parser: Parser, name: str, text: str, nargs: str | None = None, required: bool = False
) -> None:
    parser.add_argument(name, type=Path, help=text, nargs=nargs, required=required)


def _add_trust(parser: Parser) -> None:
    given = os.environ.get("HARNESS_TRUST")
    parser.add_argument("--trust", type=Path, default=given and Path(given), required=not given,
                        help="the trust root (default: HARNESS_TRUST)")  # fmt: skip


def _keygen(arguments: argparse.Namespace) -> int:
    if arguments.trust.exists():
        raise Refused("TRUST_EXISTS", "a trust root is there already", arguments.trust.name,
                      "name another file")  # fmt: skip
    keys = [(create_key(arguments.folder / f"{role}.pem"), (role,)) for role in KeyRole]
    root = trust_root(keys)
    save_trust(arguments.trust, root)
    if not (arguments.folder / "copies.key").exists():  # another key would void every index
        write_bytes(arguments.folder / "copies.key", os.urandom(32).hex().encode(), 0o600)
    for key in root.keys:
        print(f"{key.roles[0]:<9}{key.keyid}")
    print(f"trust root {root.sha256}")
    return ExitCode.DONE


def _new(arguments: argparse.Namespace) -> int:
    drafting.new_draft(arguments.draft)
    print(f"draft: {arguments.draft}; set its {drafting.TERMS}, fill its tables, then lint it")
    return ExitCode.DONE


def _lint(arguments: argparse.Namespace) -> int:
    errors, warnings = drafting.lint(arguments.folder, datetime.now(UTC))
    for kind, found in (("error", errors), ("warning", warnings)):
        _list(kind, found, None if arguments.all else _LISTED)
    print(f"{len(errors)} errors, {len(warnings)} warnings")
    return ExitCode.REFUSED if errors else ExitCode.DONE


def _list(kind: str, found: Iterable[Refused], most: int | None) -> None:
    """Print problems, at most so many of one code, and how many are left out."""
    seen = Counter[str]()
    for problem in found:
        seen[problem.code] += 1
        if most is None or seen[problem.code] <= most:
            print(f"{kind}: {problem}")
    for code, count in seen.items():
        if most is not None and count > most:
            print(f"{kind}: {code}: {count - most} more; --all lists them")


def _draw(arguments: argparse.Namespace) -> int:
    now = datetime.now(UTC).replace(microsecond=0)
    log = withdrawals.Log((), (), now)  # what is withdrawn is denied whatever its arm
    counts = draw_split(arguments.draft, log, now, arguments.validation)
    print(", ".join(f"{arm} {count}" for arm, count in counts.items()))
    return ExitCode.DONE


def _sign(arguments: argparse.Namespace) -> int:
    if not 0 < arguments.hours <= 24 * 366:
        raise UsageError("FLAG", "not from above 0 to a year", "--hours", "correct it")
    now, trust = datetime.now(UTC).replace(microsecond=0), load_trust(arguments.trust)
    keys = [load_key(path) for path in arguments.key]
    beside = arguments.manifest.parent
    beside.mkdir(parents=True, exist_ok=True)
    with (
        progress("checking") as tick,
        drafting.open_draft(arguments.draft, now, beside, tick) as draft,
    ):
        limits = draft.defaults
        log = withdrawals.load(arguments.log, trust, now, limits.clock_skew_s,
                               limits.max_withdrawals_age_s)  # fmt: skip
        head = drafting.sign_draft(
            arguments.manifest, draft, keys, trust, LogHead(len(log.entries), log.sha256), now,
            timedelta(hours=arguments.hours), _index(arguments, draft, log, now),
        )  # fmt: skip
    signed = load_at_any_time(arguments.manifest, trust, now)
    print(f"epoch {head.epoch}, until {format_time(head.expires)}\nsha256 {signed.sha256}")
    return ExitCode.DONE


def _index(
    arguments: argparse.Namespace, draft: Draft, log: withdrawals.Log, now: datetime
) -> bytes | None:
    """The index of excluded content, where a key for it is given."""
    if arguments.copies_key is None:
        return None
    if arguments.store is None:
        raise UsageError("FLAG", "--copies-key needs --store", "", "name the content store")
    source = Source(arguments.store, Path(), Path(), Path(), Path(), arguments.copies_key)
    heard = log if arguments.copies_of_refused else None
    found = material.excerpts(draft, now, heard)
    for problem in material.unreadable(found):
        print(f"warning: {problem}", file=sys.stderr)
    return material.index_of(found, draft.defaults, arguments.store, read_copies_key(source),
                             _old_index(arguments.manifest))  # fmt: skip


def _old_index(folder: Path) -> bytes | None:
    """The index of the epoch before; its seal under the key says whether it is one."""
    try:
        return read_once(folder, COPIES, INDEX_LIMIT, "MANIFEST")
    except Refused:
        return None


def _sign_aliases(arguments: argparse.Namespace) -> int:
    count = sign_aliases(arguments.aliases, [load_key(path) for path in arguments.key])
    print(f"{count} aliases signed: {arguments.aliases}{SIGNATURE}")
    return ExitCode.DONE


def _diff(arguments: argparse.Namespace) -> int:
    now, trust = datetime.now(UTC), load_trust(arguments.trust)
    old, new = (load_at_any_time(path, trust, now) for path in (arguments.old, arguments.new))
    terms, changes = differences(old, new)
    table = Table("table", "added", "removed", "changed",
                  title=f"epoch {old.head.epoch} to {new.head.epoch}")  # fmt: skip
    for change in changes:
        table.add_row(change.table, *map(str, (change.added, change.removed, change.changed)))
    Console().print(table)
    print(f"terms changed: {', '.join(terms) or 'none'}")
    return ExitCode.DONE


def _log(arguments: argparse.Namespace) -> int:
    now, trust = datetime.now(UTC), load_trust(arguments.trust)
    entries: tuple[withdrawals.Withdrawal, ...] = ()
    if arguments.add:
        entries = parse_lines(withdrawals.Withdrawal, _bytes(arguments.add), arguments.add.name)
    keys = [load_key(path) for path in arguments.key]
    log = withdrawals.append(arguments.folder, entries, keys, trust, now)
    print(json.dumps({"entries": len(log.entries), "sha256": log.sha256,
                      "as_of": format_time(log.as_of)}))  # fmt: skip
    return ExitCode.DONE


def _trust_first(arguments: argparse.Namespace) -> int:
    seen = trust_first(_source(arguments), datetime.now(UTC), arguments.sha256)
    print(f"trusted: {seen.issuer}, epoch {seen.epoch}")
    print(json.dumps(to_json(seen.trust_first)))
    return ExitCode.DONE


def _present(arguments: argparse.Namespace) -> int:
    epochs = present_missed(_source(arguments), arguments.manifest, datetime.now(UTC))
    print(f"taken: epochs {', '.join(map(str, epochs))}")
    return ExitCode.DONE


def _source(arguments: argparse.Namespace) -> Source:
    manifest = arguments.manifest if isinstance(arguments.manifest, Path) else Path()
    return Source(Path(), manifest, arguments.trust, arguments.log, arguments.state)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused("FILE_MISSING", f"cannot be read ({error.strerror})", path.name,
                      "name another file") from None  # fmt: skip
