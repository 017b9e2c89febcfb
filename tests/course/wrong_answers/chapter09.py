"""Answers to the exercises of chapter 9: wrong ones with what they are told, and right ones."""

PRELUDE = """
import math
import torch
import torch.nn.functional as F
"""

RIGHT = {
    "9.1": [
        (
            "by indexing",
            """
def matched_rate(source, target, x, y, x_adv):
    keep = (source(x).argmax(1) == y) & (target(x).argmax(1) == y)
    x_adv, y = x_adv[keep], y[keep]
    fools = source(x_adv).argmax(1) != y
    return (target(x_adv).argmax(1) != y)[fools].float().mean()
""",
        ),
    ],
    "9.2": [
        (
            "a running sum of logarithms",
            """
def ensemble_logits(models, x):
    total = F.log_softmax(models[0](x), dim=1)
    for model in models[1:]:
        total = torch.logaddexp(total, F.log_softmax(model(x), dim=1))
    return total - math.log(len(models))
""",
        ),
    ],
    "9.3": [
        (
            "one image at a time",
            """
def augment(substitute, x, labels, lam):
    new = []
    for image, label in zip(x, labels):
        image = image[None].clone().requires_grad_()
        (g,) = torch.autograd.grad(substitute(image)[0, label], image)
        new.append((image + lam * g.sign()).clamp(0, 1).detach())
    return torch.cat(new)
""",
        ),
    ],
    "9.4": [
        (
            "in one formula, and a loop where it fails",
            """
def queries(n, rounds, sigma, kappa):
    total = n * 2 ** min(rounds, sigma)
    for _ in range(rounds - sigma):
        total = total + kappa if total > kappa else 2 * total
    return total
""",
        ),
    ],
}

WRONG = {
    "9.1": [
        (
            "all that both had right",
            """
def matched_rate(source, target, x, y, x_adv):
    both = (source(x).argmax(1) == y) & (target(x).argmax(1) == y)
    return ((target(x_adv).argmax(1) != y) & both).sum() / both.sum()
""",
            "all images that both had right",
        ),
        (
            "the larger denominator",
            """
def matched_rate(source, target, x, y, x_adv):
    both = (source(x).argmax(1) == y) & (target(x).argmax(1) == y)
    fools = both & (source(x_adv).argmax(1) != y)
    return (fools & (target(x_adv).argmax(1) != y)).sum() / both.sum()
""",
            "did not fool the source",
        ),
        (
            "forgets that images were wrong before",
            """
def matched_rate(source, target, x, y, x_adv):
    fools = source(x_adv).argmax(1) != y
    return (target(x_adv).argmax(1) != y)[fools].float().mean()
""",
            "wrong from the start",
        ),
        (
            "asks only the source before",
            """
def matched_rate(source, target, x, y, x_adv):
    fools = (source(x).argmax(1) == y) & (source(x_adv).argmax(1) != y)
    return (target(x_adv).argmax(1) != y)[fools].float().mean()
""",
            "the target had wrong from the start",
        ),
        (
            "asks only the target before",
            """
def matched_rate(source, target, x, y, x_adv):
    fools = (target(x).argmax(1) == y) & (source(x_adv).argmax(1) != y)
    return (target(x_adv).argmax(1) != y)[fools].float().mean()
""",
            "the source had wrong from the start",
        ),
        (
            "counts those that stand",
            """
def matched_rate(source, target, x, y, x_adv):
    keep = (source(x).argmax(1) == y) & (target(x).argmax(1) == y)
    keep &= source(x_adv).argmax(1) != y
    return (target(x_adv).argmax(1) == y)[keep].float().mean()
""",
            "still has right",
        ),
        (
            "exchanges the two",
            """
def matched_rate(target, source, x, y, x_adv):
    keep = (source(x).argmax(1) == y) & (target(x).argmax(1) == y)
    keep &= source(x_adv).argmax(1) != y
    return (target(x_adv).argmax(1) != y)[keep].float().mean()
""",
            "exchanged",
        ),
        (
            "a percentage",
            """
def matched_rate(source, target, x, y, x_adv):
    keep = (source(x).argmax(1) == y) & (target(x).argmax(1) == y)
    keep &= source(x_adv).argmax(1) != y
    return 100 * (target(x_adv).argmax(1) != y)[keep].float().mean()
""",
            "percentage",
        ),
        (
            "everybody",
            """
def matched_rate(source, target, x, y, x_adv):
    return (target(x_adv).argmax(1) != y).float().mean()
""",
            "every image",
        ),
        (
            "0 of nobody",
            """
def matched_rate(source, target, x, y, x_adv):
    keep = (source(x).argmax(1) == y) & (target(x).argmax(1) == y)
    keep &= source(x_adv).argmax(1) != y
    if not keep.any():
        return 0.0
    return (target(x_adv).argmax(1) != y)[keep].float().mean()
""",
            "not NaN",
        ),
        (
            "both take it for the same wrong class",
            """
def matched_rate(source, target, x, y, x_adv):
    keep = (source(x).argmax(1) == y) & (target(x).argmax(1) == y)
    keep &= source(x_adv).argmax(1) != y
    return (target(x_adv).argmax(1) == source(x_adv).argmax(1))[keep].float().mean()
""",
            "same wrong class",
        ),
        (
            "a numerator of others",
            """
def matched_rate(source, target, x, y, x_adv):
    keep = (source(x).argmax(1) == y) & (target(x).argmax(1) == y)
    keep &= source(x_adv).argmax(1) != y
    return (target(x_adv).argmax(1) != y).sum() / keep.sum()
""",
            "not counted below",
        ),
    ],
    "9.2": [
        (
            "the mean of the logits",
            """
def ensemble_logits(models, x):
    return torch.stack([m(x) for m in models]).mean(0)
""",
            "averages of the logits",
        ),
        (
            "the log-softmax of the mean of the logits",
            """
def ensemble_logits(models, x):
    return torch.stack([m(x) for m in models]).mean(0).log_softmax(1)
""",
            "the logits were averaged",
        ),
        (
            "probabilities",
            """
def ensemble_logits(models, x):
    return torch.stack([m(x).softmax(1) for m in models]).mean(0)
""",
            "these are probabilities",
        ),
        (
            "the mean of the logarithms",
            """
def ensemble_logits(models, x):
    return torch.stack([F.log_softmax(m(x), 1) for m in models]).mean(0)
""",
            "averages of the log-probabilities",
        ),
        (
            "leaves the logarithms",
            """
def ensemble_logits(models, x):
    return torch.stack([m(x).softmax(1) for m in models]).mean(0).log()
""",
            "infinite",
        ),
        (
            "forgets to divide",
            """
def ensemble_logits(models, x):
    return torch.stack([F.log_softmax(m(x), 1) for m in models]).logsumexp(0)
""",
            "summed, not averaged",
        ),
        (
            "the softmax over the images",
            """
def ensemble_logits(models, x):
    p = torch.stack([F.log_softmax(m(x), 0) for m in models])
    return p.logsumexp(0) - math.log(len(models))
""",
            "over the images",
        ),
        (
            "no gradient",
            """
@torch.no_grad()
def ensemble_logits(models, x):
    logs = torch.stack([F.log_softmax(m(x), 1) for m in models])
    return logs.logsumexp(0) - math.log(len(models))
""",
            "no gradient leads",
        ),
        (
            "more bits in place of logarithms",
            """
def ensemble_logits(models, x):
    p = torch.stack([m(x).double().softmax(1) for m in models]).mean(0)
    return p.log().float()
""",
            "64 bits",
        ),
        (
            "a small number added",
            """
def ensemble_logits(models, x):
    p = torch.stack([m(x).softmax(1) for m in models]).mean(0)
    return (p + 1e-12).log()
""",
            "no logit is below",
        ),
        (
            "a least probability",
            """
def ensemble_logits(models, x):
    p = torch.stack([m(x).softmax(1) for m in models]).mean(0)
    return p.clamp(min=1e-30).log()
""",
            "no logit is below",
        ),
        (
            "the sum over the images",
            """
def ensemble_logits(models, x):
    logs = torch.stack([F.log_softmax(m(x), 1) for m in models])
    return logs.logsumexp(1) - math.log(len(models))
""",
            "a row for each of the 3 models",
        ),
        (
            "the sum over the classes",
            """
def ensemble_logits(models, x):
    logs = torch.stack([F.log_softmax(m(x), 1) for m in models])
    return logs.logsumexp(2) - math.log(len(models))
""",
            "a row for each of the 3 models",
        ),
        (
            "forgets the softmax",
            """
def ensemble_logits(models, x):
    return torch.stack([m(x) for m in models]).logsumexp(0) - math.log(len(models))
""",
            "taken for log-probabilities",
        ),
    ],
    "9.3": [
        (
            "up the loss",
            """
def augment(substitute, x, labels, lam):
    x = x.clone().requires_grad_()
    loss = F.cross_entropy(substitute(x), labels, reduction="sum")
    (g,) = torch.autograd.grad(loss, x)
    return (x + lam * g.sign()).clamp(0, 1).detach()
""",
            "follow the loss",
        ),
        (
            "its own labels",
            """
def augment(substitute, x, labels, lam):
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(substitute(x).amax(1).sum(), x)
    return (x + lam * g.sign()).clamp(0, 1).detach()
""",
            "own labels",
        ),
        (
            "no sign",
            """
def augment(substitute, x, labels, lam):
    x = x.clone().requires_grad_()
    z = substitute(x).gather(1, labels[:, None])
    (g,) = torch.autograd.grad(z.sum(), x)
    return (x + lam * g).clamp(0, 1).detach()
""",
            "slopes were taken as they are",
        ),
        (
            "the probability",
            """
def augment(substitute, x, labels, lam):
    x = x.clone().requires_grad_()
    z = substitute(x).softmax(1).gather(1, labels[:, None])
    (g,) = torch.autograd.grad(z.sum(), x)
    return (x + lam * g.sign()).clamp(0, 1).detach()
""",
            "follow a probability",
        ),
        (
            "no clip",
            """
def augment(substitute, x, labels, lam):
    x = x.clone().requires_grad_()
    z = substitute(x).gather(1, labels[:, None])
    (g,) = torch.autograd.grad(z.sum(), x)
    return (x + lam * g.sign()).detach()
""",
            "left [0, 1]",
        ),
        (
            "both old and new",
            """
def augment(substitute, x, labels, lam):
    start = x
    x = x.clone().requires_grad_()
    z = substitute(x).gather(1, labels[:, None])
    (g,) = torch.autograd.grad(z.sum(), x)
    return torch.cat([start, (x + lam * g.sign()).clamp(0, 1).detach()])
""",
            "the old images came back",
        ),
        (
            "downward whatever the sign",
            """
def augment(substitute, x, labels, lam):
    x = x.clone().requires_grad_()
    z = substitute(x).gather(1, labels[:, None])
    (g,) = torch.autograd.grad(z.sum(), x)
    return (x - lam * g.sign()).clamp(0, 1).detach()
""",
            "the other way",
        ),
        (
            "the size of λ alone",
            """
def augment(substitute, x, labels, lam):
    x = x.clone().requires_grad_()
    z = substitute(x).gather(1, labels[:, None])
    (g,) = torch.autograd.grad(z.sum(), x)
    return (x + abs(lam) * g.sign()).clamp(0, 1).detach()
""",
            "did not turn",
        ),
        (
            "backward",
            """
def augment(substitute, x, labels, lam):
    x = x.clone().requires_grad_()
    substitute(x).gather(1, labels[:, None]).sum().backward()
    return (x + lam * x.grad.sign()).clamp(0, 1).detach()
""",
            ".grad",
        ),
        (
            "switches to eval()",
            """
def augment(substitute, x, labels, lam):
    substitute.eval()
    x = x.clone().requires_grad_()
    z = substitute(x).gather(1, labels[:, None])
    (g,) = torch.autograd.grad(z.sum(), x)
    return (x + lam * g.sign()).clamp(0, 1).detach()
""",
            "between train() and eval()",
        ),
        (
            "all labels at once",
            """
def augment(substitute, x, labels, lam):
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(substitute(x)[:, labels].sum(), x)
    return (x + lam * g.sign()).clamp(0, 1).detach()
""",
            "all the labels at once",
        ),
    ],
    "9.4": [
        (
            "doubles to the end",
            """
def queries(n, rounds, sigma, kappa):
    return n * 2**rounds
""",
            "doubled to the end",
        ),
        (
            "the formula without its limits",
            """
def queries(n, rounds, sigma, kappa):
    return n * 2**sigma + kappa * (rounds - sigma)
""",
            "fewer rounds than sigma",
        ),
        (
            "a reservoir that is always full",
            """
def queries(n, rounds, sigma, kappa):
    for r in range(rounds):
        n += n if r < sigma else kappa
    return n
""",
            "more than there are",
        ),
        (
            "forgets the first images",
            """
def queries(n, rounds, sigma, kappa):
    total = n
    for r in range(rounds):
        total += total if r < sigma else min(kappa, total)
    return total - n
""",
            "missing",
        ),
        (
            "one doubling too many",
            """
def queries(n, rounds, sigma, kappa):
    for r in range(rounds):
        n += n if r <= sigma else min(kappa, n)
    return n
""",
            "one doubling too many",
        ),
        (
            "one doubling too few",
            """
def queries(n, rounds, sigma, kappa):
    for r in range(1, rounds + 1):
        n += n if r < sigma else min(kappa, n)
    return n
""",
            "one doubling too few",
        ),
        (
            "one round too few",
            """
def queries(n, rounds, sigma, kappa):
    for r in range(rounds - 1):
        n += n if r < sigma else min(kappa, n)
    return n
""",
            "one round too few",
        ),
    ],
}
