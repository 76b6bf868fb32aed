"""What is masked in turns that are used: who was left out, and the numbers of anybody.

Where nobody is left out nothing is masked. See ``docs/gate.md``, section 7. Masking is a second
line of defence: it never makes content usable that is not.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.config import Config
from harness.consent.turns import Voices
from harness.errors import UsageError
from harness.meetings.detectors.patterns import Patterns
from harness.meetings.detectors.presidio import Presidio
from harness.meetings.detectors.roster import Roster
from harness.meetings.detectors.span import Detector, Span, masked, search

_MORE = {"presidio": Presidio}
_COUNTRY = 2
"""Letters of the country in a place of ISO 3166."""


class MaskedText(NamedTuple):
    """A turn's text as it may be used.

    Attributes:
        text: with each span as its class in brackets.
        spans: what was masked, by its place in the text as it stood.
    """

    text: str
    spans: tuple[Span, ...]


class Masking:
    """Masks the turns of meetings.

    Args:
        more: detectors beside those of the roster and of patterns.

    Attributes:
        detectors: what all of them are, with their versions.
    """

    def __init__(self, more: Iterable[Detector] = ()) -> None:
        self._more = tuple(more)
        self.detectors = (Roster.name, Patterns.version, *(found.name for found in self._more))

    @classmethod
    def of(cls, config: Config) -> "Masking":
        """As ``job.more_detectors`` says.

        Raises:
            UsageError: ``CONFIG_VALUE`` for a detector that there is not, or not installed.
        """
        return cls(_detector(name) for name in config.job.more_detectors)

    def mask(self, texts: Iterable[str], voices: Voices) -> Sequence[MaskedText]:
        """Mask the texts of one meeting.

        Args:
            texts: of its turns.
            voices: whom its labels mean, and who is left out.
        """
        if not voices.left_out:
            return [MaskedText(text, ()) for text in texts]
        dropped = [person.row for person in voices.people if person.dropped]
        regions = {place[:_COUNTRY] for row in dropped for place in row.jurisdictions}
        names = Roster(voices.left_out, [row.domain for row in dropped], any_case=True)
        detectors: list[Detector] = [names, Patterns(*sorted(regions)), *self._more]
        found = ((text, search(detectors, text)) for text in texts)
        return [MaskedText(masked(text, spans), tuple(spans)) for text, spans in found]


def _detector(setting: str) -> Detector:
    name, _, model = setting.partition(":")
    try:
        return _MORE[name](model)
    except KeyError:
        raise _unusable("no such detector", "presidio, or presidio:MODEL") from None
    except ModuleNotFoundError as error:
        remedy = "pip install 'meeting-harness[presidio]'"
        raise _unusable(f"{error.name} is not installed", remedy) from None
    except OSError:
        raise _unusable("no such spaCy model", "install it, or leave :MODEL out") from None


def _unusable(what: str, remedy: str) -> UsageError:
    return UsageError("CONFIG_VALUE", what, "job.more_detectors", remedy)
