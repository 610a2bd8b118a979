"""A one-node Ceph with an object gateway on loopback, in memory, out of the folder that scripts/ceph_env makes."""

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psutil

ACCESS_KEY, SECRET_KEY = "SHARDPIPETESTACCESS1", "shardpipetestsecret0000000000000000001"
MEMORY_BYTES = 8 << 30
START_S = 120.0
PORTS = 3

CONF = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port},v1:127.0.0.1:{old_mon_port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {data}/keyring
mon data = {data}/mon
osd data = {data}/osd
osd objectstore = memstore
memstore device bytes = {memory_bytes}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail warn = 0
mon data avail crit = 0
paxos propose interval = 0.02
paxos min wait = 0.01
run dir = {data}/run
crash dir = {data}/run
log file = {data}/log/$name.log
admin socket = {data}/run/$name.asok
pid file = {data}/run/$name.pid
plugin dir = {libraries}/ceph
erasure code dir = {libraries}/ceph/erasure-code
osd class dir = {libraries}/rados-classes
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{s3_port} tcp_nodelay=1
rgw data = {data}/rgw
rgw thread pool size = 64
rgw gc obj min wait = 1
rgw gc processor period = 5
rgw dynamic resharding = false
"""
# without tcp_nodelay a small GET takes 40 ms; the short paxos intervals take ten seconds off a start; gc gives memory back


def free_ports(count: int) -> list[int]:
    """TCP ports of loopback that nobody listens on; a server that starts soon will get them."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Ceph:
    """Its daemons are children of this process, and die with it, whatever ends it; their data is gone then.

    `program` is the folder of the programs, `data` one that is made for the daemons; `port` is where S3 is answered.
    """

    def __init__(self, program: Path, data: Path) -> None:
        self._run = str(program / "run")
        self._data = data
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.port, mon_port, old_mon_port = free_ports(PORTS)
        for name in ("mon", "osd", "rgw", "run", "log"):
            (data / name).mkdir(parents=True)
        (library,) = (program / "usr/lib").glob("*-linux-gnu")
        fsid = str(uuid4())
        ports = {"mon_port": mon_port, "old_mon_port": old_mon_port, "s3_port": self.port}
        text = CONF.format(data=data, libraries=library, fsid=fsid, memory_bytes=MEMORY_BYTES, **ports)
        (data / "ceph.conf").write_text(text)
        self._environment = {**os.environ, "CEPH_CONF": str(data / "ceph.conf")}
        try:
            self._start(fsid, f"[v2:127.0.0.1:{mon_port},v1:127.0.0.1:{old_mon_port}]")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the daemons; nothing of theirs is worth a word of farewell."""
        for daemon in reversed(self._daemons):
            daemon.kill()
        for daemon in self._daemons:
            daemon.wait()

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of each daemon."""
        return {
            Path(each.args[4]).name: psutil.Process(each.pid).memory_info().rss / 1e6  # type: ignore[index]
            for each in self._daemons
        }

    def _start(self, fsid: str, monitor: str) -> None:
        data = self._data
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
        for i, name in enumerate(("mon.", "client.admin", "osd.0", "client.rgw")):
            create = () if i else ("--create-keyring",)
            self._do("ceph-authtool", f"{data}/keyring", *create, "--gen-key", "-n", name, *everything)
        self._do("monmaptool", "--create", "--addv", "a", monitor, "--fsid", fsid, f"{data}/monmap")
        self._do("osdmaptool", "--createsimple", "1", f"{data}/osdmap")
        made = ("--monmap", f"{data}/monmap", "--osdmap", f"{data}/osdmap", "--keyring", f"{data}/keyring")
        self._do("ceph-mon", "--mkfs", "-i", "a", *made)
        self._daemon("ceph-mon", "-i", "a")
        self._do("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", str(uuid4()))
        self._daemon("ceph-osd", "-i", "0")
        # a client that comes before the disk is up waits for five seconds
        self._until(
            lambda: "osd.0" in (log := (data / "log/mon.a.log").read_text(errors="replace")) and " boot\n" in log
        )
        self._do("radosgw-admin", "user", "create", "--uid=t", "--display-name=t", *self._keys())
        self._daemon("radosgw", "-n", "client.rgw")
        self._until(self._answers)

    def _keys(self) -> tuple[str, str]:
        return f"--access-key={ACCESS_KEY}", f"--secret={SECRET_KEY}"

    def _do(self, *args: str) -> None:
        done = subprocess.run(
            [self._run, *args], env=self._environment, capture_output=True, text=True, check=False, timeout=START_S
        )
        if done.returncode:
            raise RuntimeError(f"{args[0]} ended with {done.returncode}: {done.stderr[-2000:]}")

    def _daemon(self, *args: str) -> None:
        with (self._data / f"log/{args[0]}.out").open("wb") as out:
            tied = ("setpriv", "--pdeathsig", "KILL", self._run, *args, "-f")
            self._daemons.append(subprocess.Popen(tied, env=self._environment, stdout=out, stderr=out))

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + START_S
        while not holds():
            for daemon in self._daemons:
                if daemon.poll() is not None:
                    raise RuntimeError(f"{daemon.args[4:]} ended with {daemon.returncode}")  # type: ignore[index]
            if time.monotonic() > end:
                raise TimeoutError(f"Ceph was not up after {START_S} s; its logs are in {self._data}/log")
            time.sleep(0.05)
