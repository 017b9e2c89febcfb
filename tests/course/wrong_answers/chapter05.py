"""Answers to the exercises of chapter 5: wrong ones with what they must be told, and right ones."""

PRELUDE = """
import torch
import torch.nn.functional as F


def input_gradient(model, x, y):
    x = x.detach().clone().requires_grad_(True)
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]


def losses_of(model, x, y):
    with torch.no_grad():
        return F.cross_entropy(model(x), y, reduction="none")


def project_linf(delta, eps):
    return delta.clamp(-eps, eps)
"""

RIGHT = {
    "5.1": [
        (
            "two cuts, one a side",
            """
def project_linf(delta, eps):
    high = torch.full_like(delta, eps)
    return torch.maximum(torch.minimum(delta, high), -high)
""",
        ),
        (
            "the sign times the smaller size",
            """
def project_linf(delta, eps):
    return delta.sign() * delta.abs().clamp(max=eps)
""",
        ),
    ],
    "5.2": [
        (
            "clips the image between two images",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    z = torch.clamp(x + delta, 0, 1)
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = torch.max(torch.min(z, high), low)
    return z
""",
        ),
        (
            "keeps a perturbation, clips first and projects then",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    delta = (x + delta).clamp(0, 1) - x
    for _ in range(steps):
        delta = delta + alpha * input_gradient(model, x + delta, y).sign()
        delta = project_linf((x + delta).clamp(0, 1) - x, eps)
    return x + delta
""",
        ),
    ],
    "5.3": [
        (
            "a loop that keeps the best so far",
            """
def best_of(model, candidates, y):
    best = candidates[0].clone()
    for run in candidates[1:]:
        better = losses_of(model, run, y) > losses_of(model, best, y)
        best[better] = run[better]
    return best
""",
        ),
    ],
    "5.4": [
        (
            "a factor of at most 1",
            """
def project_l2(delta, eps):
    length = delta.flatten(1).square().sum(1).sqrt().clamp(min=1e-12)
    return delta * (eps / length).clamp(max=1).view(-1, 1, 1, 1)
""",
        ),
        (
            "an image after the other",
            """
def project_l2(delta, eps):
    return torch.stack([d * eps / d.norm() if d.norm() > eps else d for d in delta])
""",
        ),
    ],
}

WRONG = {
    "5.1": [
        (
            "clips to a picture",
            "def project_linf(delta, eps):\n    return delta.clamp(0, 1)\n",
            "clips to [0, 1]",
        ),
        (
            "forgets the lower side",
            "def project_linf(delta, eps):\n    return delta.clamp(max=eps)\n",
            "below −eps",
        ),
        (
            "sends everything to the edge",
            "def project_linf(delta, eps):\n    return eps * delta.sign()\n",
            "those inside the box too",
        ),
        (
            "shrinks the whole perturbation",
            """
def project_linf(delta, eps):
    peak = delta.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-9)
    return delta * (eps / peak).clamp(max=1)
""",
            "not nearest",
        ),
        (
            "divides by the largest entry",
            """
def project_linf(delta, eps):
    return delta * eps / delta.abs().amax((1, 2, 3), keepdim=True)
""",
            "that perturbation is all zeros",
        ),
        (
            "gives every perturbation the same largest entry",
            """
def project_linf(delta, eps):
    peak = delta.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-9)
    return delta * eps / peak
""",
            "not nearest",
        ),
        (
            "drops what is too large",
            """
def project_linf(delta, eps):
    return torch.where(delta.abs() <= eps, delta, 0.0)
""",
            "become 0",
        ),
        (
            "works in place",
            "def project_linf(delta, eps):\n    return delta.clamp_(-eps, eps)\n",
            "changed delta itself",
        ),
        (
            "does nothing",
            "def project_linf(delta, eps):\n    return delta.clone()\n",
            "as they were",
        ),
        (
            "the wrong sign",
            "def project_linf(delta, eps):\n    return -delta.clamp(-eps, eps)\n",
            "the other way",
        ),
        (
            "forgets to return",
            "def project_linf(delta, eps):\n    delta.clamp(-eps, eps)\n",
            "is None",
        ),
    ],
    "5.2": [
        (
            "no projection",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = (x + delta).clamp(0, 1)
    for _ in range(steps):
        z = (z + alpha * input_gradient(model, z, y).sign()).clamp(0, 1)
    return z
""",
            "around the last iterate",  # a projection of one step does nothing: it is none
        ),
        (
            "projects around the last iterate",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = (x + delta).clamp(0, 1)
    for _ in range(steps):
        step = project_linf(alpha * input_gradient(model, z, y).sign(), eps)
        z = (z + step).clamp(0, 1)
    return z
""",
            "around the last iterate",
        ),
        (
            "projects the perturbation of twice the budget",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    start = (x + delta).clamp(0, 1)
    z = start
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = (start + project_linf(z - start, eps)).clamp(0, 1)
    return z
""",
            "from its place in x",
        ),
        (
            "projects at the end only",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = (x + delta).clamp(0, 1)
    for _ in range(steps):
        z = (z + alpha * input_gradient(model, z, y).sign()).clamp(0, 1)
    return (x + project_linf(z - x, eps)).clamp(0, 1)
""",
            "at the end only",
        ),
        (
            "no clipping",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = x + delta
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = x + project_linf(z - x, eps)
    return z
""",
            "lives in [0, 1]",
        ),
        (
            "clips at the end only",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = x + delta
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = x + project_linf(z - x, eps)
    return z.clamp(0, 1)
""",
            "at the end only",
        ),
        (
            "starts at x",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = x
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = (x + project_linf(z - x, eps)).clamp(0, 1)
    return z
""",
            "not at the random start",
        ),
        (
            "the gradient at x, every time",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = (x + delta).clamp(0, 1)
    for _ in range(steps):
        z = z + alpha * input_gradient(model, x, y).sign()
        z = (x + project_linf(z - x, eps)).clamp(0, 1)
    return z
""",
            "uses the gradient at x",
        ),
        (
            "descends",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = (x + delta).clamp(0, 1)
    for _ in range(steps):
        z = z - alpha * input_gradient(model, z, y).sign()
        z = (x + project_linf(z - x, eps)).clamp(0, 1)
    return z
""",
            "the loss falls",
        ),
        (
            "forgets the sign",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = (x + delta).clamp(0, 1)
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y)
        z = (x + project_linf(z - x, eps)).clamp(0, 1)
    return z
""",
            "as long as the gradient is steep",
        ),
        (
            "returns in the loop",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = (x + delta).clamp(0, 1)
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = (x + project_linf(z - x, eps)).clamp(0, 1)
        return z
""",
            "1 step is taken",
        ),
        (
            "the predicted classes",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    y = model(x).argmax(1)
    z = (x + delta).clamp(0, 1)
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = (x + project_linf(z - x, eps)).clamp(0, 1)
    return z
""",
            "predicted",
        ),
        (
            "returns the perturbation",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = (x + delta).clamp(0, 1)
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = (x + project_linf(z - x, eps)).clamp(0, 1)
    return z - x
""",
            "not a picture",
        ),
        (
            "walks in the caller's delta",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    for _ in range(steps):
        delta += alpha * input_gradient(model, (x + delta).clamp(0, 1), y).sign()
        delta.clamp_(-eps, eps)
    return (x + delta).clamp(0, 1)
""",
            "changed delta itself",
        ),
        (
            "never steps",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    return (x + delta).clamp(0, 1)
""",
            "ends where it began",
        ),
        (
            "ten steps, whatever was asked",
            """
def pgd(model, x, y, eps, alpha, steps, delta):
    z = (x + delta).clamp(0, 1)
    for _ in range(10):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = (x + project_linf(z - x, eps)).clamp(0, 1)
    return z
""",
            "what it should be",
        ),
    ],
    "5.3": [
        (
            "one run for all",
            """
def best_of(model, candidates, y):
    mean = torch.stack([losses_of(model, run, y).mean() for run in candidates])
    return candidates[mean.argmax()]
""",
            "choose one by one",
        ),
        (
            "the lowest loss",
            """
def best_of(model, candidates, y):
    losses = torch.stack([losses_of(model, run, y) for run in candidates])
    return candidates[losses.argmin(0), torch.arange(len(y))]
""",
            "lowest loss",
        ),
        (
            "the mean of the runs",
            "def best_of(model, candidates, y):\n    return candidates.mean(0)\n",
            "averaged",
        ),
        (
            "returns the numbers of the runs",
            """
def best_of(model, candidates, y):
    return torch.stack([losses_of(model, run, y) for run in candidates]).argmax(0)
""",
            "shape (40,)",
        ),
        (
            "indexes only the runs",
            """
def best_of(model, candidates, y):
    losses = torch.stack([losses_of(model, run, y) for run in candidates])
    return candidates[losses.argmax(0)]
""",
            "whole runs were picked",
        ),
        (
            "the largest along the images",
            """
def best_of(model, candidates, y):
    losses = torch.stack([losses_of(model, run, y) for run in candidates])
    return candidates[losses.argmax(1), torch.arange(len(y))]
""",
            "an index does not fit",
        ),
        (
            "numbers of images taken for numbers of runs",
            """
def best_of(model, candidates, y):
    losses = torch.stack([losses_of(model, run, y) for run in candidates])
    return candidates[losses.argmax(1)]
""",
            "an index does not fit",
        ),
        (
            "success first, then the loss",
            """
def best_of(model, candidates, y):
    losses = torch.stack([losses_of(model, run, y) for run in candidates])
    wrong = torch.stack([model(run).argmax(1) != y for run in candidates])
    return candidates[(losses + 1000 * wrong).argmax(0), torch.arange(len(y))]
""",
            "the loss alone decides",
        ),
        (
            "the pixels that are largest",
            "def best_of(model, candidates, y):\n    return candidates.amax(0)\n",
            "none of its candidates",
        ),
        (
            "the classes predicted for each run",
            """
def best_of(model, candidates, y):
    losses = torch.stack(
        [losses_of(model, run, model(run).argmax(1)) for run in candidates]
    )
    return candidates[losses.argmax(0), torch.arange(len(y))]
""",
            "predicted",
        ),
        (
            "the first run",
            "def best_of(model, candidates, y):\n    return candidates[0]\n",
            "run 0",
        ),
        (
            "the first run that succeeds",
            """
def best_of(model, candidates, y):
    wrong = torch.stack([model(run).argmax(1) != y for run in candidates])
    return candidates[wrong.int().argmax(0), torch.arange(len(y))]
""",
            "what it should be",
        ),
        (
            "changes the candidates on the way",
            """
def best_of(model, candidates, y):
    best = candidates[0]
    for run in candidates[1:]:
        better = losses_of(model, run, y) > losses_of(model, best, y)
        best[better] = run[better]
    return best
""",
            "changed candidates itself",
        ),
    ],
    "5.4": [
        (
            "divides by zero",
            """
def project_l2(delta, eps):
    length = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return delta / length * length.clamp(max=eps)
""",
            "that perturbation is all zeros",
        ),
        (
            "cuts every entry",
            "def project_l2(delta, eps):\n    return delta.clamp(-eps, eps)\n",
            "on its own",
        ),
        (
            "scales those inside up",
            """
def project_l2(delta, eps):
    length = delta.flatten(1).norm(dim=1).clamp(min=1e-12)
    return delta * (eps / length).view(-1, 1, 1, 1)
""",
            "those inside the ball too",
        ),
        (
            "the length of the batch",
            """
def project_l2(delta, eps):
    return delta * (eps / delta.norm()).clamp(max=1)
""",
            "the whole batch",
        ),
        (
            "the length of each channel",
            """
def project_l2(delta, eps):
    length = delta.norm(dim=(2, 3), keepdim=True).clamp(min=1e-12)
    return delta * (eps / length).clamp(max=1)
""",
            "each channel",
        ),
        (
            "the length of each row",
            """
def project_l2(delta, eps):
    length = delta.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return delta * (eps / length).clamp(max=1)
""",
            "what it should be",
        ),
        (
            "the root of the mean square",
            """
def project_l2(delta, eps):
    length = delta.flatten(1).square().mean(1).sqrt().clamp(min=1e-12)
    return delta * (eps / length).clamp(max=1).view(-1, 1, 1, 1)
""",
            "averaged",
        ),
        (
            "the sum of sizes",
            """
def project_l2(delta, eps):
    length = delta.flatten(1).abs().sum(1).clamp(min=1e-12)
    return delta * (eps / length).clamp(max=1).view(-1, 1, 1, 1)
""",
            "the L1 norm",
        ),
        (
            "forgets the root",
            """
def project_l2(delta, eps):
    length = delta.flatten(1).square().sum(1).clamp(min=1e-12)
    return delta * (eps / length).clamp(max=1).view(-1, 1, 1, 1)
""",
            "what it should be",
        ),
        (
            "works in place",
            """
def project_l2(delta, eps):
    length = delta.flatten(1).norm(dim=1).clamp(min=1e-12)
    delta *= (eps / length).clamp(max=1).view(-1, 1, 1, 1)
    return delta
""",
            "changed delta itself",
        ),
    ],
}
