"""The demo's meetings as rows of a manifest; each carries the fault that its generator names."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

from harness.consent.authoring import Draft, describe
from harness.consent.invented import LICENCE, Gathering, Person, invented_draft
from harness.consent.records import Declared, MeetingRow, Role
from harness.meetings.model import Modality
from harness.meetings.synthetic import VALIDATION_TAG, DemoMeeting, exports

_FILES = (
    (Modality.TRANSCRIPT, "zoom-vtt", (Modality.AUDIO,), "audio_transcript"),
    (Modality.CHAT_PUBLIC, "zoom-chat", (), "chat_file"),
)


def demo_draft(meetings: Sequence[DemoMeeting], seed: int) -> Draft:
    """The manifest's tables of the demo.

    Args:
        meetings: of the generator.
        seed: of the generator; subject keys and the random split follow it.
    """
    validation = {meeting.series for meeting in meetings if VALIDATION_TAG in meeting.tags}
    gatherings = [_gathering(meeting) for meeting in meetings]
    return invented_draft(gatherings, f"demo-{seed}", validation)


def _gathering(meeting: DemoMeeting) -> Gathering:
    start, end = meeting.start.astimezone(UTC), meeting.end.astimezone(UTC)
    row = MeetingRow(
        meeting.id,
        meeting.series,
        "demo",
        "zoom",
        start,
        end,
        meeting.timezone,
        tuple(meeting.tags),
        Declared.NO,
    )
    files = exports(meeting)
    content = [
        describe(
            files[modality],
            meeting.id,
            modality,
            kind,
            meeting.paths[modality],
            LICENCE,
            origin,
            recording_type,
        )
        for modality, kind, origin, recording_type in _FILES
    ]
    return Gathering(row, _people(meeting), content, meeting.fault)


def _people(meeting: DemoMeeting) -> list[Person]:
    """The roster, host first; who bears the fault stands last."""
    people = [
        Person(person.subject, person.label, Role(person.role), person.adult)
        for person in meeting.people
    ]
    people.sort(key=lambda person: (person.role is not Role.HOST, not person.adult))
    if meeting.fault == "unidentified_guest":
        guest = next((p for p in people if p.role is Role.GUEST), people[-1])
        people[people.index(guest)] = replace(guest, role=Role.GUEST, identified=False)
    if meeting.fault == "minor" and all(person.adult for person in people):
        people[-1] = replace(people[-1], adult=False)
    return people
