"""Captions by vLLM in a pass, against the same requests in one list: generated tokens a second, on a tiny model.

On the CPU, in the environment of scripts/vllm_env, where all is real but the size of the model: what is measured is whether the
pass keeps the engine as full as it keeps itself. A step of a tiny model is short, so that nothing hides behind it.
"""

import json
import subprocess
import tempfile
from pathlib import Path

from material import web_video
from measure import ROOT, SHARDPIPE, Table, run

NUM_CLIPS, NUM_UNITS, NUM_TOKENS = 200, 8, 256
SIDE = ROOT / "scripts" / "benchmarks" / "captions_side.py"
CUT = """
root: {root}
cut: {{sources: {videos}, scenes: {{type: fixed, every_s: 0.9, min_s: 0.5}}, write: {{method: encode, short_side: 180, preset: ultrafast, gop_s: 1}}}}
"""


def bench(table: Table, *, rounds: int) -> None:
    """The median of rounds, each of both sides one after the other."""
    python = f"{subprocess.run([ROOT / 'scripts' / 'vllm_env'], check=True, capture_output=True, text=True).stdout.strip()}/bin/python"
    environment = {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{ROOT / 'scripts' / 'benchmarks'}",
        "VLLM_CPU_KVCACHE_SPACE": "4",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "HF_HUB_OFFLINE": "1",
    }
    ratios, idle = [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        for i in range(2):
            (folder / "videos" / f"{i}.mp4").symlink_to(web_video())
        config = folder / "cut.yaml"
        config.write_text(CUT.format(root=folder / "root", videos=folder / "videos"), encoding="utf-8")
        run([SHARDPIPE, "run", str(config)])
        run([python, str(SIDE), "model", str(folder)], **environment)
        for i in range(rounds):
            sides = {}
            for side in ("direct", "pass"):
                out = folder / f"{side}{i}.json"
                run([python, str(SIDE), side, str(folder), str(out)], **environment)
                sides[side] = json.loads(out.read_text(encoding="utf-8"))
            ratios.append(sides["pass"]["tokens_s"] / sides["direct"]["tokens_s"])
            idle = max(idle, sides["pass"]["num_idle"])
            note = f"pass {sides['pass']['tokens_s']:.0f}, one list {sides['direct']['tokens_s']:.0f} tokens/s"
    table.add("captions, vllm: pass / one list, tokens a second", sorted(ratios)[rounds // 2], at_least=0.9, note=note)
    table.add("captions, vllm: times that no request was in flight", idle, at_most=0)
