"""The whole loop in one flow, dataset, student, report; its two halves as flows of their own; and their
deployments, on a server with the run page.

    distill/nightly   dataset/make   student/make

The nightly schedule is made switched off; `distill schedule on` switches it on, and it stays so over
restarts. One run at a time: a second one waits. Runs live as long as the command that serves them: nothing
runs while it is not there.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from prefect import flow, get_client
from prefect import serve as serve_deployments
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from distill import verify
from distill.engines import ENGINES, vllm
from distill.plan import CannotRun, teacher_ready
from distill.progress import say
from distill.recipe import RecipeError, load_both, load_dataset
from distill.store import Folder, NotMade
from distill.train import student_template
from flows import runners, server
from flows.collect import collect_stage
from flows.curate import curate_stage
from flows.evaluate import ask_teacher, collect_suites, evaluate_stage
from flows.identity import Folders
from flows.sample import sample_stage
from flows.server import ServerError, healthy, started
from flows.train import train_stage
from flows.verify import verify_stage

NIGHTLY = "distill/nightly"
CRON = "0 2 * * *"
RUNS_AT_ONCE = 1
AUTHENTICATION = "PREFECT_SERVER_API_AUTH_STRING"


@flow(name="distill", **runners.FLOW)
def distill(
    student: str = "tiny-qwen2", dataset: str | None = None, overrides: list[str] | None = None
) -> str:
    """Makes or reuses the dataset, the student and its report, and returns the path of report.json."""
    recipe, dataset_recipe = load_both(student, dataset, tuple(overrides or ()))
    # also for runs that are started without the command line
    student_template.check(recipe.base, dataset_recipe.sampling.system)
    folders = Folders.of(dataset_recipe)
    with runners.marked():
        collect_suites(recipe.evaluation, folders.model)
        with (
            vllm.kept()
        ):  # a teacher that we serve is loaded once, and its GPUs are free again for the training
            dataset_of(folders)
            if ENGINES[dataset_recipe.teacher.engine].starts_servers and recipe.evaluation.teacher:
                ask_teacher(recipe.evaluation, folders.model)
        train_stage(folders, recipe)
        return evaluate_stage(folders, recipe)


@flow(name="student", **runners.FLOW)
def make_student(
    student: str = "tiny-qwen2", dataset: str | None = None, overrides: list[str] | None = None
) -> str:
    """Trains and scores a student on a dataset that is there already; samples no training data."""
    recipe, dataset_recipe = load_both(student, dataset, tuple(overrides or ()))
    folders = Folders.of(dataset_recipe)
    folders.dataset.needed(f"distill dataset {dataset_recipe.name}")
    with runners.marked():
        collect_suites(recipe.evaluation, folders.model)
        train_stage(folders, recipe)
        return evaluate_stage(folders, recipe)


@flow(name="dataset", **runners.FLOW)
def make_dataset(dataset: str, overrides: list[str] | None = None) -> Folder:
    """Makes or reuses the dataset of a recipe's name, with `section.key=value` overrides."""
    with runners.marked():
        return dataset_of(Folders.of(load_dataset(dataset, tuple(overrides or ()))))


def dataset_of(folders: Folders) -> Folder:
    """Goes through the stages of a dataset; each one reuses what the store has."""
    verify.require(folders.kinds, folders.verification)
    require_teacher(folders)
    collect_stage(folders)
    sample_stage(folders)
    verify_stage(folders)
    return curate_stage(folders)


def require_teacher(folders: Folders) -> None:
    """Raises what keeps the teacher from being asked, unless its traces are there already."""
    assert folders.recipe is not None
    try:
        teacher_ready(folders.recipe)
    except (CannotRun, RecipeError):
        try:
            sampled = folders.traces.done() is not None
        except NotMade:
            sampled = False
        if not sampled:
            raise


def serve(host: str, port: int) -> None:
    """Serves the deployments until it is stopped, on a server of its own unless `PREFECT_API_URL` names
    one."""
    if os.environ.get(AUTHENTICATION):
        os.environ.setdefault(
            "PREFECT_API_AUTH_STRING", os.environ[AUTHENTICATION]
        )  # our own calls need it as well
    elif not _loopback(host):
        raise ServerError(
            f"{host} lets others start runs here: set {AUTHENTICATION}=user:password first, or listen on "
            "127.0.0.1"
        )
    if running := server.served():
        raise ServerError(f"`distill serve` is running already, with its page at {_page(running)}")
    os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = str(runners.HEARTBEAT_SECONDS)
    with _server(host, port) as url:
        runners.watch()
        made = deployments()
        say(f"run page     {_page(url)}")
        say("deployments  distill/nightly, dataset/make, student/make: start one on the page")
        say(
            f"nightly run  {CRON} UTC, {'on' if _is_on(_nightly()) else 'off'}: `distill schedule on` and "
            "`off` change it; Ctrl-C ends all"
        )
        serve_deployments(*made, pause_on_shutdown=False, print_starting_message=False, limit=RUNS_AT_ONCE)


def deployments() -> list[RunnerDeployment]:
    """The three deployments; the nightly schedule is as it was left, and off the first time."""
    module: Any = {"entrypoint_type": EntrypointType.MODULE_PATH}
    nightly = Cron(CRON, active=_is_on(_nightly()))
    made: Any = [
        distill.to_deployment(
            "nightly", schedule=nightly, concurrency_limit=1, description="The whole loop.", **module
        ),
        make_dataset.to_deployment(
            "make", parameters={"dataset": "tiny"}, description="A filtered dataset.", **module
        ),
        make_student.to_deployment("make", description="A student on a dataset that is there.", **module),
    ]  # Prefect types these as coroutines as well
    found: list[RunnerDeployment] = made
    return found


def schedule(state: str) -> str:
    """Turns the nightly schedule `on` or `off`, or leaves it for `show`, and returns how it stands."""
    with _known_server():
        deployment = _nightly()
        if deployment is None:
            raise ServerError(f"the server has no {NIGHTLY}: start `distill serve` first")
        if state != "show":
            with get_client(sync_client=True) as client:
                for one in deployment.schedules:
                    client.update_deployment_schedule(deployment.id, one.id, active=state == "on")
        return f"{NIGHTLY} ({CRON} UTC) is {'on' if _is_on(_nightly()) else 'off'}"


@contextmanager
def _known_server() -> Iterator[str]:
    """The server that is running; raises ServerError when there is none."""
    url = os.environ.get("PREFECT_API_URL") or server.served()
    if not url or not healthy(url):
        raise ServerError("no server is running: start `distill serve` first, in another terminal")
    with server.address(url):
        yield url


@contextmanager
def _server(host: str, port: int) -> Iterator[str]:
    """The server of `PREFECT_API_URL`, or a new one whose address other commands find while the block
    lasts."""
    if given := os.environ.get("PREFECT_API_URL"):
        if not healthy(given):
            raise ServerError(f"no Prefect server answers at {given}; start it, or unset PREFECT_API_URL")
        with server.address(given):
            yield given
        return
    with started(host, port, {}) as own, server.address(own.url, own.wait):
        server.address_file().write_text(own.url, encoding="utf-8")
        try:
            yield own.url
        finally:
            server.address_file().unlink(missing_ok=True)


def _nightly() -> DeploymentResponse | None:
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(NIGHTLY)
        except ObjectNotFound:
            return None


def _is_on(deployment: DeploymentResponse | None) -> bool:
    return deployment is not None and any(one.active for one in deployment.schedules)


def _loopback(host: str) -> bool:
    """True for addresses that only this machine reaches; a name other than `localhost` may be anybody's."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _page(url: str) -> str:
    return url.removesuffix("/api")
