"""A tiny model whose adapter has memorised some documents and not others."""

import numpy as np
import pytest
import torch
from peft import PeftModel

from factories import meeting, tiny_config
from harness.config import Corpus
from harness.corpus.datamodule import collate
from harness.corpus.documents import Document, documents
from harness.models import adapter, base
from harness.models.adapter import head, hidden_states
from harness.models.tokenizer import TextTokenizer
from harness.training.loss import supervised_loss

STEPS = 400


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    """Of the tiny model."""
    return base.load(tiny_config().model).tokenizer


@pytest.fixture(scope="session")
def trained(tokenizer: TextTokenizer) -> list[Document]:
    """Documents that the adapter has learnt by heart."""
    spoken = [meeting(f"t{i}", turns=8) for i in range(4)]
    return documents(spoken, tokenizer, Corpus(row_tokens=96))[:4]


@pytest.fixture(scope="session")
def unseen(tokenizer: TextTokenizer) -> list[Document]:
    """Documents of the same kind that it never saw."""
    spoken = [meeting(f"u{i}", turns=8) for i in range(20)]
    return documents(spoken, tokenizer, Corpus(row_tokens=96))[:20]


@pytest.fixture(scope="session")
def memorised(trained: list[Document]) -> PeftModel:
    """The tiny base with an adapter overfitted to ``trained``."""
    torch.set_num_threads(1)
    config = tiny_config()
    config.lora.r, config.lora.alpha, config.lora.dropout = 32, 64.0, 0.0
    loaded = base.load(config.model)
    model = adapter.attach(loaded, config.lora, seed=0)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.0)
    batch = collate([[document] for document in trained], loaded.tokenizer.pad_id)
    for _ in range(STEPS):
        states = hidden_states(model, batch.input_ids, batch.position_ids)
        loss = supervised_loss(states, head(model).weight, batch.labels, batch.predicting)
        (loss / batch.supervised).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)
