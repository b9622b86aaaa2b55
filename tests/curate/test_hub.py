"""Publishing sends the dataset, all of it once, and nothing else; what goes wrong is one line without the
token in it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.curate import dataset_card, hub
from distill.curate.funnel import Funnel
from distill.recipe import Curation

pytest.importorskip("huggingface_hub")
PUSH = """
import sys
from distill.curate import hub
try:
    print(hub.push(sys.argv[1], sys.argv[2], private=sys.argv[3] == "private"))
except hub.HubError as error:
    sys.exit(str(error))
"""
DATA = ["candidates/00000.parquet", "candidates/00001.parquet", "examples/00000.parquet", "plots/funnel.png"]
SENT = {*DATA, "README.md", "funnel.json", "recipe.json"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = [sys.executable, str(Path(__file__).parents[1].joinpath("servers", "hub_server.py"))]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset folder with what has to be sent and what has not."""
    made = tmp_path / "demo-0123456789ab"
    for path, content in {
        "README.md": "---\nlicense: mit\n---\n# demo\n",
        "funnel.json": "{}",
        "recipe.json": '{"name": "demo"}',
        "candidates/00000.parquet": "PAR1 candidates",
        "candidates/00001.parquet": "PAR1 more",
        "examples/00000.parquet": "PAR1 examples",
        "plots/funnel.png": "PNG",
        "key.json": "{}",
        ".lock": "1",
        ".decisions/00000.parquet": "PAR1 work",
        "candidates/.00002.parquet.ab12.tmp": "half",
        "notes/secret.txt": "mine",
    }.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_text(content, encoding="utf-8")
    return made


def started(
    endpoint: str, folder: Path, repository: str, how: str = "public", **variables: str
) -> "subprocess.Popen[str]":
    """A process of its own that pushes, since `huggingface_hub` reads its variables when it is imported."""
    program = [sys.executable, "-c", PUSH, str(folder), repository, how]
    return subprocess.Popen(
        program,
        env=environment(endpoint, folder.parent) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment(endpoint: str, home: Path) -> dict[str, str]:
    """The variables of a process that knows this hub only; Xet storage needs more of a server than this one
    has."""
    given = {
        "HF_ENDPOINT": endpoint,
        "HF_TOKEN": "hf_good",
        "HF_HOME": f"{home}/home",
        "HF_HUB_DISABLE_XET": "1",
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | given


def pushed(
    endpoint: str, folder: Path, repository: str, how: str = "public", **variables: str
) -> tuple[int, str, str]:
    with started(endpoint, folder, repository, how, **variables) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out.strip(), err.strip()


def get(url: str) -> bytes:
    with urlopen(Request(url, headers={"Authorization": "Bearer hf_good"})) as answer:
        return bytes(answer.read())


def known(endpoint: str, repository: str) -> dict:
    return json.loads(get(f"{endpoint}/api/datasets/{repository}"))


def stored(endpoint: str, repository: str) -> dict[str, bytes]:
    paths = [one["rfilename"] for one in known(endpoint, repository)["siblings"]]
    return {path: get(f"{endpoint}/datasets/{repository}/resolve/main/{path}") for path in paths}


def taken(endpoint: str, name: str) -> int:
    """How many large files a repository has taken, in all pushes together."""
    return sum(
        one["method"] == "STORED" and f"/objects/{name}/" in one["path"]
        for one in json.loads(get(f"{endpoint}/log"))
    )


def test_a_push_sends_the_dataset_and_nothing_else_and_a_second_one_sends_nothing(
    endpoint: str, folder: Path
) -> None:
    assert pushed(endpoint, folder, "me/first")[:2] == (0, f"{endpoint}/datasets/me/first")
    assert stored(endpoint, "me/first") == {path: (folder / path).read_bytes() for path in SENT}
    assert known(endpoint, "me/first")["commits"] == ["Dataset demo-0123456789ab"]
    assert not known(endpoint, "me/first")["private"]
    assert taken(endpoint, "first") == len(DATA)
    assert pushed(endpoint, folder, "me/first")[0] == 0
    assert taken(endpoint, "first") == len(DATA) and len(known(endpoint, "me/first")["commits"]) == 1


def test_what_was_pushed_is_read_back_by_its_name(endpoint: str, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    for part, rows in {"examples": [1, 2], "candidates": [1, 2, 3]}.items():
        (tmp_path / "made" / part).mkdir(parents=True)
        for row in rows:
            pq.write_table(pa.table({"row": [row]}), tmp_path / "made" / part / f"{row:05}.parquet")
    (tmp_path / "made/README.md").write_text(
        dataset_card.card("made", Curation(), Funnel()), encoding="utf-8"
    )
    assert pushed(endpoint, tmp_path / "made", "me/read", "private")[0] == 0
    program = "from datasets import load_dataset as l; print(*(l('me/read', part, split='train')['row'][:] for part in (None, 'candidates')))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(endpoint, tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[1, 2] [1, 2, 3]", done.stderr


def test_another_cut_replaces_the_shards_of_the_first(endpoint: str, folder: Path) -> None:
    assert pushed(endpoint, folder, "me/recut")[0] == 0
    (folder / "candidates/00001.parquet").unlink()
    (folder / "examples/00000.parquet").write_text("PAR1 fewer", encoding="utf-8")
    assert pushed(endpoint, folder, "me/recut")[0] == 0
    assert stored(endpoint, "me/recut") == {
        path: (folder / path).read_bytes() for path in SENT if path != "candidates/00001.parquet"
    }


def test_a_killed_push_goes_on_where_it_was(endpoint: str, folder: Path) -> None:
    with started(endpoint, folder, "me/slow") as process:
        deadline = time.monotonic() + 30
        while not taken(endpoint, "slow") and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    assert known(endpoint, "me/slow")["siblings"] == [] and 0 < taken(endpoint, "slow") < len(DATA)
    assert pushed(endpoint, folder, "me/slow")[0] == 0
    assert taken(endpoint, "slow") == len(DATA)
    assert stored(endpoint, "me/slow") == {path: (folder / path).read_bytes() for path in SENT}


def test_what_fails_once_is_tried_again(endpoint: str, folder: Path) -> None:
    assert pushed(endpoint, folder, "me/shaky")[0] == 0
    assert stored(endpoint, "me/shaky").keys() == SENT


def test_a_private_push_makes_a_private_repository_and_refuses_a_public_one(
    endpoint: str, folder: Path
) -> None:
    assert pushed(endpoint, folder, "me/own", "private")[0] == 0
    assert known(endpoint, "me/own")["private"]
    code, _, error = pushed(endpoint, folder, "me/open", "private")
    assert code == 1 and "is public" in error
    assert stored(endpoint, "me/open") == {}


@pytest.mark.parametrize(
    ("repository", "variables", "said"),
    [
        ("me/x", {"HF_TOKEN": "hf_wrong"}, "does not accept the token"),
        ("me/x", {"HF_TOKEN": ""}, "asks for a token"),
        ("me/x", {"HF_TOKEN": "hf_\x07wrong"}, "characters that no token has"),
        ("theirs/x", {}, "may not write to theirs/x"),
        ("nobody/x", {}, "knows no such place as nobody/x"),
        ("a/b/c", {}, "is no repository's name"),
        ("me/x", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE"),
        ("me/x", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "refused"),
    ],
)
def test_what_goes_wrong_is_one_line_without_the_token(
    endpoint: str, folder: Path, repository: str, variables: dict[str, str], said: str
) -> None:
    code, out, error = pushed(endpoint, folder, repository, **variables)
    assert code == 1 and said in error and out == ""
    assert "\n" not in error and "hf_" not in error


def test_a_card_that_the_hub_refuses_is_told_in_its_words(endpoint: str, folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: bogus\n---\n", encoding="utf-8")
    code, _, error = pushed(endpoint, folder, "me/bogus")
    assert code == 1 and "must be one of" in error


@pytest.mark.parametrize(
    ("place", "said"), [("s3://bucket/demo", "hf upload me/x"), ("nowhere", "no README.md")]
)
def test_only_a_finished_folder_of_this_machine_is_sent(tmp_path: Path, place: str, said: str) -> None:
    with pytest.raises(hub.HubError, match=said):
        hub.push(place if "://" in place else str(tmp_path / place), "me/x")


def test_without_huggingface_hub_the_line_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(hub.HubError, match="pip install"):
        hub.push(str(folder), "me/x")
