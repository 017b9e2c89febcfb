"""Answers to the exercises of chapter 14: wrong ones, what they must be told, and right ones."""

PRELUDE = """
import torch
import torch.nn.functional as F
"""

RIGHT = {
    "14.1": [
        (
            "by two ReLUs",
            """
def bounded_relu(z, t):
    return z.relu() - (z - t).relu()
""",
        ),
        (
            "minimum and maximum",
            """
def bounded_relu(z, t):
    return torch.minimum(torch.relu(z), torch.tensor(t))
""",
        ),
    ],
    "14.2": [
        (
            "a loop over copies",
            """
def gda_batch(x, y, sigma, copies):
    images, labels = [x], [y]
    for _ in range(copies):
        images.append(torch.clip(x + torch.normal(0, sigma, x.shape), 0, 1))
        labels.append(y)
    return torch.cat(images), torch.cat(labels)
""",
        ),
    ],
    "14.3": [
        (
            "by the formula, written out",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p = model(x).softmax(1)
    q = model(x_noisy).softmax(1)
    distance = (p * torch.log(p / q)).sum(1).mean()
    return -torch.log(p[torch.arange(len(y)), y]).mean() + alpha * distance
""",
        ),
    ],
}

WRONG = {
    "14.1": [
        ("no bound", "def bounded_relu(z, t):\n    return z.relu()\n", "the plain ReLU"),
        ("only the bound", "def bounded_relu(z, t):\n    return z.clamp(max=t)\n", "below 0 pass"),
        ("symmetric", "def bounded_relu(z, t):\n    return z.clamp(-t, t)\n", "lower bound"),
        ("ReLU6", "def bounded_relu(z, t):\n    return F.relu6(z)\n", "another than the t"),
        ("scaled to 1", "def bounded_relu(z, t):\n    return z.clamp(0, t) / t\n", "end at 1"),
        (
            "zero beyond the bound",
            "def bounded_relu(z, t):\n    return torch.where(z < t, z.relu(), 0 * z)\n",
            "above t give 0",
        ),
        ("in place", "def bounded_relu(z, t):\n    return z.clamp_(0, t)\n", "changed z itself"),
        (
            "cut from the graph",
            "def bounded_relu(z, t):\n    return z.detach().clamp(0, t)\n",
            "no gradient can flow",
        ),
        (
            "a soft bound",
            "def bounded_relu(z, t):\n    return t * torch.sigmoid(z)\n",
            "what it should be",
        ),
        (
            "the gradient of the plain ReLU",
            """
def bounded_relu(z, t):
    out = z.relu()
    return out + (out.clamp(max=t) - out).detach()
""",
            "the slope",
        ),
        ("nothing", "def bounded_relu(z, t):\n    z.clamp(0, t)\n", "is None"),
    ],
    "14.2": [
        (
            "labels in blocks",
            """
def gda_batch(x, y, sigma, copies):
    noisy = x.repeat(copies, 1, 1, 1)
    noisy = (noisy + sigma * torch.randn_like(noisy)).clamp(0, 1)
    return torch.cat([x, noisy]), y.repeat_interleave(copies + 1)
""",
            "several times in a row",
        ),
        (
            "only the copies",
            """
def gda_batch(x, y, sigma, copies):
    noisy = x.repeat(copies, 1, 1, 1)
    return (noisy + sigma * torch.randn_like(noisy)).clamp(0, 1), y.repeat(copies)
""",
            "or one too few",
        ),
        (
            "noise on the clean images, too",
            """
def gda_batch(x, y, sigma, copies):
    noisy = x.repeat(copies + 1, 1, 1, 1)
    return (noisy + sigma * torch.randn_like(noisy)).clamp(0, 1), y.repeat(copies + 1)
""",
            "not those that were given",
        ),
        (
            "one draw for all copies",
            """
def gda_batch(x, y, sigma, copies):
    noisy = (x + sigma * torch.randn_like(x)).clamp(0, 1)
    return torch.cat([x, noisy.repeat(copies, 1, 1, 1)]), y.repeat(copies + 1)
""",
            "the same noise",
        ),
        (
            "one draw for all images",
            """
def gda_batch(x, y, sigma, copies):
    parts = [x] + [(x + sigma * torch.randn(x.shape[1:])).clamp(0, 1) for _ in range(copies)]
    return torch.cat(parts), y.repeat(copies + 1)
""",
            "all images get the same noise",
        ),
        (
            "one number an image",
            """
def gda_batch(x, y, sigma, copies):
    noisy = x.repeat(copies, 1, 1, 1)
    noisy = (noisy + sigma * torch.randn(len(noisy), 1, 1, 1)).clamp(0, 1)
    return torch.cat([x, noisy]), y.repeat(copies + 1)
""",
            "move by the same amount",
        ),
        (
            "uniform noise",
            """
def gda_batch(x, y, sigma, copies):
    noisy = x.repeat(copies, 1, 1, 1)
    noisy = (noisy + sigma * (2 * torch.rand_like(noisy) - 1)).clamp(0, 1)
    return torch.cat([x, noisy]), y.repeat(copies + 1)
""",
            "not Gaussian",
        ),
        (
            "sigma as a variance",
            """
def gda_batch(x, y, sigma, copies):
    noisy = x.repeat(copies, 1, 1, 1)
    noisy = (noisy + sigma**2 * torch.randn_like(noisy)).clamp(0, 1)
    return torch.cat([x, noisy]), y.repeat(copies + 1)
""",
            "standard deviation",
        ),
        (
            "no clipping",
            """
def gda_batch(x, y, sigma, copies):
    noisy = x.repeat(copies, 1, 1, 1)
    return torch.cat([x, noisy + sigma * torch.randn_like(noisy)]), y.repeat(copies + 1)
""",
            "[0, 1]",
        ),
        (
            "in place",
            """
def gda_batch(x, y, sigma, copies):
    clean = x.clone()
    parts = [x.add_(sigma * torch.randn_like(x)).clamp_(0, 1) for _ in range(copies)]
    return torch.cat([clean, *parts]), y.repeat(copies + 1)
""",
            "changed x itself",
        ),
        (
            "forgets the labels",
            """
def gda_batch(x, y, sigma, copies):
    noisy = x.repeat(copies, 1, 1, 1)
    return torch.cat([x, (noisy + sigma * torch.randn_like(noisy)).clamp(0, 1)])
""",
            "no pair",
        ),
        (
            "the copies image by image",
            """
def gda_batch(x, y, sigma, copies):
    noisy = x.repeat_interleave(copies, 0)
    noisy = (noisy + sigma * torch.randn_like(noisy)).clamp(0, 1)
    return torch.cat([x, noisy]), torch.cat([y, y.repeat_interleave(copies)])
""",
            "copies of the first image come first",
        ),
        (
            "the copies image by image, with labels for the whole batch again and again",
            """
def gda_batch(x, y, sigma, copies):
    noisy = x.repeat_interleave(copies, 0)
    noisy = (noisy + sigma * torch.randn_like(noisy)).clamp(0, 1)
    return torch.cat([x, noisy]), y.repeat(copies + 1)
""",
            "copies of the first image come first",
        ),
        (
            "a seed inside",
            """
def gda_batch(x, y, sigma, copies):
    torch.manual_seed(0)
    noisy = x.repeat(copies, 1, 1, 1)
    noisy = (noisy + sigma * torch.randn_like(noisy)).clamp(0, 1)
    return torch.cat([x, noisy]), y.repeat(copies + 1)
""",
            "a second call gives the same noise",
        ),
        (
            "no noise",
            """
def gda_batch(x, y, sigma, copies):
    return x.repeat(copies + 1, 1, 1, 1), y.repeat(copies + 1)
""",
            "images themselves",
        ),
    ],
    "14.3": [
        (
            "learns the copies",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    return F.cross_entropy(model(x), y) + alpha * F.cross_entropy(model(x_noisy), y)
""",
            "as GDA does",
        ),
        (
            "the KL the other way round",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).log_softmax(1), model(x_noisy).log_softmax(1)
    distance = F.kl_div(p, q, log_target=True, reduction="batchmean")
    return F.cross_entropy(model(x), y) + alpha * distance
""",
            "changed places",
        ),
        (
            "the mean over classes, too",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).log_softmax(1), model(x_noisy).log_softmax(1)
    distance = (p.exp() * (p - q)).mean()
    return F.cross_entropy(model(x), y) + alpha * distance
""",
            "for each class",
        ),
        (
            "a sum over the batch",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).log_softmax(1), model(x_noisy).log_softmax(1)
    return F.cross_entropy(model(x), y) + alpha * (p.exp() * (p - q)).sum()
""",
            "sum over the batch",
        ),
        (
            "the clean loss alone",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    return F.cross_entropy(model(x), y)
""",
            "clean images alone",
        ),
        (
            "the distance alone",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).log_softmax(1), model(x_noisy).log_softmax(1)
    return alpha * (p.exp() * (p - q)).sum(1).mean()
""",
            "the distance alone",
        ),
        (
            "no alpha",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).log_softmax(1), model(x_noisy).log_softmax(1)
    return F.cross_entropy(model(x), y) + (p.exp() * (p - q)).sum(1).mean()
""",
            "no effect",
        ),
        (
            "the cross-entropy of the noisy images",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).log_softmax(1), model(x_noisy).log_softmax(1)
    return F.nll_loss(q, y) + alpha * (p.exp() * (p - q)).sum(1).mean()
""",
            "belongs to the clean images",
        ),
        (
            "logits for the logarithms",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    a, b = model(x), model(x_noisy)
    distance = (a.softmax(1) * (a - b)).sum(1).mean()
    return F.cross_entropy(a, y) + alpha * distance
""",
            "the logits stand where",
        ),
        (
            "logits for the logarithms, and their exponential for p",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    a, b = model(x), model(x_noisy)
    return F.cross_entropy(a, y) + alpha * (a.exp() * (a - b)).sum(1).mean()
""",
            "the logits stand where",
        ),
        (
            "one minus alpha",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).log_softmax(1), model(x_noisy).log_softmax(1)
    return (1 - alpha) * F.nll_loss(p, y) + alpha * (p.exp() * (p - q)).sum(1).mean()
""",
            "multiplied by 1 − α",
        ),
        (
            "squared differences of the logits",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    a, b = model(x), model(x_noisy)
    return F.cross_entropy(a, y) + alpha * (a - b).square().sum(1).mean()
""",
            "squared",
        ),
        (
            "squared differences",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).softmax(1), model(x_noisy).softmax(1)
    return F.cross_entropy(model(x), y) + alpha * (p - q).square().sum(1).mean()
""",
            "squared",
        ),
        (
            "the cross-entropy of the two answers",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).softmax(1), model(x_noisy).log_softmax(1)
    return F.cross_entropy(model(x), y) - alpha * (p * q).sum(1).mean()
""",
            "not their KL",
        ),
        (
            "the clean answer detached",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).log_softmax(1).detach(), model(x_noisy).log_softmax(1)
    distance = F.kl_div(q, p, log_target=True, reduction="batchmean")
    return F.cross_entropy(model(x), y) + alpha * distance
""",
            "the gradient of the loss",
        ),
        (
            "a Python number",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).log_softmax(1), model(x_noisy).log_softmax(1)
    distance = F.kl_div(q, p, log_target=True, reduction="batchmean")
    return (F.cross_entropy(model(x), y) + alpha * distance).item()
""",
            "no gradient can flow",
        ),
        (
            "rewards the distance",
            """
def stability_loss(model, x, y, x_noisy, alpha):
    p, q = model(x).log_softmax(1), model(x_noisy).log_softmax(1)
    return F.cross_entropy(model(x), y) + alpha * (p.exp() * (q - p)).sum(1).mean()
""",
            "wrong sign",
        ),
    ],
}
