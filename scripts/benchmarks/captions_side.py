"""One side of the benchmark of captions, in the environment of vLLM: `model`, `pass` or `direct`, a folder, where to write."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from captions import NUM_CLIPS, NUM_TOKENS, NUM_UNITS
from fakes import TimedCaption
from PIL import Image
from support.tiny_vlm import make_tiny_vlm

from shardpipe.config.models import Config, PassConfig
from shardpipe.core.stage import ClipView
from shardpipe.engine.timings import read_timings, total
from shardpipe.executors.run import run_config
from shardpipe.media.sample import sample
from shardpipe.models.generate.chat import Chat
from shardpipe.models.generate.request import Request
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.store import open_store

ARGS = {"enforce_eager": True, "max_num_seqs": 256, "max_num_batched_tokens": 4096}
LENGTH = 1024


def stage(folder: Path) -> TimedCaption:
    """The captioner of both sides."""
    return TimedCaption(
        model=str(folder / "vlm"),
        dtype="float32",
        max_model_len=LENGTH,
        engine_args=ARGS,
        num_frames=4,
        long_side=112,
        max_tokens=NUM_TOKENS,
        min_tokens=NUM_TOKENS,
        timeout_s=3600.0,
        log=str(folder / "log"),
    )


def of_pass(folder: Path, name: str) -> dict[str, float]:
    """Tokens a second from the first clip that is submitted to the last that is answered."""
    log = folder / "log"
    log.write_text("", encoding="utf-8")
    root = str(folder / "root")
    options = {"from": "clips", "unit_clips": NUM_CLIPS // NUM_UNITS, "emit": "rows"}
    one = PassConfig(name=name, stages=[stage(folder)], **options)
    run_config(Config(root=root, passes=[one]))
    times = [float(line) for line in log.read_text(encoding="utf-8").split()]
    store = open_store(root)
    timings = read_timings(store, name, "rows")
    view = Dataset.open(store, name).pass_view()
    rows = [row for unit in view.units() for row in view.fold(unit).rows]
    num_tokens = sum(row["text_tokens"] or 0 for row in rows)
    assert num_tokens == NUM_TOKENS * NUM_CLIPS, (num_tokens, len(rows))
    return {"tokens_s": num_tokens / (max(times) - min(times)), "num_idle": total(timings).num_idle}


def direct(folder: Path) -> dict[str, float]:
    """The same requests in one list; the CPU time that decoding them takes is added to vLLM's."""
    import vllm  # noqa: PLC0415  a process of its own: the pass's driver has none
    from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

    captioner = stage(folder)
    store = open_store(str(folder / "root"))
    view = Dataset.open(store, "clips").pass_view()
    rows = [row for unit in view.units() for row in view.fold(unit).rows]
    assert len(rows) == NUM_CLIPS
    began = time.process_time()
    sets = []
    for row in rows:
        data = store.read_range(row["shard"], row["offset"], row["size"])
        sets.append(sample(data, captioner.frame_requests))
    decode_s = time.process_time() - began
    engine: Any = vllm.LLM(str(folder / "vlm"), dtype="float32", max_model_len=LENGTH, disable_log_stats=True,
                           limit_mm_per_prompt={"image": 4, "video": 0}, mm_processor_cache_gb=0, **ARGS)  # fmt: skip
    asked: list[Request] = [
        captioner.request_of(ClipView(row["key"], row, tuple(frames))) for row, frames in zip(rows, sets, strict=True)
    ]
    chat = Chat(folder / "vlm", sees=True)
    prompts = [
        {"prompt": chat.written(each), "multi_modal_data": {"image": [Image.fromarray(one) for one in each.frames]}}  # type: ignore[union-attr]
        for each in asked
    ]
    sampling = vllm.SamplingParams(
        max_tokens=NUM_TOKENS, min_tokens=NUM_TOKENS, temperature=0.0, seed=0, output_kind=RequestOutputKind.FINAL_ONLY
    )
    began = time.monotonic()
    made = engine.generate(prompts, sampling, use_tqdm=False)
    seconds = time.monotonic() - began
    num_tokens = sum(len(each.outputs[0].token_ids) for each in made)
    assert num_tokens == NUM_TOKENS * NUM_CLIPS
    return {"tokens_s": num_tokens / (seconds + decode_s), "seconds": seconds, "decode_s": decode_s}


def main(side: str, folder: Path, out: Path | None) -> None:
    """Do one side."""
    if side == "model":
        make_tiny_vlm(folder / "vlm")
        return
    assert out is not None
    made = direct(folder) if side == "direct" else of_pass(folder, out.stem)
    out.write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
