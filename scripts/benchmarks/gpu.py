"""`aes + embed + match` on a GPU against the smaller of its two limits: the model alone on resident tensors, the decode alone.

Clips a second of wall time. The pass runs twice, over its first units and over the rest, and what counts is the difference,
so that the start of processes and the load of weights do not. Skipped where there is no CUDA.
"""

import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from material import keyed_video
from measure import SHARDPIPE, Table, inner, run
from models import weights

DEVICE = "cuda:0"
VIDEO_S, CLIP_S = 30, 5
COPIES = 700
UNIT_CLIPS = 60  # a cut unit is five of these, of ten videos each
NUM_STILLS = 4
BATCH, NUM_BATCHES = 64, 100

CONFIG = """
root: {root}
cut: {{sources: {videos}, scenes: {{type: fixed, every_s: {clip_s}}}, unit_s: {unit_s}, shard_bytes: 4GiB}}
passes:
  - {{name: kept, from: clips, stages: [{{type: frames, num_frames: {num_stills}}}], emit: rows}}
  - name: {name}
    from: {source}
    emit: rows
    unit_clips: {unit_clips}
    stages:
      - {{type: aes, backbone: {backbone}, weights: {weights}/head.pth, tolerance_s: {tolerance_s}}}
      - {{type: embed, backbone: {backbone}, tolerance_s: {tolerance_s}}}
      - {{type: match, backbone: {backbone}, tolerance_s: {tolerance_s}, column: source}}
execute: {{type: local, devices: [{device}]}}
"""

MODEL = """
import json, sys, time
import torch
from shardpipe.models.backbone import OwnBackbone, parse_backbone
from shardpipe.models.image_encoder import load_image_tower
from shardpipe.stages._image_encoder import resolved
backbone = parse_backbone(OwnBackbone(**json.loads(sys.argv[1])))
device, batch, batches = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
tower = load_image_tower(backbone, resolved(backbone.files), device=device, precision="auto",
                         max_images=batch, compiled=False)
images = torch.randn(batch, 3, tower.image_side, tower.image_side, device=device).to(tower._dtype)
wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
with torch.inference_mode():
    for num in (batches // 5 + 1, batches):
        wait()
        began = time.monotonic()
        for _ in range(num):
            tower._forward(images)
        wait()
print(batches * batch / (time.monotonic() - began))
"""

SUPPLY = """
import json, multiprocessing, sys, time
sys.path[:0] = ["scripts/benchmarks"]
from plain import frames_share
from shardpipe.executors.placing import num_cores
from shardpipe.stages.aes import Aes
if __name__ == "__main__":
    root, name, num_stills, fields = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
    request, world = Aes(**fields).request, num_cores()
    with multiprocessing.get_context("spawn").Pool(world) as pool:
        pool.map(abs, range(10 * world))
        began = time.monotonic()
        num = sum(pool.starmap(frames_share, [((root, name), num_stills, request, i, world) for i in range(world)], 1))
        print(num / (time.monotonic() - began))
"""


@dataclass(frozen=True)
class Way:
    """How frames come: from which Dataset, with which tolerance, from how many cached frames."""

    name: str
    source: str
    tolerance_s: float
    num_stills: int

    @property
    def title(self) -> str:
        """The line of the table."""
        return f"aes + embed + match on a GPU, {self.name}, x its limit"


WAYS = (
    Way("full decode", "clips", 0.0, 0),
    Way("keyframes", "clips", 0.5, 0),
    Way("cached frames", "kept", 0.0, NUM_STILLS),
)


def bench(table: Table, *, rounds: int) -> None:
    """The three ways, or why not."""
    why = missing()
    if why is not None:
        for way in WAYS:
            table.skip(way.title, at_least=0.9, why=why)
        return
    models = weights()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = folder / "videos"
        videos.mkdir()
        for i in range(COPIES):
            (videos / f"{i}.mp4").symlink_to(keyed_video(VIDEO_S))
        for made in ("clips", "kept"):
            config = _config(folder, WAYS[0], "unused", models)
            run([SHARDPIPE, "run", str(config), "--pass", made, "--set", "execute={type: local}"])  # on all cores
        for way in WAYS:
            fields = {"backbone": backbone_in(models), "tolerance_s": way.tolerance_s}
            ratios, notes = [], []
            for i in range(rounds):
                model = inner(MODEL, json.dumps(backbone_in(models)), DEVICE, str(BATCH), str(NUM_BATCHES)) / NUM_STILLS
                supply = inner(SUPPLY, str(folder / "root"), way.source, str(way.num_stills), json.dumps(fields))
                rate = _rate(folder, way, f"{way.name.replace(' ', '_')}_{i}", models)
                ratios.append(rate / min(model, supply))
                bound = "the model" if model < supply else "decoding"
                notes.append(
                    f"{rate:.0f} clips/s; model alone {model:.0f}, decode alone {supply:.0f}: {bound} is the limit"
                )
            ratio = statistics.median_low(ratios)
            table.add(way.title, ratio, at_least=0.9, note=notes[ratios.index(ratio)])


def backbone_in(models: Path) -> object:
    """The `backbone` of the stages: ViT-L/14 with the weights there."""
    return {"model": "ViT-L-14-quickgelu", "weights": f"{models}/clip.safetensors"}


def missing() -> str | None:
    """Why there is no GPU to measure; None where there is one."""
    try:
        import torch  # noqa: PLC0415
    except ImportError:
        return "torch is not installed"
    return None if torch.cuda.is_available() else "no CUDA device here (torch.cuda.is_available() is false)"


def _config(folder: Path, way: Way, name: str, models: Path) -> Path:
    path = folder / f"{name}.yaml"
    settings = {
        "root": folder / "root",
        "videos": folder / "videos",
        "clip_s": CLIP_S,
        "unit_s": 5 * UNIT_CLIPS * CLIP_S,
        "num_stills": NUM_STILLS,
        "name": name,
        "source": way.source,
        "tolerance_s": way.tolerance_s,
        "unit_clips": UNIT_CLIPS,
        "backbone": json.dumps(backbone_in(models)),
        "weights": models,
        "device": DEVICE,
    }
    path.write_text(CONFIG.format(**settings), encoding="utf-8")
    return path


def _rate(folder: Path, way: Way, name: str, models: Path) -> float:
    """Clips a second: those of all units but the first two, over the time that they take beyond what those two take."""
    command = [SHARDPIPE, "run", str(_config(folder, way, name, models)), "--pass", name]
    first = run([*command, "--limit", "2"]).wall_s
    rest = run(command).wall_s
    num_clips = COPIES * (VIDEO_S // CLIP_S)
    return (num_clips - 4 * UNIT_CLIPS) / (rest - first)
