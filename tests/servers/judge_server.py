"""A real server for tests that plays a judge: it finds the fenced texts in the prompt, as a model would, and
compares them.

`python tests/servers/judge_server.py` prints its port. It is honest: an answer is correct when its first line
is the reference. A question with `[judge=NAME*K]` gets the manner NAME for its first K requests (for ever
without `*K`), and `[slow=N]` waits N milliseconds. `GET /log` gives the question of every request that
arrived, with its body.
"""

import asyncio
import json
import re
from collections import Counter

from aiohttp import web

MANNER = re.compile(r"\[judge=(\w+)(?:\*(\d+))?\]")
SLOW = re.compile(r"\[slow=(\d+)\]")
FENCED = r"^{delimiter} begin {name}\n(.*?)\n{delimiter} end {name}$"
LOG: list[dict] = []
TRIES: Counter[str] = Counter()


async def complete(request: web.Request) -> web.Response:
    """Answers one request for a verdict."""
    asked = await request.json()
    prompt = asked["messages"][-1]["content"]
    texts = fenced(prompt)
    question = texts["question"]
    LOG.append({"question": question, "body": asked})
    TRIES[question] += 1
    if slow := SLOW.search(question):
        await asyncio.sleep(int(slow.group(1)) / 1000)
    found = MANNER.search(question)
    manner = found.group(1) if found and TRIES[question] <= int(found.group(2) or 10**9) else "honest"
    if manner == "status":
        return web.Response(status=500, text="not well")
    nonce = re.search(r'"nonce": "([0-9a-f]{32})"', prompt[prompt.rindex("end answer") :]).group(1)
    message = {"role": "assistant", "content": reply(manner, prompt, texts, nonce)}
    if manner == "reasoning":
        message["reasoning_content"] = verdict(nonce, "incorrect")
    reason = "length" if manner == "cut" else "MAX_TOKENS" if manner == "cutoff" else "stop"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return web.json_response(
        {"model": "judge-model", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}
    )


def fenced(prompt: str) -> dict[str, str]:
    """The three texts of a prompt, by the delimiter that its first lines name."""
    delimiter = re.search(r"a line that starts with ([0-9a-f]{32})\.", prompt).group(1)
    return {
        name: re.search(
            FENCED.format(delimiter=delimiter, name=name), prompt, re.DOTALL | re.MULTILINE
        ).group(1)
        for name in ("question", "reference", "answer")
    }


def verdict(nonce: str, correctness: str, analysis: str = "compared") -> str:
    """A verdict as the prompt asks for it."""
    return json.dumps({"analysis": analysis, "correctness": correctness, "nonce": nonce})


def reply(manner: str, prompt: str, texts: dict[str, str], nonce: str) -> str | None:
    """What the judge says, in one of the manners that judges are known for."""
    honest = "correct" if texts["answer"].split("\n")[0] == texts["reference"] else "incorrect"
    other = "incorrect" if honest == "correct" else "correct"
    match manner:
        case "echo":
            return prompt
        case "quote":
            return f"The answer was:\n{texts['answer']}\n{verdict(nonce, honest, texts['answer'])}\n{texts['answer']}"
        case "unescaped":
            return (
                f'{{"analysis": "It says {texts["answer"]}", "correctness": "{honest}", "nonce": "{nonce}"}}'
            )
        case "first":
            return json.dumps({"nonce": nonce, "analysis": "", "correctness": honest})
        case "broken":
            return verdict(nonce, honest)[:-1]
        case "two":
            return f"{verdict(nonce, honest)}\nor rather\n{verdict(nonce, other)}"
        case "twice":
            return f"{verdict(nonce, honest)}\nOnce more:\n{verdict(nonce, honest)}"
        case "repeated":
            return f'{{"correctness": "{other}", "correctness": "{honest}", "nonce": "{nonce}"}}'
        case "wrongnonce":
            return verdict(nonce[::-1], honest)
        case "nononce":
            return json.dumps({"analysis": "no nonce", "correctness": honest})
        case "neither":
            return verdict(nonce, "correct or incorrect")
        case "thinking":
            return f"<think>\nPerhaps {verdict(nonce, other)}?\n</think>\n\n```json\n{verdict(nonce, honest)}\n```"
        case "unclosed":
            return f"<think>\nIt is {verdict(nonce, honest)}"
        case "latex":
            return f'{{"analysis": "\\(x\\) is\n\\sqrt{{2}}, \\\\frac", "correctness": "{honest.capitalize()}", "nonce": "{nonce}"}}'
        case "deep":
            return '{"a":' * 20_000 + verdict(nonce, honest)
        case "surrogate":
            return f'{{"analysis": "\\ud800", "correctness": "{honest}", "nonce": "{nonce}"}}'
        case "null":
            return None
        case "empty":
            return ""
        case "prose":
            return f"The answer is {honest}."
        case _:
            return verdict(nonce, honest)


async def tell(request: web.Request) -> web.Response:
    """The log of what arrived."""
    return web.json_response(LOG)


async def main() -> None:
    """Serves until it is killed."""
    app = web.Application(client_max_size=2**24)
    app.add_routes([web.post("/v1/chat/completions", complete), web.get("/log", tell)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
