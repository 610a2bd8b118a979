"""A server of captions that stays away, or refuses the key: the run ends and says what to do, and no row holds an error for it.

Once it is back, the rest is asked. `retry` asks about the clips with errors alone.
"""

from pathlib import Path

import pytest
from support.caption_runs import ended, finish, in_mid_pass, write_config
from support.openai_server import Plan, free_port, serve
from support.planted import asked_keys, check_pairing, committed_rows, cut_root
from support.runs import rows_of

from shardpipe.storage.store import open_store

KEY = "sk-planted-8d1f4b7a9c"
WRONG = "sk-wrong-5e0a7731fd"


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with 24 clips."""
    return cut_root(tmp_path_factory.mktemp("gone"), 3)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_server_that_stays_away(cut: Path, tmp_path: Path, workers: int) -> None:
    """The run ends, whatever is left to do: no unit after the others waits for it, and is decoded for nothing."""
    root = tmp_path / "root"
    with serve(tmp_path / "log", Plan(delay_s=0.2)) as server:
        config = write_config(tmp_path, cut, server.url, workers=workers, unit_clips=2, unreachable_s=1.0)
        with in_mid_pass(config, server, 9) as run:
            server.stop()
            code, out, err = run.wait(240)
        assert (code, "Traceback" in err, out) == (1, False, "")
        assert err.splitlines()[-1].startswith(
            f"shardpipe: no worker can be set up on cpu: {server.url} has not answered for 1 s"
        )
        assert err.endswith("start the server, or correct base_url\n")
        assert err.count("tried again") <= 4 * workers
        assert {row["error"] for row in committed_rows(root, "text").values()} <= {None}
        server.start()
        finish(config, root, server)


def test_a_server_that_is_not_there(cut: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, cut, f"http://127.0.0.1:{free_port()}/v1", unreachable_s=0.5)
    code, said = ended("run", config)
    assert (code, "Traceback" in said) == (1, False)
    assert "has not answered for 0.5 s" in said
    assert not committed_rows(tmp_path / "root", "text")


def assert_nowhere(secret: str, said: str, root: Path) -> None:
    """The secret is in nothing that was printed, and in no byte under the root."""
    assert secret not in said
    files = [path for path in root.rglob("*") if path.is_file()]
    assert {"dataset.json", "text"} <= {part for path in files for part in path.relative_to(root).parts}
    assert any("_run" in path.parts for path in files)
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_a_key_is_never_told(cut: Path, tmp_path: Path) -> None:
    """Not where it is right, and not by a server that refuses it and repeats it in its message."""
    root = tmp_path / "root"
    with serve(tmp_path / "log", Plan(key=KEY, rates={"500": 0.3, "400": 0.2}, echoes_key=True)) as server:
        config = write_config(tmp_path, cut, server.url, api_key_env="PLANTED_KEY", retries=1)
        code, said = ended("-v", "run", config, env={"PLANTED_KEY": WRONG})
        assert (code, len(server.requests())) == (1, 0)
        assert "refuses the key: set the environment variable PLANTED_KEY to a valid one" in said.splitlines()[-1]
        assert "Traceback" not in said
        assert_nowhere(WRONG, said, root)
        code, said = ended("-v", "run", config, env={"PLANTED_KEY": KEY})
        assert code == 0, said
        assert_nowhere(KEY, said, root)
        errors = {row["error"] for row in rows_of(open_store(str(root)), "text").values()}
        assert any(error is not None and "***" in error for error in errors)


@pytest.mark.parametrize("fault", ["401", pytest.param("404", marks=pytest.mark.slow)])
def test_a_server_that_refuses_all_in_mid_pass(cut: Path, tmp_path: Path, fault: str) -> None:
    """A key that was revoked: few requests more, and no unit after the other."""
    root = tmp_path / "root"
    with serve(tmp_path / "log", Plan(script=[""] * 6, rates={fault: 1.0})) as server:
        config = write_config(tmp_path, cut, server.url, unit_clips=2)
        code, said = ended("run", config)
        assert code == 1
        told = {
            "401": "set the environment variable OPENAI_API_KEY",
            "404": f"check model (tiny) and base_url ({server.url}",
        }
        assert told[fault] in said.splitlines()[-1]
        assert said.splitlines()[-1].startswith("shardpipe: text: ")
        assert len(server.requests()) <= 6 + 3 * 4
        assert {row["error"] for row in committed_rows(root, "text").values()} <= {None}
        assert server.server is not None
        server.server.plan = Plan()
        finish(config, root, server)


def test_a_retry_asks_about_clips_with_errors_alone(cut: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    keys = sorted(rows_of(open_store(str(cut)), "clips"))
    bad = {keys[3]: "400", keys[4]: "500", keys[17]: "half"}
    with serve(tmp_path / "log", Plan(by_user=bad)) as server:
        config = write_config(tmp_path, cut, server.url, retries=1)
        code, said = ended("run", config)
        assert code == 0, said
        rows = check_pairing(open_store(str(root)), "text", server.requests())
        assert {key for key, row in rows.items() if row["error"]} == set(bad)
        assert server.server is not None
        server.server.plan = Plan()
        before = len(server.requests())
        code, said = ended("retry", str(root))
        assert code == 0, said
        assert asked_keys(server.requests()[before:]) == dict.fromkeys(bad, 1)
        again = check_pairing(open_store(str(root)), "text", server.requests())
        assert {row["error"] for row in again.values()} == {None}
        assert {key: row for key, row in again.items() if key not in bad} == {
            key: row for key, row in rows.items() if key not in bad
        }
