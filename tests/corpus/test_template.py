"""Chat templates: cut where they hold something, or refused."""

import pytest

from corpus.test_pairs import CHATML, TOKENIZERS, chat_tokenizer
from harness.corpus.template import PLAIN, QUERY, TRANSCRIPT, USER, frame_of
from harness.errors import Refused

ENDED = CHATML + "{% if not add_generation_prompt %}{{ '<|endoftext|>' }}{% endif %}"
SYSTEM = "{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}" + CHATML


@pytest.mark.parametrize("template", [CHATML, SYSTEM, ENDED])
def test_the_prompt_is_what_the_template_gives_for_generation(template: str) -> None:
    """Then whoever asks the trained model in these words asks as in training."""
    tokenizer = chat_tokenizer(template)
    frame = frame_of(tokenizer)
    before, middle, after, last = (tokenizer.decode([*part]) for part in frame.parts)
    start = tokenizer.decode([tokenizer.bos_id])
    user = USER.replace(TRANSCRIPT, "A: hi\n").replace(QUERY, "Why?")
    assert start + before + "A: hi\n" + middle + "Why?" + after == tokenizer.chat(user, None)
    assert last.startswith("<|im_end|>")
    assert frame.end == 1


def test_without_a_chat_template_the_frame_is_plain() -> None:
    tokenizer = TOKENIZERS["plain"]
    parts = [tokenizer.decode([*part]) for part in frame_of(tokenizer).parts]
    assert parts[0] + TRANSCRIPT + parts[1] + QUERY + parts[2] == PLAIN
    assert parts[3] == "<|im_end|>"


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (CHATML.replace("<|im_end|>", ""), "special token"),
        (CHATML.replace("m.content", "''"), "leaves out"),
        (CHATML.replace("m.content", "m.content + m.content"), "repeats"),
        ("{{ raise_exception('no') }}", "fails"),
        ("{{ messages[2].content }}", "fails|leaves out"),
    ],
)
def test_a_template_that_cannot_be_cut_or_never_ends_is_refused(template: str, what: str) -> None:
    with pytest.raises(Refused, match=f"TEMPLATE_UNSUITABLE.*({what})"):
        frame_of(chat_tokenizer(template))


def test_what_leads_to_the_end_of_turn_is_supervised_and_what_follows_is_not() -> None:
    spaced = CHATML.replace("<|im_end|>\n", " <|im_end|>\n\n")
    assert spaced != CHATML
    tokenizer = chat_tokenizer(spaced)
    frame = frame_of(tokenizer)
    assert tokenizer.decode([*frame.parts[3]]) == " <|im_end|>\n\n"
    assert frame.end == 2


def test_the_date_is_the_same_on_every_day() -> None:
    dated = "{{ strftime_now('%Y-%m-%d') }}" + CHATML
    asked = chat_tokenizer(dated).chat("u", None)
    assert asked is not None
    assert asked.startswith("01 Jan 2026<|im_start|>")
