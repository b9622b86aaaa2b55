"""When, where and how often: Prefect flows around the stages of `distill`, and the command line.

Importing this package sets the environment that Prefect reads when it is imported: its files lie in the
store, it sends nothing anywhere, and its own chatter stays off the terminal (the run's page has it).
Variables that are set already win. Results are neither cached nor kept by Prefect: the store alone knows what
is done.
"""

import os
from contextlib import suppress
from pathlib import Path

from distill.store import folders

ENVIRONMENT = {
    "PREFECT_HOME": str(folders.LOCAL / "prefect"),
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "distill",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    # One transaction for many task runs: with one each, SQLite refuses other writers for seconds on end.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
}

for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
with suppress(OSError):  # what needs the folder says that it cannot be made; Prefect only warns
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
