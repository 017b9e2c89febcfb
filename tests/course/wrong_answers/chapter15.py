"""Answers to the exercises of chapter 15: wrong ones with what they must be told, and right."""

PRELUDE = """
import torch
import torch.nn.functional as F
from torch import nn

from advlab import attacks, defenses, models


def soft_log_probabilities(logits, T):
    return (logits / T).log_softmax(1)


def sign_step(model, x, y, eps, loss):
    z = x.clone().requires_grad_()
    g, = torch.autograd.grad(loss(model(z), y), z)
    return (x + eps * g.sign()).clamp(0, 1)
"""

RIGHT = {
    "15.1": [
        (
            "logsumexp",
            """
def soft_log_probabilities(logits, T):
    z = logits / T
    return z - torch.logsumexp(z, dim=1, keepdim=True)
""",
        ),
        (
            "image by image, through a layer",
            """
def soft_log_probabilities(logits, T):
    z = defenses.Temperature(T)(logits)
    return torch.stack([row - row.max() - (row - row.max()).exp().sum().log() for row in z])
""",
        ),
    ],
    "15.2": [
        (
            "cross-entropy with probabilities",
            """
def student_loss(logits, teacher_logits, T):
    with torch.no_grad():
        p = (teacher_logits / T).softmax(1)
    return F.cross_entropy(logits / T, p)
""",
        ),
        (
            "image by image",
            """
def student_loss(logits, teacher_logits, T):
    total = 0
    for z, v in zip(logits, teacher_logits.detach()):
        total = total - ((v / T).softmax(0) * (z / T).log_softmax(0)).sum()
    return total / len(logits)
""",
        ),
    ],
    "15.3": [
        (
            "FGSM with the logits divided by 100",
            """
def break_it(model, x, y, eps):
    return attacks.FGSM(eps=eps)(nn.Sequential(model, defenses.Temperature(100.0)), x, y)
""",
        ),
        (
            "by hand, divided by their own spread",
            """
def break_it(model, x, y, eps):
    def loss(z, y):
        return F.cross_entropy(z / z.std(1, keepdim=True).detach(), y, reduction="sum")

    return sign_step(model, x, y, eps, loss)
""",
        ),
        (
            "the margin, by the package",
            """
def break_it(model, x, y, eps):
    return attacks.APGD(eps=eps, steps=10, loss="margin")(model, x, y)
""",
        ),
        (
            "without any gradient",
            """
def break_it(model, x, y, eps):
    return attacks.Square(eps=eps, queries=500)(model, x, y)
""",
        ),
    ],
}

WRONG = {
    "15.1": [
        (
            "the naive softmax, then the logarithm",
            """
def soft_log_probabilities(logits, T):
    p = (logits / T).exp()
    return (p / p.sum(1, keepdim=True)).log()
""",
            "infinite or NaN",
        ),
        (
            "the logarithm of a stable softmax",
            "def soft_log_probabilities(logits, T):\n    return (logits / T).softmax(1).log()\n",
            "infinite or NaN",
        ),
        (
            "a least probability",
            """
def soft_log_probabilities(logits, T):
    return (logits / T).softmax(1).clamp_min(1e-30).log()
""",
            "hides the zeros",
        ),
        (
            "the largest logit of the whole batch",
            """
def soft_log_probabilities(logits, T):
    z = (logits - logits.max()) / T
    return z - z.exp().sum(1, keepdim=True).log()
""",
            "infinite or NaN",
        ),
        (
            "probabilities",
            "def soft_log_probabilities(logits, T):\n    return (logits / T).softmax(1)\n",
            "these are the probabilities",
        ),
        (
            "multiplies",
            "def soft_log_probabilities(logits, T):\n    return (logits * T).log_softmax(1)\n",
            "multiplied by T",
        ),
        (
            "divides afterwards",
            "def soft_log_probabilities(logits, T):\n    return logits.log_softmax(1) / T\n",
            "no row sums to 1",
        ),
        (
            "divides the probabilities",
            """
def soft_log_probabilities(logits, T):
    return (logits.softmax(1) / T).log_softmax(1)
""",
            "second softmax",
        ),
        (
            "over the images",
            "def soft_log_probabilities(logits, T):\n    return (logits / T).log_softmax(0)\n",
            "over the images",
        ),
        (
            "over all entries",
            """
def soft_log_probabilities(logits, T):
    z = logits / T
    return z - z.logsumexp((0, 1))
""",
            "whole batch",
        ),
        (
            "forgets T",
            "def soft_log_probabilities(logits, T):\n    return logits.log_softmax(1)\n",
            "has no effect",
        ),
        (
            "forgets the sum",
            """
def soft_log_probabilities(logits, T):
    return (logits - logits.amax(1, keepdim=True)) / T
""",
            "nothing is normalized",
        ),
        (
            "forgets the maximum in the sum",
            """
def soft_log_probabilities(logits, T):
    z = logits / T
    return z - z.amax(1, keepdim=True) - z.exp().sum(1, keepdim=True).log()
""",
            "not inside it",
        ),
        (
            "in place",
            """
def soft_log_probabilities(logits, T):
    logits /= T
    return logits.log_softmax(1)
""",
            "changed logits itself",
        ),
        (
            "only the first class",
            """
def soft_log_probabilities(logits, T):
    return (logits / T).log_softmax(1).amax(1)
""",
            "shape (8,)",
        ),
        (
            "in place, only where an entry is large",
            """
def soft_log_probabilities(logits, T):
    if logits.max() > 100:
        logits -= logits.amax(1, keepdim=True)
    return (logits / T).log_softmax(1)
""",
            "changed logits itself",
        ),
        (
            "a constant too much",
            """
def soft_log_probabilities(logits, T):
    return (logits / T).log_softmax(1) + 0.01
""",
            "the result at T = 20[0, 0] is",
        ),
    ],
    "15.2": [
        (
            "the logarithm of the softmax",
            """
def student_loss(logits, teacher_logits, T):
    p = (teacher_logits.detach() / T).softmax(1)
    return -(p * (logits / T).softmax(1).log()).sum(1).mean()
""",
            "infinite or NaN",
        ),
        (
            "a small number in the logarithm",
            """
def student_loss(logits, teacher_logits, T):
    p = (teacher_logits.detach() / T).softmax(1)
    return -(p * ((logits / T).softmax(1) + 1e-12).log()).sum(1).mean()
""",
            "hides the zeros",
        ),
        (
            "the teacher learns, too",
            """
def student_loss(logits, teacher_logits, T):
    p = (teacher_logits / T).softmax(1)
    return -(p * soft_log_probabilities(logits, T)).sum(1).mean()
""",
            "reaches the teacher",
        ),
        (
            "hard labels",
            """
def student_loss(logits, teacher_logits, T):
    return F.cross_entropy(logits / T, teacher_logits.argmax(1))
""",
            "hard labels",
        ),
        (
            "the student at 1",
            """
def student_loss(logits, teacher_logits, T):
    return F.cross_entropy(logits, (teacher_logits.detach() / T).softmax(1))
""",
            "student answers at T = 1",
        ),
        (
            "the teacher at 1",
            """
def student_loss(logits, teacher_logits, T):
    return F.cross_entropy(logits / T, teacher_logits.detach().softmax(1))
""",
            "teacher answers at T = 1",
        ),
        (
            "both at 1",
            """
def student_loss(logits, teacher_logits, T):
    return F.cross_entropy(logits, teacher_logits.detach().softmax(1))
""",
            "has no effect",
        ),
        (
            "exchanged",
            """
def student_loss(logits, teacher_logits, T):
    q = (logits / T).softmax(1)
    return -(q * soft_log_probabilities(teacher_logits.detach(), T)).sum(1).mean()
""",
            "exchanged",
        ),
        (
            "a sum over the batch",
            """
def student_loss(logits, teacher_logits, T):
    p = soft_log_probabilities(teacher_logits.detach(), T).exp()
    return -(p * soft_log_probabilities(logits, T)).sum()
""",
            "summed over the images",
        ),
        (
            "the mean of all entries",
            """
def student_loss(logits, teacher_logits, T):
    p = soft_log_probabilities(teacher_logits.detach(), T).exp()
    return -(p * soft_log_probabilities(logits, T)).mean()
""",
            "images and classes",
        ),
        (
            "no mean",
            """
def student_loss(logits, teacher_logits, T):
    p = soft_log_probabilities(teacher_logits.detach(), T).exp()
    return -(p * soft_log_probabilities(logits, T)).sum(1)
""",
            "for each of the 12 images",
        ),
        (
            "the sign",
            """
def student_loss(logits, teacher_logits, T):
    p = soft_log_probabilities(teacher_logits.detach(), T).exp()
    return (p * soft_log_probabilities(logits, T)).sum(1).mean()
""",
            "wrong sign",
        ),
        (
            "the divergence",
            """
def student_loss(logits, teacher_logits, T):
    p = (teacher_logits.detach() / T).softmax(1)
    return F.kl_div((logits / T).log_softmax(1), p, reduction="batchmean")
""",
            "entropy",
        ),
        (
            "T squared",
            """
def student_loss(logits, teacher_logits, T):
    p = (teacher_logits.detach() / T).softmax(1)
    return T**2 * F.cross_entropy(logits / T, p)
""",
            "multiplied by T²",
        ),
        (
            "a Python number",
            """
def student_loss(logits, teacher_logits, T):
    p = (teacher_logits.detach() / T).softmax(1)
    return F.cross_entropy(logits / T, p).detach()
""",
            "cannot learn",
        ),
    ],
    "15.3": [
        (
            "plain FGSM",
            """
def break_it(model, x, y, eps):
    return attacks.FGSM(eps=eps)(model, x, y)
""",
            "come back as they were",
        ),
        (
            "FGSM by hand",
            """
def break_it(model, x, y, eps):
    return sign_step(model, x, y, eps, lambda z, y: F.cross_entropy(z, y, reduction="sum"))
""",
            "come back as they were",
        ),
        (
            "plain PGD, from a random start",
            """
def break_it(model, x, y, eps):
    return attacks.PGD(eps=eps, steps=10, seed=1)(model, x, y)
""",
            "no gradient leads them",
        ),
        (
            "divides the loss, which is zero already",
            """
def break_it(model, x, y, eps):
    return sign_step(
        model, x, y, eps, lambda z, y: F.cross_entropy(z, y, reduction="sum") * 1e6
    )
""",
            "come back as they were",
        ),
        (
            "divides the probabilities",
            """
def break_it(model, x, y, eps):
    return sign_step(
        model, x, y, eps, lambda z, y: -(z.softmax(1) / 100).gather(1, y[:, None]).sum()
    )
""",
            "come back as they were",
        ),
        (
            "the margin, with the wrong sign",
            """
def break_it(model, x, y, eps):
    def loss(z, y):
        others = z.scatter(1, y[:, None], -torch.inf).amax(1)
        return (z.gather(1, y[:, None])[:, 0] - others).sum()

    return sign_step(model, x, y, eps, loss)
""",
            "is the sign right?",
        ),
        (
            "twice the budget",
            """
def break_it(model, x, y, eps):
    return sign_step(model, x, y, 2 * eps, lambda z, y: F.cross_entropy(z / 100, y))
""",
            "it moves a pixel by",
        ),
        (
            "no clipping",
            """
def break_it(model, x, y, eps):
    z = x.clone().requires_grad_()
    g, = torch.autograd.grad(F.cross_entropy(model(z) / 100, y), z)
    return x + eps * g.sign()
""",
            "lives in [0, 1]",
        ),
        (
            "the smallest perturbation, without a budget",
            """
def break_it(model, x, y, eps):
    return attacks.DeepFool()(model, x, y)
""",
            "it moves a pixel by",
        ),
        (
            "a quarter of the budget",
            """
def break_it(model, x, y, eps):
    return sign_step(model, x, y, eps / 4, lambda z, y: F.cross_entropy(z / 100, y))
""",
            "of 60 images fool the network",
        ),
        (
            "half the budget",
            """
def break_it(model, x, y, eps):
    return sign_step(model, x, y, eps / 2, lambda z, y: F.cross_entropy(z / 100, y))
""",
            "The attack sees something",
        ),
        (
            "mends the network for good",
            """
def break_it(model, x, y, eps):
    with torch.no_grad():
        last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
        last.weight /= 100
        last.bias /= 100
    return attacks.FGSM(eps=eps)(model, x, y)
""",
            "changed model",
        ),
        (
            "the perturbation alone",
            """
def break_it(model, x, y, eps):
    return sign_step(model, x, y, eps, lambda z, y: F.cross_entropy(z / 100, y)) - x
""",
            "lives in [0, 1]",
        ),
        (
            "too small a divisor",
            """
def break_it(model, x, y, eps):
    return sign_step(model, x, y, eps, lambda z, y: F.cross_entropy(z / 10, y))
""",
            "how large is the gap after your division?",
        ),
        (
            "divided by 100, with the wrong sign",
            """
def break_it(model, x, y, eps):
    return sign_step(model, x, y, eps, lambda z, y: -F.cross_entropy(z / 100, y))
""",
            "is the sign right?",
        ),
        (
            "random noise",
            """
def break_it(model, x, y, eps):
    return (x + eps * torch.randn_like(x).sign()).clamp(0, 1)
""",
            "no gradient leads them",
        ),
        (
            "leaves the network in train mode",
            """
def break_it(model, x, y, eps):
    z = nn.Sequential(model, defenses.Temperature(100.0)).train()
    return sign_step(z, x, y, eps, F.cross_entropy)
""",
            "between train() and eval()",
        ),
        (
            "a budget of its own",
            """
def break_it(model, x, y, eps):
    return sign_step(model, x, y, 0.2, lambda z, y: F.cross_entropy(z / 100, y))
""",
            "called with eps = 0.05",
        ),
    ],
}
