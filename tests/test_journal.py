import resource
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.engines import Completion
from distill.journal import Journal


def completions(count):
    return [
        Completion(f"{number:016x}", f"text {number} \ud800 \u601d\n", reasoning=None, completion_tokens=number) for number in range(count)
    ]


def test_a_journal_gives_back_what_was_appended(tmp_path):
    made = completions(200)
    with Journal(tmp_path / "new" / "journal") as journal:
        journal.append(made[:150])
        for completion in made[150:]:
            journal.append([completion])
        assert [journal.get(completion.key) for completion in made] == made
    with Journal(tmp_path / "new" / "journal") as journal:
        assert len(journal) == 200
        assert [journal.get(completion.key) for completion in made] == made
        assert "no such key" not in journal
        assert journal.get("no such key") is None


def test_the_first_completion_of_a_key_stays(tmp_path):
    first = completions(1)[0]
    with Journal(tmp_path / "journal") as journal:
        journal.append([first, replace(first, content="second")])
        journal.append([replace(first, content="third")])
        assert journal.get(first.key) == first
    with Journal(tmp_path / "journal") as journal:
        assert journal.get(first.key) == first


def test_a_journal_torn_at_any_byte_keeps_every_whole_completion(tmp_path):
    made = completions(4)
    with Journal(tmp_path / "whole") as journal:
        journal.append(made[:1])
        first = (tmp_path / "whole").stat().st_size
        journal.append(made[1:])
    data = (tmp_path / "whole").read_bytes()
    ends = [first, *(position for position in range(first, len(data)) if data[position:].startswith(data[:4])), len(data)]
    for size in range(len(data) + 1):
        torn = tmp_path / "torn"
        torn.write_bytes(data[:size])
        with Journal(torn) as journal:
            kept = sum(end <= size for end in dict.fromkeys(ends))
            assert [journal.get(completion.key) for completion in made] == made[:kept] + [None] * (4 - kept)
            journal.append(made)
        with Journal(torn) as journal:
            assert [journal.get(completion.key) for completion in made] == made


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_changed_bytes_cost_the_completions_that_they_are_in(tmp_path_factory, data):
    made = completions(5)
    path = tmp_path_factory.mktemp("journal") / "journal"
    with Journal(path) as journal:
        journal.append(made)
    bytes_ = bytearray(path.read_bytes())
    position = data.draw(st.integers(4, len(bytes_) - 1))
    bytes_[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes_)
    with Journal(path) as journal:
        found = [journal.get(completion.key) for completion in made]
        assert sum(one == two for one, two in zip(found, made, strict=True)) == 4
        assert found.count(None) == 1
        journal.append(made)
    with Journal(path) as journal:
        assert [journal.get(completion.key) for completion in made] == made


def test_a_journal_changed_while_open_is_an_error_and_not_another_completion(tmp_path):
    with Journal(tmp_path / "journal") as journal:
        journal.append(completions(1))
        (tmp_path / "journal").write_bytes(b"x" * (tmp_path / "journal").stat().st_size)
        with pytest.raises(OSError, match="changed"):
            journal.get(completions(1)[0].key)


def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path):
    (tmp_path / "notes").write_text("something else")
    with pytest.raises(ValueError, match="not a journal"):
        Journal(tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == "something else"


def test_a_journal_that_met_a_full_disk_goes_on_afterwards(tmp_path):
    made = completions(3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(tmp_path / "journal") as journal:
        journal.append(made[:1])
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "journal").stat().st_size + 20, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                journal.append(made[1:])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert len(journal) == 1
        journal.append(made[1:])
    with Journal(tmp_path / "journal") as journal:
        assert [journal.get(completion.key) for completion in made] == made
