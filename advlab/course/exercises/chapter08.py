"""Exercises of chapter 8: the fooling rate, a step of a universal perturbation, the map to hide."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, fail, get, matches, numbers, tensor, untouched, watch

EPS, ALPHA, BETA = 0.3, 0.1, 1.5


def problem(seed: int) -> tuple[nn.Module, Tensor]:
    """A small smooth network of 4 classes, and 60 images 1 × 5 × 6, some pixels at 0 and 1."""
    draw = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) / p.shape[-1] ** 0.5 * 2)
        x = (torch.rand(60, 1, 5, 6, generator=draw) * 1.6 - 0.3).clamp(0, 1)
        # Logits of mean 0 over the images, so that no class takes them all.
        model[-1].bias -= model(x).mean(0)
    return model, x


def perturbations(seed: int, n: int, size: float) -> Tensor:
    """(n, 1, 5, 6), each pixel anywhere within the size."""
    draw = torch.Generator().manual_seed(seed + 1)
    return (2 * torch.rand(n, 1, 5, 6, generator=draw) - 1) * size


# 8.1 The fooling rate ----------------------------------------------------------------------------

# Large ones, so that many pixels leave the box; and one that does nothing.
SIZES = (0.0, 0.5, 0.7, 0.9, 0.9, 0.9)


def patterns(seed: int) -> list[Tensor]:
    drawn = perturbations(seed, len(SIZES), 1.0)
    return [size * v[None] for size, v in zip(SIZES, drawn, strict=True)]


def answers(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1)


def probe_fooling_rate(fooling_rate, seed):
    model, x = problem(seed)
    vs = patterns(seed)
    with watch(model=model, x=x, v=vs[1]) as changes:
        rates = [fooling_rate(model, x, v) for v in vs]
    return {"rates": rates, "changes": changes}


def verdict_fooling_rate(results, seed):
    model, x = problem(seed)
    untouched(results)
    found = numbers(results, "rates", len(SIZES), "One number for each perturbation.")
    before = answers(model, x)

    def rates(seen) -> list[float]:
        return [(seen(v) != before).double().mean().item() for v in patterns(seed)]

    expected = rates(lambda v: answers(model, (x + v).clamp(0, 1)))
    if matches(found, expected):
        return (
            "the share of images whose answer changes; on the small network of this check from "
            f"{expected[0]:.0%} for v = 0 to {max(expected):.0%}"
        )
    if matches(found, [1 - rate for rate in expected]):
        fail(
            "a v of zeros fools every image: this is the share of answers that stay",
            "Fooled is an image whose answer changes.",
        )
    if matches(found, [100 * rate for rate in expected]):
        fail("these are percentages", "Give the share of the images, from 0 to 1.")
    if matches(found, [len(x) * rate for rate in expected]):
        fail("these are counts of images", "Give the share of the images, from 0 to 1.")
    if matches(found, rates(lambda v: answers(model, x + v))):
        fail(
            "the rate is that of x + v as it is, with pixels below 0 and above 1",
            "The network is given pictures. What is left to do after the sum?",
        )
    if found[0] != 0:
        fail(
            f"a v of zeros fools {found[0]:.0%} of the images",
            "With v = 0 no answer changes. What are the answers compared with?",
        )
    if matches(found, [0.0] * len(found)):
        fail("nothing is ever fooled", "Is it the perturbed images that you classify?")
    fail(
        f"the rates are {', '.join(f'{rate:.3f}' for rate in found)}, and should be "
        f"{', '.join(f'{rate:.3f}' for rate in expected)}",
        "Compare the model's answers for the perturbed images with those for the natural ones.",
    )


# 8.2 One step of a universal perturbation ---------------------------------------------------------


def step_problem(seed: int):
    """The model, 60 images, an answer for each, and ten patterns v to go on from.

    A quarter of the answers are not the model's, so that some losses are large. The first v is 0;
    of the others some pixels lie near the edge of the ball, so that the projection shows.
    """
    model, x = problem(seed)
    draw = torch.Generator().manual_seed(seed + 2)
    said = answers(model, x)
    y = torch.where(torch.rand(len(x), generator=draw) < 0.25, (said + 1) % 4, said)
    vs = perturbations(seed, 10, EPS)
    vs[0] = 0
    return model, x, y, [v[None] for v in vs]


def slope(
    model: nn.Module, x: Tensor, y: Tensor, v: Tensor, beta: float, *, sees_box: bool = True
) -> Tensor:
    """∇_v Σ min(J, β), with or without the clip to the box."""
    v = v.clone().requires_grad_()
    seen = (x + v).clamp(0, 1) if sees_box else x + v
    loss = F.cross_entropy(model(seen), y, reduction="none").clamp(max=beta).sum()
    return torch.autograd.grad(loss, v)[0]


def stepped(v: Tensor, g: Tensor) -> Tensor:
    return (v + ALPHA * g.sign()).clamp(-EPS, EPS)


def probe_uap_step(uap_step, seed):
    model, x, y, vs = step_problem(seed)
    with watch(model=model, x=x, answers=y, v=vs[1]) as changes:
        found = [uap_step(model, x, y, v, EPS, ALPHA, BETA) for v in vs]
    return {"found": found, "changes": changes}


def verdict_uap_step(results, seed):
    model, x, y, vs = step_problem(seed)
    untouched(results)
    found = get(results, "found")
    if not isinstance(found, list) or len(found) != len(vs):
        fail("the perturbations did not come back")
    found = [_pattern(entry, vs[0], len(x)) for entry in found]
    if all(matches(f, v) for f, v in zip(found, vs, strict=True)):
        fail("v comes back as it was", "Which way must v go for the losses to rise?")
    slopes = [slope(model, x, y, v, BETA) for v in vs]

    def are(make) -> bool:
        """Equal to what another rule makes, wherever its own sign is beyond rounding."""
        return all(_agree(f, *make(v)) for f, v in zip(found, vs, strict=True))

    def rule(**change):
        def make(v):
            g = slope(model, x, y, v, **({"beta": BETA} | change))
            return stepped(v, g), g

        return make

    if are(rule()):
        before, after = ([_loss(model, x, y, v) for v in some] for some in (vs, found))
        return (
            f"the mean loss of the {len(x)} images rises from {before[0]:.2f} to {after[0]:.2f} "
            f"in the first step, and v stays within ε = {EPS}"
        )
    if max(f.abs().max().item() for f in found) > EPS + 1e-5:
        largest = max(f.abs().max().item() for f in found)
        fail(
            f"a pixel of v is at {largest:.3f} from 0, and ε = {EPS}",
            "The budget is that of v as a whole, not of the step.",
        )
    if all(f.min() >= 0 for f in found):
        fail(
            "no pixel of v is below 0",
            "v is a perturbation, not a picture: it may go both ways. What is clipped to [0, 1]?",
        )
    if are(lambda v: (stepped(v, -slope(model, x, y, v, BETA)), slope(model, x, y, v, BETA))):
        fail("v moves so that the losses fall", "The attacker wants them to rise.")
    if all(
        matches(f, (v + ALPHA * g).clamp(-EPS, EPS), atol=1e-4)
        or matches(f, (v + ALPHA * g / len(x)).clamp(-EPS, EPS), atol=1e-4)
        for f, v, g in zip(found, vs, slopes, strict=True)
    ):
        fail("the step is along the gradient itself", "In L∞ only the signs count.")
    if are(rule(beta=1e30)):
        fail(
            "the losses are not capped at β",
            "An image whose loss is above β is fooled well enough, and has no say in the step.",
        )
    if are(lambda v: _mean_capped(model, x, y, v)):
        fail("the cap is on the mean of the losses", "Each image has its own min(J, β).")
    if are(rule(sees_box=False)):
        fail(
            "the model was shown x + v as it is, with pixels below 0 and above 1",
            "It is given pictures: clip the sum before you ask.",
        )
    if are(lambda v: _through_the_clip(model, x, y, v)):
        fail(
            "the gradient is that of the clipped images, not that of v",
            "A pixel that was clipped does not follow v. Ask for the gradient with respect to v, "
            "and let the clip be part of the computation.",
        )
    if are(lambda v: _own_answers(model, x, v)):
        fail(
            "the losses compare with what the model says of the perturbed images",
            "They compare with answers: what it said before there was a v.",
        )
    if are(lambda v: (ALPHA * (g := slope(model, x, y, v, BETA)).sign(), g)):
        fail("this is the step alone", "It is added to the v of before.")
    if are(lambda v: (EPS * (g := slope(model, x, y, v, BETA)).sign(), g)):
        fail("v jumps to ε × sign", "The step is α, from where v is.")
    wrong = sum(
        int(((f - stepped(v, g)).abs() > 1e-5).sum())
        for f, v, g in zip(found, vs, slopes, strict=True)
    )
    fail(
        f"{wrong} of {sum(f.numel() for f in found)} pixels of v are not where they should be",
        "Add v and clip; the capped losses; their sum's gradient in v; a step of α; the ball.",
    )


def _pattern(entry, like: Tensor, n: int) -> Tensor:
    found = tensor({"v": entry}, "v")
    if found.shape == (n, *like.shape[1:]):
        fail(f"v has {n} rows, one for each image", "There is a single v: which shape has it?")
    return tensor({"v": entry}, "v", like=like)


def _agree(found: Tensor, expected: Tensor, g: Tensor) -> bool:
    sure = (g.abs() > 1e-5) | (g == 0)
    return matches(found[sure], expected[sure])


def _loss(model: nn.Module, x: Tensor, y: Tensor, v: Tensor) -> float:
    with torch.no_grad():
        return F.cross_entropy(model((x + v).clamp(0, 1)), y).item()


def _mean_capped(model, x, y, v):
    v = v.clone().requires_grad_()
    loss = F.cross_entropy(model((x + v).clamp(0, 1)), y).clamp(max=BETA)
    g = torch.autograd.grad(loss, v)[0]
    return stepped(v.detach(), g), g


def _through_the_clip(model, x, y, v):
    seen = (x + v).clamp(0, 1).requires_grad_()
    loss = F.cross_entropy(model(seen), y, reduction="none").clamp(max=BETA).sum()
    g = torch.autograd.grad(loss, seen)[0].sum(0, keepdim=True)
    return stepped(v, g), g


def _own_answers(model, x, v):
    g = slope(model, x, answers(model, (x + v).clamp(0, 1)), v, BETA)
    return stepped(v, g), g


# 8.3 The map without a class ----------------------------------------------------------------------

HIDDEN = 2


def maps_of(seed: int) -> list[Tensor]:
    """Four maps (9, 12) with patches of class 2, one with a single other pixel, one without any."""
    draw = torch.Generator().manual_seed(seed)
    maps = []
    for _ in range(4):
        seen = torch.randint(0, 5, (9, 12), generator=draw)
        for _ in range(3):
            row, column = torch.randint(0, 7, (2,), generator=draw).tolist()
            seen[row : row + 4, column : column + 5] = HIDDEN
        seen[0, 0] = 4  # so that something is left
        maps.append(seen)
    lonely = torch.full((9, 12), HIDDEN)
    lonely[6, 2] = 3
    none = torch.randint(0, 2, (9, 12), generator=draw)
    return [*maps, lonely, none]


def allowed(seen: Tensor, p: int = 2) -> Tensor:
    """Which classes a pixel may have, (H, W, 5): those of its nearest others, ties included."""
    places = torch.stack(
        torch.meshgrid(torch.arange(seen.shape[0]), torch.arange(seen.shape[1]), indexing="ij"), -1
    )
    others = places[seen != HIDDEN]
    way = (places[:, :, None] - others).abs() ** p
    distance = way.sum(-1)  # (H, W, M): whole numbers, so that a tie is exact
    nearest = distance == distance.amin(-1, keepdim=True)
    classes = seen[others[:, 0], others[:, 1]]
    ok = torch.zeros(*seen.shape, 5, dtype=torch.bool)
    for k in range(5):
        ok[..., k] = (nearest & (classes == k)).any(-1)
    return ok


def probe_without(without, seed):
    maps = maps_of(seed)
    with watch(seen=maps[0]) as changes:
        found = [without(seen, HIDDEN) for seen in maps]
    return {"found": found, "changes": changes}


def verdict_without(results, seed):
    maps = maps_of(seed)
    untouched(results)
    found = get(results, "found")
    if not isinstance(found, list) or len(found) != len(maps):
        fail("the maps did not come back")
    found = [tensor({"the map": f}, "the map", like=maps[0]) for f in found]
    for f, seen in zip(found, maps, strict=True):
        there = seen == HIDDEN
        if (f == HIDDEN).any():
            fail(
                f"{int((f == HIDDEN).sum())} pixels of the hidden class are left",
                "Look for the nearest pixel among those of the other classes only.",
            )
        if (f[~there] != seen[~there]).any():
            fail("a pixel of another class has changed", "Only the hidden class is filled in.")
        if f.min() < 0 or f.max() > 4:
            fail("the map has a class that was not there", "Which pixel's class is taken?")

    def fits(p: int) -> list[Tensor]:
        return [
            allowed(seen, p).gather(-1, f[..., None]).squeeze(-1)
            for f, seen in zip(found, maps, strict=True)
        ]

    good = fits(2)
    if all(ok.all() for ok in good):
        filled = sum(int((seen == HIDDEN).sum()) for seen in maps)
        return f"each of {filled} hidden pixels has the class of a nearest other pixel"
    if all(ok.all() for ok in fits(1)):
        fail(
            "near is measured in rows plus columns",
            "The distance is Euclid's, along the straight line.",
        )
    index = next(i for i, ok in enumerate(good) if not ok.all())
    row, column = (~good[index]).nonzero()[0].tolist()
    classes = allowed(maps[index])[row, column].nonzero().flatten().tolist()
    fail(
        f"in row {row}, column {column} of a map, class {found[index][row, column]} was filled in; "
        f"the nearest pixel that is not hidden has class {' or '.join(map(str, classes))}",
        "Measure the distance from each hidden pixel to each other pixel of the map, in rows and "
        "columns.",
    )


EXERCISES = (
    Exercise(
        "8.1",
        "The fooling rate",
        probe_fooling_rate,
        verdict_fooling_rate,
        forbids=("advlab.evaluation.fooling_rate",),
    ),
    Exercise(
        "8.2",
        "One step for all images",
        probe_uap_step,
        verdict_uap_step,
        forbids=(
            "advlab.attacks.UAP",
            "advlab.attacks.UAP.sgd_step",
        ),
    ),
    Exercise(
        "8.3",
        "The map without a class",
        probe_without,
        verdict_without,
        forbids=("advlab.attacks.hide",),
    ),
)
