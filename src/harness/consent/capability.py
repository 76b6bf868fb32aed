"""Permission as a type: what the gate hands out, one type for each operation.

The three capabilities share no base class, so that code which takes one refuses the others.
Only :mod:`harness.consent.gate` holds the key that makes them.
"""

from dataclasses import InitVar, dataclass
from typing import NoReturn


class _Key:
    """Held by the gate alone."""


GATE_KEY = _Key()  # imported by consent/gate.py and by nothing else (tests/consent checks it)


@dataclass(frozen=True, slots=True)
class GatedTurn:
    """A turn that may be used.

    Attributes:
        modality: of the content row it stands in.
        index: from 0 within (meeting, modality), as in decisions.parquet.
        speaker: ordinal of the speaker among the meeting's speakers, from 0; no name; -1 for a
            pair of query and answer, which nobody speaks.
        text: what was said; of a pair the answer.
        query: of a pair; None for what was said.
    """

    modality: str
    index: int
    speaker: int
    text: str
    query: str | None = None


@dataclass(frozen=True, slots=True)
class GatedMeeting:
    """A meeting that may be used, with the turns that may be used.

    Attributes:
        id: meeting id of the manifest.
        series: series id.
        arm: train, heldout, sentinel or validation.
        date: UTC date of the start, ``YYYY-MM-DD``.
        turns: admitted turns, in the order of the export.
    """

    id: str
    series: str
    arm: str
    date: str
    turns: tuple[GatedTurn, ...]


@dataclass(frozen=True, slots=True)
class Authority:
    """The manifest that a permission rests on.

    Attributes:
        manifest_sha256: digest of MANIFEST.json.
        epoch: of the manifest.
        decided_at: clock of the decision, RFC 3339 UTC.
        randomised: whether arms are the recorded random draw; else results are exploratory.
        withdrawals: number of entries of the withdrawals log, and the digest of the last.
        footprint: digest of what is admitted, so that a later look sees whether it is so still.
        restarts: whether training starts again without what is withdrawn, instead of stopping.
    """

    manifest_sha256: str
    epoch: int
    decided_at: str
    randomised: bool
    withdrawals: tuple[int, str | None]
    footprint: str
    restarts: bool


@dataclass(frozen=True)
class Admitted:
    """Permission to train (operation ``ai:ModelFineTuning``).

    Attributes:
        authority: the manifest behind it.
        train: meetings that gradients may come from.
        validation: meetings of the validation series, for the validation loss only.
        kept_out: arm to ``(meeting id, content SHA-256)`` of meetings that were not opened.
    """

    authority: Authority
    train: tuple[GatedMeeting, ...]
    validation: tuple[GatedMeeting, ...]
    kept_out: dict[str, tuple[tuple[str, str], ...]]
    key: InitVar[_Key]

    def __post_init__(self, key: _Key) -> None:
        _only_the_gate(key)

    def __reduce__(self) -> NoReturn:
        _never_copied()


@dataclass(frozen=True)
class Evaluable:
    """Permission to score members and held-out meetings (operation ``evaluation``)."""

    authority: Authority
    members: tuple[GatedMeeting, ...]
    heldout: tuple[GatedMeeting, ...]
    key: InitVar[_Key]

    def __post_init__(self, key: _Key) -> None:
        _only_the_gate(key)

    def __reduce__(self) -> NoReturn:
        _never_copied()


@dataclass(frozen=True)
class LeakTest:
    """Permission to score sentinels (operation ``leak_test``), in a probe process only."""

    authority: Authority
    sentinels: tuple[GatedMeeting, ...]
    key: InitVar[_Key]

    def __post_init__(self, key: _Key) -> None:
        _only_the_gate(key)

    def __reduce__(self) -> NoReturn:
        _never_copied()


def _never_copied() -> NoReturn:
    """A copy, or a pickle, would be a permission that the gate did not make."""
    raise TypeError("a permission cannot be copied or stored: ask the gate again")


def _only_the_gate(key: _Key) -> None:
    if key is not GATE_KEY:
        raise TypeError("only harness.consent.gate makes permissions")
