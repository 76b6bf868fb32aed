"""Text to token ids, where no special token can come from speech."""

from typing import Any

from jinja2 import TemplateError
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harness.errors import Refused

_ALWAYS_ONE_DAY = "{%- macro strftime_now(layout) -%}01 Jan 2026{%- endmacro -%}"
"""For templates that tell the date: else a run could not be continued or probed on another day."""


class TextTokenizer:
    """A Hugging Face tokenizer reduced to what speech may use.

    Args:
        backend: fast tokenizer with a beginning-of-text or end-of-text token.

    Raises:
        Refused: ``TOKENIZER_UNSUITABLE`` when it has neither.
    """

    def __init__(self, backend: PreTrainedTokenizerFast) -> None:
        self.backend: Any = backend
        bos = backend.bos_token_id if backend.bos_token_id is not None else backend.eos_token_id
        if bos is None:
            raise Refused("TOKENIZER_UNSUITABLE", "it has no beginning and no end token",
                          "model.name", "choose another model")  # fmt: skip
        self.bos_id = int(bos)
        self.pad_id = int(backend.pad_token_id if backend.pad_token_id is not None else bos)
        self.end_id = None if backend.eos_token_id is None else int(backend.eos_token_id)
        added = backend.added_tokens_decoder.items()
        self.special_ids = frozenset(
            [*map(int, backend.all_special_ids), *(int(i) for i, token in added if token.special)]
        )
        self.size = len(backend)

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``; a spelt-out special token is split like any other text."""
        ids = self.backend.encode(text, add_special_tokens=False, split_special_tokens=True)
        return [int(i) for i in ids]

    def encode_frame(self, text: str) -> list[int]:
        """Token ids of a template's own text; its special tokens count as such."""
        ids = self.backend.encode(text, add_special_tokens=False, split_special_tokens=False)
        return [int(i) for i in ids]

    def chat(self, user: str, answer: str | None) -> str | None:
        """The chat template's text of one exchange.

        Args:
            user: what the user says.
            answer: what the assistant says, None for the text that an answer is generated after.

        Returns:
            The text, or None for a tokenizer without a template.

        Raises:
            Refused: ``TEMPLATE_UNSUITABLE`` for a template that does not take such an exchange.
        """
        if not self.backend.chat_template:
            return None
        said = [{"role": "user", "content": user}]
        said += [] if answer is None else [{"role": "assistant", "content": answer}]
        try:
            text = self.backend.apply_chat_template(
                said, tokenize=False, add_generation_prompt=answer is None,
                chat_template=_ALWAYS_ONE_DAY + self.backend.get_chat_template(),
            )  # fmt: skip
        except (TemplateError, ValueError, KeyError, TypeError) as error:
            what = f"the chat template fails ({type(error).__name__})"
            raise Refused("TEMPLATE_UNSUITABLE", what, "model.name",
                          "choose another model, or corpus.task=lm") from None  # fmt: skip
        return str(text)

    def decode(self, ids: list[int]) -> str:
        """Text of token ids."""
        return str(self.backend.decode(ids, clean_up_tokenization_spaces=False))


def tiny_tokenizer(words: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer made on the spot, in which each of ``words`` is one token.

    Args:
        words: added to the 256 bytes, each with the space before it.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {name: i for i, name in enumerate([*names, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, special=True) for name in names])
    backend.add_tokens([AddedToken(f" {word}", normalized=False) for word in words])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=names[1], eos_token=names[2], pad_token=names[2]
    )
