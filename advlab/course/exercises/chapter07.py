"""Exercises of chapter 7: the saliency map, one pixel at a time, the best pair."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import Exercise, close, fail, get, matches, tensor, untouched, watch

BUDGET = 12
ROOM = 0.99  # a pixel below it can get brighter


def problem(seed: int) -> tuple[nn.Module, Tensor]:
    """A small smooth network of 4 classes, and 12 images 1 × 5 × 6, some pixels at 0 and 1."""
    draw = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) / p.shape[-1] ** 0.5 * 1.5)
        x = (torch.rand(12, 1, 5, 6, generator=draw) * 1.4 - 0.3).clamp(0, 1)
        x[:, :, 1] = x[:, :, 1].clamp_min(0.995)  # nearly white: no room
    return model, x


def jacobian(model: nn.Module, image: Tensor) -> Tensor:
    """(K, d), the rows ∂Z_j/∂x."""
    image = image.detach().clone().requires_grad_()
    logits = model(image)[0]
    rows = [torch.autograd.grad(z, image, retain_graph=True)[0].flatten() for z in logits]
    return torch.stack(rows)


def answers(rows: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """α and β of each pixel."""
    return rows[target], rows.sum(0) - rows[target]


def salient(rows: Tensor, target: int) -> Tensor:
    alpha, beta = answers(rows, target)
    return torch.where((alpha >= 0) & (beta <= 0), alpha * beta.abs(), torch.zeros_like(alpha))


# 7.1 The saliency map ----------------------------------------------------------------------------


def rows_of(seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(5, 40, generator=draw)


def probe_saliency(saliency, seed):
    rows = rows_of(seed)
    with watch(jacobian=rows) as changes:
        maps = [saliency(rows, target) for target in range(5)]
    return {"maps": maps, "changes": changes}


def verdict_saliency(results, seed):
    rows = rows_of(seed)
    untouched(results)
    maps = get(results, "maps")
    if not isinstance(maps, list) or len(maps) != 5:
        fail("the maps toward the five classes did not come back")
    found = torch.stack(
        [tensor({"the map": m}, "the map", like=rows[0]) for m in maps],
    )
    expected = torch.stack([salient(rows, t) for t in range(5)])
    pairs = [answers(rows, t) for t in range(5)]
    alpha = torch.stack([a for a, _ in pairs])
    beta = torch.stack([b for _, b in pairs])
    whole = beta + alpha  # the sum over all classes, the target included
    if matches(found, torch.where((alpha >= 0) & (whole <= 0), alpha * whole.abs(), 0 * alpha)):
        fail(
            "the sum runs over all classes, the target's row included",
            "β asks about the others only.",
        )
    if matches(found, alpha * beta.abs()):
        fail(
            "pixels that fail a condition still have a value",
            "Where the target loses, or the others gain, S is 0.",
        )
    if matches(found, torch.where(alpha >= 0, alpha * beta.abs(), 0 * alpha)):
        fail("pixels where the other classes gain still have a value", "S has two conditions.")
    if matches(found, torch.where(beta <= 0, alpha * beta.abs(), 0 * alpha)):
        fail("pixels where the wanted class loses still have a value", "S has two conditions.")
    if matches(found, -expected):
        fail("the map is negative", "β is negative where it helps; S takes its absolute value.")
    if matches(found, torch.where((alpha <= 0) & (beta >= 0), alpha.abs() * beta, 0 * alpha)):
        fail(
            "this is the map for pixels that get darker",
            "Brightening helps where the wanted class gains and the others lose.",
        )
    divided = torch.where((alpha >= 0) & (beta <= 0), alpha / beta.abs(), 0 * alpha)
    if matches(found, divided):
        fail("α is divided by |β|", "The more the others lose, the better: is that a quotient?")
    either = torch.where((alpha < 0) & (beta > 0), 0 * alpha, alpha * beta.abs())
    if matches(found, either):
        fail(
            "S is 0 only where both conditions fail",
            "One failed condition is enough to make a pixel useless.",
        )
    close(found, expected, "S", "α is the target's row, β the sum of the other rows.")
    return "each pixel that lifts the target and lowers the others has its product, the rest have 0"


# 7.2 One pixel at a time -------------------------------------------------------------------------


def walk(model: nn.Module, image: Tensor, target: int, budget: int) -> Tensor:
    image = image.clone()
    for _ in range(budget):
        if model(image).argmax(1).item() == target:
            break
        map = salient(jacobian(model, image), target) * (image.flatten() < ROOM)
        if map.max() == 0:
            break
        image.view(-1)[map.argmax()] = 1.0
    return image


def targets_of(model: nn.Module, x: Tensor) -> list[int]:
    """Two images are of the class wanted already; the others want another one."""
    said = model(x).argmax(1)
    wanted = (said + 1 + torch.arange(len(x)) % 3) % 4
    wanted[:2] = said[:2]
    return wanted.tolist()


def probe_few_pixels(few_pixels, seed):
    # The student's saliency and jacobian are used by the student's few_pixels.
    model, x = problem(seed)
    found = []
    with watch(model=model, x=x) as changes:
        for i, target in enumerate(targets_of(model, x)):
            found.append(few_pixels(model, x[i : i + 1], target, BUDGET))
            found.append(few_pixels(model, x[i : i + 1], target, 1))
    return {"found": found, "changes": changes}


def verdict_few_pixels(results, seed):
    model, x = problem(seed)
    untouched(results)
    found = get(results, "found")
    if not isinstance(found, list) or len(found) != 2 * len(x):
        fail("the images did not come back")
    found = [tensor({"the image": f}, "the image", like=x[:1]) for f in found]
    targets = targets_of(model, x)
    for i, target in enumerate(targets):
        image, whole, single = x[i : i + 1], found[2 * i], found[2 * i + 1]
        moved = whole != image
        if i < 2:
            if moved.any():
                fail(
                    "an image that is read as the target already was changed",
                    "When do you ask the network: before the first pixel, or after?",
                )
            continue
        for changed in (whole[moved], single[single != image]):
            if not matches(changed, torch.ones_like(changed)):
                fail("a pixel that moved is not at 1", "Each pixel goes all the way.")
        if int(moved.sum()) > BUDGET:
            fail(f"{int(moved.sum())} pixels changed, and the budget was {BUDGET}")
        if int((single != image).sum()) > 1:
            fail("with a budget of 1, more than one pixel changed", "The budget counts pixels.")
        expected = walk(model, image, target, BUDGET)
        if matches(whole, expected) and matches(single, walk(model, image, target, 1)):
            continue
        if matches(whole, one_map(model, image, target, BUDGET)):
            fail(
                "the pixels are those of the first map alone",
                "After a pixel has changed, the slopes are others: make the map anew.",
            )
        for result, budget in ((whole, BUDGET), (single, 1)):
            judge_walk(model, image, target, result, budget)
    reached = sum(model(f).argmax(1).item() == t for f, t in zip(found[::2], targets, strict=True))
    return f"it takes the best pixel, looks again, and stops: {reached} of {len(x)} get there"


def judge_walk(model, image: Tensor, target: int, result: Tensor, budget: int) -> None:
    """One search, step by step: the pixels that it changed are those that the map named."""
    expected = walk(model, image, target, budget)
    if matches(result, expected):
        return
    moved, wanted = (result != image).flatten(), (expected != image).flatten()
    case = f"toward class {target} with a budget of {budget}"
    if not moved.any():
        fail(
            f"{case}, the image came back as it was",
            "Where the search fails, return the image as far as it came, not the original.",
        )
    if (moved & (image.flatten() >= ROOM)).any():
        fail(f"{case}, a pixel without room was changed", "Leave out those from 0.99 up.")
    early, now = image.clone(), model(image).argmax(1).item()
    while now != target:
        map = salient(jacobian(model, early), target) * (early.flatten() < ROOM)
        i = map.argmax()
        if map.max() == 0:
            fail(f"{case}, a pixel with S = 0 was changed", "If every S is 0, give up.")
        if not moved[i]:
            break
        early.view(-1)[i] = 1.0
        now = model(early).argmax(1).item()
        if matches(early, result):
            break
    if moved.sum() < wanted.sum() and matches(early, result):
        fail(
            f"{case}, the search stopped after {int(moved.sum())} of {int(wanted.sum())} pixels",
            "Go on until the network names the target or the budget is spent.",
        )
    if now == target and moved.sum() > wanted.sum():
        fail(
            f"{case}, pixels were changed after the network named the target",
            "Ask the network before every pixel, and stop.",
        )
    fail(
        f"{case}, the pixels are not those that the map names, one after the other",
        "Largest S first, among the pixels that have room; then a new Jacobian.",
    )


def one_map(model: nn.Module, image: Tensor, target: int, budget: int) -> Tensor:
    """The wrong way: the pixels in the order of the first map."""
    image = image.clone()
    map = salient(jacobian(model, image), target) * (image.flatten() < ROOM)
    for i in map.argsort(descending=True)[:budget].tolist():
        if model(image).argmax(1).item() == target or map[i] == 0:
            break
        image.view(-1)[i] = 1.0
    return image


# 7.3 The best pair -------------------------------------------------------------------------------


def pairs_of(seed: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """α, β and the mask, eight times; the sixth has no pair that passes."""
    draw = torch.Generator().manual_seed(seed)
    problems = []
    for i in range(8):
        alpha, beta = torch.randn(2, 15, generator=draw)
        if i == 1:  # the best single pixel outshines all pairs: it may not be its own partner
            alpha, beta = alpha * 0.01, beta * 0.01
            alpha[3], beta[3] = 5.0, -5.0
        if i == 5:
            alpha, beta = -alpha.abs() - 0.01, beta.abs()
        problems.append((alpha, beta, torch.rand(15, generator=draw) < 0.8))
        problems[-1][2][3] = True
        if i == 6:  # the best two may not be used
            alpha[[4, 9]], beta[[4, 9]] = 5.0, -5.0
            problems[-1][2][[4, 9]] = False
        if i == 7:  # the sums of the best pair are large, its own products small
            alpha *= 0.01
            beta *= 0.01
            for k, a, b in ((1, 3.0, -0.1), (2, 0.1, -3.0), (3, 1.2, -1.2), (5, 1.2, -1.2)):
                alpha[k], beta[k], problems[-1][2][k] = a, b, True
    return problems


def search(alpha: Tensor, beta: Tensor, allowed: Tensor) -> tuple[int, int] | None:
    best, found = 0.0, None
    for p in range(len(alpha)):
        for q in range(p + 1, len(alpha)):
            a, b = (alpha[p] + alpha[q]).item(), (beta[p] + beta[q]).item()
            if allowed[p] and allowed[q] and a > 0 and b < 0 and -a * b > best:
                best, found = -a * b, (p, q)
    return found


def probe_best_pair(best_pair, seed):
    found = []
    for alpha, beta, allowed in pairs_of(seed):
        with watch(alpha=alpha, beta=beta, allowed=allowed) as changes:
            pair = best_pair(alpha, beta, allowed)
        found.append({"pair": "no pair" if pair is None else pair, "changes": changes})
    return {"found": found}


def verdict_best_pair(results, seed):
    found = get(results, "found")
    problems = pairs_of(seed)
    if not isinstance(found, list) or len(found) != len(problems):
        fail("the pairs did not come back")
    for entry, (alpha, beta, allowed) in zip(found, problems, strict=True):
        untouched(entry)
        pair, expected = get(entry, "pair"), search(alpha, beta, allowed)
        if expected is None:
            if pair != "no pair":
                fail("no pair passes both conditions, and one came back", "Return None then.")
            continue
        if pair == "no pair":
            fail("None came back where a pair passes", f"Here ({expected[0]}, …) is part of one.")
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(k) is int for k in pair)):
            fail("expected a tuple of two ints (p, q)", "tensor.item() makes an int of a tensor.")
        p, q = pair
        if not (0 <= p < len(alpha) and 0 <= q < len(alpha)):
            fail(f"({p}, {q}) are no pixels: there are {len(alpha)}", "See divmod.")
        if p == q:
            fail(f"pixel {p} is paired with itself", "Leave out the diagonal.")
        if p > q:
            fail(f"({p}, {q}) has p > q", "Keep what is above the diagonal.")
        if not (allowed[p] and allowed[q]):
            fail(f"({p}, {q}) holds a pixel that may not be used", "Both must be allowed.")
        if not (alpha[p] + alpha[q] > 0 and beta[p] + beta[q] < 0):
            fail(
                f"({p}, {q}) does not pass: the sums are {alpha[p] + alpha[q]:.2f} and "
                f"{beta[p] + beta[q]:.2f}",
                "The first must be above 0, the second below. A product of two wrongs is positive, "
                "too.",
            )
        if [p, q] != list(expected):
            fail(
                f"({p}, {q}) passes, and ({expected[0]}, {expected[1]}) has a larger product",
                "Add both answers of the pair first; multiply the sums.",
            )
    return "the best of all pairs, found without a loop over them, and None where there is none"


EXERCISES = (
    Exercise(
        "7.1",
        "The saliency map",
        probe_saliency,
        verdict_saliency,
        forbids=("advlab.attacks.saliency_map",),
    ),
    Exercise(
        "7.2",
        "One pixel at a time",
        probe_few_pixels,
        verdict_few_pixels,
        forbids=("advlab.attacks.JSMA",),
    ),
    Exercise(
        "7.3",
        "The best pair",
        probe_best_pair,
        verdict_best_pair,
        forbids=(
            "advlab.attacks.jsma.best_pair",
            "advlab.attacks.JSMA",
        ),
    ),
)
