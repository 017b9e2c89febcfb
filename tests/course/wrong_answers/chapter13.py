"""Answers to the exercises of chapter 13: wrong ones with what they are told, and right ones."""

PRELUDE = """
import torch
import torch.nn.functional as F


def input_gradient(model, x, y):
    x = x.detach().clone().requires_grad_(True)
    loss = F.cross_entropy(model(x), y, reduction="sum")
    return torch.autograd.grad(loss, x)[0]


def attacked(model, x, y, eps):
    return (x + eps * input_gradient(model, x, y).sign()).clamp(0, 1)
"""

RIGHT = {
    "13.1": [
        (
            "with the package's attack, in one mean over weighted losses",
            """
from advlab import attacks
def mixed_loss(model, x, y, eps, alpha):
    x_adv = attacks.FGSM(eps=eps)(model, x, model(x).argmax(1))
    losses = F.cross_entropy(model(torch.cat([x, x_adv])), torch.cat([y, y]), reduction="none")
    return torch.lerp(losses[len(x):].mean(), losses[:len(x)].mean(), alpha)
""",
        ),
        (
            "attacks in evaluation mode and puts the mode back",
            """
def mixed_loss(model, x, y, eps, alpha):
    was = model.training
    model.eval()
    x_adv = attacked(model, x, model(x).argmax(1), eps)
    model.train(was)
    return alpha * F.cross_entropy(model(x), y) + (1 - alpha) * F.cross_entropy(model(x_adv), y)
""",
        ),
    ],
    "13.2": [
        (
            "bounds that are found once",
            """
def inner_maximum(model, x, y, start, eps, alpha, steps):
    was, low, high = model.training, (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    model.eval()
    z = start
    for _ in range(steps):
        z = torch.clamp(z + alpha * torch.sign(input_gradient(model, z, y)), low, high)
    model.train(was)
    return z
""",
        ),
    ],
    "13.3": [
        (
            "a vector of weights",
            """
def weighted_loss(logits, y, k, lam):
    w = torch.tensor([lam] * k + [1.0] * (len(y) - k), dtype=logits.dtype)
    return (w * F.cross_entropy(logits, y, reduction="none")).sum() / w.sum()
""",
        ),
    ],
}

WRONG = {
    "13.1": [
        (
            "the true label in the attack",
            """
def mixed_loss(model, x, y, eps, alpha):
    x_adv = attacked(model, x, y, eps)
    return alpha * F.cross_entropy(model(x), y) + (1 - alpha) * F.cross_entropy(model(x_adv), y)
""",
            "the attack used the true labels",
        ),
        (
            "the predicted label everywhere",
            """
def mixed_loss(model, x, y, eps, alpha):
    y = model(x).argmax(1)
    x_adv = attacked(model, x, y, eps)
    return alpha * F.cross_entropy(model(x), y) + (1 - alpha) * F.cross_entropy(model(x_adv), y)
""",
            "compare with what the model says",
        ),
        (
            "the predicted label on the attacked images",
            """
def mixed_loss(model, x, y, eps, alpha):
    said = model(x).argmax(1)
    x_adv = attacked(model, x, said, eps)
    return alpha * F.cross_entropy(model(x), y) + (1 - alpha) * F.cross_entropy(model(x_adv), said)
""",
            "the loss on the attacked images compares",
        ),
        (
            "leaves the model in evaluation mode",
            """
def mixed_loss(model, x, y, eps, alpha):
    model.eval()
    x_adv = attacked(model, x, model(x).argmax(1), eps)
    return alpha * F.cross_entropy(model(x), y) + (1 - alpha) * F.cross_entropy(model(x_adv), y)
""",
            "came in training mode and went back in evaluation mode",
        ),
        (
            "leaves the model in training mode",
            """
def mixed_loss(model, x, y, eps, alpha):
    model.eval()
    x_adv = attacked(model, x, model(x).argmax(1), eps)
    model.train()
    return alpha * F.cross_entropy(model(x), y) + (1 - alpha) * F.cross_entropy(model(x_adv), y)
""",
            "came in evaluation mode and went back in training mode",
        ),
        (
            "the weights the other way round",
            """
def mixed_loss(model, x, y, eps, alpha):
    x_adv = attacked(model, x, model(x).argmax(1), eps)
    return (1 - alpha) * F.cross_entropy(model(x), y) + alpha * F.cross_entropy(model(x_adv), y)
""",
            "swapped",
        ),
        (
            "no weights",
            """
def mixed_loss(model, x, y, eps, alpha):
    x_adv = attacked(model, x, model(x).argmax(1), eps)
    return F.cross_entropy(model(x), y) + F.cross_entropy(model(x_adv), y)
""",
            "without weights",
        ),
        (
            "only the attacked images",
            """
def mixed_loss(model, x, y, eps, alpha):
    return F.cross_entropy(model(attacked(model, x, model(x).argmax(1), eps)), y)
""",
            "only the attacked images count",
        ),
        (
            "forgets to use what it made",
            """
def mixed_loss(model, x, y, eps, alpha):
    x_adv = attacked(model, x, model(x).argmax(1), eps)
    return alpha * F.cross_entropy(model(x), y) + (1 - alpha) * F.cross_entropy(model(x), y)
""",
            "no image was attacked",
        ),
        (
            "steps down the loss",
            """
def mixed_loss(model, x, y, eps, alpha):
    x_adv = attacked(model, x, model(x).argmax(1), -eps)
    return alpha * F.cross_entropy(model(x), y) + (1 - alpha) * F.cross_entropy(model(x_adv), y)
""",
            "lowers the loss",
        ),
        (
            "no clipping",
            """
def mixed_loss(model, x, y, eps, alpha):
    x_adv = x + eps * input_gradient(model, x, model(x).argmax(1)).sign()
    return alpha * F.cross_entropy(model(x), y) + (1 - alpha) * F.cross_entropy(model(x_adv), y)
""",
            "left [0, 1]",
        ),
        (
            "a number for each image",
            """
def mixed_loss(model, x, y, eps, alpha):
    x_adv = attacked(model, x, model(x).argmax(1), eps)
    a, b = (F.cross_entropy(model(z), y, reduction="none") for z in (x, x_adv))
    return alpha * a + (1 - alpha) * b
""",
            "an entry for each image",
        ),
        (
            "the sum",
            """
def mixed_loss(model, x, y, eps, alpha):
    x_adv = attacked(model, x, model(x).argmax(1), eps)
    a, b = (F.cross_entropy(model(z), y, reduction="sum") for z in (x, x_adv))
    return alpha * a + (1 - alpha) * b
""",
            "expected the mean",
        ),
        (
            "a Python number",
            """
def mixed_loss(model, x, y, eps, alpha):
    x_adv = attacked(model, x, model(x).argmax(1), eps)
    a, b = (F.cross_entropy(model(z), y).item() for z in (x, x_adv))
    return alpha * a + (1 - alpha) * b
""",
            "cut from the graph",
        ),
        (
            "half of it cut from the graph",
            """
def mixed_loss(model, x, y, eps, alpha):
    x_adv = attacked(model, x, model(x).argmax(1), eps)
    a, b = (F.cross_entropy(model(z), y) for z in (x, x_adv))
    return alpha * a + (1 - alpha) * b.detach()
""",
            "the slope of the loss in the weights",
        ),
        (
            "leaves gradients in the parameters",
            """
def mixed_loss(model, x, y, eps, alpha):
    z = x.clone().requires_grad_()
    F.cross_entropy(model(z), model(x).argmax(1)).backward()
    x_adv = (x + eps * z.grad.sign()).clamp(0, 1)
    return alpha * F.cross_entropy(model(x), y) + (1 - alpha) * F.cross_entropy(model(x_adv), y)
""",
            ".grad",
        ),
    ],
    "13.2": [
        (
            "attacks the model in training mode",
            """
def inner_maximum(model, x, y, start, eps, alpha, steps):
    z = start
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = (x + (z - x).clamp(-eps, eps)).clamp(0, 1)
    return z
""",
            "training mode while it was attacked",
        ),
        (
            "leaves the model in evaluation mode",
            """
def inner_maximum(model, x, y, start, eps, alpha, steps):
    model.eval()
    z = start
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = (x + (z - x).clamp(-eps, eps)).clamp(0, 1)
    return z
""",
            "came in training mode and went back in evaluation mode",
        ),
        (
            "leaves the model in training mode, whatever it came in",
            """
def inner_maximum(model, x, y, start, eps, alpha, steps):
    model.eval()
    z = start
    for _ in range(steps):
        z = z + alpha * input_gradient(model, z, y).sign()
        z = (x + (z - x).clamp(-eps, eps)).clamp(0, 1)
    model.train()
    return z
""",
            "came in evaluation mode and went back in training mode",
        ),
        *(
            (
                name,
                f"""
def inner_maximum(model, x, y, start, eps, alpha, steps):
    was = model.training
    model.eval()
    {begin}
    for _ in range({count}):
        {line}
    model.train(was)
    {end}
""",
                message,
            )
            for name, begin, count, line, end, message in (
                (
                    "no ball",
                    "z = start",
                    "steps",
                    "z = (z + alpha * input_gradient(model, z, y).sign()).clamp(0, 1)",
                    "return z",
                    "more than ε",
                ),
                (
                    "a ball around the last image",
                    "z = start",
                    "steps",
                    "z = (z + (alpha * input_gradient(model, z, y).sign()).clamp(-eps, eps))"
                    ".clamp(0, 1)",
                    "return z",
                    "more than ε",
                ),
                (
                    "a ball around the start",
                    "z = start",
                    "steps",
                    "z = (start + (z + alpha * input_gradient(model, z, y).sign() - start)"
                    ".clamp(-eps, eps)).clamp(0, 1)",
                    "return z",
                    "more than ε",
                ),
                (
                    "no box",
                    "z = start",
                    "steps",
                    "z = x + (z + alpha * input_gradient(model, z, y).sign() - x).clamp(-eps, eps)",
                    "return z",
                    "outside of [0, 1]",
                ),
                (
                    "begins at x",
                    "z = x",
                    "steps",
                    "z = (x + (z + alpha * input_gradient(model, z, y).sign() - x)"
                    ".clamp(-eps, eps)).clamp(0, 1)",
                    "return z",
                    "begins at x",
                ),
                (
                    "down the loss",
                    "z = start",
                    "steps",
                    "z = (x + (z - alpha * input_gradient(model, z, y).sign() - x)"
                    ".clamp(-eps, eps)).clamp(0, 1)",
                    "return z",
                    "the loss falls",
                ),
                (
                    "one gradient for all steps",
                    "z, g = start, input_gradient(model, start, y).sign()",
                    "steps",
                    "z = (x + (z + alpha * g - x).clamp(-eps, eps)).clamp(0, 1)",
                    "return z",
                    "follow the first gradient",
                ),
                (
                    "no sign",
                    "z = start",
                    "steps",
                    "z = (x + (z + alpha * input_gradient(model, z, y) - x)"
                    ".clamp(-eps, eps)).clamp(0, 1)",
                    "return z",
                    "along the slope itself",
                ),
                (
                    "no sign, and a mean loss",
                    "z = start",
                    "steps",
                    "z = (x + (z + alpha * input_gradient(model, z, y) / len(x) - x)"
                    ".clamp(-eps, eps)).clamp(0, 1)",
                    "return z",
                    "along the slope itself",
                ),
                (
                    "a step too few",
                    "z = start",
                    "1, steps",
                    "z = (x + (z + alpha * input_gradient(model, z, y).sign() - x)"
                    ".clamp(-eps, eps)).clamp(0, 1)",
                    "return z",
                    "too short",
                ),
                (
                    "projects at the end only",
                    "z = start",
                    "steps",
                    "z = z + alpha * input_gradient(model, z, y).sign()",
                    "return (x + (z - x).clamp(-eps, eps)).clamp(0, 1)",
                    "wait for the end",
                ),
                (
                    "does nothing",
                    "z = start.clone()",
                    "steps",
                    "pass",
                    "return z",
                    "come back as they were",
                ),
                (
                    "keeps the graph",
                    "z = start.clone().requires_grad_()",
                    "steps",
                    "z = (x + (z + alpha * torch.autograd.grad(F.cross_entropy(model(z), y), z)[0]"
                    ".sign() - x).clamp(-eps, eps)).clamp(0, 1)",
                    "return z",
                    "still requires a gradient",
                ),
            )
        ),
    ],
    "13.3": [
        *(
            (
                name,
                f"""
def weighted_loss(logits, y, k, lam):
    m = len(y)
    v = F.cross_entropy(logits, y, reduction="none")
    return {result}
""",
                message,
            )
            for name, result, message in (
                ("a plain sum", "v[k:].sum() + lam * v[:k].sum()", "is not divided"),
                ("divides by m", "(v[k:].sum() + lam * v[:k].sum()) / m", "the number of images"),
                ("λ below only", "v.sum() / (m - k + lam * k)", "but not above it"),
                (
                    "λ on the natural ones",
                    "(lam * v[k:].sum() + v[:k].sum()) / (lam * (m - k) + k)",
                    "λ weighs the natural images",
                ),
                (
                    "the last k",
                    "(v[: m - k].sum() + lam * v[m - k :].sum()) / (m - k + lam * k)",
                    "the last k rows",
                ),
                ("no λ", "v.mean()", "no effect"),
                (
                    "two means",
                    "(v[k:].mean() + lam * v[:k].mean()) / (1 + lam)",
                    "averaged by itself",
                ),
                (
                    "each mean times its count",
                    "((m - k) * v[k:].mean() + lam * k * v[:k].mean()) / (m - k + lam * k)",
                    "the loss at k = 0 is nan",
                ),
                (
                    "a Python number",
                    "((v[k:].sum() + lam * v[:k].sum()) / (m - k + lam * k)).item()",
                    "nothing can be trained on it",
                ),
                (
                    "cut from the graph",
                    "(v[k:].sum() + lam * v[:k].sum()).detach() / (m - k + lam * k)",
                    "nothing can be trained on it",
                ),
                (
                    "half of it cut from the graph",
                    "(v[k:].sum() + lam * v[:k].sum().detach()) / (m - k + lam * k)",
                    "the slope of the loss in the logits",
                ),
                (
                    "k in place of m − k",
                    "(v[k:].sum() + lam * v[:k].sum()) / (k + lam * (m - k) + 1e-9)",
                    "the loss of 12 images, 5 of them adversarial",
                ),
            )
        ),
        (
            "all the losses",
            """
def weighted_loss(logits, y, k, lam):
    return F.cross_entropy(logits, y, reduction="none")
""",
            "expected a number",
        ),
    ],
}
