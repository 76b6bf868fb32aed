"""Canonical JSON against the vectors of RFC 8785, strict parsing, and SHA-256."""

import hashlib
import json
import math
import random
import struct
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.digest import canonical_json, digest_of, sha256_file, sha256_hex, strict_json
from harness.errors import Refused

# RFC 8785, appendix B: IEEE 754 bits and their ECMAScript text.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}
SECRET = "Zwetschgendatschi"

texts = st.text().map(lambda text: unicodedata.normalize("NFC", text))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), texts,
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def refusal_of(value: Any) -> str:
    """The code with which ``canonical_json`` refuses a value."""
    with pytest.raises(Refused) as caught:
        canonical_json(value)
    return caught.value.code


def shuffled(value: Any, draw: random.Random) -> Any:
    """The same value with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = draw.sample([*value], len(value))
        return {key: shuffled(value[key], draw) for key in keys}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_numbers_are_written_as_rfc_8785_says(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number) == text.encode()


def test_the_example_of_rfc_8785_section_3_2() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical_json(value) == (
        b'{"literals":[null,true,false],'
        b'"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        b'"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_sorted_by_utf_16_as_in_rfc_8785_section_3_2_3() -> None:
    # the RFC's keys; its U+FB33 is no NFC text, so U+FB1F's neighbour U+FE70 stands for it
    keys = ["\u20ac", "\r", "\ufe70", "1", "\U0001f600", "\u0080", "\u00f6"]
    written = json.loads(canonical_json(dict.fromkeys(keys, 0)))
    assert [*written] == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufe70"]
    assert [*written] != sorted(keys)  # code points would order the last two the other way round


@settings(max_examples=40)
@given(trees, st.integers())
def test_the_order_of_keys_changes_nothing(value: Any, seed: int) -> None:
    other = shuffled(value, random.Random(seed))
    assert canonical_json(value) == canonical_json(other)
    assert digest_of(value) == digest_of(other)


@given(trees)
def test_reading_back_gives_the_value_and_the_same_bytes(value: Any) -> None:
    data = canonical_json(value)
    # as IEEE 754 numbers: the RFC writes floats from 2^53 to 1e21 without a point
    again = json.loads(data, parse_int=float)
    assert again == value
    assert canonical_json(again) == data
    assert strict_json(data, "x") == json.loads(data)


@given(trees)
def test_a_digest_is_that_of_the_canonical_bytes(value: Any) -> None:
    assert digest_of(value) == hashlib.sha256(canonical_json(value)).hexdigest()


@given(st.text())
def test_text_that_is_not_nfc_is_refused_as_value_and_as_key(text: str) -> None:
    decomposed = unicodedata.normalize("NFD", text + "\u00e9")
    for value in (decomposed, [decomposed], {decomposed: 1}, {"a": ({"b": decomposed},)}):
        assert refusal_of(value) == "NONCANONICAL"


@pytest.mark.parametrize(
    "value",
    [
        math.nan, math.inf, -math.inf, 2**53 + 1, -(2**53) - 1, 10**400, b"bytes", {1: 2}, {1},
        "\ud800",
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_json_does_not_have_is_refused(value: Any) -> None:
    assert refusal_of(value) == "NONCANONICAL"
    assert refusal_of({"deep": [value]}) == "NONCANONICAL"


def test_the_largest_exact_integers_are_written() -> None:
    assert canonical_json([2**53 - 1, 1 - 2**53]) == b"[9007199254740991,-9007199254740991]"


def test_a_refusal_does_not_repeat_the_text() -> None:
    with pytest.raises(Refused) as caught:
        canonical_json({SECRET: SECRET + "e\u0301"})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"%s": 1, "%s": 2}', b'[{"a": {"%s": 1, "b": 2, "%s": 1}}]', b'["%s", NaN, "%s"]',
        b'["%s", -Infinity, "%s"]', b'{"%s": "\xff%s"}', b'{"%s": 1} {"%s": 1}', b'{"%s": "%s"} x',
        b'{"%s": %s}', b'{"%s": "%s"', b'\xef\xbb\xbf"%s%s"', b"%s%s", b"'%s%s'",
        b'["%s", "a\nb%s"]', b'["%s\\q%s"]', b'["%s", "%s",]',
    ],
)  # fmt: skip
def test_strict_json_refuses_in_one_line_and_never_with_the_content(data: bytes) -> None:
    secret = SECRET.encode()
    with pytest.raises(Refused) as caught:
        strict_json(data.replace(b"%s", secret), "records.jsonl:7")
    line = str(caught.value)
    assert caught.value.code == "JSON_INVALID"
    assert caught.value.where == "records.jsonl:7"
    assert SECRET not in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_that_is_too_deep_is_refused(opening: str) -> None:
    with pytest.raises(Refused) as caught:
        strict_json((opening * 200_000).encode(), "x")
    assert caught.value.code == "JSON_INVALID"


@given(st.binary() | st.text().map(str.encode))
def test_strict_json_accepts_only_what_a_lenient_reader_reads_the_same(data: bytes) -> None:
    try:
        value = strict_json(data, "x")
    except Refused:  # and nothing else
        return
    assert value == json.loads(data.decode())


@settings(max_examples=40)
@given(trees)
def test_bytes_after_the_value_are_refused(value: Any) -> None:
    with pytest.raises(Refused):
        strict_json(canonical_json(value) + b" ]", "x")


def test_sha256_of_the_empty_text_and_of_abc() -> None:
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of({"b": 1, "a": 2}) == sha256_hex(b'{"a":2,"b":1}')


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 300_000])
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    assert sha256_file(path) == sha256_hex(data)
