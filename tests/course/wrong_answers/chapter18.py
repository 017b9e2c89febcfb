"""Answers to the exercises of chapter 18: wrong ones with what they are told, and right ones."""

PRELUDE = """
import torch
import torch.nn.functional as F


def phi(model, x):
    return F.normalize(model(x), dim=1)


def response(model, x, dx):
    return torch.stack([phi(model, x + step) - phi(model, x) for step in dx], 1)
"""

RIGHT = {
    "18.1": [
        (
            "entry by entry",
            """
def output_changes(p, classes, alpha, beta):
    dy = torch.empty(len(p), classes, classes)
    for i in range(len(p)):
        sign = 1 if p[i] else -1
        for j in range(classes):
            dy[i, j] = -sign * alpha
            dy[i, j, j] = sign * beta
    return dy
""",
        ),
    ],
    "18.2": [
        (
            "image by image",
            """
def fingerprint_loss(model, x, y, dx, dy):
    losses = []
    for image, label in zip(x, y):
        before = phi(model, image[None])
        after = phi(model, image + dx)
        losses.append((after - before - dy[:, label]).pow(2).sum())
    return torch.stack(losses).mean()
""",
        ),
    ],
    "18.3": [
        (
            "class by class, by cdist",
            """
def fingerprint_distances(model, x, dx, dy):
    total = 0
    for step, change in zip(dx, dy):
        total = total + torch.cdist(phi(model, x + step) - phi(model, x), change)
    return total / len(dx)
""",
        ),
        (
            "without a gradient",
            """
@torch.no_grad()
def fingerprint_distances(model, x, dx, dy):
    return (response(model, x, dx)[:, :, None] - dy).norm(dim=-1).mean(1)
""",
        ),
    ],
}


def loss(body: str) -> str:
    return f"\ndef fingerprint_loss(model, x, y, dx, dy):\n    {body}\n"


def distances(body: str) -> str:
    return f"\ndef fingerprint_distances(model, x, dx, dy):\n    {body}\n"


OWN = "r = response(model, x, dx) - dy[:, y].transpose(0, 1); "

WRONG = {
    "18.1": [
        (
            "the same sign everywhere",
            """
def output_changes(p, classes, alpha, beta):
    eye = torch.eye(classes)
    return (2 * p - 1)[:, None, None] * (beta * eye + alpha * (1 - eye))
""",
            "have the sign of the class's own",
        ),
        (
            "alpha and beta exchanged",
            """
def output_changes(p, classes, alpha, beta):
    eye = torch.eye(classes)
    return (2 * p - 1)[:, None, None] * (-alpha * eye + beta * (1 - eye))
""",
            "are exchanged",
        ),
        (
            "alpha and beta exchanged, the signs kept",
            """
def output_changes(p, classes, alpha, beta):
    eye = torch.eye(classes)
    return (2 * p - 1)[:, None, None] * (alpha * eye - beta * (1 - eye))
""",
            "are exchanged",
        ),
        (
            "p in place of 2p - 1",
            """
def output_changes(p, classes, alpha, beta):
    eye = torch.eye(classes)
    return p[:, None, None] * (beta * eye - alpha * (1 - eye))
""",
            "where p is 0 the change is 0",
        ),
        (
            "1 - 2p",
            """
def output_changes(p, classes, alpha, beta):
    eye = torch.eye(classes)
    return (1 - 2 * p)[:, None, None] * (beta * eye - alpha * (1 - eye))
""",
            "the wrong way round",
        ),
        (
            "forgets the coin",
            """
def output_changes(p, classes, alpha, beta):
    eye = torch.eye(classes)
    return (beta * eye - alpha * (1 - eye)).repeat(len(p), 1, 1)
""",
            "the coin does nothing",
        ),
        (
            "minus alpha on the diagonal as well",
            """
def output_changes(p, classes, alpha, beta):
    return (2 * p - 1)[:, None, None] * (beta * torch.eye(classes) - alpha)
""",
            "α is subtracted from β",
        ),
        (
            "one class only",
            """
def output_changes(p, classes, alpha, beta):
    dy = torch.full((len(p), classes), -alpha)
    dy[:, 0] = beta
    return (2 * p - 1)[:, None] * dy
""",
            "shape (7, 4)",
        ),
    ],
    "18.2": [
        ("sums over images", loss(OWN + "return r.square().sum()"), "the sum over the images"),
        (
            "a mean over fingerprints",
            loss(OWN + "return r.square().sum(2).mean()"),
            "the mean over the fingerprints",
        ),
        ("a mean of everything", loss(OWN + "return r.square().mean()"), "mean of all the squares"),
        (
            "does not square",
            loss(OWN + "return r.norm(dim=2).sum(1).mean()"),
            "lengths are not squared",
        ),
        (
            "one loss for each image",
            loss(OWN + "return r.square().sum((1, 2))"),
            "one for each image",
        ),
        (
            "cut from the graph",
            loss(OWN + "return r.square().sum((1, 2)).mean().detach()"),
            "no gradient leads from the loss",
        ),
        (
            "the image itself held fixed",
            """
def fingerprint_loss(model, x, y, dx, dy):
    before = phi(model, x).detach()
    r = torch.stack([phi(model, x + step) - before for step in dx], 1)
    return (r - dy[:, y].transpose(0, 1)).square().sum((1, 2)).mean()
""",
            "the gradient in the weights",
        ),
        (
            "the predicted class",
            """
def fingerprint_loss(model, x, y, dx, dy):
    r = response(model, x, dx) - dy[:, model(x).argmax(1)].transpose(0, 1)
    return r.square().sum((1, 2)).mean()
""",
            "the network predicts",
        ),
        (
            "the logits as they are",
            """
def fingerprint_loss(model, x, y, dx, dy):
    r = torch.stack([model(x + step) - model(x) for step in dx], 1)
    return (r - dy[:, y].transpose(0, 1)).square().sum((1, 2)).mean()
""",
            "the logits as they are",
        ),
        (
            "the difference normalized",
            """
def fingerprint_loss(model, x, y, dx, dy):
    r = torch.stack([F.normalize(model(x + step) - model(x), dim=1) for step in dx], 1)
    return (r - dy[:, y].transpose(0, 1)).square().sum((1, 2)).mean()
""",
            "the difference was normalized",
        ),
        (
            "normalized over the batch",
            """
def fingerprint_loss(model, x, y, dx, dy):
    before = F.normalize(model(x), dim=0)
    r = torch.stack([F.normalize(model(x + step), dim=0) - before for step in dx], 1)
    return (r - dy[:, y].transpose(0, 1)).square().sum((1, 2)).mean()
""",
            "over the batch",
        ),
        (
            "nothing subtracted",
            """
def fingerprint_loss(model, x, y, dx, dy):
    r = torch.stack([phi(model, x + step) for step in dx], 1)
    return (r - dy[:, y].transpose(0, 1)).square().sum((1, 2)).mean()
""",
            "was not subtracted",
        ),
        (
            "backward, and the graph is gone",
            loss(OWN + "l = r.square().sum((1, 2)).mean(); l.backward(); return l"),
            ".grad",
        ),
        (
            "the column in place of the row",
            """
def fingerprint_loss(model, x, y, dx, dy):
    r = response(model, x, dx) - dy[:, :, y].permute(2, 0, 1)
    return r.square().sum((1, 2)).mean()
""",
            "axes of dy are exchanged",
        ),
        (
            "the nearest class",
            """
def fingerprint_loss(model, x, y, dx, dy):
    r = response(model, x, dx)[:, :, None] - dy
    return r.square().sum((1, 3)).min(1).values.mean()
""",
            "the nearest class",
        ),
        (
            "backward on the way",
            loss(
                OWN + "l = r.square().sum((1, 2)).mean(); l.backward(retain_graph=True); return l"
            ),
            ".grad",
        ),
    ],
    "18.3": [
        (
            "squared",
            distances("return (response(model, x, dx)[:, :, None] - dy).square().sum(3).mean(1)"),
            "the lengths are squared",
        ),
        (
            "a sum over fingerprints",
            distances("return (response(model, x, dx)[:, :, None] - dy).norm(dim=3).sum(1)"),
            "the sum over the fingerprints",
        ),
        (
            "the least class already",
            distances(
                "return (response(model, x, dx)[:, :, None] - dy).norm(dim=3).mean(1).amin(1)"
            ),
            "one number for each image",
        ),
        (
            "the root of the mean square",
            distances(
                "return (response(model, x, dx)[:, :, None] - dy).square().sum(3).mean(1).sqrt()"
            ),
            "root of the mean of the squares",
        ),
        (
            "the mean before the length",
            distances("return (response(model, x, dx)[:, :, None] - dy).mean(1).norm(dim=2)"),
            "the length of the mean",
        ),
        (
            "the length over classes",
            distances("return (response(model, x, dx)[:, :, None] - dy).norm(dim=2).mean(1)"),
            "taken over the classes",
        ),
        (
            "the response on the axis of the classes",
            distances("return (response(model, x, dx)[:, :, :, None] - dy).norm(dim=3).mean(1)"),
            "along the axis of the classes",
        ),
        (
            "the rows of dy turned",
            distances(
                "return (response(model, x, dx)[:, :, None] - dy.transpose(1, 2))"
                ".norm(dim=3).mean(1)"
            ),
            "axes of dy are exchanged",
        ),
        (
            "the moved image clipped",
            """
def fingerprint_distances(model, x, dx, dy):
    r = torch.stack([phi(model, (x + step).clamp(0, 1)) - phi(model, x) for step in dx], 1)
    return (r[:, :, None] - dy).norm(dim=3).mean(1)
""",
            "clipped to [0, 1]",
        ),
        (
            "before minus after",
            distances("return (-response(model, x, dx)[:, :, None] - dy).norm(dim=3).mean(1)"),
            "the wrong sign",
        ),
        (
            "the logits as they are",
            """
def fingerprint_distances(model, x, dx, dy):
    r = torch.stack([model(x + step) - model(x) for step in dx], 1)
    return (r[:, :, None] - dy).norm(dim=3).mean(1)
""",
            "the logits as they are",
        ),
        (
            "classes first",
            distances("return (response(model, x, dx)[:, :, None] - dy).norm(dim=3).mean(1).T"),
            "shape",
        ),
    ],
}
