"""A real server for tests that keeps dataset and model repositories, as the hub does for what `huggingface_hub` and
`datasets` ask of it.

`python tests/servers/hub_server.py` prints its port. It takes the token `hf_good`; others get 401 with the
token in the answer. Names decide its manners: the namespace `theirs` is 403, one that starts with `no` is
404; in a repository whose name starts with `shaky` each path fails once with 500, with `slow` large files are
taken one after the other, in 0.4 seconds each. `GET /log` gives method and path of every request that
arrived, and a line with the method `STORED` for each large file that was taken.
"""

import asyncio
import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field

from aiohttp import web
from yaml import YAMLError, safe_load

LOG: list[dict] = []
FAILED: Counter[str] = Counter()
LARGE = (".parquet", ".png", ".safetensors")


@dataclass
class Repository:
    """One branch, without a history."""

    private: bool = False
    commits: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr(self.commits).encode()).hexdigest()


REPOSITORIES: dict[str, Repository] = {"me/open": Repository()}
OBJECTS: dict[tuple[str, str], bytes] = {}
"""Large files by the name of their repository and their SHA-256."""
ONE_BY_ONE = asyncio.Lock()


def oid(path: str, content: bytes) -> str:
    """What git, or LFS, calls a file's content."""
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@web.middleware
async def gate(request: web.Request, handler) -> web.StreamResponse:
    """Writes the log, and answers for a repository with manners."""
    name = request.match_info.get("name", "")
    LOG.append({"method": request.method, "path": request.path})
    token = request.headers.get("Authorization", "")
    if (
        request.method in ("POST", "PUT")
        and not request.path.startswith("/objects")
        and token != "Bearer hf_good"
    ):
        return web.json_response(
            {"error": f"Invalid credentials: {token}"},
            status=401,
            headers={"X-Error-Message": f"what is {token}?"},
        )
    if name.startswith("shaky") and request.method in ("POST", "PUT") and not FAILED[request.path]:
        FAILED[request.path] += 1
        return web.Response(status=500, text="not well")
    return await handler(request)


async def create(request: web.Request) -> web.Response:
    """Makes a repository, or says that it is there."""
    asked = await request.json()
    owner = asked["organization"] or "me"
    if owner == "theirs":
        return web.json_response({"error": "no rights"}, status=403)
    if owner.startswith("no"):
        return web.json_response({"error": "no such namespace"}, status=404)
    key = f"{owner}/{asked['name']}"
    there = key in REPOSITORIES
    REPOSITORIES.setdefault(key, Repository(asked.get("visibility") == "private"))
    shown = f"datasets/{key}" if asked.get("type") == "dataset" else key
    return web.json_response(
        {"url": f"http://{request.host}/{shown}", "name": key}, status=409 if there else 200
    )


async def validate(request: web.Request) -> web.Response:
    """Reads the YAML block of a card."""
    content = (await request.json())["content"]
    try:
        header = safe_load(content.split("---\n")[1])
    except (YAMLError, IndexError) as error:
        return web.json_response({"errors": [{"message": str(error)}], "warnings": []}, status=400)
    wrong = (
        []
        if header.get("license") != "bogus"
        else [{"message": '"license" must be one of [apache-2.0, ...]'}]
    )
    return web.json_response({"errors": wrong, "warnings": []}, status=400 if wrong else 200)


async def preupload(request: web.Request) -> web.Response:
    """How each file is to be sent, and what is there under its name."""
    files = repository(request).files
    paths = [file["path"] for file in (await request.json())["files"]]
    found = [
        {
            "path": path,
            "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
            "shouldIgnore": False,
            "oid": oid(path, files[path]) if path in files else None,
        }
        for path in paths
    ]
    return web.json_response({"files": found})


async def batch(request: web.Request) -> web.Response:
    """Where each large file goes that is not there yet."""
    name, found = request.match_info["name"], []
    for one in (await request.json())["objects"]:
        action = {"actions": {"upload": {"href": f"http://{request.host}/objects/{name}/{one['oid']}"}}}
        found.append(one if (name, one["oid"]) in OBJECTS else one | action)
    return web.json_response({"transfer": "basic", "objects": found})


async def put(request: web.Request) -> web.Response:
    """Takes the content of a large file, unless who sends it has gone."""
    name, wanted = request.match_info["name"], request.match_info["oid"]
    content = await request.read()
    if name.startswith("slow"):
        async with ONE_BY_ONE:
            await asyncio.sleep(0.4)
    assert hashlib.sha256(content).hexdigest() == wanted
    if request.transport is not None and not request.transport.is_closing():
        OBJECTS[name, wanted] = content
        LOG.append({"method": "STORED", "path": request.path})
    return web.Response()


async def commit(request: web.Request) -> web.Response:
    """Makes the files of a commit the repository's."""
    own = repository(request)
    for line in (await request.text()).splitlines():
        item = json.loads(line)
        value = item["value"]
        match item["key"]:
            case "header":
                own.commits.append(value["summary"])
            case "file":
                own.files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                own.files[value["path"]] = OBJECTS[request.match_info["name"], value["oid"]]
            case "deletedFile":
                del own.files[value["path"]]
    url = f"http://{request.host}/datasets/{key(request)}/commit/{own.sha}"
    return web.json_response({"commitUrl": url, "commitOid": own.sha, "pullRequestUrl": None})


async def info(request: web.Request) -> web.Response:
    """What is known of a repository."""
    own = repository(request)
    siblings = [{"rfilename": path} for path in sorted(own.files)]
    known = {
        "id": key(request),
        "sha": own.sha,
        "private": own.private,
        "siblings": siblings,
        "tags": [],
        "downloads": 0,
    }
    return web.json_response(known | {"commits": own.commits})


async def tree(request: web.Request) -> web.Response:
    """The files below a folder, and the folders."""
    files, below = repository(request).files, request.match_info.get("path", "")
    start = f"{below}/" if below else ""
    inside = {path: content for path, content in files.items() if path.startswith(start)}
    if below and not inside:
        return web.json_response({"error": "no entry"}, status=404, headers={"X-Error-Code": "EntryNotFound"})
    if "recursive" not in request.query or request.query["recursive"].lower() == "false":
        inside = {path: content for path, content in inside.items() if "/" not in path.removeprefix(start)}
    folders = {
        path.removeprefix(start).split("/")[0]
        for path in files
        if path.startswith(start) and "/" in path.removeprefix(start)
    }
    rows = [{"type": "directory", "path": start + name, "oid": "0" * 40} for name in sorted(folders)]
    return web.json_response([*rows, *(entry(path, content) for path, content in sorted(inside.items()))])


async def paths_info(request: web.Request) -> web.Response:
    """The same for named paths."""
    files = repository(request).files
    posted = await request.post()
    asked = [str(path) for path in posted.getall("paths", [])] if posted else (await request.json())["paths"]
    rows = [entry(path, files[path]) for path in asked if path in files]
    folders = [path for path in asked if any(one.startswith(f"{path}/") for one in files)]
    return web.json_response(
        [*rows, *({"type": "directory", "path": path, "oid": "0" * 40} for path in folders)]
    )


def entry(path: str, content: bytes) -> dict:
    """One file of a tree."""
    row = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    return row | (
        {"lfs": {"oid": oid(path, content), "size": len(content), "pointerSize": 130}}
        if path.endswith(LARGE)
        else {}
    )


async def resolve(request: web.Request) -> web.Response:
    """The content of a file, or the range of it that is asked for."""
    own, path = repository(request), request.match_info["path"]
    if path not in own.files:
        return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
    content = own.files[path]
    headers = {"ETag": f'"{oid(path, content)}"', "X-Repo-Commit": own.sha, "Accept-Ranges": "bytes"}
    asked = request.http_range
    if asked.start is None:
        return web.Response(body=content, headers=headers)
    end = min(asked.stop or len(content), len(content))
    headers["Content-Range"] = f"bytes {asked.start}-{end - 1}/{len(content)}"
    return web.Response(status=206, body=content[asked.start : end], headers=headers)


def key(request: web.Request) -> str:
    return f"{request.match_info['owner']}/{request.match_info['name']}"


def repository(request: web.Request) -> Repository:
    """The repository of a request; 404 as the hub gives it."""
    own = REPOSITORIES.get(key(request))
    token = request.headers.get("Authorization", "")
    if own is None or (own.private and token != "Bearer hf_good"):
        raise web.HTTPNotFound(
            text='{"error": "Repository not found"}', headers={"X-Error-Code": "RepoNotFound"}
        )
    return own


async def tell(request: web.Request) -> web.Response:
    """The log of what arrived."""
    return web.json_response(LOG)


async def main() -> None:
    """Serves until it is killed."""
    app = web.Application(client_max_size=2**28, middlewares=[gate])
    app.add_routes(
        [
            web.get("/log", tell),
            web.post("/api/repos/create", create),
            web.post("/api/validate-yaml", validate),
            web.put("/objects/{name}/{oid}", put),
        ]
    )
    for api, shown in (("/api/datasets", "/datasets"), ("/api/models", "")):
        own, files = api + "/{owner}/{name}", shown + "/{owner}/{name}"
        app.add_routes(
            [
                web.get(own, info),
                web.get(own + "/revision/{revision}", info),
                web.get(own + "/tree/{revision}", tree),
                web.get(own + "/tree/{revision}/{path:.+}", tree),
                web.post(own + "/paths-info/{revision}", paths_info),
                web.post(own + "/preupload/{revision}", preupload),
                web.post(own + "/commit/{revision}", commit),
                web.post(files + ".git/info/lfs/objects/batch", batch),
                web.get(files + "/resolve/{revision}/{path:.+}", resolve),
            ]
        )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
