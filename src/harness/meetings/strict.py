"""What every reader of text shares: decode all of it, number its lines, refuse the rest."""

from harness.errors import Refused

_BOM = "\ufeff"


def refusal(what: str, line: int, remedy: str = "export the file again") -> Refused:
    """The refusal of a file at a line counted from 1; ``what`` never quotes the file."""
    return Refused("PARSE_REFUSED", what, f"line {line}", remedy)


def decode(data: bytes) -> str:
    """Decode UTF-8 and drop one leading byte order mark.

    Raises:
        Refused: ``PARSE_REFUSED`` with the line of the first byte that is not UTF-8.
    """
    try:
        return data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refusal("not UTF-8", line, "save the file as UTF-8") from None


def lines(text: str) -> list[str]:
    """Lines that end in CR LF or LF, without their ends; ``str.splitlines`` splits on more.

    Raises:
        Refused: ``PARSE_REFUSED`` where a CR stands alone.
    """
    found = [line.removesuffix("\r") for line in text.split("\n")]
    for number, line in enumerate(found, 1):
        if "\r" in line:
            raise refusal("a carriage return inside a line", number)
    return found
