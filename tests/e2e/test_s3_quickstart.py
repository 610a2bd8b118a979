"""The quickstart with its root and its videos on S3, while requests fail in every way: the bucket is that of a quiet run.

A part of all requests (500, 503, refused as a conflict, reset, stalled, cut short with and without a word, lost after they
were done, done much too late) goes wrong, those for the videos too.
"""

from pathlib import Path

import fsspec
import pytest
from support.places import ON_S3, S3Place
from support.s3_faults import FAULTS
from support.s3_fixtures import MakeProxy
from support.s3_proxy import S3Proxy
from support.s3_servers import S3Root
from support.scripts import script

from shardpipe.cli.app import run_app

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "quickstart.yaml")
INLINE = ("--set", "execute={type: inline}")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The raw videos as scripts/quickstart makes them, but small."""
    folder = tmp_path_factory.mktemp("demo")
    makes = script("demo_videos")
    makes.SIZE = (320, 180)
    makes.make(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()}


@pytest.fixture
def proxy(place: S3Place, s3_proxy: MakeProxy, monkeypatch: pytest.MonkeyPatch) -> S3Proxy:
    """In front of the place's server. A client waits for less long than what is late takes."""
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 2.0}})
    monkeypatch.setenv("FSSPEC_S3", '{"config_kwargs": {"read_timeout": 2.0}}')  # of workers
    return s3_proxy(place.s3.server, stall_s=3.0)


def quickstart(place: S3Place, videos: str, *more: str) -> S3Root:
    """Run it by the command line; its root."""
    root = place.root()
    assert run_app(["run", CONFIG, "--set", f"root={root}", "--set", f"cut.sources={videos}", *more]) == 0
    return place.seen(root)


def left(root: S3Root) -> dict[str, bytes]:
    """All that is committed; nothing else may be there."""
    assert root.uploads() == {}
    return {path: data for path, data in root.objects().items() if not path.startswith("_run/")}


def check(
    place: S3Place, proxy: S3Proxy, demo: dict[str, bytes], *seeds: int, rate: float, options: tuple[str, ...]
) -> None:
    videos = place.root(demo)
    clean = left(quickstart(place, videos, *options))
    assert any(path.endswith(".tar") for path in clean)
    kinds: set[str] = set()
    for seed in seeds:
        proxy.no_faults()
        proxy.forget()
        proxy.faults_at_random(seed=seed, rate=rate)
        root = quickstart(place, videos, *options)
        done = [asked.fault for asked in proxy.asked if asked.fault]
        assert len(done) > 0.5 * rate * len(proxy.asked)
        kinds |= {*done}
        run_app(["doctor", root.url, "--fix"])
        assert left(root) == clean
    assert len(kinds) > len(FAULTS) / 2 or len(seeds) == 1


@pytest.mark.s3
@pytest.mark.parametrize("place", ["ceph"], indirect=True)
def test_some_requests_fail(place: S3Place, proxy: S3Proxy, demo: dict[str, bytes]) -> None:
    check(place, proxy, demo, 1, rate=0.05, options=INLINE)


@pytest.mark.slow
@pytest.mark.parametrize("place", ON_S3, indirect=True)
@pytest.mark.parametrize(("rate", "num_runs"), [(0.05, 6), (0.2, 2)])
def test_many_requests_fail(place: S3Place, proxy: S3Proxy, demo: dict[str, bytes], rate: float, num_runs: int) -> None:
    check(place, proxy, demo, *range(2, 2 + num_runs), rate=rate, options=())
