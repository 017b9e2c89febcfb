"""The zoo's defended networks: a recipe each. ``advlab zoo train NAME`` makes one again."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .attacks import FGSM
from .defenses import (
    TRADES,
    VAT,
    BitDepth,
    DefenseGAN,
    EnsembleTraining,
    FastTraining,
    FGSMMix,
    Fingerprinted,
    Fingerprints,
    FingerprintTraining,
    GaussianAugmentation,
    Generator,
    HardLabels,
    KurakinMix,
    LabelSmoothing,
    PGDTraining,
    PixelCNN,
    PixelDefend,
    Purified,
    SoftLabels,
    SpecialistsPlusOne,
    StabilityTraining,
    Thermometer,
    TotalVariation,
    bounded,
)
from .guarantees import (
    ConvexTraining,
    GaussianNoise,
    IBPTraining,
    SemidefiniteTraining,
    TwoLayer,
)
from .models.cnn import CNN
from .models.zoo import Recipe, load_model
from .training import Objective


def _plain() -> dict:
    """The settings of the zoo's undefended ``mnist-cnn``."""
    return {"epochs": 12, "lr": 3e-3}


def _lowers(objective: Objective, **changes) -> Callable[[], dict]:
    """The same settings with another objective."""
    return lambda: _plain() | {"objective": objective} | changes


def _ensemble() -> dict:
    """Sources among which are none of mnist-cnn-b and mnist-resnet: those are kept for judging."""
    names = ("mnist-cnn", "mnist-mlp", "mnist-logistic")
    sources = {name: load_model(name, "cpu") for name in names}
    return _plain() | {"objective": EnsembleTraining(sources=sources)}


def _taught() -> dict:
    """A student of ``mnist-teacher``, at the temperature of its teacher."""
    teacher = load_model("mnist-teacher", "cpu")
    objective = SoftLabels(teacher=teacher, temperature=100.0, name="mnist-teacher")
    # Logits a hundred times as large take longer to learn.
    return {"epochs": 20, "lr": 3e-3, "objective": objective}


def bounded_cnn() -> nn.Module:
    """The CNN with activations of at most 1."""
    return bounded(CNN(), 1.0)


def bits_cnn() -> nn.Module:
    """Black and white in front of the CNN."""
    return nn.Sequential(BitDepth(bits=1), CNN())


def thermometer_cnn() -> nn.Module:
    """Sixteen levels of a thermometer in front of the CNN."""
    return nn.Sequential(Thermometer(levels=16), CNN(channels=16))


def tv_cnn() -> nn.Module:
    """Half the pixels, and the image of least total variation, in front of the CNN."""
    return nn.Sequential(TotalVariation(dropout=0.5, weight=0.03, steps=30), CNN())


def defense_gan_cnn() -> nn.Module:
    """The nearest image of a generator in front of the CNN."""
    return Purified(DefenseGAN(Generator(latent=32)), CNN())


def pixel_defend_cnn() -> nn.Module:
    """The likeliest image within 0.3 in front of the CNN."""
    return Purified(PixelDefend(PixelCNN(), eps_defend=0.3), CNN())


def interval_cnn() -> nn.Module:
    """Two convolutions of stride 2 in place of pooling, whose intervals would be wider."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def one_layer_cnn() -> nn.Module:
    """One convolution and a linear layer: the convex bound walks back from the logits alone."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 8, stride=4, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 10),
    )


def dropout_cnn() -> nn.Module:
    """The CNN with half of what goes into each linear layer dropped at random in training."""
    plain = CNN()
    hidden, relu, last = plain.classifier
    return nn.Sequential(plain.features, nn.Dropout(0.5), hidden, relu, nn.Dropout(0.5), last)


def _fingerprints() -> Fingerprints:
    """Ten for digits. Their seed stands here, so they are no secret: draw your own."""
    return Fingerprints.draw((1, 28, 28), 10, seed=2018)


def fingerprinted_cnn() -> nn.Module:
    """The CNN, and the fingerprints that it is trained with."""
    return Fingerprinted(CNN(), _fingerprints())


def _fingerprinted() -> dict:
    return _plain() | {"objective": FingerprintTraining(fingerprints=_fingerprints()), "epochs": 8}


def _with_generator(**settings) -> Callable[[], dict]:
    """Those of the generator, and the plain ones for the classifier."""
    return lambda: {"generator": settings, "classifier": _plain()}


def quick_cnn() -> nn.Module:
    """A CNN of a quarter of the work, since smoothing asks it thousands of times an image."""
    return CNN(stride=2)


def _noisy() -> dict:
    return {"augment": GaussianNoise(sigma=0.5), "epochs": 20, "lr": 3e-3}


def specialists_plus_one() -> nn.Module:
    """Twenty specialists and a generalist, small ones."""
    return SpecialistsPlusOne([quick_cnn() for _ in range(21)], classes=10)


def _confused() -> dict:
    return {"attack": FGSM(eps=0.2), "epochs": 12, "lr": 3e-3}


def two_layer_network() -> nn.Module:
    """One hidden layer of 100, and the prices of its certificate."""
    return TwoLayer(100)


def _semidefinite() -> dict:
    return {"objective": SemidefiniteTraining(strength=0.03), "epochs": 20, "lr": 1e-2}


RECIPES: dict[str, Recipe] = {
    "mnist-dropout": Recipe(dropout_cnn, "mnist5k", _plain, half=True),
    "mnist-bits": Recipe(bits_cnn, "mnist5k", _plain, half=True),
    "mnist-thermometer": Recipe(thermometer_cnn, "mnist5k", _plain, half=True),
    "mnist-tv": Recipe(tv_cnn, "mnist5k", _plain, half=True),
    "mnist-vat": Recipe(CNN, "mnist5k", _lowers(VAT(eps=2.0)), half=True),
    "mnist-label-smoothing": Recipe(CNN, "mnist5k", _lowers(LabelSmoothing()), half=True),
    "mnist-gda": Recipe(CNN, "mnist5k", _lowers(GaussianAugmentation(sigma=0.3)), half=True),
    "mnist-brelu": Recipe(bounded_cnn, "mnist5k", _plain, half=True),
    "mnist-gda-brelu": Recipe(
        bounded_cnn, "mnist5k", _lowers(GaussianAugmentation(sigma=0.3)), half=True
    ),
    "mnist-stability": Recipe(CNN, "mnist5k", _lowers(StabilityTraining(sigma=0.2)), half=True),
    "mnist-fingerprint": Recipe(fingerprinted_cnn, "mnist5k", _fingerprinted, half=True),
    "mnist-fgsm-mix": Recipe(CNN, "mnist5k", _lowers(FGSMMix()), half=True),
    "mnist-kurakin": Recipe(CNN, "mnist5k", _lowers(KurakinMix()), half=True),
    "mnist-ensemble": Recipe(CNN, "mnist5k", _ensemble, half=True),
    "mnist-teacher": Recipe(
        CNN, "mnist5k", _lowers(HardLabels(temperature=100.0), epochs=20), half=True
    ),
    "mnist-distilled": Recipe(CNN, "mnist5k", _taught, half=True),
    "mnist-trades": Recipe(
        CNN,
        "mnist5k",
        _lowers(TRADES(beta=2.0, steps=5, ramp=0.6), epochs=8),
        half=True,
    ),
    "mnist-pgd": Recipe(
        CNN, "mnist5k", _lowers(PGDTraining(steps=5, ramp=0.6), epochs=10), half=True
    ),
    "mnist-fast": Recipe(CNN, "mnist5k", _lowers(FastTraining(ramp=0.6)), half=True),
    "mnist-defense-gan": Recipe(
        defense_gan_cnn, "mnist5k", _with_generator(steps=4000, lr=5e-4), half=True
    ),
    "mnist-pixel-defend": Recipe(pixel_defend_cnn, "mnist5k", _with_generator(passes=6), half=True),
    "mnist-two-layer": Recipe(two_layer_network, "mnist5k", _semidefinite, half=True),
    "mnist-smoothing": Recipe(quick_cnn, "mnist5k", _noisy, half=True),
    "mnist-specialists": Recipe(specialists_plus_one, "mnist5k", _confused, half=True),
    "mnist-ibp": Recipe(
        interval_cnn,
        "mnist5k",
        _lowers(IBPTraining(eps=0.2), epochs=20, batch_size=100),
        half=True,
    ),
    "mnist-convex": Recipe(
        one_layer_cnn,
        "mnist5k",
        _lowers(ConvexTraining(eps=0.1), epochs=8, batch_size=50),
        half=True,
    ),
}
