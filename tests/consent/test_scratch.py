"""What one pass writes, the next reads."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from harness.consent import scratch


@given(st.lists(st.lists(st.text(max_size=6), max_size=5), max_size=5), st.integers(0, 3))
def test_words_are_read_as_they_were_written(lists: list[list[str]], skipped: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        words = scratch.Words(folder, "names")
        for some in lists:
            words.add(pa.array(["before"] * skipped + some, pa.string())[skipped:])
        found = scratch.words(folder, "names")
        found.validate(full=True)
        assert found.to_pylist() == [word for some in lists for word in some]
        scratch.forget()


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1), st.data())
def test_numbers_are_read_from_where_they_were_written(
    numbers: list[int], data: st.DataObject
) -> None:
    begin = data.draw(st.integers(0, len(numbers)))
    end = data.draw(st.integers(begin, len(numbers)))
    with TemporaryDirectory() as name:
        folder = Path(name)
        scratch.write(folder, "some", np.array(numbers[begin:end], np.int64), begin)
        scratch.write(folder, "some", np.array(numbers[:begin], np.int64))
        scratch.write(folder, "some", np.array(numbers[end:], np.int64), end)
        read = scratch.read(folder, "some", np.int64, begin, end)
        assert np.frombuffer(read, np.int64).tolist() == numbers[begin:end]
        scratch.forget()
