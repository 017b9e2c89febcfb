"""Answers to the exercises of chapter 11: wrong ones with what they are told, and right ones."""

PRELUDE = """
import torch
import torch.nn.functional as F
"""

RIGHT = {
    "11.1": [
        (
            "a loop that counts",
            """
def destruction_rate(model, x, y, x_adv, photos):
    before, after, last = (model(z).argmax(1) for z in (x, x_adv, photos))
    fooled = destroyed = 0
    for a, b, c, t in zip(before, after, last, y):
        if a == t and b != t:
            fooled += 1
            destroyed += int(c == t)
    return destroyed / fooled
""",
        ),
    ],
    "11.2": [
        (
            "all draws in one backward pass",
            """
def eot_gradient(model, x, y, transform, samples):
    x = x.detach().clone().requires_grad_(True)
    views = torch.cat([transform(x, k) for k in range(samples)])
    loss = F.cross_entropy(model(views), y.repeat(samples), reduction="sum")
    return torch.autograd.grad(loss / samples, x)[0]
""",
        ),
    ],
}

WRONG = {
    "11.1": [
        (
            "of all images",
            """
def destruction_rate(model, x, y, x_adv, photos):
    a, b, c = (model(z).argmax(1) == y for z in (x, x_adv, photos))
    return (a & ~b & c).float().mean().item()
""",
            "the part of all images",
        ),
        (
            "what survives",
            """
def destruction_rate(model, x, y, x_adv, photos):
    a, b, c = (model(z).argmax(1) == y for z in (x, x_adv, photos))
    fooled = a & ~b
    return (~c[fooled]).float().mean().item()
""",
            "survives",
        ),
        (
            "forgets who was wrong before",
            """
def destruction_rate(model, x, y, x_adv, photos):
    b, c = (model(z).argmax(1) == y for z in (x_adv, photos))
    return c[~b].float().mean().item()
""",
            "Some were wrong before",
        ),
        (
            "any change of the answer",
            """
def destruction_rate(model, x, y, x_adv, photos):
    a, b, c = (model(z).argmax(1) for z in (x, x_adv, photos))
    fooled = (a == y) & (b != y)
    return (c != b)[fooled].float().mean().item()
""",
            "answers that changed",
        ),
        (
            "a count",
            """
def destruction_rate(model, x, y, x_adv, photos):
    a, b, c = (model(z).argmax(1) == y for z in (x, x_adv, photos))
    return (a & ~b & c).sum().item()
""",
            "how many images",
        ),
    ],
    "11.2": [
        (
            "a sum",
            """
def eot_gradient(model, x, y, transform, samples):
    x = x.detach().clone().requires_grad_(True)
    total = torch.zeros_like(x)
    for k in range(samples):
        loss = F.cross_entropy(model(transform(x, k)), y, reduction="sum")
        total += torch.autograd.grad(loss, x)[0]
    return total
""",
            "the sum over the draws",
        ),
        (
            "a mean over the batch",
            """
def eot_gradient(model, x, y, transform, samples):
    x = x.detach().clone().requires_grad_(True)
    total = torch.zeros_like(x)
    for k in range(samples):
        loss = F.cross_entropy(model(transform(x, k)), y)
        total += torch.autograd.grad(loss, x)[0]
    return total / samples
""",
            "Sum the losses of a batch",
        ),
        (
            "in the photograph",
            """
def eot_gradient(model, x, y, transform, samples):
    total = torch.zeros_like(x)
    for k in range(samples):
        view = transform(x, k).detach().requires_grad_(True)
        loss = F.cross_entropy(model(view), y, reduction="sum")
        total += torch.autograd.grad(loss, view)[0]
    return total / samples
""",
            "in t(x), not in x",
        ),
        (
            "the mean picture",
            """
def eot_gradient(model, x, y, transform, samples):
    x = x.detach().clone().requires_grad_(True)
    mean = sum(transform(x, k) for k in range(samples)) / samples
    loss = F.cross_entropy(model(mean), y, reduction="sum")
    return torch.autograd.grad(loss, x)[0]
""",
            "the mean picture",
        ),
        (
            "the mean logits",
            """
def eot_gradient(model, x, y, transform, samples):
    x = x.detach().clone().requires_grad_(True)
    logits = sum(model(transform(x, k)) for k in range(samples)) / samples
    loss = F.cross_entropy(logits, y, reduction="sum")
    return torch.autograd.grad(loss, x)[0]
""",
            "mean logits",
        ),
        (
            "the last draw",
            """
def eot_gradient(model, x, y, transform, samples):
    x = x.detach().clone().requires_grad_(True)
    for k in range(samples):
        loss = F.cross_entropy(model(transform(x, k)), y, reduction="sum")
        gradient = torch.autograd.grad(loss, x)[0]
    return gradient
""",
            "the last draw alone",
        ),
        (
            "one draw again and again",
            """
def eot_gradient(model, x, y, transform, samples):
    x = x.detach().clone().requires_grad_(True)
    total = torch.zeros_like(x)
    for _ in range(samples):
        loss = F.cross_entropy(model(transform(x, 0)), y, reduction="sum")
        total += torch.autograd.grad(loss, x)[0]
    return total / samples
""",
            "the first draw alone",
        ),
    ],
}
