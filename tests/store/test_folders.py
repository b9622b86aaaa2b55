import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.records import Problem, Trace
from distill.store import Folder, folders, keys, schema, shards

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3),
    max_leaves=5,
)
some_keys = st.dictionaries(st.text(max_size=5), values, max_size=5)

HOLDER = """
import sys
from distill.store import folders

with folders.locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(folders, "ROOT", str(tmp_path))
    return str(tmp_path)


@given(some_keys, some_keys)
def test_a_fingerprint_depends_on_content_and_not_on_order(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert keys.fingerprint(one) == keys.fingerprint(dict(reversed(one.items())))
    assert (keys.fingerprint(one) == keys.fingerprint(other)) == (not keys.differences(one, other))


@given(st.text())
def test_a_slug_is_one_safe_path_component(name: str) -> None:
    slug = keys.slug(name)
    assert 0 < len(slug.encode()) <= 100
    assert slug not in (".", "..")
    assert not slug.startswith(("-", "."))
    assert not set(slug) & set("/\\\0 \n")


def made(stage: str, name: str, key: dict[str, Any]) -> Folder:
    folder = Folder(stage, name, key)
    with folder.making("") as todo:
        assert todo
        folder.finish([])
    return folder


def test_a_folder_keeps_the_key_that_named_it(root: str) -> None:
    path = made("traces", "tiny", {"n": 4}).path
    assert path == f"{root}/traces/tiny-{keys.fingerprint({'n': 4})}"
    assert '"n": 4' in (Path(path) / "key.json").read_text(encoding="utf-8")


def test_a_folder_is_finished_when_its_summary_and_every_shard_that_it_counts_are_there(root: str) -> None:
    folder = Folder("problems", "tiny", {"n": 4})
    path = f"{folder.path}/00000.parquet"
    with pytest.raises(keys.NotMade, match="run `distill collect` first"):
        folder.needed("distill collect")
    with folder.making("") as todo:
        assert todo and folder.lacks(["elsewhere/00000.parquet"]) == [("elsewhere/00000.parquet", path)]
        shards.write(Problem, [Problem("1", "s", "math", "q", None)], path)
        assert folder.lacks([path]) == [] and folder.done() is None
        folder.finish([path], content=[path], more=1)
    summary = folder.needed("distill collect")
    assert (summary["rows"], summary["shards"], summary["more"]) == (1, {"00000.parquet": 1}, 1)
    assert folder.shards() == [path] and folder.shards("examples/") == []
    with folder.making("") as todo:
        assert not todo
    Path(path).unlink()
    assert folder.done() is None


def test_what_a_killed_run_left_half_written_is_removed_when_the_folder_is_held(root: str) -> None:
    folder = made("traces", "tiny", {"n": 4})
    torn = Path(folder.path, ".00000.parquet.1a2b3c4d.tmp")
    torn.touch()
    with folder.held():
        assert not torn.exists()


def test_a_run_that_waits_for_a_folder_that_is_set_aside_holds_the_new_one(root: str) -> None:
    """The lock is a file of the folder, and goes with it: a waiting run must not make do with the old one."""
    folder = Folder("students", "small", {"n": 1})
    held = threading.Event()

    def wait() -> None:
        with folder.held():
            held.set()
            time.sleep(0.5)

    with folder.held():
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(2 * folders.WAITING_SECONDS)
        Path(folder.path).rename(f"{folder.path}.damaged")
        assert not held.is_set()
    assert held.wait(5)
    with pytest.raises(keys.Busy), folders.locked(folder.path):
        pass
    waiting.join()


def test_a_miss_names_what_differs_from_the_nearest_folder(root: str) -> None:
    made("traces", "tiny", {"sampling": {"n": 4, "seed": 0}, "schema": "a"})
    made("traces", "tiny", {"sampling": {"n": 8, "seed": 1}, "schema": "b"})
    said = Folder("traces", "tiny", {"sampling": {"n": 5, "seed": 0}, "schema": "a"}).why_missing()
    assert "sampling.n (4 -> 5)" in said
    assert "schema" not in said
    assert Folder("traces", "other", {"n": 1}).why_missing() == ""


def test_a_locked_folder_is_refused_with_the_process_that_holds_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(keys.Busy, match=str(holder.pid)), folders.locked(str(tmp_path)):
            pass
        holder.kill()
    with folders.locked(str(tmp_path)):  # a dead process holds nothing
        assert (tmp_path / ".lock").read_text(encoding="ascii") == str(os.getpid())


def test_a_changed_record_is_a_changed_key() -> None:
    assert schema.fingerprint(Problem) == schema.fingerprint(Problem)
    assert schema.fingerprint(Problem) != schema.fingerprint(Trace)


def test_a_local_model_is_identified_by_its_files_and_another_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    before = keys.model_identity(str(tmp_path), None)
    (tmp_path / "config.json").write_text('{"a": 1}', encoding="utf-8")
    assert keys.model_identity(str(tmp_path), None) != before
    assert keys.model_identity("org/name", "main") == {"hub": "org/name", "revision": "main"}


def test_large_weights_that_differ_anywhere_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student trained in place has its base's sizes and header: only bytes further on differ."""
    monkeypatch.setattr(keys, "HASHED_WHOLE_BYTES", 1 << 20)
    file = tmp_path / "model.safetensors"
    weights = bytearray(8 << 20)
    file.write_bytes(weights)
    before = keys.model_identity(str(tmp_path), None)
    weights[5 << 20 : 6 << 20] = b"x" * (1 << 20)
    file.write_bytes(weights)
    assert keys.model_identity(str(tmp_path), None) != before
