"""Answers to the exercises of chapter 7: wrong ones with what they must be told, and right ones."""

PRELUDE = """
import torch


def jacobian(model, image):
    image = image.detach().clone().requires_grad_(True)
    logits = model(image)[0]
    rows = [torch.autograd.grad(z, image, retain_graph=True)[0].flatten() for z in logits]
    return torch.stack(rows)


def saliency(jacobian, target):
    alpha = jacobian[target]
    beta = jacobian.sum(0) - alpha
    return torch.where((alpha > 0) & (beta < 0), -alpha * beta, 0 * alpha)
"""

RIGHT = {
    "7.1": [
        (
            "a loop over pixels",
            """
def saliency(jacobian, target):
    out = torch.zeros(jacobian.shape[1])
    for i in range(jacobian.shape[1]):
        a = jacobian[target, i]
        b = sum(jacobian[j, i] for j in range(len(jacobian)) if j != target)
        if a > 0 and b < 0:
            out[i] = a * abs(b)
    return out
""",
        ),
    ],
    "7.2": [
        (
            "a mask of used pixels and a while",
            """
def few_pixels(model, image, target, budget):
    out, used = image.clone(), 0
    while used < budget and model(out).argmax().item() != target:
        s = saliency(jacobian(model, out), target)
        s[out.flatten() >= 0.99] = 0
        if s.sum() == 0:
            return out
        out = out.flatten().index_fill(0, s.argmax(), 1.0).view_as(image)
        used += 1
    return out
""",
        ),
    ],
    "7.3": [
        (
            "two loops",
            """
def best_pair(alpha, beta, allowed):
    best, found = 0, None
    for p in range(len(alpha)):
        for q in range(p + 1, len(alpha)):
            a, b = alpha[p] + alpha[q], beta[p] + beta[q]
            if allowed[p] and allowed[q] and a > 0 and b < 0 and -a * b > best:
                best, found = -a * b, (p, q)
    return found
""",
        ),
    ],
}

WRONG = {
    "7.1": [
        (
            "the sum includes the target",
            """
def saliency(jacobian, target):
    alpha, beta = jacobian[target], jacobian.sum(0)
    return torch.where((alpha >= 0) & (beta <= 0), alpha * beta.abs(), 0 * alpha)
""",
            "the target's row included",
        ),
        (
            "no conditions",
            """
def saliency(jacobian, target):
    alpha = jacobian[target]
    return alpha * (jacobian.sum(0) - alpha).abs()
""",
            "fail a condition",
        ),
        (
            "only the first condition",
            """
def saliency(jacobian, target):
    alpha = jacobian[target]
    return alpha.clamp_min(0) * (jacobian.sum(0) - alpha).abs()
""",
            "where the other classes gain",
        ),
        (
            "only the second condition",
            """
def saliency(jacobian, target):
    alpha = jacobian[target]
    return alpha * (alpha - jacobian.sum(0)).clamp_min(0)
""",
            "where the wanted class loses",
        ),
        (
            "one condition is enough",
            """
def saliency(jacobian, target):
    alpha = jacobian[target]
    beta = jacobian.sum(0) - alpha
    return torch.where((alpha < 0) & (beta > 0), 0 * alpha, alpha * beta.abs())
""",
            "only where both conditions fail",
        ),
        (
            "for darker pixels",
            """
def saliency(jacobian, target):
    alpha = jacobian[target]
    beta = jacobian.sum(0) - alpha
    return torch.where((alpha < 0) & (beta > 0), -alpha * beta, 0 * alpha)
""",
            "get darker",
        ),
        (
            "forgets the absolute value",
            """
def saliency(jacobian, target):
    alpha = jacobian[target]
    beta = jacobian.sum(0) - alpha
    return torch.where((alpha > 0) & (beta < 0), alpha * beta, 0 * alpha)
""",
            "the map is negative",
        ),
        (
            "divides",
            """
def saliency(jacobian, target):
    alpha = jacobian[target]
    beta = jacobian.sum(0) - alpha
    return torch.where((alpha > 0) & (beta < 0), alpha / beta.abs(), 0 * alpha)
""",
            "divided by",
        ),
        (
            "one row too many",
            """
def saliency(jacobian, target):
    alpha = jacobian[target : target + 1]
    beta = jacobian.sum(0) - alpha
    return torch.where((alpha > 0) & (beta < 0), -alpha * beta, 0 * alpha)
""",
            "shape",
        ),
    ],
    "7.2": [
        (
            "does not leave out bright pixels",
            """
def few_pixels(model, image, target, budget):
    out = image.clone()
    for _ in range(budget):
        if model(out).argmax().item() == target:
            break
        s = saliency(jacobian(model, out), target) * (out.flatten() < 1)
        if s.max() == 0:
            break
        out.view(-1)[s.argmax()] = 1.0
    return out
""",
            "without room",
        ),
        (
            "the original where it fails",
            """
def few_pixels(model, image, target, budget):
    out = image.clone()
    for _ in range(budget):
        if model(out).argmax().item() == target:
            return out
        s = saliency(jacobian(model, out), target) * (out.flatten() < 0.99)
        if s.max() == 0:
            return image.clone()
        out.view(-1)[s.argmax()] = 1.0
    return out if model(out).argmax().item() == target else image.clone()
""",
            "as far as it came",
        ),
        (
            "one map for all pixels",
            """
def few_pixels(model, image, target, budget):
    out = image.clone()
    s = saliency(jacobian(model, out), target) * (out.flatten() < 0.99)
    for i in s.argsort(descending=True)[:budget].tolist():
        if model(out).argmax().item() == target or s[i] == 0:
            break
        out.view(-1)[i] = 1.0
    return out
""",
            "the first map alone",
        ),
        (
            "never asks whether it is there",
            """
def few_pixels(model, image, target, budget):
    out = image.clone()
    for _ in range(budget):
        s = saliency(jacobian(model, out), target) * (out.flatten() < 0.99)
        if s.max() == 0:
            break
        out.view(-1)[s.argmax()] = 1.0
    return out
""",
            "read as the target already",
        ),
        (
            "asks after the pixel",
            """
def few_pixels(model, image, target, budget):
    out = image.clone()
    for _ in range(budget):
        s = saliency(jacobian(model, out), target) * (out.flatten() < 0.99)
        if s.max() == 0:
            break
        out.view(-1)[s.argmax()] = 1.0
        if model(out).argmax().item() == target:
            break
    return out
""",
            "before the first pixel, or after",
        ),
        (
            "writes into the caller's image",
            """
def few_pixels(model, image, target, budget):
    for _ in range(budget):
        if model(image).argmax().item() == target:
            break
        s = saliency(jacobian(model, image), target) * (image.flatten() < 0.99)
        if s.max() == 0:
            break
        image.view(-1)[s.argmax()] = 1.0
    return image
""",
            "changed x itself",
        ),
        (
            "a small step for each pixel",
            """
def few_pixels(model, image, target, budget):
    out = image.clone()
    for _ in range(budget):
        if model(out).argmax().item() == target:
            break
        s = saliency(jacobian(model, out), target) * (out.flatten() < 0.99)
        if s.max() == 0:
            break
        i = s.argmax()
        out.view(-1)[i] = (out.view(-1)[i] + 0.1).clamp(max=1)
    return out
""",
            "not at 1",
        ),
        (
            "one pixel and out",
            """
def few_pixels(model, image, target, budget):
    out = image.clone()
    if model(out).argmax().item() != target:
        s = saliency(jacobian(model, out), target) * (out.flatten() < 0.99)
        if s.max() > 0:
            out.view(-1)[s.argmax()] = 1.0
    return out
""",
            "stopped after 1 of",
        ),
    ],
    "7.3": [
        (
            "pairs a pixel with itself",
            """
def best_pair(alpha, beta, allowed):
    a = alpha[:, None] + alpha[None, :]
    b = beta[:, None] + beta[None, :]
    ok = (a > 0) & (b < 0) & allowed[:, None] & allowed[None, :]
    if not ok.any():
        return None
    k = torch.where(ok, -a * b, -torch.inf).argmax().item()
    return divmod(k, len(alpha))
""",
            "paired with itself",
        ),
        (
            "adds the products",
            """
def best_pair(alpha, beta, allowed):
    a = alpha[:, None] + alpha[None, :]
    b = beta[:, None] + beta[None, :]
    ok = ((a > 0) & (b < 0) & allowed[:, None] & allowed[None, :]).triu(1)
    if not ok.any():
        return None
    s = -alpha * beta
    k = torch.where(ok, s[:, None] + s[None, :], -torch.inf).argmax().item()
    return divmod(k, len(alpha))
""",
            "larger product",
        ),
        (
            "no conditions",
            """
def best_pair(alpha, beta, allowed):
    s = -(alpha[:, None] + alpha) * (beta[:, None] + beta)
    ok = (allowed[:, None] & allowed).triu(1)
    return divmod(torch.where(ok, s, -torch.inf).argmax().item(), len(alpha))
""",
            "does not pass",
        ),
        (
            "ignores the mask",
            """
def best_pair(alpha, beta, allowed):
    a = alpha[:, None] + alpha[None, :]
    b = beta[:, None] + beta[None, :]
    ok = ((a > 0) & (b < 0)).triu(1)
    if not ok.any():
        return None
    return divmod(torch.where(ok, -a * b, -torch.inf).argmax().item(), len(alpha))
""",
            "may not be used",
        ),
        (
            "a tensor of indices",
            """
def best_pair(alpha, beta, allowed):
    a = alpha[:, None] + alpha[None, :]
    b = beta[:, None] + beta[None, :]
    ok = ((a > 0) & (b < 0) & allowed[:, None] & allowed[None, :]).triu(1)
    if not ok.any():
        return None
    k = torch.where(ok, -a * b, -torch.inf).argmax()
    return torch.stack([k // len(alpha), k % len(alpha)])
""",
            "tuple of two ints",
        ),
        (
            "never None",
            """
def best_pair(alpha, beta, allowed):
    a = alpha[:, None] + alpha[None, :]
    b = beta[:, None] + beta[None, :]
    ok = ((a > 0) & (b < 0) & allowed[:, None] & allowed[None, :]).triu(1)
    return divmod(torch.where(ok, -a * b, -torch.inf).argmax().item(), len(alpha))
""",
            "Return None",
        ),
    ],
}
