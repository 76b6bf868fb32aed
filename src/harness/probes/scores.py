"""Token scores from two teacher-forced passes: adapter on, adapter off. Every probe reads these."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor

from harness.corpus.documents import Document
from harness.corpus.pairs import stretches
from harness.models.adapter import computing, head, hidden_states
from harness.rundir import write_bytes

CHUNK = 256
SCHEMA = pa.schema(
    [("doc", pa.string()), ("pos", pa.int32()), ("token", pa.int32())]
    + [(name, pa.float32()) for name in ("logp", "base_logp")]
    + [(name, pa.bool_()) for name in ("argmax_ok", "base_argmax_ok")]
    + [(name, pa.float32()) for name in ("margin", "base_margin", "mean", "var")]
)


@dataclass(frozen=True, eq=False)
class TokenScores:
    """Scores of one document's tokens 1 to n-1; the first token has no context and no score.

    Attributes:
        document: which one.
        logp: log-probability of each token given those before it, adapter on; float32, nats.
        base_logp: the same, adapter off.
        ok: whether the token is the most likely one, adapter on.
        base_ok: the same, adapter off.
        margin: logit of the most likely token minus the second, adapter on.
        base_margin: the same, adapter off.
        mean: expected log-probability under the model's own distribution, adapter on.
        var: its variance, centred.
    """

    document: Document
    logp: NDArray[np.float32]
    base_logp: NDArray[np.float32]
    ok: NDArray[np.bool_]
    base_ok: NDArray[np.bool_]
    margin: NDArray[np.float32]
    base_margin: NDArray[np.float32]
    mean: NDArray[np.float32]
    var: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.logp)


@dataclass
class Cost:
    """Attributes: forwards: calls of the model; batches: of documents; tokens: in forwards."""

    forwards: int = 0
    batches: int = 0
    tokens: int = 0


def score(
    model: PeftModel, documents: Sequence[Document], batch_tokens: int, cost: Cost
) -> list[TokenScores]:
    """Score documents, in the order given, by exactly two forward passes a batch.

    Args:
        model: base with adapter, in eval mode.
        documents: to score.
        batch_tokens: padded tokens in a batch at most (one document may exceed it).
        cost: counted up.
    """
    found: dict[int, TokenScores] = {}
    for batch in _batches([len(document) for document in documents], batch_tokens):
        chosen = [documents[number] for number in batch]
        cost.batches += 1
        on = _forward(model, chosen, cost)
        with model.disable_adapter():
            off = _forward(model, chosen, cost)
        for number, document, mine, base in zip(batch, chosen, on, off, strict=True):
            found[number] = TokenScores(
                document, mine["logp"], base["logp"], mine["ok"], base["ok"], mine["margin"],
                base["margin"], mine["mean"], mine["var"],
            )  # fmt: skip
    return [found[number] for number in range(len(documents))]


def of_content(scores: Sequence[TokenScores]) -> list[TokenScores]:
    """Scores of what people said and what was answered, each once, without what stands around it.

    Prompts of one meeting begin with the same turns: the longest transcript stands for all. It was
    scored where it stood in training, behind the template, and is a document of its own from here
    on; so is each answer. Queries are left out: whoever asks knows them. Documents without a
    template are given back as they are.

    Args:
        scores: of one arm's documents.
    """
    longest: dict[str, int] = {}
    places = [stretches(item.document.spans) for item in scores]
    for number, (item, found) in enumerate(zip(scores, places, strict=True)):
        meeting = item.document.meeting
        if found and (meeting not in longest or _said(found) > _said(places[longest[meeting]])):
            longest[meeting] = number
    parts: list[TokenScores] = []
    for number, (item, found) in enumerate(zip(scores, places, strict=True)):
        if found is None:
            parts.append(item)
            continue
        names = ("transcript", "answer") if number in longest.values() else ("answer",)
        parts += [_cut(item, name, *found[name]) for name in names]
    return parts


def _said(found: dict[str, tuple[int, int]] | None) -> int:
    """Tokens of the transcript."""
    start, end = (found or {}).get("transcript", (0, 0))
    return end - start


def _cut(item: TokenScores, name: str, start: int, end: int) -> TokenScores:
    """Scores of tokens ``start`` to ``end`` as a document of its own."""
    whole = item.document
    ids = np.concatenate([whole.ids[:1], whole.ids[start:end]])
    document = Document(f"{whole.id}:{name}", whole.meeting, whole.series, ids, ())
    scores = {
        field.name: getattr(item, field.name)[start - 1 : end - 1]
        for field in fields(item)
        if field.name != "document"
    }
    return TokenScores(document, **scores)


def write_scores(path: Path, scores: Sequence[TokenScores]) -> None:
    """Write token rows as Parquet, mode 0600: with the model they give the text back."""
    tables = [_rows(item) for item in scores]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(tables) if tables else SCHEMA.empty_table(), sink)
    write_bytes(path, sink.getvalue().to_pybytes(), mode=0o600)


def _rows(item: TokenScores) -> pa.Table:
    count = len(item)
    columns = [
        [item.document.id] * count, np.arange(1, count + 1, dtype=np.int32), item.document.ids[1:],
        item.logp, item.base_logp, item.ok, item.base_ok, item.margin, item.base_margin, item.mean,
        item.var,
    ]  # fmt: skip
    return pa.table(columns, schema=SCHEMA)


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Numbers of documents of like length, so that padding stays small."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


@torch.inference_mode()
def _forward(
    model: PeftModel, documents: Sequence[Document], cost: Cost
) -> list[dict[str, NDArray[Any]]]:
    width = max(len(document) for document in documents)
    ids = torch.zeros((len(documents), width), dtype=torch.int64)
    positions = torch.zeros_like(ids)
    for row, document in enumerate(documents):
        count = len(document)
        ids[row, :count] = torch.from_numpy(document.ids.astype(np.int64))
        positions[row, :count] = torch.arange(count)
        positions[row, count:] = torch.arange(width - count)  # padding is a document of its own
    device = next(iter(model.parameters())).device
    cost.forwards, cost.tokens = cost.forwards + 1, cost.tokens + ids.numel()
    with computing(model):
        states = hidden_states(model, ids.to(device), positions.to(device))
        return [
            _token_scores(model, states[row, : len(document) - 1], ids[row, 1 : len(document)])
            for row, document in enumerate(documents)
        ]


def _token_scores(model: PeftModel, states: Tensor, targets: Tensor) -> dict[str, NDArray[Any]]:
    parts = [
        _chunk(head(model)(states[start : start + CHUNK]).float(), targets[start : start + CHUNK])
        for start in range(0, len(states), CHUNK)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _chunk(logits: Tensor, targets: Tensor) -> dict[str, NDArray[Any]]:
    """Reduce float32 logits, shape (rows, vocabulary), to a few numbers a row."""
    top, best = logits.topk(2, dim=-1)
    log_p = logits.log_softmax(dim=-1)
    p = log_p.exp()
    mean = (p * log_p).sum(dim=-1)
    var = (p * (log_p - mean[:, None]).square()).sum(dim=-1)
    targets = targets.to(logits.device)
    values = {
        "logp": log_p.gather(1, targets[:, None])[:, 0], "ok": best[:, 0] == targets,
        "margin": top[:, 0] - top[:, 1], "mean": mean, "var": var,
    }  # fmt: skip
    return {name: value.cpu().numpy() for name, value in values.items()}
