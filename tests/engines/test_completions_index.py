import os
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.engines import Completion, completions_index
from distill.engines import completions as journal
from distill.engines.completions import Journal


def completions(count):
    return [Completion(f"{number:064x}", f"text {number}", completion_tokens=number) for number in range(count)]


def index_of(path):
    file = os.open(path, os.O_RDONLY)
    try:
        return completions_index.read(path, file)
    finally:
        os.close(file)


def journal_of(path, made):
    with Journal(path) as pages:
        pages.append(made)
    return path


def test_a_finished_journal_is_opened_without_reading_what_it_holds(tmp_path, monkeypatch):
    made = completions(50)
    path = journal_of(tmp_path / "0.journal", made)
    assert index_of(path).end == path.stat().st_size
    monkeypatch.setattr(completions_index.frames, "read", lambda *_: pytest.fail("a frame was read"))
    with Journal(path) as pages:
        assert len(pages) == 50
        assert made[7].key in pages
        assert pages.spent.completion_tokens == sum(range(50))


def test_an_index_stays_as_it_is_when_nothing_was_added(tmp_path):
    path = journal_of(tmp_path / "0.journal", completions(3))
    before = (tmp_path / "0.index").stat()
    journal_of(path, completions(3))
    assert (tmp_path / "0.index").stat() == before
    journal_of(path, completions(4))
    assert index_of(path).end == path.stat().st_size
    assert sorted(tmp_path.iterdir()) == [tmp_path / "0.index", path]


def test_a_journal_that_went_on_is_read_from_the_end_of_its_index_on(tmp_path, monkeypatch):
    made = completions(8)
    path = journal_of(tmp_path / "0.journal", made[:5])
    finished = path.stat().st_size
    killed = Journal(path)
    killed.append(made[5:])
    starts = []
    scan = completions_index.frames.scan
    monkeypatch.setattr(completions_index.frames, "scan", lambda file, offset: starts.append(offset) or scan(file, offset))
    with Journal(path) as pages:
        assert [pages.get(completion.key) for completion in made] == made
        assert pages.spent.completions == 8
    assert starts == [finished]
    killed.close()


def test_the_index_of_another_journal_does_not_fit(tmp_path):
    path = journal_of(tmp_path / "0.journal", completions(3))
    other = journal_of(tmp_path / "1.journal", [replace(completion, content="TEXT") for completion in completions(9)])
    (tmp_path / "1.index").write_bytes((tmp_path / "0.index").read_bytes())
    assert index_of(other).end == 0
    os.truncate(path, path.stat().st_size - 1)
    assert index_of(path).end == 0


@pytest.mark.parametrize("change", [{"version": 0}, {"spent": {"completions": 1}}])
def test_an_index_of_another_version_counts_as_absent(tmp_path, monkeypatch, change):
    path = tmp_path / "0.journal"
    dumps = completions_index.json.dumps
    with monkeypatch.context() as patch:
        patch.setattr(completions_index.json, "dumps", lambda said: dumps(said | change))
        journal_of(path, completions(3))
    assert (tmp_path / "0.index").exists()
    assert index_of(path).end == 0


@pytest.mark.parametrize("said", ["[]", "3", "{}", '{"version": 1, "end": 0, "spent": []}', "no JSON", "\xff"])
def test_an_index_that_is_whole_but_says_something_else_counts_as_absent(tmp_path, said):
    path = journal_of(tmp_path / "0.journal", completions(3))
    body = said.encode("latin-1") + b"\n"
    (tmp_path / "0.index").write_bytes(body + zlib.crc32(body).to_bytes(completions_index.CHECKSUM_BYTES, "little"))
    assert index_of(path).end == 0
    with Journal(path) as pages:
        assert len(pages) == 3


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_damaged_index_counts_as_absent(tmp_path_factory, data):
    made = completions(5)
    path = journal_of(tmp_path_factory.mktemp("journal") / "0.journal", made)
    index = bytearray(path.with_suffix(".index").read_bytes())
    if data.draw(st.booleans()):
        index[data.draw(st.integers(0, len(index) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        index = bytes(data.draw(st.integers(0, 9))) if data.draw(st.booleans()) else index[: data.draw(st.integers(0, len(index) - 1))]
    path.with_suffix(".index").write_bytes(index)
    assert index_of(path).end == 0
    with Journal(path) as pages:
        assert [pages.get(completion.key) for completion in made] == made
    assert index_of(path).end == path.stat().st_size


def test_a_completion_damaged_behind_the_back_of_its_index_is_asked_again(tmp_path):
    made = [*completions(2), Completion("2", "long" * completions_index.TAIL_BYTES)]
    path = journal_of(tmp_path / "0.journal", made)
    path.write_bytes(path.read_bytes().replace(b"text 1", b"test 1"))
    with Journal(path) as pages:
        assert made[1].key in pages  # as the index has it
        assert pages.get(made[1].key) is None
        assert made[1].key not in pages
        assert [pages.get(made[0].key), pages.get(made[2].key)] == [made[0], made[2]]
    assert len(index_of(path).rows) == 2
    journal_of(path, made)
    with Journal(path) as pages:
        assert [pages.get(completion.key) for completion in made] == made


def test_a_key_whose_hash_is_another_ones_is_not_given_the_others_completion(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "hashed", lambda key: 1)
    with Journal(tmp_path / "0.journal") as pages:
        pages.append(completions(1))
        assert pages.get(completions(2)[1].key) is None
