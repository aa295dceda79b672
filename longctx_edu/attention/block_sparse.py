"""Block-sparse attention: what a pattern forbids by whole blocks is never computed.

A sliding window is folded into many small problems of one shape, which one call works off. Of
any other pattern blocks of keys that a block of queries sees in full are gathered and need no
mask, others are cut to the keys that somebody sees; parts are joined by their log-sum-exps
(blocks as units: Child et al. 2019, section 5.5; Dao et al. 2022, section 3.3).
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from longctx_edu.attention.parts import attend, attend_after, join
from longctx_edu.attention.patterns import Either, GlobalTokens, LookBack, Pattern, Spans
from longctx_edu.attention.softmax import scaled_dot_product

BLOCK_TOKENS = 64
_GATHERED_KEYS = 2**17  # in one call; of 3 heads of 64 numbers, 100 MB
_CUT_KEYS = 64  # keys of partly seen blocks are filled up to a multiple of this


def block_sparse_attention(
    query, key, value, pattern: Pattern, *, block_tokens: int = BLOCK_TOKENS, scale=None
):
    """Return softmax attention over the keys that ``pattern`` allows; most others are skipped.

    Equal to ``masked_attention`` up to rounding. Time and memory go with the number of blocks
    that hold an allowed pair, not with all pairs.

    Args:
        query: ``(..., heads, queries, head_dim)``; the last tokens of the text.
        key, value: ``(..., kv_heads, keys, head_dim)``; each serves ``heads / kv_heads`` query
            heads in a row.
        pattern: from ``patterns``, over positions 0 to ``keys - 1``. It alone decides: without
            ``causal()`` in it later keys may be seen.
        block_tokens: queries, and keys, of a block; changes the speed, not the result.
        scale: factor of the scores; ``1 / √head_dim`` if left out.

    Returns:
        ``(..., heads, queries, head_dim)``.

    Raises:
        ValueError: for block_tokens below 1, heads that are no multiple of KV heads, no query or
            more queries than keys, or a query that sees no key at all.
    """
    _check(query, key, block_tokens)
    q, k, v = (x.reshape(-1, *x.shape[-3:]) for x in (query, key, value))
    q = q.unflatten(1, (k.shape[1], -1))  # (batch, kv_heads, groups, queries, head_dim)
    output, lse = _attend(q, k, v, pattern, block_tokens=block_tokens, scale=scale)
    blind = (lse == -torch.inf)[0, 0, 0]
    if blind.any():
        raise _sees_nothing(pattern, k.shape[2] - q.shape[3] + int(blind.nonzero()[0]))
    return output.view(*query.shape[:-1], -1)


def masked_attention(query, key, value, pattern: Pattern, *, scale=None):
    """Return the same by its definition: all scores, a mask, one softmax; nothing is saved.

    Arguments and errors as for ``block_sparse_attention``.
    """
    _check(query, key)
    queries, keys = query.shape[-2], key.shape[-2]
    allowed = pattern.allows(torch.arange(keys - queries, keys), torch.arange(keys))
    if not allowed.any(1).all():
        raise _sees_nothing(pattern, keys - queries + int((~allowed.any(1)).nonzero()[0]))
    bias = _bias(allowed, query)
    return scaled_dot_product(query, key, value, causal=False, scale=scale, bias=bias)


def _attend(q, k, v, pattern: Pattern, **options):
    """Return attention by a pattern and each row's log-sum-exp, shaped as ``q`` is."""
    if isinstance(pattern, LookBack):
        return _look_back(q, k, v, pattern, **options)
    window, rest = _split(pattern)
    if window is None:
        return _by_blocks(q, k, v, pattern, **options)
    near = _look_back(q, k, v, window, **options)
    if rest is None:
        return near
    return join(*near, *_by_blocks(q, k, v, rest, **options))


def _split(pattern: Pattern) -> tuple[LookBack | None, Pattern | None]:
    """Split a union with a window into that and what lies outside of it; either may be None."""
    alternatives = _alternatives(pattern)
    windows = [one for one in alternatives if isinstance(one, LookBack)]
    if not windows:
        return None, pattern
    others = [one for one in alternatives if one != windows[0]]
    if not others:
        return windows[0], None
    return windows[0], functools.reduce(Either, others) - windows[0]


def _alternatives(pattern: Pattern) -> list[Pattern]:
    if isinstance(pattern, Either):
        return _alternatives(pattern.one) + _alternatives(pattern.other)
    return [pattern]


# --- windows: one shape for all blocks ---


def _look_back(q, k, v, pattern: LookBack, *, scale, block_tokens):
    """Attend to a window: whole blocks of queries at once, each with the keys it needs.

    Every query of a block of ``b`` has its own ``width`` keys, together ``width + b - 1``. The
    blocks differ in nothing but their place, so that they make one batch under one mask.
    """
    if pattern.step > 1:
        return _interleaved(q, k, v, pattern, scale=scale, block_tokens=block_tokens)
    queries, keys = q.shape[3], k.shape[2]
    past, width = keys - queries, pattern.width or keys
    begin = min(max(width - 1 - past, 0), queries)  # the first queries see all before them
    output, lse = q.new_empty(*q.shape[:-1], v.shape[-1]), q.new_empty(q.shape[:-1])
    if begin:
        seen = past + begin
        output[..., :begin, :], lse[..., :begin] = _everything_before(
            q[..., :begin, :], k[:, :, :seen], v[:, :, :seen], scale
        )
    end = queries - (queries - begin) % block_tokens  # of the last whole block
    for start, stop in ((begin, end), (end, queries)):
        if start < stop:
            own = slice(start, stop)
            reach = slice(past + start - width + 1, past + stop)
            seen = (q[..., own, :], k[:, :, reach], v[:, :, reach])
            block = min(stop - start, block_tokens)
            output[..., own, :], lse[..., own] = _folded(*seen, width, block, scale)
    return output, lse


def _folded(q, k, v, width: int, block: int, scale):
    """Attend to a full window each, ``width`` keys that end at the query's own place.

    ``q`` holds a multiple of ``block`` queries and ``k`` begins ``width - 1`` before the first.
    """
    batch, kv_heads, groups, queries, _ = q.shape
    span = width - 1 + block
    # (blocks, kv_heads, span, head_dim): neighbours overlap, and nothing is copied.
    k, v = (x.unfold(2, span, block).permute(0, 2, 1, 4, 3).flatten(0, 1) for x in (k, v))
    # The query heads of a KV head are queries like others, so that its keys are read once.
    q = q.unflatten(3, (-1, block)).permute(0, 3, 1, 2, 4, 5)
    q = q.reshape(-1, kv_heads, groups * block, q.shape[-1])
    bias = None
    if block > 1:
        rows, columns = torch.arange(width - 1, span), torch.arange(span)
        bias = _bias(LookBack(width).allows(rows, columns), q).repeat(groups, 1)
    output, lse = attend(q, k, v, causal=False, scale=scale, bias=bias)

    def unfolded(x):
        x = x.view(batch, -1, kv_heads, groups, block, *x.shape[3:])
        return x.movedim(1, 3).flatten(3, 4)

    return unfolded(output), unfolded(lse)


def _everything_before(q, k, v, scale):
    """Attend causally without a window; the KV heads stand in the place of texts of a batch."""
    groups = q.shape[2]
    k, v = (x.flatten(0, 1)[:, None].expand(-1, groups, -1, -1) for x in (k, v))
    output, lse = attend_after(q.flatten(0, 1), k, v, scale=scale)
    return output.view(*q.shape[:-1], -1), lse.view(q.shape[:-1])


def _interleaved(q, k, v, pattern: LookBack, **options):
    """Attend to a dilated window: a plain one in each of the ``step`` texts that lie in one."""
    output, lse = q.new_empty(*q.shape[:-1], v.shape[-1]), q.new_empty(q.shape[:-1])
    past, dense = k.shape[2] - q.shape[3], LookBack(pattern.width)
    for offset in range(min(pattern.step, k.shape[2])):
        rows = slice((offset - past) % pattern.step, None, pattern.step)
        if q[..., rows, :].shape[3]:
            columns = slice(offset, None, pattern.step)
            output[..., rows, :], lse[..., rows] = _look_back(
                q[..., rows, :], k[:, :, columns], v[:, :, columns], dense, **options
            )
    return output, lse


# --- any pattern: keys gathered block by block ---


@dataclass(frozen=True, eq=False)
class _Gather:
    """Some blocks of queries that need as many keys each, ready for one call.

    Attributes:
        queries: places of the queries, ``(blocks, block_tokens)``; a last one may come again.
        keys: places of the keys that each block needs, ``(blocks, keys)``.
        allowed: which key each query sees, ``(blocks, block_tokens, keys)``; None for all.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    allowed: torch.Tensor | None


def _by_blocks(q, k, v, pattern: Pattern, *, scale, block_tokens):
    past, total = k.shape[2] - q.shape[3], k.shape[2]
    output, lse = q.new_zeros(*q.shape[:-1], v.shape[-1]), q.new_full(q.shape[:-1], -torch.inf)
    for gather in _plan(pattern, past, total, block_tokens):
        own = gather.queries - past
        part = _gathered(q[:, :, :, own], k, v, gather, scale)
        flat = own.flatten()
        seen = (output[:, :, :, flat], lse[:, :, :, flat])
        output[:, :, :, flat], lse[:, :, :, flat] = join(*seen, *part)
    return output, lse


def _gathered(q, k, v, gather: _Gather, scale):
    """Attend to gathered keys; ``q`` is ``(batch, kv_heads, groups, blocks, block, head_dim)``."""
    batch, kv_heads, groups, blocks, block, _ = q.shape
    k, v = (x[:, :, gather.keys].transpose(1, 2).flatten(0, 1) for x in (k, v))
    q = q.permute(0, 3, 1, 2, 4, 5).reshape(batch * blocks, kv_heads, groups * block, -1)
    bias = None
    if gather.allowed is not None:
        bias = _bias(gather.allowed, q).repeat(batch, groups, 1)[:, None]
    output, lse = attend(q, k, v, causal=False, scale=scale, bias=bias)
    output = output.view(batch, blocks, kv_heads, groups, block, -1).movedim(1, 3)
    lse = lse.view(batch, blocks, kv_heads, groups, block).movedim(1, 3)
    if gather.allowed is not None:  # what the kernel says of a query without keys means nothing
        blind = ~gather.allowed.any(-1).to(lse.device)
        output = output.masked_fill(blind[..., None], 0)
        lse = lse.masked_fill(blind, -torch.inf)
    return output.flatten(3, 4), lse.flatten(3, 4)


@functools.lru_cache(maxsize=8)
def _plan(pattern: Pattern, past: int, total: int, block_tokens: int) -> tuple[_Gather, ...]:
    """Say which keys each block of queries needs, blocks with as many of them together.

    The same for all heads, layers and texts of this length, hence kept.
    """
    places = torch.arange(past, total)
    busy = torch.isin(places, torch.tensor(sorted(_see_everything(pattern)), dtype=torch.long))
    # Queries that see far more than their neighbours are blocks of their own.
    tiles = [
        x for some in (places[~busy], places[busy]) for x in some.split(block_tokens) if len(x)
    ]
    rows = Spans(*(torch.stack([tile[end] for tile in tiles]) for end in (0, -1)))
    columns = Spans.of(range(total), block_tokens)
    maybe, sure = pattern.possible(rows, columns), pattern.certain(rows, columns)
    sure[:, -1] &= total % block_tokens == 0  # a short block is shorter than the others
    groups = {}
    for tile, in_part, in_full in zip(tiles, maybe & ~sure, sure, strict=True):
        own = _filled(tile, block_tokens)
        if in_full.any():
            keys = _places(in_full, block_tokens, total)
            groups.setdefault((len(keys), "whole"), []).append((own, keys, None))
        keys = _places(in_part, block_tokens, total)
        allowed = pattern.allows(own, keys)
        needed = allowed.any(0)
        if needed.any():
            keys, allowed = _padded(keys[needed], allowed[:, needed])
            groups.setdefault((len(keys), "cut"), []).append((own, keys, allowed))
    return tuple(part for group in groups.values() for part in _stacked(group))


def _see_everything(pattern: Pattern) -> set[int]:
    """Return the places of global tokens, which see as much as others are seen."""
    if isinstance(pattern, GlobalTokens):
        return {*pattern.places}
    parts = (getattr(pattern, name, None) for name in ("one", "other"))
    return set().union(*(_see_everything(part) for part in parts if part is not None))


def _places(blocks, block_tokens: int, total: int):
    """Return the places of some blocks' keys, one after another."""
    first = blocks.nonzero() * block_tokens
    places = (first + torch.arange(block_tokens)).flatten()
    return places[places < total]


def _padded(keys, allowed):
    """Fill up the keys, the new ones hidden from all, so that more blocks need as many."""
    spare = -len(keys) % _CUT_KEYS
    hidden = allowed.new_zeros(len(allowed), spare)
    return torch.cat([keys, keys[-1:].expand(spare)]), torch.cat([allowed, hidden], dim=1)


def _stacked(entries) -> Iterator[_Gather]:
    """Yield blocks with as many keys together, but no more than memory should hold at once."""
    at_once = max(1, _GATHERED_KEYS // len(entries[0][1]))
    for start in range(0, len(entries), at_once):
        queries, keys, allowed = zip(*entries[start : start + at_once], strict=True)
        masks = None if allowed[0] is None else torch.stack(allowed)
        yield _Gather(torch.stack(queries), torch.stack(keys), masks)


def _filled(x, length: int):
    """Return ``x`` with its last entry repeated until there are ``length``."""
    return torch.cat([x, x[-1:].expand(length - len(x), *x.shape[1:])])


# --- small things ---


def _bias(allowed, like):
    """Return 0 where allowed and minus infinity elsewhere, in the precision of ``like``."""
    bias = torch.zeros(allowed.shape, dtype=like.dtype, device=like.device)
    return bias.masked_fill_(~allowed.to(like.device), -torch.inf)


def _check(query, key, block_tokens: int = 1) -> None:
    heads, kv_heads = query.shape[-3], key.shape[-3]
    queries, keys = query.shape[-2], key.shape[-2]
    if heads % kv_heads:
        raise ValueError(f"{heads} query heads cannot be shared out among {kv_heads} KV heads.")
    if not 1 <= queries <= keys:
        raise ValueError(
            f"The queries are the last 1 to {keys} of the tokens, but {queries} were given."
        )
    if block_tokens < 1:
        raise ValueError(f"block_tokens is at least 1, got {block_tokens}.")


def _sees_nothing(pattern: Pattern, place: int) -> ValueError:
    return ValueError(
        f"By {pattern} the query at position {place} sees no key at all, and a softmax over "
        "nothing has no value; join it with sliding_window(1), say, which lets each see itself."
    )
