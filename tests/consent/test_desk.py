"""From keys to a trusted manifest by commands alone, and each refusal on the way."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness import cli
from harness.config import Config
from harness.consent import gate
from harness.consent.authoring import lines
from harness.consent.columns import TIME, to_arrow
from harness.consent.drafting import TERMS, Terms
from harness.consent.head import TABLES
from harness.consent.parts import LARGE
from harness.consent.present import Source
from harness.consent.records import (
    ALL,
    ExclusionRule,
    RuleKind,
    RuleScope,
    RuleSource,
    parse_lines,
    to_json,
)
from harness.digest import canonical_json
from harness.errors import Refused

World = Any


class Desk:
    """A desk in a folder: keys, trust root, draft, log, manifest, state.

    Args:
        folder: of all of these.
        world: whose rows are the draft's.
        capsys: what commands print.
        large: whether drafts are signed with their large tables as Parquet.
    """

    def __init__(
        self, folder: Path, world: World, capsys: pytest.CaptureFixture[str], large: bool = False
    ) -> None:
        self.folder, self.world, self.capsys, self.large = folder, world, capsys, large
        assert self("keygen", folder / "keys", folder / "trust.json")[0] == 0
        assert self.log()[0] == 0

    def __call__(self, *words: object) -> tuple[int, str, str]:
        if self.large and words[0] in ("sign", "lint"):
            as_parquet(self.folder / "draft", self.folder / "large")
            words = (words[0], self.folder / "large", *words[2:])
        code = cli.answer(lambda: cli.dispatch(["manifest", *map(str, words)]))
        out, err = self.capsys.readouterr()
        return code, out, err

    def log(self, *words: object) -> tuple[int, str, str]:
        folder = self.folder
        return self("log", folder / "log", "--key", folder / "keys/log.pem", "--trust",
                    folder / "trust.json", *words)  # fmt: skip

    def sign(self, *words: object) -> tuple[int, str, str]:
        folder = self.folder
        return self("sign", folder / "draft", folder / "manifest", "--key",
                    folder / "keys/manifest.pem", "--log", folder / "log", "--trust",
                    folder / "trust.json", *words)  # fmt: skip

    def trust_first(self, sha256: str) -> tuple[int, str, str]:
        folder = self.folder
        return self("trust-first", folder / "manifest", "--log", folder / "log", "--state",
                    folder / "seen.json", "--sha256", sha256, "--trust",
                    folder / "trust.json")  # fmt: skip

    def fill(self) -> None:
        """Put the world's rows into the draft; they hold for the real clock."""
        draft = self.world.draft
        ages = replace(draft.defaults, max_consent_age_days=36500)
        terms = Terms(draft.issuer, draft.scope, ages, draft.split)
        (self.folder / "draft" / TERMS).write_text(json.dumps(to_json(terms)))
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=36500)
        for name in TABLES:
            data = lines(getattr(draft.tables, name))
            rows = [json.loads(line) for line in data.splitlines()]
            for row in rows:
                row |= {"valid_until": to_json(until)} if name == "consent" else {}
                row |= {"reviewed_on": to_json(until)} if name == "jurisdictions" else {}
            edited = b"".join(canonical_json(row) + b"\n" for row in rows)
            (self.folder / "draft" / f"{name}.jsonl").write_bytes(edited)


def as_parquet(draft: Path, folder: Path) -> None:
    """A draft with its large tables as Parquet: in two files, in another order, of other types."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(draft, folder)
    for name in LARGE:
        path, (kind, _) = folder / f"{name}.jsonl", TABLES[name]
        rows = to_arrow(kind, parse_lines(kind, path.read_bytes(), name))
        path.unlink()
        types = {pa.string(): pa.large_string(), TIME: pa.timestamp("ns", "UTC")}
        columns = [field.with_type(types.get(field.type, field.type)) for field in rows.schema]
        rows = rows.take(np.arange(rows.num_rows)[::-1]).cast(pa.schema(columns))
        rows = rows.select(rows.column_names[::-1])
        pq.write_table(rows[:1], folder / f"{name}-b.parquet")
        pq.write_table(rows[1:], folder / f"{name}-a.parquet", row_group_size=2)


@pytest.fixture
def desk(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path / "desk", world, capsys)


@pytest.fixture(params=["lines", "parquet"])
def any_desk(request: pytest.FixtureRequest, world: World, tmp_path: Path,
             capsys: pytest.CaptureFixture[str]) -> Desk:  # fmt: skip
    """A desk for drafts of either form."""
    return Desk(tmp_path / "desk", world, capsys, request.param == "parquet")


def test_from_keys_to_a_trusted_manifest(any_desk: Desk) -> None:
    desk = any_desk
    folder = desk.folder
    assert desk("new", folder / "draft")[0] == 0
    code, out, _ = desk("lint", folder / "draft")
    assert (code, out.splitlines()[-1]) == (0, "0 errors, 1 warnings")
    desk.fill()
    assert desk("lint", folder / "draft")[:2] == (0, "0 errors, 0 warnings\n")
    index = ("--store", desk.world.source.store, "--copies-key", folder / "keys" / "copies.key")
    assert desk.sign(*index[2:])[0] == 2
    code, out, err = desk.sign(*index)
    assert code == 0, err
    sha256 = out.split()[-1]
    assert desk.trust_first("0" * 64)[0] == 4
    assert desk.trust_first(sha256)[0] == 0
    source = Source(desk.world.source.store, folder / "manifest", folder / "trust.json",
                    folder / "log", folder / "seen.json", index[-1])  # fmt: skip
    assert gate.admit(source, Config(), datetime.now(UTC)).train
    assert "DRAFT_FORGETS" in desk.sign()[2]  # it would drop the index
    key = (folder / "keys" / "copies.key").read_bytes()
    assert desk("keygen", folder / "keys", folder / "other.json")[0] == 0
    assert (folder / "keys" / "copies.key").read_bytes() == key
    taken = {"subject_key": "b" * 32, "controller": "https://demo.example", "operations": [],
             "purposes": [], "modalities": [], "meetings": [], "series": [],
             "event_time": "2026-05-31T00:00:00Z", "recorded_time": "2026-05-31T00:00:00Z",
             "verify_erasure": False}  # fmt: skip
    (folder / "taken.jsonl").write_text(json.dumps(taken) + "\n")
    code, out, _ = desk.log("--add", folder / "taken.jsonl")
    assert (code, json.loads(out)["entries"]) == (0, 1)
    with pytest.raises(Refused, match="NOTHING_ADMITTED"):
        gate.admit(source, Config(), datetime.now(UTC))


def test_nobody_draws_again_with_another_seed(desk: Desk) -> None:
    folder = desk.folder
    desk("new", folder / "draft")
    desk.fill()
    terms = folder / "draft" / "TERMS.json"
    told = json.loads(terms.read_bytes())

    def signed(seed: str, randomised: bool) -> str:
        split = {"seed": seed, "randomised": randomised}
        terms.write_text(json.dumps(told | {"split": split}))
        return desk.sign()[2]

    assert signed("first", True) == ""
    for seed, randomised in (("again", True), ("first", False), ("change-me", False)):
        assert "DRAFT_FORGETS: " in signed(seed, randomised)
    assert signed("first", True) == ""


def test_the_next_epoch_forgets_nothing(any_desk: Desk) -> None:
    desk = any_desk
    folder = desk.folder
    desk("new", folder / "draft")
    desk.fill()
    assert desk.sign()[0] == 0
    shutil.copytree(folder / "manifest", folder / "old")
    log = folder / "draft" / "consent.jsonl"
    rows = log.read_bytes()
    log.write_bytes(b"".join(rows.splitlines(keepends=True)[:-1]))
    code, _, err = desk.sign()
    assert (code, err.count("\n")) == (4, 1)
    assert "DRAFT_FORGETS" in err
    log.write_bytes(rows)
    assert desk.sign("--hours", "0")[0] == 2
    before = (folder / "manifest" / "MANIFEST.json").read_bytes()
    code, _, err = desk.sign("--key", folder / "keys" / "log.pem")
    assert (code, "MANIFEST_KEY_UNKNOWN" in err) == (4, True)
    assert (folder / "manifest" / "MANIFEST.json").read_bytes() == before
    code, out, _ = desk.sign("--hours", "1")
    assert (code, out.split()[1]) == (0, "2,")
    code, out, _ = desk(
        "diff", folder / "old", folder / "manifest", "--trust", folder / "trust.json"
    )
    assert (code, "terms changed: none" in out) == (0, True)


def edit(path: Path, **changes: Any) -> None:
    """Change the last row of a draft's table."""
    *rows, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*rows, canonical_json(json.loads(last) | changes), b"\n"]))


def test_what_is_excluded_is_read_once_and_what_was_refused_when_asked_for(any_desk: Desk) -> None:
    desk = any_desk
    folder, store = desk.folder, desk.world.source.store
    desk("new", folder / "draft")
    desk.fill()
    edit(folder / "draft" / "consent.jsonl", state="refused")  # Bo, of m2
    index = ("--copies-key", folder / "keys" / "copies.key", "--store", store)
    made = []
    for words in ((), ("--copies-of-refused",)):
        code, _, err = desk.sign(*index, *words)
        assert (code, err) == (0, "")
        made.append((folder / "manifest" / "copies.index").read_bytes())
    shutil.rmtree(store / "m2")
    assert desk.sign(*index, "--copies-of-refused")[0] == 0
    assert (folder / "manifest" / "copies.index").read_bytes() == made[1] != made[0]


def test_excluded_content_that_nothing_reads_is_a_warning(desk: Desk) -> None:
    folder, store = desk.folder, desk.world.source.store
    desk("new", folder / "draft")
    scope = RuleScope(("m2",), (ALL,), (ALL,), (ALL,))
    desk.world.append("exclusions", ExclusionRule("r", RuleKind.MEETING, "m2", scope,
                      desk.world.start, None, RuleSource.COURT, desk.world.start))  # fmt: skip
    desk.fill()
    edit(folder / "draft" / "content.jsonl", format="docx")
    warning = "warning: INDEX_INCOMPLETE: "
    code, out, _ = desk("lint", folder / "draft")
    assert (code, out.splitlines()[-1]) == (0, "0 errors, 1 warnings")
    assert out.startswith(warning)
    assert "content.jsonl row 3" in out
    code, _, err = desk.sign("--copies-key", folder / "keys" / "copies.key", "--store", store)
    assert (code, err.count("\n"), err.startswith(warning)) == (0, 1, True)


def test_lint_names_every_row_that_is_off(desk: Desk) -> None:
    folder = desk.folder
    desk("new", folder / "draft")
    desk.fill()
    path = folder / "draft" / "meetings.jsonl"
    first, second, third = path.read_bytes().splitlines()
    path.write_bytes(first.replace(b'"tz"', b'"zt"') + b"\n" + second + b"\n{}\n" + third)
    code, out, _ = desk("lint", folder / "draft")
    errors = [line for line in out.splitlines() if line.startswith("error")]
    assert code == 4
    assert ["meetings.jsonl row 1 key zt" in errors[1], "row 3 key meeting_id" in errors[2]] == [
        True, True
    ]  # fmt: skip
    assert "the last line has no end" in errors[0]


def test_lint_lists_twenty_of_a_code_and_counts_the_rest(desk: Desk) -> None:
    folder = desk.folder
    desk("new", folder / "draft")
    desk.fill()
    path = folder / "draft" / "consent.jsonl"
    path.write_bytes(path.read_bytes() + b"{}\n" * 25)
    _, out, _ = desk("lint", folder / "draft")
    errors = [line for line in out.splitlines() if line.startswith("error")]
    _, every, _ = desk("lint", folder / "draft", "--all")
    listed = [line for line in every.splitlines() if line.startswith("error")]
    codes = Counter(line.split(": ")[1] for line in listed)
    assert sum(codes.values()) == len(listed) >= 25
    assert out.splitlines()[-1] == every.splitlines()[-1]
    for code, count in codes.items():
        assert sum(line.startswith(f"error: {code}: ") for line in errors) == min(count, 20) + (
            count > 20
        )
        if count > 20:
            assert f"error: {code}: {count - 20} more; --all lists them" in errors


@pytest.mark.parametrize(
    "words", [[], ["sing"], ["lint"], ["sign", "a", "b"], ["lint", "a", "--loudly"]]
)
def test_what_the_command_does_not_know_is_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.answer(lambda: cli.dispatch(["manifest", *words])) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_missed_epochs_are_presented_in_order(any_desk: Desk) -> None:
    desk = any_desk
    folder = desk.folder
    desk("new", folder / "draft")
    desk.fill()
    digests = []
    for epoch in range(1, 4):
        digests.append(desk.sign()[1].split()[-1])
        shutil.copytree(folder / "manifest", folder / f"epoch-{epoch}")
    source = ("--log", folder / "log", "--state", folder / "seen.json", "--trust",
              folder / "trust.json")  # fmt: skip
    assert desk("trust-first", folder / "epoch-1", "--sha256", digests[0], *source)[0] == 0
    code, _, err = desk("present", folder / "epoch-3", *source)
    assert (code, "MANIFEST_CHAIN_BROKEN" in err) == (4, True)
    code, out, _ = desk("present", folder / "epoch-2", folder / "epoch-3", *source)
    assert (code, out) == (0, "taken: epochs 2, 3\n")
    assert "MANIFEST_EPOCH_ROLLBACK" in desk("present", folder / "epoch-2", *source)[2]
