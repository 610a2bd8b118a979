"""Fixtures of S3 servers, and what is said at the end of a test run that had to do without one of them.

A server is started by the first test that wants it, serves all processes of the test run, and ends with it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from support.s3_proxy import S3Proxy
from support.s3_servers import KINDS, Kind, NoServerError, S3Root, S3Server, new_root, start

NO_SERVER = "NOT TESTED, no S3 server"
NOT_OURS = (
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_CA_BUNDLE",
    "FSSPEC_S3_ENDPOINT_URL",
)
"""Variables of the machine that would lead a client elsewhere."""

Servers = Callable[[Kind], S3Server]
MakeRoot = Callable[[Kind], S3Root]


EACH_KIND = [pytest.param(kind, marks=pytest.mark.s3) for kind in KINDS]


class MakeProxy(Protocol):
    """What the fixture `s3_proxy` is."""

    def __call__(self, server: S3Server, *, stall_s: float = 2.0) -> S3Proxy: ...


@pytest.fixture(scope="session")
def s3_servers(tmp_path_factory: pytest.TempPathFactory) -> Servers:
    """Gives the server of a kind. Without Ceph's packages tests are skipped; with SHARDPIPE_REQUIRE_CEPH=1 they fail."""
    folder, owner = _of_run(tmp_path_factory.getbasetemp())
    started: dict[Kind, S3Server] = {}

    def server(kind: Kind) -> S3Server:
        try:
            if kind not in started:
                started[kind] = start(kind, folder, owner)
            return started[kind]
        except NoServerError as error:
            if os.environ.get("SHARDPIPE_REQUIRE_CEPH") == "1":
                pytest.fail(f"{NO_SERVER} ({kind}), but SHARDPIPE_REQUIRE_CEPH=1: {error}", pytrace=False)
            pytest.skip(f"{NO_SERVER} ({kind}): {error}")

    return server


@pytest.fixture
def s3_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[S3Server], None]]:
    """Makes a server the one that this process and its children use, by the usual AWS variables alone."""

    def use(server: S3Server) -> None:
        for name in NOT_OURS:
            monkeypatch.delenv(name, raising=False)
        nothing = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
        for name, value in {**nothing, **server.environment}.items():
            monkeypatch.setenv(name, value)
        _forget_clients()

    yield use
    _forget_clients()


@pytest.fixture
def s3_root(s3_servers: Servers, s3_environment: Callable[[S3Server], None]) -> Iterator[MakeRoot]:
    """Makes an empty root on a server of the kind that is given, and this server the one of the environment."""
    with ExitStack() as at_end:

        def make(kind: Kind) -> S3Root:
            server = s3_servers(kind)
            s3_environment(server)
            root = new_root(server)
            at_end.callback(root.clear_bucket)
            return root

        yield make


@pytest.fixture(params=EACH_KIND)
def each_root(request: pytest.FixtureRequest, s3_root: MakeRoot) -> S3Root:
    """A root on moto, and one on Ceph."""
    kind: Kind = request.param
    return s3_root(kind)


@pytest.fixture
def s3_proxy(s3_environment: Callable[[S3Server], None]) -> Iterator[MakeProxy]:
    """Makes a proxy in front of a server, and the server through it the one of the environment."""
    with ExitStack() as at_end:

        def make(server: S3Server, *, stall_s: float = 2.0) -> S3Proxy:
            proxy = at_end.enter_context(S3Proxy(server, stall_s=stall_s))
            s3_environment(proxy.server)
            at_end.callback(_forget_clients)
            return proxy

        yield make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly how many tests had no server, and why."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    reasons = [str(each[2]) for each in skipped if isinstance(each, tuple)]
    without = [reason.removeprefix("Skipped: ") for reason in reasons if NO_SERVER in reason]
    if without:
        terminalreporter.section("S3", sep="!", red=True)
        terminalreporter.line(f"{len(without)} tests SKIPPED: {without[0]}")


def _of_run(base: Path) -> tuple[Path, int]:
    """A folder that all processes of the test run share, and the process that they all end with."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    folder = (base.parent if is_worker else base) / "s3"
    folder.mkdir(exist_ok=True)
    return folder, os.getppid() if is_worker else os.getpid()


def _forget_clients() -> None:
    """s3fs keeps a client for the process, whatever the environment says since."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
