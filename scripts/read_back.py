"""Reads an emitted Dataset with the webdataset package, as a training job would, and prints what is in it."""

import io
import json
import sys
from pathlib import Path

import av
import webdataset as wds


def main(folder: Path) -> int:
    """Print one line a clip; 1 if there is none."""
    urls = [str(folder / line) for line in (folder / "urls.txt").read_text(encoding="utf-8").split()]
    dataset = wds.WebDataset(urls, shardshuffle=False, empty_check=False)
    num = 0
    for sample in dataset:
        sidecar = json.loads(sample["json"])
        with av.open(io.BytesIO(sample["mp4"])) as container:
            frames = sum(1 for _ in container.decode(video=0))
        if frames != sidecar["num_frames"]:
            print(f"{sample['__key__']}: {frames} frames, its sidecar says {sidecar['num_frames']}", file=sys.stderr)
            return 1
        num += 1
        motion = "+".join(sidecar["cmotion"] or []) or "-"
        print(
            f"{sample['__key__']:44} {sidecar['duration_s']:6.2f} s  flow {sidecar['flow_px_s']:6.1f}  {motion:20} {sidecar['description']}"
        )
    print(f"{num} clips in {len(urls)} shards read back with webdataset {wds.__version__}, every frame decoded")
    print(
        f"shards    {folder / 'shards'}\nindex     {folder / 'index.parquet'}  (DuckDB, pandas, polars)\nlook      shardpipe inspect {folder}"
    )
    return 0 if num else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
