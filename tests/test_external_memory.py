"""A memory of slots: what is written is read again, by address and by content, until it goes."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu import attention
from longctx_edu.errors import LongctxError
from longctx_edu.memory import ExternalMemory


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(*, batch=2, n=6, width=3, **options):
    memory = ExternalMemory(options.pop("capacity", n), width, batch=batch, **options)
    memory.write(numbers(batch, n, width))
    return memory


# --- by address


def test_what_is_written_stands_at_the_addresses_that_write_returns():
    memory, content = ExternalMemory(5, 3, batch=2), numbers(2, 4, 3)
    addresses = memory.write(content)
    assert torch.equal(memory.read(addresses), content)
    assert memory.held.sum(1).tolist() == [4, 4]


def test_a_chosen_address_is_overwritten_and_the_others_are_not():
    memory, new = filled(), numbers(2, 1, 3, seed=1)
    before = memory.read([0, 1, 2, 4, 5])
    memory.write(new, address=3)
    assert torch.equal(memory.read(3), new)
    assert torch.equal(memory.read([0, 1, 2, 4, 5]), before)


def test_each_row_of_the_batch_has_its_own_addresses():
    memory, content = ExternalMemory(4, 3, batch=2), numbers(2, 2, 3)
    memory.write(content, address=torch.tensor([[0, 3], [2, 1]]))
    assert memory.held.tolist() == [[True, False, False, True], [False, True, True, False]]
    assert torch.equal(memory.read(torch.tensor([[3], [2]])), content[[0, 1], [1, 0]][:, None])


def test_writing_without_an_address_takes_what_is_empty_first():
    memory = ExternalMemory(4, 3)
    memory.write(numbers(1, 2, 3), address=[0, 2])
    assert memory.write(numbers(1, 3, 3)).tolist() == [[1, 3, 0]]  # then the oldest


# --- by content


def by_loops(memory, query, k, similarity):
    """The k best slots and their scores, one pair of vectors after another."""
    rows = []
    for row, own in enumerate(query):
        for vector in own:
            scores = {}
            for slot in range(memory.capacity):
                if memory.written[row, slot] >= 0:
                    other = memory.keys[row, slot]
                    dot = sum(float(a) * float(b) for a, b in zip(vector, other, strict=True))
                    lengths = float(vector.norm()) * float(other.norm())
                    scores[slot] = dot / lengths if similarity == "cosine" else dot
            rows.append(sorted(scores.items(), key=lambda one: -one[1])[:k])
    return rows


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("key_width", [None, 4])
@given(
    batch=st.integers(1, 3),
    n=st.integers(1, 8),
    empty=st.integers(0, 3),
    data=st.data(),
)
@settings(max_examples=25)
def test_what_is_found_is_what_loops_over_all_pairs_find(
    similarity, key_width, batch, n, empty, data
):
    seed, k = data.draw(st.integers(0, 10**6)), data.draw(st.integers(1, n))
    memory = ExternalMemory(n + empty, 3, batch=batch, key_width=key_width)
    key = None if key_width is None else numbers(batch, n, key_width, seed=seed + 1)
    memory.write(numbers(batch, n, 3, seed=seed), key=key)
    query = numbers(batch, 2, key_width or 3, seed=seed + 2)
    found = memory.find(query, k=k, similarity=similarity)
    expected = by_loops(memory, query, k, similarity)
    assert found.addresses.flatten(0, 1).tolist() == [[s for s, _ in row] for row in expected]
    wanted = torch.tensor([[score for _, score in row] for row in expected])
    torch.testing.assert_close(found.scores.flatten(0, 1), wanted, atol=1e-5, rtol=1e-5)


def test_a_content_finds_itself_by_cosine_whatever_its_length_and_not_by_dot():
    memory = ExternalMemory(2, 2)
    memory.write(torch.tensor([[[1.0, 0.0], [8.0, 6.0]]]))
    assert memory.find(torch.tensor([[[5.0, 0.0]]])).addresses.tolist() == [[[0]]]
    assert memory.find(torch.tensor([[[5.0, 0.0]]]), similarity="dot").addresses.tolist() == [[[1]]]


def test_an_empty_slot_is_never_found_even_where_all_contents_point_away():
    memory = ExternalMemory(5, 3)
    memory.write(-torch.ones(1, 1, 3), address=4)
    for similarity in ("cosine", "dot"):
        found = memory.find(torch.ones(1, 1, 3), similarity=similarity)
        assert found.addresses.tolist() == [[[4]]]
        assert found.scores.item() < 0


def test_a_soft_read_by_dot_at_the_root_of_the_width_is_attention():
    memory = ExternalMemory(9, 5, batch=2, key_width=4)  # two slots stay empty
    keys, values, query = numbers(2, 7, 4, seed=1), numbers(2, 7, 5), numbers(2, 3, 4, seed=2)
    memory.write(values, key=keys)
    got = memory.soft_read(query, similarity="dot", temperature=2.0)
    wanted = attention.scaled_dot_product(query, keys, values, causal=False)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_cold_soft_read_is_the_best_content_and_a_hot_one_the_mean(similarity):
    memory, query = filled(), numbers(2, 4, 3, seed=5)
    best = memory.read(memory.find(query, similarity=similarity).addresses[..., 0])
    cold = memory.soft_read(query, temperature=1e-4, similarity=similarity)
    torch.testing.assert_close(cold, best, atol=1e-3, rtol=1e-3)
    hot = memory.soft_read(query, temperature=1e6, similarity=similarity)
    torch.testing.assert_close(hot, memory.contents.mean(1, keepdim=True).expand_as(hot))


def test_a_soft_read_of_k_is_a_mean_of_the_k_found_only():
    memory, query = filled(), numbers(2, 4, 3, seed=5)
    found = memory.find(query, k=2)
    pair = memory.read(found.addresses.flatten(1)).unflatten(1, (4, 2))
    weights = (found.scores / 0.5).softmax(-1)[..., None]
    torch.testing.assert_close(
        memory.soft_read(query, k=2, temperature=0.5), (weights * pair).sum(2)
    )


# --- what goes when all slots are taken


class Slots:
    """The rules of eviction once more, on a list in which the first is the next to go."""

    def __init__(self, capacity, eviction):
        self.capacity, self.eviction, self.entries = capacity, eviction, []

    def write(self, contents):
        gone = max(0, len(self.entries) + len(contents) - self.capacity)
        if self.eviction == "least_read":
            self.entries.sort(key=lambda one: one["reads"])  # stable: the oldest of equals first
        kept = sorted(self.entries[gone:], key=lambda one: one["time"])
        now = 1 + max((one["time"] for one in self.entries), default=0)
        self.entries = kept + [
            {"content": content, "reads": 0, "time": now + n} for n, content in enumerate(contents)
        ]

    def read(self, content):
        next(one for one in self.entries if one["content"] == content)["reads"] += 1

    @property
    def contents(self):
        return {one["content"] for one in self.entries}


@pytest.mark.parametrize("eviction", ["oldest", "least_read"])
@given(
    capacity=st.integers(1, 6),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 10**6)), max_size=30),
)
@settings(max_examples=60)
def test_what_is_held_after_any_writes_and_reads_is_what_the_rule_says(eviction, capacity, steps):
    memory, model, count = ExternalMemory(capacity, 1, eviction=eviction), None, 0
    model = Slots(capacity, eviction)
    for writes, number in steps:
        if writes:
            new = list(range(count, count + 1 + number % capacity))
            count += len(new)
            memory.write(torch.tensor(new).float().view(1, -1, 1))
            model.write(new)
        elif model.entries:
            content = sorted(model.contents)[number % len(model.contents)]
            memory.read(int((memory.held[0] & (memory.contents[0, :, 0] == content)).nonzero()))
            model.read(content)
        held = memory.contents[0, memory.held[0], 0]
        assert {int(one) for one in held} == model.contents


def test_what_was_softly_read_stays_longer_than_what_was_not():
    memory = ExternalMemory(2, 2, eviction="least_read")
    memory.write(torch.eye(2)[None])
    memory.soft_read(torch.tensor([[[1.0, 0.0]]]), temperature=0.1)
    assert memory.write(torch.ones(1, 1, 2)).tolist() == [[1]]
    assert filled(eviction="oldest").write(torch.ones(2, 1, 3)).tolist() == [[0], [0]]


def test_looking_is_not_reading():
    memory = filled()
    memory.find(numbers(2, 3, 3), k=2)
    assert memory.reads.sum() == 0
    memory.read([1, 1])
    assert memory.reads[0].tolist() == [0, 2, 0, 0, 0, 0]


# --- gradients


def test_by_default_no_gradient_reaches_what_was_written_but_the_query_gets_one():
    content, query = numbers(1, 3, 2).requires_grad_(), numbers(1, 1, 2, seed=1).requires_grad_()
    memory = ExternalMemory(3, 2)
    memory.write(content * 2)
    memory.soft_read(query).sum().backward()
    assert content.grad is None
    assert not memory.contents.requires_grad
    assert query.grad.abs().sum() > 0


def test_on_request_the_gradient_flows_through_the_memory_and_only_through_what_is_read():
    content = numbers(1, 3, 2).requires_grad_()
    memory = ExternalMemory(3, 2)
    memory.write(content * 2, keep_graph=True)
    memory.read(1).sum().backward()
    assert content.grad.tolist() == [[[0.0, 0.0], [2.0, 2.0], [0.0, 0.0]]]
    memory.clear()
    assert not memory.contents.requires_grad
    assert not memory.held.any()


def test_writing_after_a_read_does_not_spoil_the_gradient_of_that_read():
    query, memory = numbers(1, 1, 2).requires_grad_(), ExternalMemory(2, 2)
    memory.write(numbers(1, 2, 2, seed=1))
    loss = memory.soft_read(query).sum()
    memory.write(numbers(1, 2, 2, seed=2))
    loss.backward()
    assert query.grad is not None


# --- a module like any other


def test_saved_and_loaded_it_holds_reads_and_gives_up_the_same():
    memory = filled(capacity=7, key_width=None, eviction="least_read")
    memory.read([0, 1, 2])
    other = ExternalMemory(7, 3, batch=2, eviction="least_read")
    other.load_state_dict(copy.deepcopy(memory.state_dict()))
    query = numbers(2, 2, 3, seed=9)
    assert torch.equal(memory.find(query, k=3).addresses, other.find(query, k=3).addresses)
    for seed in range(4):
        new = numbers(2, 2, 3, seed=seed)
        assert torch.equal(memory.write(new), other.write(new))
    assert all(torch.equal(a, b) for a, b in zip(memory.buffers(), other.buffers(), strict=True))


def test_all_it_holds_moves_with_it_and_nothing_is_a_parameter():
    memory = filled().to("meta")
    assert {buffer.device.type for buffer in memory.buffers()} == {"meta"}
    assert not list(memory.parameters())
    half = filled().half()
    assert half.read(0).dtype == half.soft_read(numbers(2, 1, 3)).dtype == torch.float16


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: ExternalMemory(0, 3), "capacity must be at least 1, got 0"),
        (lambda: ExternalMemory(2, 3, eviction="random"), "oldest, least_read, got 'random'"),
        (lambda: filled().write(numbers(2, 3)), r"shape \(2, n, 3\), got \(2, 3\)"),
        (lambda: filled().write(numbers(2, 7, 3)), "7 contents do not fit into 6 slots"),
        (lambda: filled().write(numbers(2, 2, 3), address=[1, 1]), "one is twice"),
        (lambda: filled().write(numbers(2, 2, 3), address=1), "2 contents need 2 addresses, got 1"),
        (lambda: filled().write(numbers(2, 1, 3), key=numbers(2, 1, 3)), "leave key out"),
        (lambda: ExternalMemory(2, 3, key_width=4).write(numbers(1, 1, 3)), "give a key"),
        (lambda: filled().read(6), "from 0 to 5, got 6"),
        (lambda: filled().read(-1), "from 0 to 5, got -1"),
        (lambda: filled().read(1.0), "whole numbers, got torch.float32"),
        (lambda: filled().read(torch.zeros(3, 1, dtype=torch.long)), r"got \(3, 1\)"),
        (lambda: filled(capacity=8).read(6), "Slot 6 is empty"),
        (lambda: filled().find(numbers(2, 1, 3), k=7), "the 6 contents that are held, not 7"),
        (lambda: ExternalMemory(2, 3).soft_read(numbers(1, 1, 3)), "the 0 contents"),
        (lambda: filled().find(numbers(2, 1, 3), similarity="l2"), "cosine, dot, got 'l2'"),
        (lambda: filled().soft_read(numbers(2, 1, 3), temperature=0), "greater than 0, got 0"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(act, says):
    with pytest.raises(LongctxError, match=says):
        act()
