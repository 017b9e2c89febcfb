"""Who votes on a class: sets of classes that are confused, and whose answers count."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..models.contract import predict, predict_logits


def confusion(
    model: nn.Module, attack: Callable, x: Tensor, y: Tensor, *, classes: int | None = None
) -> Tensor:
    """How often an attacked image of class i is read as class j, (K, K) counts.

    Only images that the model has right and the attack makes it get wrong count: the diagonal is 0.

    :param attack: ``attack(model, x, y)``, untargeted.
    :param x: (N, C, H, W) in [0, 1].
    :param y: (N,) int64, the true classes.
    :param classes: K; by default the model's number of logits, and never fewer.
    :raises ValueError: fewer, or images that break the contract.
    """
    logits = predict_logits(model, x)
    k = logits.shape[1] if classes is None else classes
    if k < logits.shape[1]:
        raise ValueError(f"classes: expected at least the model's {logits.shape[1]}, found {k!r}")
    right = logits.argmax(1) == y
    x, y = x[right], y[right]
    answer = predict(model, attack(model, x, y)) if len(x) else y
    wrong = answer != y
    return torch.bincount(k * y[wrong] + answer[wrong], minlength=k * k).view(k, k)


def class_sets(confusion: Tensor, share: float = 0.8) -> Tensor:
    """The sets of classes of 2K specialists and a generalist: (2K + 1, K) bool.

    U_i, row i, holds the classes that class i is most often confused with: the fewest, most
    frequent first, that make up ``share`` of its confusion. U_{K+i}, row K + i, is all the others,
    i among them. The last row is all classes. Abbasi & Gagné (2017).

    Of two classes that are confused equally often the lower number comes first. Sets that come
    twice are kept: their classifiers start from other weights.

    :param confusion: (K, K), at least 0: how often class i is read as j. The diagonal is not
        looked at.
    :param share: above 0, at most 1.
    :raises ValueError: not such a matrix, a class that is never confused, or another share.
    """
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or len(confusion) < 2:
        raise ValueError(f"confusion: expected shape (K, K), found {tuple(confusion.shape)}")
    if not 0 < share <= 1:
        raise ValueError(f"share: expected above 0 and at most 1, found {share!r}")
    counts = confusion.double().clone()
    counts.fill_diagonal_(0)
    if not (counts.isfinite().all() and (counts >= 0).all()):
        raise ValueError("confusion: expected finite numbers of at least 0")
    if never := (counts.sum(1) == 0).nonzero().flatten().tolist():
        raise ValueError(
            f"confusion: expected every class to be confused with some other, found none for class "
            f"{never[0]}; give more images, or a stronger attack"
        )
    counts, order = counts.sort(dim=1, descending=True, stable=True)
    so_far = counts.cumsum(1)
    # A class is needed while those before it do not make up the share.
    needed = so_far - counts < share * (1 - 1e-9) * so_far[:, -1:]
    often = torch.zeros_like(needed).scatter(1, order, needed & (counts > 0))
    return torch.cat((often, ~often, torch.ones_like(often[:1])))


def vote(log_p: Tensor, sets: Tensor) -> Tensor:
    """log h(x): of the classifiers that vote, the mean probabilities. (N, M, K) to (N, K).

    With M(k) the classifiers whose sets hold k, and p_m(x) the probabilities of the m-th,

        h(x) = mean over m ∈ V of p_m(x), V = M(k) where all of M(k) answer k, and all M elsewhere.

    Since a generalist has one answer, there is one such k at most. Abbasi & Gagné (2017). He et al.
    (2017) tell the rest as a count of votes: where M(k) agrees, the answer is the same k, and
    elsewhere a mean of probabilities may choose another class than a count.

    :param log_p: (N, M, K), the log-probabilities of M classifiers; −∞ outside of their sets.
    :param sets: (M, K) bool, the classes that each can predict; one of them can predict all.
    """
    classes = torch.arange(sets.shape[1], device=sets.device)
    answers = log_p.argmax(2)[..., None] == classes
    unanimous = (answers | ~sets).all(1)
    agreeing = (unanimous[:, None] & sets).any(2)
    voters = agreeing | ~unanimous.any(1, keepdim=True)
    summed = log_p.masked_fill(~voters[..., None], -torch.inf).logsumexp(1)
    return summed - voters.sum(1, keepdim=True).to(log_p.dtype).log()
