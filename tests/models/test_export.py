"""The merged model is base and adapter in one, by peft's own reckoning; all else is refused."""

import errno
import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import weakref
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    PreTrainedModel,
)

from factories import tiny_config
from harness import cli
from harness.config import Config, flatten
from harness.digest import sha256_file
from harness.errors import Refused
from harness.models import adapter, base, shards
from harness.models.export import export
from harness.models.merging import Change
from harness.models.shards import Entry, weights_digest

IDS = torch.tensor([[1, 30, 40, 50, 60, 70, 80, 90]])
Lora = dict[str, Any]
VARIANTS: dict[str, Lora] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "dora and rslora": {"use_dora": True, "use_rslora": True},
    "patterns": {"rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 6},
                 "alpha_pattern": {"down_proj": 3}},
    "patterns of rslora": {"use_rslora": True, "rank_pattern": {"v_proj": 9}},
    "some layers": {"target_modules": ["q_proj", "gate_proj"], "layers_to_transform": [1]},
    "orthogonal": {"init_lora_weights": "orthogonal"},
}  # fmt: skip


def model(tied: bool = True) -> PreTrainedModel:
    """The tiny model, or one like it whose head is its own."""
    loaded = base.load(tiny_config().model).model
    if tied:
        return loaded
    loaded.config.tie_word_embeddings = False
    torch.manual_seed(3)
    return LlamaForCausalLM(loaded.config).eval()


def trained(run_dir: Path, on: PreTrainedModel, **lora: Any) -> PeftModel:
    """Save an adapter with random weights, as a training would have left it."""
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | lora
    adapted = get_peft_model(on, LoraConfig(task_type="CAUSAL_LM", **settings))
    assert isinstance(adapted, PeftModel)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=generator)
            elif "magnitude" in name:
                weight.mul_(1 + 0.3 * torch.rand(weight.shape, generator=generator))
    adapted.eval().save_pretrained(str(run_dir / "adapter"), save_embedding_layers=False)
    (run_dir / "adapter" / "README.md").write_text("---\ntags: [lora]\n---\n\n# The adapter\n")
    return adapted


def recorded(run_dir: Path, config: Config, sha256: str) -> None:
    """Write what a run directory says of settings and training."""
    lines = [f"{key}: {json.dumps(value)}" for key, value in flatten(config).items()]
    (run_dir / "config.yaml").write_text("\n".join(lines) + "\n")
    (run_dir / "train").mkdir(exist_ok=True)
    receipt = {"equal": True, "base": "a model", "base_sha256": sha256, "manifest_sha256": "a" * 64}
    (run_dir / "train" / "receipt.json").write_text(json.dumps(receipt))


def cached(run_dir: Path, on: PreTrainedModel) -> Path:
    """Keep the base as the embedded one is kept, and write the run that had it."""
    folder = run_dir / "cache" / "smollm2-135m"
    on.save_pretrained(folder)
    base.load(tiny_config().model).tokenizer.backend.save_pretrained(folder)
    (folder / "SOURCE.json").write_text("{}")
    config = tiny_config()
    config.model.source, config.model.cache = "smollm2-135m", str(run_dir / "cache")
    recorded(run_dir, config, sha256_file(folder / "model.safetensors"))
    return folder


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run on the tied model, with a plain LoRA adapter."""
    folder = tmp_path / "run"
    cached(folder, model())
    trained(folder, model())
    return folder


def logits(of: Any) -> Tensor:
    with torch.no_grad():
        answer: Tensor = of.eval()(input_ids=IDS).logits
    return answer


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("shard_bytes", [10**9, 50_000, 1])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_merged_is_what_peft_merges_and_what_the_adapter_does(
    variant: str, tied: bool, shard_bytes: int, tmp_path: Path
) -> None:
    cached(tmp_path, model(tied))
    adapted = trained(tmp_path, model(tied), **VARIANTS[variant])
    made = export(tmp_path, tmp_path / "dst", shard_bytes, "float32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "dst")
    on, plain = logits(adapted), logits(model(tied))
    assert not torch.allclose(on, plain, atol=1e-1)
    assert torch.allclose(logits(merged), on, atol=1e-4)
    assert torch.allclose(logits(merged), logits(adapted.merge_and_unload()), atol=1e-4)
    assert (made.shards == 1) == (shard_bytes == 10**9)
    assert (tmp_path / "dst" / "model.safetensors.index.json").exists() == (made.shards > 1)
    shared = merged.lm_head.weight.data_ptr() == merged.model.embed_tokens.weight.data_ptr()
    assert shared == tied


def test_the_head_of_an_untied_model_can_be_merged(tmp_path: Path) -> None:
    cached(tmp_path, model(tied=False))
    adapted = trained(tmp_path, model(tied=False), target_modules=["lm_head", "o_proj"])
    export(tmp_path, tmp_path / "dst", dtype="float32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "dst")
    assert torch.allclose(logits(merged), logits(adapted), atol=1e-4)


def test_scales_by_hand_and_rounds_once(tmp_path: Path) -> None:
    cached(tmp_path, model())
    trained(tmp_path, model(), use_rslora=True, rank_pattern={"v_proj": 9},
            alpha_pattern={"v_proj": 5})  # fmt: skip
    export(tmp_path, tmp_path / "f32", dtype="float32")
    export(tmp_path, tmp_path / "bf16")
    held = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    exact, rounded = (load_file(tmp_path / d / "model.safetensors") for d in ("f32", "bf16"))
    for name, scale in (("v_proj", 5 / 3), ("k_proj", 8 / 2)):
        place = f"model.layers.0.self_attn.{name}"
        a, b = (held[f"base_model.model.{place}.lora_{m}.weight"].double() for m in "AB")
        expected = model().state_dict()[f"{place}.weight"].double() + scale * b @ a
        assert torch.allclose(exact[f"{place}.weight"].double(), expected, atol=1e-6)
    assert all(torch.equal(rounded[name], exact[name].to(torch.bfloat16)) for name in exact)
    assert rounded.keys() == exact.keys() == model().state_dict().keys() - {"lm_head.weight"}


def test_a_bfloat16_base_is_added_to_in_float32(tmp_path: Path) -> None:
    cached(tmp_path, model().to(torch.bfloat16))
    trained(tmp_path, model())
    export(tmp_path, tmp_path / "dst")
    held = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    merged = load_file(tmp_path / "dst" / "model.safetensors")
    place = "model.layers.1.mlp.down_proj"
    a, b = (held[f"base_model.model.{place}.lora_{m}.weight"] for m in "AB")
    stored = model().state_dict()[f"{place}.weight"].to(torch.bfloat16).float()
    assert torch.equal(merged[f"{place}.weight"],
                       stored.addmm(b, a, alpha=2.0).to(torch.bfloat16))  # fmt: skip


def test_the_folder_holds_all_that_is_needed_and_only_for_its_owner(run_dir: Path) -> None:
    dst = run_dir / "deep" / "dst"
    export(run_dir, dst)
    assert dst.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in dst.iterdir()} == {0o600}
    assert {path.name for path in dst.iterdir()} == {
        "README.md", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert [*dst.parent.iterdir()] == [dst]
    assert AutoModelForCausalLM.from_pretrained(dst, dtype="auto").dtype is torch.bfloat16
    ids = base.load(tiny_config().model).tokenizer.encode("hello there")
    assert AutoTokenizer.from_pretrained(dst).encode("hello there") == ids


def test_the_card_names_base_adapter_and_manifest(run_dir: Path, tmp_path: Path) -> None:
    export(run_dir, tmp_path / "dst")
    card = (tmp_path / "dst" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert card.count("---\n") == 2
    told = ("merged model", "a model", "a" * 64, "# The adapter",
            sha256_file(run_dir / "adapter" / "adapter_model.safetensors"),
            sha256_file(run_dir / "cache" / "smollm2-135m" / "model.safetensors"))  # fmt: skip
    assert [text for text in told if text not in card] == []


def test_one_tensor_is_held_at_a_time(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a tensor of the base is read, nothing that was read or merged before is left."""
    made: list[weakref.ref[Any]] = []
    read, applied, raw, counted = Entry.read, Change.applied, shards._raw, []

    def seen(value: Any) -> Any:
        made.append(weakref.ref(value))
        return value

    def reading(entry: Entry) -> Tensor:
        if "lora" not in entry.name:
            counted.append(sum(ref() is not None for ref in made))
        return seen(read(entry))

    monkeypatch.setattr(Entry, "read", reading)
    monkeypatch.setattr(Change, "applied", lambda *given: seen(applied(*given)))
    monkeypatch.setattr(shards, "_raw", lambda *given: seen(raw(*given)))
    export(run_dir, run_dir / "dst", 50_000)
    names = model().state_dict().keys() - {"lm_head.weight"}
    assert counted == [0] * len(names)
    assert len(made) == 2 * len(names) + 14 * 3  # read and written; 14 layers with A, B, merged


def test_the_tiny_base_is_made_again(tmp_path: Path) -> None:
    config, loaded = tiny_config(), base.load(tiny_config().model)
    adapted = trained(tmp_path, model())
    recorded(tmp_path, config, loaded.sha256)
    export(tmp_path, tmp_path / "dst", dtype="float32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "dst")
    assert torch.allclose(logits(merged), logits(adapted), atol=1e-4)
    recorded(tmp_path, config, "0" * 64)
    with pytest.raises(Refused, match="TRAINING_DIFFERS"):
        export(tmp_path, tmp_path / "other")


def hub_run(folder: Path, monkeypatch: pytest.MonkeyPatch, commit: str = "c" * 40) -> Path:
    """A run on a model in a cache of the hub, whose files are links to blobs named by digest."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
    model().save_pretrained(folder / "saved", max_shard_size="100KB")
    snapshot = folder / "hub" / "models--some--model" / "snapshots" / ("c" * 40)
    blobs = snapshot.parents[1] / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in (folder / "saved").iterdir():
        blob = blobs / sha256_file(path)
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(blob)
    config = tiny_config()
    config.model.source, config.model.name = "hub", "some/model"
    trained(folder, model())
    recorded(folder, config, commit)
    return blobs


def test_a_base_of_the_hub_is_read_at_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = hub_run(tmp_path, monkeypatch)
    export(tmp_path, tmp_path / "dst", dtype="float32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "dst")
    adapted = PeftModel.from_pretrained(model(), str(tmp_path / "adapter"))
    assert torch.allclose(logits(merged), logits(adapted), atol=1e-4)
    large = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    large.write_bytes(large.read_bytes()[:-1] + b"\x01")
    with pytest.raises(Refused, match="TRAINING_DIFFERS"):
        export(tmp_path, tmp_path / "other")


@pytest.mark.parametrize("shards", ["1GB", "100KB"])
def test_a_base_in_a_folder_is_known_by_the_digest_of_its_weights(
    shards: str, tmp_path: Path
) -> None:
    folder, config = tmp_path / "saved", tiny_config()
    model().save_pretrained(folder, max_shard_size=shards)
    assert (folder / "model.safetensors").exists() is (shards == "1GB")
    config.model.source, config.model.name = "hub", str(folder)
    trained(tmp_path, model())
    recorded(tmp_path, config, weights_digest(folder))
    export(tmp_path, tmp_path / "dst", dtype="float32")
    large = max(folder.glob("*.safetensors"), key=lambda path: path.stat().st_size)
    large.write_bytes(large.read_bytes()[:-1] + b"\x01")
    with pytest.raises(Refused, match="TRAINING_DIFFERS"):
        export(tmp_path, tmp_path / "other")


def test_an_adapter_of_a_four_bit_base_is_not_merged_into_another(tmp_path: Path) -> None:
    config = tiny_config()
    config.model.quantization = "nf4"
    trained(tmp_path, model())
    recorded(tmp_path, config, "0" * 64)
    with pytest.raises(Refused, match=r"ADAPTER_UNMERGEABLE.*model\.quantization"):
        export(tmp_path, tmp_path / "dst")


@pytest.mark.parametrize(
    ("commit", "code"), [("unknown", "TRAINING_DIFFERS"), ("d" * 40, "MODEL_MISSING")]
)
def test_a_base_of_the_hub_without_its_commit_is_refused(
    commit: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_run(tmp_path, monkeypatch, commit)
    with pytest.raises(Refused, match=code):
        export(tmp_path, tmp_path / "dst")


def test_another_base_than_that_of_the_training_is_refused(run_dir: Path) -> None:
    path = run_dir / "cache" / "smollm2-135m" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match=r"TRAINING_DIFFERS: base_sha256"):
        export(run_dir, run_dir / "dst")
    path.unlink()
    with pytest.raises(Refused, match=r"TRAINING_DIFFERS: base_sha256"):
        export(run_dir, run_dir / "dst")
    assert not (run_dir / "dst").exists()


SETTINGS: list[dict[str, Any]] = [
    {"bias": "all"}, {"modules_to_save": ["lm_head"]}, {"fan_in_fan_out": True},
    {"lora_bias": True}, {"target_parameters": ["q_proj.weight"]}, {"trainable_token_indices": [1]},
    {"alora_invocation_tokens": [1]}, {"use_qalora": True}, {"layer_replication": [[0, 1]]},
    {"init_lora_weights": "pissa"}, {"init_lora_weights": "eva"}, {"invented_tomorrow": 1},
    {"auto_mapping": {"a": "b"}}, {"peft_type": "LOHA"}, {"peft_type": None}, {"r": "x"}, {"r": 0},
    {"r": 5}, {"r": None}, {"lora_alpha": None}, {"rank_pattern": {"(": 3}},
    {"rank_pattern": {"q_proj": 3}}, {"use_dora": True}, {"target_modules": ["q_proj"]},
    {"target_modules": "nothing"}, {"target_modules": None}, {"exclude_modules": ["q_proj"]},
]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS, ids=json.dumps)
def test_settings_that_are_not_understood_are_refused(
    setting: dict[str, Any], run_dir: Path
) -> None:
    changed(run_dir / "adapter" / "adapter_config.json", **setting)
    with pytest.raises(Refused, match="ADAPTER_UNKNOWN") as caught:
        export(run_dir, run_dir / "dst")
    assert "\n" not in str(caught.value)
    assert not [*run_dir.glob(".dst*"), *run_dir.glob("dst")]


def one_more(tensors: dict[str, Tensor]) -> None:
    tensors["base_model.model.lm_head.weight"] = torch.zeros(2)


def magnitudes(tensors: dict[str, Tensor]) -> None:
    name = next(iter(tensors)).rpartition(".lora_")[0]
    tensors[f"{name}.lora_magnitude_vector"] = torch.ones(2)


def one_less(tensors: dict[str, Tensor]) -> None:
    del tensors[max(tensors)]


def turned(tensors: dict[str, Tensor]) -> None:
    name = max(tensors)
    tensors[name] = tensors[name].T.contiguous()


def renamed(tensors: dict[str, Tensor]) -> None:
    tensors["elsewhere"] = tensors.pop(max(tensors))


def whole_numbers(tensors: dict[str, Tensor]) -> None:
    tensors[max(tensors)] = tensors[max(tensors)].to(torch.int8)


def endless(tensors: dict[str, Tensor]) -> None:
    tensors[max(tensors)][0, 0] = torch.inf


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (one_more, "ADAPTER_UNKNOWN"), (magnitudes, "ADAPTER_UNKNOWN"),
        (one_less, "ADAPTER_UNKNOWN"), (turned, "ADAPTER_UNKNOWN"), (renamed, "ADAPTER_UNKNOWN"),
        (whole_numbers, "ADAPTER_UNKNOWN"), (dict.clear, "ADAPTER_UNKNOWN"),
        (endless, "MERGE_NOT_FINITE"),
    ],
)  # fmt: skip
def test_every_tensor_of_the_adapter_is_used_or_refused(
    damage: Callable[[dict[str, Tensor]], None], code: str, run_dir: Path
) -> None:
    path = run_dir / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    damage(tensors)
    save_file(tensors, path)
    with pytest.raises(Refused, match=code):
        export(run_dir, run_dir / "dst")
    assert not [*run_dir.glob(".dst*"), *run_dir.glob("dst")]


def test_a_head_tied_to_the_embeddings_is_not_merged(tmp_path: Path) -> None:
    cached(tmp_path, model())
    trained(tmp_path, model(), target_modules=["lm_head"])
    with pytest.raises(Refused, match=r"ADAPTER_UNMERGEABLE: it shares.*lm_head"):
        export(tmp_path, tmp_path / "dst")


def test_embeddings_are_not_merged(tmp_path: Path) -> None:
    cached(tmp_path, model(tied=False))
    trained(tmp_path, model(tied=False), target_modules=["embed_tokens"])
    with pytest.raises(Refused, match=r"ADAPTER_UNMERGEABLE: .*Embedding.*embed_tokens"):
        export(tmp_path, tmp_path / "dst")


def test_layers_that_store_their_weight_turned_are_refused(tmp_path: Path) -> None:
    small = GPT2LMHeadModel(GPT2Config(vocab_size=99, n_embd=8, n_layer=1, n_head=2))
    cached(tmp_path, small)
    trained(tmp_path, small, target_modules=["c_attn"], fan_in_fan_out=True)
    with pytest.raises(Refused, match=r"ADAPTER_UNKNOWN.*fan_in_fan_out"):
        export(tmp_path, tmp_path / "dst")
    changed(tmp_path / "adapter" / "adapter_config.json", fan_in_fan_out=False)
    with pytest.raises(Refused, match=r"ADAPTER_UNMERGEABLE.*Conv1D"):
        export(tmp_path, tmp_path / "dst")


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("config.yaml", None, "RUN_FILE"), ("train/receipt.json", None, "RUN_FILE"),
        ("train/receipt.json", '{"equal": true}', "RUN_FILE"),
        ("train/receipt.json", '{"equal": false}', "TRAINING_DIFFERS"),
        ("train/receipt.json", "[]", "TRAINING_DIFFERS"),
        ("adapter/README.md", None, "RUN_FILE"),
        ("adapter/adapter_config.json", None, "RUN_FILE"),
        ("adapter/adapter_config.json", "[]", "ADAPTER_UNKNOWN"),
        ("adapter/adapter_model.safetensors", None, "ADAPTER_MISSING"),
        ("adapter/adapter_model.safetensors", "x", "WEIGHTS_UNREADABLE"),
        ("cache/smollm2-135m/config.json", None, "MODEL_MISSING"),
        ("cache/smollm2-135m/config.json", "[]", "MODEL_MISSING"),
        ("cache/smollm2-135m/config.json", '{"model_type": "none"}', "MODEL_MISSING"),
    ],
)  # fmt: skip
def test_a_run_that_lacks_something_is_refused(
    name: str, text: str | None, code: str, run_dir: Path
) -> None:
    (run_dir / name).unlink()
    if text is not None:
        (run_dir / name).write_text(text)
    with pytest.raises(Refused, match=code):
        export(run_dir, run_dir / "dst")
    assert not [*run_dir.glob(".dst*"), *run_dir.glob("dst")]


def test_a_quantised_base_is_refused(run_dir: Path) -> None:
    path = run_dir / "cache" / "smollm2-135m" / "config.json"
    changed(path, quantization_config={"quant_method": "fp8"})
    with pytest.raises(Refused, match="WEIGHTS_TYPE"):
        export(run_dir, run_dir / "dst")


def test_what_is_there_is_not_written_over(run_dir: Path, tmp_path: Path) -> None:
    full, empty, link, file = (tmp_path / name for name in ("full", "empty", "link", "file"))
    full.mkdir()
    (full / "mine").write_text("mine")
    empty.mkdir()
    file.write_text("mine")
    link.symlink_to(empty)
    for dst in (full, link, file):
        with pytest.raises(Refused, match="EXPORT_EXISTS"):
            export(run_dir, dst)
    export(run_dir, empty)
    assert [path.name for path in full.iterdir()] == ["mine"]
    assert empty.stat().st_mode & 0o777 == 0o700


def test_a_folder_filled_meanwhile_is_not_written_over(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied, dst = Change.applied, run_dir / "dst"

    def meanwhile(*given: Any) -> Tensor:
        dst.mkdir(exist_ok=True)
        (dst / "theirs").write_text("theirs")
        return applied(*given)

    monkeypatch.setattr(Change, "applied", meanwhile)
    with pytest.raises(Refused, match="EXPORT_WRITE: cannot write"):
        export(run_dir, dst)
    assert [path.name for path in dst.iterdir()] == ["theirs"]
    assert [*run_dir.glob(".dst*")] == []


def test_a_disk_that_refuses_is_told_in_one_line(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match="EXPORT_WRITE"):
        export(run_dir, run_dir / "config.yaml" / "dst")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as a full disk or a quota
    try:
        with pytest.raises(Refused, match=r"EXPORT_WRITE: cannot write \(File too large\)"):
            export(run_dir, run_dir / "dst")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000))
    with pytest.raises(Refused, match=r"EXPORT_WRITE: 0\.00 GB are needed"):
        export(run_dir, run_dir / "dst")

    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(Refused, match=r"EXPORT_WRITE: cannot write \(Read-only file system\)"):
        export(run_dir, run_dir / "dst")
    assert not [*run_dir.glob(".dst*"), *run_dir.glob("dst")]


KILLED = """
import os, signal, sys
from pathlib import Path
from harness.models import export, shards
written, real = [], shards._write_shard
def write(*given):
    real(*given)
    written.append(1)
    if len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
shards._write_shard = write
export.export(Path(sys.argv[1]), Path(sys.argv[2]), 50_000)
"""


def test_a_killed_export_leaves_no_dst_and_the_next_one_clears_up(run_dir: Path) -> None:
    dst = run_dir / "dst"
    done = subprocess.run([sys.executable, "-c", KILLED, run_dir, dst], check=False, timeout=120)
    assert done.returncode == -9
    assert not dst.exists()
    (left,) = run_dir.glob(".dst.*.tmp")
    assert len([*left.iterdir()]) == 2
    running = run_dir / f".dst.{'0' * 32}.tmp"
    other = run_dir / f".dst.other.{'0' * 32}.tmp"
    running.mkdir()
    other.mkdir()
    descriptor = os.open(running, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    export(run_dir, dst)
    os.close(descriptor)
    assert (left.exists(), running.exists(), other.exists()) == (False, True, True)
    AutoModelForCausalLM.from_pretrained(dst)


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.answer(lambda: cli.dispatch(words))
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(run_dir), str(run_dir / "dst"), "--shard-size", "50KB"]
    code, out, err = told(words, capsys)
    assert (code, err) == (0, "")
    assert out.startswith("export: 14 layers merged, 0.2 MB of bfloat16 in 5 files, in ")
    code, out, err = told(words, capsys)
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert err.startswith("harness: EXPORT_EXISTS: ")


@pytest.mark.parametrize(
    "size", ["", "5", "0GB", "-1GB", "GB", "1PB", "0.0001KB", "1e3GB", "9" * 99]
)
def test_sizes_that_are_none_are_usage_errors(
    size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = told(["export", "run", "dst", f"--shard-size={size}"], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no size such as" in err


HELP = """
import sys
from harness import cli
code = cli.answer(lambda: cli.dispatch(["export", "--help"]))
sys.exit(code or "torch" in sys.modules)
"""


def test_help_answers_before_anything_heavy_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True,
                          check=False, timeout=60)  # fmt: skip
    assert done.returncode == 0
    assert "--shard-size" in done.stdout


def test_plain_peft_loads_the_adapter(run_dir: Path) -> None:
    plain = PeftModel.from_pretrained(model(), str(run_dir / "adapter"))
    ours = adapter.load(base.load(tiny_config().model), run_dir / "adapter")
    assert torch.equal(logits(plain), logits(ours))
