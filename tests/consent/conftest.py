"""The smallest manifest that admits something, and a way to break one thing of it."""

import contextlib
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.config import Config
from harness.consent.authoring import Draft, content_row, write_manifest
from harness.consent.head import Defaults, Draw, Mode, OnWithdrawal, Scope, Tables
from harness.consent.present import Source, trust_first
from harness.consent.records import (
    ALL,
    NONE,
    AgeBand,
    Arm,
    ConsentEvent,
    ConsentType,
    ContentScope,
    Declared,
    Delegation,
    Jurisdiction,
    Licence,
    MeetingRow,
    Method,
    Notice,
    Operation,
    ParticipantRow,
    Policy,
    Relation,
    Role,
    SpecialCategory,
    SplitRow,
    State,
)
from harness.consent.signing import KeyRole, load_trust, save_trust, trust_root
from harness.consent.withdrawals import Withdrawal, append
from harness.errors import Refused
from harness.meetings.model import Modality

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY_BEFORE = START - timedelta(days=1)
OPERATIONS = (Operation.FINE_TUNING, Operation.EVALUATION, Operation.LEAK_TEST)
PURPOSE = "dpv:ResearchAndDevelopment"
CONTROLLER = "https://demo.example"
PEOPLE = {"Ada": "a" * 32, "Bo": "b" * 32}
MEETINGS = ("m0", "m1", "m2")
ARMS = {"m0": Arm.TRAIN, "m1": Arm.HELDOUT, "m2": Arm.SENTINEL}
TURNS = b'{"speaker":"Ada","text":"hello"}\n{"speaker":"Bo","text":"good day"}\n'

LONG_AGO, FAR_OFF = datetime(2025, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
POLICY = Policy("terms", "1", LONG_AGO, LONG_AGO, "c" * 64, OPERATIONS, (PURPOSE,),
                (Modality.TRANSCRIPT,), ())  # fmt: skip
PLACE = Jurisdiction(
    "XA", ALL, ALL, ConsentType.EXPLICIT, guardian_ok=True, employee_ok=False,
    special_category=SpecialCategory.DENY, min_age=16, max_retention_days=3650,
    all_party_recording=False, transfer_to=("XA",), effective_from=LONG_AGO,
    effective_until=FAR_OFF, reviewed_on=LONG_AGO,
)  # fmt: skip
DEFAULTS = Defaults(
    Mode.UNANIMOUS, ConsentType.EXPLICIT, clock_skew_s=300, max_consent_age_days=365,
    min_speakers=2, max_dropped_percent=50, max_withdrawals_age_s=86400,
    on_withdrawal=OnWithdrawal.ABORT,
)  # fmt: skip


@dataclass
class World:
    """A content store and a signed manifest, to be changed and signed again."""

    folder: Path
    draft: Draft
    key: Ed25519PrivateKey
    log_key: Ed25519PrivateKey
    issued: datetime = NOW - timedelta(days=1)
    expires: datetime = NOW + timedelta(days=1)

    @property
    def source(self) -> Source:
        folder = self.folder
        return Source(folder / "store", folder / "manifest", folder / "trust.json",
                      folder / "withdrawals", folder / "last-seen.json")  # fmt: skip

    def sign(self) -> Source:
        """Sign as the first epoch that anybody sees, with a log that nobody has withdrawn in."""
        write_manifest(self.source.manifest, self.draft, [self.key], self.issued, self.expires)
        shutil.rmtree(self.source.withdrawals, ignore_errors=True)
        self.withdraw()
        self.source.seen.unlink(missing_ok=True)
        with contextlib.suppress(Refused):  # what is off is for the gate to refuse
            trust_first(self.source, self.now)
        return self.source

    def withdraw(self, *entries: Withdrawal, at: datetime | None = None) -> None:
        """Append to the withdrawals log."""
        trust = load_trust(self.source.trust)
        append(self.source.withdrawals, entries, [self.log_key], trust, at or self.now)

    def table(self, name: str, rows: Any) -> None:
        self.draft = replace(self.draft, tables=replace(self.draft.tables, **{name: tuple(rows)}))

    def edit(self, name: str, where: Any, **changes: Any) -> None:
        """Change the rows of a table that satisfy a condition."""
        rows = getattr(self.draft.tables, name)
        self.table(name, [replace(row, **changes) if where(row) else row for row in rows])

    now = NOW
    start = START
    subjects = PEOPLE

    @staticmethod
    def event(seq: int, meeting: str, subject: str, **changes: Any) -> ConsentEvent:
        return event(seq, meeting, subject, **changes)

    def append(self, name: str, *rows: Any) -> None:
        self.table(name, [*getattr(self.draft.tables, name), *rows])


def event(seq: int, meeting: str, subject: str, **changes: Any) -> ConsentEvent:
    """Explicit consent of one person to one meeting."""
    given = ConsentEvent(
        seq, f"e{seq}", subject, subject, Delegation.SELF, State.GIVEN, ConsentType.EXPLICIT,
        CONTROLLER, (), OPERATIONS, (PURPOSE,), (Modality.TRANSCRIPT,), (),
        Notice("terms", "1", "c" * 64, "en"),
        ContentScope((meeting,), (), START - timedelta(days=30), START + timedelta(days=30)),
        False, DAY_BEFORE, DAY_BEFORE, DAY_BEFORE, NOW + timedelta(days=100), FAR_OFF,
        Method.FORM, None,
    )  # fmt: skip
    return replace(given, **changes)


def build(folder: Path) -> World:
    """Three meetings of one series, two people each, all of them willing."""
    store = folder / "store"
    for name in MEETINGS:
        (store / name).mkdir(parents=True)
        (store / name / "turns.jsonl").write_bytes(TURNS)
    meetings = tuple(
        MeetingRow(
            name,
            "s",
            "account",
            "zoom",
            START,
            START + timedelta(hours=1),
            "Europe/Berlin",
            ("x",),
            Declared.NO,
        )
        for name in MEETINGS
    )
    people = tuple(
        ParticipantRow(
            name, key, label, Role.PARTICIPANT, AgeBand.ADULT, Relation.OTHER, ("XA",), NONE, False
        )
        for name in MEETINGS
        for label, key in PEOPLE.items()
    )
    content = tuple(
        content_row(store, name, Modality.TRANSCRIPT, "turns-jsonl", f"{name}/turns.jsonl", "own")
        for name in MEETINGS
    )
    pairs = [(name, key) for name in MEETINGS for key in PEOPLE.values()]
    events = tuple(event(seq, name, key) for seq, (name, key) in enumerate(pairs))
    split = tuple(SplitRow(name, "s", ARMS[name]) for name in MEETINGS)
    licence = Licence("own", OPERATIONS, (PURPOSE,))
    tables = Tables((POLICY,), (), (PLACE,), (licence,), (), meetings, people, content, events, (),
                    split)  # fmt: skip
    scope = Scope(CONTROLLER, (), OPERATIONS, (PURPOSE,), (Modality.TRANSCRIPT,), ("XA",))
    draft = Draft(CONTROLLER, scope, DEFAULTS, Draw("seed", False), tables)
    key, log_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    save_trust(
        folder / "trust.json", trust_root([(key, (KeyRole.MANIFEST,)), (log_key, (KeyRole.LOG,))])
    )
    return World(folder, draft, key, log_key)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A fresh world; sign it before use."""
    return build(tmp_path)


@pytest.fixture
def config() -> Config:
    """The shipped configuration, whose job the world permits."""
    return Config()


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A signed world that tests leave as it is."""
    made = build(tmp_path_factory.mktemp("world"))
    made.sign()
    return made
