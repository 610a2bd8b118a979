"""Packing: every clip exactly once, shards of the target size, and the same whatever came before."""

from hypothesis import given
from hypothesis import strategies as st

from shardpipe.engine.emission.packing import END_BYTES, Packable, bucket_rank, member_bytes, pack, sample_bytes

sizes = st.integers(1, 3000).map(lambda n: n * 512)
buckets = st.tuples(st.none() | st.integers(0, 2), st.none() | st.sampled_from(["a", "b"]))
clips = st.lists(st.tuples(sizes, buckets), max_size=40).map(
    lambda items: [Packable(f"k{i}", size, bucket) for i, (size, bucket) in enumerate(items)]
)
targets = st.integers(1024, 1 << 20)
seeds = st.none() | st.integers(0, 5)


@given(clips, targets, seeds)
def test_each_clip_is_in_exactly_one_shard(items: list[Packable], target: int, seed: int | None) -> None:
    shards = pack(items, shard_bytes=target, shuffle=seed)
    assert sorted(place for shard in shards for place in shard) == list(range(len(items)))
    assert all(shards)


@given(clips, targets, seeds)
def test_sizes_and_buckets(items: list[Packable], target: int, seed: int | None) -> None:
    shards = pack(items, shard_bytes=target, shuffle=seed)
    for shard, after in zip(shards, [*shards[1:], None], strict=False):
        assert len({items[place].bucket for place in shard}) == 1
        num_bytes = sum(items[place].num_bytes for place in shard) + END_BYTES
        assert len(shard) == 1 or num_bytes - items[shard[-1]].num_bytes < target  # at most the target plus one clip
        if after is not None and items[after[0]].bucket == items[shard[0]].bucket:
            assert num_bytes >= target  # only the last of a bucket is smaller
    ranks = [bucket_rank(items[shard[0]].bucket) for shard in shards]
    assert ranks == sorted(ranks)


@given(clips, targets)
def test_unshuffled_clips_keep_their_order(items: list[Packable], target: int) -> None:
    alike = [Packable(clip.key, clip.num_bytes) for clip in items]
    assert [place for shard in pack(alike, shard_bytes=target) for place in shard] == list(range(len(items)))


@given(clips, targets, st.integers(0, 5), st.randoms())
def test_a_shuffle_depends_on_seed_and_keys_alone(
    items: list[Packable], target: int, seed: int, random: object
) -> None:
    other = list(items)
    random.shuffle(other)  # type: ignore[attr-defined]
    first, second = (
        [[source[place].key for place in shard] for shard in pack(source, shard_bytes=target, shuffle=seed)]
        for source in (items, other)
    )
    assert first == second


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=4))
def test_bytes_are_those_that_a_tar_takes(member_sizes: list[int]) -> None:
    total = sample_bytes(member_sizes)
    assert total % 512 == 0
    assert total >= sum(member_sizes) + 512 * len(member_sizes)
    assert member_bytes(512) == 1024
    assert member_bytes(513) == 1536
