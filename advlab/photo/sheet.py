"""What is on a sheet: which images, attacked how, and what the model reads in the files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..attacks import BIM, EOT, FGSM, PGD
from ..attacks.base import Attack
from ..backend import generator
from ..data import is_there, load
from ..data.files import digest, write_atomically
from ..models import zoo
from ..models.contract import predict_logits
from .layout import paper_named
from .numbers import eps_text, packed, parse_eps, unpacked

EPS = {1: 0.3, 3: 16 / 255}  # by the number of channels
ATTACKS: dict[str, type[Attack]] = {"fgsm": FGSM, "bim": BIM, "pgd": PGD}
_CODE = re.compile(r"ADVLAB2 ([A-Z0-9 $%*+\-./:_]+?) END")
_DIGITS = 8  # of a checksum


@dataclass(frozen=True)
class Sheet:
    """What a printed sheet holds. It fits into the QR code that is printed on it.

    Image i is number ``index[i]`` of the test images of the data set that the model was trained
    on. The clean and the adversarial image are printed with 8 bits a channel, and the classes that
    the model finds in these are on the sheet: the reader asks the model about photographs only.

    :param model: a name of the zoo.
    :param attack: ``"fgsm"``, ``"bim"`` or ``"pgd"``.
    :param eps: the attack's L∞ budget, with pixel values from 0 to 1: n/255, or six digits.
    :param eot: the attack was made to survive a camera, with :class:`advlab.attacks.EOT`.
    :param seed: of the choice of images, and of the attack.
    :param paper: ``"A4"`` or ``"Letter"``.
    :param shape: (C, H, W) of an image.
    :param index: which test images, (N).
    :param truth: their true classes.
    :param clean: the classes that the model finds in the clean files.
    :param adversarial: the classes that it finds in the adversarial files.
    :param weights: the first digits of the SHA-256 of the model's weights.
    :param images: the same of the clean images, as bytes.
    """

    model: str
    attack: str
    eps: float
    eot: bool
    seed: int
    paper: str
    shape: tuple[int, int, int]
    index: tuple[int, ...]
    truth: tuple[int, ...]
    clean: tuple[int, ...]
    adversarial: tuple[int, ...]
    weights: str
    images: str

    def code(self) -> str:
        """The sheet as one line, of the few characters that a QR code stores densely.

        The numbers of the N images are four words in base 36, each of N parts of one length: every
        character less makes the cells of the QR code larger, and a blurred one easier to read.
        """
        words = [
            "ADVLAB2",
            self.model,
            self.attack + ("+EOT" if self.eot else ""),
            eps_text(self.eps),
            str(self.seed),
            self.paper,
            ".".join(map(str, self.shape)),
            self.weights,
            self.images,
            str(len(self.index)),
            *map(packed, (self.index, self.truth, self.clean, self.adversarial)),
            "END",
        ]
        return " ".join(words).upper()

    @classmethod
    def from_code(cls, text: str) -> Sheet:
        """The sheet whose line stands in a text.

        :raises ValueError: no such line, or a line that is damaged.
        """
        found = _CODE.search(text)
        if not found:
            start = text[:40] + ("..." if len(text) > 40 else "")
            raise ValueError(
                f"expected the line of an advlab sheet, ADVLAB2 ... END, found {start!r}"
            )
        try:
            model, attack, eps, seed, paper, shape, weights, images, n, *rows = found[1].split(" ")
            channels, height, width = map(int, shape.split("."))
            index, truth, clean, adversarial = (unpacked(row, int(n)) for row in rows)
            name, _, eot = attack.lower().partition("+")
            if name not in ATTACKS or eot not in ("", "eot"):
                raise ValueError(f"its attack is {attack!r}")
            return cls(
                model.lower(), name, parse_eps(eps), bool(eot), int(seed), paper_named(paper).name,
                (channels, height, width), index, truth, clean, adversarial,
                weights.lower(), images.lower(),
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"the sheet's line is damaged ({error}): {found[0]}") from error

    @classmethod
    def load(cls, path: str | os.PathLike) -> Sheet:
        """The sheet that a file holds: the PDF or PNG that was printed, or what ``--json`` said.

        :raises ValueError: a file without a sheet.
        :raises OSError: no such file.
        """
        if Path(path).is_dir():
            raise ValueError(f"{path}: found a folder, expected the file that was printed")
        try:
            return cls.from_code(Path(path).read_bytes().decode("latin-1"))
        except ValueError as error:
            raise ValueError(
                f"{path}: expected the file that 'advlab photo' wrote, and it holds no sheet; "
                "of a sheet that was saved anew by another program, give the original"
            ) from error

    def __str__(self) -> str:
        eot = " through a camera (EOT)" if self.eot else ""
        return (
            f"{len(self.index)} images of {self.model}, "
            f"{self.attack.upper()}{eot}, eps {self.eps:.4g}, seed {self.seed}, {self.paper}"
        )


@dataclass(frozen=True, eq=False)
class Printout:
    """A sheet with the images that are printed on it.

    :param sheet: what is said on it.
    :param names: of the classes.
    :param x: (N, C, H, W) in [0, 1], the clean images.
    :param x_adv: (N, C, H, W) in [0, 1], the adversarial images.
    """

    sheet: Sheet
    names: tuple[str, ...]
    x: Tensor
    x_adv: Tensor

    def write(self, path: str | os.PathLike) -> None:
        """Write a file ``.pdf`` to print, or ``.png`` to show on a screen. The same each time.

        :raises ValueError: a file of another kind, or OpenCV is not installed.
        :raises OSError: the file cannot be written.
        """
        from .drawing import draw

        kind = Path(path).suffix
        write_atomically(path, draw(self.sheet, self.x, self.x_adv, self.names, kind))


def make_sheet(
    model: str = "signs-cnn",
    *,
    attack: str = "pgd",
    eps: float | None = None,
    eot: bool = False,
    images: int = 15,
    seed: int = 0,
    paper: str = "A4",
) -> Printout:
    """Choose images, attack them, and ask the model about both.

    The images are drawn from the test images, whatever the model makes of them, with as many of
    each class as of the others. Kurakin et al. (2017) call this the average case, against the
    prefiltered case of images that are read right with confidence.

    :param model: a name of the zoo; a classifier.
    :param attack: ``"fgsm"``, ``"bim"`` or ``"pgd"``, untargeted, with the attack's own defaults.
    :param eps: ε ≥ 0, the L∞ budget, with pixel values from 0 to 1; by default 16/255 for images
        in color, 0.3 for gray ones.
    :param eot: attack the expectation over a camera: slower, and made for the photograph.
    :param images: how many; the paper sets a limit.
    :param seed: of the choice of images, and of the attack.
    :param paper: ``"A4"`` or ``"Letter"``.
    :returns: the sheet with its images, rounded to 8 bits as they are printed.
    :raises ValueError: an unknown model, attack or paper, more images than there is room for,
        a seed below 0, or an eps that is not from 0 to 1.
    """
    room = paper_named(paper).room()
    if attack not in ATTACKS:
        raise ValueError(f"attack: found {attack!r}, expected one of {', '.join(ATTACKS)}")
    if not 1 <= images <= room:
        raise ValueError(
            f"images: found {images}, expected 1 to {room}, which is what {paper} has room for; "
            "for more, print several sheets, each with a --seed of its own"
        )
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: found {seed}, expected a whole number from 0 to 2**32 - 1")
    if eps is not None and not 0 <= eps <= 1:
        raise ValueError(
            f"eps: found {eps:g}, expected 0 to 1: pixels go from 0 to 1, and 8 of 255 levels are "
            "8/255"
        )
    card = zoo.read_card(model)
    if card.unit != "images":
        raise ValueError(f"model: expected a classifier, and {model} gives every pixel a class")
    if card.data == "speech":
        raise ValueError(f"model: expected one of pictures, and {model} reads sounds")
    data = load(card.data, device="cpu")
    if data.shape[1] != data.shape[2]:
        raise ValueError(f"model: expected one of square images, and {model}'s are {data.shape}")
    network = zoo.load_model(model, device="cpu")
    # The attack gets what the sheet says, where few digits have room.
    eps = parse_eps(eps_text(float(EPS[data.shape[0]] if eps is None else eps)))
    index = _choose(data.test.y, images, seed)
    x, y = eight_bits(data.test.x[index]), data.test.y[index]
    x_adv = eight_bits(_attack(attack, eps, eot, seed)(network, x, y))
    sheet = Sheet(
        model, attack, eps, eot, seed, paper_named(paper).name,
        tuple(x.shape[1:]), tuple(index.tolist()), tuple(y.tolist()),
        classes(network, x), classes(network, x_adv),
        card.sha256[:_DIGITS], checksum(x),
    )  # fmt: skip
    return Printout(sheet, tuple(data.classes), x, x_adv)


def check_model(sheet: Sheet) -> None:
    """:raises ValueError: the model is unknown, or its weights are not those that the sheet was
    made with: what the sheet says of its files does not hold for them."""
    card = zoo.read_card(sheet.model)
    if not card.sha256.startswith(sheet.weights):
        raise ValueError(
            f"the sheet was made with {sheet.model} of SHA-256 {sheet.weights}..., and the one "
            f"installed is {card.sha256[:_DIGITS]}...; print a new sheet, or install the version "
            "of advlab that the sheet was made with"
        )


def check_data(sheet: Sheet) -> tuple[Sequence[str] | None, list[str]]:
    """The names of the classes, if the data are on this machine, and what is to be said of them.

    Nothing is downloaded.
    """
    name = zoo.read_card(sheet.model).data
    if not is_there(name):
        return None, [f"{name} is not on this machine: the classes are numbers, and unchecked"]
    data = load(name, device="cpu")
    index = torch.tensor(sheet.index)
    if index.max() < len(data.test.y):
        x, y = eight_bits(data.test.x[index]), data.test.y[index]
        if checksum(x) == sheet.images and tuple(y.tolist()) == sheet.truth:
            return data.classes, []
    return data.classes, [
        f"the images of {name} on this machine are not those that the sheet was made from; the "
        "true classes are those on the sheet"
    ]


def eight_bits(x: Tensor) -> Tensor:
    """Images as a file holds them: rounded to 256 levels, still in [0, 1]."""
    return (x * 255).round() / 255


def checksum(x: Tensor) -> str:
    """The first digits of the SHA-256 of images as bytes."""
    return digest([(x * 255).round().to(torch.uint8)])[:_DIGITS]


def classes(model: nn.Module, x: Tensor) -> tuple[int, ...]:
    """The class that the model finds in each image."""
    return tuple(predict_logits(model, x).argmax(1).tolist())


def _choose(y: Tensor, n: int, seed: int) -> Tensor:
    """Indices drawn at random: one of each class, then a second of each, and so on."""
    order = torch.randperm(len(y), generator=generator(seed))
    turn = torch.zeros(len(y), dtype=torch.int64)
    for label in y.unique():
        of_class = (y[order] == label).nonzero().squeeze(1)
        turn[of_class] = torch.arange(len(of_class))
    chosen = order[turn.argsort(stable=True)[:n]]
    return chosen[y[chosen].argsort(stable=True)]


def _attack(name: str, eps: float, eot: bool, seed: int) -> Attack:
    settings = {"seed": seed} if name == "pgd" else {}
    attack = ATTACKS[name](eps=eps, **settings)
    if not eot:
        return attack
    from ..transforms import Camera

    return EOT(attack=attack, transformation=Camera(), seed=seed)
