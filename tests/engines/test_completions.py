import json
import resource
import struct
import tracemalloc
import zlib
from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.engines import Completion, frames
from distill.engines.completions import Journal
from distill.engines.usage import Spent, spent_on
from distill.store.folders import StoreError


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


def spent_on_all(paid):
    return reduce(Spent.plus, map(spent_on, paid), Spent())


def test_the_first_good_completion_of_a_key_stays(tmp_path):
    first = completions(1)[0]
    with Journal(tmp_path / "journal") as journal:
        journal.append([first, replace(first, content="second")])
        journal.append([replace(first, content="third")])
        journal.append([replace(first, failure="timeout")])
        assert journal.get(first.key) == first
    with Journal(tmp_path / "journal") as journal:
        assert journal.get(first.key) == first
        assert journal.spent == spent_on(first)


def test_a_failed_completion_gives_way_to_the_next_one_and_stays_paid_for(tmp_path):
    good = replace(completions(2)[1], lost_completion_tokens=7)
    tries = [replace(good, content=None, failure="timeout"), replace(good, content=None, failure="null_content"), good]
    for number, completion in enumerate(tries, 1):
        with Journal(tmp_path / "journal") as journal:
            assert journal.failed(good.key) == (number > 1)
            journal.append([completion])
            for opened in (journal, Journal(tmp_path / "journal")):
                assert opened.get(good.key) == completion
                assert opened.failed(good.key) == (number < 3)
                assert len(opened) == 1
                assert opened.spent == spent_on_all(tries[:number])
            opened.close()
    assert not Journal(tmp_path / "journal").failed("no such key")


def test_what_was_paid_for_elsewhere_is_not_counted_again(tmp_path):
    paid, borrowed = completions(9)[7:]
    with Journal(tmp_path / "journal") as journal:
        journal.append([paid])
        journal.append([borrowed], borrowed=True)
        journal.append([borrowed])
    (tmp_path / "journal.index").unlink()
    with Journal(tmp_path / "journal") as journal:
        assert [journal.get(paid.key), journal.get(borrowed.key)] == [paid, borrowed]
        assert journal.spent == spent_on(paid)


def test_a_journal_torn_at_any_byte_keeps_every_whole_completion(tmp_path):
    first, second, third = completions(3)
    written = [first, replace(second, failure="timeout"), second, replace(third, failure="timeout"), replace(third, failure="refused")]
    with Journal(tmp_path / "whole") as journal:
        journal.append(written[:2])
    stale = (tmp_path / "whole.index").read_bytes()
    with Journal(tmp_path / "whole") as journal:
        journal.append(written[2:])
    data, last = (tmp_path / "whole").read_bytes(), (tmp_path / "whole.index").read_bytes()
    ends = [position for position in range(1, len(data)) if data[position:].startswith(data[:4])] + [len(data)]
    torn, index = tmp_path / "torn", tmp_path / "torn.index"
    for size in range(len(data) + 1):
        torn.write_bytes(data[:size])
        index.unlink(missing_ok=True) if size % 3 == 0 else index.write_bytes(stale if size % 3 == 1 else last)
        kept = written[: sum(end <= size for end in ends)]
        held = {completion.key: completion for completion in kept}
        with Journal(torn) as journal:
            assert torn.stat().st_size == max(end for end in [0, *ends] if end <= size)
            assert [journal.get(completion.key) for completion in (first, second, third)] == [
                held.get(completion.key) for completion in (first, second, third)
            ]
            assert [key for key in held if journal.failed(key)] == [key for key, one in held.items() if one.failure]
            assert journal.spent == spent_on_all(kept)
            journal.append([first, second, third])
        with Journal(torn) as journal:
            assert [journal.get(completion.key) for completion in (first, second, third)] == [first, second, third]


APPENDS = st.tuples(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, None, "timeout"]), st.integers(0, 10**6)), max_size=4), st.booleans()
)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.lists(APPENDS, max_size=4), st.sampled_from(["kept", "lost", "older"]), st.integers(0, 30)), max_size=5))
def test_a_journal_holds_what_a_table_would_however_often_it_is_opened(tmp_path_factory, sessions):
    path = tmp_path_factory.mktemp("journal") / "0.journal"
    index = path.with_suffix(".index")
    held, paid, older = {}, [], None
    for appends, beside, torn_bytes in sessions:
        with Journal(path) as journal:
            for entries, borrowed in appends:
                made = [
                    Completion(f"{key:016x}" * (1 + 3 * (key % 2)), f"{tokens}", failure=failure, prompt_tokens=tokens)
                    for key, failure, tokens in entries
                ]
                journal.append(made, borrowed=borrowed)
                for completion in made:
                    if completion.key not in held or held[completion.key].failure:
                        held[completion.key] = completion
                        paid += [] if borrowed else [completion]
            assert {key: journal.get(key) for key in held} == held
            assert {key for key in held if journal.failed(key)} == {key for key, one in held.items() if one.failure}
            assert (len(journal), journal.spent) == (len(held), spent_on_all(paid))
        with path.open("ab") as file:
            file.write((b"\xd1\x57\x1a\x0a" + bytes(30))[:torn_bytes] if held else b"")
        made_now = index.read_bytes() if index.exists() else None
        if beside == "lost":
            index.unlink(missing_ok=True)
        elif beside == "older" and older is not None:
            index.write_bytes(older)
        older = made_now


def test_journals_put_end_to_end_hold_the_first_good_completion_of_each_key(tmp_path):
    good, other = completions(2)
    parts = [[replace(good, failure="timeout"), other], [good], [replace(other, content="second")], [replace(good, failure="refused")]]
    for number, part in enumerate(parts):
        with Journal(tmp_path / f"{number}") as journal:
            journal.append(part)
    (tmp_path / "all").write_bytes(b"".join((tmp_path / f"{number}").read_bytes() for number in range(4)))
    with Journal(tmp_path / "all") as journal:
        assert [journal.get(good.key), journal.get(other.key)] == [good, other]
        assert journal.spent == spent_on_all(one for part in parts for one in part)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 60)), min_size=4, max_size=4), st.integers(4, 40))
def test_bytes_between_frames_are_passed_over(tmp_path_factory, between, searched_bytes):
    made = completions(3)
    folder = tmp_path_factory.mktemp("journal")
    wholes = []
    for completion in made:
        with Journal(folder / completion.key) as journal:
            journal.append([completion])
        wholes.append((folder / completion.key).read_bytes())
    junk = [wholes[0][:some] if isinstance(some, int) else some for some in between]
    (folder / "journal").write_bytes(b"".join(part for pair in zip(junk, [*wholes, b""], strict=True) for part in pair))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "SEARCHED_BYTES", searched_bytes)
        with Journal(folder / "journal") as journal:
            assert [journal.get(completion.key) for completion in made] == made


def test_a_damaged_length_sets_no_memory_aside(tmp_path):
    with Journal(tmp_path / "journal") as journal:
        journal.append(completions(3))
    data = (tmp_path / "journal").read_bytes()
    (tmp_path / "journal").write_bytes(data[:4] + b"\xff" * 4 + data[8:])
    tracemalloc.start()
    with Journal(tmp_path / "journal") as journal:
        assert len(journal) == 2
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 10 * frames.SEARCHED_BYTES


def test_a_journal_of_a_former_version_is_read_on(tmp_path):
    former = {"key": "0f", "content": "4", "reasoning": "2 + 2", "finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 5}
    payload = json.dumps(former | {"reasoning_tokens": None, "model": "m", "failure": None}).encode()
    length = struct.pack("<I", len(payload))
    frame = b"\xd1\x57\x1a\x0a" + length + struct.pack("<I", zlib.crc32(length + payload)) + payload
    (tmp_path / "journal").write_bytes(frame)
    with Journal(tmp_path / "journal") as journal:
        assert journal.get("0f") == Completion("0f", "4", "2 + 2", prompt_tokens=9, completion_tokens=5, model="m")
        assert journal.spent == Spent(completions=1, prompt_tokens=9, completion_tokens=5)


@settings(deadline=None, max_examples=100)
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
    if data.draw(st.booleans()):
        path.with_suffix(".index").unlink()
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
    with pytest.raises(StoreError, match="not a journal"):
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


def test_a_disk_that_is_full_at_the_end_costs_the_index_only(tmp_path):
    made = completions(300)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = Journal(tmp_path / "journal")
    journal.append(made)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        journal.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]
    with Journal(tmp_path / "journal") as journal:
        assert [journal.get(completion.key) for completion in made] == made
