"""Keys of many clips, compressed, are those that were given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpipe.engine.passes.lookthrough import BLOCKS_AT_HAND, KEYS_A_BLOCK, Keys


@given(st.lists(st.integers(0, 3 * KEYS_A_BLOCK), max_size=6))
def test_keys_by_place(sizes: list[int]) -> None:
    keys, given_keys = Keys(), [f"video-{i % 7}_{i:08d}" for i in range(sum(sizes))]
    end = 0
    for size in sizes:
        keys.extend(given_keys[end : end + size])
        end += size
        assert len(keys) == end
    assert [keys[i] for i in range(end)] == given_keys
    with pytest.raises(IndexError, match=f"no clip at place {end}: there are {end}"):
        keys[end]


def test_more_blocks_than_are_held() -> None:
    keys = Keys()
    num = (BLOCKS_AT_HAND + 2) * KEYS_A_BLOCK
    keys.extend([str(i) for i in range(num)])
    for _ in range(2):
        assert [keys[i] for i in range(0, num, KEYS_A_BLOCK)] == [str(i) for i in range(0, num, KEYS_A_BLOCK)]
