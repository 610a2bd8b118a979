"""What vLLM calls in each of its processes (an entry point of the group `vllm.general_plugins`): they end with their worker.

vLLM's own end when they are told to. A worker that is killed tells nobody: its engine would hold the GPU, and the next one find none.
"""

import os

from shardpipe.core.parent import die_with

WORKER = "SHARDPIPE_VLLM_WORKER"
"""The process that started vLLM for a pass; nobody else's vLLM is touched."""


def end_with_worker() -> None:
    """Have this process killed when its parent dies, if a worker of ours began it."""
    worker = os.environ.get(WORKER)
    if worker is not None and int(worker) != os.getpid():
        die_with(os.getppid())
