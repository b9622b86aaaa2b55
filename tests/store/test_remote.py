"""A store in an S3 bucket, against a real server: what holds for folders holds there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from distill.records import Problem
from distill.store import (
    Damaged,
    Folder,
    checked,
    exists,
    folders,
    list_shards,
    read_text,
    shards,
    write_text,
)
from distill.store.paths import Unreachable, filesystem, replacing

s3fs = pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

PROJECT = Path(__file__).parents[2]
WRITER = """
import sys
from distill.store import shards
from distill.records import Problem

shards.write(Problem, [Problem("9", "s", "math", "q", None)], sys.argv[1])
"""


@contextmanager
def serving(**environment: str) -> Iterator[str]:
    """The address of an S3 server."""
    command = [sys.executable, str(Path(__file__).parents[1].joinpath("servers", "s3_server.py"))]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | environment,
    ) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


@contextmanager
def used(url: str) -> Iterator[None]:
    """S3 of one server for the block, with credentials as people set them."""
    with pytest.MonkeyPatch.context() as patch:
        settings = {
            "AWS_ENDPOINT_URL_S3": url,
            "AWS_ACCESS_KEY_ID": "key-id",
            "AWS_SECRET_ACCESS_KEY": "never-shown",
            "AWS_REGION": "us-east-1",
        }
        for name, value in settings.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as url, used(url):
        yield url


@pytest.fixture
def bucket(server: str, request: pytest.FixtureRequest) -> str:
    """A bucket of one test's own."""
    name = f"b{abs(hash(request.node.name))}"
    filesystem(f"s3://{name}")[0].mkdir(name)
    return f"s3://{name}"


def problems(count: int, question: str = "q") -> list[Problem]:
    return [Problem(str(number), "s", "math", f"{question}{number}", None) for number in range(count)]


def objects(bucket: str) -> list[str]:
    files, name = filesystem(bucket)
    return sorted(files.find(name))


def test_an_object_is_there_only_when_the_shard_is_whole(bucket: str) -> None:
    path = f"{bucket}/problems/00000.parquet"

    def rows() -> Iterator[Problem]:
        yield from problems(50_000)
        raise RuntimeError("the teacher has gone")

    with pytest.raises(RuntimeError, match="gone"):
        shards.write(Problem, rows(), path)
    assert objects(bucket) == []
    assert not exists(path)
    assert shards.write(Problem, problems(50_000), path) == 50_000
    assert exists(path)
    assert shards.count(path) == 50_000
    assert list(shards.read(Problem, path)) == problems(50_000)


def test_an_old_shard_stays_when_its_successor_fails(bucket: str) -> None:
    path = f"{bucket}/00000.parquet"
    shards.write(Problem, problems(3), path)
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half of it \ud800")
    with suppress(ValueError), replacing(path) as file:
        file.write(b"half a shard")
        raise ValueError
    assert list(shards.read(Problem, path)) == problems(3)


def test_what_another_process_writes_is_seen(bucket: str) -> None:
    shards.write(Problem, problems(1), f"{bucket}/a/00000.parquet")
    assert list_shards(f"{bucket}/a") == [f"{bucket}/a/00000.parquet"]
    subprocess.run([sys.executable, "-c", WRITER, f"{bucket}/a/00001.parquet"], check=True, cwd=PROJECT)
    assert list_shards(f"{bucket}/a") == [f"{bucket}/a/00000.parquet", f"{bucket}/a/00001.parquet"]
    assert list_shards(f"{bucket}/absent") == []


def test_tables_and_chosen_columns_are_read(bucket: str) -> None:
    path = f"{bucket}/00000.parquet"
    shards.write(Problem, problems(100), path)
    assert [table.num_rows for table in shards.read_tables(path)] == [100]
    assert [table.column_names for table in shards.read_tables(path, ["question", "absent"])] == [
        ["question"]
    ]
    assert list(shards.read_rows(path, ["problem_id"]))[7] == {"problem_id": "7"}


def test_a_damaged_object_is_set_aside(bucket: str) -> None:
    path = f"{bucket}/00000.parquet"
    shards.write(Problem, problems(500), path)
    files, name = filesystem(path)
    whole = files.cat_file(name)
    files.pipe_file(name, whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(Damaged, match="set aside"):
        list(checked.read(Problem, path))
    assert objects(bucket) == [f"{name}.damaged"]


def test_the_store_finds_and_explains_its_folders(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "ROOT", f"{bucket}/store")
    folder = Folder("traces", "tiny", {"n": 4})
    with folder.held():
        assert not folder.done()
    assert read_text(f"{folder.path}/key.json") == '{\n "n": 4\n}'
    assert "n (4 -> 5)" in Folder("traces", "tiny", {"n": 5}).why_missing()


def test_a_missing_bucket_is_named_with_what_to_do(server: str) -> None:
    with pytest.raises(
        Unreachable, match=r"s3://nowhere/a.json cannot be written: .*[Bb]ucket.*DISTILL_STORE"
    ):
        write_text("s3://nowhere/a.json", "{}")


def test_wrong_credentials_are_named_with_what_to_do_and_never_shown(bucket: str) -> None:
    path = f"{bucket}/00000.parquet"
    shards.write(Problem, problems(1), path)
    with serving(INITIAL_NO_AUTH_ACTION_COUNT="0") as url, used(url):
        for ask in (
            lambda: exists(path),
            lambda: write_text(path, ""),
            lambda: list(checked.read(Problem, path)),
        ):
            with pytest.raises(Unreachable, match="Set credentials") as said:
                ask()
            assert "never-shown" not in str(said.value)
            assert "key-id" not in str(said.value)


def test_no_credentials_are_named_with_what_to_do(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with used(server):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(Unreachable, match="Set credentials"):
            write_text("s3://bucket/a.json", "{}")


def test_a_server_that_does_not_answer_is_named_with_what_to_do() -> None:
    with (
        used("http://127.0.0.1:9"),
        pytest.raises(Unreachable, match=r"cannot be had: .*AWS_ENDPOINT_URL_S3"),
    ):
        exists("s3://bucket/a.json")


def test_a_dataset_in_a_bucket_is_the_dataset_in_a_folder(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: str
) -> None:
    from flows.loop import make_dataset

    small = ["problems.0.limit=30", "shard_problems=8", "sampling.n=2"]
    made = {}
    for root in (f"{bucket}/store", str(tmp_path)):
        monkeypatch.setattr(folders, "ROOT", root)
        made[root] = make_dataset("dry-run", small).path
    for part in ("examples/00000.parquet", "funnel.json", "README.md"):
        elsewhere, here = (filesystem(f"{path}/{part}") for path in made.values())
        assert elsewhere[0].cat_file(elsewhere[1]) == here[0].cat_file(here[1])
    monkeypatch.setattr(folders, "ROOT", f"{bucket}/store")
    before = objects(bucket)
    assert make_dataset("dry-run", small).path == made[folders.ROOT]
    assert objects(bucket) == before
