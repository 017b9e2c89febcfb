"""The pictures say what they should: their data, texts and scales are those that went in."""

import gc
import re
import weakref

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlab import threat, viz
from advlab.attacks import FGSM
from advlab.evaluation import TransferMatrix, transfer_matrix


class Linear(nn.Module):
    """Three classes on 4 × 4 images, by a fixed matrix."""

    def __init__(self):
        super().__init__()
        source = torch.Generator().manual_seed(0)
        self.register_buffer("w", 2 * torch.randn(16, 3, generator=source))

    def forward(self, x):
        return (x.flatten(1) - 0.5) @ self.w


def images(n=2, channels=1, seed=0):
    source = torch.Generator().manual_seed(seed)
    return 0.2 + 0.6 * torch.rand(n, channels, 4, 4, generator=source)


def pair(channels=1):
    x = images(channels=channels)
    delta = torch.zeros_like(x)
    delta[0, 0, 1, 2], delta[1, 0, 0, 0], delta[1, 0, 3, 3] = 0.1, -0.2, 0.05
    return x, x + delta


def texts(figure):
    return " | ".join(t.get_text() for t in figure.findobj(mpl.text.Text))


def pictures(figure):
    return [image for ax in figure.axes for image in ax.images]


POINTS = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
GATE = (lambda z: (z.sum(1) - 1.5 >= 0).float(), (-0.5, 1.5), (-0.5, 1.5))
RATES = torch.tensor([[1.0, 0.5, 0], [0.3, 1.0, float("nan")]])
EVERY = {
    "show_images": lambda: viz.show_images(images(), ["a", "b"]),
    "compare": lambda: viz.compare(*pair(), torch.tensor([0, 1]), model=Linear()),
    "perturbation": lambda: viz.perturbation(pair()[1][1] - pair()[0][1]),
    "pixel_table": lambda: viz.pixel_table({"x": images()[0, 0], "s": images()[0, 0] - 0.5}),
    "heatmap": lambda: viz.heatmap(RATES, ["a", "b"], ["c", "d", "e"], framed=RATES == 1),
    "epsilon_curve": lambda: viz.epsilon_curve({"PGD": [0.9, 0.1]}, [0, 0.1], chance=0.1),
    "training_curve": lambda: viz.training_curve({"loss": [2, 1], "accuracy": [0.5, 0.9]}),
    "loss_along": lambda: viz.loss_along(Linear(), images(1), torch.tensor([0]), steps=5),
    "confidence_bars": lambda: viz.confidence_bars(torch.tensor([0.2, 0.7, 0.1]), y=0),
    "decision_boundary": lambda: viz.decision_boundary(
        Linear(), images(1), images(1, seed=1), images(1, seed=2), steps=5
    ),
    "boundary_2d": lambda: viz.boundary_2d(*GATE, POINTS, torch.tensor([0, 0, 0, 1]), steps=21),
    "network": lambda: viz.network((2, 2, 1), [[[1, 1], [-1, -1]], [[1, 1]]], [[-0.5, 1], [-1]]),
}


@pytest.mark.parametrize("name", EVERY)
def test_figure_has_same_bytes_twice_and_leaves_no_trace(name):
    plt.get_backend()  # decided on at the first look
    before, open_before = mpl.rcParams.copy(), plt.get_fignums()
    state = torch.get_rng_state()
    first, second = viz.png(EVERY[name]()), viz.png(EVERY[name]())
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert mpl.rcParams == before
    assert plt.get_fignums() == open_before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", EVERY)
def test_figure_is_white_and_opaque_whatever_the_users_style(name, tmp_path):
    plain = viz.png(EVERY[name]())
    with mpl.rc_context({"savefig.transparent": True}), plt.style.context("dark_background"):
        assert viz.png(EVERY[name]()) == plain
    pixels = plt.imread(viz.save(EVERY[name](), tmp_path / "f.png"))
    assert (pixels[0, 0, :3] == 1).all()
    assert pixels.shape[2] == 3 or (pixels[..., 3] == 1).all()


@pytest.mark.parametrize("name", EVERY)
def test_every_letter_is_inside_and_large_enough(name):
    figure = EVERY[name]()
    viz.png(figure)
    for text in figure.findobj(mpl.text.Text):
        if text.get_text() and text.get_visible():
            assert text.get_fontsize() >= 8, text
    box = figure.get_tightbbox()
    assert box.x0 >= -0.02
    assert box.y0 >= -0.02
    assert box.x1 <= figure.get_figwidth() + 0.02
    assert box.y1 <= figure.get_figheight() + 0.02


@pytest.mark.parametrize(
    "name",
    ["epsilon_curve", "training_curve", "loss_along", "confidence_bars", "decision_boundary",
     "boundary_2d"],
)  # fmt: skip
def test_axes_are_labeled(name):
    figure = EVERY[name]()
    assert figure.axes[-1].get_xlabel()
    assert all(ax.get_ylabel() for ax in figure.axes)


def test_figures_are_freed_when_dropped():
    figure = EVERY["compare"]()
    watch = weakref.ref(figure)
    del figure
    gc.collect()
    assert watch() is None


def test_style_is_asked_for_or_absent():
    before = mpl.rcParams["font.size"]
    with viz.style():
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"][0] == viz.NATURAL
    assert mpl.rcParams["font.size"] == before
    with mpl.rc_context():
        viz.use_style()
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"][0] == viz.NATURAL


def test_save_is_whole_and_png_only(tmp_path):
    viz.save(EVERY["perturbation"](), tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match=r"ends in \.png"):
        viz.save(EVERY["perturbation"](), tmp_path / "a.svg")


def test_zero_is_white_and_the_scale_is_symmetric():
    middle = viz.PERTURBATION(0.5)
    assert middle[:3] == pytest.approx((1, 1, 1))
    for image in pictures(viz.compare(*pair()))[1::3]:
        assert image.get_clim() == pytest.approx((-0.2, 0.2))
        assert image.get_cmap().name == "perturbation"
    zero = pictures(viz.perturbation(torch.zeros(1, 4, 4)))[0]
    assert zero.get_clim() == (-1, 1)
    assert zero.to_rgba(0.0)[:3] == pytest.approx((1, 1, 1))


def test_show_images_shows_them():
    x = images(3, 3)
    figure = viz.show_images(x, ["a", "b", "c"], rows=2, colors=[viz.NATURAL] * 3)
    shown = pictures(figure)
    assert len(shown) == 3
    for image, given in zip(shown, x, strict=True):
        np.testing.assert_allclose(image.get_array(), given.permute(1, 2, 0), rtol=1e-6)
        assert image.get_interpolation() == "nearest"
    assert figure.axes[0].get_title() == "a"
    assert pictures(viz.show_images(images()))[0].get_clim() == (0, 1)


def test_compare_tells_magnification_norms_and_answers():
    x, x_adv = pair()
    logits = torch.tensor([[2.0, 0, 0], [0, 2, 0]]), torch.tensor([[0.0, 2, 0], [0, 2, 0]])
    figure = viz.compare(x, x_adv, torch.tensor([0, 1]), logits=logits, classes=["a", "b", "c"])
    said = texts(figure)
    assert "$\\delta$ × 5" in said
    for i in range(2):
        for norm, name in (("Linf", "L∞"), ("L2", "L2")):
            value = threat.size(x_adv - x, norm)[i].item()
            assert f"{name} = {value:.3g}" in said
    assert {"1 pixel", "2 pixels"} <= set(re.findall(r"\d pixels?", said))
    under = [ax.xaxis.label for ax in figure.axes]
    percent = f"{100 * F.softmax(logits[0][0], 0)[0].item():.0f}%"
    assert under[0].get_text() == f"✓ a ({percent})"
    assert under[0].get_color() == viz.NATURAL
    assert under[2].get_text() == f"✗ b ({percent})"
    assert under[2].get_color() == viz.ADVERSARIAL
    assert "× 2" in texts(viz.compare(x, x_adv, magnify=2))


def test_compare_asks_the_model_and_leaves_it_alone():
    x, x_adv = pair()
    model = Linear().train()
    y = model(x).argmax(1)
    said = texts(viz.compare(x, x_adv, y, model=model))
    for logits in (model(x), model(x_adv)):
        assert f"{int(logits[0].argmax())} (" in said
    assert model.training
    uncolored = viz.compare(x, x_adv, model=model).axes[0].xaxis.label
    assert uncolored.get_color() == viz.REFERENCE


def test_rgb_perturbation_shows_the_channel_that_moved_most():
    delta = torch.zeros(3, 2, 2)
    delta[:, 0, 0] = torch.tensor([0.1, -0.3, 0.2])
    figure = viz.perturbation(delta)
    assert pictures(figure)[0].get_array()[0, 0] == pytest.approx(-0.3)
    assert "moved most" in texts(figure)


def test_pixel_table_prints_every_number():
    x = images()[0, 0]
    sign = torch.tensor([[1.0, -1], [0, 1]]).repeat(2, 2)
    figure = viz.pixel_table(
        {"x": x, "sign": sign}, between=["+ 0.1 ×"], highlight=[(1, 2)], digits=2
    )
    table, signs = (ax for ax in figure.axes if ax.images)
    assert [t.get_text() for t in table.texts] == [f"{v:.2f}" for v in x.flatten()]
    assert [t.get_text() for t in signs.texts][:2] == ["+1", "−1"]
    assert signs.texts[4].get_text() == "0"
    assert "+ 0.1 ×" in texts(figure)
    assert [p.get_xy() for p in signs.patches] == [(1.5, 0.5)]
    low, high = signs.images[0].get_clim()
    assert low == -high
    tiny = viz.pixel_table({"g": torch.tensor([[-0.0001, 0.5]])})
    assert tiny.axes[0].texts[0].get_text() == "0.000"


def test_a_heatmap_says_and_colors_every_number():
    ax = viz.heatmap(
        RATES, ["a", "b"], ["c", "d", "e"], row_label="from", column_label="to", framed=RATES == 1
    ).axes[0]
    assert [t.get_text() for t in ax.texts] == ["100%", "50%", "0%", "30%", "100%", "–"]
    assert [t.get_position() for t in ax.texts][3] == (0, 1)
    assert ax.images[0].get_clim() == (0, 1)
    lightness = [
        viz.look.SUCCESS(v)[:3] @ np.array((0.299, 0.587, 0.114)) for v in np.linspace(0, 1)
    ]
    assert (np.diff(lightness) < 0).all(), "it reads in gray as well"
    assert {t.get_color() for t in ax.texts} == {viz.look.INK, "white"}
    corners = [(round(p.get_x()), round(p.get_y())) for p in ax.patches]
    assert corners == [(0, 0), (1, 1)]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("from", "to")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]


def test_a_transfer_matrix_is_drawn_with_what_it_counted():
    models = {"a": Linear(), "b": Linear()}
    x = images(20)
    matrix = transfer_matrix(models, FGSM(eps=0.2), (x, models["a"](x).argmax(1)))
    figure = matrix.plot()
    assert "FGSM(eps=0.2), n = 20" in texts(figure)
    assert "made on (source)" in texts(figure)
    assert len(figure.axes[0].patches) == 2, "a frame for each model that saw itself"
    assert matrix.n == 20


def test_curves_are_the_numbers_given():
    eps, accuracies = [0, 0.1, 0.3], {"a": [0.9, 0.5, 0.1], "b": torch.tensor([0.8, 0.7, 0.6])}
    ax = viz.epsilon_curve(accuracies, eps, chance=0.1, title="t").axes[0]
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    for label, values in accuracies.items():
        np.testing.assert_allclose(lines[label].get_xdata(), eps)
        np.testing.assert_allclose(lines[label].get_ydata(), 100 * np.asarray(values))
    looks = {(ln.get_color(), ln.get_marker(), ln.get_linestyle()) for ln in lines.values()}
    assert len({m for _, m, _ in looks}) == len({s for *_, s in looks}) == 2
    assert ax.get_ylim()[0] <= 0
    assert ax.get_ylim()[1] >= 100
    assert "L∞" in ax.get_xlabel()
    assert "chance, 10%" in texts(ax.figure)


def test_training_curve_draws_losses_and_accuracies():
    history = {"loss": [2.0, 1.0], "adversarial_accuracy": [0.1, 0.2], "seconds": [9, 9]}
    loss, accuracy = viz.training_curve(history).axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [2, 1])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [10, 20])
    assert accuracy.lines[0].get_color() == viz.ADVERSARIAL
    assert loss.lines[0].get_color() == viz.NATURAL
    assert list(loss.lines[0].get_xdata()) == [1, 2]


def test_training_curve_writes_percents_without_needless_zeros():
    for accuracies in ([0.941, 0.954, 0.96], [0.1, 0.9], [0.9912, 0.9921]):
        figure = viz.training_curve({"accuracy": accuracies})
        figure.canvas.draw()
        ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
        assert all(re.fullmatch(r"−?\d+(\.\d*[1-9])?%", tick) for tick in ticks), ticks


def test_loss_along_is_the_loss():
    model, x, y = Linear(), images(1), torch.tensor([1])
    ax = viz.loss_along(model, x, y, radius=0.4, steps=5).axes[0]
    line, noise = ax.lines
    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(leaf), y), leaf)
    for t, loss in zip(line.get_xdata(), line.get_ydata(), strict=True):
        at = (x + t * gradient.sign()).clamp(0, 1)
        assert loss == pytest.approx(F.cross_entropy(model(at), y).item(), rel=1e-5)
    assert line.get_ydata()[-1] > noise.get_ydata()[-1]


def test_decision_boundary_is_the_models_answer():
    model, x0, d1, d2 = Linear(), images(1), images(1, seed=1) - 0.5, images(1, seed=2) - 0.5
    d1, d2 = d1.sign(), d2.sign()
    figure = viz.decision_boundary(
        model, x0, d1, d2, radius=0.5, steps=7, classes=["cat", "dog", "emu"], y=torch.tensor([0])
    )
    ax = figure.axes[0]
    mesh = ax.findobj(mpl.collections.QuadMesh)[0]
    tints = mesh.to_rgba(mesh.get_array())[::4, ::4].reshape(-1, 4)
    grid = torch.linspace(-0.5, 0.5, 7)
    answers = [int(model((x0 + a * d1 + b * d2).clamp(0, 1)).argmax()) for b in grid for a in grid]
    assert len(set(answers)) > 1
    # One tint for each class, and never two classes with one tint.
    seen = {}
    for tint, answer in zip(map(tuple, tints), answers, strict=True):
        assert seen.setdefault(tint, answer) == answer
    assert len(seen) == len(set(answers))
    for answer in set(answers):
        assert ["cat", "dog", "emu"][answer] in texts(figure)


def test_boundary_2d_is_the_function():
    ax = viz.boundary_2d(*GATE, POINTS, torch.tensor([0, 0, 0, 1]), steps=21, title="AND").axes[0]
    regions = ax.findobj(mpl.collections.QuadMesh)[0].get_array()
    a = np.linspace(-0.5, 1.5, 21)
    expected = (a[None, :] + a[:, None]).astype(np.float32) >= 1.5
    np.testing.assert_array_equal(regions, expected)
    drawn = [line for line in ax.lines if line.get_marker() in ("o", "s")]
    assert [line.get_marker() for line in drawn] == ["o", "o", "o", "s"]
    three = viz.boundary_2d(lambda z: torch.cat([z, -z.sum(1, True)], 1), (-1, 1), (-1, 1))
    assert {"0", "1", "2"} <= {t.get_text() for t in three.axes[0].texts}


def test_accuracy_bars():
    ax = viz.accuracy_bars({"no attack": 0.98, "FGSM": 0.25}).axes[0]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([98, 25])
    assert [bar.get_facecolor() for bar in ax.patches] == [
        mpl.colors.to_rgba(viz.NATURAL),
        mpl.colors.to_rgba(viz.ADVERSARIAL),
    ]
    assert [t.get_text() for t in ax.texts] == ["98.0%", "25.0%"]
    with pytest.raises(ValueError, match="from 0 to 1"):
        viz.accuracy_bars({"percent": 98})


def test_confidence_bars():
    p = torch.tensor([0.25, 0.7, 0.05])
    ax = viz.confidence_bars(p, ["a", "b", "c"], y=0).axes[0]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([25, 70, 5])
    assert mpl.colors.to_hex(ax.patches[1].get_facecolor()).upper() == viz.ADVERSARIAL
    assert "a (true)" in texts(ax.figure)
    both = viz.confidence_bars(p, adversarial=p.flip(0)).axes[0]
    assert [bar.get_width() for bar in both.patches] == pytest.approx([25, 70, 5, 5, 70, 25])


def test_network_writes_weights_and_biases():
    figure = viz.network(
        (2, 2, 1), [torch.tensor([[1.0, 2], [-3, 4]]), [[5, 6]]], [[-0.5, 1.5], ["b"]]
    )
    said = {t.get_text() for t in figure.findobj(mpl.text.Text)}
    assert {"1", "2", "−3", "4", "5", "6", "b = −0.5", "b = 1.5", "b"} <= said
    assert len(figure.findobj(mpl.patches.Circle)) == 5
    arrows = [a.arrow_patch for a in figure.axes[0].texts if getattr(a, "arrow_patch", None)]
    assert len(arrows) == 6
    assert sum(a.get_linestyle() == "--" for a in arrows) == 1


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: viz.epsilon_curve({"a": [1, 0]}, [0, 1], ax=ax),
        lambda ax: viz.heatmap(RATES, ["a", "b"], ["c", "d", "e"], ax=ax),
        lambda ax: viz.boundary_2d(*GATE, steps=21, ax=ax),
        lambda ax: viz.confidence_bars(torch.tensor([0.5, 0.5]), ax=ax),
        lambda ax: viz.loss_along(Linear(), images(1), torch.tensor([0]), steps=3, ax=ax),
        lambda ax: viz.perturbation(torch.ones(1, 2, 2), ax=ax),
        lambda ax: viz.network((2, 1), ax=ax),
    ],
)
def test_ax_given_is_ax_returned(draw):
    ax = viz.Figure().add_subplot()
    assert draw(ax) is ax


X = images()
Y = torch.tensor([0, 1])
WRONG = {
    "(N, C, H, W)": lambda: viz.show_images(X[0]),
    "1 channel": lambda: viz.show_images(torch.zeros(1, 2, 4, 4)),
    "in [0, 1]": lambda: viz.show_images(X * 3),
    "at least one image": lambda: viz.show_images(X[:0]),
    "titles: expected 2": lambda: viz.show_images(X, ["a"]),
    "rows: expected": lambda: viz.show_images(X, rows=3),
    "x_adv: expected the shape": lambda: viz.compare(X, X[:1]),
    "found both": lambda: viz.compare(X, X, model=Linear(), logits=(X, X)),
    "logits: expected two": lambda: viz.compare(X, X, logits=(X, X)),
    "classes: expected a name": lambda: viz.compare(X, X, model=Linear(), classes=[]),
    "magnify: expected": lambda: viz.compare(X, X, magnify=0),
    "norm: found": lambda: viz.compare(X, X, norms=("L7",)),
    "delta: expected": lambda: viz.perturbation(X),
    "values in [−1, 1]": lambda: viz.perturbation(X[0] * float("nan")),
    "at least one table": lambda: viz.pixel_table({}),
    "at most 12": lambda: viz.pixel_table({"x": torch.zeros(13, 2)}),
    "one shape": lambda: viz.pixel_table({"x": torch.zeros(2, 2), "y": torch.zeros(3, 2)}),
    "highlight: expected": lambda: viz.pixel_table({"x": X[0, 0]}, highlight=[(4, 0)]),
    "between: expected": lambda: viz.pixel_table({"x": X[0, 0]}, between=["+"]),
    "digits: expected": lambda: viz.pixel_table({"x": X[0, 0]}, digits={}),
    "a row and a column for each name": lambda: viz.heatmap(RATES, ["a"], ["c", "d", "e"]),
    "fractions from 0 to 1": lambda: viz.heatmap(100 * RATES, ["a", "b"], ["c", "d", "e"]),
    "framed: expected": lambda: viz.heatmap(RATES, "ab", "cde", framed=torch.ones(2, 2)),
    "that rise": lambda: viz.epsilon_curve({"a": [1, 1]}, [0.1, 0]),
    "expected 2 numbers": lambda: viz.epsilon_curve({"a": [1]}, [0, 0.1]),
    "'a' in [0, 1]": lambda: viz.epsilon_curve({"a": [97, 5]}, [0, 0.1]),
    "1 to 7 curves": lambda: viz.epsilon_curve({}, [0]),
    "history: expected a name": lambda: viz.training_curve({"seconds": [1]}),
    "not percent": lambda: viz.training_curve({"accuracy": [97.0]}),
    "expected one image": lambda: viz.loss_along(Linear(), X, Y),
    "of the shape of x": lambda: viz.loss_along(Linear(), X[:1], Y[:1], {"d": X}),
    "below 3": lambda: viz.loss_along(Linear(), X[:1], Y[:1] + 7),
    "softmax first": lambda: viz.confidence_bars(torch.tensor([3.0, -1])),
    "y: expected a class": lambda: viz.confidence_bars(torch.tensor([1.0]), y=1),
    "direction1": lambda: viz.decision_boundary(Linear(), X[:1], X[:1] * 0, X[:1]),
    "radius above 0": lambda: viz.decision_boundary(Linear(), X[:1], X[:1], X[:1], radius=0),
    "limits": lambda: viz.boundary_2d(GATE[0], (1, 0), (0, 1)),
    "points: expected": lambda: viz.boundary_2d(*GATE, points=torch.zeros(3)),
    "labels: expected": lambda: viz.boundary_2d(*GATE, labels=torch.zeros(3)),
    "function: expected": lambda: viz.boundary_2d(lambda z: z[:3], (0, 1), (0, 1)),
    "layers: expected": lambda: viz.network((2,)),
    "weights: expected shapes": lambda: viz.network((2, 1), [[[1, 2, 3]]]),
    "biases: expected shapes": lambda: viz.network((2, 1), biases=[[1, 2]]),
}


@pytest.mark.parametrize("message", WRONG)
def test_errors_say_what_was_expected(message):
    with pytest.raises(ValueError) as error:
        WRONG[message]()
    assert message in str(error.value)


def test_a_transfer_map_has_each_number_and_each_frame_in_its_place():
    """Sources as rows from the top, targets as columns; the frame where the target was seen."""
    fooled = torch.zeros(2, 3, 4, dtype=torch.bool)
    for place, count in {(0, 0): 4, (0, 1): 3, (1, 0): 1, (1, 2): 2}.items():
        fooled[place][:count] = True
    seen = torch.tensor([[True, False, False], [False, False, True]])
    matrix = TransferMatrix(
        attack="A", sources=("s", "t"), targets=("a", "b", "c"), fooled=fooled,
        fooled_source=fooled[:, 0], white_box=seen, matched=False, seconds=(0.0, 0.0),
    )  # fmt: skip
    (axes,) = viz.transfer(matrix).axes
    numbers = {t.get_position(): float(t.get_text().rstrip("%")) for t in axes.texts}
    assert numbers == {(c, r): 100 * matrix.rates[r, c] for r in range(2) for c in range(3)}
    frames = {(round(f.get_x()), round(f.get_y())) for f in axes.patches}
    assert frames == {(0, 0), (2, 1)}
