"""The dataset card: what Hugging Face's `datasets` takes from its front matter."""

from typing import Any

import yaml

from shardpipe.core.columns import float32, list_of, string
from shardpipe.engine.emission.card import dataset_card
from shardpipe.engine.emission.plansettings import PlanSettings

COLUMNS = {"key": string, "aes": float32, "cmotion": list_of(string), "text": string}


def card(*members: str) -> str:
    return dataset_card("train", PlanSettings(shard_bytes=1, members=members), COLUMNS)


def front_matter(*members: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card(*members).split("---\n")[1])
    return found


def test_features_are_those_of_hugging_face() -> None:
    found = front_matter("json", "mp4", "txt", "f00.webp", "odd")
    assert found["configs"][0]["data_files"] == [{"split": "train", "path": "shards/train-*.tar"}]
    features = {each.pop("name"): each for each in found["dataset_info"]["features"]}
    assert features.pop("json")["struct"] == [
        {"name": "key", "dtype": "string"},
        {"name": "aes", "dtype": "float32"},
        {"name": "cmotion", "list": "string"},
        {"name": "text", "dtype": "string"},
    ]
    assert {name: each["dtype"] for name, each in features.items()} == {
        "__key__": "string",
        "__url__": "string",
        "mp4": "video",
        "txt": "string",
        "f00.webp": "image",
        "odd": "binary",
    }


def test_a_member_that_its_reader_decodes_is_left_out_and_said_to_be() -> None:
    # declared as bytes, the array that `datasets` makes of a .npy cannot be cast, and nothing loads at all
    names = [each["name"] for each in front_matter("json", "mp4", "siglip.npy")["dataset_info"]["features"]]
    assert names == ["__key__", "__url__", "json", "mp4"]
    assert "`KEY.siglip.npy`" in card("json", "mp4", "siglip.npy")
