"""What frames cost without any model: keyframes against a full decode, motion vectors, cached frames, and no frame twice.

All of one kind of clip: 10 s of 720p30, H.264, a keyframe each second.
"""

import json
import tempfile
from pathlib import Path

from material import keyed_video
from measure import SHARDPIPE, Table, python, run

CONFIG = """
root: {root}
cut:
  sources: {video}
  scenes: {{type: fixed, every_s: 10}}
"""

CODE = """
import io, json, statistics, sys, time
from pathlib import Path
import av, numpy as np, webdataset as wds
from shardpipe.core.frames import Fractions, FrameRequest
from shardpipe.core.stage import ClipView
from shardpipe.media import packetstore
from shardpipe.media.sample import sample
from shardpipe.media.stills import StillFacts, Stills, picks
from shardpipe.stages.aes import Aes
from shardpipe.stages.camera_motion import CameraMotion
from shardpipe.stages.embed import Embed
from shardpipe.stages.flow import Flow
from shardpipe.stages.frames import FramesStage
from shardpipe.stages.match import Match
from shardpipe.stages.quality import Quality

clips = [s["mp4"] for s in wds.WebDataset(sorted(map(str, Path(sys.argv[1]).glob("*.tar"))), shardshuffle=False)]
seconds = 10 * len(clips)
aes = Aes(preset="opensora", tolerance_s=0.5).request
mv, gray = Flow(engine="mv"), Flow().frames

def full():
    num = 0
    for clip in clips:
        with av.open(io.BytesIO(clip)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            num += sum(1 for _ in container.decode(stream))
    return num

def keyframes():
    for clip in clips:
        sample(clip, [aes])

def pixels():
    for clip in clips:
        sample(clip, [gray])

def vectors():
    for clip in clips:
        mv.process([ClipView("clip", {}, tuple(sample(clip, [mv.frames])))])

def vectors_beside():
    for clip in clips:
        mv.process([ClipView("clip", {}, (sample(clip, [gray, mv.frames])[1],))])

kept = []
for clip in clips:
    (frames,) = sample(clip, FramesStage().frame_requests)
    result = FramesStage().process([ClipView("clip", {}, (frames,))])[0]
    height, width = frames.data.shape[1:3]
    facts = StillFacts(frames.times_s, 8, (width, height), (1280, 720), 10.0, 300)
    wide = FrameRequest(Fractions((0.1, 0.5, 0.9)), short_side=224, tolerance_s=0.7)
    chosen = picks(wide, facts)
    kept.append((Stills(facts, {int(i): result[f"frames_{i:02d}"] for i in chosen}, {wide: chosen}), wide))

def cached():
    for stills, wide in kept:
        stills.frames(wide, lambda shape: np.empty(shape, np.uint8))

def cost(what):
    began = time.process_time()
    what()
    return time.process_time() - began

def num_decoded():
    seen, frames = [], packetstore.frames
    def counted(*args, **options):
        for frame in frames(*args, **options):
            seen.append(frame.pts)
            yield frame
    packetstore.frames = counted
    images = [Aes().request, Embed().request, Match().request]
    rest = [request for stage in (Flow(), Quality(), CameraMotion()) for request in stage.frame_requests]
    for clip in clips:
        sample(clip, images + rest)
    return len(seen)

rounds = []
for _ in range(int(sys.argv[2])):
    took = {each.__name__: cost(each) for each in (full, keyframes, pixels, vectors, vectors_beside, cached)}
    rounds.append({
        "keyframes": took["keyframes"] / took["full"],
        "mv": (took["vectors"] - took["full"]) / seconds,
        "mv_beside": (took["vectors_beside"] - took["pixels"]) / seconds,
        "cached": took["cached"] / took["full"],
        "full": took["full"] / seconds,
    })
found = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
found["decoded"] = num_decoded() / full()
Path(sys.argv[3]).write_text(json.dumps(found))
"""


def bench(table: Table, *, rounds: int) -> None:
    """Medians of the ratios of each round, all within one process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "cut.yaml"
        config.write_text(CONFIG.format(root=folder / "root", video=keyed_video()), encoding="utf-8")
        run([SHARDPIPE, "run", str(config)])
        shards = str(folder / "root" / "clips" / "shards")
        python(CODE, shards, str(rounds), str(folder / "found.json"))
        found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    note = f"full decode {found['full']:.3f} CPU-s a second of video"
    table.add("frames of aes within tolerance (keyframes), x full decode", found["keyframes"], at_most=0.15, note=note)
    table.add("flow mv above a full decode, CPU-s a second of 720p", found["mv"], at_most=0.02)
    table.add("flow mv beside flow dis' frames, CPU-s a second of 720p", found["mv_beside"], at_most=0.02)
    table.add("three cached frames, x full decode", found["cached"], at_most=0.15)
    note = "aes, embed, match, flow dis, quality and camera_motion together"
    table.add("frames decoded for six stages, x frames there", found["decoded"], at_most=1.0, note=note)
