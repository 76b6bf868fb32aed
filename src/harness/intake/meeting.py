"""One meeting of an import: its files are read or refused, its people are put on the roster.

The roster holds whoever came, whoever spoke or wrote, and whoever the timeline names; who is known
by no address stands on it as nobody known. Where no list says who came, that stands on it too,
since somebody who came may have been silent. Such rows make the gate deny the meeting.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from harness.consent.labels import label_key
from harness.consent.records import (
    NONE,
    Alias,
    ContentRow,
    MeetingRow,
    ParticipantRow,
    Role,
)
from harness.errors import Refused
from harness.intake import attendees
from harness.intake.exports import Export, Kind, kind_of
from harness.intake.occasion import Occasion, Told, of_file, of_recording
from harness.intake.people import NO_NAME, People, Seen, answers, by_label
from harness.intake.series import Declarations, about
from harness.intake.store import LIMIT, Heard, Store
from harness.meetings.address import address
from harness.meetings.model import Modality, Turn
from harness.meetings.readers import (
    nxt,
    teams_attendance,
    zoom_participants,
    zoom_recordings,
    zoom_saved_chat,
    zoom_timeline,
)

PLATFORMS = {
    "zoom": ("zoom-",), "teams": ("teams-",), "meet": ("meet-",), "webex": ("webex-",),
    "otter": ("otter-",), "fireflies": ("fireflies-",), "nxt": (),
    "other": ("named-", "turns-", "qmsum-"),
}  # fmt: skip
"""Platforms, and how the names of their formats begin."""
NO_LIST = "(no list of who came)"
"""Label of a roster row for whoever came, where no list says who did."""
_CAPTION = re.compile(r"(?:\A|[._-])(?:cc|closed_?captions?|captions?)\.vtt\Z")
_CLOSE = timedelta(hours=12)
_CHANNEL = re.compile(r"\.(?:words|segments|segs)\.xml\Z")
_CHATS = {"zoom-chat", "meet-sbv"}


@dataclass(frozen=True)
class Problem:
    """A file that is not in the store, and why.

    Attributes:
        file: path below the exports.
        line: of the file, or None.
        code, what, where, remedy: as of the refusal.
    """

    file: str
    line: int | None
    code: str
    what: str
    where: str
    remedy: str


@dataclass(frozen=True)
class Unresolved:
    """A label that stands for nobody known.

    Attributes:
        meeting_id: whose it is.
        label: as the export has it.
        turns: that it said or wrote.
        reason: why nobody is known.
    """

    meeting_id: str
    label: str
    turns: int
    reason: str


@dataclass
class Taken:
    """What an import took of one meeting."""

    files: int
    read: int = 0
    turns: int = 0
    words: int = 0
    told_by: str = ""
    meeting: MeetingRow | None = None
    participants: list[ParticipantRow] = field(default_factory=list)
    content: list[ContentRow] = field(default_factory=list)
    aliases: list[Alias] = field(default_factory=list)
    answers: list[Seen] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unresolved: list[Unresolved] = field(default_factory=list)

    def refuse(self, file: str, error: Refused) -> None:
        """Note that a file is not taken."""
        line = re.fullmatch(r"line (\d+)", error.where)
        self.problems.append(
            Problem(file, int(line[1]) if line else None, error.code, error.what, error.where,
                    error.remedy)
        )  # fmt: skip


def take(
    root: Path, export: Export, platform: str, people: People, declared: Declarations, store: Store
) -> Taken:
    """Read one meeting into a store.

    Args:
        root: of the exports.
        export: the meeting's files.
        platform: one of :data:`PLATFORMS`.
        people: who is known.
        declared: what is said of series.
        store: where content is kept.
    """
    return _Taking(root, export, platform, people, declared, store).all()


class _Taking:
    """The work on one meeting."""

    def __init__(
        self, root: Path, export: Export, platform: str, people: People, declared: Declarations,
        store: Store,
    ) -> None:  # fmt: skip
        self._root, self._platform, self._people, self._store = root, platform, people, store
        self._declared, self._name, self._series = declared, export.name, ""
        self.taken = Taken(len(export.files))
        self._kinds: dict[str, tuple[Kind, str]] = {}
        for file in export.files:
            with _refusing(self.taken, file):
                self._kinds[file] = kind_of(root / file)

    def all(self) -> Taken:
        """Everything."""
        told = self._told()
        if told is None or not self._store.claim(told.occasion.meeting_id, self._name):
            self._refuse_rest(told)
            return self.taken
        occasion, self.taken.told_by = told.occasion, told.source
        self._series = occasion.series_id
        came, is_whole = self._came(occasion)
        seen = by_label(came)
        cut = {label_key(one.label.partition(": ")[0]) for one in seen if ": " in one.label}
        heard = Heard(with_colons=frozenset(cut))
        for file in self._files(Kind.TURNS):
            self._keep(file, occasion, heard)
        self._join_channels(occasion, heard)
        for file in self._files(Kind.SAVED_CHAT):
            self._split(file, occasion, heard, [one.label for one in seen])
        self.taken.turns, self.taken.words = heard.turns, heard.words
        self.taken.aliases = self._people.of_series(occasion.series_id)
        self._enrol(occasion, seen, is_whole, heard)
        self.taken.answers = answers(came)
        said = about(self._declared, occasion.series_id)
        self.taken.meeting = MeetingRow(
            occasion.meeting_id, occasion.series_id, occasion.account_id, self._platform,
            occasion.start, occasion.end, occasion.tz, said.tags, said.special_category,
        )  # fmt: skip
        return self.taken

    def _files(self, *kinds: Kind) -> list[str]:
        return [file for file, (kind, _) in self._kinds.items() if kind in kinds]

    def _read(self, file: str) -> bytes:
        """A file that is no content, as a whole."""
        path = self._root / file
        if path.stat().st_size > LIMIT:
            raise Refused("IMPORT_TOO_LARGE", f"more than {LIMIT} bytes", "", "leave it out")
        return path.read_bytes()

    def _told(self) -> Told | None:
        """What meeting this is; None where no file says so, or two do."""
        files = self._files(Kind.RECORDINGS, Kind.OCCASION)
        for file in files[1:]:
            self.taken.refuse(file, Refused("IMPORT_TWICE", "a second file says which meeting this "
                                            "is", "", "keep one"))  # fmt: skip
        for file in files[:1]:
            with _refusing(self.taken, file):
                data = self._read(file)
                told = (
                    of_recording(zoom_recordings.read(data)[0])
                    if self._kinds[file][0] is Kind.RECORDINGS
                    else of_file(data)
                )
                self.taken.read += 1
                return told if len(files) == 1 else None
        return None

    def _refuse_rest(self, told: Told | None) -> None:
        """Refuse the files of a meeting that is not known, or that another export is of."""
        code, what, remedy = (
            ("IMPORT_OCCASION", "nothing says which meeting this is, and when",
             "put Zoom's recordings JSON, or a meeting.json, into the folder")
            if told is None
            else ("IMPORT_TWICE", "another folder is of the same meeting", "keep one")
        )  # fmt: skip
        done = {problem.file for problem in self.taken.problems}
        for file in self._kinds:
            if file not in done and self._kinds[file][0] not in (Kind.RECORDINGS, Kind.OCCASION):
                self.taken.refuse(file, Refused(code, what, "", remedy))

    def _came(self, occasion: Occasion) -> tuple[list[Seen], bool]:
        """Who came, and whether lists say so that could all be read."""
        found: list[Seen] = []
        lists = self._files(Kind.PARTICIPANTS, Kind.ATTENDANCE, Kind.ATTENDEES)
        read = 0
        for file in lists:
            with _refusing(self.taken, file):
                data = self._read(file)
                match self._kinds[file][0]:
                    case Kind.PARTICIPANTS:
                        found += _of_zoom(data, occasion)
                    case Kind.ATTENDANCE:
                        found += _of_teams(data)
                    case _:
                        found += attendees.read(data)
                self.taken.read += 1
                read += 1
        return found, bool(lists) and read == len(lists) and bool(found)

    def _keep(self, file: str, occasion: Occasion, heard: Heard) -> None:
        form = self._kinds[file][1]
        with _refusing(self.taken, file):
            if not form.startswith(PLATFORMS[self._platform]):
                raise Refused("CONTENT_FORMAT_UNKNOWN", f"{form}, which is of another platform", "",
                              "import it with the other platform's name")  # fmt: skip
            modality = _modality(file, form)
            self._check_first(modality)
            path = self._root / file
            keep = partial(self._store.keep, path, occasion.meeting_id, modality, form)
            self.taken.content.append(_undone(heard, keep))
            self.taken.read += 1

    def _join_channels(self, occasion: Occasion, heard: Heard) -> None:
        """Join the channels of an NXT meeting, each of words and segments, by time."""
        files = self._files(Kind.NXT)
        said: list[tuple[float, str, str]] = []
        try:
            for name, pair in _channels(files).items():
                if self._platform != "nxt":
                    raise Refused("CONTENT_FORMAT_UNKNOWN", "NXT, which is of another platform", "",
                                  "import it with the other platform's name")  # fmt: skip
                said += self._channel(name, pair)
            if said:
                self._check_first(Modality.TRANSCRIPT)
        except Refused as error:  # a meeting without one of its voices is another meeting
            for file in files:
                self.taken.refuse(file, error)
            return
        self.taken.read += len(files)
        turns = [Turn(n, who, text, start) for n, (start, who, text) in enumerate(sorted(said))]
        if turns:
            write = partial(self._store.write, turns, occasion.meeting_id, Modality.TRANSCRIPT)
            self.taken.content.append(_undone(heard, write))

    def _channel(self, name: str, pair: list[str]) -> list[tuple[float, str, str]]:
        """What was said on one channel: when, by whom, and what."""
        files = {"words" if ".words." in Path(f).name else "segments": f for f in pair}
        if {*files} != {"words", "segments"} or len(pair) != 2:
            raise Refused("PARSE_REFUSED", "no words and segments of one channel", "",
                          "keep the names of the release")  # fmt: skip
        found = nxt.read(self._read(files["words"]), self._read(files["segments"]))
        channel = name.rpartition(".")[2]
        return [(s.start, s.participant or channel, s.text) for s in found]

    def _split(self, file: str, occasion: Occasion, heard: Heard, known: Sequence[str]) -> None:
        """Keep the public and the private messages of a saved chat apart."""
        with _refusing(self.taken, file):
            rows = []
            for modality in (Modality.CHAT_PUBLIC, Modality.CHAT_PRIVATE):
                if any(True for _ in self._messages(file, known, modality)):
                    self._check_first(modality)
                    turns = self._messages(file, known, modality)
                    write = partial(self._store.write, turns, occasion.meeting_id, modality)
                    rows.append(_undone(heard, write))
            self.taken.content += rows
            self.taken.read += 1

    def _messages(self, file: str, known: Sequence[str], modality: Modality) -> Iterator[Turn]:
        with (self._root / file).open("rb") as stream:
            for kind, turn in zoom_saved_chat.read(stream, known):
                if kind is modality:
                    yield turn

    def _check_first(self, modality: Modality) -> None:
        if any(row.modality is modality for row in self.taken.content):
            raise Refused("IMPORT_TWICE", f"a second {modality} of one meeting", "", "keep one")

    def _enrol(self, occasion: Occasion, seen: list[Seen], is_whole: bool, heard: Heard) -> None:
        """Put everybody on the roster."""
        seen = [self._known(one) for one in seen]
        keys = {self._people.key(one.email) for one in seen if one.email}
        listed = {label_key(one.label) for one in seen} - {""}
        meant = {
            label_key(alias.label) for alias in self.taken.aliases
            if keys.issuperset(alias.subject_keys)
        }  # fmt: skip
        strange: dict[str, int] = {}
        for label, turns in [*heard.labels.items(), *((name, 0) for name in self._on_timeline())]:
            if label_key(label) not in listed | meant:
                shown = label if label_key(label) else NO_NAME
                strange[shown] = strange.get(shown, 0) + turns
        unlisted = [*strange] if is_whole else [*strange, NO_LIST]
        everybody = [*seen, *(Seen(label, "", Role.PARTICIPANT) for label in unlisted)]
        found: dict[str, list[ParticipantRow]] = {}
        for one in everybody:
            row = self._people.row(occasion.meeting_id, one)
            found.setdefault(row.label, []).append(row)
        self.taken.participants = [*map(_one_of, found.values())]
        self.taken.unresolved = [
            Unresolved(
                occasion.meeting_id, row.label, heard.labels.get(row.label, 0),
                "on the list without an address, or of two people"
                if label_key(row.label) in listed else "not on a whole list",
            )
            for row in self.taken.participants if row.subject_key is None
        ]  # fmt: skip

    def _known(self, one: Seen) -> Seen:
        """Somebody on the list without an address, as an alias of one person says who that is."""
        lines = [line for line in self._people.aliases_of(self._series) if not one.email
                 and label_key(line.label) == label_key(one.label)]  # fmt: skip
        emails = {email for line in lines for email in line.emails}
        return replace(one, email=address(*emails)) if len(emails) == 1 else one

    def _on_timeline(self) -> list[str]:
        names: dict[str, None] = {}
        for file in self._files(Kind.TIMELINE):
            with _refusing(self.taken, file):
                moments = zoom_timeline.read(self._read(file))
                names |= dict.fromkeys(name for moment in moments for name in moment.names)
                self.taken.read += 1
        return [*names]


class _refusing:  # noqa: N801 - a context, named for what it does
    """Notes the refusal of a file."""

    def __init__(self, taken: Taken, file: str) -> None:
        self._taken, self._file = taken, file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        if isinstance(error, Refused):
            self._taken.refuse(self._file, error)
            return True
        return False


def _one_of(rows: Sequence[ParticipantRow]) -> ParticipantRow:
    """One row for a label; a label of several people is of nobody known."""
    first = rows[0]
    alone = len({row.subject_key for row in rows}) == 1
    return first if alone else replace(first, subject_key=None, domain=NONE)


def _undone(heard: Heard, work: Callable[[Heard], ContentRow]) -> ContentRow:
    """Count what a file says only if all of it is taken."""
    own = Heard(with_colons=heard.with_colons)
    row = work(own)
    heard.turns, heard.words = heard.turns + own.turns, heard.words + own.words
    heard.labels.update(own.labels)
    return row


def _channels(files: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(_CHANNEL.sub("", Path(file).name), []).append(file)
    return found


def _modality(file: str, form: str) -> Modality:
    if form in _CHATS:
        return Modality.CHAT_PUBLIC
    is_caption = form == "zoom-vtt" and _CAPTION.search(Path(file).name.lower())
    return Modality.CAPTION if is_caption else Modality.TRANSCRIPT


def _of_zoom(data: bytes, occasion: Occasion) -> list[Seen]:
    """Who came by Zoom's report, whose local times are of the meeting's zone."""
    report, zone = zoom_participants.read(data), ZoneInfo(occasion.tz)
    if report.number and occasion.series_id.isdecimal() and report.number != occasion.series_id:
        raise Refused("IMPORT_OCCASION", "a report of another meeting", "", "take its own")
    joined = [stay.join.replace(tzinfo=zone).astimezone(UTC) for stay in report.stays]
    if not any(occasion.start - _CLOSE < time < occasion.end + _CLOSE for time in joined):
        raise Refused("IMPORT_OCCASION", "a report of another day", "", "take the meeting's own")
    found = []
    for stay in report.stays:
        is_host = bool(stay.email) and stay.email.casefold() == report.host.casefold()
        role = Role.HOST if is_host else Role.GUEST if stay.guest else Role.PARTICIPANT
        since: datetime = stay.join.replace(tzinfo=zone).astimezone(UTC)
        if not stay.waited:
            found.append(Seen(stay.label, stay.email, role, stay.recording_consent, since))
    return found


def _of_teams(data: bytes) -> list[Seen]:
    return [Seen(one.label, one.email, Role.PARTICIPANT) for one in teams_attendance.read(data)]
