import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from distill.engines import Completion, shelf
from distill.engines.completions import Journal
from distill.engines.shelf import Shelf, spent_in
from distill.engines.usage import Spent, spent_on


def completion(number, journal=0, **changes):
    made = Completion(f"{number:016x}", f"text {number} of journal {journal}", prompt_tokens=10, completion_tokens=number)
    return replace(made, **changes)


def journal_of(path, made, indexed=True, **how):
    with Journal(path) as journal:
        journal.append(made, **how)
    if not indexed:
        path.with_suffix(".index").unlink()
    return str(path)


def test_a_shelf_gives_the_good_completions_of_all_its_journals(tmp_path):
    judged = completion(5, key="f" * 64)
    paths = [
        journal_of(tmp_path / "0.journal", [completion(1), completion(2, failure="timeout")]),
        journal_of(tmp_path / "1.journal", [completion(2, 1), completion(1, 1), judged], indexed=False),
        journal_of(tmp_path / "2.journal", [completion(3, 2, failure="timeout")]),
    ]
    found = Shelf(paths)
    assert [found.get(f"{number:016x}") for number in (1, 2, 3, 4)] == [completion(1), completion(2, 1), None, None]
    assert found.get(judged.key) == judged
    assert Shelf([]).get(judged.key) is None


def test_a_shelf_opens_nothing_before_it_is_asked(tmp_path):
    found = Shelf(str(path) for path in tmp_path.glob("*.journal"))
    journal_of(tmp_path / "0.journal", [completion(1)])
    assert found.get(completion(1).key) == completion(1)


def test_a_journal_in_use_is_read_as_far_as_it_is_whole_and_left_alone(tmp_path):
    path = tmp_path / "0.journal"
    journal_of(path, [completion(1)])
    with Journal(path) as journal:
        journal.append([completion(2)])
        size = path.stat().st_size
        with path.open("ab") as file:
            file.write(path.read_bytes()[:50])
        before = {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(tmp_path)}
        found = Shelf([str(path)])
        assert [found.get(completion(number).key) for number in (1, 2)] == [completion(1), completion(2)]
        assert {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(tmp_path)} == before
        assert path.stat().st_size == size + 50
        os.truncate(path, 20)
        assert found.get(completion(2).key) is None


def test_journals_that_vanish_or_are_no_journals_cost_nothing_else(tmp_path):
    paths = [journal_of(tmp_path / f"{number}.journal", [completion(number), completion(9, number)]) for number in range(4)]
    (tmp_path / "notes.journal").write_text("something else")
    (tmp_path / "empty.journal").touch()
    (tmp_path / "folder.journal").mkdir()
    others = [str(tmp_path / f"{name}.journal") for name in ("notes", "empty", "folder", "absent")]
    os.unlink(paths[0])
    found = Shelf([*others, *paths])
    assert found.get(completion(9).key) == completion(9, 1)
    os.unlink(paths[1])
    damaged = tmp_path / "2.journal"
    damaged.write_bytes(damaged.read_bytes().replace(b"text 9", b"test 9"))
    assert found.get(completion(9).key) == completion(9, 3)
    assert [found.get(completion(number).key) for number in (0, 1, 2, 3)] == [None, None, completion(2), completion(3)]


def test_a_key_whose_hash_is_another_ones_is_not_given_the_others_completion(tmp_path, monkeypatch):
    path = journal_of(tmp_path / "0.journal", [completion(1)])
    monkeypatch.setattr(shelf, "hashed", lambda key: shelf.completions_index.hashed(completion(1).key))
    assert Shelf([path]).get(completion(2).key) is None
    assert Shelf([path]).get(completion(1).key) == completion(1)


def test_of_many_journals_the_first_one_is_asked(tmp_path):
    paths = [journal_of(tmp_path / f"{number}.journal", [completion(key, number) for key in (3, 1, 2)]) for number in range(40)]
    found = Shelf(paths)
    assert [found.get(completion(key).key) for key in (1, 2, 3)] == [completion(key) for key in (1, 2, 3)]


def test_threads_may_ask_at_once(tmp_path):
    paths = [
        journal_of(tmp_path / f"{number}.journal", [completion(10 * number + index) for index in range(10)], indexed=number % 2 == 0)
        for number in range(20)
    ]
    found = Shelf(iter(paths))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: found.get(completion(number).key), range(200))) == [completion(number) for number in range(200)]


@pytest.mark.parametrize("indexed", [True, False])
def test_what_a_folder_has_cost_is_counted_once(tmp_path, indexed):
    assert spent_in(str(tmp_path / "absent")) == Spent()
    paid = [completion(1), completion(2, failure="timeout", lost_prompt_tokens=3), completion(2), completion(4)]
    journal_of(tmp_path / "0.journal", paid[:3], indexed)
    with Journal(tmp_path / "1.journal") as journal:
        journal.append([completion(1)], borrowed=True)
        journal.append(paid[3:])
        total = Spent()
        for one in paid:
            total = total.plus(spent_on(one))
        assert spent_in(str(tmp_path)) == total  # of a journal that is in use, too
    assert spent_in(str(tmp_path)) == total
