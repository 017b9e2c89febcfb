"""Answers to the exercises of chapter 8: wrong ones with what they must be told, and right ones."""

PRELUDE = """
import torch
import torch.nn.functional as F
"""

RIGHT = {
    "8.1": [
        (
            "an image at a time",
            """
def fooling_rate(model, x, v):
    fooled = 0
    for image in x:
        image = image[None]
        fooled += model((image + v).clamp(0, 1)).argmax() != model(image).argmax()
    return fooled / len(x)
""",
        ),
    ],
    "8.2": [
        (
            "an image at a time, and where in place of clamp",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v, total = v.detach(), torch.zeros_like(v)
    for image, answer in zip(x, answers):
        w = v.clone().requires_grad_()
        loss = F.cross_entropy(model((image + w).clamp(0, 1)), answer[None])
        if loss < beta:
            total += torch.autograd.grad(loss, w)[0]
    return torch.minimum(torch.maximum(v + alpha * total.sign(), -eps + 0 * v), eps + 0 * v)
""",
        ),
        (
            "the mean of the capped losses, whose signs are the same",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.clone().requires_grad_()
    losses = F.cross_entropy(model((x + v).clamp(0, 1)), answers, reduction="none")
    g, = torch.autograd.grad(torch.minimum(losses, torch.tensor(beta)).mean(), v)
    return (v.detach() + alpha * g.sign()).clamp(-eps, eps)
""",
        ),
    ],
    "8.3": [
        (
            "two loops",
            """
def without(seen, hidden):
    out = seen.clone()
    others = (seen != hidden).nonzero().tolist()
    for r, c in (seen == hidden).nonzero().tolist():
        i, j = min(others, key=lambda p: (p[0] - r) ** 2 + (p[1] - c) ** 2)
        out[r, c] = seen[i, j]
    return out
""",
        ),
    ],
}

WRONG = {
    "8.1": [
        (
            "does not clip",
            """
def fooling_rate(model, x, v):
    return (model(x + v).argmax(1) != model(x).argmax(1)).float().mean().item()
""",
            "below 0 and above 1",
        ),
        (
            "what stays",
            """
def fooling_rate(model, x, v):
    return (model((x + v).clamp(0, 1)).argmax(1) == model(x).argmax(1)).float().mean().item()
""",
            "answers that stay",
        ),
        (
            "percent",
            """
def fooling_rate(model, x, v):
    changed = model((x + v).clamp(0, 1)).argmax(1) != model(x).argmax(1)
    return 100 * changed.float().mean().item()
""",
            "percentages",
        ),
        (
            "a count",
            """
def fooling_rate(model, x, v):
    return (model((x + v).clamp(0, 1)).argmax(1) != model(x).argmax(1)).sum().item()
""",
            "counts",
        ),
        (
            "compares with the next image's answer",
            """
def fooling_rate(model, x, v):
    before = model(x).argmax(1).roll(1)
    return (model((x + v).clamp(0, 1)).argmax(1) != before).float().mean().item()
""",
            "compared with",
        ),
        (
            "classifies the natural images twice",
            """
def fooling_rate(model, x, v):
    return (model(x).argmax(1) != model(x.clamp(0, 1)).argmax(1)).float().mean().item()
""",
            "nothing is ever fooled",
        ),
        (
            "adds v to the caller's images",
            """
def fooling_rate(model, x, v):
    before = model(x).argmax(1)
    x += v
    return (model(x.clamp_(0, 1)).argmax(1) != before).float().mean().item()
""",
            "changed x itself",
        ),
    ],
    "8.2": [
        (
            "no projection",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.clone().requires_grad_()
    losses = F.cross_entropy(model((x + v).clamp(0, 1)), answers, reduction="none")
    g, = torch.autograd.grad(losses.clamp(max=beta).sum(), v)
    return (v + alpha * g.sign()).detach()
""",
            "ε = 0.3",
        ),
        (
            "clips v as if it were a picture",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.clone().requires_grad_()
    losses = F.cross_entropy(model((x + v).clamp(0, 1)), answers, reduction="none")
    g, = torch.autograd.grad(losses.clamp(max=beta).sum(), v)
    return (v + alpha * g.sign()).detach().clamp(-eps, eps).clamp(0, 1)
""",
            "not a picture",
        ),
        (
            "descends",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.clone().requires_grad_()
    losses = F.cross_entropy(model((x + v).clamp(0, 1)), answers, reduction="none")
    g, = torch.autograd.grad(losses.clamp(max=beta).sum(), v)
    return (v - alpha * g.sign()).detach().clamp(-eps, eps)
""",
            "losses fall",
        ),
        (
            "forgets the sign",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.clone().requires_grad_()
    losses = F.cross_entropy(model((x + v).clamp(0, 1)), answers, reduction="none")
    g, = torch.autograd.grad(losses.clamp(max=beta).sum(), v)
    return (v + alpha * g).detach().clamp(-eps, eps)
""",
            "gradient itself",
        ),
        (
            "no cap",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.clone().requires_grad_()
    loss = F.cross_entropy(model((x + v).clamp(0, 1)), answers, reduction="sum")
    g, = torch.autograd.grad(loss, v)
    return (v + alpha * g.sign()).detach().clamp(-eps, eps)
""",
            "not capped",
        ),
        (
            "caps the mean",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.clone().requires_grad_()
    loss = F.cross_entropy(model((x + v).clamp(0, 1)), answers).clamp(max=beta)
    g, = torch.autograd.grad(loss, v)
    return (v + alpha * g.sign()).detach().clamp(-eps, eps)
""",
            "cap",
        ),
        (
            "does not clip the images",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.clone().requires_grad_()
    losses = F.cross_entropy(model(x + v), answers, reduction="none")
    g, = torch.autograd.grad(losses.clamp(max=beta).sum(), v)
    return (v + alpha * g.sign()).detach().clamp(-eps, eps)
""",
            "below 0 and above 1",
        ),
        (
            "the gradient of the clipped images",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    seen = (x + v).clamp(0, 1).detach().requires_grad_()
    losses = F.cross_entropy(model(seen), answers, reduction="none")
    g, = torch.autograd.grad(losses.clamp(max=beta).sum(), seen)
    return (v + alpha * g.sum(0, keepdim=True).sign()).clamp(-eps, eps)
""",
            "that of the clipped images",
        ),
        (
            "a v for each image",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.repeat(len(x), 1, 1, 1).requires_grad_()
    losses = F.cross_entropy(model((x + v).clamp(0, 1)), answers, reduction="none")
    g, = torch.autograd.grad(losses.clamp(max=beta).sum(), v)
    return (v + alpha * g.sign()).detach().clamp(-eps, eps)
""",
            "a single v",
        ),
        (
            "its own answers",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.clone().requires_grad_()
    logits = model((x + v).clamp(0, 1))
    losses = F.cross_entropy(logits, logits.argmax(1), reduction="none")
    g, = torch.autograd.grad(losses.clamp(max=beta).sum(), v)
    return (v + alpha * g.sign()).detach().clamp(-eps, eps)
""",
            "of the perturbed images",
        ),
        (
            "the step alone",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.clone().requires_grad_()
    losses = F.cross_entropy(model((x + v).clamp(0, 1)), answers, reduction="none")
    g, = torch.autograd.grad(losses.clamp(max=beta).sum(), v)
    return (alpha * g.sign()).clamp(-eps, eps)
""",
            "step alone",
        ),
        (
            "works on the caller's v",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v.requires_grad_()
    losses = F.cross_entropy(model((x + v).clamp(0, 1)), answers, reduction="none")
    g, = torch.autograd.grad(losses.clamp(max=beta).sum(), v)
    return (v + alpha * g.sign()).detach().clamp(-eps, eps)
""",
            "another requires_grad",
        ),
        (
            "keeps the graph",
            """
def uap_step(model, x, answers, v, eps, alpha, beta):
    v = v.clone().requires_grad_()
    losses = F.cross_entropy(model((x + v).clamp(0, 1)), answers, reduction="none")
    g, = torch.autograd.grad(losses.clamp(max=beta).sum(), v)
    return (v + alpha * g.sign()).clamp(-eps, eps)
""",
            "still requires a gradient",
        ),
    ],
    "8.3": [
        (
            "the nearest of all pixels, itself included",
            """
def without(seen, hidden):
    out = seen.clone()
    here, all = (seen == hidden).nonzero(), (seen >= 0).nonzero()
    near = all[torch.cdist(here.float(), all.float()).argmin(1)]
    out[here[:, 0], here[:, 1]] = seen[near[:, 0], near[:, 1]]
    return out
""",
            "hidden class are left",
        ),
        (
            "one class for all",
            """
def without(seen, hidden):
    return torch.where(seen == hidden, seen[seen != hidden].mode().values, seen)
""",
            "was filled in",
        ),
        (
            "rows and columns",
            """
def without(seen, hidden):
    out = seen.clone()
    here, there = (seen == hidden).nonzero(), (seen != hidden).nonzero()
    near = there[torch.cdist(here.float(), there.float(), p=1).argmin(1)]
    out[here[:, 0], here[:, 1]] = seen[near[:, 0], near[:, 1]]
    return out
""",
            "rows plus columns",
        ),
        (
            "the furthest",
            """
def without(seen, hidden):
    out = seen.clone()
    here, there = (seen == hidden).nonzero(), (seen != hidden).nonzero()
    flat = seen.flatten()[(seen != hidden).flatten()]
    out[here[:, 0], here[:, 1]] = flat[torch.cdist(here.float(), there.float()).argmax(1)]
    return out
""",
            "was filled in",
        ),
        (
            "works in place",
            """
def without(seen, hidden):
    here, there = (seen == hidden).nonzero(), (seen != hidden).nonzero()
    near = there[torch.cdist(here.float(), there.float()).argmin(1)]
    seen[here[:, 0], here[:, 1]] = seen[near[:, 0], near[:, 1]]
    return seen
""",
            "changed seen itself",
        ),
    ],
}
