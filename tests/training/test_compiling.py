"""When training compiles, and that what it compiles is whole and serves rows of any length."""

import functools
import shutil

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from factories import admitted, meeting, tiny_config
from harness.commitments.receipt import Committer, Observer
from harness.config import Config, Train
from harness.corpus.datamodule import Batch, MeetingData
from harness.models import adapter, base
from harness.models.adapter import backbone
from harness.training.compiling import WARM_UP, choose, compile_layers
from harness.training.module import LoraModule

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("setting", "steps", "device", "on"),
    [("off", 10 * WARM_UP, CUDA, False), ("off", 1, CPU, False), ("auto", 10 * WARM_UP, CPU, False),
     ("auto", WARM_UP - 1, CUDA, False), ("auto", WARM_UP, CUDA, True), ("on", 1, CUDA, True),
     ("on", 1, CPU, True)],
)  # fmt: skip
def test_the_choice(setting: str, steps: int, device: torch.device, on: bool) -> None:
    if device == CPU and on and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("there is no C++ compiler here")
    choice = choose(Train(compile=setting), steps, device)
    assert choice.on is on
    assert choice.why


def test_without_a_compiler_a_cpu_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    choice = choose(Train(compile="on"), 1, CPU)
    assert not choice.on
    assert "compiler" in choice.why
    assert choose(Train(compile="on"), 1, CUDA).on  # Triton brings its own


def module_of(config: Config) -> tuple[LoraModule, MeetingData]:
    loaded = base.load(config.model)
    data = MeetingData(admitted(tuple(meeting(f"m{i}", 20) for i in range(6))), loaded.tokenizer,
                       config)  # fmt: skip
    observer = Observer(Committer(b"k" * 32), loaded.tokenizer.bos_id, loaded.tokenizer.pad_id)
    module = LoraModule(adapter.attach(loaded, config.lora, 0), config.train, 9, observer)
    return module, data


def lengths(data: MeetingData) -> list[Batch]:
    """One row each, of as many lengths."""
    documents = data.meetings
    short = [[document] for document in data.carriers[:3]]
    rows = [[documents[0]], [documents[1], data.carriers[0]], *short, [documents[2]]]
    return [data.collate([row]) for row in rows]


def test_a_layer_is_one_graph_and_serves_rows_of_any_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first layer's input needs no gradient, the others' does: two graphs serve all.

    A first row as long as the model is wide (64) would be taken for its width: two more.
    """
    torch._dynamo.reset()
    config = tiny_config()
    config.lora.dropout, config.corpus.row_tokens = 0.0, 60
    module, data = module_of(config)
    counter = CompileCounterWithBackend("eager")
    whole = functools.partialmethod(torch.nn.Module.compile, backend=counter, fullgraph=True)
    monkeypatch.setattr(torch.nn.Module, "compile", whole)
    batches = lengths(data)
    plain = [float(module._loss(batch).detach()) for batch in batches]
    compile_layers(module.model)
    compiled = []
    for batch in batches:
        loss = module._loss(batch)
        loss.backward()
        compiled.append(float(loss.detach()))
    assert compiled == pytest.approx(plain, rel=1e-5)
    assert len({batch.input_ids.shape for batch in batches}) > 3
    assert [bool(len(graph.graph.nodes)) for graph in counter.graphs].count(True) == 2
    torch._dynamo.reset()


def test_a_layer_breaks_nowhere() -> None:
    torch._dynamo.reset()
    module, data = module_of(tiny_config())
    model, batch = module.model, data.collate([[data.meetings[0]]])
    layer, taken = backbone(model).layers[1], {}

    def keep(_: object, arguments: tuple[object, ...], more: dict[str, object]) -> None:
        taken["arguments"], taken["more"] = arguments, more

    handle = layer.register_forward_pre_hook(keep, with_kwargs=True)
    module._loss(batch)
    handle.remove()
    found = torch._dynamo.explain(layer.forward)(*taken["arguments"], **taken["more"])
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons
    torch._dynamo.reset()
