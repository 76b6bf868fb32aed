"""Drafts of manifests: a folder of tables and terms that people edit, lint, sign and compare."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.consent.authoring import (
    Draft,
    batches,
    replace_folder,
    trial_manifest,
    write_manifest,
)
from harness.consent.differences import check_grows
from harness.consent.head import (
    HEAD,
    HEAD_LIMIT,
    TABLE_LIMIT,
    TABLES,
    Defaults,
    Draw,
    Head,
    LogHead,
    Mode,
    OnWithdrawal,
    Scope,
    Tables,
)
from harness.consent.labels import label_key
from harness.consent.large_draft import check_parts, laid_out, large_files, read_batches
from harness.consent.layout import Source
from harness.consent.manifest import (
    check_references,
    check_rule_purposes,
    load_at_any_time,
)
from harness.consent.material import excerpts, unreadable
from harness.consent.parts import LARGE, PartRows, parts_of
from harness.consent.passes import Tick
from harness.consent.reading import read_once
from harness.consent.records import (
    ConsentType,
    Id,
    Operation,
    RuleKind,
    parse,
    record,
    to_json,
    unique,
)
from harness.consent.ruling import no_tick
from harness.consent.signing import KeyRole, TrustRoot, sign, verify
from harness.digest import strict_json
from harness.errors import Refused
from harness.meetings.formats import READERS
from harness.meetings.model import Modality
from harness.rundir import write_json

Rows = Sequence[Any]
TERMS = "TERMS.json"
TERMS_LIMIT = 64 * 1024
REVIEW_EVERY = timedelta(days=365)


@record
class Terms:
    """What a draft says beside its tables; ``harness manifest new`` writes the strictest."""

    issuer: Id
    scope: Scope
    defaults: Defaults
    split: Draw


STRICTEST = Terms(
    "https://example.org/privacy",
    Scope("https://example.org", (), (Operation.FINE_TUNING,), ("dpv:ResearchAndDevelopment",),
          (Modality.TRANSCRIPT,), ()),
    Defaults(Mode.UNANIMOUS, ConsentType.EXPLICIT, clock_skew_s=300, max_consent_age_days=365,
             min_speakers=3, max_dropped_percent=50, max_withdrawals_age_s=86_400,
             on_withdrawal=OnWithdrawal.ABORT),
    Draw("change-me", False),
)  # fmt: skip


def new_draft(folder: Path) -> None:
    """Write an empty draft with the strictest terms.

    Raises:
        Refused: ``DRAFT_EXISTS`` when the folder is there.
    """
    if folder.exists():
        raise Refused("DRAFT_EXISTS", "it is there already", folder.name, "name another folder")

    def fill(target: Path) -> None:
        write_json(target / TERMS, to_json(STRICTEST))
        for name in TABLES:
            (target / f"{name}.jsonl").write_bytes(b"")

    replace_folder(folder, fill)


def lint(folder: Path, now: datetime) -> tuple[list[Refused], list[Refused]]:
    """Errors and warnings of a draft or of a manifest's tables, in the order of files and rows.

    Args:
        folder: of a draft, or a manifest directory.
        now: clock, for warnings about what runs out.
    """
    errors: list[Refused] = []
    try:
        terms = _terms(folder)
    except Refused as error:
        errors.append(error)
    files, rows, found = _read_rows(folder)
    if errors := errors + found:
        return errors, []
    try:
        with _whole(terms, rows, files, now) as draft:
            return [], [*_warnings(draft, now)]
    except Refused as error:
        return [error], []


@contextmanager
def open_draft(
    folder: Path, now: datetime, beside: Path | None = None, tick: Tick = no_tick
) -> Iterator[Draft]:
    """Read a draft that has no errors.

    Args:
        folder: of the draft; large tables may be Parquet, and are then not held in memory.
        now: clock.
        beside: where these are laid out in parts meanwhile; None for where temporary files are.
        tick: is told how far it is.

    Raises:
        Refused: the first problem.
    """
    terms, (files, rows, errors) = read_terms(folder), _read_rows(folder)
    if errors:
        raise errors[0]
    with _whole(terms, rows, files, now, beside, tick) as draft:
        yield draft


@contextmanager
def _whole(
    terms: Terms, rows: Mapping[str, Rows], files: Mapping[str, Sequence[Path]],
    now: datetime, beside: Path | None = None, tick: Tick = no_tick,
) -> Iterator[Draft]:  # fmt: skip
    """The draft of some rows and some Parquet files, whose references hold."""
    if not files:
        tables = Tables(**{name: tuple(rows[name]) for name in TABLES})
        check_references(terms.scope.purposes, tables)
        yield _draft(terms, tables)
        return
    sources: dict[str, Source] = {
        name: partial(read_batches, name, files[name])
        if name in files
        else partial(batches, name, rows[name])
        for name in LARGE
    }
    small = {name: tuple(rows[name]) for name in TABLES if name not in LARGE}
    with laid_out(sources, beside) as parts:
        tables = Tables(**small, **{name: PartRows(parts, name) for name in LARGE})
        draft = _draft(terms, tables)
        check_rule_purposes(terms.scope.purposes, tables)
        check_parts(trial_manifest(draft, now).head, tables, parts, now, tick)
        yield draft


def sign_draft(
    folder: Path, draft: Draft, keys: Sequence[Ed25519PrivateKey], trust: TrustRoot,
    log: LogHead, now: datetime, lifetime: timedelta, copies: bytes | None = None,
) -> Head:  # fmt: skip
    """Sign a draft as the next epoch of the manifest that stands in a folder.

    Args:
        folder: the manifest directory, replaced as a whole.
        draft: what is signed.
        keys: private keys of the role ``manifest``.
        trust: pinned keys, to verify what stands there.
        log: head of the withdrawals log that the draft takes in.
        now: when it begins to hold.
        lifetime: how long it holds.
        copies: index of excluded content, see :mod:`harness.consent.material`.

    Raises:
        Refused: a code of the old manifest; ``DRAFT_FORGETS`` when consent events or exclusion
            rules of the old one are missing or changed: these only grow, and the seed of a random
            split stays.
    """
    trial = sign(b"{}", keys)  # nothing is replaced by what nobody could verify
    verify(trial, KeyRole.MANIFEST, trust, "MANIFEST", "the keys given", now)
    epoch, prev = 1, None
    if folder.exists():
        old = load_at_any_time(folder, trust, now)
        check_grows(old, draft, now)
        if old.head.split.randomised and draft.split != old.head.split:
            raise Refused("DRAFT_FORGETS", "the last epoch's arms were drawn with another seed; "
                          "who draws again could choose", f"{TERMS} key split",
                          "restore the seed, and draw with it")  # fmt: skip
        if old.head.copies is not None and copies is None:
            raise Refused("DRAFT_FORGETS", "the last epoch had an index of excluded content",
                          "copies.index", "give --copies-key and --store")  # fmt: skip
        epoch, prev = old.head.epoch + 1, old.sha256
    return write_manifest(folder, draft, keys, now, now + lifetime, epoch, prev, log, copies)


def _read_rows(folder: Path) -> tuple[Mapping[str, list[Path]], dict[str, Rows], list[Refused]]:
    """The Parquet files of a draft, the rows of its other tables, and what is wrong with these."""
    try:
        files = large_files(folder)
    except Refused as error:
        return {}, {}, [error]
    rows: dict[str, Rows] = {}
    errors: list[Refused] = []
    for name in TABLES:
        if name not in files:
            rows[name], found = _read_table(folder, name)
            errors += found
    return files, rows, errors


def _read_table(folder: Path, name: str) -> tuple[list[Any], list[Refused]]:
    """Rows of a table that can be read, and the refusal of each that cannot or stands twice."""
    file, (kind, key) = f"{name}.jsonl", TABLES[name]
    try:
        data = read_once(folder, file, TABLE_LIMIT, "DRAFT")
    except Refused as error:
        return [], [error]
    rows: list[Any] = []
    *lines, rest = data.split(b"\n")
    errors = [Refused("SCHEMA_INVALID", "the last line has no end", file, "end it")] if rest else []
    for n, line in enumerate([*lines, rest] if rest else lines, 1):
        where = f"{file} row {n}"
        try:
            rows.append(parse(kind, strict_json(line, where), where))
        except Refused as error:
            errors.append(error)
    return rows, errors or _refusals(unique, rows, key, file)


def _warnings(draft: Draft, now: datetime) -> Iterator[Refused]:
    tables, scope = draft.tables, draft.scope
    for n, row in enumerate(tables.jurisdictions, 1):
        if now - row.reviewed_on > REVIEW_EVERY:
            yield Refused("REVIEW_DUE", "not reviewed for a year", f"jurisdictions.jsonl row {n}",
                          "have counsel look at it again")  # fmt: skip
    known = {row.code for row in tables.jurisdictions}
    if not scope.jurisdictions or not known.issuperset(scope.jurisdictions):
        yield Refused("NOTHING_CAN_BE_ADMITTED", "no rule for a place of scope.jurisdictions",
                      "jurisdictions.jsonl", "add a row for each")  # fmt: skip
    yield from unreadable(excerpts(draft, now, without=READERS))
    if parts_of(tables) is None:
        yield from _warnings_of_rows(tables)


def _warnings_of_rows(tables: Tables) -> Iterator[Refused]:
    """Warnings for which rows are looked at one by one."""
    split = {row.meeting_id for row in tables.split}
    if tables.meetings and not split:
        yield Refused("SPLIT_UNASSIGNED", "no meeting has an arm yet", "split.jsonl",
                      "draw the split: harness manifest draw")  # fmt: skip
    for n, meeting in enumerate(tables.meetings if split else (), 1):
        if meeting.meeting_id not in split:
            yield Refused("SPLIT_UNASSIGNED", "it has no arm", f"meetings.jsonl row {n}",
                          "draw the split again if it may be used")  # fmt: skip
    present = _present(tables)
    for n, rule in enumerate(tables.exclusions, 1):
        if rule.kind in present and _compared(rule.kind, rule.value) not in present[rule.kind]:
            yield Refused("MATCHES_NOTHING", "its value is nowhere in the tables",
                          f"exclusions.jsonl row {n} key value",
                          "correct it, unless what it excludes is still to come")  # fmt: skip


def _present(tables: Tables) -> dict[RuleKind, set[str]]:
    """What a rule of each kind could match; kinds that are no names are left out."""
    people, meetings = tables.participants, tables.meetings
    places = {place for row in people for place in row.jurisdictions}
    labels = {row.label for row in people} | {alias.label for alias in tables.aliases}
    return {
        RuleKind.MEETING: {row.meeting_id for row in meetings},
        RuleKind.SERIES: {row.series_id for row in meetings},
        RuleKind.ACCOUNT: {row.account_id for row in meetings},
        RuleKind.TAG: {tag for row in meetings for tag in row.tags},
        RuleKind.FILE: {row.sha256 for row in tables.content},
        RuleKind.SUBJECT: {row.subject_key for row in people if row.subject_key},
        RuleKind.DOMAIN: {row.domain.lower() for row in people},
        RuleKind.LABEL: {label_key(label) for label in labels},
        RuleKind.JURISDICTION: places | {place.partition("-")[0] for place in places},
    }


def _compared(kind: RuleKind, value: str) -> str:
    if kind is RuleKind.LABEL:
        return label_key(value)
    return value.lower() if kind is RuleKind.DOMAIN else value


def read_terms(folder: Path) -> Terms:
    """What a draft says beside its tables.

    Raises:
        Refused: ``DRAFT_*``, ``SCHEMA_INVALID``.
    """
    data = read_once(folder, TERMS, TERMS_LIMIT, "DRAFT")
    return parse(Terms, strict_json(data, TERMS), TERMS)


def _terms(folder: Path) -> Terms:
    """The terms of a draft, or of a manifest."""
    if not (folder / HEAD).exists():
        return read_terms(folder)
    value = strict_json(read_once(folder, HEAD, HEAD_LIMIT, "DRAFT"), HEAD)
    head = parse(Head, value, HEAD)
    return Terms(head.issuer, head.scope, head.defaults, head.split)


def _draft(terms: Terms, tables: Tables) -> Draft:
    return Draft(terms.issuer, terms.scope, terms.defaults, terms.split, tables)


def _refusals(work: Callable[..., object], *arguments: object) -> list[Refused]:
    try:
        work(*arguments)
    except Refused as error:
        return [error]
    return []
