"""The original system's blocks, in the older and the newer interface, and its token samplers."""

import pytest

from diffulex_edge.runtime import BlockStatus, DiffusionBlock, DiffusionBlockManager, DiffusionSampler


def test_older_block_interface():
    block = DiffusionBlock(start_pos=10, length=3, mask_token_id=100)
    assert block.is_active and block.global_mask_token_ids == [10, 11, 12] and block.get_global_pos(2) == 12
    block.accept_token(1, 7)
    with pytest.raises(ValueError):
        block.accept_token(1, 8)
    for wrong in (-1, 3):
        with pytest.raises(IndexError):
            block.accept_token(wrong, 1)
        with pytest.raises(IndexError):
            block.confirm_token(wrong, 1)
    block.accept_token(0, 5)
    block.accept_token(2, 6)
    assert block.is_complete and not block.is_active and block.get_sequence_tokens() == [5, 7, 6]
    manager = DiffusionBlockManager()
    assert [manager.create_block(0, 2), manager.create_block(2, 3)] == [0, 1]
    manager.update_block(0, [0, 1], [8, 9])
    assert [i for i, _ in manager.get_active_blocks()] == [1] and manager.get_all_mask_positions() == [2, 3, 4]
    for arguments, kind in (((5, [0], [1]), IndexError), ((-1, [0], [1]), IndexError), ((1, [0], [1, 2]), ValueError)):
        with pytest.raises(kind):
            manager.update_block(*arguments)
    for arguments in ((0, 0), (0, -1), (-1, 4)):
        with pytest.raises(ValueError):
            manager.create_block(*arguments)
    manager.reset()
    assert len(manager) == 0 and not manager.has_active_blocks()


def test_newer_block_interface():
    block = DiffusionBlock(3, 5, 2)
    assert (block.block_id, block.start_pos, block.length, block.status) == (3, 5, 2, BlockStatus.PENDING)
    assert block.confirm_token(0, 1) is False and block.confirm_token(0, 9) is False and block.tokens == {0: 1}
    with pytest.raises(ValueError):
        block.confirm()
    assert block.confirm_token(1, 2) is True
    block.confirm()
    assert block.status is BlockStatus.CONFIRMED


def test_sample_blocks_fills_all_active_blocks():
    manager, sampler = DiffusionBlockManager(), DiffusionSampler(confidence_threshold=0.9, temperature=0.0)
    manager.create_block(1, 2)
    manager.create_block(3, 2)
    rows = [[0.0] * 8 for _ in range(5)]
    rows[1][4] = rows[4][6] = 9.0
    output = sampler.sample_blocks(manager, rows)
    assert sorted(output.sampled_tokens) == [1, 2, 3, 4] and len(output.block_states) == 2
    assert output.accepted_tokens == {1: 4, 4: 6}
    assert manager.get_all_mask_positions() == [2, 3]
    rows[1][4], rows[2][5] = 0.0, 9.0  # shifted: rows 2 and 4 predict positions 3 and 5
    output = sampler.sample_blocks(manager, rows, last_logits=[0.0] * 8)
    assert output.accepted_tokens[3] == 5
    assert DiffusionSampler(neg_entropy=True, temperature=0.0).sample_tokens([[1.0, 1.0, 1.0]])[0][0] < 0


def test_token_samplers():
    from diffulex_edge.runtime.sampler import TopKSampler, TopPSampler, get_sampler

    logits = [0.5, 2.0, 1.0, 0.0]
    assert get_sampler("greedy").sample(logits) == 1 and get_sampler("greedy").sample([logits, logits]) == 1
    for make in (
        lambda: TopKSampler(2, 1.0, seed=3),
        lambda: TopPSampler(0.9, 1.0, seed=3),
        lambda: get_sampler("temperature", seed=3),
    ):
        sampler = make()
        draws = [sampler.sample(logits) for _ in range(40)]
        sampler.reset()
        assert [sampler.sample(logits) for _ in range(40)] == draws and make().sample(logits) == draws[0]
        assert len(set(draws)) > 1
    assert {TopKSampler(2, seed=i).sample(logits) for i in range(50)} == {1, 2}
    assert TopPSampler(0.1, seed=1).sample(logits) == 1 and TopKSampler(3, temperature=0).sample(logits) == 1
    with pytest.raises(ValueError, match="Unknown sampling strategy"):
        get_sampler("beam")
