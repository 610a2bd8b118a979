"""A run that is stopped while its workers upload: no multipart upload stays, and no scratch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.places import S3Place
from support.processes import KILLED_RUN, PATH, marked_run
from support.runs import render_videos
from support.s3_fixtures import MakeProxy
from support.s3_proxy import S3Proxy
from support.s3_requests import Asked

from shardpipe.executors.local import ABORT_S

IN_PARTS = """\
from shardpipe.storage import s3
s3.MAX_PARTS = 1  # servers refuse small parts, but for the last
s3.S3Backend.__init__.__kwdefaults__["part_bytes"] = 1
"""
"""In each process of a run: every tar is an upload of its own, that is created, filled and completed."""

STALL_S = 10.0
pytestmark = pytest.mark.s3


def uploading(proxy: S3Proxy, folder: str) -> list[Asked]:
    """The parts of tars of a Dataset that are under way, and stay so."""
    return [asked for asked in list(proxy.asked) if asked.kind == "put part" and f"/{folder}/" in asked.key]


@pytest.mark.parametrize("place", ["moto"], indirect=True)
@pytest.mark.parametrize(("phase", "number"), [("clips", signal.SIGTERM), ("train", signal.SIGINT)])
def test_no_upload_and_no_scratch_stay(
    tmp_path: Path, place: S3Place, s3_proxy: MakeProxy, phase: str, number: signal.Signals
) -> None:
    proxy = s3_proxy(place.s3.server, stall_s=STALL_S)
    proxy.fault("stall", lambda asked: asked in uploading(proxy, phase))
    root, scratch = place.root(), tmp_path / "scratch"
    videos = render_videos(tmp_path / "videos", seconds=(3, 2, 2, 2))
    config = KILLED_RUN.replace("20000", "1000").format(root=root, videos=videos, workers=2, executor="local")
    (tmp_path / "run.yaml").write_text(config.replace("decoders: 1", f"decoders: 1, scratch: {scratch}"))
    (tmp_path / "sitecustomize.py").write_text(IN_PARTS, encoding="utf-8")
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PATH}"}
    with marked_run("run", str(tmp_path / "run.yaml"), env=env) as run:
        while run.process.poll() is None and len(uploading(proxy, phase)) < 2:
            time.sleep(0.02)
        assert len(place.seen(root).uploads()) == 2
        began_s = time.monotonic()
        if number is signal.SIGTERM:  # `timeout` sends it twice, the second time to the group, as a terminal does
            run.process.send_signal(number)
        os.killpg(run.process.pid, number)
        code, _, err = run.wait()
        took_s = time.monotonic() - began_s
        run.assert_gone()
    assert code == 130, err
    assert "Traceback" not in err
    assert place.seen(root).uploads() == {}
    assert [path for path in scratch.rglob("*") if path.suffix in (".tar", ".lock")] == []
    assert took_s < ABORT_S, "no worker had to be killed"


def test_a_signal_that_comes_twice_at_once_is_one(tmp_path: Path) -> None:
    """As `timeout` sends it: to the command, and to its group."""
    code = """if True:
        import os, signal, time
        from shardpipe.executors.interrupts import stop_on_signals
        stop_on_signals()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            print("cleared up")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "cleared up\n")


def test_a_signal_that_c_code_drops_comes_again() -> None:
    """PyAV's callbacks and `__del__` can raise nothing."""
    code = """if True:
        import os, signal, time
        from shardpipe.executors.interrupts import stop_on_signals
        class Dropping:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
        stop_on_signals()
        try:
            Dropping()
            time.sleep(20)
        except KeyboardInterrupt:
            print("stopped")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")
