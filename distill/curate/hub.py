"""The hub: a dataset's folder becomes a dataset repository on the Hugging Face hub, and a student's folder a
model repository, or on a server that speaks its API (`HF_ENDPOINT`).

What belongs to the dataset or the student is sent and nothing else; work files stay where they are. Sending
again sends what is missing or has changed and removes shards that are gone, so a push that was killed goes on
when it is repeated; until it is done, readers of the repository see a part. The token is read by
`huggingface_hub`, from HF_TOKEN or its login, and is never shown.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Literal

FOLDERS = ("candidates/*.parquet", "examples/*.parquet", "preferences/*.parquet", "plots/*.png")
FILES = (
    "README.md",
    "funnel.json",
    "recipe.json",
    "contamination.json",
    "curation.json",
    "duplicates.parquet",
    "contamination.parquet",
)
"""The last three let whoever downloads the dataset cut it anew in seconds."""
STUDENT = (
    "README.md",
    "checkpoint.json",
    "recipe.json",
    "metrics.jsonl",
    "report.md",
    "report.json",
    "plots/loss.png",
)
"""What is sent of a student beside the files of its model, which become the repository's root."""
Kind = Literal["dataset", "model"]
ATTEMPTS = 3
"""`huggingface_hub` tries transfers again by itself, but neither the making of a repository nor a commit."""
WAIT_SECONDS = 1.0
LONGEST_MESSAGE = 300


class HubError(RuntimeError):
    """A dataset or a student that could not be published; the message says why and what to do."""


def push(folder: str, repository: str, private: bool = False, kind: Kind = "dataset") -> str:
    """Sends the folder of a finished dataset or student to the repository `ORG/NAME`, and returns its URL.

    A repository that is not there is made, as visible as its owner's default unless it is to be private.
    Raises HubError.
    """
    if "://" in folder:
        raise HubError(
            f"{folder} is not on this machine: copy it into a folder and send that, hf upload {repository} "
            f"FOLDER --repo-type {kind}"
        )
    if not (Path(folder) / "README.md").is_file():
        raise HubError(f"{folder} is no finished {kind}: it has no README.md, which is written last")
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise HubError(
            "publishing needs huggingface_hub: pip install 'distill[train]', or pip install huggingface_hub"
        ) from error
    lost = errors.HTTPError  # type: ignore[attr-defined]  # of the HTTP library that this version of the client is built on
    attempt = 1
    while True:
        try:
            return _send(folder, repository, private, kind)
        except HubError:
            raise
        except (lost, OSError, RuntimeError, ValueError) as error:
            message, final = _explained(error, repository)
            if final or attempt == ATTEMPTS:
                raise HubError(message) from error
        time.sleep(WAIT_SECONDS * attempt)
        attempt += 1


def _send(folder: str, repository: str, private: bool, kind: Kind) -> str:
    """One attempt: `upload_folder` uploads large files beside git, commits in parts and leaves out what is
    there already."""
    from huggingface_hub import HfApi, get_token

    if not (get_token() or "").isprintable() or not (get_token() or "").isascii():
        raise HubError(
            "the token in HF_TOKEN, or that of the login, holds characters that no token has; set it anew"
        )
    api = HfApi()
    made = api.create_repo(repository, repo_type=kind, private=private or None, exist_ok=True)
    if private and not api.repo_info(made.repo_id, repo_type=kind).private:
        raise HubError(
            f"{repository} is there already and is public: make it private in its settings, or choose "
            "another name"
        )
    with tempfile.TemporaryDirectory() as laid_out:
        if kind == "model":
            _lay_out(Path(folder), Path(laid_out))
        api.upload_folder(
            repo_id=made.repo_id,
            repo_type=kind,
            folder_path=folder if kind == "dataset" else laid_out,
            allow_patterns=[*FILES, *FOLDERS] if kind == "dataset" else None,
            # shards of an earlier cut that this one does not have would be read with it
            delete_patterns=list(FOLDERS) if kind == "dataset" else ["*.safetensors*"],
            commit_message=f"{kind.capitalize()} {Path(folder).resolve().name}",
        )
    return str(made)


def _lay_out(student: Path, folder: Path) -> None:
    """Links to a student's files as its repository has them: those of the model are at the root."""
    files = {path.name: path for path in (student / "model").iterdir()}
    for name, path in {**files, **{name: student / name for name in STUDENT}}.items():
        if path.is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).symlink_to(path.resolve())


def _explained(error: BaseException, repository: str) -> tuple[str, bool]:
    """One line with what went wrong and what to do, and whether another attempt is of no use."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    while error.__cause__ is not None and not isinstance(error, (HfHubHTTPError, ValueError)):
        error = (
            error.__cause__
        )  # what the hub answered or what is wrong with the input says most, else the innermost one
    hub, token = constants.ENDPOINT, get_token()
    if isinstance(error, HFValidationError):
        return f"{repository!r} is no repository's name: ORG/NAME, of letters, digits, '-', '_' and '.'", True
    if isinstance(error, OfflineModeIsEnabled):
        return "nothing can be sent while HF_HUB_OFFLINE is set", True
    status = getattr(getattr(error, "response", None), "status_code", None)
    refused = {
        401: f"{hub} does not accept the token: set HF_TOKEN to a valid one, or run hf auth login"
        if token
        else f"{hub} asks for a token: set HF_TOKEN to one with write access, or run hf auth login",
        403: f"the token may not write to {repository} on {hub}: take one with write access to it",
        404: f"{hub} knows no such place as {repository} for this token: check the name before the slash, "
        "and the token's access",
    }
    if status in refused:
        return refused[status], True
    final = isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError)
    if status is not None:
        final = status < 500 and status not in (408, 409, 412, 429)
    said = " ".join(str(error).replace(token or "\0", "(token)").split())[:LONGEST_MESSAGE]
    without = (
        ", or with HF_HUB_DISABLE_XET=1 if the server has no Xet storage" if "xet-write-token" in said else ""
    )
    return (
        f"{repository} was not sent to {hub} ({said}); the same command goes on where it was{without}",
        final,
    )
