"""Excluded words that come back are found in what is opened, under the key alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config import Config
from harness.consent import gate
from harness.consent.authoring import content_row, write_manifest
from harness.consent.copies import digest_utterance, words
from harness.consent.head import Mode
from harness.consent.material import excerpts, index_of
from harness.consent.present import Source, trust_first
from harness.consent.records import (
    ALL,
    Alias,
    ExclusionRule,
    RuleKind,
    RuleScope,
    RuleSource,
    State,
)
from harness.errors import Refused
from harness.meetings.model import Modality

World = Any
KEY = bytes(range(32))
SECRET = ("the merger with the northern plant will be announced on the ninth of may and nobody "
          "outside this room may hear of it before then")  # fmt: skip
EVERYWHERE = ((ALL,), (ALL,), (ALL,), (ALL,))


def say(world: World, meeting: str, *texts: str) -> None:
    """Put other turns of Ada into a meeting."""
    store = world.source.store
    data = "".join(f'{{"speaker":"Ada","text":"{text}"}}\n' for text in texts)
    (store / meeting / "turns.jsonl").write_text(data)
    row = content_row(store, meeting, Modality.TRANSCRIPT, "turns-jsonl", f"{meeting}/turns.jsonl",
                      "own")  # fmt: skip
    world.edit("content", lambda r: r.meeting_id == meeting, sha256=row.sha256, bytes=row.bytes,
               turns=row.turns)  # fmt: skip


def exclude(world: World, kind: RuleKind, value: str, *scope: Any) -> None:
    rule = ExclusionRule("r", kind, value, RuleScope(*(scope or EVERYWHERE)), world.start, None,
                         RuleSource.COURT, world.start)  # fmt: skip
    world.append("exclusions", rule)


def with_summaries(world: World, config: Config) -> None:
    """Every meeting's transcript is an AI summary too, and both are asked for."""
    both = (Modality.TRANSCRIPT, Modality.SUMMARY_AI)
    rows = [replace(row, modality=Modality.SUMMARY_AI) for row in world.draft.tables.content]
    world.append("content", *rows)
    world.draft = replace(world.draft, scope=replace(world.draft.scope, modalities=both))
    world.edit("policies", lambda r: True, modalities=both)
    world.edit("consent", lambda r: True, modalities=both)
    config.job.modalities = [str(m) for m in both]


def per_speaker(world: World) -> None:
    defaults = replace(world.draft.defaults, mode=Mode.PER_SPEAKER, min_speakers=1)
    world.draft = replace(world.draft, defaults=defaults)


def sign(world: World, *, key: bytes | None = KEY, index: bool = True) -> Source:
    source: Source = world.source
    world.sign()
    found = excerpts(world.draft, world.now)
    copies = index_of(found, world.draft.defaults, source.store, KEY) if index else None
    write_manifest(source.manifest, world.draft, [world.key], world.issued, world.expires,
                   copies=copies)  # fmt: skip
    source.seen.unlink(missing_ok=True)
    trust_first(source, world.now)
    path = Path(world.folder / "copies.key")
    path.write_text((key or b"").hex())
    return replace(source, copies_key=path)


def turn_codes(source: Source, world: World, meeting: str = "m0") -> list[list[str]]:
    rows = gate.decide(source, Config(), world.now).rows.to_pylist()
    return [row["codes"] for row in rows if row["meeting_id"] == meeting and row["turn"] >= 0]


def test_a_passage_of_an_excluded_meeting_is_found_in_another(world: World) -> None:
    say(world, "m2", "good day", SECRET, "goodbye")
    say(world, "m0", "something else", f"as I said {SECRET.upper()}", "and something new")
    exclude(world, RuleKind.MEETING, "m2")
    source = sign(world)
    assert turn_codes(source, world) == [[], ["EXCLUDED_COPY"], []]
    (meeting,) = gate.admit(source, Config(), world.now).train
    assert [turn.index for turn in meeting.turns] == [0, 2]


def test_a_censored_turn_is_not_said_again_elsewhere(world: World) -> None:
    say(world, "m1", "good day", SECRET)
    say(world, "m0", SECRET, "and something new")
    exclude(world, RuleKind.TURN, "transcript/1", ("m1",), *EVERYWHERE[1:])
    assert turn_codes(sign(world), world) == [["EXCLUDED_COPY"], []]


def test_words_are_excluded_by_their_keyed_digest(world: World) -> None:
    said = "Nobody may hear of this, not even the board!"
    say(world, "m0", "good day", said.lower(), "nobody may hear")
    exclude(world, RuleKind.UTTERANCE, digest_utterance(words(said), KEY))
    assert turn_codes(sign(world), world) == [[], ["EXCLUDED_UTTERANCE"], []]
    with pytest.raises(Refused, match="INDEX_MISSING"):  # nothing would tell a wrong key
        gate.admit(sign(world, index=False), Config(), world.now)


def test_a_turn_with_a_key_is_not_used(world: World) -> None:
    say(world, "m0", "good day", "use AKIAIOSFODNN7EXAMPLE for that", "AKIA is short")
    assert turn_codes(sign(world), world) == [[], ["KEY_IN_TURN"], []]


def test_a_turn_is_excluded_by_its_place(world: World) -> None:
    exclude(world, RuleKind.TURN, "transcript/1", ("m0",), *EVERYWHERE[1:])
    assert turn_codes(sign(world), world) == [[], ["EXCLUDED_TURN"]]


@pytest.mark.parametrize(
    ("key", "code"),
    [(None, "INDEX_KEY_SHORT"), (b"\1" * 32, "INDEX_KEY_MISMATCH"), (b"\1", "INDEX_KEY_SHORT")],
)
def test_without_the_key_nothing_is_admitted(key: bytes | None, code: str, world: World) -> None:
    source = sign(world, key=key)
    with pytest.raises(Refused, match=code):
        gate.admit(source, Config(), world.now)
    with pytest.raises(Refused, match="INDEX_KEY_MISSING"):
        gate.admit(replace(source, copies_key=None), Config(), world.now)


def test_a_changed_index_is_refused(world: World) -> None:
    source = sign(world)
    path = source.manifest / "copies.index"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match=r"MANIFEST_HASH_MISMATCH.*copies\.index"):
        gate.admit(source, Config(), world.now)
    path.unlink()
    with pytest.raises(Refused, match="MANIFEST_FILE_MISSING"):
        gate.admit(source, Config(), world.now)


def test_sentinels_and_policy_are_not_indexed(world: World) -> None:
    say(world, "m2", SECRET)
    say(world, "m0", SECRET)
    exclude(world, RuleKind.MEETING, "m2")
    world.edit("exclusions", lambda rule: True, source=RuleSource.SENTINEL)
    assert turn_codes(sign(world), world) == [[]]


@pytest.mark.parametrize("kind", ["turn", "utterance"])
def test_an_excluded_source_reaches_what_is_made_from_it(kind: str, world: World) -> None:
    said = "nobody may hear of this, not even the board"
    say(world, "m0", said, "something else")
    scope = ((ALL,), (Modality.AUDIO,), (ALL,), (ALL,))
    value = "transcript/0" if kind == "turn" else digest_utterance(words(said), KEY)
    exclude(world, RuleKind(kind), value, *scope)
    assert turn_codes(sign(world), world) == [[f"EXCLUDED_{kind.upper()}"], []]


def test_a_summary_of_an_excluded_turn_is_excluded(world: World, config: Config) -> None:
    say(world, "m0", "one", "two")
    with_summaries(world, config)
    exclude(world, RuleKind.TURN, "transcript/1", ("m0",), *EVERYWHERE[1:])
    rows = gate.decide(sign(world), config, world.now).rows.to_pylist()
    codes = {(r["modality"], r["turn"]): r["codes"] for r in rows if r["meeting_id"] == "m0"}
    assert codes["transcript", 0] == []
    assert codes["transcript", 1] == ["EXCLUDED_TURN"]
    assert codes["summary_ai", 0] == codes["summary_ai", 1] == ["EXCLUDED_DERIVED_FROM"]


@pytest.mark.parametrize("mode", Mode)
def test_an_alias_of_an_excluded_label_is_not_read_as_somebody_else(
    mode: Mode, world: World, config: Config
) -> None:
    with_summaries(world, config)
    world.draft = replace(world.draft, defaults=replace(world.draft.defaults, mode=mode))
    world.append("aliases", Alias("s", "Bo ", ("b" * 32,)))
    world.edit("participants", lambda row: row.label == "Bo", label="Robert")
    assert gate.admit(world.sign(), config, world.now).train
    exclude(world, RuleKind.LABEL, "bo")
    rows = gate.decide(world.sign(), config, world.now).rows.to_pylist()
    codes = {(r["modality"], r["turn"]): r["codes"] for r in rows if r["meeting_id"] == "m0"}
    if mode is Mode.UNANIMOUS:
        assert codes == {("meeting", -1): ["EXCLUDED_LABEL"]}
    else:
        assert codes["transcript", 0] == []
        assert codes["transcript", 1] == ["EXCLUDED_LABEL"]
        assert "QUOTES_DROPPED" in codes["summary_ai", 0]


def test_a_new_rule_about_a_label_is_seen_while_training(world: World, config: Config) -> None:
    world.append("aliases", Alias("s", "Bo", ("b" * 32,)))
    world.edit("participants", lambda row: row.label == "Bo", label="Robert")
    per_speaker(world)
    before = gate.admit(world.sign(), config, world.now).authority.footprint
    exclude(world, RuleKind.LABEL, "bo")
    assert gate.admit(world.sign(), config, world.now).authority.footprint != before


def test_what_is_masked_is_written_down_by_class_and_place_alone(world: World) -> None:
    said = ("Bo is on 415-836-0137", "nothing here", "ask bo")
    say(world, "m0", *said)
    per_speaker(world)
    world.edit("consent", lambda e: e.event_id == "e1", state=State.REFUSED)
    source = sign(world, index=False)
    decided = gate.decide(source, Config(), world.now)
    found = [tuple(row.values()) for row in decided.masked.to_pylist()]
    assert found == [("m0", "transcript", 0, 0, 2, "name"), ("m0", "transcript", 0, 9, 21, "phone"),
                     ("m0", "transcript", 2, 4, 6, "name")]  # fmt: skip
    assert decided.summary["masked"] == {"name": 2, "phone": 1}
    assert decided.summary["detectors"][0].startswith("roster/")
    (meeting,) = gate.admit(source, Config(), world.now).train
    assert [turn.text for turn in meeting.turns] == [
        "[name] is on [phone]", "nothing here", "ask [name]",
    ]  # fmt: skip
    for row in decided.masked.to_pylist():
        text = said[row["turn"]]
        assert text[row["start"] : row["end"]].lower() in ("bo", "415-836-0137")


def test_of_turns_that_are_not_used_nothing_is_written_down(world: World) -> None:
    per_speaker(world)
    world.edit("consent", lambda e: e.event_id == "e1", state=State.REFUSED)
    say(world, "m0", "Bo said so", "ask Bo AKIAIOSFODNN7EXAMPLE")
    rows = gate.decide(sign(world, index=False), Config(), world.now).masked.to_pylist()
    assert [row["turn"] for row in rows] == [0]
