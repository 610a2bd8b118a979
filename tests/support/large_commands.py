"""What a command on a large root takes, measured in a process of its own: JSON on stdout."""

import json
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.large_root import large_config, large_store
from support.peak import peak_kb
from support.slow_store import SlowStore

from shardpipe.core.work import Outcome, Progress, UnitJob
from shardpipe.engine.views.report import status
from shardpipe.engine.worker import Task
from shardpipe.executors.plan import plan_config
from shardpipe.executors.run import run_config
from shardpipe.storage.store import Store


@dataclass
class CountingExecutor:
    """Does nothing, and says that all is done."""

    num_jobs: int = 0
    names: list[str] = field(default_factory=list)

    def run(self, task: Task, jobs: Sequence[UnitJob], progress: Progress) -> Generator[Outcome, None, None]:
        """An Outcome for each job."""
        self.num_jobs += len(jobs)
        self.names += [job.name for job in jobs]
        yield from (Outcome(job.name, num_seen=1) for job in jobs)


def do(command: str, store: Store) -> dict[str, Any]:
    """`status`, `plan` or `run`: what it tells."""
    if command == "status":
        return {each.name: [each.num_units_done, each.num_seen, each.complete] for each in status(store).passes}
    if command == "plan":
        phases = plan_config(large_config(), store=store).phases
        return {f"{each.name}/{each.phase}": [each.num_units, each.num_done] for each in phases}
    executor = CountingExecutor()
    report = run_config(large_config(), store=store, executor=executor)
    return {"jobs": executor.num_jobs, "complete": list(report.passes)}


def measure(command: str, store: SlowStore) -> dict[str, Any]:
    """What it tells, and what it takes; `reads` is the most of any one rows object."""
    store.requests.clear()
    store.reads.clear()
    began_s, cpu_s = time.monotonic(), time.process_time()
    told = do(command, store)
    took = {"wall_s": time.monotonic() - began_s, "cpu_s": time.process_time() - cpu_s}
    reads = max((num for path, num in store.reads.items() if "/rows/" in path), default=0)
    return {"told": told, **took, "peak_mb": peak_kb() / 1024, "reads": reads, "requests": dict(store.requests)}


if __name__ == "__main__":
    pack, over, share_left, asked = sys.argv[1:]
    far = SlowStore(large_store(Path(pack), Path(over), left=float(share_left)))
    print(json.dumps(measure(asked, far)))
