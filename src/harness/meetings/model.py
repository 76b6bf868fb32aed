"""The domain types: modalities and turns."""

from dataclasses import dataclass
from enum import StrEnum


class Modality(StrEnum):
    """What was communicated, and through what; the axis consent is given on."""

    AUDIO = "audio"
    VIDEO = "video"
    SCREEN_SHARE = "screen_share"
    TRANSCRIPT = "transcript"
    CAPTION = "caption"
    CHAT_PUBLIC = "chat_public"
    CHAT_PRIVATE = "chat_private"
    REACTION = "reaction"
    POLL = "poll"
    WHITEBOARD = "whiteboard"
    ATTACHMENT = "attachment"
    SUMMARY_AI = "summary_ai"
    META_PARTICIPANT = "meta_participant"
    META_MEETING = "meta_meeting"
    TIMELINE = "timeline"
    TELEMETRY = "telemetry"


@dataclass(frozen=True, slots=True)
class Turn:
    """One uninterrupted piece of speech or one message.

    Attributes:
        index: position from 0 within (meeting, modality).
        speaker: the label as the export has it; empty when the export names nobody.
        text: what was said, without the label.
        seconds: start in seconds from the start of the recording, None where not given.
        query: of a pair of query and answer, whose answer is ``text`` and which nobody speaks;
            None for everything else.
    """

    index: int
    speaker: str
    text: str
    seconds: float | None = None
    query: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """All words of the turn: the query, where it has one, and the text."""
        return (self.text,) if self.query is None else (self.query, self.text)
