"""Exercises of chapter 18: the changes wanted, the fingerprint loss, the fingerprint distance."""

from __future__ import annotations

from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, close, fail, get, matches, number, rather, tensor, untouched, watch

IMAGES, FINGERPRINTS, CLASSES = 6, 5, 4

# 18.1 The changes wanted -------------------------------------------------------------------------

ALPHA, BETA = 0.2, 0.7


def coins(seed: int) -> Tensor:
    """p, 7 tosses, heads and tails among them."""
    draw = torch.Generator().manual_seed(seed)
    p = torch.randint(2, (7,), generator=draw)
    p[0], p[1] = 0, 1
    return p


def wanted(p: Tensor, own: float, other: float) -> Tensor:
    """(N, K, K): ``own`` on the diagonal and ``other`` beside it, turned by the coin."""
    eye = torch.eye(CLASSES)
    return (2 * p - 1)[:, None, None] * (own * eye + other * (1 - eye))


def probe_changes(output_changes, seed):
    p = coins(seed)
    with watch(p=p) as changes:
        found = output_changes(p, CLASSES, ALPHA, BETA)
    return {"dy": found, "changes": changes}


def verdict_changes(results, seed):
    p = coins(seed)
    untouched(results)
    found = tensor(results, "dy", shape=(len(p), CLASSES, CLASSES))
    eye = torch.eye(CLASSES)
    right = wanted(p, BETA, -ALPHA)
    for other, message, hint in (
        (-right, "all the signs are the wrong way round", "2p − 1 is +1 where p is 1."),
        (
            wanted(p, BETA, ALPHA),
            "the entries of the other classes have the sign of the class's own",
            "Where the own entry goes up, the others go down.",
        ),
        *(
            (
                exchanged,
                "the own entry and those of the other classes are exchanged",
                "β belongs to the entry l = j.",
            )
            for exchanged in (wanted(p, -ALPHA, BETA), wanted(p, ALPHA, -BETA))
        ),
        (
            wanted(torch.ones_like(p), BETA, -ALPHA),
            "the coin does nothing: all fingerprints want the same change",
            "The factor 2p − 1 is another one for each fingerprint.",
        ),
        (
            p[:, None, None] * (BETA * eye - ALPHA * (1 - eye)),
            "where p is 0 the change is 0",
            "Which numbers does 2p − 1 take?",
        ),
        (
            wanted(p, BETA - ALPHA, -ALPHA),
            "on the diagonal α is subtracted from β",
            "The entry l = j is β(2p − 1) alone.",
        ),
    ):
        if matches(found, other):
            fail(message, hint)
    close(found, right, "dy", "dy[i, j, l] is ±β where l = j and ∓α elsewhere.")
    return "in class j the j-th entry goes one way, and all the others go the other way"


# What the other two ask of a model ---------------------------------------------------------------


class Network(nn.Module):
    """Images 1 × 4 × 4 to logits of very different lengths."""

    def __init__(self, seed: int):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, CLASSES)
        )
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=draw) / p.shape[-1] ** 0.5 * 2.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def problem(seed: int) -> dict:
    """A model, images with pixels at 0 and 1, classes, and fingerprints that differ in all axes."""
    draw = torch.Generator().manual_seed(seed + 8)
    model = Network(seed).eval()
    x = (torch.rand(IMAGES, 1, 4, 4, generator=draw) * 1.6 - 0.3).clamp(0, 1)
    with torch.no_grad():  # every class that is not the predicted one comes up
        y = (model(x).argmax(1) + 1 + torch.arange(IMAGES) % (CLASSES - 1)) % CLASSES
    return {
        "model": model,
        "x": x,
        "y": y,
        "dx": 0.6 * torch.rand(FINGERPRINTS, 1, 4, 4, generator=draw) - 0.3,
        "dy": 0.5 * torch.randn(FINGERPRINTS, CLASSES, CLASSES, generator=draw),
    }


def away(
    model: nn.Module, x: Tensor, dx: Tensor, dy: Tensor, *, normal: bool = True,
    turned: bool = False, clipped: bool = False, late: bool = False, alone: bool = False,
    across: bool = False,
) -> Tensor:  # fmt: skip
    """F(x, Δxⁱ) − Δyⁱʲ, (B, N, K, K); and what it is with one mistake."""

    def phi(images: Tensor) -> Tensor:
        logits = model(images)
        return F.normalize(logits, dim=0 if across else 1) if normal else logits

    rows = []
    for step in dx:
        moved = (x + step).clamp(0, 1) if clipped else x + step
        change = phi(moved) if alone else phi(moved) - phi(x)
        rows.append(F.normalize(change, dim=1) if late else change)
    response = torch.stack(rows, 1) * (-1 if turned else 1)
    return response[:, :, None] - dy


MISTAKES = (
    (
        {"normal": False},
        "it is that of the logits as they are",
        "φ divides the logits of an image by their length: F.normalize(logits, dim=1).",
    ),
    (
        {"normal": False, "late": True},
        "the difference was normalized, not the logits",
        "Normalize the logits of x and of x + Δx, each by themselves, and subtract then.",
    ),
    (
        {"across": True},
        "the logits were normalized over the batch",
        "Each image by itself: F.normalize(logits, dim=1).",
    ),
    (
        {"alone": True},
        "φ(x) was not subtracted",
        "F is a change: φ of the moved image minus φ of the image itself.",
    ),
    (
        {"turned": True},
        "the response has the wrong sign",
        "F is φ of the moved image minus φ of the image itself.",
    ),
    (
        {"clipped": True},
        "the moved images were clipped to [0, 1]",
        "A fingerprint may leave the box: training and detection both leave x + Δx as it is.",
    ),
)


# 18.2 The fingerprint loss -----------------------------------------------------------------------


def probe_loss(fingerprint_loss, seed):
    given = problem(seed)
    model = given["model"]
    with watch(**given) as changes:
        found = fingerprint_loss(*given.values())
    gradient = None
    if isinstance(found, Tensor) and found.requires_grad and found.numel() == 1:
        weight = model.layers[1].weight
        with suppress(RuntimeError):  # a backward inside has used up the graph: .grad tells of it
            (gradient,) = torch.autograd.grad(found.sum(), weight, allow_unused=True)
    if isinstance(found, Tensor):
        found = found.detach()
    return {"loss": found, "gradient": gradient, "changes": changes}


def of_class(apart: Tensor, y: Tensor) -> Tensor:
    """Those of one class each: (B, N, K, K), (B,) to (B, N, K)."""
    return apart[torch.arange(len(y)), :, y]


def verdict_loss(results, seed):
    given = problem(seed)
    model, x, y, dx, dy = given.values()
    untouched(results)
    found = get(results, "loss")
    if hasattr(found, "value") and found.value.numel() == IMAGES:
        fail(f"there are {IMAGES} losses, one for each image", "Return their mean, one number.")
    found = number(results, "loss")
    apart = away(model, x, dx, dy)
    own = of_class(apart, y)
    right = own.square().sum((1, 2)).mean()
    for normal, message, hint in MISTAKES:
        other = of_class(away(model, x, dx, dy, **normal), y).square().sum((1, 2)).mean()
        if rather(found, other.item(), right.item()):
            fail(message, hint)
    for other, message, hint in (
        (right * IMAGES, "it is the sum over the images", "A mean over the batch, as all losses."),
        (
            right / FINGERPRINTS,
            "it is the mean over the fingerprints",
            "L_fp is a sum over the fingerprints. Only images are averaged.",
        ),
        (
            right / CLASSES,
            "it is the mean over the entries of φ",
            "A squared length is the sum of the squares.",
        ),
        (
            right / CLASSES / FINGERPRINTS,
            "it is the mean of all the squares",
            "A sum over fingerprints and entries; only images are averaged.",
        ),
        (own.norm(dim=2).sum(1).mean(), "the lengths are not squared", "‖·‖₂², not ‖·‖₂."),
        (
            of_class(apart, model(x).argmax(1)).square().sum((1, 2)).mean(),
            "it is that of the class that the network predicts",
            "In training the class is the true one, y.",
        ),
        (
            apart.square().sum((1, 3)).amin(1).mean(),
            "it is that of the nearest class",
            "In training the class is known: y. The least over classes is for detection.",
        ),
        (
            apart.square().sum((1, 2, 3)).mean(),
            "it is summed over all classes",
            "Only the row of the true class counts: dy[:, y] is (N, B, K).",
        ),
        (
            of_class(apart + dy - dy.transpose(1, 2), y).square().sum((1, 2)).mean(),
            "the last two axes of dy are exchanged",
            "dy[i, j] is the change wanted in class j.",
        ),
    ):
        if matches(found, other.item()):
            fail(message, hint)
    close(found, right.item(), "the loss", "Σᵢ ‖F(x, Δxⁱ) − Δyⁱʸ‖₂² of each image, then the mean.")
    if get(results, "gradient") is None:
        fail(
            "no gradient leads from the loss to the weights, so nothing could be trained with it",
            "No detach, no torch.no_grad, no .item() on the way.",
        )
    weight = model.layers[1].weight
    (slope,) = torch.autograd.grad(right, weight)
    found = tensor(results, "gradient", like=weight)
    hint = "Both φ(x) and φ(x + Δx) move with the weights."
    close(found, slope, "the gradient in the weights", hint)
    return "small where the network answers each of the small changes as its class should"


# 18.3 The fingerprint distance -------------------------------------------------------------------


def probe_distances(fingerprint_distances, seed):
    given = problem(seed)
    del given["y"]
    with watch(**given) as changes:
        found = fingerprint_distances(*given.values())
    return {"D": found, "changes": changes}


def verdict_distances(results, seed):
    given = problem(seed)
    model, x, _, dx, dy = given.values()
    untouched(results)
    found = tensor(results, "D", detached=False)
    if tuple(found.shape) == (IMAGES,):
        fail(
            f"D has shape ({IMAGES},), one number for each image",
            "One for each image and each class: the least over classes is taken later.",
        )
    with torch.no_grad():
        apart = away(model, x, dx, dy)
        right = apart.norm(dim=3).mean(1)
        for mistake, message, hint in MISTAKES:
            if rather(found, away(model, x, dx, dy, **mistake).norm(dim=3).mean(1), right):
                fail(message, hint)
    for other, message, hint in (
        (right * FINGERPRINTS, "it is the sum over the fingerprints", "D is their mean."),
        (
            apart.square().sum(3).mean(1),
            "the lengths are squared",
            "The loss squares them, D does not.",
        ),
        (
            apart.square().sum(3).mean(1).sqrt(),
            "it is the root of the mean of the squares",
            "First each length, then the mean of the lengths.",
        ),
        (
            apart.mean(1).norm(dim=2),
            "it is the length of the mean over fingerprints",
            "First each length, then the mean: or what misses one way makes up for another.",
        ),
        (
            apart.transpose(2, 3).norm(dim=3).mean(1),
            "the length is taken over the classes",
            "dy[i, j] is a vector of K entries. The length is that of such vectors.",
        ),
        (
            ((apart + dy).transpose(2, 3) - dy).norm(dim=3).mean(1),
            "the entries of the response run along the axis of the classes",
            "response[:, :, None] is (B, N, 1, K): the same response for each class j.",
        ),
        (
            (apart + dy - dy.transpose(1, 2)).norm(dim=3).mean(1),
            "the last two axes of dy are exchanged",
            "dy[i, j] is the change wanted in class j.",
        ),
    ):
        if matches(found, other):
            fail(message, hint)
    hint = "For each class j the mean over i of ‖F(x, Δxⁱ) − Δyⁱʲ‖₂."
    close(found, right, "D", hint)
    return "D says for each class how far the network is from answering as that class should"


EXERCISES = (
    Exercise(
        "18.1",
        "The changes wanted",
        probe_changes,
        verdict_changes,
        forbids=(
            "advlab.defenses.Fingerprints",
            "advlab.defenses.Fingerprints.draw",
        ),
    ),
    Exercise(
        "18.2",
        "The fingerprint loss",
        probe_loss,
        verdict_loss,
        forbids=(
            "advlab.defenses.Fingerprints",
            "advlab.defenses.Fingerprints.losses",
            "advlab.defenses.Fingerprints.loss",
            "advlab.defenses.FingerprintTraining",
        ),
    ),
    Exercise(
        "18.3",
        "The fingerprint distance",
        probe_distances,
        verdict_distances,
        forbids=(
            "advlab.defenses.Fingerprints",
            "advlab.defenses.Fingerprints.distances",
            "advlab.defenses.Fingerprints.response",
            "advlab.detectors.NeuralFingerprint",
        ),
    ),
)
