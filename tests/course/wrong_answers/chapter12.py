"""Answers to the exercises of chapter 12: wrong ones with what they are told, and right ones."""

PRELUDE = """
import math

import torch
import torch.nn.functional as F
"""

RIGHT = {
    "12.1": [
        (
            "attack by attack, image by image",
            """
def worst_case(clean, after, inside):
    standing = clean.clone()
    for right, near in zip(after, inside):
        standing = standing & ~(near & ~right)
    return standing.sum().item() / len(clean)
""",
        ),
    ],
    "12.2": [
        (
            "image by image, by the sum of absolute values",
            """
def zero_gradient(model, x, y):
    flat = []
    for image, label in zip(x, y):
        z = image[None].clone().requires_grad_()
        logits = model(z)
        if logits.argmax().item() != label.item():
            continue
        loss = -logits.log_softmax(1)[0, label]
        if not loss.requires_grad:
            flat.append(1.0)
            continue
        g = torch.autograd.grad(loss, z)[0]
        flat.append(float(g.abs().max() == 0))
    return sum(flat) / max(len(flat), 1)
""",
        ),
    ],
    "12.3": [
        (
            "one minus the other tail",
            """
def sign_test(a, b):
    m, n = (a & ~b).sum().item(), (a ^ b).sum().item()
    return 1 - sum(math.comb(n, k) for k in range(m)) / 2**n
""",
        ),
    ],
}

WRONG = {
    "12.1": [
        (
            "the strongest attack",
            """
def worst_case(clean, after, inside):
    after = after | ~inside
    rows = torch.cat([clean[None], clean & after])
    return rows.float().mean(1).min().item()
""",
            "lowest accuracy under one attack",
        ),
        (
            "forgets the clean answers",
            """
def worst_case(clean, after, inside):
    return (after | ~inside).all(0).float().mean().item()
""",
            "wrong before the attack counts as right",
        ),
        (
            "a mean",
            """
def worst_case(clean, after, inside):
    return (clean & (after | ~inside)).float().mean().item()
""",
            "mean over the attacks",
        ),
        (
            "any in place of all",
            """
def worst_case(clean, after, inside):
    return (clean & (after | ~inside).any(0)).float().mean().item()
""",
            "if any attack fails on it",
        ),
        (
            "of those that were right",
            """
def worst_case(clean, after, inside):
    return (after | ~inside).all(0)[clean].float().mean().item()
""",
            "share of the images that were right before",
        ),
        (
            "forgets the ball",
            """
def worst_case(clean, after, inside):
    return (clean & after.all(0)).float().mean().item()
""",
            "that left the ball",
        ),
        (
            "outside counts as fooled",
            """
def worst_case(clean, after, inside):
    return (clean & (after & inside).all(0)).float().mean().item()
""",
            "even where it is right",
        ),
        (
            "breaks with no attack",
            """
def worst_case(clean, after, inside):
    fooled = (inside & ~after).int().sum(0)
    return (clean & (fooled == 0)).float().mean().item() if len(after) else 1.0
""",
            "with no attack at all",
        ),
        (
            "drops an attack of which one image left the ball",
            """
def worst_case(clean, after, inside):
    return (clean & after[inside.all(1)].all(0)).float().mean().item()
""",
            "a whole attack is dropped",
        ),
        (
            "drops an image that one attack moved out of the ball",
            """
def worst_case(clean, after, inside):
    return (clean & after.all(0))[inside.all(0)].float().mean().item()
""",
            "an image is dropped",
        ),
    ],
    "12.2": [
        (
            "forgets requires_grad on the copy",
            """
def zero_gradient(model, x, y):
    loss = F.cross_entropy(model(x), y, reduction="sum")
    return (torch.autograd.grad(loss, x)[0] == 0).flatten(1).all(1).float().mean().item()
""",
            "the tensors that ask for it",
        ),
        (
            "breaks where the graph is cut",
            """
def zero_gradient(model, x, y):
    z = x.clone().requires_grad_()
    logits = model(z)
    g = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), z)[0]
    return (g == 0).flatten(1).all(1)[logits.argmax(1) == y].float().mean().item()
""",
            "requires_grad",
        ),
        (
            "counts wrong images, too",
            """
def zero_gradient(model, x, y):
    z = x.clone().requires_grad_()
    loss = F.cross_entropy(model(z), y, reduction="sum")
    if not loss.requires_grad:
        return 1.0
    g = torch.autograd.grad(loss, z)[0]
    return (g == 0).flatten(1).all(1).float().mean().item()
""",
            "wrong are counted, too",
        ),
        (
            "counts pixels",
            """
def zero_gradient(model, x, y):
    z = x.clone().requires_grad_()
    logits = model(z)
    loss = F.cross_entropy(logits, y, reduction="sum")
    if not loss.requires_grad:
        return 1.0
    g = torch.autograd.grad(loss, z)[0]
    return (g == 0)[logits.argmax(1) == y].float().mean().item()
""",
            "counts pixels",
        ),
        (
            "one flat pixel is enough",
            """
def zero_gradient(model, x, y):
    z = x.clone().requires_grad_()
    logits = model(z)
    loss = F.cross_entropy(logits, y, reduction="sum")
    if not loss.requires_grad:
        return 1.0
    g = torch.autograd.grad(loss, z)[0]
    return (g == 0).flatten(1).any(1)[logits.argmax(1) == y].float().mean().item()
""",
            "one flat pixel is enough",
        ),
        (
            "nearly zero",
            """
def zero_gradient(model, x, y):
    z = x.clone().requires_grad_()
    logits = model(z)
    loss = F.cross_entropy(logits, y, reduction="sum")
    if not loss.requires_grad:
        return 1.0
    g = torch.autograd.grad(loss, z)[0]
    return (g.abs() < 1e-3).flatten(1).all(1)[logits.argmax(1) == y].float().mean().item()
""",
            "Exactly zero",
        ),
        (
            "no norm",
            """
def zero_gradient(model, x, y):
    z = x.clone().requires_grad_()
    logits = model(z)
    loss = F.cross_entropy(logits, y, reduction="sum")
    if not loss.requires_grad:
        return 1.0
    g = torch.autograd.grad(loss, z)[0].flatten(1)
    right = logits.argmax(1) == y
    flat = g.norm(dim=1) == 0
    return (flat & right).sum().item() / max(right.sum().item(), 1)
""",
            "near 1e-30",
        ),
        (
            "the sum is zero",
            """
def zero_gradient(model, x, y):
    z = x.clone().requires_grad_()
    logits = model(z)
    loss = F.cross_entropy(logits, y, reduction="sum")
    if not loss.requires_grad:
        return 1.0
    g = torch.autograd.grad(loss, z)[0].flatten(1)
    right = logits.argmax(1) == y
    flat = g.sum(1) == 0
    return (flat & right).sum().item() / max(right.sum().item(), 1)
""",
            "entries cancel",
        ),
        (
            "a small tolerance",
            """
def zero_gradient(model, x, y):
    z = x.clone().requires_grad_()
    logits = model(z)
    loss = F.cross_entropy(logits, y, reduction="sum")
    if not loss.requires_grad:
        return 1.0
    g = torch.autograd.grad(loss, z)[0].flatten(1)
    right = logits.argmax(1) == y
    flat = (g.abs() < 1e-25).all(1)
    return (flat & right).sum().item() / max(right.sum().item(), 1)
""",
            "near 1e-30",
        ),
        (
            "leaves the model in another mode",
            """
def zero_gradient(model, x, y):
    model.eval()
    z = x.clone().requires_grad_()
    logits = model(z)
    loss = F.cross_entropy(logits, y, reduction="sum")
    if not loss.requires_grad:
        return 1.0
    g = torch.autograd.grad(loss, z)[0].flatten(1)
    right = logits.argmax(1) == y
    flat = (g == 0).all(1)
    return (flat & right).sum().item() / max(right.sum().item(), 1)
""",
            "between train() and eval()",
        ),
        (
            "0 / 0",
            """
def zero_gradient(model, x, y):
    z = x.clone().requires_grad_()
    logits = model(z)
    loss = F.cross_entropy(logits, y, reduction="sum")
    if not loss.requires_grad:
        return 1.0
    g = torch.autograd.grad(loss, z)[0].flatten(1)
    right = logits.argmax(1) == y
    return (g == 0).all(1)[right].float().mean().item()
""",
            "where no image is right is nan",
        ),
        (
            "one where no image is right",
            """
def zero_gradient(model, x, y):
    z = x.clone().requires_grad_()
    logits = model(z)
    loss = F.cross_entropy(logits, y, reduction="sum")
    if not loss.requires_grad:
        return 1.0
    g = torch.autograd.grad(loss, z)[0].flatten(1)
    right = logits.argmax(1) == y
    return (g == 0).all(1)[right].float().mean().item() if right.any() else 1.0
""",
            "where no image is right is 1.000",
        ),
    ],
    "12.3": [
        (
            "leaves out the number itself",
            """
def sign_test(a, b):
    m, n = (a & ~b).sum().item(), (a ^ b).sum().item()
    return sum(math.comb(n, k) for k in range(m + 1, n + 1)) / 2**n if n else 1.0
""",
            "left out of the sum",
        ),
        (
            "the other way round",
            """
def sign_test(a, b):
    m, n = (b & ~a).sum().item(), (a ^ b).sum().item()
    return sum(math.comb(n, k) for k in range(m, n + 1)) / 2**n
""",
            "whether the second is stronger",
        ),
        (
            "all that fall",
            """
def sign_test(a, b):
    m, n = a.sum().item(), a.sum().item() + b.sum().item()
    return sum(math.comb(n, k) for k in range(m, n + 1)) / 2**n
""",
            "both attacks fool are counted",
        ),
        (
            "all images are tosses",
            """
def sign_test(a, b):
    m, n = (a & ~b).sum().item(), len(a)
    return sum(math.comb(n, k) for k in range(m, n + 1)) / 2**n
""",
            "are tosses of the coin, too",
        ),
        (
            "just this number",
            """
def sign_test(a, b):
    m, n = (a & ~b).sum().item(), (a ^ b).sum().item()
    return math.comb(n, m) / 2**n
""",
            "just this number",
        ),
        (
            "the last k is left out",
            """
def sign_test(a, b):
    m, n = (a & ~b).sum().item(), (a ^ b).sum().item()
    return sum(math.comb(n, k) for k in range(m, n)) / 2**n
""",
            "ends before n",
        ),
        (
            "counts all that the first fools",
            """
def sign_test(a, b):
    m, n = a.sum().item(), (a ^ b).sum().item()
    return sum(math.comb(n, k) for k in range(m, n + 1)) / 2**n
""",
            "both attacks fool are counted",
        ),
        (
            "both sides",
            """
def sign_test(a, b):
    m, n = (a & ~b).sum().item(), (a ^ b).sum().item()
    more = max(m, n - m)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(more, n + 1)) / 2**n)
""",
            "test of both sides",
        ),
        (
            "zero where no image tells them apart",
            """
def sign_test(a, b):
    m, n = (a & ~b).sum().item(), (a ^ b).sum().item()
    return sum(math.comb(n, k) for k in range(m, n + 1)) / 2**n if n else 0.0
""",
            "no image tells the two apart",
        ),
    ],
}
