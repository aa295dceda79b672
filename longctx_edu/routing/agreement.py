"""Routing by agreement: senders share themselves out among receivers that others vote for, too.

Capsules of Sabour, Frosst and Hinton 2017, section 2 and procedure 1; over a sequence, with the
tokens so far as the senders of each token. No language model in use routes like this, and
Extended Mind Transformers do not.
"""

from typing import NamedTuple

import torch


class Routed(NamedTuple):
    """What routing by agreement ends in, and how it went.

    Attributes:
        capsules: of the receivers, ``(..., receivers, width)``; each is shorter than 1. Where
            causal, ``(..., senders, receivers, width)``: row t is for the first t + 1 senders.
        couplings: which share of each sender goes where, for each iteration,
            ``(iterations, ..., senders, receivers)``; each row adds up to 1. Where causal,
            ``(iterations, ..., senders, senders, receivers)``, with 0 for later senders.
    """

    capsules: torch.Tensor
    couplings: torch.Tensor


def squash(vectors: torch.Tensor) -> torch.Tensor:
    """Shrink vectors to a length below 1, ``|s|² / (1 + |s|²)``, and keep where they point (eq. 1).

    Args:
        vectors: ``(..., width)``; a vector of zeros stays one.
    """
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors * (length / (1 + length.square()))


def route_by_agreement(votes: torch.Tensor, *, iterations: int = 3, causal: bool = False) -> Routed:
    """Route senders to receivers by how far their votes agree (procedure 1).

    A sender shares itself out by a softmax **over the receivers**, at first evenly. A receiver
    is the squashed sum of what it gets. A sender whose vote points where the receiver points
    then sends it more.

    Args:
        votes: what each sender says that each receiver is, ``(..., senders, receivers, width)``.
        iterations: how often shares and receivers are worked out.
        causal: senders are tokens in order, and no row may know later ones: row t is what
            routing the first t + 1 tokens alone gives. It takes ``senders² · receivers`` couplings.

    Raises:
        ValueError: for fewer than 1 iteration, or votes without these three axes.
    """
    _check(votes, iterations)
    senders = votes.shape[-3]
    seen = votes.new_ones(senders if causal else 1, senders)  # (rows, senders)
    seen = (seen.tril() if causal else seen)[..., None]
    logits = torch.zeros_like(votes[..., 0])[..., None, :, :]  # (..., rows, senders, receivers)
    couplings = []
    for _ in range(iterations):
        share = logits.softmax(-1) * seen
        capsules = squash(torch.einsum("...tij,...ijd->...tjd", share, votes))
        logits = logits + torch.einsum("...ijd,...tjd->...tij", votes, capsules)
        couplings.append(share)
    if not causal:
        capsules, couplings = capsules[..., 0, :, :], [one[..., 0, :, :] for one in couplings]
    return Routed(capsules, torch.stack(couplings))


def route_by_agreement_in_loops(votes: torch.Tensor, *, iterations: int = 3) -> Routed:
    """Route one set of senders as the paper writes it down, a number at a time.

    Args:
        votes: ``(senders, receivers, width)``.
        iterations: as for ``route_by_agreement``, which is this for whole batches.
    """
    _check(votes, iterations)
    senders, receivers, _ = votes.shape
    b = [[votes.new_zeros(()) for _ in range(receivers)] for _ in range(senders)]
    couplings = []
    for _ in range(iterations):
        c = [torch.stack(row).softmax(0) for row in b]
        s = [sum(c[i][j] * votes[i, j] for i in range(senders)) for j in range(receivers)]
        v = [squash(total) for total in s]
        b = [[b[i][j] + votes[i, j] @ v[j] for j in range(receivers)] for i in range(senders)]
        couplings.append(torch.stack(c))
    return Routed(torch.stack(v), torch.stack(couplings))


def dynamic_routing(
    tokens: torch.Tensor, weight: torch.Tensor, *, iterations: int = 3, causal: bool = True
) -> torch.Tensor:
    """Route the tokens of a sequence to receivers by agreement; later tokens change no row.

    Args:
        tokens: ``(..., tokens, width)``.
        weight: by which a token votes, one matrix for each receiver, the same at each place
            (section 4): ``(receivers, width, capsule_width)``.
        iterations, causal: as for ``route_by_agreement``.

    Returns:
        the receivers as they stand after each token, ``(..., tokens, receivers, capsule_width)``;
        without ``causal`` once for all tokens, ``(..., receivers, capsule_width)``.

    Raises:
        ValueError: for a weight that does not fit the tokens, or fewer than 1 iteration.
    """
    if weight.ndim != 3 or tokens.ndim < 2 or weight.shape[1] != tokens.shape[-1]:
        raise ValueError(
            "weight must be (receivers, width, capsule_width) for tokens (..., tokens, width); got "
            f"{tuple(weight.shape)} and {tuple(tokens.shape)}."
        )
    votes = torch.einsum("...iw,jwd->...ijd", tokens, weight)
    return route_by_agreement(votes, iterations=iterations, causal=causal).capsules


def _check(votes: torch.Tensor, iterations: int) -> None:
    if votes.ndim < 3:
        raise ValueError(
            f"votes must be (..., senders, receivers, width), got {tuple(votes.shape)}."
        )
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}.")
