"""A process that runs one S3 server, moto or Ceph, for as long as another process lives.

    python s3_process.py moto FOLDER OWNER            python s3_process.py ceph FOLDER OWNER PROGRAM

returns when the server answers, and leaves FOLDER/moto.json: where and with which keys. The server ends with the process
OWNER, however that ends; what it kept goes with it. A failed start leaves what it said in FOLDER/moto.log.
"""

import json
import logging
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

STARTS = 3


def main(kind: str, folder: Path, owner: int, program: Path | None) -> int:
    """Start the server in a process of its own; this one returns when it is up."""
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        return 0 if os.read(ready, 1) else 1
    os.setsid()
    end = moto(folder) if program is None else ceph(folder, program)
    try:
        os.write(tell, b"1")
        os.close(tell)
        wait_for(owner)
    finally:
        end()
    return 0


def wait_for(owner: int) -> None:
    """Return when a process is no more."""
    try:
        descriptor = os.pidfd_open(owner)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll()


def moto(folder: Path) -> Callable[[], None]:
    """Start moto in this process; what ends it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    leave(folder / "moto.json", f"http://127.0.0.1:{port}", "motoaccess", "motosecret")
    return lambda: os._exit(0)


def ceph(folder: Path, program: Path) -> Callable[[], None]:
    """Start Ceph's daemons; what ends them. A port may be taken between its choice and its use: then once more."""
    from support.ceph import ACCESS_KEY, SECRET_KEY, Ceph

    data = Path(tempfile.mkdtemp(prefix="ceph-", dir=folder))
    for left in reversed(range(STARTS)):
        try:
            server = Ceph(program, data / str(left))
            break
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired) as error:
            if left == 0:
                raise
            print(f"tried again after: {error}", flush=True)
            time.sleep(0.5)
    leave(folder / "ceph.json", f"http://127.0.0.1:{server.port}", ACCESS_KEY, SECRET_KEY)

    def end() -> None:
        server.stop()
        shutil.rmtree(data, ignore_errors=True)

    return end


def leave(path: Path, endpoint: str, access_key: str, secret_key: str) -> None:
    """Write down, whole or not at all, how the server is reached."""
    text = json.dumps({"endpoint": endpoint, "access_key": access_key, "secret_key": secret_key})
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    _, which, where, whose, *rest = sys.argv
    sys.exit(main(which, Path(where), int(whose), Path(rest[0]) if rest else None))
