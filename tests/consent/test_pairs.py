"""Pairs of query and answer: admitted as AI summaries beside their transcript, or never opened."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consent.test_explain import run_gate
from consent.test_noninterference import adapter
from consent.test_opening import EVERYWHERE, exclude, per_speaker, say, sign
from harness.config import Config, Corpus
from harness.consent import gate
from harness.consent.authoring import content_row
from harness.consent.capability import GatedTurn
from harness.consent.copies import digest_utterance, words
from harness.consent.explain import explain
from harness.consent.head import Defaults, Mode
from harness.consent.records import Alias, Arm, RuleKind, State
from harness.errors import Refused
from harness.meetings.model import Modality, Turn
from harness.meetings.readers import pairs

World = Any
BOTH = (Modality.TRANSCRIPT, Modality.SUMMARY_AI)
PAIRS = [Turn(0, "", "They greeted each other.", None, "What happened?"),
         Turn(1, "", "Bo.", None, "Who spoke last?")]  # fmt: skip
KEY_OF_BO = "b" * 32


def write(world: World, *texts: Turn, meeting: str = "m0") -> None:
    """Put other pairs beside a meeting."""
    path = world.source.store / meeting / "pairs.jsonl"
    path.write_bytes(pairs.write(texts))
    row = content_row(world.source.store, meeting, Modality.SUMMARY_AI, "pairs-jsonl",
                      f"{meeting}/pairs.jsonl", "own")  # fmt: skip
    world.table("content", [r for r in world.draft.tables.content if r.path != row.path])
    world.append("content", row)


@pytest.fixture
def paired(world: World, config: Config) -> World:
    """Every meeting has pairs, all agree to both kinds by name, and the job asks for both."""
    for meeting in ("m0", "m1", "m2"):
        write(world, *PAIRS, meeting=meeting)
    world.draft = replace(world.draft, scope=replace(world.draft.scope, modalities=BOTH))
    world.edit("policies", lambda row: True, modalities=BOTH)
    world.edit("consent", lambda row: True, modalities=BOTH)
    config.job.modalities = [str(modality) for modality in BOTH]
    return world


def admitted(world: World, config: Config) -> dict[str, list[GatedTurn]]:
    """Turns of the trained meeting by modality."""
    (meeting,) = gate.admit(world.sign(), config, world.now).train
    return {m: [turn for turn in meeting.turns if turn.modality == m] for m in map(str, BOTH)}


def codes(world: World, config: Config, modality: str = "summary_ai") -> list[list[str]]:
    rows = gate.decide(world.sign(), config, world.now).rows.to_pylist()
    return [r["codes"] for r in rows if (r["meeting_id"], r["modality"]) == ("m0", modality)]


def test_pairs_are_admitted_with_their_queries_and_nobody_speaks_them(
    paired: World, config: Config
) -> None:
    for order in (BOTH, BOTH[::-1]):
        config.job.modalities = [str(modality) for modality in order]
        turns = admitted(paired, config)
        assert [(t.index, t.speaker, t.query, t.text) for t in turns["summary_ai"]] == [
            (pair.index, -1, pair.query, pair.text) for pair in PAIRS
        ]
        assert [(t.speaker, t.query) for t in turns["transcript"]] == [(0, None), (1, None)]


def of_bo(row: Any) -> bool:
    return row.subject_key == KEY_OF_BO and row.scope.meetings == ("m0",)


def bo(**changes: Any) -> Callable[[World, Config], None]:
    return lambda world, config: world.edit("consent", of_bo, **changes)


def without_transcript(world: World, config: Config) -> None:
    config.job.modalities = ["summary_ai"]


def as_chat(world: World, config: Config) -> None:
    """The file of pairs is declared as chat, which everybody agreed to."""
    kinds = (*BOTH, Modality.CHAT_PUBLIC)
    world.draft = replace(world.draft, scope=replace(world.draft.scope, modalities=kinds))
    world.edit("policies", lambda row: True, modalities=kinds)
    world.edit("consent", lambda row: True, modalities=kinds)
    world.edit("content", lambda row: row.format == "pairs-jsonl", modality=Modality.CHAT_PUBLIC)
    config.job.modalities = ["transcript", "chat_public"]


def key_in_transcript(world: World, config: Config) -> None:
    say(world, "m0", "good day", "use AKIAIOSFODNN7EXAMPLE for that")


def unknown_speaker(world: World, config: Config) -> None:
    """The whole transcript is denied when it is read, by a label that nobody has."""
    world.edit("participants", lambda r: (r.meeting_id, r.label) == ("m0", "Bo"), label="Robert")


def left_out(world: World, config: Config) -> None:
    """Bo did not agree and is left out; what Bo said may stand in any answer."""
    per_speaker(world)
    bo(state=State.REFUSED)(world, config)


def left_out_of_transcript(world: World, config: Config) -> None:
    """Bo agreed to summaries alone, and says nothing, so that no turn is denied."""
    per_speaker(world)
    say(world, "m0", "good day")
    bo(modalities=(Modality.SUMMARY_AI,))(world, config)


def silent_alias(world: World, config: Config) -> None:
    """A label that stands for Bo is excluded, and no turn bears it."""
    say(world, "m0", "good day")
    world.append("aliases", Alias("s", "Robert", (KEY_OF_BO,)))
    exclude(world, RuleKind.LABEL, "Robert", ("m0",), *EVERYWHERE[1:])


def excluded_turn(world: World, config: Config) -> None:
    exclude(world, RuleKind.TURN, "transcript/1", ("m0",), *EVERYWHERE[1:])


UNOPENED = {
    "nobody named the kind": (bo(modalities=(Modality.TRANSCRIPT,)), {"DERIVATIVE_NOT_COVERED"}),
    "a refusal of the kind": (bo(state=State.REFUSED), {"CONSENT_REFUSED"}),
    "no transcript asked for": (without_transcript, {"PAIRS_WITHOUT_TRANSCRIPT"}),
    "no transcript agreed to": (
        bo(modalities=(Modality.SUMMARY_AI,)), {"PAIRS_WITHOUT_TRANSCRIPT"},
    ),
    "no transcript left": (unknown_speaker, {"SUBJECT_UNRESOLVED", "PAIRS_WITHOUT_TRANSCRIPT"}),
    "another kind": (as_chat, {"PAIRS_NOT_SUMMARY"}),
    "a turn denied": (key_in_transcript, {"QUOTES_DROPPED"}),
    "a speaker left out": (left_out, {"QUOTES_DROPPED"}),
    "a silent one left out of the transcript": (left_out_of_transcript, {"QUOTES_DROPPED"}),
    "a silent label excluded": (silent_alias, {"QUOTES_DROPPED"}),
    "a turn excluded": (excluded_turn, {"EXCLUDED_DERIVED_FROM", "QUOTES_DROPPED"}),
}  # fmt: skip


@pytest.mark.parametrize("name", UNOPENED)
def test_pairs_that_are_denied_are_never_opened(name: str, paired: World, config: Config) -> None:
    """The file is gone: opening it would refuse the run."""
    fault, wanted = UNOPENED[name]
    fault(paired, config)
    (paired.source.store / "m0" / "pairs.jsonl").unlink()
    modality = "chat_public" if fault is as_chat else "summary_ai"
    whole = codes(paired, config, "meeting")
    found = {code for row in codes(paired, config, modality) or whole for code in row}
    assert found == wanted
    if codes(paired, config, "meeting") == [[]]:
        assert not admitted(paired, config)["summary_ai"]
    else:
        with pytest.raises(Refused, match="NOTHING_ADMITTED"):
            admitted(paired, config)


def test_why_they_are_denied_is_told_by_the_meeting(
    paired: World, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out(paired, config)
    run = run_gate(paired, tmp_path, monkeypatch, ("transcript", "summary_ai"))
    told = [*explain(run.path, "m0", None)]
    (line,) = [line for line in told if line.startswith("All of its summary_ai: QUOTES_DROPPED: ")]
    assert "retells" in line


@pytest.mark.slow
@pytest.mark.parametrize("name", UNOPENED)
def test_words_of_denied_pairs_do_not_move_one_bit_of_the_adapter(
    name: str, paired: World, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another meeting the pairs are trained on throughout."""
    fault, _ = UNOPENED[name]
    paired.edit("split", lambda row: row.meeting_id == "m1", arm=Arm.TRAIN)
    fault(paired, config)
    if fault in (without_transcript, as_chat):
        pytest.skip("denies the pairs of every meeting")

    def trained(number: int, *texts: Turn, meeting: str = "m0") -> str:
        write(paired, *texts, meeting=meeting)
        permission = gate.admit(paired.sign(), config, paired.now)
        return adapter(tmp_path / str(number), permission, monkeypatch, Corpus("sft", 256))

    other = replace(PAIRS[0], text="Other words altogether.", query="Other?")
    assert trained(0, *PAIRS) == trained(1, other) == trained(2, other, *PAIRS)
    assert trained(3, other, meeting="m1") != trained(4, *PAIRS, meeting="m1")  # the control


def test_whoever_does_not_agree_to_the_kind_takes_no_transcript_away(
    paired: World, config: Config
) -> None:
    bo(modalities=(Modality.TRANSCRIPT,))(paired, config)
    turns = admitted(paired, config)
    assert len(turns["transcript"]) == 2
    assert not turns["summary_ai"]


def test_per_speaker_admits_pairs_where_nobody_is_left_out(paired: World, config: Config) -> None:
    per_speaker(paired)
    assert len(admitted(paired, config)["summary_ai"]) == 2


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("field", ["query", "text"])
def test_a_key_in_query_or_answer_denies_that_pair(
    field: str, mode: Mode, paired: World, config: Config
) -> None:
    defaults: Defaults = replace(paired.draft.defaults, mode=mode)
    paired.draft = replace(paired.draft, defaults=defaults)
    write(paired, replace(PAIRS[0], **{field: "Is it AKIAIOSFODNN7EXAMPLE?"}), PAIRS[1])
    assert codes(paired, config) == [["KEY_IN_TURN"], []]


@pytest.mark.parametrize("field", ["query", "text"])
def test_excluded_words_in_query_or_answer_deny_that_pair(
    field: str, paired: World, config: Config
) -> None:
    said = "nobody may hear of this, not even the board"
    write(paired, replace(PAIRS[0], **{field: said}), PAIRS[1])
    exclude(paired, RuleKind.UTTERANCE,
            digest_utterance(words(said), bytes(range(32))))  # fmt: skip
    rows = gate.decide(sign(paired), config, paired.now).rows.to_pylist()
    found = [r["codes"] for r in rows if (r["meeting_id"], r["modality"]) == ("m0", "summary_ai")]
    assert found == [["EXCLUDED_UTTERANCE"], []]


def test_pairs_of_an_excluded_meeting_are_found_in_another(paired: World, config: Config) -> None:
    secret = ("the merger with the northern plant will be announced on the ninth of may and "
              "nobody outside this room may hear of it")  # fmt: skip
    write(paired, replace(PAIRS[0], query=f"Who said that {secret}?"), meeting="m2")
    write(paired, PAIRS[0], replace(PAIRS[1], text=secret))
    exclude(paired, RuleKind.MEETING, "m2")
    rows = gate.decide(sign(paired), config, paired.now).rows.to_pylist()
    found = [r["codes"] for r in rows if (r["meeting_id"], r["modality"]) == ("m0", "summary_ai")]
    assert found[1] == ["EXCLUDED_COPY"]
