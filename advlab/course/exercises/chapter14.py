"""Exercises of chapter 14: the bounded ReLU, a batch with noisy copies, the stability loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, close, fail, get, matches, number, rather, tensor, untouched, watch

T = 1.5
SIGMA = 0.2
COPIES = 3
ALPHA = 0.7

# 14.1 The bounded ReLU ---------------------------------------------------------------------------


def sums(seed: int) -> Tensor:
    """Weighted sums of 50 images below 0, between 0 and t, and above t: (50, 4, 3, 3)."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(50, 4, 3, 3, generator=draw) * 2


def probe_bounded(bounded_relu, seed):
    z = sums(seed)
    with watch(z=z) as changes:
        found = bounded_relu(z, T)
    inputs = sums(seed).requires_grad_()
    out = bounded_relu(inputs * 1, T)  # a copy, for those that work in place
    slopes = None
    if isinstance(out, Tensor) and out.requires_grad and out.is_floating_point():
        (slopes,) = torch.autograd.grad(out.sum(), inputs)
    return {"activations": found, "slopes": slopes, "changes": changes}


def verdict_bounded(results, seed):
    z = sums(seed)
    untouched(results)
    found = tensor(results, "activations", like=z)
    expected = z.clamp(0, T)
    if matches(found, z.relu()):
        fail("this is the plain ReLU", "What should happen to an input above t?")
    if matches(found, z.clamp(max=T)):
        fail("inputs below 0 pass", "It is still a ReLU: what does one give below 0?")
    if matches(found, z.clamp(-T, T)):
        fail(f"the lower bound is −t = {-T}", "It is still a ReLU: what does one give below 0?")
    if matches(found, expected / T):
        fail("the activations end at 1, not at t", "Between 0 and t the input passes as it is.")
    if matches(found, z.clamp(0, 6)) or matches(found, z.clamp(0, 1)):
        fail(f"the bound is another than the t = {T} that was given", "Use the argument t.")
    if matches(found, z.relu() * (z < T)):
        fail("inputs above t give 0", "An activation grows up to t, and stays there.")
    close(found, expected, "activations", "There are three cases: below 0, up to t, and above t.")
    if get(results, "slopes") is None:
        fail(
            "no gradient can flow through the result",
            "A network must learn through this: stay with operations that autograd follows.",
        )
    slopes = tensor(results, "slopes", like=z)
    inside = ((z > 0) & (z < T)).to(z.dtype)
    close(slopes, inside, "the slope", "The slope is 1 where the input passes, and 0 elsewhere.")
    return f"nothing below 0, nothing above t = {T}, and a slope only between them"


# 14.2 A batch with noisy copies ------------------------------------------------------------------


def batch(seed: int) -> tuple[Tensor, Tensor]:
    """Images 1 × 20 × 20, most pixels far from 0 and 1; labels.

    The first and the last rows are black and white: a pattern by which a noisy copy is known.
    """
    draw = torch.Generator().manual_seed(seed)
    x = 0.5 + 0.02 * torch.randn(6, 1, 20, 20, generator=draw)
    pattern = torch.randint(2, (6, 1, 3, 20), generator=draw).to(x.dtype)
    x[:, :, :3] = pattern
    x[:, :, -3:] = 1 - pattern
    return x.clamp(0, 1), torch.randperm(6, generator=draw)


def probe_batch(gda_batch, seed):
    x, y = batch(seed)
    with watch(x=x, y=y) as changes:
        found = gda_batch(x, y, SIGMA, COPIES)
    if isinstance(found, tuple | list) and len(found) == 2:
        images, labels = found
        again = gda_batch(*batch(seed), SIGMA, COPIES)
        return {"images": images, "labels": labels, "again": again[0], "changes": changes}
    return {"pair": found, "changes": changes}


def verdict_batch(results, seed):
    x, y = batch(seed)
    untouched(results)
    if "images" not in results:
        fail("the answer is no pair", "Return two tensors: all the images, and all their labels.")
    n, total = len(x), (COPIES + 1) * len(x)
    images = tensor(results, "images", dtype=x.dtype)
    if images.shape == (COPIES * n, *x.shape[1:]):
        fail(
            f"there are {COPIES * n} images: the noisy copies, or one too few of them",
            "The images as they are belong to the batch, too.",
        )
    if images.shape == (COPIES, *x.shape) or images.shape == (COPIES + 1, *x.shape):
        fail("the copies have a dimension of their own", "The model takes (number, C, H, W).")
    images = tensor(results, "images", shape=(total, *x.shape[1:]), dtype=x.dtype)
    labels = tensor(results, "labels", shape=(total,), dtype=y.dtype)
    low, high = images.min().item(), images.max().item()
    if low < -1e-6 or high > 1 + 1e-6:
        fail(
            f"pixels run from {low:.2f} to {high:.2f}, and an image lives in [0, 1]",
            "Noise takes a black pixel below black.",
        )
    if not matches(images[:n], x):
        each = images.view(n, COPIES + 1, *x.shape[1:])
        if matches(each[:, 0], x):
            fail(
                "each image is followed by its own copies",
                "The whole batch comes first, then the whole batch again with noise, and so on.",
            )
        fail("the first images are not those that were given", "The clean ones come first.")
    whose = torch.cdist(images[n:, :, :3].flatten(1), x[:, :, :3].flatten(1)).argmin(1)
    if torch.equal(whose, torch.arange(n).repeat_interleave(COPIES)):
        fail(
            "the copies of the first image come first, then those of the second, and so on",
            "After the clean images comes the whole batch with noise, and again the whole batch.",
        )
    if matches(labels, y.repeat_interleave(COPIES + 1)):
        fail(
            "each label stands several times in a row, and the images do not",
            "The labels are in the order of the images: the whole batch, and again, and again.",
        )
    if not torch.equal(labels, y.repeat(COPIES + 1)):
        fail("the labels do not fit the images", "A noisy copy has the label of its image.")
    # Pixels at 0.5, where the noise is hardly ever clipped: 2.5 σ are needed.
    noise = (images[n:] - x.repeat(COPIES, 1, 1, 1))[:, :, 3:-3].double()
    if noise.abs().max() < 1e-6:
        fail("the copies are the images themselves", "Where is the noise?")
    judge_noise(noise.view(COPIES, n, -1))
    if matches(tensor(results, "again", like=images), images):
        fail(
            "a second call gives the same noise",
            "Training calls this at each step, and wants new noise: set no seed inside.",
        )
    return f"{n} images and {COPIES} × {n} noisy copies, each with the label of its image"


def judge_noise(noise: Tensor) -> None:
    """Whether it is Gaussian of width σ, and drawn anew for each copy, image and pixel."""
    copies, n, _ = noise.shape
    for a in range(1, copies):
        if matches(noise[a], noise[0], atol=1e-4):
            fail("all copies of an image have the same noise", "Draw for each copy anew.")
    for i in range(1, n):
        # Clipping makes a difference of its own, in few pixels.
        if (noise[:, i] - noise[:, 0]).abs().mean() < SIGMA / 10:
            fail("all images get the same noise", "Draw noise of the shape of the whole batch.")
    if (noise.std(2) < SIGMA / 10).all():
        fail("all pixels of a copy move by the same amount", "Each pixel has noise of its own.")
    if noise.min() >= 0:
        fail("the noise only brightens", "Gaussian noise goes down as often as up.")
    width, center = noise.std().item(), noise.mean().item()
    if abs(center) > 0.1 * SIGMA:
        fail(f"the mean of the noise is {center:+.3f}", "Gaussian noise has the mean 0.")
    # Few numbers lie beyond 2 σ: about 4.6% where it is Gaussian, none where it is uniform.
    beyond = (noise.abs() > 2 * width).double().mean().item()
    if beyond < 0.02:
        fail(
            "the noise is not Gaussian: no number is far from 0",
            "torch.rand is uniform. Which function draws from N(0, 1)?",
        )
    if abs(width / SIGMA - 1) > 0.1:
        fail(
            f"the standard deviation of the noise is {width:.3f}, expected σ = {SIGMA}",
            "torch.randn has the standard deviation 1. By what must it be multiplied?",
        )


# 14.3 The stability loss -------------------------------------------------------------------------


def pairs(seed: int) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A small network, 12 images, their labels, and their noisy copies."""
    draw = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 12), nn.Tanh(), nn.Linear(12, 4)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) / p.shape[-1] ** 0.5 * 2)
    x = torch.rand(12, 1, 5, 5, generator=draw)
    x_noisy = (x + 0.3 * torch.randn(x.shape, generator=draw)).clamp(0, 1)
    return model, x, torch.randint(4, (12,), generator=draw), x_noisy


def probe_stability(stability_loss, seed):
    model, x, y, x_noisy = pairs(seed)
    with watch(model=model, x=x, y=y, x_noisy=x_noisy) as changes:
        loss = stability_loss(model, x, y, x_noisy, ALPHA)
    gradient = None
    if isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1:
        slopes = torch.autograd.grad(loss.sum(), list(model.parameters()), allow_unused=True)
        filled = [
            torch.zeros_like(p) if g is None else g
            for g, p in zip(slopes, model.parameters(), strict=True)
        ]
        gradient = torch.cat([g.flatten() for g in filled])
    value = loss.detach() if isinstance(loss, Tensor) else loss
    return {"loss": value, "gradient": gradient, "changes": changes}


def stability(model: nn.Module, x: Tensor, y: Tensor, x_noisy: Tensor) -> tuple[Tensor, ...]:
    """L₀, and KL(p(x) ‖ p(x′)) of each image."""
    clean, moved = model(x), model(x_noisy)
    p, q = clean.log_softmax(1), moved.log_softmax(1)
    return F.cross_entropy(clean, y), (p.exp() * (p - q)).sum(1)


def verdict_stability(results, seed):
    model, x, y, x_noisy = pairs(seed)
    untouched(results)
    found = number(results, "loss")
    plain, kl = stability(model, x, y, x_noisy)
    with torch.no_grad():
        a, b = model(x), model(x_noisy)
        p, q = a.log_softmax(1), b.log_softmax(1)
    total = (plain + ALPHA * kl.mean()).item()

    def is_(term) -> bool:
        return rather(found, (plain + ALPHA * term).item(), total)

    if matches(found, plain.item()):
        fail("this is the loss of the clean images alone", "Where do the noisy copies come in?")
    if matches(found, (ALPHA * kl.mean()).item()) or matches(found, kl.mean().item()):
        fail("this is the distance alone", "The clean images are still to be learned.")
    if matches(found, (F.cross_entropy(q, y) + ALPHA * kl.mean()).item()):
        fail(
            "the cross-entropy is that of the noisy images",
            "L₀ belongs to the clean images; the copies are never compared with the labels.",
        )
    if matches(found, ((1 - ALPHA) * plain + ALPHA * kl.mean()).item()):
        fail("L₀ is multiplied by 1 − α", "Only the distance has a factor: L₀ + α D.")
    if is_((p.exp() * (a - b)).sum(1).mean()) or is_((a.exp() * (a - b)).sum(1).mean()):
        fail(
            "the logits stand where the logarithms of probabilities should",
            "log p is log_softmax(1) of the logits.",
        )
    if is_(F.cross_entropy(q, y)):
        fail(
            "the noisy copies are compared with the labels: this is learning them, as GDA does",
            "The copy is compared with the answer for the clean image.",
        )
    if is_((q.exp() * (q - p)).sum(1).mean()):
        fail(
            "the two answers have changed places in the KL",
            "The average is taken with the probabilities of the clean image.",
        )
    if is_(kl.sum()):
        fail("the distance is a sum over the batch, and the loss a mean", "Average over images.")
    if is_(kl.mean() / p.shape[1]):
        fail(
            f"the distance is {p.shape[1]} times too small, once for each class",
            "An image's KL is the sum over classes; the mean is over images only.",
        )
    if is_(-kl.mean()):
        fail("the distance has the wrong sign: it is rewarded", "KL is never below 0.")
    differences = (p.exp() - q.exp(), p - q, a - b)
    squares = [d.square() for d in differences]
    if any(is_(d.sum(1).mean()) or is_(d.mean()) for d in squares):
        fail("the distance is a squared distance", "Here D is the KL of the two answers.")
    if is_(-(p.exp() * q).sum(1).mean()):
        fail(
            "this is the cross-entropy of the two answers, not their KL",
            "The KL is 0 where both answers are alike.",
        )
    if matches(found, plain.item() + kl.mean().item()):
        fail("α has no effect", "α multiplies the distance.")
    close(found, total, "the loss", "L₀ of the clean images, and α times the mean KL.")
    if get(results, "gradient") is None:
        fail(
            "no gradient can flow through the loss",
            "Training follows it: return the tensor, not a Python number.",
        )
    wanted = torch.autograd.grad(plain + ALPHA * kl.mean(), list(model.parameters()))
    flat = torch.cat([g.flatten() for g in wanted])
    close(
        tensor(results, "gradient", like=flat),
        flat,
        "the gradient of the loss",
        "Gradients flow through both answers: nothing is detached.",
    )
    return "the clean images are learned, and their noisy copies answer alike"


EXERCISES = (
    Exercise(
        "14.1",
        "The bounded ReLU",
        probe_bounded,
        verdict_bounded,
        forbids=(
            "advlab.defenses.BoundedReLU",
            "advlab.defenses.bounded",
            "torch.nn.functional.hardtanh",
            "torch.nn.Hardtanh",
        ),
    ),
    Exercise(
        "14.2",
        "A batch with noisy copies",
        probe_batch,
        verdict_batch,
        forbids=(
            "advlab.defenses.GaussianAugmentation",
            "advlab.defenses.gda.noisy",
        ),
    ),
    Exercise(
        "14.3",
        "The stability loss",
        probe_stability,
        verdict_stability,
        forbids=(
            "advlab.defenses.StabilityTraining",
            "advlab.defenses.vat.divergence",
        ),
    ),
)
