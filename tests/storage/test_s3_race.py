"""Processes race to create one object on a real server: one of them wins, and all of them know which."""

import multiprocessing
import os
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
from support.s3_servers import S3Root

from shardpipe.storage.store import open_store

RACERS = 16
NUM_BYTES = 50_000


def race(root: S3Root, me: int, rounds: int, start: Barrier, told: Any) -> None:
    os.environ.update(root.server.environment)  # the fork server has that of the first test
    store = open_store(root.url)
    store.size("warm")
    got = []
    for n in range(rounds):
        start.wait(120)
        got.append(store.create(f"rows/{n:06d}.parquet", bytes([me]) * NUM_BYTES))
    told.put((me, [(len(set(data)), len(data), data[0]) for data in got]))


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_one_of_sixteen_processes_wins(each_root: S3Root, rounds: int) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["shardpipe.storage.remote", "shardpipe.storage.s3", "s3fs", "fsspec"])
    start, told = context.Barrier(RACERS), context.Queue()
    root = replace(each_root, server=each_root.server.at(each_root.server.endpoint))  # without its client
    racers = [context.Process(target=race, args=(root, i + 1, rounds, start, told)) for i in range(RACERS)]
    for racer in racers:
        racer.start()
    answers = dict(told.get(timeout=300) for _ in racers)
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert sorted(answers) == list(range(1, RACERS + 1))
    objects = each_root.objects()
    assert len(objects) == rounds
    for n, data in enumerate(objects.values()):
        assert data == data[:1] * NUM_BYTES
        assert {told_of[n] for told_of in answers.values()} == {(1, NUM_BYTES, data[0])}
