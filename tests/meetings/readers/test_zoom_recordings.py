"""Zoom's recordings JSON, as the API and the webhook tell it."""

import pytest

from harness.errors import Refused
from harness.meetings.model import Modality
from harness.meetings.readers import zoom_recordings
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
