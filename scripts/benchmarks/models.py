"""Three stages on one shared image encoder against that encoder alone on the same frames: CLIP ViT-L/14 with random weights."""

import csv
import tempfile
from pathlib import Path

from material import FOLDER, web_video
from measure import SHARDPIPE, Table, inner, python, run

TEXT = "A man rides a bicycle down a street while people watch from the pavement."
SECONDS = (10, 40)
EVERY_S = 5

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


def bench(table: Table, *, rounds: int) -> None:
    """CPU a clip: the pass is the slope between a short and a long video, so that its start does not count."""
    weights = FOLDER / "ViT-L-14"
    if not (weights / "head.pth").exists():
        python(MAKE, str(weights))
    ratios, alone = [], []
    with tempfile.TemporaryDirectory() as name:
        for i in range(rounds):
            costs = []
            for seconds in SECONDS:
                folder = Path(name) / f"{seconds}-{i}"
                folder.mkdir()
                _write_sources(folder / "videos.csv", web_video(seconds))
                config = folder / "score.yaml"
                backbone = f"{{model: ViT-L-14-quickgelu, weights: {weights}/clip.safetensors}}"
                config.write_text(
                    CONFIG.format(
                        root=folder / "root",
                        sources=folder / "videos.csv",
                        every_s=EVERY_S,
                        backbone=backbone,
                        weights=weights,
                    ),
                    encoding="utf-8",
                )
                run([SHARDPIPE, "run", str(config), "--pass", "clips"])
                costs.append(run([SHARDPIPE, "run", str(config), "--pass", "score"]).cpu_s)
            num_clips = (SECONDS[1] - SECONDS[0]) / EVERY_S
            shards = folder / "root" / "clips" / "shards"
            alone.append(inner(ENCODER, str(shards), str(weights / "clip.safetensors")))
            ratios.append((costs[1] - costs[0]) / num_clips / alone[-1])
    note = f"ViT-L/14 in fp32, 4 frames: {sorted(alone)[rounds // 2]:.2f} CPU-s a clip"
    table.add("aes + embed + match, x the encoder alone", sorted(ratios)[rounds // 2], at_most=1.15, note=note)


def _write_sources(path: Path, video: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["url", "text"], [str(video), TEXT]])
