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
    "11.3": [
        (
            "by padding",
            """
def paste(x, patch, mask, top, left):
    (h, w), (height, width) = patch.shape[1:], x.shape[2:]
    around = (left, width - left - w, top, height - top - h)
    return x * (1 - F.pad(mask, around)) + F.pad(patch * mask, around)
""",
        ),
    ],
    "11.4": [
        (
            "by the whole spectrum",
            """
def hear(signal, rate, square, cutoff):
    out = signal * (1 + square * signal)
    f = torch.fft.fftfreq(signal.shape[-1], 1 / rate).abs()
    return torch.fft.ifft(torch.fft.fft(out) * (f <= cutoff)).real
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
            "the model's own answer in place of y",
            """
def destruction_rate(model, x, y, x_adv, photos):
    a, b, c = (model(z).argmax(1) for z in (x, x_adv, photos))
    return (c == a)[b != a].float().mean().item()
""",
            "Compare with y",
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
        (
            "the step, not the gradient",
            """
def eot_gradient(model, x, y, transform, samples):
    x = x.detach().clone().requires_grad_(True)
    total = torch.zeros_like(x)
    for k in range(samples):
        loss = F.cross_entropy(model(transform(x, k)), y, reduction="sum")
        total += torch.autograd.grad(loss, x)[0]
    return total.sign()
""",
            "the sign of the gradient",
        ),
        (
            "labels in another order",
            """
def eot_gradient(model, x, y, transform, samples):
    x = x.detach().clone().requires_grad_(True)
    views = torch.cat([transform(x, k) for k in range(samples)])
    labels = y.repeat_interleave(samples)
    loss = F.cross_entropy(model(views), labels, reduction="sum")
    return torch.autograd.grad(loss / samples, x)[0]
""",
            "labels in another order",
        ),
    ],
    "11.3": [
        (
            "forgets the mask",
            """
def paste(x, patch, mask, top, left):
    h, w = patch.shape[1:]
    out = x.clone()
    out[..., top : top + h, left : left + w] = patch
    return out
""",
            "the whole rectangle",
        ),
        (
            "row and column",
            """
def paste(x, patch, mask, top, left):
    h, w = patch.shape[1:]
    out = x.clone()
    part = out[..., left : left + h, top : top + w]
    part[:] = part.clone() * (1 - mask) + patch * mask
    return out
""",
            "row and column exchanged",
        ),
        (
            "inverts the mask",
            """
def paste(x, patch, mask, top, left):
    h, w = patch.shape[1:]
    out = x.clone()
    part = x[..., top : top + h, left : left + w]
    out[..., top : top + h, left : left + w] = part * mask + patch * (1 - mask)
    return out
""",
            "the mask inverted",
        ),
        (
            "a hard edge",
            """
def paste(x, patch, mask, top, left):
    h, w = patch.shape[1:]
    out = x.clone()
    part = x[..., top : top + h, left : left + w]
    out[..., top : top + h, left : left + w] = torch.where(mask > 0.5, patch, part)
    return out
""",
            "a hard edge",
        ),
        (
            "no share of the image",
            """
def paste(x, patch, mask, top, left):
    h, w = patch.shape[1:]
    out = x.clone()
    out[..., top : top + h, left : left + w] = patch * mask
    return out
""",
            "the patch on black",
        ),
        (
            "adds",
            """
def paste(x, patch, mask, top, left):
    h, w = patch.shape[1:]
    out = x.clone()
    out[..., top : top + h, left : left + w] += patch * mask
    return out
""",
            "added to the image",
        ),
        (
            "writes into x",
            """
def paste(x, patch, mask, top, left):
    h, w = patch.shape[1:]
    part = x[..., top : top + h, left : left + w]
    x[..., top : top + h, left : left + w] = part * (1 - mask) + patch * mask
    return x
""",
            "changed x",
        ),
        (
            "detaches",
            """
def paste(x, patch, mask, top, left):
    h, w = patch.shape[1:]
    out = x.clone()
    part = x[..., top : top + h, left : left + w]
    out[..., top : top + h, left : left + w] = part * (1 - mask) + patch.detach() * mask
    return out
""",
            "no gradient",
        ),
    ],
    "11.4": [
        (
            "filters first",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    above = torch.fft.rfftfreq(n, 1 / rate) > cutoff
    s = torch.fft.irfft(torch.fft.rfft(signal).masked_fill(above, 0), n)
    return s + square * s**2
""",
            "filtered before the amplifier",
        ),
        (
            "no filter",
            """
def hear(signal, rate, square, cutoff):
    return signal + square * signal**2
""",
            "all frequencies",
        ),
        (
            "linear",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    above = torch.fft.rfftfreq(n, 1 / rate) > cutoff
    return torch.fft.irfft(torch.fft.rfft(signal).masked_fill(above, 0), n)
""",
            "a linear microphone",
        ),
        (
            "the square alone",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    above = torch.fft.rfftfreq(n, 1 / rate) > cutoff
    s = torch.fft.rfft(square * signal**2)
    return torch.fft.irfft(s.masked_fill(above, 0), n)
""",
            "the square term alone",
        ),
        (
            "keeps the high ones",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    above = torch.fft.rfftfreq(n, 1 / rate) > cutoff
    s = torch.fft.rfft(signal + square * signal**2)
    return torch.fft.irfft(s.masked_fill(~above, 0), n)
""",
            "above the cutoff",
        ),
        (
            "squares the factor",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    above = torch.fft.rfftfreq(n, 1 / rate) > cutoff
    s = torch.fft.rfft(signal + (square * signal) ** 2)
    return torch.fft.irfft(s.masked_fill(above, 0), n)
""",
            "the factor squared",
        ),
        (
            "forgets the length",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    above = torch.fft.rfftfreq(n, 1 / rate) > cutoff
    s = torch.fft.rfft(signal + square * signal**2)
    return torch.fft.irfft(s.masked_fill(above, 0))
""",
            "481 samples",
        ),
        (
            "frequencies without a rate",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    s = torch.fft.rfft(signal + square * signal**2)
    return torch.fft.irfft(s.masked_fill(torch.fft.rfftfreq(n) > cutoff, 0), n)
""",
            "frequencies in Hz",
        ),
        (
            "the rate for the spacing",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    s = torch.fft.rfft(signal + square * signal**2)
    return torch.fft.irfft(s.masked_fill(torch.fft.rfftfreq(n, rate) > cutoff, 0), n)
""",
            "frequencies in Hz",
        ),
        (
            "the cutoff as the number of an entry",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    s = torch.fft.rfft(signal + square * signal**2)
    s[..., int(cutoff) :] = 0
    return torch.fft.irfft(s, n)
""",
            "number of an entry",
        ),
        (
            "forgets B",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    s = torch.fft.rfft(signal + signal**2)
    return torch.fft.irfft(s.masked_fill(torch.fft.rfftfreq(n, 1 / rate) > cutoff, 0), n)
""",
            "with B = 1",
        ),
        (
            "drops the cutoff itself",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    s = torch.fft.rfft(signal + square * signal**2)
    return torch.fft.irfft(s.masked_fill(torch.fft.rfftfreq(n, 1 / rate) >= cutoff, 0), n)
""",
            "the frequency at the cutoff",
        ),
        (
            "drops the constant",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    s = torch.fft.rfft(signal + square * signal**2)
    f = torch.fft.rfftfreq(n, 1 / rate)
    return torch.fft.irfft(s * ((f > 0) & (f <= cutoff)), n)
""",
            "without 0 Hz",
        ),
        (
            "cuts the spectrum",
            """
def hear(signal, rate, square, cutoff):
    n = signal.shape[-1]
    s = torch.fft.rfft(signal + square * signal**2)
    kept = s[..., torch.fft.rfftfreq(n, 1 / rate) <= cutoff]
    return torch.fft.irfft(kept)
""",
            "leave it in the spectrum",
        ),
    ],
}
