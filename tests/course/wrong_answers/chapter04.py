"""Answers to the exercises of chapter 4: wrong ones with what they must be told, and right ones."""

PRELUDE = """
import torch
import torch.nn.functional as F


def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]


def fgsm(model, x, y, eps):
    return (x + eps * input_gradient(model, x, y).sign()).clamp(0, 1)
"""

RIGHT = {
    "4.1": [
        (
            "gradients of a sum, one image after the other",
            """
def input_gradient(model, x, y):
    rows = []
    for image, label in zip(x, y):
        image = image[None].clone().requires_grad_()
        loss = -model(image).log_softmax(1)[0, label]
        rows.append(torch.autograd.grad(loss, image)[0])
    return torch.cat(rows)
""",
        ),
        (
            "backward on a model whose parameters are frozen for the moment",
            """
def input_gradient(model, x, y):
    for p in model.parameters():
        p.requires_grad_(False)
    x = x.clone().requires_grad_()
    F.cross_entropy(model(x), y, reduction="sum").backward()
    for p in model.parameters():
        p.requires_grad_(True)
    return x.grad
""",
        ),
    ],
    "4.2": [
        (
            "where instead of clamp, the gradient of the mean",
            """
def fgsm(model, x, y, eps):
    z = x.clone().requires_grad_()
    g, = torch.autograd.grad(F.cross_entropy(model(z), y), z)
    z = x + eps * torch.sign(g)
    return torch.where(z > 1, torch.ones_like(z), torch.where(z < 0, torch.zeros_like(z), z))
""",
        ),
    ],
    "4.3": [
        (
            "the negative loss, raised",
            """
def targeted_fgsm(model, x, target, eps):
    return torch.clamp(x + eps * (-input_gradient(model, x, target)).sign(), 0, 1)
""",
        ),
    ],
    "4.4": [
        (
            "a tensor of tensors' means",
            """
def accuracy_curve(model, x, y, epsilons):
    right = [(model(fgsm(model, x, y, e)).argmax(1) == y).double().mean() for e in epsilons]
    return torch.stack(right)
""",
        ),
    ],
}

WRONG = {
    "4.1": [
        (
            "forgets requires_grad",
            """
def input_gradient(model, x, y):
    loss = F.cross_entropy(model(x), y, reduction="sum")
    return torch.autograd.grad(loss, x)[0]
""",
            "the tensors that ask for it",
        ),
        (
            "does not reduce the losses",
            """
def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="none"), x)[0]
""",
            "of one number",
        ),
        (
            "a softmax before the cross-entropy",
            """
def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    p = model(x).softmax(1)
    return torch.autograd.grad(F.cross_entropy(p, y, reduction="sum"), x)[0]
""",
            "a softmax too many",
        ),
        (
            "mean instead of sum",
            """
def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y), x)[0]
""",
            "averaged",
        ),
        (
            "leaves gradients in the parameters",
            """
def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    F.cross_entropy(model(x), y, reduction="sum").backward()
    return x.grad
""",
            ".grad",
        ),
        (
            "changes the caller's images",
            """
def input_gradient(model, x, y):
    x.requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]
""",
            "left x with another requires_grad",
        ),
        (
            "takes a step of training on the way",
            """
def input_gradient(model, x, y):
    g = fixed(model, x, y)
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.01
    return g


def fixed(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]
""",
            "changed model",
        ),
        (
            "keeps the graph",
            """
def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    loss = F.cross_entropy(model(x), y, reduction="sum")
    return torch.autograd.grad(loss, x, create_graph=True)[0]
""",
            "still requires a gradient",
        ),
        (
            "uses the predicted labels",
            """
def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    logits = model(x)
    return torch.autograd.grad(F.cross_entropy(logits, logits.argmax(1), reduction="sum"), x)[0]
""",
            "predicted",
        ),
        (
            "the gradient of the logit, not of the loss",
            """
def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).gather(1, y[:, None]).sum(), x)[0]
""",
            "what it should be",
        ),
        (
            "the log-probability, which is minus the loss",
            """
def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).log_softmax(1).gather(1, y[:, None]).sum(), x)[0]
""",
            "wrong sign",
        ),
        (
            "takes the sign already",
            """
def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0].sign()
""",
            "only the signs",
        ),
        (
            "returns the loss",
            """
def input_gradient(model, x, y):
    return F.cross_entropy(model(x), y, reduction="sum").detach()
""",
            "shape ()",
        ),
        (
            "forgets to return",
            """
def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    g = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]
""",
            "is None",
        ),
        (
            "returns the tuple that autograd gives",
            """
def input_gradient(model, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)
""",
            "the tensor itself",
        ),
        (
            "asks for no gradient",
            """
def input_gradient(model, x, y):
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]
""",
            "RuntimeError at line 3",
        ),
        (
            "switches the model to training",
            """
def input_gradient(model, x, y):
    model.train()
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]
""",
            "train() and eval()",
        ),
    ],
    "4.2": [
        (
            "clips the picture to the budget",
            """
def fgsm(model, x, y, eps):
    return (x + eps * input_gradient(model, x, y).sign()).clamp(-eps, eps)
""",
            "not a picture",
        ),
        (
            "forgets the sign",
            """
def fgsm(model, x, y, eps):
    return (x + eps * input_gradient(model, x, y)).clamp(0, 1)
""",
            "large gradient move far",
        ),
        (
            "scales by the largest gradient instead of taking the sign",
            """
def fgsm(model, x, y, eps):
    g = input_gradient(model, x, y)
    return (x + eps * g / g.abs().max()).clamp(0, 1)
""",
            "large gradient move far",
        ),
        (
            "no clipping",
            """
def fgsm(model, x, y, eps):
    return x + eps * input_gradient(model, x, y).sign()
""",
            "[0, 1]",
        ),
        (
            "clips to [-1, 1]",
            """
def fgsm(model, x, y, eps):
    return (x + eps * input_gradient(model, x, y).sign()).clamp(-1, 1)
""",
            "[0, 1]",
        ),
        (
            "descends",
            """
def fgsm(model, x, y, eps):
    return (x - eps * input_gradient(model, x, y).sign()).clamp(0, 1)
""",
            "against the gradient",
        ),
        (
            "uses the predicted labels",
            """
def fgsm(model, x, y, eps):
    return (x + eps * input_gradient(model, x, model(x).argmax(1)).sign()).clamp(0, 1)
""",
            "predicted",
        ),
        (
            "returns the perturbation",
            """
def fgsm(model, x, y, eps):
    return eps * input_gradient(model, x, y).sign()
""",
            "not a picture",
        ),
        (
            "twice the step",
            """
def fgsm(model, x, y, eps):
    return (x + 2 * eps * input_gradient(model, x, y).sign()).clamp(0, 1)
""",
            "more than ε",
        ),
        (
            "does nothing",
            "def fgsm(model, x, y, eps):\n    return x.clone()\n",
            "come back as they were",
        ),
        (
            "works in place",
            """
def fgsm(model, x, y, eps):
    return x.add_(eps * input_gradient(model, x, y).sign()).clamp_(0, 1)
""",
            "changed x itself",
        ),
        (
            "random signs",
            """
def fgsm(model, x, y, eps):
    return (x + eps * torch.randn_like(x).sign()).clamp(0, 1)
""",
            "what it should be",
        ),
        (
            "the sign of the whole batch's mean gradient",
            """
def fgsm(model, x, y, eps):
    return (x + eps * input_gradient(model, x, y).mean(0, keepdim=True).sign()).clamp(0, 1)
""",
            "what it should be",
        ),
        (
            "64-bit numbers",
            """
def fgsm(model, x, y, eps):
    return (x + eps * input_gradient(model, x, y).sign()).clamp(0, 1).double()
""",
            "float64",
        ),
        (
            "rounds to whole gray levels of 0 and 1",
            """
def fgsm(model, x, y, eps):
    return (x + eps * input_gradient(model, x, y).sign()).clamp(0, 1).round()
""",
            "more than ε",
        ),
    ],
    "4.3": [
        (
            "lowers the loss of the predicted class",
            """
def targeted_fgsm(model, x, target, eps):
    predicted = model(x).argmax(1)
    return (x - eps * input_gradient(model, x, predicted).sign()).clamp(0, 1)
""",
            "names already",
        ),
        (
            "runs away from the target",
            """
def targeted_fgsm(model, x, target, eps):
    return (x + eps * input_gradient(model, x, target).sign()).clamp(0, 1)
""",
            "away from the target",
        ),
        (
            "leaves the predicted class",
            """
def targeted_fgsm(model, x, target, eps):
    return (x + eps * input_gradient(model, x, model(x).argmax(1)).sign()).clamp(0, 1)
""",
            "predicted class",
        ),
        (
            "no clipping",
            """
def targeted_fgsm(model, x, target, eps):
    return x - eps * input_gradient(model, x, target).sign()
""",
            "[0, 1]",
        ),
        (
            "forgets the sign",
            """
def targeted_fgsm(model, x, target, eps):
    return (x - eps * input_gradient(model, x, target)).clamp(0, 1)
""",
            "large gradient move far",
        ),
        (
            "the predictions instead of the images",
            """
def targeted_fgsm(model, x, target, eps):
    return model((x - eps * input_gradient(model, x, target).sign()).clamp(0, 1)).argmax(1)
""",
            "shape (40,)",
        ),
    ],
    "4.4": [
        (
            "pairs of ε and accuracy",
            """
def accuracy_curve(model, x, y, epsilons):
    return [
        (e, (model(fgsm(model, x, y, e)).argmax(1) == y).float().mean().item()) for e in epsilons
    ]
""",
            "and nothing else",
        ),
        (
            "forgets the argmax",
            """
def accuracy_curve(model, x, y, epsilons):
    return [(model(fgsm(model, x, y, e)) == y).float().mean().item() for e in epsilons]
""",
            "different shapes",
        ),
        (
            "error rate",
            """
def accuracy_curve(model, x, y, epsilons):
    return [(model(fgsm(model, x, y, e)).argmax(1) != y).float().mean().item() for e in epsilons]
""",
            "wrong",
        ),
        (
            "percent",
            """
def accuracy_curve(model, x, y, epsilons):
    right = [(model(fgsm(model, x, y, e)).argmax(1) == y).float().mean() for e in epsilons]
    return [100 * r.item() for r in right]
""",
            "percent",
        ),
        (
            "counts",
            """
def accuracy_curve(model, x, y, epsilons):
    return [(model(fgsm(model, x, y, e)).argmax(1) == y).sum().item() for e in epsilons]
""",
            "counts",
        ),
        (
            "attacks the attacked images again",
            """
def accuracy_curve(model, x, y, epsilons):
    curve = []
    for e in epsilons:
        x = fgsm(model, x, y, e)
        curve.append((model(x).argmax(1) == y).float().mean().item())
    return curve
""",
            "what it should be",
        ),
        (
            "classifies the clean images",
            """
def accuracy_curve(model, x, y, epsilons):
    curve = []
    for e in epsilons:
        fgsm(model, x, y, e)
        curve.append((model(x).argmax(1) == y).float().mean().item())
    return curve
""",
            "the same at every ε",
        ),
        (
            "agreement with the clean predictions",
            """
def accuracy_curve(model, x, y, epsilons):
    z = model(x).argmax(1)
    return [(model(fgsm(model, x, y, e)).argmax(1) == z).float().mean().item() for e in epsilons]
""",
            "at ε = 0",
        ),
        (
            "only the images that were right",
            """
def accuracy_curve(model, x, y, epsilons):
    right = model(x).argmax(1) == y
    x, y = x[right], y[right]
    return [(model(fgsm(model, x, y, e)).argmax(1) == y).float().mean().item() for e in epsilons]
""",
            "at ε = 0",
        ),
        (
            "only the last ε",
            """
def accuracy_curve(model, x, y, epsilons):
    for e in epsilons:
        accuracy = (model(fgsm(model, x, y, e)).argmax(1) == y).float().mean().item()
    return [accuracy]
""",
            "1 entry, expected 5",
        ),
        (
            "works in place",
            """
def accuracy_curve(model, x, y, epsilons):
    curve = []
    for e in epsilons:
        x += fgsm(model, x, y, e) - x
        curve.append((model(x).argmax(1) == y).float().mean().item())
    return curve
""",
            "changed x itself",
        ),
    ],
}
