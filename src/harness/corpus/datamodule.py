"""Batches for the optimiser, made from an Admitted corpus and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.commitments.receipt import Span
from harness.config import Config
from harness.consent.capability import Admitted
from harness.corpus.canaries import Canary, candidates, planted_documents
from harness.corpus.documents import Document, Tokenizer, documents
from harness.corpus.packing import epoch_order, pack

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Rows of packed documents.

    Attributes:
        input_ids: int64, shape (rows, tokens).
        position_ids: int64, same shape; restarts at 0 with each document and in the padding.
        labels: int64, same shape; the token to predict at each position, -100 where none is.
        spans: for each row what each stretch of tokens is: ``(start, end, span)``;
            beginning-of-text tokens and padding have no span.
    """

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    spans: tuple[tuple[tuple[int, int, Span], ...], ...]

    def to(self, device: torch.device, non_blocking: bool = False) -> "Batch":
        """The batch with its tensors on ``device``."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=non_blocking)
            for name in ("input_ids", "position_ids", "labels")
        }
        return replace(self, **moved)

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
        return int((self.labels != IGNORED).sum())


def collate(rows: list[list[Document]], pad_id: int) -> Batch:
    """Lay documents end to end in each row and pad to the longest row."""
    width = max(sum(len(document) for document in row) for row in rows)
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
    input_ids, position_ids, targets = map(torch.from_numpy, (ids, positions, labels))
    return Batch(input_ids, position_ids, targets, tuple(spans))


class Steps(Dataset[list[list[Document]]]):
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

    def __getitem__(self, step: int) -> list[list[Document]]:
        epoch, place = divmod(step, self.per_epoch)
        order = epoch_order(len(self.rows), self.seed, epoch)
        chosen = order[place * self.batch_rows : (place + 1) * self.batch_rows]
        return [[self.documents[i] for i in self.rows[row]] for row in chosen]


class MeetingData(LightningDataModule):
    """Training batches of an admitted corpus and its planted canaries.

    Args:
        admitted: the gate's permission to train; no other type is taken.
        tokenizer: of the base model.
        config: corpus, canaries and train sections are read.

    Raises:
        TypeError: for anything that is not an :class:`Admitted`.
    """

    def __init__(self, admitted: Admitted, tokenizer: Tokenizer, config: Config) -> None:
        super().__init__()
        if type(admitted) is not Admitted:
            raise TypeError(f"training takes Admitted, not {type(admitted).__name__}")
        self.tokenizer = tokenizer
        self.batch_rows = config.train.batch_rows
        self.canaries: list[Canary] = candidates(config.canaries, tokenizer)
        self.meetings = documents(admitted.train, tokenizer, config.corpus)
        self.carriers = planted_documents(self.canaries)
        self.validation = (
            documents(admitted.validation, tokenizer, config.corpus) if admitted.validation else []
        )
        self.steps = Steps(
            self.meetings + self.carriers, config.corpus.row_tokens, config.train.batch_rows,
            config.train.epochs, config.train.seed,
        )  # fmt: skip
        self.row_tokens = config.corpus.row_tokens
        self.start = 0

    def train_dataloader(self) -> DataLoader[list[list[Document]]]:
        """Batches from step ``start`` to the end of the plan."""
        # a generator of its own: a loader draws from the global one whenever it is started, which
        # would shift the dropout of a resumed training
        return DataLoader(
            self.steps, batch_size=None, sampler=range(self.start, len(self.steps)),
            collate_fn=self.collate, num_workers=0, generator=torch.Generator(),
        )  # fmt: skip

    def collate(self, rows: list[list[Document]]) -> Batch:
        """One step's rows as a batch."""
        return collate(rows, pad_id=getattr(self.tokenizer, "pad_id", self.tokenizer.bos_id))

    def validation_batches(self) -> Iterator[Batch]:
        """The validation series, packed; for the validation loss only."""
        rows = pack([len(document) for document in self.validation], self.row_tokens)
        for start in range(0, len(rows), self.batch_rows):
            chosen = rows[start : start + self.batch_rows]
            yield self.collate([[self.validation[i] for i in row] for row in chosen])
