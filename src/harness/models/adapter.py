"""The LoRA adapter on a base model, and the one way to run the two."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn

from harness.config import Lora
from harness.errors import Refused
from harness.models import attention
from harness.models.base import Base
from harness.models.product import compute_adapted_products

# for these transformers finds documents in one row only; in several they would see each other
_IN_ONE_ROW = ("flash_attention_2",)


def attach(base: Base, lora: Lora, seed: int) -> PeftModel:
    """Put a fresh LoRA adapter (Hu et al. 2021) on the base; its weights are float32.

    The whole is in train mode: the dropout of base and adapter is on from the first step.

    Raises:
        Refused: ``LORA_TARGETS`` when no module has the name asked for.
    """
    targets = lora.targets if lora.targets == "all-linear" else lora.targets.split(",")
    settings = LoraConfig(
        r=lora.r, lora_alpha=int(lora.alpha), lora_dropout=lora.dropout, target_modules=targets,
        use_rslora=lora.kind == "rslora", use_dora=lora.kind == "dora", task_type="CAUSAL_LM",
        init_lora_weights=True if lora.init == "default" else lora.init,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            model = get_peft_model(base.model, settings)
        except ValueError as error:
            if "even" in str(error):  # peft draws orthogonal matrices in pairs
                raise Refused("LORA_INIT", "orthogonal needs an even rank", "lora.r",
                              "make it even") from None  # fmt: skip
            raise Refused("LORA_TARGETS", "no module has such a name", "lora.targets",
                          "use all-linear or the model's own module names") from None  # fmt: skip
    assert isinstance(model, PeftModel)
    if lora.dtype == "bfloat16":
        for weight in trained(model):
            weight.data = weight.data.to(torch.bfloat16)
    compute_adapted_products(model)
    return model.train()


def trained(model: PeftModel) -> list[nn.Parameter]:
    """The adapter's weights, in the model's order."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def load(base: Base, folder: Path) -> PeftModel:
    """Put a saved adapter on the base, in eval mode; safetensors only.

    Raises:
        Refused: ``ADAPTER_MISSING``.
    """
    if not (folder / "adapter_model.safetensors").is_file():
        raise Refused("ADAPTER_MISSING", "there is no adapter", str(folder), "run train first")
    model = PeftModel.from_pretrained(base.model, str(folder), is_trainable=False)
    compute_adapted_products(model)
    return model.eval()


@contextmanager
def computing(model: PeftModel) -> Iterator[None]:
    """Run forward passes inside this: float32 adapter weights compute in the base's dtype.

    Without it PEFT casts every activation to float32 and back around each adapted module.
    """
    dtype = next(iter(model.get_base_model().parameters())).dtype
    with ExitStack() as stack:
        if dtype is torch.bfloat16:
            device = next(iter(model.parameters())).device.type
            stack.enter_context(torch.autocast(device, dtype=dtype))
            stack.enter_context(disable_input_dtype_casting(model))
        yield


def backbone(model: PeftModel) -> nn.Module:
    """The transformer without its language-model head."""
    decoder: nn.Module = model.get_base_model().get_decoder()
    return decoder


def embeddings(model: PeftModel) -> nn.Module:
    """The layer that input ids enter by."""
    layer: nn.Module = model.get_base_model().get_input_embeddings()
    return layer


def head(model: PeftModel) -> nn.Linear:
    """The frozen language-model head: hidden states to vocabulary logits."""
    layer: nn.Linear = model.get_base_model().get_output_embeddings()
    return layer


def hidden_states(
    model: PeftModel, input_ids: Tensor, position_ids: Tensor, starts: Tensor | None = None
) -> Tensor:
    """Last hidden states, shape (rows, tokens, width).

    Documents packed into a row are isolated by positions that restart and the absence of any mask;
    an all-ones mask would let them see each other.

    Args:
        input_ids: int64, shape (rows, tokens).
        position_ids: int64, same shape, 0 at each document's start.
        starts: of documents, see :func:`harness.models.attention.document_starts`; made from the
            positions where it is not given.
    """
    more = {}
    if model.config._attn_implementation == attention.NAME:
        more["document_starts"] = (
            attention.document_starts(position_ids) if starts is None else starts
        )
    shape = input_ids.shape
    if model.config._attn_implementation in _IN_ONE_ROW:
        input_ids, position_ids = input_ids.view(1, -1), position_ids.view(1, -1)
    out = backbone(model)(input_ids=input_ids, position_ids=position_ids, use_cache=False, **more)
    states: Tensor = out.last_hidden_state
    return states.view(*shape, -1)
