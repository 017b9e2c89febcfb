"""Neural fingerprints: a network trained to answer small secret changes in a way we chose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..backend import generator
from ..checks import check_count, check_number
from ..data.files import write_atomically
from ..models.contract import check_model
from .composed import Composed

FORMAT = "advlab fingerprints 1"
DISTRIBUTIONS = ("uniform", "normal")
SIGNS = ("random", "plus")


class Fingerprints(nn.Module):
    """N small changes of the input, and for each class the change of the output that they should
    make: χⁱʲ = (Δxⁱ, Δyⁱʲ). Dathathri et al. (2018).

    What they are compared with is the change of the normalized logits h,

        F(x, Δx) = φ(x + Δx) − φ(x), φ(x) = h(x) / ‖h(x)‖₂.

    A network trained by :class:`advlab.defenses.FingerprintTraining` changes so around natural
    images; elsewhere it has no reason to. An image x + Δx is not clipped: it may leave [0, 1] by
    as much as Δx does, in training and in detection alike, and the network takes it.

    They are buffers of a module, so that they move with it and are saved with it. They are a
    secret: who knows them can attack with them.

    :param dx: (N, C, H, W), the Δxⁱ.
    :param dy: (N, K, K): ``dy[i, j]`` is Δyⁱʲ, the change that Δxⁱ should make in class j.
    :raises ValueError: other shapes, or numbers that are not finite.
    """

    def __init__(self, dx: Tensor, dy: Tensor):
        super().__init__()
        n, k = len(dx), dy.shape[-1]
        if dx.ndim != 4 or not n or k < 2 or dy.shape != (n, k, k):
            raise ValueError(
                "fingerprints: expected dx of shape (N, C, H, W) and dy of shape (N, K, K), with "
                f"N at least 1 and K at least 2, found {tuple(dx.shape)} and {tuple(dy.shape)}"
            )
        if not (dx.isfinite().all() and dy.isfinite().all()):
            raise ValueError("fingerprints: expected finite numbers, found NaN or infinity")
        self.register_buffer("dx", dx.detach().clone())
        self.register_buffer("dy", dy.detach().clone())

    @classmethod
    def draw(
        cls,
        shape: tuple[int, int, int],
        classes: int,
        *,
        seed: int,
        n: int = 10,
        eps: float = 0.1,
        distribution: str = "uniform",
        alpha: float = 0.25,
        beta: float = 0.75,
        signs: str = "random",
    ) -> Self:
        """Fingerprints at random. All of them come from the seed: the seed is the secret.

        Δyⁱʲ is −α(2pᵢ − 1) in every entry but the j-th, which is β(2pᵢ − 1); p₁ … p_N ~ Bern(½).
        Dathathri et al. (2018); Zheng (2018), "Choosing fingerprints".

        Take a seed that nobody guesses, such as ``secrets.randbits(63)``: of a small one an
        attacker tries all.

        Where both signs are drawn no network makes all changes exactly: φ, φ + d and φ − d are of
        length 1 only for d = 0. So the distances below stay above 0 for natural images too. What
        counts is that they are smaller there than elsewhere.

        :param shape: (C, H, W) of an image.
        :param classes: K, at least 2.
        :param seed: the secret, from 0 up to 2⁶³.
        :param n: N, at least 1.
        :param eps: ε ≥ 0, in pixel values from 0 to 1: the half width of the uniform distribution,
            or the standard deviation of the normal one.
        :param distribution: of each entry of Δx: ``"uniform"`` on [−ε, ε], a box as in the
            paper (the code that its authors published takes [0, ε]), or ``"normal"``, N(0, ε²), as
            in the slides of Zheng (2018).
        :param alpha: α ≥ 0.
        :param beta: β ≥ 0.
        :param signs: ``"random"``, as above, or ``"plus"``: all pᵢ are 1, as in the
            authors' code for MNIST. It then asks for φ(x) · d = −½‖d‖², a low logit of the true
            class, and with a large weight in training the task is lost.
        :raises ValueError: a number out of its range, or another name.
        """
        for name, value, least in (("n", n, 1), ("classes", classes, 2), ("seed", seed, 0)):
            check_count(name, value, least)
        for name, value in (("eps", eps), ("alpha", alpha), ("beta", beta)):
            if not 0 <= value < 1e30:
                raise ValueError(f"{name}: expected a finite number, at least 0, found {value!r}")
        if distribution not in DISTRIBUTIONS:
            raise ValueError(
                f"distribution: found {distribution!r}, expected 'uniform' or 'normal'"
            )
        if signs not in SIGNS:
            raise ValueError(f"signs: found {signs!r}, expected 'random' or 'plus'")
        secret = generator(seed)
        if distribution == "uniform":
            dx = eps * (2 * torch.rand(n, *shape, generator=secret) - 1)
        else:
            dx = eps * torch.randn(n, *shape, generator=secret)
        p = torch.randint(2, (n, 1, 1), generator=secret) if signs == "random" else 1
        own = torch.eye(classes)
        return cls(dx, (2 * p - 1) * (beta * own - alpha * (1 - own)).expand(n, -1, -1))

    def response(self, model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """F(x, Δxⁱ), (B, N, K): how the normalized logits change, differentiable.

        The model is called once, on N + 1 images for each of x.

        :param model: as it is: put it in evaluation mode yourself.
        :param x: (B, C, H, W).
        :raises ValueError: images of another size, or a model with another number of classes.
        """
        if x.shape[1:] != self.dx.shape[1:]:
            raise ValueError(
                f"x: expected images {tuple(self.dx.shape[1:])}, as the fingerprints are for, "
                f"found {tuple(x.shape[1:])}"
            )
        moved = x[:, None] + self.dx.to(x.dtype)
        logits = model(torch.cat((x[:, None], moved), 1).flatten(0, 1))
        if logits.shape[1:] != self.dy.shape[2:]:
            raise ValueError(
                f"model: expected {self.dy.shape[2]} logits, as many classes as the fingerprints "
                f"are for, found {tuple(logits.shape[1:])}"
            )
        phi = F.normalize(logits, dim=1).unflatten(0, (len(x), len(self) + 1))
        return phi[:, 1:] - phi[:, :1]

    def distances(self, model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """D(x, χʲ) = 1/N Σᵢ ‖F(x, Δxⁱ) − Δyⁱʲ‖₂ for each class j: (B, K), differentiable.

        Dathathri et al. (2018), equation 9 and algorithm 1: x is accepted if any is at most τ.
        The slide of Zheng (2018) that tells the idea squares the norms; its algorithm does not.

        :raises ValueError: as :meth:`response`.
        """
        return self._away(model, x).norm(dim=3).mean(1)

    def losses(self, model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Σᵢ ‖F(x, Δxⁱ) − Δyⁱʲ‖₂² for each class j: (B, K), differentiable.

        :raises ValueError: as :meth:`response`.
        """
        return self._away(model, x).square().sum((1, 3))

    def loss(self, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
        """L_fp = Σᵢ ‖F(x, Δxⁱ) − Δyⁱᵏ‖₂² of each image, where k = y is its class: (B,)."""
        return self.losses(model, x).gather(1, y[:, None]).squeeze(1)

    def _away(self, model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """F(x, Δxⁱ) − Δyⁱʲ, (B, N, K, K)."""
        return self.response(model, x)[:, :, None] - self.dy.to(x.dtype)

    def __len__(self) -> int:
        return len(self.dx)

    def __getitem__(self, chosen: slice) -> Fingerprints:
        """Some of them: ``fingerprints[:5]`` for the first five."""
        return Fingerprints(self.dx[chosen], self.dy[chosen])

    def save(self, path: str | Path) -> Path:
        """Write them to a file, whole or not at all: safetensors, with two tensors dx and dy.

        :raises OSError: the folder cannot be written.
        """
        tensors = {name: t.cpu().contiguous() for name, t in self.state_dict().items()}
        about = {"advlab": json.dumps({"format": FORMAT})}
        write_atomically(path, safetensors.torch.save(tensors, about))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        :raises ValueError: the file is damaged, or holds something else.
        :raises OSError: there is no such file.
        """
        if not Path(path).exists():
            raise FileNotFoundError(f"no fingerprints at {path}")
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("advlab", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is damaged ({error}); save the fingerprints again") from error
        if about.get("format") != FORMAT or set(tensors) != {"dx", "dy"}:
            raise ValueError(f"{path} holds no fingerprints that Fingerprints.save wrote")
        return cls(**tensors)

    def extra_repr(self) -> str:
        return f"n={len(self)}, shape={tuple(self.dx.shape[1:])}, classes={self.dy.shape[2]}"


class Fingerprinted(nn.Module):
    """A network that carries its fingerprints, and answers as it would without.

    They are saved among its weights, and :class:`advlab.detectors.NeuralFingerprint` finds them
    there. The zoo's ``mnist-fingerprint`` is one: its fingerprints are in a public file, so an
    attacker who has it is a white-box one. For a secret, draw fingerprints of your own, train with
    them, and publish neither the file nor the seed.

    :param network: from images (N, C, H, W) in [0, 1] to logits (N, K).
    :param fingerprints: that it is, or will be, trained with.
    """

    def __init__(self, network: nn.Module, fingerprints: Fingerprints):
        super().__init__()
        check_model(network)
        self.network = network
        self.fingerprints = fingerprints

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


@dataclass(frozen=True, kw_only=True)
class FingerprintTraining(Composed):
    """L₀ + w · L_fp: the network learns its task, and to respond to the fingerprints.

    L_fp = Σᵢ ‖F(x, Δxⁱ) − Δyⁱᵏ‖₂², k the true class, see :class:`advlab.defenses.Fingerprints`;
    Dathathri et al. (2018), who write α for w. A mean over the batch. A step costs
    N + 1 passes over the batch for L_fp, and those of L₀.

    The network learns to be *sensitive* to the Δxⁱ, the opposite of what stability training asks.
    It makes nothing harder to fool; it makes fooled images easier to notice.

    The code that the authors published divides the squares by K as well: for ten classes their
    weight of 1 is our w = 0.1.

    :param fingerprints: the same as in detection; on the device of the model.
    :param weight: w ≥ 0.
    :param objective: L₀, ``objective(model, x, y)``.
    :raises ValueError: a negative weight, or something else than fingerprints.
    """

    fingerprints: Fingerprints
    weight: float = 0.1

    def __post_init__(self):
        check_number(self, "weight")
        if not isinstance(self.fingerprints, Fingerprints):
            raise ValueError(
                "fingerprints: expected advlab.defenses.Fingerprints, such as Fingerprints.draw "
                f"gives, found {type(self.fingerprints).__name__}"
            )

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        away = self.fingerprints.loss(model, x, y).mean()
        return self.objective(model, x, y) + self.weight * away
