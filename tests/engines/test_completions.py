import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.engines import Completion, completion_file, completion_salvage
from distill.engines.completion_salvage import PAGE_BYTES
from distill.engines.completions import Completions
from distill.engines.protocol import SharedUsage, Usage, usage_of
from distill.store import StoreError

PROJECT = Path(__file__).parents[2]


def made(count, characters=0):
    """Completions of very different lengths, or of one."""
    sizes = [characters or 20 * 7 ** (number % 4) for number in range(count)]
    texts = [f"{number} \ud800 思\n" + "x" * size for number, size in enumerate(sizes)]
    return [Completion(f"{number:016x}", text, completion_tokens=number) for number, text in enumerate(texts)]


def spent_on_all(paid):
    return reduce(Usage.plus, map(usage_of, paid), Usage())


def found(path, keys):
    with Completions(path) as completions:
        return [completions.get(key) for key in keys]


def keys(completions):
    return [one.key for one in completions]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "completions.sqlite"


def start(path, program):
    """A process that has the file open as `completions`, runs a program and then waits to be killed."""
    whole = f"""
import sys, time
from distill.engines import Completion
from distill.engines.completions import Completions
completions = Completions(sys.argv[1])
{program}
print("ready", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", whole, str(path)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_what_was_appended_is_given_back(path):
    all_of_them = made(200)
    with Completions(path) as completions:
        completions.append(all_of_them[:150])
        for completion in all_of_them[150:]:
            completions.append([completion])
        assert [completions.get(key) for key in keys(all_of_them)] == all_of_them
    with Completions(path) as completions:
        assert len(completions) == 200
        assert completions.get("no such key") is None
    assert found(path, keys(all_of_them)) == all_of_them
    assert sorted(one.name for one in path.parent.iterdir()) == [
        "completions.sqlite",
        "completions.sqlite.lock",
    ]


APPENDS = st.tuples(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([None, None, "timeout"]), st.integers(0, 10**6)),
        max_size=4,
    ),
    st.booleans(),
)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.lists(APPENDS, max_size=4), max_size=4))
def test_the_first_good_completion_of_a_key_stays_and_all_are_counted(tmp_path_factory, sessions):
    path = tmp_path_factory.mktemp("completions") / "completions.sqlite"
    held, paid = {}, []
    for appends in sessions:
        with Completions(path) as completions, Completions(path) as other:
            for number, (entries, borrowed) in enumerate(appends):
                new = [
                    Completion(
                        f"{key:016x}" * (1 + 3 * (key % 2)),
                        f"{tokens}",
                        failure=failure,
                        prompt_tokens=tokens,
                    )
                    for key, failure, tokens in entries
                ]
                (completions, other)[number % 2].append(new, borrowed=borrowed)
                for completion in new:
                    if completion.key not in held or held[completion.key].failure:
                        held[completion.key] = completion
                        paid += [] if borrowed else [completion]
            for opened in (completions, other):
                assert {key: opened.get(key) for key in held} == held
                assert (len(opened), opened.usage()) == (len(held), SharedUsage(spent_on_all(paid), 0))


def test_a_large_file_is_opened_without_reading_what_it_holds(path):
    with Completions(path) as completions:
        completions.append(made(2000, 8000))
    began = os.times()
    for _ in range(50):
        Completions(path).close()
    assert (
        os.times().user + os.times().system - began.user - began.system
    ) / 50 < 0.02  # seconds; to read it takes longer


def test_every_budget_that_was_used_is_known(path):
    with Completions(path) as completions:
        assert completions.budgets([64, 16]) == [16, 64]
    with Completions(path) as completions:
        assert completions.budgets([32, 16]) == [16, 32, 64]


def test_a_key_is_claimed_by_one_run_until_its_completion_is_there(path):
    one, two, three = made(3)
    with Completions(path) as mine, Completions(path) as theirs:
        assert mine.claim(one.key) and not mine.claim(one.key) and not theirs.claim(one.key)
        assert theirs.claim(two.key)
        assert theirs.free(keys([one, two, three]), idle=False) == [three.key]
        assert theirs.usage().others_in_flight == 1
        mine.append([one])
        assert not theirs.claim(one.key)  # it is there
        theirs.append([replace(two, failure="timeout")])
        assert mine.claim(two.key)
        mine.release([two.key])
        assert theirs.claim(two.key) and theirs.claim(three.key)
    with Completions(path) as mine:
        assert mine.claim(two.key) and mine.claim(three.key)


def test_the_claims_of_a_killed_run_are_void_and_nothing_that_it_kept_is_lost(path, monkeypatch, capsys):
    monkeypatch.setattr("distill.engines.completions.LOOK_SECONDS", 0.0)
    said = []
    monkeypatch.setattr("distill.engines.completions.say", said.append)
    with Completions(path) as completions:
        other = start(
            path, "[completions.claim(key) for key in 'abcd']; completions.append([Completion('a', 'text')])"
        )
        assert completions.get("a") == Completion("a", "text")
        assert not completions.claim("b")
        assert completions.free(["b"], idle=False) == [] and said == []
        assert completions.free(["b", "e"], idle=True) == completions.free(["b", "e"], idle=True) == ["e"]
        assert said == [f"waiting for completions that process {other.pid} is sampling"]
        assert completions.usage().others_in_flight == 3
        kill(other)
        assert completions.free(["b", "e"], idle=True) == ["b", "e"]
        assert completions.usage().others_in_flight == 0
        assert completions.claim("b")
    kill(start(path, "completions.claim('c'); completions.append([Completion('d', 'text')])"))
    with Completions(path) as completions:
        assert completions.claim("c") and completions.get("d") == Completion("d", "text")
        assert len(list(path.parent.glob("run-*.lock"))) == 1


def test_a_run_waits_while_another_one_opens_the_file(path):
    with Completions(path) as completions:
        completions.append(made(3))
    opened = [start(path, "") for _ in range(3)]
    for process in opened:
        kill(process)
    assert found(path, keys(made(3))) == made(3)


def hurt(data, rng):
    """Changes a file's bytes, and says which pages were touched."""
    pages = len(data) // PAGE_BYTES
    match rng.choice(["flip", "flip", "flips", "zero", "cut", "header"]):
        case "flip" | "flips" | "header" as how:
            limit = 110 if how == "header" else len(data)
            places = [rng.randrange(limit) for _ in range(40 if how == "flips" else 1)]
            for place in places:
                data[place] ^= 1 << rng.randrange(8)
            return {place // PAGE_BYTES + 1 for place in places}
        case "zero":
            zeroed = {rng.randrange(pages) for _ in range(rng.choice([1, 1, 5]))}
            for page in zeroed:
                data[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
            return {page + 1 for page in zeroed}
        case _:
            size = rng.randrange(len(data))
            del data[size:]
            return set(range(size // PAGE_BYTES + 1, pages + 1))


@pytest.mark.parametrize("seed", range(150))
def test_damage_loses_no_row_that_it_did_not_touch_and_never_gives_another_text(path, seed, monkeypatch):
    said = []
    monkeypatch.setattr(completion_file, "say", said.append)
    rng = random.Random(seed)
    written = made(rng.choice([3, 60, 400]))
    with Completions(path) as completions:
        completions.append([replace(one, content=None, failure="timeout") for one in written[::5]])
        completions.append(written)
    pages = {json.loads(row.body)["key"]: row.pages for row in completion_salvage.rows(path)}
    assert pages.keys() == {*keys(written)}
    data = bytearray(path.read_bytes())
    touched = hurt(data, rng)
    path.write_bytes(data)
    with Completions(path) as completions:
        read = [completions.get(key) for key in keys(written)]
        for one, now in zip(written, read, strict=True):
            assert now == one or (now is None and pages[one.key] & touched)
        assert read.count(None) == 0 or (
            len(said) == 1 and "completions are kept, the rest is asked again" in said[0]
        )
        completions.append(written)
        assert completions.claim("another") and completions.get("another") is None
    assert found(path, keys(written)) == written
    assert len(said) == len(list(path.parent.glob("*.damaged"))) <= 1


def test_a_log_that_was_not_written_back_is_read_from_a_damaged_file(path):
    written = made(40)
    kill(
        start(path, "completions.append([Completion(f'{number:016x}', str(number)) for number in range(40)])")
    )
    log = Path(f"{path}-wal")
    assert log.stat().st_size > 10 * PAGE_BYTES
    path.write_bytes(b"x" * PAGE_BYTES)
    assert found(path, keys(written)) == [
        Completion(one.key, str(number)) for number, one in enumerate(written)
    ]


@pytest.mark.parametrize("seed", range(10))
def test_a_torn_log_costs_what_lay_behind_the_tear(path, seed):
    written = [Completion(f"{number:016x}", str(number)) for number in range(40)]
    kill(
        start(
            path, "for number in range(40): completions.append([Completion(f'{number:016x}', str(number))])"
        )
    )
    log = Path(f"{path}-wal")
    os.truncate(log, random.Random(seed).randrange(log.stat().st_size))
    read = found(path, keys(written))
    kept = len(read) - read.count(None)
    assert read == written[:kept] + [None] * (40 - kept)


def test_the_damage_of_a_file_that_another_run_uses_is_told(path):
    with Completions(path) as completions:
        completions.append(made(300, 3000))
    other = start(path, "")
    try:
        data = path.read_bytes()
        path.write_bytes(data[: 4 * PAGE_BYTES] + bytes(len(data) - 8 * PAGE_BYTES) + data[-4 * PAGE_BYTES :])
        with (
            Completions(path) as completions,
            pytest.raises(StoreError, match="other runs use it: stop them"),
        ):
            [completions.get(key) for key in keys(made(300))]
    finally:
        kill(other)


def test_claims_and_totals_outlive_a_repair(path):
    written = made(300, 3000)
    with Completions(path) as completions:
        completions.append([replace(written[0], failure="timeout")])
        completions.append(written)
        completions.budgets([16])
        paid = completions.usage()
    with Completions(path) as completions:
        assert completions.claim("mine")
        assert completions.get(written[0].key) == written[0]
        at = path.read_bytes().index(b"x" * 2000)
        with path.open("r+b") as file:
            file.seek(at + 7)
            file.write(b"y")
        completions._file.db.execute("PRAGMA shrink_memory")
        assert [completions.get(key) for key in keys(written)].count(None) == 1
        with Completions(path) as other:
            assert not other.claim("mine")
            assert other.budgets([]) == [16]
            assert other.usage() == SharedUsage(paid.total, 1)


def test_a_full_disk_is_an_error_and_the_file_goes_on_afterwards(path):
    written = made(3, 5000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Completions(path) as completions:
        completions.append(written[:1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{path}-wal").stat().st_size + 20, limits[1]))
        try:
            with pytest.raises(OSError, match=r"I/O|space"):
                completions.append(written[1:])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert len(completions) == 1
        completions.append(written[1:])
    assert found(path, keys(written)) == written


def frame(entry):
    """A completion as older versions wrote it into a journal."""
    payload = json.dumps(entry, separators=(",", ":")).encode()
    length = struct.pack("<I", len(payload))
    return b"\xd1\x57\x1a\x0a" + length + struct.pack("<I", zlib.crc32(payload, zlib.crc32(length))) + payload


def test_journals_of_older_versions_are_taken_over_once(path, tmp_path):
    entry = {
        "content": "4",
        "reasoning": "2 + 2",
        "finish_reason": "stop",
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "model": "m",
    }
    frames = [
        frame(entry | {"key": "01", "failure": "timeout"}),
        frame(entry | {"key": "01", "failure": None}),
        frame(entry | {"key": "02", "failure": None, "borrowed": True}),
        frame(entry | {"key": "03", "failure": None}),
    ]
    damaged = frames[3].replace(b"2 + 2", b"2 + 3")
    journal = tmp_path / "teacher-0123" / "00000.journal"
    journal.parent.mkdir()
    journal.write_bytes(
        frames[0] + b"\xd1\x57\x1a\x0a junk" + frames[1] + damaged + frames[2] + frames[3][:30]
    )
    good = Completion("01", "4", "2 + 2", prompt_tokens=9, completion_tokens=5, model="m")
    spent = Usage(completions=2, failures=1, prompt_tokens=18, completion_tokens=10)
    for _ in range(2):
        with Completions(path) as completions:
            completions.adopt(journal)
            completions.adopt(tmp_path / "absent.journal")
            assert [completions.get(key) for key in ("01", "02", "03")] == [
                good,
                replace(good, key="02"),
                None,
            ]
            assert completions.usage().total == spent
    with journal.open("ab") as file:  # an older version was run once more
        file.write(frames[3])
    with Completions(path) as completions:
        completions.adopt(journal)
        assert completions.get("03") == replace(good, key="03")
        assert completions.usage().total.completions == 3
    assert journal.exists()


def test_what_is_appended_reaches_the_disk_four_times_a_second(path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")) or fsync(file)
    )
    with Completions(path) as completions:
        end = time.monotonic() + 0.6
        for one in made(1000):
            completions.append([one])
            if time.monotonic() > end:
                break
            time.sleep(0.001)
        assert 1 <= synced.count(f"{path}-wal") <= 3
