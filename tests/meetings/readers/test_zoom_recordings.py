"""Zoom's recordings JSON, as the API and the webhook tell it."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.model import Modality
from harness.meetings.readers import zoom_recordings
from harness.meetings.readers.zoom_recordings import (
    MODALITY_OF_RECORDING_TYPE,
    RecordedMeeting,
    RecordingFile,
)
from meetings.readers.files import fixture


def test_recordings_fixture_maps_every_file() -> None:
    meeting, files = zoom_recordings.read(fixture("zoom_recordings_api.json"))
    assert [file.modality for file in files] == [
        Modality.VIDEO, Modality.AUDIO, Modality.TRANSCRIPT, Modality.CAPTION,
        Modality.CHAT_PUBLIC, Modality.TIMELINE, Modality.POLL, Modality.SUMMARY_AI,
    ]  # fmt: skip
    assert meeting.uuid == "/ajXp112Q//mdEbc4wQ=="
    assert meeting.timezone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b'"audio_only"', b'"hologram"', "MODALITY_UNMAPPED"),
        (b"16:00:00Z", b"16:00:00", "PARSE_REFUSED"),
        (b"Europe/Berlin", b"Europe/Atlantis", "PARSE_REFUSED"),
        (b'"recording_files"', b'"files"', "PARSE_REFUSED"),
        (b'"recording_type": "audio_only",', b"", "PARSE_REFUSED"),
    ],
)
def test_broken_recordings_are_refused(old: bytes, new: bytes, code: str) -> None:
    with pytest.raises(Refused) as refused:
        zoom_recordings.read(fixture("zoom_recordings_api.json").replace(old, new, 1))
    assert refused.value.code == code


WORDS = st.text(min_size=1, max_size=12)
MEETING = st.builds(
    RecordedMeeting, WORDS, WORDS, WORDS,
    st.datetimes(datetime(2001, 1, 1), datetime(2098, 1, 1)).map(
        lambda time: time.replace(microsecond=0, tzinfo=UTC)
    ),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]), st.just(""),
    st.sampled_from(["", "81234567890"]), st.none() | st.integers(0, 999),
)  # fmt: skip


@given(MEETING, st.lists(st.tuples(WORDS, st.sampled_from([*MODALITY_OF_RECORDING_TYPE])),
                         min_size=1), st.booleans())  # fmt: skip
def test_every_recording_type_is_read_as_written_by_api_and_webhook(
    meeting: RecordedMeeting, kinds: list[tuple[str, str]], is_webhook: bool
) -> None:
    files = [
        RecordingFile(meeting, name, "MP4", kind, MODALITY_OF_RECORDING_TYPE[kind], "completed")
        for name, kind in kinds
    ]
    data = zoom_recordings.write(files)
    if is_webhook:
        message = {"event": "recording.completed", "payload": {"object": json.loads(data)}}
        data = json.dumps(message).encode()
    assert zoom_recordings.read(data) == (meeting, files)
