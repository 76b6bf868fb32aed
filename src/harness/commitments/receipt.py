"""The training receipt: what entered the forward pass, leaf by leaf, against what was admitted.

A leaf commits to one turn of one meeting and its token ids. It is keyed, since most turns are short
enough to be guessed: ``leaf = H(0x00 || HMAC(key of the meeting, identity || token ids))``.
"""

import contextlib
import hmac
import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.commitments.merkle import leaf_hash, set_root
from harness.digest import canonical_json
from harness.rundir import RunDir, write_bytes

Ids = NDArray[np.int32]
TEMPLATE = "template"
"""Modality of spans that no meeting said: the text of a chat template around what one did."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens ``start`` to ``end`` (exclusive) of a document are this turn of this meeting.

    A turn longer than a document is cut into parts, numbered by ``part`` from 0.
    """

    meeting: str
    modality: str
    turn: int
    start: int
    end: int
    part: int = 0


class Spanned(Protocol):
    """A token document with what each stretch of it is."""

    @property
    def ids(self) -> Ids:
        """Token ids, shape (n,)."""
        ...

    @property
    def spans(self) -> tuple[Span, ...]:
        """Stretches that are turns."""
        ...


def audit_key(run: RunDir) -> bytes:
    """The run's secret that keys its commitments, in ``private/``; made by the first who asks."""
    return secret(run, "audit.key")


def secret(run: RunDir, name: str) -> bytes:
    """32 random bytes in ``private/``, made by the first who asks and the same for all."""
    path = run.file("private", name)
    if not path.exists():
        mine = path.with_name(f".{name}.{uuid.uuid4().hex}.tmp")
        write_bytes(mine, os.urandom(32), mode=0o600)
        with contextlib.suppress(FileExistsError):  # processes of one training ask at once
            os.link(mine, path)
        mine.unlink()
    return path.read_bytes()


class Committer:
    """Computes leaves under the run's audit key.

    Args:
        key: 32 secret bytes, kept in ``private/``.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def turn(self, span: Span, ids: Sequence[int] | Ids) -> bytes:
        """Leaf of one turn (or of one part of a turn that was cut)."""
        meeting_key = hmac.digest(self._key, span.meeting.encode(), "sha256")
        identity = canonical_json([span.meeting, span.modality, span.turn, span.part])
        tokens = np.asarray(ids, dtype="<i4").tobytes()
        return leaf_hash(hmac.digest(meeting_key, identity + b"\x00" + tokens, "sha256"))

    def documents(self, documents: Iterable[Spanned]) -> set[bytes]:
        """Leaves of every turn of the documents."""
        return {
            self.turn(span, document.ids[span.start : span.end])
            for document in documents
            for span in document.spans
        }

    def template(self, documents: Iterable[Spanned]) -> set[bytes]:
        """Leaves of what no meeting said: each part of a chat template, once for all documents."""
        return {
            self.turn(span, document.ids[span.start : span.end])
            for document in documents
            for span in document.spans
            if (span.meeting, span.modality) == ("", TEMPLATE)
        }

    def unopened(self, meetings: Iterable[tuple[str, str]]) -> set[bytes]:
        """Leaves of meetings that are known by the digest of their content only."""
        return {
            leaf_hash(hmac.digest(self._key, canonical_json([meeting, digest]), "sha256"))
            for meeting, digest in meetings
        }


class Observer:
    """Collects the leaves of what truly enters the forward pass.

    Tokens that no span explains become a leaf of their own kind, which no admitted set holds.

    Args:
        committer: with the run's audit key.
        bos_id: the only token that may stand at a document's start without a span.
        pad_id: the only token that may stand in padding.
        seen: leaves from before a resume.

    Attributes:
        seen: leaves so far.
        tokens: that entered, beginning-of-text tokens included and padding not.
    """

    def __init__(
        self, committer: Committer, bos_id: int, pad_id: int, seen: Iterable[bytes] = ()
    ) -> None:
        self._committer, self._bos_id, self._pad_id = committer, bos_id, pad_id
        self._fresh = list(seen)  # whoever saves begins anew with all of them
        self.seen = set(self._fresh)
        self.tokens = 0

    def take(self) -> list[bytes]:
        """Leaves that are new since the last time, in the order in which they were met.

        The first time, those from before a resume are new, too.
        """
        taken, self._fresh = self._fresh, []
        return taken

    def learn(self, leaves: Iterable[bytes]) -> list[bytes]:
        """Count what another process of the training observed; gives what was not known here."""
        unknown = [leaf for leaf in dict.fromkeys(leaves) if leaf not in self.seen]
        self.seen.update(unknown)
        return unknown

    def _add(self, leaf: bytes) -> None:
        if leaf not in self.seen:
            self.seen.add(leaf)
            self._fresh.append(leaf)

    def observe(
        self, input_ids: NDArray[Any], rows: Sequence[Sequence[tuple[int, int, Span]]]
    ) -> None:
        """Record one forward pass.

        Args:
            input_ids: integers, shape (rows, tokens), as the model received them.
            rows: for each row ``(start, end, span)``, what the loader says it holds.
        """
        for row, spans in zip(np.asarray(input_ids), rows, strict=True):
            explained = np.zeros(len(row), dtype=bool)
            starts = np.zeros(len(row), dtype=bool)
            for start, end, span in spans:
                self._add(self._committer.turn(span, row[start:end]))
                explained[start:end] = True
                starts[start - 1] |= span.start == 1
            self.tokens += int(explained.sum() + starts.sum())
            self._unexplained(row, explained, starts)

    def _unexplained(self, row: Ids, explained: Any, starts: Any) -> None:
        last = int(np.flatnonzero(explained).max(initial=-1))
        place = np.arange(len(row))
        structural = (starts & (row == self._bos_id)) | ((place > last) & (row == self._pad_id))
        stray = row[~explained & ~structural]
        if len(stray):
            span = Span("", "unexplained", 0, 0, len(stray))
            self._add(self._committer.turn(span, stray))


KeptOut = dict[str, tuple[tuple[str, str], ...]]
"""Arm to the (meeting, content digest) pairs that were not opened."""


def arm_leaves(
    committer: Committer, train: Iterable[Spanned], kept_out: KeptOut
) -> dict[str, set[bytes]]:
    """Leaves of each arm: of what is trained on by turn, of what is kept out by meeting.

    Where a chat template stands around turns, its parts are an arm ``template`` of their own.
    """
    documents = tuple(train)
    template = committer.template(documents)
    arms = {
        "train": committer.documents(documents) - template,
        "heldout": committer.unopened(kept_out.get("heldout", ())),
        "sentinel": committer.unopened(kept_out.get("sentinel", ())),
    }
    return arms | ({"template": template} if template else {})


def receipt(
    committer: Committer,
    arms: dict[str, set[bytes]],
    carriers: Iterable[Spanned],
    observer: Observer,
    undrawn: Sequence[Spanned] = (),
) -> dict[str, Any]:
    """The receipt (contract, section 4): ``equal`` iff observed = train, canaries and template.

    Args:
        arms: see :func:`arm_leaves`.
        carriers: documents of the planted canaries.
        observer: after training.
        undrawn: documents that a private training's draws never met; their leaves are admitted,
            and whether they were observed is not asked.
    """
    train, canary = arms["train"], committer.documents(carriers)
    template = arms.get("template", set())
    admitted = train | canary | template
    never = committer.documents(undrawn) - observer.seen
    return {
        "schema": "harness/receipt/v1",
        "train_root": set_root(train),
        "heldout_root": set_root(arms["heldout"]),
        "sentinel_root": set_root(arms["sentinel"]),
        "canary_root": set_root(canary),
        "template_root": set_root(template),
        "admitted_root": set_root(admitted),
        "observed_root": set_root(observer.seen),
        "equal": set_root(admitted - never) == set_root(observer.seen),
        "leaves": {"train": len(train), "canary": len(canary), "template": len(template),
                   "observed": len(observer.seen)},
        "tokens": observer.tokens,
        "dropped": sum(len(document.ids) - 1 for document in undrawn),
        "masked": 0,
    }  # fmt: skip
