"""Any members: what is written is read back, by us, the standard library and webdataset's own grouping."""

import hashlib
import io
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from shardpipe.storage.tar import TarWriter, read_members

KEYS = st.text("abcXYZ019_-", min_size=1, max_size=88)
EXTS = st.sampled_from(["json", "mp4", "txt", "emb.npy", "0"])
SIZES = st.one_of(
    st.integers(0, 1100), st.sampled_from([511, 512, 513, 65_535, 65_536, 65_537, 1 << 20, (1 << 20) + 1])
)
SAMPLES = st.dictionaries(KEYS, st.dictionaries(EXTS, SIZES, min_size=1, max_size=3), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(samples=SAMPLES, views=st.booleans())
def test_round_trip(samples: dict[str, dict[str, int]], *, views: bool) -> None:
    members = [
        (f"{key}.{ext}", (f"{key}{ext}".encode() * 1 + bytes(size))[:size])
        for key, exts in samples.items()
        for ext, size in exts.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.tar")
        with TarWriter(path) as writer:
            places = [writer.add(name, memoryview(data) if views else data) for name, data in members]
            ref = writer.close()
        tar = path.read_bytes()
    assert len(tar) == ref.num_bytes
    assert len(tar) % 512 == 0
    assert ref.sha256 == hashlib.sha256(tar).hexdigest()
    assert [tar[at : at + size] for at, size in places] == [data for _, data in members]
    assert list(read_members(tar)) == [(name, *place) for (name, _), place in zip(members, places, strict=True)]
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        found = [(info.name, (file.read() if (file := archive.extractfile(info)) else None)) for info in archive]
    assert found == members
    starts = [
        place[0] - 512
        for (name, _), place in zip(members, places, strict=True)
        if name.split(".", 1)[1] == next(iter(samples[name.split(".")[0]]))
    ]
    assert writer.sample_offsets == [*starts, len(tar) - 1024]
