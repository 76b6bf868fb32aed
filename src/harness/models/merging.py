"""What a saved adapter changes in its base, and the weight of a layer with the change in it."""

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from harness.errors import Refused
from harness.models.base import quiet
from harness.models.shards import FLOATS, Entry, entries_of
from harness.rundir import read_json

# What decides the change, and is handed to peft.
_SETTINGS = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora",
             "target_modules", "exclude_modules", "layers_to_transform",
             "layers_pattern"}  # fmt: skip
# What says nothing about the trained adapter: provenance, dropout, sizes of features not in use.
_SILENT = {"peft_type", "task_type", "peft_version", "base_model_name_or_path", "revision",
           "inference_mode", "lora_dropout", "init_lora_weights", "megatron_core",
           "qalora_group_size", "runtime_config"}  # fmt: skip
_OFF: tuple[object, ...] = (None, False, "none", {}, [])
# Other initialisations begin by changing the base weights, which the base's folder does not show.
_INITS = (None, True, False, "gaussian", "orthogonal")
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Change:
    """What the adapter does to one weight: W + scale * B A, with DoRA each row to a new length.

    Attributes:
        scale: alpha / r, with rsLoRA alpha / sqrt(r).
        a: of shape (r, in).
        b: of shape (out, r).
        magnitude: of shape (out,), the length of each row; None without DoRA.
    """

    scale: float
    a: Entry
    b: Entry
    magnitude: Entry | None

    def applied(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """The changed weight, computed in float32 and rounded once.

        Args:
            weight: of the base layer, shape (out, in).
            dtype: of the result.

        Raises:
            Refused: ``MERGE_NOT_FINITE``.
        """
        merged = weight.to(torch.float32, copy=True)
        merged.addmm_(self.b.read().float(), self.a.read().float(), alpha=self.scale)
        if self.magnitude is not None:
            lengths = torch.linalg.vector_norm(merged, dim=1)
            merged *= (self.magnitude.read().float() / lengths).unsqueeze(1)
        result = merged.to(dtype)
        if not bool(torch.isfinite(result).all()):
            raise Refused("MERGE_NOT_FINITE", "a merged weight is infinite or no number",
                          self.a.name, "train again; this adapter is broken")  # fmt: skip
        return result


def changes_of(adapter: Path, base: Path, weights: Mapping[str, Entry]) -> dict[str, Change]:
    """What the adapter changes, by the name of the base's tensor.

    peft itself is asked, on a model without values, which tensors such an adapter has and how each
    layer is scaled; the file must hold exactly these.

    Args:
        adapter: folder with adapter_config.json and adapter_model.safetensors.
        base: folder with the base's config.json.
        weights: the base's tensors.

    Raises:
        Refused: ``ADAPTER_MISSING``; ``ADAPTER_UNKNOWN`` naming the setting or tensor that is not
            understood; ``ADAPTER_UNMERGEABLE`` naming the layer that holds no weight of its own.
    """
    if not (adapter / "adapter_model.safetensors").is_file():
        raise Refused("ADAPTER_MISSING", "there is no adapter", str(adapter), "run train first")
    settings = _understood(read_json(adapter / "adapter_config.json"))
    held = entries_of(adapter / "adapter_model.safetensors")
    skeleton = _skeleton(base)
    shared = _shared(skeleton)
    changes = {}
    for name, layer in _layers(skeleton, settings):
        weight = f"{name}.weight"
        _check_mergeable(weight, layer, weights, shared)
        changes[weight] = _taken(name, layer, held, bool(settings.get("use_dora")))
    if held or not changes:
        raise _unknown(f"nothing takes its tensor {next(iter(held), '')}" if held
                       else "it changes no layer", "adapter_model.safetensors")  # fmt: skip
    return changes


def _understood(config: Any) -> dict[str, Any]:
    """The settings that peft is asked with; whatever else is switched on is refused."""
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise _unknown("it is no LoRA adapter", "adapter_config.json")
    on = {key: value for key, value in config.items() if value not in _OFF}
    for key in sorted(on.keys() - _SETTINGS - _SILENT):
        raise _unknown(f"its setting {key} is not understood", "adapter_config.json")
    if config.get("init_lora_weights") not in _INITS:
        raise _unknown("its initialisation changed the base", "adapter_config.json")
    return {key: config[key] for key in _SETTINGS & config.keys()}


def _skeleton(base: Path) -> PreTrainedModel:
    """The base model without values: the names, kinds and shapes of its layers."""
    try:
        with quiet(), warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            config = AutoConfig.from_pretrained(base, trust_remote_code=False)
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # a configuration can be wrong in as many ways as there are models
        why = f"no model can be made of it ({type(error).__name__})"
        raise Refused("MODEL_MISSING", why, str(base / "config.json"),
                      "fetch the base model again") from None  # fmt: skip
    assert isinstance(model, PreTrainedModel)
    return model


def _shared(model: nn.Module) -> set[str]:
    """The names of weights that are another one's, too, such as a head tied to the embeddings."""
    names = defaultdict(list)
    for name, weight in model.named_parameters(remove_duplicate=False):
        names[id(weight)].append(name)
    return {name for several in names.values() if len(several) > 1 for name in several}


def _layers(model: PreTrainedModel, settings: dict[str, Any]) -> Iterable[tuple[str, LoraLayer]]:
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            config = LoraConfig(**settings, init_lora_weights=False, task_type="CAUSAL_LM")
            adapted = get_peft_model(model, config)
    except Exception as error:  # peft checks little of what it is given
        raise _unknown(f"peft puts none such on the base ({type(error).__name__})",
                       "adapter_config.json") from None  # fmt: skip
    for name, module in adapted.named_modules():
        if isinstance(module, LoraLayer):
            yield name.removeprefix(_PREFIX), module


def _check_mergeable(
    name: str, layer: LoraLayer, weights: Mapping[str, Entry], shared: set[str]
) -> None:
    linear = layer.get_base_layer()
    if type(layer) is not LoraLinear or type(linear) is not nn.Linear:
        why = f"it is no linear layer but a {type(linear).__name__}"
    elif name in shared:
        why = "it shares its weight with the embeddings, which would change as well"
    elif name not in weights or weights[name].shape != tuple(linear.weight.shape):
        why = "the base's file holds no such weight"
    elif weights[name].dtype not in FLOATS:
        why = f"the base holds it as {weights[name].dtype}"
    else:
        return
    raise Refused("ADAPTER_UNMERGEABLE", why, name, "load base and adapter with peft instead")


def _taken(name: str, layer: LoraLayer, held: dict[str, Entry], dora: bool) -> Change:
    """The change of one layer; its tensors are taken out of ``held``."""
    (adapter,) = layer.lora_A
    out, into = layer.get_base_layer().weight.shape
    rank, place = layer.r[adapter], f"{_PREFIX}{name}"
    a = _take(held, f"{place}.lora_A.weight", (rank, into))
    b = _take(held, f"{place}.lora_B.weight", (out, rank))
    magnitude = _take(held, f"{place}.lora_magnitude_vector", (out,)) if dora else None
    return Change(float(layer.scaling[adapter]), a, b, magnitude)


def _take(held: dict[str, Entry], name: str, shape: tuple[int, ...]) -> Entry:
    entry = held.pop(name, None)
    if entry is None or entry.shape != shape or entry.dtype not in FLOATS:
        wrong = "lacks" if entry is None else f"has not the shape {shape} or no numbers at"
        raise _unknown(f"it {wrong} {name}", "adapter_model.safetensors")
    return entry


def _unknown(what: str, where: str) -> Refused:
    return Refused("ADAPTER_UNKNOWN", what, f"adapter/{where}",
                   "load base and adapter with peft instead")  # fmt: skip
