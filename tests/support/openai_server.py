"""An OpenAI-compatible server on localhost that answers with what it sees, and fails as it is told.

Its answer is made of the pictures that it was sent: the numbers drawn in them (`support.numbered`), or else their colours, so that
an answer in the wrong place shows. Every request is noted, with what became of it, in the order in which they came.

    with serve(Plan(rates={"429": 0.1, "500": 0.1})) as server:             in this process, as a thread
        client(server.url) ...; server.stop(); server.start()               goes away, and comes back at the same port
        assert [each["user"] for each in server.requests()] == [...]
    with ChildServer(folder, Plan()) as server: server.kill(); server.start()    in a process of its own, for kill -9
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

MODEL = "tiny"


@dataclass(frozen=True)
class Plan:
    """How it fails. script: faults of the first requests, in order ("" for none); rates: of those after, drawn by `seed` and the
    request's number; by_user: of all requests of a user.

    429, 429 later (with Retry-After), 500, 503, 400, 401, 404, hang, broken json, half (the connection is closed in the middle of
    the body), closed (before any of it), html, no choices, empty, refusal, filter, length

    key: the one that it takes. echoes_key: what it says of any fault holds the key that it was sent.
    trusts_media: whether it takes `media_io_kwargs`, as vLLM does with --trust-request-mm-kwargs alone.
    """

    script: Sequence[str] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    by_user: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    models: Sequence[str] = (MODEL,)
    models_fault: str = ""
    retry_after: str = "1"
    hang_s: float = 30.0
    delay_s: float = 0.0
    key: str | None = None
    echoes_key: bool = False
    has_usage: bool = True
    trusts_media: bool = True

    def fault(self, number: int, user: str) -> str:
        """What goes wrong with request `number` (from 0); nothing for an empty text."""
        if user in self.by_user:
            return self.by_user[user]
        if number < len(self.script):
            return self.script[number]
        drawn = random.Random(f"{self.seed}/{number}").random()
        for fault, rate in self.rates.items():
            drawn -= rate
            if drawn < 0:
                return fault
        return ""


class Server(ThreadingHTTPServer):
    """Serves a plan until `stop`, which closes every connection at once."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, plan: Plan, log: Path, port: int = 0) -> None:
        from support.openai_answers import Handler

        super().__init__(("127.0.0.1", port), Handler)
        self.plan, self.log = plan, log
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.connections: set[socket.socket] = set()
        self.most_at_once = self.at_once = 0
        self.number = len(read_log(log))

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def note(self, entry: dict[str, Any]) -> None:
        """Write a request down; in one go, so that a kill leaves no half line."""
        with self.lock, self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def note_answer(self, user: str) -> None:
        """Write down that a request of this user is about to get a whole answer."""
        with self.lock, answers_of(self.log).open("a", encoding="utf-8") as file:
            file.write(json.dumps(user) + "\n")

    def next_number(self) -> int:
        with self.lock:
            self.number += 1
            return self.number - 1

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with_reset = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # as of a process that was killed
            try:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, with_reset)
                connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            except OSError:
                pass


class Served:
    """A server in a thread of this process."""

    def __init__(self, log: Path, plan: Plan) -> None:
        self.log, self.plan, self.port = log, plan, 0
        self.server: Server | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Come (back), at the same port."""
        self.server = Server(self.plan, self.log, self.port)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Go away, in the middle of whatever is being answered."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    def requests(self) -> list[dict[str, Any]]:
        return read_log(self.log)


@contextmanager
def serve(log: Path, plan: Plan | None = None) -> Iterator[Served]:
    served = Served(log, plan or Plan())
    try:
        yield served
    finally:
        served.stop()


class ChildServer:
    """A server in a process of its own."""

    def __init__(self, folder: Path, plan: Plan | None = None) -> None:
        self.log, self.port = folder / "requests.jsonl", free_port()
        self._plan = folder / "plan.json"
        self._plan.write_text(json.dumps(asdict(plan or Plan())), encoding="utf-8")
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Come (back), at the same port; returns once it answers."""
        code = "import sys; from support.openai_server import main; main(*sys.argv[1:])"
        tests = str(Path(__file__).resolve().parents[1])
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
        arguments = [str(self.port), str(self.log), str(self._plan)]
        self._child = subprocess.Popen([sys.executable, "-c", code, *arguments], env=env)
        for _ in range(400):
            try:
                urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("the server does not start")

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)
            self._child.wait()
            self._child = None

    def requests(self) -> list[dict[str, Any]]:
        return read_log(self.log)

    def unanswered(self) -> set[str]:
        """The users who have asked, and have no whole answer."""
        return {str(entry["user"]) for entry in self.requests()} - set(read_lines(answers_of(self.log)))


def read_log(log: Path) -> list[dict[str, Any]]:
    """The requests so far, in the order in which they came: number, user, prompt, seen (numbers or colours), fault, text, body."""
    return sorted(read_lines(log), key=lambda entry: int(entry["number"]))


def answers_of(log: Path) -> Path:
    """The users who got a whole answer, in a file beside the log."""
    return log.with_suffix(".answers.jsonl")


def read_lines(path: Path) -> list[Any]:
    """What the whole lines of a file hold; nothing where it is not there."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]  # the last one may be half written


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(port: str, log: str, plan: str) -> None:
    """Serve until killed."""
    Server(Plan(**json.loads(Path(plan).read_text(encoding="utf-8"))), Path(log), int(port)).serve_forever()
