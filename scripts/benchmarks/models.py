"""Three stages on one shared image encoder against that encoder alone on the same frames: CLIP ViT-L/14 with random weights."""

import csv
import statistics
import tempfile
from pathlib import Path

from material import FOLDER, web_video
from measure import SHARDPIPE, Table, inner, python, run

CLIPS = (2, 8)
CLIP_S = 5
TEXT = "Scene {i}: a man rides a bicycle down a street while {i} people watch from the pavement."

MAKE = """
import sys
sys.path.insert(0, "tests")
from pathlib import Path
import torch
from safetensors.torch import save_file
from shardpipe.models.imports import import_model_library
from support.tiny_clip import aesthetic_head
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
model = import_model_library("open_clip").create_model("ViT-L-14-quickgelu")
save_file({name: value.half() for name, value in model.state_dict().items()}, folder / "clip.safetensors")
aesthetic_head(folder / "head.pth")
"""

CONFIG = """
root: {root}
cut:
  sources: {sources}
  scenes: {{type: fixed, every_s: {every_s}}}
passes:
  - name: score
    from: clips
    emit: rows
    stages:
      - {{type: aes, backbone: {backbone}, precision: fp32, weights: {weights}/head.pth}}
      - {{type: embed, backbone: {backbone}, precision: fp32}}
      - {{type: match, backbone: {backbone}, precision: fp32}}
execute: {{type: local, workers: 1, decoders: 1}}
"""

ENCODER = """
import sys, time
from pathlib import Path
import webdataset as wds
from shardpipe.media.sample import sample
from shardpipe.models.backbone import parse_backbone
from shardpipe.models.image_encoder import load_image_tower
from shardpipe.stages.aes import Aes
aes = Aes(backbone={"model": "ViT-L-14-quickgelu", "weights": sys.argv[2]}, precision="fp32")
tower = load_image_tower(parse_backbone(aes.backbone), {"backbone": Path(sys.argv[2])}, device="cpu", precision="fp32",
                         max_images=64, compiled=False)
shards = sorted(map(str, Path(sys.argv[1]).glob("*.tar")))
clips = [s["mp4"] for s in wds.WebDataset(shards, shardshuffle=False)]
frames = [sample(clip, [aes.request])[0].data for clip in clips]
began = time.process_time()
tower.embed(frames)
print((time.process_time() - began) / len(frames))
"""


def weights() -> Path:
    """A folder with clip.safetensors and head.pth of the published shapes, made once."""
    folder = FOLDER / "ViT-L-14"
    if not (folder / "head.pth").exists():
        python(MAKE, str(folder))
    return folder


def bench(table: Table, *, rounds: int) -> None:
    """CPU a clip: the pass is the slope between few and many clips, so that its start does not count."""
    models = weights()
    ratios, alone = [], []
    with tempfile.TemporaryDirectory() as name:
        for i in range(rounds):
            few, many = (Path(name) / f"{count}-{i}" for count in CLIPS)
            costs = [_pass_cpu_s(folder, count, models) for folder, count in zip((few, many), CLIPS, strict=True)]
            alone.append(inner(ENCODER, str(many / "root" / "clips" / "shards"), str(models / "clip.safetensors")))
            ratios.append((costs[1] - costs[0]) / (CLIPS[1] - CLIPS[0]) / alone[-1])
    note = f"ViT-L/14 in fp32, 4 frames and a text of its own a clip; the encoder {statistics.median(alone):.2f} CPU-s"
    table.add("aes + embed + match, x the encoder alone", statistics.median(ratios), at_most=1.15, note=note)


def _pass_cpu_s(folder: Path, count: int, models: Path) -> float:
    """CPU seconds of the pass over so many clips, each with another text."""
    folder.mkdir()
    _write_sources(folder, count)
    config = folder / "score.yaml"
    backbone = f"{{model: ViT-L-14-quickgelu, weights: {models}/clip.safetensors}}"
    settings = {"root": folder / "root", "sources": folder / "videos.csv", "every_s": CLIP_S}
    config.write_text(CONFIG.format(**settings, backbone=backbone, weights=models), encoding="utf-8")
    run([SHARDPIPE, "run", str(config), "--pass", "clips"])
    return run([SHARDPIPE, "run", str(config), "--pass", "score"]).cpu_s


def _write_sources(folder: Path, count: int) -> None:
    with (folder / "videos.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["url", "text"])
        for i in range(count):
            (folder / f"{i}.mp4").symlink_to(web_video(CLIP_S))
            table.writerow([folder / f"{i}.mp4", TEXT.format(i=i)])
