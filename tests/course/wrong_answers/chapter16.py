"""Answers to the exercises of chapter 16: wrong ones with what they are told, and right ones."""

PRELUDE = """
import torch
import torch.nn.functional as F
"""

RIGHT = {
    "16.1": [
        (
            "the nearest level, by comparing with all of them",
            """
def bit_depth(x, bits):
    levels = torch.linspace(0, 1, 2**bits)
    return levels[(x[..., None] - levels).abs().argmin(-1)]
""",
        ),
        (
            "half a step up, then down",
            """
def bit_depth(x, bits):
    n = 2**bits - 1
    return torch.floor(x * n + 0.5) / n
""",
        ),
    ],
    "16.2": [
        (
            "a function with a backward of its own",
            """
def straight_through(x, step, stand_in):
    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return step(x)

        @staticmethod
        def backward(ctx, upward):
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(stand_in(x), x, upward)[0]

    return Through.apply(x)
""",
        ),
        (
            "the step plus what is zero",
            """
def straight_through(x, step, stand_in):
    with torch.no_grad():
        value = step(x)
    smooth = stand_in(x)
    return value + (smooth - smooth.detach())
""",
        ),
    ],
    "16.3": [
        (
            "all looks as one batch",
            """
def expected_gradient(model, x, y, samples):
    many = x.repeat(samples, 1, 1, 1).requires_grad_()
    loss = F.cross_entropy(model(many), y.repeat(samples), reduction="sum")
    g, = torch.autograd.grad(loss, many)
    return g.view(samples, *x.shape).mean(0)
""",
        ),
        (
            "the gradient of the mean of the losses",
            """
def expected_gradient(model, x, y, samples):
    x = x.detach().clone().requires_grad_(True)
    losses = [F.cross_entropy(model(x), y, reduction="sum") for _ in range(samples)]
    return torch.autograd.grad(torch.stack(losses).mean(), x)[0]
""",
        ),
    ],
}

WRONG = {
    "16.1": [
        (
            "rounds down",
            """
def bit_depth(x, bits):
    n = 2**bits - 1
    return torch.floor(x * n) / n
""",
            "the level below",
        ),
        (
            "one level too many",
            """
def bit_depth(x, bits):
    return torch.round(x * 2**bits) / 2**bits
""",
            "one too many",
        ),
        (
            "cuts off the lower bits of a byte",
            """
def bit_depth(x, bits):
    return torch.floor(x * 2**bits).clamp(max=2**bits - 1) / 2**bits
""",
            "white is 0.5",
        ),
        (
            "as many bins of equal width as levels",
            """
def bit_depth(x, bits):
    n = 2**bits
    return torch.floor(x * n).clamp(max=n - 1) / (n - 1)
""",
            "bins of equal width",
        ),
        (
            "the same, and white falls out of the range",
            """
def bit_depth(x, bits):
    return torch.floor(x * 2**bits) / (2**bits - 1)
""",
            "bins of equal width",
        ),
        (
            "forgets to divide",
            """
def bit_depth(x, bits):
    return torch.round(x * (2**bits - 1))
""",
            "the numbers of the levels",
        ),
        (
            "works in place",
            """
def bit_depth(x, bits):
    n = 2**bits - 1
    return x.mul_(n).round_().div_(n)
""",
            "changed x itself",
        ),
    ],
    "16.2": [
        (
            "the step alone",
            """
def straight_through(x, step, stand_in):
    return step(x)
""",
            "that of the step itself",
        ),
        (
            "the stand-in alone",
            """
def straight_through(x, step, stand_in):
    return stand_in(x)
""",
            "what the stand-in does",
        ),
        (
            "cuts off everything",
            """
def straight_through(x, step, stand_in):
    return (stand_in(x) + step(x) - stand_in(x)).detach()
""",
            "no gradient leads back",
        ),
        (
            "cuts off the wrong part",
            """
def straight_through(x, step, stand_in):
    return step(x).detach() - (stand_in(x) - stand_in(x).detach())
""",
            "wrong sign",
        ),
        (
            "leaves the step's own gradient in",
            """
def straight_through(x, step, stand_in):
    s = stand_in(x)
    return step(x) + s - s.detach()
""",
            "plus that of the step",
        ),
        (
            "the identity for every step",
            """
def straight_through(x, step, stand_in):
    return x + (step(x) - x).detach()
""",
            "that of the identity",
        ),
        (
            "multiplies by the stand-in's value",
            """
def straight_through(x, step, stand_in):
    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return step(x)

        @staticmethod
        def backward(ctx, upward):
            return stand_in(ctx.saved_tensors[0]) * upward

    return Through.apply(x)
""",
            "multiplied by the stand-in's value",
        ),
        (
            "the sum",
            """
def straight_through(x, step, stand_in):
    return step(x).detach() + stand_in(x)
""",
            "the sum of the step",
        ),
    ],
    "16.3": [
        (
            "one look",
            """
def expected_gradient(model, x, y, samples):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]
""",
            "noisy as that of a single look",
        ),
        (
            "the same look every time",
            """
def expected_gradient(model, x, y, samples):
    total = 0
    for _ in range(samples):
        torch.manual_seed(0)
        z = x.clone().requires_grad_()
        loss = F.cross_entropy(model(z), y, reduction="sum")
        total = total + torch.autograd.grad(loss, z)[0]
    return total / samples
""",
            "noisy as that of a single look",
        ),
        (
            "a sum over the looks",
            """
def expected_gradient(model, x, y, samples):
    total = torch.zeros_like(x)
    for _ in range(samples):
        z = x.clone().requires_grad_()
        loss = F.cross_entropy(model(z), y, reduction="sum")
        total += torch.autograd.grad(loss, z)[0]
    return total
""",
            "a sum over the looks",
        ),
        (
            "averages over the images as well",
            """
def expected_gradient(model, x, y, samples):
    z = x.clone().requires_grad_()
    loss = sum(F.cross_entropy(model(z), y) for _ in range(samples)) / samples
    return torch.autograd.grad(loss, z)[0]
""",
            "averaged over the images",
        ),
        (
            "the loss of the mean answer",
            """
def expected_gradient(model, x, y, samples):
    z = x.clone().requires_grad_()
    logits = sum(model(z) for _ in range(samples)) / samples
    return torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), z)[0]
""",
            "the loss of the mean answer",
        ),
        (
            "the loss of the mean probability",
            """
def expected_gradient(model, x, y, samples):
    z = x.clone().requires_grad_()
    p = sum(model(z).softmax(1) for _ in range(samples)) / samples
    return torch.autograd.grad(F.nll_loss(p.log(), y, reduction="sum"), z)[0]
""",
            "the loss of the mean probability",
        ),
        (
            "the mean of the signs",
            """
def expected_gradient(model, x, y, samples):
    total = torch.zeros_like(x)
    for _ in range(samples):
        z = x.clone().requires_grad_()
        loss = F.cross_entropy(model(z), y, reduction="sum")
        total += torch.autograd.grad(loss, z)[0].sign()
    return total / samples
""",
            "the mean of the gradients' signs",
        ),
        (
            "fills the gradients of the model",
            """
def expected_gradient(model, x, y, samples):
    z = x.clone().requires_grad_()
    for _ in range(samples):
        F.cross_entropy(model(z), y, reduction="sum").backward()
    return z.grad / samples
""",
            "left gradients in the parameters",
        ),
        (
            "ten looks, whatever was asked",
            """
def expected_gradient(model, x, y, samples):
    z = x.clone().requires_grad_()
    loss = sum(F.cross_entropy(model(z), y, reduction="sum") for _ in range(10)) / 10
    return torch.autograd.grad(loss, z)[0]
""",
            "noisier than",
        ),
    ],
}
