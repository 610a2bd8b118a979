"""What configs/tiny.yaml needs: FOLDER/weights, tiny models with random values, and FOLDER/videos.csv, videos with a title each.

Numbers of random models mean nothing; the files are read, hashed and run as real ones are.
"""

import csv
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.tiny_clip import WIDTH, aesthetic_head, clip_folder  # noqa: E402  the tests build them in the same way
from support.tiny_vlm import make_tiny_llm, make_tiny_vlm  # noqa: E402
from support.unimatch_weights import write_checkpoint  # noqa: E402

TITLES = {"carphone_pristine.mp4": "A man sits in a moving car. He talks, and the landscape passes behind him."}


def main(folder: Path) -> None:
    """Make what is not there yet."""
    weights = folder / "weights"
    if not (weights / "clip").is_dir():
        clip_folder(weights / "clip")
    if not (weights / "aesthetic.pth").exists():
        aesthetic_head(weights / "aesthetic.pth", num_in=WIDTH)
    if not (weights / "unimatch.pth").exists():
        write_checkpoint(weights / "unimatch.pth")
    if not (weights / "vlm").is_dir():
        make_tiny_vlm(weights / "vlm")
    if not (weights / "llm").is_dir():
        make_tiny_llm(weights / "llm")
    with (folder / "videos.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["url", "title"])
        table.writerows([ROOT / "tests" / "assets" / "videos" / name, title] for name, title in TITLES.items())


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
