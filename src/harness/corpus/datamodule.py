"""Steps for the optimiser, made from an Admitted corpus and nothing else."""

import hmac
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from harness.commitments.receipt import Span
from harness.config import Config
from harness.consent.capability import Admitted
from harness.corpus.canaries import Canary, candidates, planted_documents
from harness.corpus.documents import Document, Tokenizer, documents
from harness.corpus.drawing import drawn
from harness.corpus.masking import without_repetition
from harness.corpus.packing import epoch_order, pack
from harness.digest import sha256_hex

TENSORS = ("input_ids", "position_ids", "labels", "predicting", "starts")
AHEAD = 2  # steps that are laid out while one is computed
Row = list[Document]

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Rows of packed documents.

    Attributes:
        input_ids: int64, shape (rows, tokens).
        position_ids: int64, same shape; restarts at 0 with each document and in the padding.
        labels: int64, same shape; the token to predict at each position, -100 where none is.
        predicting: int64, shape (supervised,): flat places of the labels that are one; known here,
            so that no device is asked for it.
        starts: int32, shape (documents + 1,): see
            :func:`harness.models.attention.document_starts`; padding is a document of its own.
        spans: for each row what each stretch of tokens is: ``(start, end, span)``;
            beginning-of-text tokens and padding have no span.
    """

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    predicting: Tensor
    starts: Tensor
    spans: tuple[tuple[tuple[int, int, Span], ...], ...]

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """The batch with its tensors on ``device``."""
        return replace(
            self, **{name: getattr(self, name).to(device, non_blocking=True) for name in TENSORS}
        )

    def pinned(self) -> "Batch":
        """The batch in page-locked memory, which a device can fetch while it computes."""
        return replace(self, **{name: getattr(self, name).pin_memory() for name in TENSORS})

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return sum(end - start for row in self.spans for start, end, _ in row) + self.documents

    @property
    def documents(self) -> int:
        """Documents in the batch."""
        return sum(span.start == 1 for row in self.spans for _, _, span in row)

    @property
    def supervised(self) -> int:
        """Tokens with a loss."""
        return len(self.predicting)


@dataclass(frozen=True)
class Step:
    """What one process computes of one optimiser step, and what the step holds in all processes.

    Attributes:
        micro: batches, each for one forward and backward pass; as many in every process.
        tokens: in the whole step, padding left out.
        supervised: tokens with a loss in the whole step; each batch's sum of losses is divided by
            it, so that neither the cut into batches nor into processes changes the gradient.
        slots: places in the rows of the whole step, padding included.
        documents: ids of the whole step's documents.
    """

    micro: tuple[Batch, ...]
    tokens: int
    supervised: int
    slots: int
    documents: tuple[str, ...]

    def to(self, device: torch.device, non_blocking: bool = False) -> "Step":
        """The step with its batches on ``device``."""
        return replace(self, micro=tuple(batch.to(device, non_blocking) for batch in self.micro))


def collate(rows: Sequence[Row], pad_id: int) -> Batch:
    """Lay documents end to end in each row and pad to the longest row; no row, a row of padding."""
    width = max((sum(map(len, row)) for row in rows), default=0)
    if not width:
        rows, width = [[]], 1
    shape = (len(rows), width)
    ids = np.full(shape, pad_id, np.int64)
    labels = np.full(shape, IGNORED, np.int64)
    positions = np.zeros(shape, np.int64)
    spans = []
    for number, row in enumerate(rows):
        at, found = 0, []
        for document in row:
            end = at + len(document)
            ids[number, at:end] = document.ids
            positions[number, at:end] = np.arange(len(document))
            labels[number, at : end - 1] = np.where(document.supervised, document.ids, IGNORED)[1:]
            found += [(at + span.start, at + span.end, span) for span in document.spans]
            at = end
        positions[number, at:] = np.arange(width - at)
        spans.append(tuple(found))
    predicting = np.flatnonzero(labels != IGNORED)
    starts = np.append(np.flatnonzero(positions == 0), positions.size).astype(np.int32)
    arrays = zip(TENSORS, (ids, positions, labels, predicting, starts), strict=True)
    return Batch(**{name: torch.from_numpy(array) for name, array in arrays}, spans=tuple(spans))


class Steps:
    """The training plan: rows of every optimiser step, a pure function of (seed, epoch, step).

    Args:
        documents: of the corpus, canary carriers included.
        row_tokens: length of a row.
        batch_rows: rows in a step.
        epochs: passes over the corpus.
        seed: of the order.
    """

    def __init__(
        self, documents: list[Document], row_tokens: int, batch_rows: int, epochs: int, seed: int
    ) -> None:
        self.documents = documents
        self.rows = pack([len(document) for document in documents], row_tokens)
        self.batch_rows, self.epochs, self.seed = batch_rows, epochs, seed
        self.per_epoch = -(-len(self.rows) // batch_rows)

    def __len__(self) -> int:
        return self.per_epoch * self.epochs

    def __getitem__(self, step: int) -> list[Row]:
        epoch, place = divmod(step, self.per_epoch)
        order = epoch_order(len(self.rows), self.seed, epoch)
        chosen = order[place * self.batch_rows : (place + 1) * self.batch_rows]
        return [[self.documents[i] for i in self.rows[row]] for row in chosen]

    def digest(self) -> str:
        """SHA-256 of the plan: documents, masks, canaries, packing and order."""
        parts = [np.asarray([len(self), self.seed, self.batch_rows]).tobytes()]
        for document in self.documents:
            parts += [document.id.encode(), document.ids.tobytes(), document.supervised.tobytes()]
        parts += [np.asarray(row).tobytes() for row in self.rows]
        return sha256_hex(b"".join(sha256_hex(part).encode() for part in parts))


class DrawnSteps(Steps):
    """The plan of a private training: each step draws every document by itself, with one chance.

    The chance is one over the steps of an epoch. Each document is a row, for its gradient is
    clipped alone.

    Args:
        seed: secret, see :func:`harness.corpus.drawing.drawn`.
    """

    def __init__(
        self, documents: list[Document], row_tokens: int, batch_rows: int, epochs: int, seed: int
    ) -> None:
        super().__init__(documents, row_tokens, batch_rows, epochs, seed)
        self.rate = 1 / self.per_epoch

    def __getitem__(self, step: int) -> list[Row]:
        chosen = drawn(len(self.documents), self.rate, step, self.seed)
        return [[self.documents[number]] for number in chosen]

    def never(self, steps: int) -> list[Document]:
        """Documents that none of the first ``steps`` steps draws."""
        met = {row[0].id for step in range(steps) for row in self[step]}
        return [document for document in self.documents if document.id not in met]


def shares(rows: Sequence[Row], processes: int, micro_rows: int) -> list[list[list[Row]]]:
    """Deal a step's rows to processes, and each process's to its forward passes.

    Every process has as many passes as the others, some of them empty: whoever waits for the
    others in a pass must not wait in vain.

    Args:
        rows: of the step.
        processes: that share it.
        micro_rows: rows in a pass at most; 0 for all in one.

    Returns:
        For each process, for each pass, its rows.
    """
    most = max(1, -(-len(rows) // processes))
    size = micro_rows or most
    dealt = [rows[rank::processes] for rank in range(processes)]
    starts = range(0, most, size)
    return [[list(mine[start : start + size]) for start in starts] for mine in dealt]


class MeetingData(LightningDataModule):
    """Training batches of an admitted corpus and its planted canaries.

    Args:
        admitted: the gate's permission to train; no other type is taken.
        tokenizer: of the base model.
        config: corpus, canaries and train sections are read.
        secret: that the draws of a private training come from, with its documents; None for any
            other training.

    Attributes:
        masked: tokens whose loss goldfish or repetition took.

    Raises:
        TypeError: for anything that is not an :class:`Admitted`.
    """

    def __init__(
        self, admitted: Admitted, tokenizer: Tokenizer, config: Config, secret: bytes | None = None
    ) -> None:
        super().__init__()
        if type(admitted) is not Admitted:
            raise TypeError(f"training takes Admitted, not {type(admitted).__name__}")
        self.tokenizer = tokenizer
        private = secret is not None
        self.micro_rows = 1 if private else config.train.micro_rows
        self.batch_rows = config.train.batch_rows
        self.canaries: list[Canary] = candidates(config.canaries, tokenizer)
        said = documents(admitted.train, tokenizer, config.corpus)
        whole = said + planted_documents(self.canaries)
        told = without_repetition(whole, config.corpus)
        self.masked = _with_loss(whole) - _with_loss(told)
        self.meetings, self.carriers = told[: len(said)], told[len(said) :]
        self.validation = (
            documents(admitted.validation, tokenizer, config.corpus) if admitted.validation else []
        )
        self.steps = (DrawnSteps if private else Steps)(
            told, config.corpus.row_tokens, config.train.batch_rows, config.train.epochs,
            config.train.seed if secret is None else _seed(secret, told),
        )  # fmt: skip
        self.row_tokens = config.corpus.row_tokens
        self.start, self.rank, self.processes = 0, 0, 1

    @property
    def tokens(self) -> int:
        """Of all documents, once."""
        return sum(map(len, self.steps.documents))

    def train_dataloader(self) -> Iterator[Step]:
        """Steps from ``start`` to the end of the plan, laid out ahead by a thread of their own."""
        return ahead(self.step, range(self.start, len(self.steps)))

    def step(self, number: int) -> Step:
        """This process's share of a step."""
        rows = self.steps[number]
        mine = shares(rows, self.processes, self.micro_rows)[self.rank]
        found = [document for row in rows for document in row]
        micro = (self.collate(part) for part in mine)
        return Step(
            tuple(batch.pinned() if torch.cuda.is_available() else batch for batch in micro),
            tokens=sum(map(len, found)), supervised=sum(int(d.supervised.sum()) for d in found),
            slots=len(rows) * self.row_tokens, documents=tuple(d.id for d in found),
        )  # fmt: skip

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Rows as a batch."""
        return collate(rows, pad_id=getattr(self.tokenizer, "pad_id", self.tokenizer.bos_id))

    def validation_batches(self) -> Iterator[Batch]:
        """The validation series, packed; for the validation loss only."""
        rows = pack([len(document) for document in self.validation], self.row_tokens)
        size = self.micro_rows or self.batch_rows
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            yield self.collate([[self.validation[i] for i in row] for row in chosen])


def _seed(secret: bytes, documents: Sequence[Document]) -> int:
    """Of draws: secret, and another for other documents."""
    told = b"".join(document.ids.tobytes() for document in documents)
    return int.from_bytes(hmac.digest(secret, told, "sha256")[:7], "little")


def _with_loss(documents: Sequence[Document]) -> int:
    return sum(int(document.supervised.sum()) for document in documents)


def ahead(make: Any, numbers: Sequence[int]) -> Iterator[Any]:
    """``make(n)`` for each number, in order; the next ones are made while one is used."""
    with ThreadPoolExecutor(1, "steps") as pool:
        waiting = deque(pool.submit(make, number) for number in numbers[:AHEAD])
        for number in range(len(numbers)):
            if number + AHEAD < len(numbers):
                waiting.append(pool.submit(make, numbers[number + AHEAD]))
            yield waiting.popleft().result()
