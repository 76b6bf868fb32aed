"""``harness import``: what becomes of a folder of exports, and who is on the roster."""

import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.cli import dispatch
from harness.consent.aliases import AliasLine, sign_aliases
from harness.consent.drafting import lint
from harness.consent.records import to_json
from harness.consent.signing import KeyRole, save_trust, trust_root
from harness.digest import canonical_json, sha256_file
from harness.errors import Refused, UsageError
from harness.intake.meeting import NO_LIST, NO_NAME
from harness.meetings.model import Modality, Turn
from harness.meetings.readers import (
    zoom_chat,
    zoom_participants,
    zoom_recordings,
    zoom_transcript,
)
from harness.meetings.readers.zoom_participants import Stay
from harness.meetings.readers.zoom_recordings import RecordedMeeting, RecordingFile

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
MEETING = RecordedMeeting("/ajXp112Q//mdEbc4wQ==", "host", "Weekly", START, "Europe/Berlin",
                          "acct", "81234567890", 30)  # fmt: skip
ADA = Stay("Ada Example", "Ada@Example.org", datetime(2026, 3, 2, 10), datetime(2026, 3, 2, 10, 30),
           30, False, "Y")  # fmt: skip
BO = replace(ADA, label="Bo | Org", email="bo@example.org", guest=True, recording_consent="N")
SAID = [Turn(0, "Ada Example", "hello there", 1.0), Turn(1, "Bo | Org", "good day", 2.0)]
WRITTEN = [Turn(0, "Bo | Org", "a link", 3.0)]
NUMBER = "812 3456 7890"
ID = "_ajXp112Q__mdEbc4wQ"


def export(folder: Path, **files: bytes | None) -> Path:
    """One meeting as Zoom exports it; None leaves a file out."""
    recorded = RecordingFile(MEETING, "f1", "TRANSCRIPT", "audio_transcript", Modality.TRANSCRIPT,
                             "completed")  # fmt: skip
    made: dict[str, bytes | None] = {
        "recordings.json": zoom_recordings.write([recorded]),
        "participants.csv": zoom_participants.write(NUMBER, "Weekly", [ADA, BO, ADA]),
        "meeting.transcript.vtt": zoom_transcript.write(SAID, 9.0),
        "chat.txt": zoom_chat.write(WRITTEN),
        **{name.replace("__", "."): data for name, data in files.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in made.items():
        if data is not None:
            (folder / name).write_bytes(data)
    return folder


def rows(dst: Path, table: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (dst / "draft" / f"{table}.jsonl").open("rb")]


def run(src: Path, dst: Path, *flags: str, platform: str = "zoom") -> dict[str, Any]:
    assert dispatch(["import", platform, str(src), str(dst), *flags]) == 0
    summary: dict[str, Any] = json.loads((dst / "import.json").read_bytes())
    return summary


def test_a_meeting_becomes_rows_and_content_as_it_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    run(src, dst, "--json")
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"files": 4, "read": 4, "refused": [], "meetings": 1, "turns": 3, "words": 6}
    (meeting,) = rows(dst, "meetings")
    assert (meeting["meeting_id"], meeting["series_id"]) == (ID, "81234567890")
    assert (meeting["start"], meeting["end"]) == ("2026-03-02T09:00:00Z", "2026-03-02T09:30:00Z")
    assert (meeting["tz"], meeting["special_category"]) == ("Europe/Berlin", "unknown")
    people = {row["label"]: row for row in rows(dst, "participants")}
    assert {name: row["role"] for name, row in people.items()} == {
        "Ada Example": "host", "Bo | Org": "guest",
    }  # fmt: skip
    assert people["Bo | Org"]["domain"] == "example.org"
    assert all(row["subject_key"] and row["age_band"] == "unknown" for row in people.values())
    content = {row["modality"]: row for row in rows(dst, "content")}
    assert {name: row["turns"] for name, row in content.items()} == {
        "transcript": 2, "chat_public": 1,
    }  # fmt: skip
    assert content["transcript"]["recording_type"] == "audio_transcript"
    for modality, file in (("transcript", "meeting.transcript.vtt"), ("chat_public", "chat.txt")):
        kept = dst / "store" / content[modality]["path"]
        assert kept.read_bytes() == (src / "a" / file).read_bytes()
        assert content[modality]["sha256"] == sha256_file(kept)
    assert lint(dst / "draft", datetime.now(UTC))[0] == []


def test_recording_consent_is_consent_to_the_recording_alone(tmp_path: Path) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    run(src, dst)
    events = rows(dst, "consent")
    assert [event["state"] for event in events] == ["given", "refused"]
    for event in events:
        assert (event["operations"], event["purposes"], event["modalities"]) == (
            ["recording"], [], [],
        )  # fmt: skip
        assert event["scope"]["meetings"] == [ID]
        assert event["event_time"] == "2026-03-02T09:00:00Z"


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        ({"participants__csv": None}, {"Ada Example", "Bo | Org", NO_LIST}),
        ({"participants__csv": b"broken"}, {"Ada Example", "Bo | Org", NO_LIST}),
        ({"chat__txt": zoom_chat.write([Turn(0, "Cy", "hi", 0.0)])}, {"Cy"}),
        ({"chat__txt": zoom_chat.write([Turn(0, "ADA EXAMPLE", "hi", 0.0)])}, set()),
        ({"meeting__transcript__vtt": b"WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.000\nhm\n"},
         {NO_NAME}),
        ({"timeline__json": b'{"timeline": [{"ts": "00:00:01.000", "users": '
          b'[{"username": "Quiet"}, {"username": "Bo | Org"}]}]}'}, {"Quiet"}),
        ({"participants__csv": zoom_participants.write(NUMBER, "W", [ADA, replace(BO, email="")])},
         {"Bo | Org"}),
        ({"participants__csv": zoom_participants.write(NUMBER, "W", [ADA, BO, replace(
            BO, label="4155550100", email="")])}, {"4155550100"}),
    ],
)  # fmt: skip
def test_who_is_not_known_by_an_address_is_on_the_roster_as_nobody(
    files: dict[str, bytes | None], labels: set[str], tmp_path: Path
) -> None:
    src, dst = export(tmp_path / "src" / "a", **files).parent, tmp_path / "dst"
    summary = run(src, dst)
    nobody = {r["label"] for r in rows(dst, "participants") if r["subject_key"] is None}
    assert nobody == labels
    assert summary["unresolved"] == len(labels)
    listed = (dst / "private" / "unresolved.csv").read_text().splitlines()
    assert len(listed) == len(labels) + 1
    told = json.dumps(summary)
    assert not any(label in told for label in labels)


def test_signed_aliases_say_who_a_label_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    (src / "a" / "chat.txt").write_bytes(zoom_chat.write([Turn(0, "Room 1", "hi", 0.0)]))
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    save_trust(tmp_path / "trust.json", trust_root([(key, (KeyRole.MANIFEST,))]))
    monkeypatch.setenv("HARNESS_TRUST", str(tmp_path / "trust.json"))
    aliases = tmp_path / "aliases.jsonl"
    line = AliasLine("81234567890", "Room 1", ("ada@example.org", "bo@example.org"))
    aliases.write_bytes(canonical_json(to_json(line)) + b"\n")
    sign_aliases(aliases, [other])
    with pytest.raises(Refused, match="ALIASES_KEY_UNKNOWN"):
        run(src, dst, "--aliases", str(aliases))
    sign_aliases(aliases, [key])
    assert run(src, dst, "--aliases", str(aliases))["unresolved"] == 0
    (alias,) = rows(dst, "aliases")
    keys = {row["subject_key"] for row in rows(dst, "participants")}
    assert {*alias["subject_keys"]} == keys
    aliases.write_bytes(aliases.read_bytes() * 2)
    with pytest.raises(Refused, match="ALIASES_SIG_INVALID"):
        run(src, dst, "--aliases", str(aliases))


def test_people_are_completed_from_a_file(tmp_path: Path) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    people = tmp_path / "people.csv"
    people.write_text(
        "email,age_band,relation,jurisdictions\nADA@example.org,adult,other,DE US-CA\n"
    )
    run(src, dst, "--people", str(people))
    ada = next(row for row in rows(dst, "participants") if row["label"] == "Ada Example")
    assert (ada["age_band"], ada["relation"], ada["jurisdictions"]) == (
        "adult", "other", ["DE", "US-CA"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line"),
    [("email,age\n", 1), ("email,age_band,relation,jurisdictions\na@b.c,old,other,DE\n", 2),
     ("email,age_band,relation,jurisdictions\nx,adult,other,DE\n", 2)],
)  # fmt: skip
def test_a_broken_file_of_people_is_refused(text: str, line: int, tmp_path: Path) -> None:
    src = export(tmp_path / "src" / "a").parent
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(Refused) as refused:
        run(src, tmp_path / "dst", "--people", str(tmp_path / "people.csv"))
    assert (refused.value.code, refused.value.where) == (
        "PEOPLE_INVALID",
        f"people.csv line {line}",
    )


@pytest.mark.parametrize(
    ("files", "file", "line", "code"),
    [
        ({"meeting__transcript__vtt": zoom_transcript.write(SAID, 9.0) + b"\r\nsecret\r\n"},
         "meeting.transcript.vtt", 11,
         "PARSE_REFUSED"),
        ({"notes__txt": b"secret notes\n"}, "notes.txt", None, "CONTENT_FORMAT_UNKNOWN"),
        ({"video__mp4": b"secret"}, "video.mp4", None, "IMPORT_MEDIA"),
        ({"more__vtt": zoom_transcript.write(SAID, 9.0)}, "more.vtt", None, "IMPORT_TWICE"),
        ({"talk__txt": b"Ada  0:01\nsecret\n"}, "talk.txt", None, "CONTENT_FORMAT_UNKNOWN"),
        ({"participants__csv": zoom_participants.write(NUMBER, "W", [replace(
            ADA, label="Ada Example: secret")]), "meeting__transcript__vtt": zoom_transcript.write(
            [Turn(0, "Ada Example: secret", "x", 0.0)], 9.0)}, "meeting.transcript.vtt", None,
         "IMPORT_NAME"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_listed_with_its_line(
    files: dict[str, bytes], file: str, line: int | None, code: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    src, dst = export(tmp_path / "src" / "a", **files).parent, tmp_path / "dst"
    summary = run(src, dst)
    found = [(p["file"], p["line"], p["code"]) for p in summary["refused"]]
    assert found == [(f"a/{file}", line, code)]
    assert summary["files"] == summary["read"] + 1
    said = capsys.readouterr()
    assert "secret" not in said.out + said.err + json.dumps(summary)
    assert not [path for path in (dst / "store").rglob("*") if b"secret" in _bytes(path)]


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def test_a_meeting_that_nothing_dates_is_refused_whole(tmp_path: Path) -> None:
    src, dst = export(tmp_path / "src" / "a", recordings__json=None).parent, tmp_path / "dst"
    summary = run(src, dst)
    assert (summary["meetings"], summary["turns"]) == (0, 0)
    assert {problem["code"] for problem in summary["refused"]} == {"IMPORT_OCCASION"}
    assert rows(dst, "content") == rows(dst, "participants") == []


def test_captions_and_private_messages_are_kept_apart(tmp_path: Path) -> None:
    saved = (
        b"09:00:00 From Ada Example to Everyone:\n\tpublic\n"
        b"09:00:01 From Ada Example to Bo | Org(Direct Message):\n\tprivate\n"
    )
    src = export(tmp_path / "src" / "a", chat__txt=None, saved_chat__txt=saved,
                 GMT__cc__vtt=zoom_transcript.write(SAID, 9.0)).parent  # fmt: skip
    run(src, tmp_path / "dst")
    content = {row["modality"]: row for row in rows(tmp_path / "dst", "content")}
    assert {*content} == {"transcript", "caption", "chat_public", "chat_private"}
    store = tmp_path / "dst" / "store"
    public = (store / content["chat_public"]["path"]).read_bytes()
    assert b"public" in public
    assert b"private" not in public
    assert content["chat_private"]["format"] == "turns-jsonl"


def test_files_of_one_folder_that_begin_with_different_starts_are_different_meetings(
    tmp_path: Path,
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    for number in (1, 2):
        one = export(tmp_path / f"x{number}")
        recorded = RecordingFile(replace(MEETING, uuid=f"u{number}"), "f", "CHAT", "chat_file",
                                 Modality.CHAT_PUBLIC, "completed")  # fmt: skip
        (one / "recordings.json").write_bytes(zoom_recordings.write([recorded]))
        src.mkdir(exist_ok=True)
        for path in one.iterdir():
            path.rename(src / f"GMT2026030{number}-090000_{path.name}")
    assert run(src, dst)["meetings"] == 2
    assert {row["meeting_id"] for row in rows(dst, "content")} == {"u1", "u2"}


def test_importing_again_changes_nothing_and_adds_what_is_new(tmp_path: Path) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    run(src, dst)
    before = {path: path.read_bytes() for path in dst.rglob("*") if path.is_file()}
    run(src, dst)
    assert before == {path: path.read_bytes() for path in dst.rglob("*") if path.is_file()}
    more = export(src / "b")
    recorded = RecordingFile(replace(MEETING, uuid="second"), "f", "CHAT", "chat_file",
                             Modality.CHAT_PUBLIC, "completed")  # fmt: skip
    (more / "recordings.json").write_bytes(zoom_recordings.write([recorded]))
    run(src, dst)
    assert [row["meeting_id"] for row in rows(dst, "meetings")] == [ID, "second"]
    events = rows(dst, "consent")
    assert [event["seq"] for event in events] == [0, 1, 2, 3]
    assert events[:2] == [json.loads(line) for line in
                          before[dst / "draft" / "consent.jsonl"].splitlines()]  # fmt: skip
    shutil.rmtree(src / "a")
    run(src, dst)
    assert [row["meeting_id"] for row in rows(dst, "meetings")] == ["second"]
    assert len(rows(dst, "consent")) == 4


def test_a_table_that_somebody_changed_is_not_overwritten(tmp_path: Path) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    run(src, dst)
    with (dst / "draft" / "participants.jsonl").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(Refused, match="DRAFT_EDITED"):
        run(src, dst)


def test_an_import_that_was_cut_short_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    for number in range(4):
        one = export(src / f"{number}")
        recorded = RecordingFile(replace(MEETING, uuid=f"u{number}"), "f", "CHAT", "chat_file",
                                 Modality.CHAT_PUBLIC, "completed")  # fmt: skip
        (one / "recordings.json").write_bytes(zoom_recordings.write([recorded]))
    from harness.intake import command

    real, taken = command.take, []

    def stop_at_third(*arguments: Any) -> Any:
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(command, "take", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        run(src, dst)
    with (dst / "private" / "taken.jsonl").open("ab") as file:
        file.write(b'{"name": "half a li')
    again: list[Any] = []
    monkeypatch.setattr(command, "take", lambda *a: (again.append(a), real(*a))[1])
    run(src, dst)
    assert len(again) == 2
    other = tmp_path / "other"
    (other / "private").mkdir(parents=True)
    shutil.copy(dst / "private" / "subjects.key", other / "private")
    run(src, other)
    for path in ("draft", "store", "import.json"):
        a, b = dst / path, other / path
        files = [p.relative_to(a) for p in a.rglob("*") if p.is_file()] if a.is_dir() else [Path()]
        assert all((a / f).read_bytes() == (b / f).read_bytes() for f in files)


def test_what_names_people_is_for_the_owner_alone(tmp_path: Path) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    run(src, dst)
    assert (dst / "private").stat().st_mode & 0o777 == 0o700
    for path in (dst / "private").iterdir():
        if path.name != "written.json":
            assert path.stat().st_mode & 0o777 == 0o600, path.name


def test_links_and_missing_folders_are_refused(tmp_path: Path) -> None:
    src = export(tmp_path / "src" / "a").parent
    os.symlink("/etc/passwd", src / "a" / "link.vtt")
    with pytest.raises(Refused, match="IMPORT_LINK"):
        run(src, tmp_path / "dst")
    with pytest.raises(UsageError, match="SRC"):
        run(tmp_path / "nowhere", tmp_path / "dst")


def test_series_are_declared_by_their_owner(tmp_path: Path) -> None:
    src, dst, series = export(tmp_path / "src" / "a").parent, tmp_path / "dst", tmp_path / "s.csv"
    series.write_text("series_id,special_category,tags\n81234567890,no,weekly team\n*,yes,\n")
    run(src, dst, "--series", str(series))
    (meeting,) = rows(dst, "meetings")
    assert (meeting["special_category"], meeting["tags"]) == ("no", ["weekly", "team"])
    series.write_text("series_id,special_category,tags\n*,yes,\n")
    run(src, dst, "--series", str(series))
    assert rows(dst, "meetings")[0]["special_category"] == "yes"
    series.write_text("series_id,special_category,tags\n*,perhaps,\n")
    with pytest.raises(Refused, match=r"SERIES_INVALID.*line 2"):
        run(src, dst, "--series", str(series))


def test_consents_of_other_systems_are_events_of_the_same_people(tmp_path: Path) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    run(src, dst)
    (told, _) = rows(dst, "consent")
    event = {key: value for key, value in told.items() if key not in ("seq", "subject_key",
                                                                      "actor_key")}  # fmt: skip
    event |= {"event_id": "form-1", "subject": "ADA@example.org", "actor": "ada@example.org",
              "operations": ["evaluation"]}  # fmt: skip
    consents = tmp_path / "consents.jsonl"
    consents.write_text(json.dumps(event) + "\n")
    for _ in range(2):  # the second time it is there already
        run(src, dst, "--consents", str(consents))
        *_, last = rows(dst, "consent")
        assert (last["seq"], last["event_id"], last["operations"]) == (2, "form-1", ["evaluation"])
        assert last["subject_key"] == last["actor_key"] == told["subject_key"]
    for broken in (event | {"seq": 0}, event | {"actor": "nobody"}, event | {"state": "maybe"}):
        consents.write_text(json.dumps(broken) + "\n")
        with pytest.raises(Refused, match="row 1"):
            run(src, dst, "--consents", str(consents))


MEETING_JSON = json.dumps({"meeting_id": "ES2002a", "series_id": "ES2002", "account_id": "ami",
                           "start": "2026-03-02T09:00:00Z", "end": "2026-03-02T10:00:00Z",
                           "tz": "Europe/London"})  # fmt: skip
ROOT = '<nite:root nite:id="r" xmlns:nite="http://nite.sourceforge.net/">{}</nite:root>'
WORD = '<w nite:id="{0}{1}" starttime="1" endtime="2">{2}</w>'
SEGMENT = (
    '<segment nite:id="s" transcriber_start="{1}"><nite:child href="x#id({0}0)..id({0}1)"/>'
    "</segment>"
)


def test_the_channels_of_a_corpus_are_joined_by_time(tmp_path: Path) -> None:
    folder = tmp_path / "src" / "ES2002a"
    folder.mkdir(parents=True)
    (folder / "meeting.json").write_text(MEETING_JSON)
    (folder / "attendees.csv").write_text("label,email,role\nA,a@x.example,host\nB,,participant\n")
    for channel, start, words in (("A", 5.0, "so then"), ("B", 2.5, "hello all")):
        said = "".join(WORD.format(channel, n, word) for n, word in enumerate(words.split()))
        stem = folder / f"ES2002a.{channel}"
        stem.with_name(f"{stem.name}.words.xml").write_text(ROOT.format(said))
        segments = ROOT.format(SEGMENT.format(channel, start))
        stem.with_name(f"{stem.name}.segments.xml").write_text(segments)
    dst = tmp_path / "dst"
    summary = run(folder.parent, dst, platform="nxt")
    assert (summary["files"], summary["read"], summary["refused"]) == (6, 6, [])
    (row,) = rows(dst, "content")
    turns = [json.loads(line) for line in (dst / "store" / row["path"]).open()]
    assert turns == [{"speaker": "B", "text": "hello all", "seconds": 2.5},
                     {"speaker": "A", "text": "so then", "seconds": 5.0}]  # fmt: skip
    people = {r["label"]: (r["role"], r["subject_key"] is None) for r in rows(dst, "participants")}
    assert people == {"A": ("host", False), "B": ("participant", True)}
    (folder / "ES2002a.B.segments.xml").unlink()
    summary = run(folder.parent, dst, platform="nxt")
    assert {problem["code"] for problem in summary["refused"]} == {"PARSE_REFUSED"}
    assert (summary["files"], summary["read"], len(summary["refused"])) == (5, 2, 3)
    assert rows(dst, "content") == []


def test_two_folders_of_one_meeting_are_not_mixed(tmp_path: Path) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    export(src / "b", chat__txt=zoom_chat.write([Turn(0, "Ada Example", "other words", 0.0)]))
    for _ in range(2):
        summary = run(src, dst)
        assert summary["meetings"] == 1
        assert {p["file"].split("/")[0] for p in summary["refused"]} == {"b"}
        assert {p["code"] for p in summary["refused"]} == {"IMPORT_TWICE"}
        (chat,) = [row for row in rows(dst, "content") if row["modality"] == "chat_public"]
        kept = dst / "store" / chat["path"]
        assert sha256_file(kept) == chat["sha256"]
        assert b"other" not in kept.read_bytes()
    shutil.rmtree(src / "a")
    assert run(src, dst)["refused"] == []
    assert len(rows(dst, "content")) == 2


def test_content_that_is_no_longer_exported_is_removed(tmp_path: Path) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    run(src, dst)
    assert len([*(dst / "store").rglob("*.*")]) == 2
    (src / "a" / "chat.txt").unlink()
    run(src, dst)
    assert [path.name for path in (dst / "store").rglob("*.*")] == ["transcript.vtt"]
    shutil.rmtree(src / "a")
    run(src, dst)
    assert not [*(dst / "store").iterdir()]


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    os.mkfifo(src / "a" / "pipe.vtt")
    assert [p["code"] for p in run(src, dst)["refused"]] == ["IMPORT_NOT_REGULAR"]
    (src / "a" / "pipe.vtt").unlink()
    (src / "a" / "bad\nname.vtt").write_bytes(b"WEBVTT\n")
    with pytest.raises(Refused, match="IMPORT_FILE_NAME"):
        run(src, dst)


def nobody(dst: Path) -> set[str]:
    return {row["label"] for row in rows(dst, "participants") if row["subject_key"] is None}


@pytest.mark.parametrize("email", ["n/a", " ", "ada @example.org", "a@b", "a\u0308@b.org"])
def test_what_is_no_address_makes_nobody_known(email: str, tmp_path: Path) -> None:
    people = zoom_participants.write(NUMBER, "Weekly", [ADA, replace(BO, email=email)])
    src, dst = export(tmp_path / "src" / "a", participants__csv=people).parent, tmp_path / "dst"
    assert [p["code"] for p in run(src, dst)["refused"]] == ["PARSE_REFUSED"]
    assert nobody(dst) == {"Ada Example", "Bo | Org", NO_LIST}


def test_a_name_that_nobody_sees_is_nobodys(tmp_path: Path) -> None:
    people = zoom_participants.write(NUMBER, "Weekly", [ADA, replace(BO, label="\u3164")])
    speech = zoom_transcript.write([Turn(0, "", "somebody speaks", 1.0)], 9.0)
    src = export(tmp_path / "src" / "a", participants__csv=people, chat__txt=None,
                 meeting__transcript__vtt=speech).parent  # fmt: skip
    run(src, tmp_path / "dst")
    assert nobody(tmp_path / "dst") == {NO_NAME}
    assert lint(tmp_path / "dst" / "draft", datetime.now(UTC))[0] == []


@pytest.mark.parametrize(
    "files",
    [
        {"attendees__csv": b"label,email,role\nAda Example,ada@example.org,host\n",
         "participants__csv": zoom_participants.write(NUMBER, "W", [ADA, BO]) + b"x,,,,,,\r\n"},
        {"attendees__csv": b"label,email,role\n", "participants__csv": None},
        {"participants__csv": zoom_participants.write("999", "W", [ADA, BO])},
        {"participants__csv": zoom_participants.write(NUMBER, "W", [
            replace(ADA, join=datetime(2025, 3, 2, 10), leave=datetime(2025, 3, 2, 11))])},
    ],
)  # fmt: skip
def test_a_list_that_is_not_whole_or_of_another_meeting_is_no_list(
    files: dict[str, bytes | None], tmp_path: Path
) -> None:
    src, dst = export(tmp_path / "src" / "a", **files).parent, tmp_path / "dst"
    assert len(run(src, dst)["refused"]) == 1
    assert NO_LIST in nobody(dst)


@pytest.fixture
def aliases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes and signs a file of aliases."""
    key = Ed25519PrivateKey.generate()
    save_trust(tmp_path / "trust.json", trust_root([(key, (KeyRole.MANIFEST,))]))
    monkeypatch.setenv("HARNESS_TRUST", str(tmp_path / "trust.json"))

    def write(*lines: AliasLine) -> str:
        path = tmp_path / "aliases.jsonl"
        path.write_bytes(b"".join(canonical_json(to_json(line)) + b"\n" for line in lines))
        sign_aliases(path, [key])
        return str(path)

    return write


def test_an_alias_of_somebody_who_is_on_no_list_hides_nobody(aliases: Any, tmp_path: Path) -> None:
    chat = zoom_chat.write([Turn(0, "Room 1", "hi", 0.0)])
    src, dst = export(tmp_path / "src" / "a", chat__txt=chat).parent, tmp_path / "dst"
    run(src, dst, "--aliases", aliases(AliasLine("*", "Room 1", ("cy@example.org",))))
    assert nobody(dst) == {"Room 1"}


def test_an_alias_says_who_a_listed_telephone_is(aliases: Any, tmp_path: Path) -> None:
    people = zoom_participants.write(NUMBER, "W", [ADA, BO, replace(BO, label="415", email="")])
    src, dst = export(tmp_path / "src" / "a", participants__csv=people).parent, tmp_path / "dst"
    run(src, dst)
    assert nobody(dst) == {"415"}
    run(src, dst, "--aliases", aliases(AliasLine("*", "415", ("ADA@example.org",))))
    assert nobody(dst) == set()
    keys = {row["label"]: row["subject_key"] for row in rows(dst, "participants")}
    assert keys["415"] == keys["Ada Example"] != keys["Bo | Org"]


def test_a_label_of_two_people_is_nobodys(tmp_path: Path) -> None:
    people = zoom_participants.write(NUMBER, "W", [ADA, replace(ADA, email="ada2@x.org"), BO])
    src, dst = export(tmp_path / "src" / "a", participants__csv=people).parent, tmp_path / "dst"
    run(src, dst)
    assert nobody(dst) == {"Ada Example"}
    assert lint(dst / "draft", datetime.now(UTC))[0] == []


def test_every_answer_to_the_recording_is_logged(tmp_path: Path) -> None:
    people = zoom_participants.write(NUMBER, "W", [ADA, replace(ADA, recording_consent="N"), BO])
    src, dst = export(tmp_path / "src" / "a", participants__csv=people).parent, tmp_path / "dst"
    run(src, dst)
    keys = {row["label"]: row["subject_key"] for row in rows(dst, "participants")}
    ada = [e["state"] for e in rows(dst, "consent") if e["subject_key"] == keys["Ada Example"]]
    assert ada == ["given", "refused"]


def test_an_event_does_not_vanish_behind_the_id_of_another(tmp_path: Path) -> None:
    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    run(src, dst)
    (told, _) = rows(dst, "consent")
    event = {k: v for k, v in told.items() if k not in ("seq", "subject_key", "actor_key")}
    event |= {"event_id": "form-1", "subject": "ada@example.org", "actor": "ada@example.org"}
    consents = tmp_path / "consents.jsonl"
    consents.write_text(json.dumps(event) + "\n")
    run(src, dst, "--consents", str(consents))
    before = (dst / "draft" / "consent.jsonl").read_bytes()
    consents.write_text(json.dumps(event | {"state": "withdrawn"}) + "\n")
    with pytest.raises(Refused, match="CONSENTS_INVALID"):
        run(src, dst, "--consents", str(consents))
    assert (dst / "draft" / "consent.jsonl").read_bytes() == before
    run(src, dst)  # nothing is left half done


def test_a_folder_may_be_called_as_the_start_of_a_recording(tmp_path: Path) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    start = "GMT20260302-090000"
    export(src / start)
    other = export(tmp_path / "other")
    recorded = RecordingFile(replace(MEETING, uuid="u2"), "f", "CHAT", "chat_file",
                             Modality.CHAT_PUBLIC, "completed")  # fmt: skip
    (other / "recordings.json").write_bytes(zoom_recordings.write([recorded]))
    for path in other.iterdir():
        path.rename(src / f"{start}_{path.name}")
    run(src, dst)
    assert sorted(row["meeting_id"] for row in rows(dst, "meetings")) == sorted([ID, "u2"])


def test_a_name_with_a_colon_is_never_credited_to_its_first_half(tmp_path: Path) -> None:
    people = zoom_participants.write(NUMBER, "W", [
        ADA, replace(BO, label="Bo"), replace(BO, label="Bo: Sales (Robert)", email="r@x.org"),
    ])  # fmt: skip
    speech = zoom_transcript.write([Turn(0, "Bo: Sales", "I quit", 1.0)], 9.0)
    src = export(tmp_path / "src" / "a", participants__csv=people, chat__txt=None,
                 meeting__transcript__vtt=speech).parent  # fmt: skip
    summary = run(src, tmp_path / "dst")
    assert [problem["code"] for problem in summary["refused"]] == ["IMPORT_NAME"]


@pytest.mark.parametrize("inside", ["src/dst", "."])
def test_the_store_does_not_lie_among_the_exports(inside: str, tmp_path: Path) -> None:
    src = export(tmp_path / "src" / "a").parent
    with pytest.raises(UsageError, match="SRC and DST"):
        run(src, tmp_path / inside)
    assert (src / "a" / "chat.txt").exists()


def test_another_version_of_the_readers_reads_all_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.intake import command

    src, dst = export(tmp_path / "src" / "a").parent, tmp_path / "dst"
    real, taken = command.take, []
    monkeypatch.setattr(command, "take", lambda *a: (taken.append(a), real(*a))[1])
    for count, version in ((1, "one"), (1, "one"), (2, "two")):
        monkeypatch.setattr(command, "code_digest", lambda of=version: of)
        run(src, dst)
        assert len(taken) == count
