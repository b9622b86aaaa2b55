"""Files by path: on this machine, or behind any fsspec URL.

Local paths raise what they always do. A server, a bucket or a key that is not as it should be raises
Unreachable, with what to do. A connection that breaks in the middle of a file, after all attempts of the file
system's own package, is not translated.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import fsspec

EXTRAS = {"s3": "s3", "s3a": "s3"}
"""The extra of this package that a protocol needs; others are installed by their own names."""


class Unreachable(OSError):
    """Files elsewhere cannot be had; the message says why and what to do."""


def is_elsewhere(path: str) -> bool:
    """True for a URL, false for a path of this machine."""
    return "://" in path


def filesystem(path: str) -> tuple[Any, str]:
    """The file system of a path and the path's name in it; listings are never remembered, because other
    processes write."""
    try:
        files, name = fsspec.core.url_to_fs(path, use_listings_cache=False)
    except ImportError as error:
        protocol = path.partition("://")[0]
        wanted = f"-e '.[{EXTRAS[protocol]}]'" if protocol in EXTRAS else f"'fsspec[{protocol}]'"
        raise Unreachable(
            f"{path} needs a package that is not installed: run `.venv/bin/pip install {wanted}`"
        ) from error
    return files, str(name)


@contextmanager
def answering(path: str) -> Iterator[None]:
    """Raises Unreachable for what a block that only asks a file system about `path` raises; a missing file
    stays one."""
    try:
        yield
    except (FileNotFoundError, Unreachable):
        raise
    except (
        Exception
    ) as error:  # every file system's package has errors of its own, and few of them are OSErrors
        if not is_elsewhere(path):
            raise
        raise Unreachable(f"{path} cannot be had: {_first_line(error)}. {_remedy(error)}") from error


def put(local: str, path: str) -> None:
    """Copies a file of this machine to a URL, whole or not at all; raises Unreachable."""
    files, name = filesystem(path)
    try:
        with answering(path):
            files.put_file(local, name)
    except FileNotFoundError as error:
        raise Unreachable(
            f"{path} cannot be written: {_first_line(error)}. Make the bucket, or set DISTILL_STORE to one "
            "that is there"
        ) from error


def exists(path: str) -> bool:
    """True when the shard is there, and therefore finished."""
    files, name = filesystem(path)
    with answering(path):
        return bool(files.exists(name))


def list_shards(folder: str) -> list[str]:
    """Paths of the shards in a folder, in order; empty when there is no folder."""
    files, name = filesystem(folder)
    with answering(folder):
        found = sorted(files.glob(name.rstrip("/") + "/*.parquet")) if files.isdir(name) else []
    return [f"{folder.rstrip('/')}/{path.rsplit('/', 1)[1]}" for path in found]


@contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends well, and leaves nothing behind when
    it does not."""
    if is_elsewhere(
        path
    ):  # a stream to an object store publishes what it holds when it is closed, even after an exception
        with tempfile.NamedTemporaryFile(prefix="distill-") as spooled:
            yield spooled
            spooled.flush()
            put(spooled.name, path)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    fsync(target.parent)


def remove(folder: str) -> None:
    """Removes a folder with all that is in it; nothing happens when it is not there."""
    files, name = filesystem(folder)
    with answering(folder):
        if files.exists(name):
            files.rm(name, recursive=True)


def write_text(path: str, text: str) -> None:
    """Writes a small UTF-8 file, whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def read_text(path: str) -> str:
    """The UTF-8 text of a small file."""
    files, name = filesystem(path)
    with answering(path):
        return str(files.cat_file(name).decode())


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")


def _remedy(error: Exception) -> str:
    if isinstance(error, PermissionError) or "redential" in type(error).__name__:
        return (
            "Set credentials that may list, read and write there (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, for s3://)"
        )
    return (
        "See that the address is right and answers (AWS_ENDPOINT_URL_S3 for an S3 that is not Amazon's), "
        "then run the same command again"
    )


def fsync(path: Path) -> None:
    """Returns when the disk has a file, or what a folder holds."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
