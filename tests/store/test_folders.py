import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.records import Problem, Trace
from distill.store import folders

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3),
    max_leaves=5,
)
keys = st.dictionaries(st.text(max_size=5), values, max_size=5)

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


@given(keys, keys)
def test_a_fingerprint_depends_on_content_and_not_on_order(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert folders.fingerprint(one) == folders.fingerprint(dict(reversed(one.items())))
    assert (folders.fingerprint(one) == folders.fingerprint(other)) == (not folders.differences(one, other))


@given(st.text())
def test_a_slug_is_one_safe_path_component(name: str) -> None:
    slug = folders.slug(name)
    assert 0 < len(slug.encode()) <= 100
    assert slug not in (".", "..")
    assert not slug.startswith(("-", "."))
    assert not set(slug) & set("/\\\0 \n")


def test_a_folder_keeps_the_key_that_named_it(root: str) -> None:
    path = folders.folder("traces", "tiny", {"n": 4})
    assert path == folders.path_of("traces", "tiny", {"n": 4})
    assert '"n": 4' in (Path(path) / "key.json").read_text(encoding="utf-8")


def test_a_miss_names_what_differs_from_the_nearest_folder(root: str) -> None:
    folders.folder("traces", "tiny", {"sampling": {"n": 4, "seed": 0}, "schema": "a"})
    folders.folder("traces", "tiny", {"sampling": {"n": 8, "seed": 1}, "schema": "b"})
    said = folders.explain_miss("traces", "tiny", {"sampling": {"n": 5, "seed": 0}, "schema": "a"})
    assert "sampling.n (4 -> 5)" in said
    assert "schema" not in said
    assert folders.explain_miss("traces", "other", {"n": 1}) == ""


def test_a_locked_folder_is_refused_with_the_process_that_holds_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(folders.Busy, match=str(holder.pid)), folders.locked(str(tmp_path)):
            pass
        holder.kill()
    with folders.locked(str(tmp_path)):  # a dead process holds nothing
        assert (tmp_path / ".lock").read_text(encoding="ascii") == str(os.getpid())


def test_a_changed_record_is_a_changed_key() -> None:
    assert folders.schema_digest(Problem) == folders.schema_digest(Problem)
    assert folders.schema_digest(Problem) != folders.schema_digest(Trace)


def test_a_local_model_is_identified_by_its_files_and_another_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    before = folders.model_identity(str(tmp_path), None)
    (tmp_path / "config.json").write_text('{"a": 1}', encoding="utf-8")
    assert folders.model_identity(str(tmp_path), None) != before
    assert folders.model_identity("org/name", "main") == {"hub": "org/name", "revision": "main"}


def test_large_weights_that_differ_anywhere_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student trained in place has its base's sizes and header: only bytes further on differ."""
    monkeypatch.setattr(folders, "HASHED_WHOLE_BYTES", 1 << 20)
    file = tmp_path / "model.safetensors"
    weights = bytearray(8 << 20)
    file.write_bytes(weights)
    before = folders.model_identity(str(tmp_path), None)
    weights[5 << 20 : 6 << 20] = b"x" * (1 << 20)
    file.write_bytes(weights)
    assert folders.model_identity(str(tmp_path), None) != before
