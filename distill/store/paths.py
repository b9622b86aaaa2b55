"""Files elsewhere: fsspec's file system for a path, and what it says when a server, a bucket or a key is not
as it should be.

Local paths go through here too and raise what they always do. A connection that breaks in the middle of a
file, after all attempts of the file system's own package, is not translated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
