"""Two small generative models: what natural images look like, learned without labels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backend import generator as seeded
from ..backend import in_batches
from ..checks import check_count
from ..images import check_images


class Generator(nn.Sequential):
    """G(z): codes (N, latent) drawn from N(0, I), to images (N, 1, size, size) in [0, 1].

    Three linear layers, the last one through a sigmoid. Trained against a critic of the same kind,
    as in Goodfellow et al. (2014), "Generative adversarial nets": D(x) is high where x looks like a
    training image. G lowers E[softplus(−D(G(z)))], and D lowers

        E[softplus(D(G(z)))] + E[softplus(−D(x))] + γ/2 E[‖∇ₓD(x)‖²].

    The last term, R1 of Mescheder et al. (2018), "Which training methods for GANs do actually
    converge?", section 4.1, is taken at training images x. It keeps the two in balance with one
    step of D for one of G; the gradient penalty of a Wasserstein GAN, which Samangouei et al. use,
    needs five.

    :param latent: the length of a code.
    :param hidden: the widths of the two layers in between.
    :param size: H = W of the images.
    """

    def __init__(self, latent: int = 64, hidden: tuple[int, int] = (128, 256), size: int = 28):
        for name, value in (("latent", latent), ("size", size)):
            check_count(name, value, 1)
        super().__init__(
            nn.Linear(latent, hidden[0]),
            nn.ReLU(),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(),
            nn.Linear(hidden[1], size * size),
            nn.Sigmoid(),
            nn.Unflatten(1, (1, size, size)),
        )
        self.latent, self.size = latent, size

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n images (n, 1, size, size) of random codes."""
        where = next(self.parameters())
        with torch.no_grad():
            return self(torch.randn(n, self.latent, generator=seeded(seed)).to(where))

    def fit(
        self,
        x: Tensor,
        *,
        steps: int,
        batch_size: int = 64,
        lr: float = 1e-3,
        penalty: float = 2.0,
        seed: int = 0,
    ) -> Generator:
        """Train in place on images (N, 1, size, size) in [0, 1]. The critic is thrown away.

        :param steps: of the generator, and as many of the critic.
        :param lr: of Adam with β = (0.5, 0.99); in the second half it falls to 0.
        :param penalty: γ.
        :param seed: of the critic's initial weights and of the order of images and codes.
        :raises ValueError: images of another shape or range.
        """
        _check(x, self.size)
        random, where = seeded(seed), x.device
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            critic = nn.Sequential(
                nn.Flatten(),
                nn.Linear(x[0].numel(), 256),
                nn.LeakyReLU(0.2),
                nn.Linear(256, 256),
                nn.LeakyReLU(0.2),
                nn.Linear(256, 1),
            ).to(where)
        adam = [torch.optim.Adam(m.parameters(), lr, betas=(0.5, 0.99)) for m in (critic, self)]

        def codes() -> Tensor:
            return torch.randn(batch_size, self.latent, generator=random).to(where)

        for step in range(steps):
            for optimizer in adam:
                optimizer.param_groups[0]["lr"] = lr * min(1, 2 * (1 - step / steps))
            real = x[torch.randint(len(x), (batch_size,), generator=random).to(where)]
            real.requires_grad_()
            on_real, on_fake = critic(real), critic(self(codes()).detach())
            (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
            loss = F.softplus(on_fake).mean() + F.softplus(-on_real).mean()
            _descend(adam[0], loss + penalty / 2 * slope.flatten(1).pow(2).sum(1).mean())
            _descend(adam[1], F.softplus(-critic(self(codes()))).mean())
        return self


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees, of its window, only what comes before the middle in raster order.

    Raster order is row by row from the top, each from the left. Van den Oord et al. (2016), "Pixel
    recurrent neural networks", section 3.4.

    :param inside: channels that come in.
    :param outside: channels that go out.
    :param kernel: height and width of the window, an odd number.
    :param middle: whether it sees the middle too: no in a first layer (their mask A), where the
        middle is the pixel that is to be predicted; yes in the layers after it (mask B).
    """

    def __init__(self, inside: int, outside: int, kernel: int, *, middle: bool):
        super().__init__(inside, outside, kernel, padding=kernel // 2)
        seen = torch.arange(kernel**2).view(kernel, kernel) < kernel**2 // 2 + middle
        self.register_buffer("seen", seen.float(), persistent=False)
        # In the row of the middle itself: how many places of the window are seen.
        self.left = kernel // 2 + middle

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.seen, self.bias, padding=self.padding)


class PixelCNN(nn.Module):
    """p(x) = Πᵢ p(xᵢ | x₁, …, xᵢ₋₁), the pixels in raster order, each one of ``levels`` grays.

    Van den Oord et al. (2016), section 3.4: a masked 7 × 7 convolution, ``depth`` masked ones of
    3 × 3, two of 1 × 1, with ReLU between, and at each pixel a softmax over the levels.

    Where we differ: 16 levels of gray in place of 256, level l standing for l / 15; no residual
    connections. As in the paper, a stack of such windows does not see all earlier pixels: a wedge
    of the rows above, to the right, stays blind. What it gives is a distribution all the same.

    :param levels: of gray, at least 2.
    :param channels: of the layers in between.
    :param depth: the number of 3 × 3 convolutions.
    :param size: H = W of the images.
    """

    def __init__(self, levels: int = 16, channels: int = 32, depth: int = 3, size: int = 28):
        super().__init__()
        check_count("levels", levels, 2)
        for name, value in (("channels", channels), ("depth", depth), ("size", size)):
            check_count(name, value, 1)
        self.levels, self.size = levels, size
        self.layers = nn.Sequential(
            MaskedConv2d(1, channels, 7, middle=False),
            *[MaskedConv2d(channels, channels, 3, middle=True) for _ in range(depth)],
            MaskedConv2d(channels, 2 * channels, 1, middle=True),
            MaskedConv2d(2 * channels, levels, 1, middle=True),
        )
        self.to(memory_format=torch.channels_last)  # on a CPU, a quarter less time

    def quantize(self, x: Tensor) -> Tensor:
        """The level of gray nearest to each pixel: values in [0, 1] to int64 of the same shape."""
        return (x * (self.levels - 1) + 0.5).floor().long()

    def gray(self, level: Tensor) -> Tensor:
        """The value in [0, 1] that a level stands for."""
        return level.to(self.layers[0].weight.dtype) / (self.levels - 1)

    def forward(self, x: Tensor) -> Tensor:
        """log p(xᵢ = l | the pixels before i), up to a constant a pixel.

        :param x: (N, 1, H, W) in [0, 1]; each pixel counts as its nearest level.
        :returns: (N, levels, H, W), where a softmax over the levels gives the probabilities.
        """
        return self._logits(self.gray(self.quantize(x)))

    def _logits(self, gray: Tensor) -> Tensor:
        *first, last = self.layers
        for layer in first:
            gray = F.relu(layer(gray))
        return last(gray)

    def bits_per_dimension(self, x: Tensor) -> Tensor:
        """−log₂ p(x) / (H·W), the bits that a pixel takes on average: high where x looks unnatural.

        The score by which Song et al. (2018), section 3, find adversarial images. It is of the
        image in 16 levels, so smaller than one of 256 levels would be.

        :param x: (N, 1, H, W) in [0, 1].
        :returns: (N,), at least 0.
        """
        _check(x, self.size)
        with torch.no_grad():
            return in_batches(lambda x: self._nats(x) / math.log(2), x)

    def _nats(self, x: Tensor) -> Tensor:
        level = self.quantize(x)
        loss = F.cross_entropy(self._logits(self.gray(level)), level.squeeze(1), reduction="none")
        return loss.flatten(1).mean(1)

    def fit(
        self, x: Tensor, *, passes: int, batch_size: int = 32, lr: float = 3e-3, seed: int = 0
    ) -> PixelCNN:
        """Train in place on images (N, 1, size, size): raise their mean log p.

        :param passes: over the images.
        :param lr: of Adam; it falls to 0 along a cosine.
        :param seed: of the order of the images.
        :raises ValueError: images of another shape or range.
        """
        _check(x, self.size)
        random, optimizer = seeded(seed), torch.optim.Adam(self.parameters(), lr)
        batches = math.ceil(len(x) / batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, passes * batches)
        for _ in range(passes):
            order = torch.randperm(len(x), generator=random).to(x.device)
            for rows in order.split(batch_size):
                _descend(optimizer, self._nats(x[rows]).mean())
                schedule.step()
        return self

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n images (n, 1, size, size), drawn pixel by pixel."""
        random = seeded(seed)

        def draw(i: int, j: int, logits: Tensor) -> Tensor:
            return logits.softmax(1).cpu().multinomial(1, generator=random)[:, 0].to(logits.device)

        return self.gray(self.walk(n, draw)).unsqueeze(1)

    @torch.no_grad()
    def walk(self, n: int, choose: Callable[[int, int, Tensor], Tensor]) -> Tensor:
        """Make n images pixel by pixel, in raster order, each pixel given those before it.

        A pixel costs as much as a pixel of :meth:`forward`, not as much as an image: every layer
        keeps what it answered for earlier pixels, and what the rows above give is worked out for a
        whole row at a time.

        :param choose: ``choose(row, column, logits)``, with logits (n, levels) given the pixels
            so far, says which level each image gets there: (n,) int64.
        :returns: (n, size, size) int64, the levels.
        """
        size, weight = self.size, self.layers[0].weight
        out = torch.empty(size, size, n, dtype=torch.int64, device=weight.device)
        layers = [_Row(layer, size, n) for layer in self.layers]
        for i in range(size):
            for layer in layers:
                layer.begin()
            for j in range(size):
                z = layers[0].answer(j)
                for layer in layers[1:]:
                    layer.put(j, z.relu())
                    z = layer.answer(j)
                out[i, j] = choose(i, j, z.T)
                layers[0].put(j, self.gray(out[i, j]))
        return out.permute(2, 0, 1)


class _Row:
    """A masked convolution at work on one row, given the rows above. Maps are (W, C, N)."""

    def __init__(self, layer: MaskedConv2d, size: int, n: int):
        self.size, self.left, self.reach = size, layer.left, layer.kernel_size[0] // 2
        weight = layer.weight.detach().permute(0, 2, 3, 1)  # (out, row, column, in)
        self.above = weight[:, : self.reach].flatten(1)
        self.beside = weight[:, self.reach, : self.left].flatten(1)
        self.bias = layer.bias.detach()[:, None]
        blank = weight.new_zeros(size + 2 * self.reach, weight.shape[3], n)
        # The last rows, and the one at work; as many blank ones before the first.
        self.rows = [blank.clone() for _ in range(self.reach + 1)]

    def begin(self) -> None:
        self.rows = [*self.rows[1:], torch.zeros_like(self.rows[0])]
        self.given = self.bias.expand(self.size, -1, self.rows[0].shape[2])
        if self.reach:
            columns = [slice(j, j + self.size) for j in range(2 * self.reach + 1)]
            windows = [row[part] for row in self.rows[:-1] for part in columns]
            self.given = self.given + self.above @ torch.cat(windows, dim=1)

    def answer(self, j: int) -> Tensor:
        """What the convolution gives at column j, (out, N)."""
        seen = self.rows[-1][j : j + self.left].flatten(0, 1)
        return torch.addmm(self.given[j], self.beside, seen)

    def put(self, j: int, value: Tensor) -> None:
        self.rows[-1][j + self.reach] = value


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _check(x: Tensor, size: int) -> None:
    check_images(x)
    if x.shape[1:] != (1, size, size) or not len(x):
        raise ValueError(
            f"x: expected at least one image, of shape (N, 1, {size}, {size}), "
            f"found {tuple(x.shape)}; a generative model of another size is for other images"
        )
