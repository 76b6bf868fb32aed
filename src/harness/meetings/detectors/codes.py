"""Numbers that are secret for what they open or tell: passcodes, telephones, amounts of money.

They have a form and no check: found in what was trained on they are worth a probe, but most numbers
of such a form are no secret, so nothing is masked or denied for them.
"""

import re
from collections.abc import Iterator

from harness.meetings.detectors.span import Span

_PATTERN = re.compile(
    r"(?P<phone>(?<![\d-])\d{3}-\d{3}-\d{4}(?![\d-]))"
    r"|(?P<amount>\$\d{1,3}(?:,\d{3})+(?!\d|,\d))"
    r"|(?P<passcode>(?<![\d$])\d{6}(?!\d))",
    re.ASCII,
)


class Codes:
    """The detector of such numbers, in time linear in the length of a text.

    A passcode is a run of exactly six digits, a phone number ``NNN-NNN-NNNN`` whether or not there
    is such a number, an amount ``$`` and digits grouped in thousands by at least one comma.
    """

    name = "codes/1"

    def find(self, text: str) -> Iterator[Span]:
        """Spans of a text; see :class:`harness.meetings.detectors.span.Detector`."""
        for match in _PATTERN.finditer(text):
            yield Span(match.start(), match.end(), match.lastgroup or "")
