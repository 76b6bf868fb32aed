"""Each mutation of a world alone, what is read off a decision, and what must not matter to it."""

import itertools
from dataclasses import replace

import pytest

from consent.test_oracle import KINDS_OF_RECORDING, decisions, expected, rule
from consent.worlds import World, a_rule, digest, edges, last_words, many_rules, moment, singles
from harness.consent import agreement
from harness.consent.modality import origins
from harness.consent.records import Arm


def test_the_engine_decides_each_mutation_alone_as_the_page_says() -> None:
    for world in singles(2, KINDS_OF_RECORDING):
        assert decisions(world) == expected(world), world


def test_what_is_admitted_and_who_is_dropped() -> None:
    for world in singles(1, KINDS_OF_RECORDING):
        wanted = expected(world)
        tables, rulings = rule(world)
        ids = [row.meeting_id for row in tables.meetings]
        assert [*rulings.admitted] == [not wanted[name].codes for name in ids]
        lists = [tuple(codes) for codes in rulings.code_lists().to_pylist()]
        assert lists == [rulings.codes(number) for number in range(len(ids))]
        for number, name in enumerate(ids):
            for modality in rulings.verdicts:
                people = wanted[name].people.get(str(modality), {})
                dropped = {label for label, codes in people.items() if codes}
                if people:
                    assert rulings.dropped_labels(number, modality) == dropped
                stated = {r.modality: {*r.derived_from} for r in tables.content
                          if r.meeting_id == name}  # fmt: skip
                wanted_origins = {modality, *origins(modality, stated)}
                assert rulings.with_origins(number, modality) == wanted_origins
        for arm in Arm:
            assert {ids[n] for n in rulings.of_arm(arm)} == only_its_arm_denies(world, arm)


def only_its_arm_denies(world: World, arm: Arm) -> set[str]:
    """Meetings of an arm that nothing else denies, by the oracle."""
    arms = {row["meeting_id"]: row["arm"] for row in world.tables["split"]}
    codes = {name: found.codes for name, found in expected(world).items() if arms.get(name) == arm}
    return {name for name, found in codes.items() if found <= {f"{arm.upper()}_ARM"}}


@pytest.mark.parametrize("size", [1, 2, 5])
def test_decisions_do_not_depend_on_how_many_pairs_are_judged_at_once(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "PAIRS_AT_ONCE", size)
    for world in itertools.islice(singles(1, KINDS_OF_RECORDING), 0, None, 4):
        assert decisions(world) == expected(world)


def test_last_words_are_decided_as_the_page_says() -> None:
    for world in singles(1, KINDS_OF_RECORDING):
        for changed in last_words(world):
            assert decisions(changed) == expected(changed), changed


def test_a_rule_about_a_file_that_is_several_kinds_of_content() -> None:
    for world in singles(1, KINDS_OF_RECORDING):
        ids = sorted({row["meeting_id"] for row in world.tables["content"]})
        content = [row | {"sha256": digest(row["meeting_id"])} for row in world.tables["content"]]
        rules = [a_rule("file", digest(name), moment(world.now)) | {"rule_id": f"x-{name}"}
                 for name in ids[::2]]  # fmt: skip
        changed = replace(world, tables=world.tables | {"content": content, "exclusions": rules})
        assert decisions(changed) == expected(changed), changed


def test_edges_are_decided_as_the_page_says() -> None:
    for number, world in enumerate(singles(1, KINDS_OF_RECORDING)):
        for changed in edges(world, number):
            assert decisions(changed) == expected(changed), changed


def test_many_rules_are_each_matched_with_their_own_meetings() -> None:
    for number, world in enumerate(singles(2, KINDS_OF_RECORDING)):
        changed = many_rules(world, number)
        assert decisions(changed) == expected(changed), changed
