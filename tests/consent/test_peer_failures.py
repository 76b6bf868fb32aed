"""Where others let something pass, the gate denies or refuses: one test for each peer's failure.

Each is named after the peer and what failed there. Where the peer is installed, its own answer is
asked for beside ours.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harness.config import Config
from harness.consent import gate
from harness.consent.authoring import content_row, write_manifest
from harness.consent.capability import Admitted
from harness.consent.copies import digest_utterance, words
from harness.consent.head import HEAD, SIGNATURE, Mode
from harness.consent.manifest import statement
from harness.consent.material import excerpts, index_of
from harness.consent.present import Source, trust_first, verify_present
from harness.consent.records import (
    ALL,
    AgeBand,
    ConsentType,
    Delegation,
    ExclusionRule,
    Method,
    Operation,
    Role,
    RuleKind,
    RuleScope,
    RuleSource,
    State,
)
from harness.consent.signing import sign
from harness.consent.withdrawals import Withdrawal
from harness.digest import canonical_json, sha256_hex
from harness.errors import Refused
from harness.meetings.model import Modality

World = Any
HOUR = timedelta(hours=1)
KEY = bytes(range(32))
GONE = object()
PRODUCT = "dpv:ImproveExistingProductsAndServices"
SECRET = ("the merger with the northern plant will be announced on the ninth of may and nobody "
          "outside this room may hear of it before then")  # fmt: skip


def of_bo(row: Any) -> bool:
    """What is Bo's, or about Bo in m0."""
    subject: str | None = row.subject_key
    return subject == "b" * 32 and getattr(row, "meeting_id", "m0") == "m0"


def is_m0(row: Any) -> bool:
    return bool(row.meeting_id == "m0")


def exclude(world: World, kind: RuleKind, value: str, **scope: Any) -> None:
    """A court's rule, everywhere but where it is said otherwise."""
    everywhere = {field.name: (ALL,) for field in fields(RuleScope)}
    rule = ExclusionRule("r", kind, value, RuleScope(**(everywhere | scope)), world.start, None,
                         RuleSource.COURT, world.start)  # fmt: skip
    world.append("exclusions", rule)


def withdrawal(world: World, **changes: Any) -> Withdrawal:
    """Bo takes everything back, now."""
    taken = Withdrawal("b" * 32, world.draft.issuer, (), (), (), (), (), world.now, world.now,
                       False)  # fmt: skip
    return replace(taken, **changes)


def decided(source: Source, world: World, config: Config | None = None) -> set[str]:
    """Codes of m0, which has to be kept from training by whatever codes it has."""
    config = config or Config()
    rows = gate.decide(source, config, world.now).rows.to_pylist()
    codes = {code for row in rows if is_meeting(row) for code in row["codes"]}
    if codes:
        refuses(source, world, "NOTHING_ADMITTED", config)
    return codes


def is_meeting(row: dict[str, Any]) -> bool:
    return bool(row["meeting_id"] == "m0" and row["turn"] < 0)


def refuses(source: Source, world: World, code: str, config: Config | None = None) -> str:
    """The gate hands out nothing, by a code."""
    with pytest.raises(Refused, match=f"^{code}: ") as caught:
        gate.admit(source, config or Config(), world.now)
    assert caught.value.exit_code == 4
    return str(caught.value)


def sign_row(world: World, table: str, n: int = 0, **changes: Any) -> Source:
    """Sign a manifest with a row of JSON as no record could hold it; ``GONE`` takes a field out."""
    source: Source = world.sign()
    path = source.manifest / f"{table}.jsonl"
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    rows[n] = {k: v for k, v in (rows[n] | changes).items() if v is not GONE}
    path.write_bytes(b"".join(canonical_json(row) + b"\n" for row in rows))
    head = json.loads((source.manifest / HEAD).read_bytes())
    for entry in head["files"]:
        data = (source.manifest / entry["path"]).read_bytes()
        entry |= {"sha256": sha256_hex(data), "bytes": len(data)}
    (source.manifest / HEAD).write_bytes(canonical_json(head))
    envelope = sign(statement(canonical_json(head)), [world.key])
    (source.manifest / SIGNATURE).write_bytes(envelope)
    return source


def say(world: World, meeting: str, *texts: str) -> None:
    """Put other turns of Ada into a meeting."""
    store, path = world.source.store, f"{meeting}/turns.jsonl"
    rows = [{"speaker": "Ada", "text": text} for text in texts]
    (store / path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    row = content_row(store, meeting, Modality.TRANSCRIPT, "turns-jsonl", path, "own")
    world.edit("content", lambda r: r.meeting_id == meeting, sha256=row.sha256, bytes=row.bytes,
               turns=row.turns)  # fmt: skip


def sign_with_index(world: World) -> Source:
    """Sign with the index of what is excluded, its key beside it."""
    source: Source = world.sign()
    found = excerpts(world.draft, world.now)
    copies = index_of(found, world.draft.defaults, source.store, KEY)
    write_manifest(source.manifest, world.draft, [world.key], world.issued, world.expires,
                   copies=copies)  # fmt: skip
    source.seen.unlink(missing_ok=True)
    trust_first(source, world.now)
    path = Path(world.folder / "copies.key")
    path.write_text(KEY.hex())
    return replace(source, copies_key=path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files that are opened from now on."""
    found: list[str] = []
    real = os.open

    def spy(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        found.append(str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", spy)
    return found


def test_where_nothing_is_wrong_the_gate_admits(world: World) -> None:
    """Else a gate that denies everything would pass every test here."""
    assert decided(world.sign(), world) == set()
    assert [meeting.id for meeting in gate.admit(world.source, Config(), world.now).train] == ["m0"]
    exclude(world, RuleKind.MEETING, "m1")
    assert decided(sign_row(world, "exclusions"), world) == set()


# datadiligence


@pytest.mark.parametrize(
    ("lost", "code"),
    [
        ("trust", "TRUST_MISSING"),
        ("manifest", "MANIFEST_MISSING"),
        ("withdrawals", "WITHDRAWALS_MISSING"),
        ("seen", "STATE_MISSING"),
        ("copies_key", "INDEX_KEY_MISSING"),
    ],
)
def test_datadiligence_passes_everything_where_its_key_is_not_set(
    lost: str, code: str, world: World
) -> None:
    """``filter_allowed`` without ``SPAWNING_OPTS_KEY`` skips the rule and returns every URL."""
    exclude(world, RuleKind.MEETING, "m2")
    source = sign_with_index(world)
    path: Path = getattr(source, lost)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    refuses(source, world, code)


@pytest.mark.parametrize("key", ["Excluded", "EXCLUDED", "tdm-reservation", "noai"])
def test_datadiligence_overlooks_a_header_in_lower_case(key: str, world: World) -> None:
    """An opt-out under a key that is spelt in another way must not be looked past."""
    refuses(sign_row(world, "meetings", **{key: True}), world, "UNKNOWN_FIELD")


@pytest.mark.parametrize("word", ["NOAI", "noai; noimageai", "Withdrawn", "REFUSED", "refused "])
def test_datadiligence_overlooks_a_directive_in_upper_case(word: str, world: World) -> None:
    refuses(sign_row(world, "consent", state=word), world, "SCHEMA_INVALID")


@pytest.mark.parametrize("domain", ["acme.example", "ACME.EXAMPLE", "Acme.Example"])
def test_datadiligence_compares_names_letter_by_letter(domain: str, world: World) -> None:
    """Names that are the same in whatever case are compared so."""
    world.edit("participants", of_bo, domain=domain)
    exclude(world, RuleKind.DOMAIN, "aCME.eXAMPLE")
    assert decided(world.sign(), world) == {"EXCLUDED_DOMAIN"}


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("participants", {"shared_device": "true"}),
        ("participants", {"shared_device": 1}),
        ("participants", {"jurisdictions": {"XA": True}}),
        ("consent", {"modalities": {"transcript": "1"}}),
        ("consent", {"purposes": "dpv:ResearchAndDevelopment"}),
        ("consent", {"scope": [["meetings", ["m0"]]]}),
        ("consent", {"retroactive": "1"}),
    ],
)
def test_datadiligence_allows_what_comes_in_a_plain_dict(
    table: str, changes: dict[str, Any], world: World
) -> None:
    """``TDMRepHeader`` looks at headers of one type alone; another type is no permission here."""
    refuses(sign_row(world, table, **changes), world, "SCHEMA_INVALID")


# Fides


def test_fides_takes_no_declared_purpose_for_a_gap_and_no_violation(world: World) -> None:
    world.edit("consent", of_bo, purposes=())
    assert decided(world.sign(), world) == {"PURPOSE_NOT_COVERED"}


@pytest.mark.parametrize(
    ("table", "code"), [("policies", "POLICY_NOT_COVERING"), ("licences", "LICENCE_FORBIDS")]
)
def test_fides_takes_a_source_without_purposes_for_one_of_any(
    table: str, code: str, world: World
) -> None:
    world.edit(table, lambda row: True, purposes=())
    assert decided(world.sign(), world) == {code}


@pytest.mark.parametrize("purpose", ["", "*", "dpv:ResearchAndDevelopment/", PRODUCT])
def test_fides_asks_nothing_of_a_job_that_declares_no_purpose(purpose: str, world: World) -> None:
    config = Config()
    config = replace(config, job=replace(config.job, purpose=purpose))
    refuses(world.sign(), world, "JOB_PURPOSE_OUT_OF_SCOPE", config)


def test_fides_stacks_purposes_so_that_one_field_opens_the_collection(world: World) -> None:
    """Training for the product and evaluation for research are not training for research."""
    (bo,) = [row for row in world.draft.tables.consent if of_bo(row) and "m0" in row.scope.meetings]
    scope = replace(world.draft.scope, purposes=(*world.draft.scope.purposes, PRODUCT))
    world.draft = replace(world.draft, scope=scope)
    world.edit("consent", lambda row: row is bo, purposes=(PRODUCT,))
    seq = len(world.draft.tables.consent)
    world.append("consent", replace(bo, seq=seq, event_id=f"e{seq}",
                                    operations=(Operation.EVALUATION,)))  # fmt: skip
    codes = decided(world.sign(), world)
    assert codes == {"PURPOSE_NOT_COVERED", "OPERATION_NOT_COVERED"}


def test_fides_lets_the_most_permissive_field_speak_for_the_others(world: World) -> None:
    """What one person agreed to for one kind of content says nothing of others."""
    world.edit("consent", of_bo, modalities=(Modality.CHAT_PUBLIC, Modality.POLL))
    assert decided(world.sign(), world) == {"MODALITY_NOT_COVERED"}


@pytest.mark.parametrize("last", ["permissive", "restrictive"])
def test_fides_takes_what_was_loaded_last_for_an_identity(last: str, world: World) -> None:
    (ada, bo, *rest) = world.draft.tables.participants
    strict = replace(bo, age_band=AgeBand.MINOR)
    both = (strict, bo) if last == "permissive" else (bo, strict)
    world.table("participants", (ada, *both, *rest))
    refuses(world.sign(), world, "DUPLICATE_ID")


@pytest.mark.parametrize("order", [1, -1])
def test_fides_decides_by_the_order_of_loading(order: int, world: World) -> None:
    """The later event counts, wherever it stands in the file."""
    events = list(world.draft.tables.consent)
    (bo,) = [event for event in events if of_bo(event) and "m0" in event.scope.meetings]
    later = bo.event_time + HOUR
    events.append(replace(bo, event_id="no", state=State.REFUSED, event_time=later,
                          recorded_time=later))  # fmt: skip
    world.table("consent", [replace(e, seq=n) for n, e in enumerate(events[::order])])
    assert decided(world.sign(), world) == {"CONSENT_REFUSED"}


# Cedar


def test_cedar_takes_an_error_in_a_forbid_for_a_diagnostic() -> None:
    cedarpy = pytest.importorskip("cedarpy")
    policy = """permit(principal, action, resource);
                forbid(principal, action, resource) when { context.%s };"""
    request = {"principal": 'User::"trainer"', "action": 'Action::"train"',
               "resource": 'Meeting::"m0"', "context": {"excluded": True}}  # fmt: skip
    right = cedarpy.is_authorized(request, policy % "excluded", [])
    wrong = cedarpy.is_authorized(request, policy % "exclded", [])
    assert not right.allowed
    assert wrong.allowed  # the failure of the peer
    assert wrong.diagnostics.errors


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"vaule": "m0"}, "UNKNOWN_FIELD"),
        ({"value": GONE}, "SCHEMA_INVALID"),
        ({"value": ""}, "SCHEMA_INVALID"),
        ({"kind": "meting"}, "SCHEMA_INVALID"),
        ({"kind": "subject"}, "SCHEMA_INVALID"),
        ({"effective_from": "yesterday"}, "SCHEMA_INVALID"),
        ({"scope": {"meetings": ["M0"], "modalities": ["*"], "operations": ["*"],
                    "purposes": ["*"]}}, "UNKNOWN_REFERENCE"),
        ({"scope": {"meetings": ["*"], "modalities": ["*"], "operations": ["*"],
                    "purposes": ["dpv:Reserch"]}}, "UNKNOWN_REFERENCE"),
        ({"scope": {"meetings": ["*"], "modalities": ["*"], "operations": ["*"]}},
         "SCHEMA_INVALID"),
    ],
)  # fmt: skip
def test_an_error_in_a_rule_is_no_diagnostic_as_with_cedar(
    changes: dict[str, Any], code: str, world: World
) -> None:
    exclude(world, RuleKind.MEETING, "m1")  # of another meeting; m0 would be admitted
    refuses(sign_row(world, "exclusions", **changes), world, code)


def test_an_error_in_a_rule_about_nobody_here_refuses_as_well(world: World) -> None:
    """A rule is read whether or not it would have been asked."""
    exclude(world, RuleKind.SUBJECT, "f" * 32)
    source = sign_row(world, "exclusions", effective_until="2020-02-30T00:00:00Z")
    refuses(source, world, "SCHEMA_INVALID")


# OPA


def test_opa_takes_a_missing_key_for_not_excluded() -> None:
    regopy = pytest.importorskip("regopy")
    module = "package gate\nimport rego.v1\ndefault allow := false\nallow if not input.excluded\n"

    def allows(document: dict[str, Any]) -> bool:
        engine = regopy.Interpreter()
        engine.add_module("gate", module)
        engine.set_input(document)
        return "true" in str(engine.query("data.gate.allow"))

    assert not allows({"excluded": True})
    assert allows({})  # the failures of the peer
    assert allows({"exclude": True})


NEEDED = [("meetings", "special_category"), ("participants", "shared_device"),
          ("participants", "age_band"), ("participants", "jurisdictions"),
          ("content", "licence_id"), ("content", "derived_from"), ("consent", "state"),
          ("consent", "purposes"), ("consent", "valid_until"), ("consent", "modalities"),
          ("exclusions", "kind"), ("exclusions", "scope"), ("jurisdictions", "min_age"),
          ("policies", "disclosed_at"), ("split", "arm"), ("exclusions", "effective_until"),
          ("participants", "subject_key"), ("consent", "evidence_sha256")]  # fmt: skip


@pytest.mark.parametrize(("table", "key"), NEEDED)
def test_a_missing_key_is_no_answer_as_with_opa(table: str, key: str, world: World) -> None:
    exclude(world, RuleKind.MEETING, "m1")
    refuses(sign_row(world, table, **{key: GONE}), world, "SCHEMA_INVALID")


@pytest.mark.parametrize("table", ["exclusions", "consent", "participants", "jurisdictions"])
def test_a_missing_table_is_no_answer_as_with_opa(table: str, world: World) -> None:
    (world.sign().manifest / f"{table}.jsonl").unlink()
    refuses(world.source, world, "MANIFEST_FILE_MISSING")


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ("participants", "MEETING_ROSTER_EMPTY"),
        ("consent", "NO_CONSENT_RECORD"),
        ("licences", "LICENCE_MISSING"),
        ("content", "MEETING_NO_CONTENT"),
        ("split", "SPLIT_UNASSIGNED"),
        ("policies", "POLICY_UNKNOWN"),
    ],
)
def test_a_table_without_rows_is_no_answer_as_with_opa(table: str, code: str, world: World) -> None:
    world.table(table, [])
    assert code in decided(world.sign(), world)


def test_places_without_rules_are_no_answer_as_with_opa(world: World) -> None:
    world.table("jurisdictions", [])
    assert decided(world.sign(), world) == {"JURISDICTION_NO_RULE", "PLACE_NO_RULE"}


# Ranger, Unity Catalog


@pytest.mark.parametrize("name", ["row_filter.json", "exclusions-2.jsonl", "policies.yaml"])
def test_ranger_ignores_a_policy_that_it_does_not_know(name: str, world: World) -> None:
    """A policy that nobody reads would protect nobody, so that it may not lie there."""
    (world.sign().manifest / name).write_text('{"exclude":"m0"}\n')
    refuses(world.source, world, "MANIFEST_FILE_EXTRA")


def test_ranger_ignores_a_policy_of_a_kind_that_it_does_not_know(world: World) -> None:
    exclude(world, RuleKind.MEETING, "m1")
    refuses(sign_row(world, "exclusions", kind="row_filter"), world, "SCHEMA_INVALID")


@pytest.mark.parametrize("role", Role)
def test_unity_lets_administrators_pass(role: Role, world: World) -> None:
    """Whoever holds a meeting, and whoever runs the gate, passes no more than others."""
    (bo,) = [row for row in world.draft.tables.consent if of_bo(row) and "m0" in row.scope.meetings]
    world.edit("participants", lambda row: is_m0(row) and row.label == "Ada", role=Role.HOST)
    world.edit("participants", of_bo, role=role)
    world.edit("consent", lambda row: row is bo, actor_key="a" * 32, delegation=Delegation.HOST)
    assert decided(world.sign(), world) == {"HOST_CONSENT_NOT_PARTICIPANT"}


def test_unity_lets_administrators_change_the_rows_behind_the_filter(world: World) -> None:
    world.edit("consent", of_bo, state=State.REFUSED)
    path = world.sign().manifest / "consent.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"refused"', b'"given"'))
    refuses(world.source, world, "MANIFEST_HASH_MISMATCH")


def test_after_an_export_nothing_of_a_filter_remains_as_with_ranger(
    world: World, tmp_path: Path
) -> None:
    """Decisions that were exported permit nothing, and hold nothing that could be trained on."""
    source = world.sign()
    path = tmp_path / "decisions.parquet"
    pq.write_table(gate.decide(source, Config(), world.now).rows, path)
    exported = pq.read_table(path)
    assert exported.column_names == ["meeting_id", "turn", "modality", "decision", "codes"]
    assert b"good day" not in path.read_bytes()
    authority = gate.admit(source, Config(), world.now).authority
    world.withdraw(withdrawal(world))
    with pytest.raises(gate.Withdrawn, match=r"^WITHDRAWN_MEANWHILE: "):
        gate.check_withdrawals(source, Config(), authority, world.now)
    refuses(source, world, "NOTHING_ADMITTED")


# Great Expectations, pandera


def test_great_expectations_returns_a_result_that_nobody_has_to_look_at(world: World) -> None:
    """A result may be looked past; what trains takes a permission, and there is none to take."""
    world.edit("consent", lambda row: True, state=State.REFUSED)
    result = gate.decide(world.sign(), Config(), world.now)
    assert not result.clean
    assert not any(hasattr(result, name) for name in ("train", "turns", "meetings"))
    refuses(world.source, world, "NOTHING_ADMITTED")
    with pytest.raises(TypeError, match="only harness"):
        Admitted(result, (), (), {}, result)  # type: ignore[arg-type]


@pytest.mark.parametrize("require_all", [True, False])
def test_great_expectations_has_raising_turned_off(require_all: bool, world: World) -> None:
    """The one setting there is can ask for more, never for less."""
    config = Config()
    config = replace(config, gate=replace(config.gate, require_all=require_all))
    world.edit("consent", of_bo, state=State.REFUSED)
    refuses(world.sign(), world, "NOTHING_ADMITTED", config)
    who = {"processes", "previous", "shards", "shard", "decided_at", "key"}  # decides, not what
    assert {field.name for field in fields(config.gate)} - who == {"require_all"}


def test_pandera_drops_the_rows_that_are_invalid_and_goes_on(world: World) -> None:
    """One row that cannot be read refuses all, as it may be the one that forbids."""
    refuses(sign_row(world, "consent", n=-1, state="maybe"), world, "SCHEMA_INVALID")


def test_a_lazy_validation_collects_faults_and_none_is_lost_here(world: World) -> None:
    world.edit("consent", of_bo, state=State.GIVEN, method=Method.TERMS,
               consent_type=ConsentType.IMPLIED, valid_until=world.now)  # fmt: skip
    codes = decided(world.sign(), world)
    assert codes == {"CONSENT_BUNDLED", "NOT_EXPLICIT", "CONSENT_EXPIRED"}


# datacontract


@pytest.mark.parametrize(
    ("table", "changes", "code"),
    [
        ("licences", {"purposes": "research only, ask before training"}, "SCHEMA_INVALID"),
        ("licences", {"operations": ["may be used for training"]}, "SCHEMA_INVALID"),
        ("licences", {"limitations": "not for training"}, "UNKNOWN_FIELD"),
        ("licences", {"usage": "internal"}, "UNKNOWN_FIELD"),
        ("policies", {"terms": "we do not train on this"}, "UNKNOWN_FIELD"),
        ("consent", {"state": "given, but not the part about my family"}, "SCHEMA_INVALID"),
        ("consent", {"note": "only if anonymised"}, "UNKNOWN_FIELD"),
    ],
)
def test_datacontract_writes_terms_in_prose_that_nothing_reads(
    table: str, changes: dict[str, Any], code: str, world: World
) -> None:
    assert "family" not in refuses(sign_row(world, table, **changes), world, code)


# NeMo Curator, The Stack


def test_nemo_never_looks_whether_what_is_excluded_came_back(world: World) -> None:
    say(world, "m2", "good day", SECRET)
    say(world, "m0", "something else", f"as I said, {SECRET.upper()}!")
    exclude(world, RuleKind.MEETING, "m2")
    source = sign_with_index(world)
    rows = gate.decide(source, Config(), world.now).rows.to_pylist()
    turns = [row["codes"] for row in rows if row["meeting_id"] == "m0" and row["turn"] >= 0]
    assert turns == [[], ["EXCLUDED_COPY"]]
    (meeting,) = gate.admit(source, Config(), world.now).train
    assert [turn.text for turn in meeting.turns] == ["something else"]


def test_nemo_looks_for_names_of_files_and_not_for_what_is_in_them(world: World) -> None:
    """m0 has the bytes of an excluded file under another name."""
    (row,) = [row for row in world.draft.tables.content if row.meeting_id == "m2"]
    exclude(world, RuleKind.FILE, row.sha256)
    assert decided(world.sign(), world) == {"EXCLUDED_FILE"}


def test_nemo_drops_by_quality_and_the_rest_is_taken(world: World) -> None:
    """In mode per_speaker too, enough people who agree have to be left of a meeting."""
    world.draft = replace(world.draft, defaults=replace(
        world.draft.defaults, mode=Mode.PER_SPEAKER, min_speakers=2))  # fmt: skip
    world.edit("consent", of_bo, state=State.REFUSED)
    assert decided(world.sign(), world) == {"TOO_FEW_CONSENTING"}


def test_the_stack_opts_people_out_of_the_next_version_only(world: World) -> None:
    """A withdrawal counts under the very manifest that was signed before it, also in training."""
    source = world.sign()
    before = (source.manifest / HEAD).read_bytes()
    authority = gate.admit(source, Config(), world.now).authority
    world.withdraw(withdrawal(world))
    assert (source.manifest / HEAD).read_bytes() == before
    assert decided(source, world) == {"CONSENT_WITHDRAWN"}
    with pytest.raises(gate.Withdrawn, match=r"^WITHDRAWN_MEANWHILE: "):
        gate.check_withdrawals(source, Config(), authority, world.now)


def test_the_stack_takes_ten_months_to_hear_of_an_opt_out(world: World) -> None:
    """A log that is too old to say who has withdrawn refuses."""
    source = world.sign()
    age = world.draft.defaults.max_withdrawals_age_s
    world.now += timedelta(seconds=age + 1)
    world.expires = world.now + HOUR
    write_manifest(source.manifest, world.draft, [world.key], world.issued, world.expires)
    refuses(source, world, "WITHDRAWALS_STALE")


def test_the_stack_takes_silence_for_consent(world: World) -> None:
    rest = [row for row in world.draft.tables.consent if not of_bo(row)]
    world.table("consent", [replace(row, seq=seq) for seq, row in enumerate(rest)])
    assert decided(world.sign(), world) == {"NO_CONSENT_RECORD"}


# consentml


def test_consentml_reports_after_the_training(world: World, opened: list[str]) -> None:
    """What is denied is not even opened, and nothing is handed out that could be trained on."""
    source = world.sign()
    world.withdraw(withdrawal(world))
    opened.clear()
    assert decided(source, world) == {"CONSENT_WITHDRAWN"}
    assert opened
    assert "turns.jsonl" not in opened
    assert str(source.store) not in opened


def test_consentml_refuses_a_row_without_a_subject_and_so_do_we(world: World) -> None:
    world.edit("participants", of_bo, subject_key=None)
    assert decided(world.sign(), world) == {"SUBJECT_UNRESOLVED"}


def test_consentml_has_one_subject_a_row_and_a_meeting_has_several(world: World) -> None:
    """One who refuses is enough, though nobody else does and though the other one said more."""
    say(world, "m0", "one", "two", "three")  # all of them Ada's
    world.edit("consent", of_bo, state=State.REFUSED)
    assert decided(world.sign(), world) == {"CONSENT_REFUSED"}


def test_consentml_cannot_tell_a_chain_that_was_rewritten_from_its_start(world: World) -> None:
    source = world.sign()
    world.withdraw(withdrawal(world, meetings=("m1",)))
    verify_present(source, world.now)
    shutil.rmtree(source.withdrawals)
    world.withdraw(withdrawal(world, subject_key="c" * 32))  # whole, and signed by the right key
    refuses(source, world, "WITHDRAWALS_ROLLED_BACK")


# effaced


@pytest.mark.parametrize("state", [s for s in State if s not in (State.GIVEN, State.RENEWED)])
@pytest.mark.parametrize("first", [True, False])
def test_effaced_resolves_ties_to_the_withdrawal_and_so_do_we(
    state: State, first: bool, world: World
) -> None:
    """Wherever it stands in the file, and whatever kind of no it is."""
    events = list(world.draft.tables.consent)
    (bo,) = [event for event in events if of_bo(event) and "m0" in event.scope.meetings]
    events.insert(0 if first else len(events), replace(bo, event_id="tie", state=state))
    world.table("consent", [replace(event, seq=n) for n, event in enumerate(events)])
    codes = decided(world.sign(), world)
    own = "CONSENT_REQUESTED_ONLY" if state is State.REQUESTED else f"CONSENT_{state.upper()}"
    assert codes == {own, "TIE_RESTRICTIVE"}


@pytest.mark.parametrize(("earlier", "tied"), [(timedelta(0), True), (HOUR, False)])
def test_effaced_has_one_ledger_and_we_have_two(
    earlier: timedelta, tied: bool, world: World
) -> None:
    """A withdrawal of the log ties with consent in the manifest; a later consent overrides it."""
    source = world.sign()
    (bo,) = [row for row in world.draft.tables.consent if of_bo(row) and "m0" in row.scope.meetings]
    world.withdraw(withdrawal(world, event_time=bo.event_time - earlier))
    expected = {"CONSENT_WITHDRAWN", "TIE_RESTRICTIVE"} if tied else set()
    assert decided(source, world) == expected


# irw#2245


def test_irw_withdrew_a_row_and_its_duplicate_survived_in_another_table(world: World) -> None:
    """A withdrawal reaches every meeting and every kind of content, whatever table names it."""
    source = world.sign()
    (row,) = [row for row in world.draft.tables.content if is_m0(row)]
    world.append("content", replace(row, modality=Modality.CAPTION))  # the same file once more
    both = (Modality.TRANSCRIPT, Modality.CAPTION)
    world.draft = replace(world.draft, scope=replace(world.draft.scope, modalities=both))
    world.edit("policies", lambda row: True, modalities=both)
    world.edit("consent", lambda row: True, modalities=both)
    config = Config()
    config = replace(config, job=replace(config.job, modalities=[str(m) for m in both]))
    assert decided(world.sign(), world, config) == set()
    world.withdraw(withdrawal(world))
    rows = gate.decide(source, config, world.now).rows.to_pylist()
    assert {row["meeting_id"] for row in rows} == {"m0", "m1", "m2"}
    assert all("CONSENT_WITHDRAWN" in row["codes"] for row in rows)
    refuses(source, world, "NOTHING_ADMITTED", config)


@pytest.mark.parametrize("made_from", ["transcript", "audio"])
def test_irw_withdrew_the_source_and_what_was_made_from_it_survived(
    made_from: str, world: World
) -> None:
    source = world.sign()
    world.withdraw(withdrawal(world, modalities=(Modality(made_from),)))
    assert decided(source, world) == {"CONSENT_WITHDRAWN"}


def test_irw_kept_children_in_a_table_without_their_ages(world: World) -> None:
    """m0 is a copy of a meeting with a minor, whose roster forgot the minor."""
    world.edit("participants", lambda row: row.label == "Bo", age_band=AgeBand.MINOR)
    world.table("participants", [r for r in world.draft.tables.participants
                                 if not (is_m0(r) and r.label == "Bo")])  # fmt: skip
    assert decided(world.sign(), world) == {"SUBJECT_UNRESOLVED"}


def test_irw_kept_what_was_excluded_by_its_words(world: World) -> None:
    said = "nobody may hear of this, not even the board"
    say(world, "m0", said.upper(), "something else")
    exclude(world, RuleKind.UTTERANCE, digest_utterance(words(said), KEY))
    (meeting,) = gate.admit(sign_with_index(world), Config(), world.now).train
    assert [turn.text for turn in meeting.turns] == ["something else"]


# The others


def test_pysyft_has_the_owner_approve_for_everybody(world: World) -> None:
    """An employer's approval is no consent of the people in the meeting."""
    world.edit("consent", of_bo, actor_key="a" * 32, delegation=Delegation.EMPLOYER)
    assert decided(world.sign(), world) == {"HOST_CONSENT_NOT_PARTICIPANT"}


def test_data_provenance_looks_at_licences_and_not_at_people(world: World) -> None:
    """The licence allows everything, and nobody was asked."""
    world.edit("licences", lambda row: True, operations=tuple(Operation))
    world.table("consent", [])
    assert decided(world.sign(), world) == {"NO_CONSENT_RECORD"}


@pytest.mark.parametrize(
    ("state", "code"),
    [(State.UNKNOWN, "CONSENT_UNKNOWN"), (State.REQUESTED, "CONSENT_REQUESTED_ONLY")],
)
def test_frankly_has_a_stub_that_answers_approved(state: State, code: str, world: World) -> None:
    world.edit("consent", of_bo, state=state)
    assert decided(world.sign(), world) == {code}


def test_soup_has_a_signature_that_is_a_stub(world: World) -> None:
    source = world.sign()
    data = (source.manifest / HEAD).read_bytes()
    for stub in (sign(statement(data), []), b"{}", b"unsigned", b""):
        (source.manifest / SIGNATURE).write_bytes(stub)
        with pytest.raises(Refused) as caught:
            gate.admit(source, Config(), world.now)
        assert caught.value.code in ("MANIFEST_SIG_THRESHOLD", "SCHEMA_INVALID", "JSON_INVALID")


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ((Operation.RECORDING,), "PURPOSE_RECORDING_ONLY"),
        ((Operation.RECORDING, Operation.TRANSCRIPTION), "PURPOSE_RECORDING_ONLY"),
        ((Operation.INFERENCE, Operation.ANNOTATION), "OPERATION_NOT_COVERED"),
    ],
)
def test_zoom_exports_consent_to_recording_that_importers_take_for_more(
    operations: tuple[Operation, ...], code: str, world: World
) -> None:
    world.edit("consent", of_bo, operations=operations)
    assert decided(world.sign(), world) == {code}


Work = Callable[[Source, Config, Any], object]


@pytest.mark.parametrize("work", [gate.admit, gate.decide, gate.evaluable, gate.leak_test,
                                  gate.kept_out])  # fmt: skip
def test_no_way_in_is_without_the_barrier(work: Work, world: World) -> None:
    """Peers that have a second door, for reports or tests, have it open."""
    exclude(world, RuleKind.MEETING, "m1")
    source = sign_row(world, "exclusions", kind="row_filter")
    with pytest.raises(Refused, match=r"^SCHEMA_INVALID: "):
        work(source, Config(), world.now)
