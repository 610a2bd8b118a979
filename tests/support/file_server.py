"""A web server of a few files on localhost, that also answers as a model hub does; what it was asked is noted."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34
INFO = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/revision/(?P<revision>[^/?]+)(\?.*)?")
RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class Files:
    """What the server has. files: path (`/x.pt`) or hub file (`org/repo/x.pt@main`) to bytes. broken: paths whose
    transfer ends halfway. lies: hub files whose bytes are not those that their etag names. commit: the hub's newest, which every
    revision means.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    lies: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    commit: str = COMMIT

    def info(self, repo: str, revision: str) -> bytes | None:
        """What a hub says of a repository; None where it has no file of it at that revision."""
        names = {
            name.removeprefix(f"{repo}/"): data for name, data in self.files.items() if name.startswith(f"{repo}/")
        }
        siblings = [
            {"rfilename": name.rpartition("@")[0], "size": len(data)}
            for name, data in names.items()
            if name.endswith(f"@{revision}")
        ]
        return json.dumps({"id": repo, "sha": self.commit, "siblings": siblings}).encode() if siblings else None

    def fetched(self) -> list[str]:
        """The paths of the GETs."""
        return [line.removeprefix("GET ") for line in self.asked if line.startswith("GET ")]


@contextmanager
def serve_files() -> Iterator[Files]:
    """A server for the body."""
    found = Files()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, *, with_body: bool) -> None:
            found.asked.append(f"{self.command} {self.path}")
            hub, info = RESOLVE.fullmatch(self.path), INFO.fullmatch(self.path)
            name = (
                self.path
                if hub is None
                else f"{hub['repo']}/{hub['file']}@{hub['revision'].replace(found.commit, 'main')}"
            )
            data = (
                found.files.get(name)
                if info is None
                else found.info(info["repo"], info["revision"].replace(found.commit, "main"))
            )
            if data is None:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound" if info is None else "RepoNotFound")
                self.send_header("X-Repo-Commit", found.commit)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", found.commit)
            self.end_headers()
            if name in found.broken:
                data = data[: len(data) // 2]
                self.close_connection = True
            if name in found.lies:
                data = b"?" * len(data)
            if with_body:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
