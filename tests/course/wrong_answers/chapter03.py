"""Answers to the exercises of chapter 3: wrong ones with what they must be told, and right ones."""

RIGHT = {
    "3.1": [
        (
            "row by row, with max",
            """
def softmax(z):
    rows = []
    for row in z:
        e = torch.exp(row - max(row))
        rows.append(e / sum(e))
    return torch.stack(rows)
""",
        ),
        (
            "through log-sum-exp",
            """
def softmax(z):
    return (z - z.logsumexp(1, keepdim=True)).exp()
""",
        ),
    ],
    "3.2": [
        (
            "a loop over the images",
            """
def cross_entropy(logits, y):
    total = 0
    for z, label in zip(logits, y):
        z = z - z.max()
        total = total + z.exp().sum().log() - z[label]
    return total / len(y)
""",
        ),
        (
            "log_softmax and gather",
            """
def cross_entropy(logits, y):
    return -logits.log_softmax(1).gather(1, y[:, None]).mean()
""",
        ),
    ],
    "3.3": [
        (
            "an optimizer that clears the gradients",
            """
def training_step(model, x, y, step):
    sgd = torch.optim.SGD(model.parameters(), lr=step)
    sgd.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    sgd.step()
    return loss.item()
""",
        ),
        (
            "backward, and .data",
            """
def training_step(model, x, y, step):
    for p in model.parameters():
        p.grad = None
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    for p in model.parameters():
        p.data -= step * p.grad
    return float(loss.detach())
""",
        ),
    ],
}

WRONG = {
    "3.1": [
        (
            "no shift: overflow",
            """
def softmax(z):
    e = z.exp()
    return e / e.sum(1, keepdim=True)
""",
            "the exponential overflows",
        ),
        (
            "the largest score of the whole batch",
            """
def softmax(z):
    e = (z - z.max()).exp()
    return e / e.sum(1, keepdim=True)
""",
            "every exponential of that row became 0",
        ),
        (
            "along the wrong dimension",
            """
def softmax(z):
    e = (z - z.amax(0, keepdim=True)).exp()
    return e / e.sum(0, keepdim=True)
""",
            "the columns sum to 1",
        ),
        (
            "one sum for all",
            """
def softmax(z):
    e = (z - z.max()).exp()
    return e / e.sum()
""",
            "the whole table sums to 1",
        ),
        (
            "not divided",
            """
def softmax(z):
    return z.exp()
""",
            "not yet shares",
        ),
        (
            "the logarithm",
            """
def softmax(z):
    return F.log_softmax(z, dim=1)
""",
            "logarithm of softmax",
        ),
        (
            "shares of the scores",
            """
def softmax(z):
    return z / z.sum(1, keepdim=True)
""",
            "divided as they are",
        ),
        (
            "clamped, so that it fits",
            """
def softmax(z):
    e = z.clamp(-80, 80).exp()
    return e / e.sum(1, keepdim=True)
""",
            "softmax of large scores",
        ),
        (
            "subtracts in place",
            """
def softmax(z):
    z -= z.amax(1, keepdim=True)
    e = z.exp()
    return e / e.sum(1, keepdim=True)
""",
            "changed z itself",
        ),
        (
            "no keepdim",
            """
def softmax(z):
    e = (z - z.amax(dim=1)).exp()
    return e / e.sum(dim=1)
""",
            "keepdim",
        ),
        (
            "nothing returned",
            """
def softmax(z):
    torch.softmax(z, dim=1)
""",
            "p is None",
        ),
    ],
    "3.2": [
        (
            "the sum",
            """
def cross_entropy(logits, y):
    return F.cross_entropy(logits, y, reduction="sum")
""",
            "the sum over the 9 images",
        ),
        (
            "one loss an image",
            """
def cross_entropy(logits, y):
    return logits.logsumexp(1) - logits[range(len(y)), y]
""",
            "a loss for each image",
        ),
        (
            "through the probability: infinite",
            """
def cross_entropy(logits, y):
    return -logits.softmax(1)[range(len(y)), y].log().mean()
""",
            "A probability that rounds to 0",
        ),
        (
            "a small constant in the logarithm",
            """
def cross_entropy(logits, y):
    return -(logits.softmax(1)[range(len(y)), y] + 1e-12).log().mean()
""",
            "with a hopeless answer costs",
        ),
        (
            "the sign forgotten",
            """
def cross_entropy(logits, y):
    return logits.log_softmax(1)[range(len(y)), y].mean()
""",
            "the sign is turned",
        ),
        (
            "a mean over images and classes, with one-hot",
            """
def cross_entropy(logits, y):
    return -(F.one_hot(y, logits.shape[1]) * logits.log_softmax(1)).mean()
""",
            "all 45 entries",
        ),
        (
            "softmax twice",
            """
def cross_entropy(logits, y):
    return F.cross_entropy(logits.softmax(1), y)
""",
            "softmax is applied twice",
        ),
        (
            "the loss of the answer, not of the truth",
            """
def cross_entropy(logits, y):
    return -logits.log_softmax(1).amax(1).mean()
""",
            "the class that the model named",
        ),
        (
            "no logarithm",
            """
def cross_entropy(logits, y):
    return (1 - logits.softmax(1)[range(len(y)), y]).mean()
""",
            "without a logarithm",
        ),
        (
            "base 2",
            """
def cross_entropy(logits, y):
    log_p = logits.log_softmax(1)[range(len(y)), y]
    return -log_p.mean() / math.log(2)
""",
            "base 2",
        ),
        (
            "overflow in the sum",
            """
def cross_entropy(logits, y):
    return (logits.exp().sum(1).log() - logits[range(len(y)), y]).mean()
""",
            "the exponential overflows",
        ),
        (
            "softmax without a shift, then the logarithm",
            """
def cross_entropy(logits, y):
    e = logits.exp()
    p = e / e.sum(1, keepdim=True)
    return -p[range(len(y)), y].log().mean()
""",
            "the exponential overflows",
        ),
        (
            "the largest score of the whole batch",
            """
def cross_entropy(logits, y):
    m = logits.max()
    return (m + (logits - m).exp().sum(1).log() - logits[range(len(y)), y]).mean()
""",
            "Is what you subtract that row's own",
        ),
        (
            "m not added back",
            """
def cross_entropy(logits, y):
    m = logits.amax(1, keepdim=True)
    return ((logits - m).exp().sum(1).log() - logits[range(len(y)), y]).mean()
""",
            "was it added back",
        ),
        (
            "m added, and the true score shifted too",
            """
def cross_entropy(logits, y):
    m = logits.amax(1)
    shifted = logits - m[:, None]
    return (m + shifted.exp().sum(1).log() - shifted[range(len(y)), y]).mean()
""",
            "added once too often",
        ),
        (
            "a plus for a minus",
            """
def cross_entropy(logits, y):
    return -(logits.logsumexp(1) + logits[range(len(y)), y]).abs().mean()
""",
            "cannot be negative",
        ),
        (
            "clamped scores",
            """
def cross_entropy(logits, y):
    return F.cross_entropy(logits.clamp(-80, 80), y)
""",
            "loss (near 1000)",
        ),
        (
            "no keepdim",
            """
def cross_entropy(logits, y):
    m = logits.amax(dim=1)
    log_sum = m + (logits - m).exp().sum(dim=1).log()
    return (log_sum - logits[range(len(y)), y]).mean()
""",
            "keepdim",
        ),
    ],
    "3.3": [
        (
            "gradients pile up",
            """
def training_step(model, x, y, step):
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= step * p.grad
    return loss.item()
""",
            "gradients of an earlier call",
        ),
        (
            "uphill",
            """
def training_step(model, x, y, step):
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(x), y)
    with torch.no_grad():
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p += step * g
    return loss.item()
""",
            "uphill",
        ),
        (
            "a new tensor instead of the parameter",
            """
def training_step(model, x, y, step):
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(x), y)
    with torch.no_grad():
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p = p - step * g
    return loss.item()
""",
            "as they were",
        ),
        (
            "the sum of the losses",
            """
def training_step(model, x, y, step):
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(x), y, reduction="sum")
    with torch.no_grad():
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p -= step * g
    return loss.item()
""",
            "24 times too large",
        ),
        (
            "weights without biases",
            """
def training_step(model, x, y, step):
    parameters = [p for name, p in model.named_parameters() if "weight" in name]
    loss = F.cross_entropy(model(x), y)
    with torch.no_grad():
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p -= step * g
    return loss.item()
""",
            "did not move",
        ),
        (
            "the step forgotten",
            """
def training_step(model, x, y, step):
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(x), y)
    with torch.no_grad():
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p -= g
    return loss.item()
""",
            "not multiplied by step",
        ),
        (
            "signs only",
            """
def training_step(model, x, y, step):
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(x), y)
    with torch.no_grad():
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p -= step * g.sign()
    return loss.item()
""",
            "only the signs",
        ),
        (
            "the loss after the step",
            """
def training_step(model, x, y, step):
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(x), y)
    with torch.no_grad():
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p -= step * g
        return F.cross_entropy(model(x), y).item()
""",
            "the loss after the step",
        ),
        (
            "the loss as a tensor",
            """
def training_step(model, x, y, step):
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(x), y)
    with torch.no_grad():
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p -= step * g
    return loss
""",
            "comes back as a tensor",
        ),
        (
            "Adam, because it is better",
            """
def training_step(model, x, y, step):
    adam = torch.optim.Adam(model.parameters(), lr=step)
    adam.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    adam.step()
    return loss.item()
""",
            "only the signs",
        ),
        (
            "softmax before the cross-entropy",
            """
def training_step(model, x, y, step):
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(x).softmax(1), y)
    with torch.no_grad():
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p -= step * g
    return loss.item()
""",
            "softmax is applied twice",
        ),
        (
            "one parameter after the other",
            """
def training_step(model, x, y, step):
    first = F.cross_entropy(model(x), y).item()
    for p in model.parameters():
        (g,) = torch.autograd.grad(F.cross_entropy(model(x), y), p)
        with torch.no_grad():
            p -= step * g
    return first
""",
            "after the parameters before it had moved",
        ),
        (
            "weight decay",
            """
def training_step(model, x, y, step):
    sgd = torch.optim.SGD(model.parameters(), lr=step, weight_decay=0.1)
    sgd.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    sgd.step()
    return loss.item()
""",
            "the change of the first layer's weights[0, ",
        ),
        (
            "no no_grad",
            """
def training_step(model, x, y, step):
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(x), y)
    for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
        p -= step * g
    return loss.item()
""",
            "pauses",
        ),
    ],
}
