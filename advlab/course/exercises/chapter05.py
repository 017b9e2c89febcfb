"""Exercises of chapter 5: projection on two balls, PGD, the best of several starts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, close, fail, matches, tensor, untouched, watch
from . import chapter04

EPS, ALPHA, STEPS = 0.1, 0.03, 6


def problem(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """That of chapter 4 in 64-bit numbers: no rounding turns the sign of a slope on the way."""
    model, x, y = chapter04.problem(seed)
    return model.double(), x.double(), y


def perturbations(seed: int) -> Tensor:
    """Six of shape 2 × 4 × 4: some far outside of the balls, some inside, one of zeros."""
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([3.0, 1.0, 0.3, 0.02, 0.001, 0.0])
    return torch.randn(6, 2, 4, 4, generator=draw) * sizes.view(-1, 1, 1, 1)


# 5.1 and 5.4 Projections -------------------------------------------------------------------------

BOX, RADIUS = 0.1, 0.5


def probe_linf(project_linf, seed):
    delta = perturbations(seed)
    with watch(delta=delta) as changes:
        projected = project_linf(delta, BOX)
    return {"projected": projected, "changes": changes}


def verdict_linf(results, seed):
    delta = perturbations(seed)
    untouched(results)
    found, expected = projection(results, delta), delta.clamp(-BOX, BOX)
    judge_projection(found, delta, expected)
    if matches(found, delta.clamp(0, 1)):
        fail("this clips to [0, 1]", "A perturbation has both signs; its limits are −eps and eps.")
    if matches(found, delta.clamp(max=BOX)):
        fail("entries below −eps stay where they are", "The box has two sides.")
    if matches(found, BOX * delta.sign()):
        fail(
            "every entry goes to the edge, those inside the box too",
            "The nearest point of the box to a point inside it is that point itself.",
        )
    peak = delta.abs().amax((1, 2, 3), keepdim=True)
    factor = BOX / peak.clamp_min(1e-12)
    if matches(found, delta * factor.clamp(max=1)) or matches(found, delta * factor):
        fail(
            "all entries of a perturbation are scaled together: inside the box, but not nearest",
            "Each entry has its own limits. Which entries need to move at all?",
        )
    if matches(found, delta.where(delta.abs() <= BOX, torch.zeros(()))):
        fail("entries that are too large become 0", "Which allowed value is nearest to them?")
    close(found, expected, "projected", "Look at one entry: 0.03 stays, 0.25 with eps=0.1 is cut.")
    return "every entry is between −ε and ε, and what was inside stayed"


def probe_l2(project_l2, seed):
    delta = perturbations(seed)
    with watch(delta=delta) as changes:
        projected = project_l2(delta, RADIUS)
    return {"projected": projected, "changes": changes}


def verdict_l2(results, seed):
    delta = perturbations(seed)
    untouched(results)
    found = projection(results, delta)
    length = lengths(delta)
    expected = delta * (RADIUS / length.clamp_min(1e-12)).clamp(max=1)
    judge_projection(found, delta, expected)
    if matches(found, delta.clamp(-RADIUS, RADIUS)):
        fail(
            "this cuts every entry on its own", "That ball is a box. Here the whole length counts."
        )
    if matches(found, delta * RADIUS / length.clamp_min(1e-12)):
        fail(
            "every perturbation gets the length eps, those inside the ball too",
            "The nearest point of the ball to a point inside it is that point itself.",
        )
    whole = delta.norm()
    if matches(found, delta * (RADIUS / whole).clamp(max=1)):
        fail(
            "all images share one length, that of the whole batch",
            "An image's projection must not depend on its neighbors.",
        )
    channel = delta.flatten(2).norm(dim=2)[..., None, None].clamp_min(1e-12)
    if matches(found, delta * (RADIUS / channel).clamp(max=1)):
        fail(
            "each channel has a length of its own here",
            "One image, one length: over its channels too.",
        )
    mean = delta.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
    if matches(found, delta * (RADIUS / mean).clamp(max=1)):
        fail("the squares are averaged, not summed", "A length has no division by their number.")
    total = delta.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-12)
    if matches(found, delta * (RADIUS / total).clamp(max=1)):
        fail("this measures with the sum of the sizes, the L1 norm", "The root of what sum is L2?")
    close(found, expected, "projected", "Compare the length of each image with eps.")
    return "no perturbation is longer than ε, none has turned, and those inside stayed"


def projection(results, delta: Tensor) -> Tensor:
    """What came back; the last perturbation, of zeros, is the one that a division may spoil."""
    raw = getattr(results.get("projected"), "value", None)
    if raw is not None and raw.shape == delta.shape and not raw[-1].isfinite().all():
        fail(
            f"projected holds {raw[-1][~raw[-1].isfinite()][0]} in image {len(delta) - 1}: "
            "that perturbation is all zeros",
            "Is something divided by its size, which is 0?",
        )
    return tensor(results, "projected", like=delta)


def judge_projection(found: Tensor, delta: Tensor, expected: Tensor) -> None:
    if matches(found, delta):
        fail("the perturbations come back as they were", "Some of them lie outside of the ball.")
    if matches(found, -expected):
        fail("every perturbation points the other way", "A projection keeps the signs.")


def lengths(delta: Tensor) -> Tensor:
    return delta.square().sum((1, 2, 3), keepdim=True).sqrt()


# 5.2 PGD -----------------------------------------------------------------------------------------


def begin(x: Tensor, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed + 1)
    return EPS * (2 * torch.rand(x.shape, generator=draw, dtype=x.dtype) - 1)


def walk(model, x: Tensor, y: Tensor, start: Tensor, **other) -> Tensor:
    """PGD, and by keyword what a wrong answer does in place of it."""
    how = {
        "steps": STEPS, "up": 1, "fresh": True, "ball": "always", "box": "always", "clip": True,
        "sign": True, "center": True,
    } | other  # fmt: skip
    x_adv = x + start
    if how["clip"]:
        x_adv = x_adv.clamp(0, 1)
    at = x
    for t in range(how["steps"]):
        g = chapter04.gradient(model, x_adv if how["fresh"] else at, y)
        move = how["up"] * ALPHA * (g.sign() if how["sign"] else g)
        end = t == how["steps"] - 1
        delta = x_adv + move - x if how["center"] else move
        around = x if how["center"] else x_adv
        if how["ball"] == "always" or (how["ball"] == "end" and end):
            delta = delta.clamp(-EPS, EPS)
        x_adv = around + delta
        if how["box"] == "always" or (how["box"] == "end" and end):
            x_adv = x_adv.clamp(0, 1)
    return x_adv


def probe_pgd(pgd, seed):
    model, x, y = problem(seed)
    delta = begin(x, seed)
    with watch(model=model, x=x, y=y, delta=delta) as changes:
        x_adv = pgd(model, x, y, EPS, ALPHA, STEPS, delta)
    return {"x_adv": x_adv, "changes": changes}


def verdict_pgd(results, seed):
    model, x, y = problem(seed)
    untouched(results)
    start = begin(x, seed)
    found, expected = tensor(results, "x_adv", like=x), walk(model, x, y, start)
    if matches(found, expected):
        return f"{STEPS} steps up the loss from the random start, none outside of ε = {EPS}"
    if matches(found, x) or matches(found, (x + start).clamp(0, 1)):
        fail("the walk ends where it began", "Each step goes on from the point before it.")

    low, high = found.min().item(), found.max().item()
    if low < -1e-6 and max(-low, high) <= EPS + 1e-6:
        fail(
            f"pixels run from {low:.2f} to {high:.2f}: this is a perturbation, not a picture",
            "What is the perturbation added to?",
        )

    def same(**other) -> bool:
        return matches(found, walk(model, x, y, other.pop("start", start), **other))

    if same(box="end", clip=False) or same(box="end"):
        fail(
            "the pictures are clipped to [0, 1] at the end only",
            "Then gradients are taken at points that are no pictures. Clip after every step.",
        )
    if low < -1e-6 or high > 1 + 1e-6:
        fail(
            f"pixels run from {low:.2f} to {high:.2f}, and an image lives in [0, 1]",
            "After step and projection one thing is missing.",
        )
    if same(center=False):
        fail(
            "the projection is around the last iterate, so the walk leaves the box around x",
            "Which perturbation must be at most eps: that from x, or that of one step?",
        )
    moved = (found - x).abs().max().item()
    if moved > EPS + 1e-9:
        fail(
            f"a pixel is {moved:.3f} from its place in x, more than ε = {EPS}",
            "After every step, bring the perturbation from x back into the box.",
        )
    if same(ball="end"):
        fail(
            "the projection comes at the end only",
            "Then the walk runs far outside and its gradients are those of other places.",
        )
    if same(up=-1):
        fail("the loss falls: the steps go down", "The attacker wants the loss of y to rise.")
    if same(fresh=False):
        fail(
            "every step uses the gradient at x",
            "That is FGSM in portions. Look again: where is the walk now?",
        )
    if same(sign=False):
        fail(
            "the steps are as long as the gradient is steep",
            "In L∞ only the sign of each pixel's gradient counts.",
        )
    if same(start=torch.zeros_like(x)):
        fail("the walk starts at x, not at the random start", "What is delta for?")
    if same(clip=False):
        fail(
            "the start x + delta is not clipped to [0, 1]",
            "The first gradient is taken there, and it should be a picture.",
        )
    for count in (1, STEPS - 1, STEPS + 1):
        if same(steps=count):
            steps = "step is" if count == 1 else "steps are"
            fail(f"{count} {steps} taken, expected {STEPS}", "Count the rounds of the loop.")
    with torch.no_grad():
        predicted = model(x).argmax(1)
    if matches(found, walk(model, x, predicted, start)):
        fail("the steps are those of the predicted classes", "The loss compares with y.")
    close(found, expected, "x_adv", "Step, project around x, clip; then look at the slope again.")


# 5.3 The best of several starts ------------------------------------------------------------------

RUNS = 4


def balanced(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The problem with a network that answers no class everywhere."""
    model, x, y = problem(seed)
    with torch.no_grad():
        model[-1].bias -= model(x).mean(0)
    return model, x, y


def runs(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Noisy copies; those of one image are such that success is not the highest loss."""
    draw = torch.Generator().manual_seed(seed + 2)
    noise = torch.rand((RUNS, *x.shape), generator=draw, dtype=x.dtype)
    candidates = (x + 0.4 * (2 * noise - 1)).clamp(0, 1)
    pool = torch.rand((1000, *x.shape[1:]), generator=draw, dtype=x.dtype)
    with torch.no_grad():
        logits = model(pool)
    found = []
    for i, c in enumerate(y[:10].tolist()):
        loss, read = -logits.log_softmax(1)[:, c], logits.argmax(1) == c
        hard = loss.where(read, -torch.inf).argmax()  # read as c, but hardly
        easy = loss.where(~read, torch.inf).argmin()  # misread, but only just
        found.append(((loss[hard] - loss[easy]).item(), i, hard, easy))
    _, i, hard, easy = max(found, key=lambda one: one[0])
    candidates[:, i] = pool[easy]
    candidates[RUNS // 2, i] = pool[hard]
    return candidates


def losses(model: nn.Module, candidates: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack([F.cross_entropy(model(run), y, reduction="none") for run in candidates])


def probe_best(best_of, seed):
    model, x, y = balanced(seed)
    candidates = runs(model, x, y, seed)
    with watch(model=model, candidates=candidates, y=y) as changes:
        try:
            best = best_of(model, candidates, y)
        except IndexError as error:
            return {"index": str(error)}
    return {"best": best, "changes": changes}


def verdict_best(results, seed):
    model, x, y = balanced(seed)
    if "index" in results:
        fail(
            f"an index does not fit: {results['index']}",
            f"{RUNS} losses an image, {len(y)} images: which of the two are you choosing from, and "
            "how many numbers should the choice have?",
        )
    untouched(results)
    shape = tuple(getattr(getattr(results.get("best"), "value", None), "shape", ()))
    if shape == (len(y), *x.shape) or shape == (RUNS, *x.shape):
        fail(
            f"best has shape {shape}, expected {tuple(x.shape)}: whole runs were picked",
            "One run for each image: give both indices, that of the run and that of the image.",
        )
    candidates = runs(model, x, y, seed)
    every = torch.arange(len(y))
    found, heights = tensor(results, "best", like=x), losses(model, candidates, y)
    expected = candidates[heights.argmax(0), every]
    if matches(found, expected):
        return f"each of the {len(y)} images keeps its own worst of {RUNS} runs"
    for r, run in enumerate(candidates):
        if matches(found, run):
            fail(
                f"all images are those of run {r}",
                "Two images may have their highest loss in different runs: choose one by one.",
            )
    if matches(found, candidates[heights.argmin(0), every]):
        fail("each image keeps its lowest loss", "Which end does the attacker want?")
    with torch.no_grad():
        fooled = torch.stack([model(run).argmax(1) != y for run in candidates])
    success = heights + fooled * (heights.max() + 1)  # any success stands above any failure
    if matches(found, candidates[success.argmax(0), every]):
        fail(
            "where some candidate is misread, those of a higher loss that are not are passed over",
            "Here the loss alone decides.",
        )
    if matches(found, candidates.mean(0)):
        fail("the runs are averaged", "The mean of several attacks is none of them.")
    with torch.no_grad():
        predicted = model(x).argmax(1)
        own = [losses(model, run[None], model(run).argmax(1))[0] for run in candidates]
    guesses = losses(model, candidates, predicted), torch.stack(own)
    if any(matches(found, candidates[guess.argmax(0), every]) for guess in guesses):
        fail("the losses are those of predicted classes", "The loss compares with y.")
    if not all((found[i] == candidates[:, i]).flatten(1).all(1).any() for i in every.tolist()):
        fail(
            "an image is none of its candidates",
            "Take candidates over unchanged, each in the place of its own image.",
        )
    close(found, expected, "best", "Compare the R losses of one image, and keep that candidate.")


EXERCISES = (
    Exercise(
        "5.1", "Back into the box", probe_linf, verdict_linf, forbids=("advlab.threat.project",)
    ),
    Exercise(
        "5.2",
        "Projected gradient descent",
        probe_pgd,
        verdict_pgd,
        forbids=(
            "advlab.attacks.PGD",
            "advlab.attacks.BIM",
            "advlab.attacks.MIFGSM",
            "advlab.attacks.APGD",
            "advlab.defenses.inner.ascend",
        ),
    ),
    Exercise(
        "5.3",
        "The best of several starts",
        probe_best,
        verdict_best,
        forbids=("advlab.attacks.best.Best", "advlab.attacks.best.Best.offer"),
    ),
    Exercise(
        "5.4",
        "The round ball",
        probe_l2,
        verdict_l2,
        forbids=(
            "advlab.threat.project",
            "torch.renorm",
            "torch.Tensor.renorm",
            "torch.Tensor.renorm_",
        ),
    ),
)
