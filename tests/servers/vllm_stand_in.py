"""Stands in for vLLM's server where there is no vLLM: a process with the same options, a child of its own,
and no model.

Each completion tells, as JSON, which process gave it and how that was started. `--fail TEXT` is a start that
dies with a text in its log; a folder named by `--starts` gets a file for every start, and no more starts than
`--good-starts` succeed. Everything else about vLLM is left to the tests with a real one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHILD = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])


class Handler(BaseHTTPRequestHandler):
    """Answers health checks, the list of models, and chat completions that bear the key."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200, {"data": [{"id": chosen.served_model_name, "max_model_len": chosen.max_model_len}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            self.answer(401, {})
            return
        shown = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("VLLM", "CUDA", "OMP", "DO_NOT"))
        }
        told = {
            "pid": os.getpid(),
            "child": CHILD.pid,
            "arguments": sys.argv[1:],
            "environment": shown,
            "body": body,
        }
        message = {"role": "assistant", "content": json.dumps(told)}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        self.answer(
            200,
            {
                "model": body["model"],
                "choices": [{"message": message, "finish_reason": "stop"}],
                "usage": usage,
            },
        )

    def answer(self, status: int, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--served-model-name", required=True)
parser.add_argument("--max-model-len", type=int, default=512)
parser.add_argument("--fail")
parser.add_argument("--starts")
parser.add_argument("--good-starts", type=int, default=1000)
chosen, _ = parser.parse_known_args()
if chosen.starts:
    os.close(tempfile.mkstemp(dir=chosen.starts)[0])
if chosen.starts and len(os.listdir(chosen.starts)) > chosen.good_starts:
    sys.exit("no more")
if chosen.fail:
    print(
        "INFO loading\n"
        + chosen.fail
        + "\nRuntimeError: Engine core initialization failed. See root cause above.",
        flush=True,
    )
    sys.exit(1)
ThreadingHTTPServer(("127.0.0.1", chosen.port), Handler).serve_forever()
