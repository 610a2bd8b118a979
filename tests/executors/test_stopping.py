"""How the workers of one machine end before their units do: in order where they can, within seconds, and at once when asked twice."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.stopped_task import SleepingTask

from shardpipe.core.work import Outcome, Silent, UnitJob
from shardpipe.executors import local
from shardpipe.executors.local import LocalExecutor, LocalSettings

WHEN_TWICE_S = 0.3


def outcomes_of(task: SleepingTask, tmp_path: Path, *, tries: int = 3) -> Iterator[Outcome]:
    executor = LocalExecutor(str(tmp_path / "root"), LocalSettings(num_workers=1, tries=tries))
    return executor.run(task, [UnitJob("000000")], Silent())


def interrupt_when(path: Path) -> None:
    """Ctrl-C once a file is there."""
    while not path.exists():
        time.sleep(0.05)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def stop_asleep(task: SleepingTask, tmp_path: Path) -> float:
    """Run it, and stop it once its worker is asleep; how long that took."""
    thread = threading.Thread(target=interrupt_when, args=(tmp_path / "asleep",))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        list(outcomes_of(task, tmp_path))
    thread.join()
    assert [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())] == []
    return time.time() - (tmp_path / "asleep").stat().st_mtime


def test_a_stopped_worker_clears_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert stop_asleep(SleepingTask(str(tmp_path)), tmp_path) < local.ABORT_S
    assert (tmp_path / "cleared").exists()
    assert "Traceback" not in capfd.readouterr().err


def test_a_worker_that_hears_nothing_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "ABORT_S", 0.5)
    assert stop_asleep(SleepingTask(str(tmp_path), is_deaf=True), tmp_path) < local.ABORT_S + 5
    assert not (tmp_path / "cleared").exists()


def test_a_second_interrupt_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "ABORT_S", 60.0)
    main = threading.main_thread().ident or 0
    real = local.LocalExecutor._stop

    def stop(self: LocalExecutor, *, graceful: bool) -> None:
        threading.Timer(WHEN_TWICE_S, signal.pthread_kill, (main, signal.SIGINT)).start()
        real(self, graceful=graceful)

    monkeypatch.setattr(local.LocalExecutor, "_stop", stop)
    assert stop_asleep(SleepingTask(str(tmp_path), is_deaf=True), tmp_path) < local.ABORT_S / 2


@pytest.mark.parametrize("is_deaf", [False, True])
def test_a_clip_that_takes_too_long_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_deaf: bool
) -> None:
    """Whether its worker can clear up or not: what it says while it does changes nothing."""
    monkeypatch.setattr(local, "ABORT_S", 2.0)
    (outcome,) = outcomes_of(SleepingTask(str(tmp_path), is_deaf=is_deaf, timeout_s=0.1), tmp_path, tries=1)
    assert (outcome.error, outcome.num_failed) == (None, 1)
    assert (tmp_path / "cleared").exists() == (not is_deaf)
