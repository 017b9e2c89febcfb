"""The adversarial patch: where it lies, what may change, what is best, and what is printed."""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import zlib

import pytest
import torch
from PIL import Image
from torch import nn

from advlab import data
from advlab.attacks import AdversarialPatch, GradientWarning, Patch, PatchInterrupted
from advlab.attacks.patch import circle
from advlab.attacks.placement import Place, Places, place
from advlab.backend import generator
from advlab.evaluation import noise_patch, patch_curve, patch_success, picture_patch
from advlab.models import load_model, predict
from advlab.transforms import Transformation

from .conftest import BinaryLinear, images, small_cnn


def square(pixels: torch.Tensor, target: int | None = None) -> Patch:
    return Patch(pixels, torch.ones_like(pixels[:1]), target)


def at(center, scale, degrees) -> Place:
    wide = torch.float64
    return Place(
        torch.tensor([center], dtype=wide),
        torch.tensor([scale], dtype=wide),
        torch.tensor([degrees], dtype=wide).deg2rad(),
    )


# Where it lies -----------------------------------------------------------------------------------


def test_at_its_own_size_it_is_copied():
    x, p = images(1, 3, (8, 10)), images(1, 3, (4, 4), seed=2)[0]
    # The middle of a patch of 4 × 4 over rows 2 to 5 and columns 5 to 8.
    put = place(x, p, torch.ones_like(p[:1]), at((7 / 10, 4 / 8), 1.0, 0))
    expected = x.clone()
    expected[0, :, 2:6, 5:9] = p
    torch.testing.assert_close(put, expected)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_it_turns_counterclockwise(quarters):
    x, p = images(1, 3, (8, 8)), images(1, 3, (4, 4), seed=2)[0]
    put = place(x, p, torch.ones_like(p[:1]), at((0.5, 0.5), 1.0, 90 * quarters))
    torch.testing.assert_close(put[0, :, 2:6, 2:6], p.rot90(quarters, (1, 2)))
    assert torch.equal(put[:, :, :1], x[:, :, :1])


def test_it_shrinks_by_averages():
    """At half and at a third of its size, each image pixel is the mean of what it covers."""
    x = images(1, 1, (6, 6))
    for k in (2, 3):
        p = images(1, 1, (2 * k, 2 * k), seed=2)[0]
        put = place(x, p, torch.ones_like(p[:1]), at((0.5, 0.5), 1 / k, 0))
        torch.testing.assert_close(put[:, :, 2:4, 2:4], nn.functional.avg_pool2d(p[None], k))
        assert torch.equal(put[:, :, :1], x[:, :, :1])


def test_images_of_one_batch_have_their_own_places():
    x, p = images(3, 1, (8, 8)), images(1, 1, (4, 4), seed=2)[0]
    mask = torch.ones_like(p)
    ways = [at((0.5, 0.5), 0.5, 0), at((0.3, 0.6), 1.0, 30), at((0.6, 0.4), 0.5, 10)]
    together = place(x, p, mask, Place(*(torch.cat(parts) for parts in zip(*ways))))
    for i, way in enumerate(ways):
        torch.testing.assert_close(together[i : i + 1], place(x[i : i + 1], p, mask, way))


def test_a_mask_lets_the_image_through():
    x, p = images(1, 3, (6, 6)), images(1, 3, (6, 6), seed=2)[0]
    mask = images(1, 1, (6, 6), seed=3)[0].round()
    put = place(x, p, mask, at((0.5, 0.5), 1.0, 0))
    torch.testing.assert_close(put[0], torch.where(mask > 0, p, x[0]))
    assert torch.equal(put[0][:, mask[0] == 0], x[0][:, mask[0] == 0])


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_it_covers_the_area_that_it_is_said_to(shape):
    mask = circle(24) if shape == "circle" else torch.ones(1, 24, 24)
    white = Patch(torch.ones(1, 24, 24), mask)
    for area in (0.02, 0.1, 0.25):
        covered = white.apply(torch.zeros(20, 1, 48, 48), area=area, rotation=45).mean((1, 2, 3))
        torch.testing.assert_close(covered, torch.full_like(covered, area), rtol=0.03, atol=0)
        whole = white.apply_at(torch.zeros(1, 1, 48, 48), area=area, center=(0.4, 0.6))
        assert whole.mean().item() == pytest.approx(area, rel=0.03)


def test_only_the_patch_changes_and_the_box_holds():
    x = images(30, 3, (20, 24)).round()  # many pixels exactly 0 and 1
    patch = Patch(images(1, 3, (24, 24), seed=2)[0].round(), circle(24).double())
    put = patch.apply(x, area=(0.05, 0.2), rotation=180)
    assert put.min() >= 0
    assert put.max() <= 1
    changed = (put != x).any(1)
    for picture in changed:
        rows, columns = picture.nonzero().unbind(1)
        # The largest disc is 2 √(0.2 · 480 / π) = 11.1 pixels wide, and its edge is soft.
        assert rows.max() - rows.min() <= 13
        assert columns.max() - columns.min() <= 13
    assert torch.equal(patch.apply(x, area=0), x)
    assert changed.flatten(1).any(1).all()


def test_places_are_spread_over_the_image_and_inside_of_it():
    places = Places((20, 30), torch.ones(1, 4, 4), (0.04, 0.16), 45)
    found = places.draw(torch.rand(4000, 4, generator=generator(0), dtype=torch.float64))
    low, high = math.sqrt(0.04 * 600 / 16), math.sqrt(0.16 * 600 / 16)
    assert found.scale.min() == pytest.approx(low, rel=0.01)
    assert found.scale.max() == pytest.approx(high, rel=0.01)
    assert found.angle.abs().max() == pytest.approx(math.pi / 4, rel=0.01)
    corners = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]]).double() * 2
    cos, sin = found.angle.cos()[:, None], found.angle.sin()[:, None]
    right = corners[:, 0] * cos + corners[:, 1] * sin
    down = corners[:, 1] * cos - corners[:, 0] * sin
    u = found.center[:, :1] * 30 + found.scale[:, None] * right
    v = found.center[:, 1:] * 20 + found.scale[:, None] * down
    for place_, end in ((u, 30), (v, 20)):
        assert place_.min() >= -1e-9
        assert place_.max() <= end + 1e-9
        assert place_.min() < 0.5
        assert place_.max() > end - 0.5


def test_a_place_depends_on_the_image_and_the_seed_alone():
    x = images(6, 1, (12, 12))
    patch = square(images(1, 1, (4, 4), seed=2)[0])
    together = patch.apply(x, area=(0.05, 0.3), rotation=45, seed=3)
    torch.testing.assert_close(patch.apply(x.flip(0), area=(0.05, 0.3), rotation=45, seed=3),
                               together.flip(0))  # fmt: skip
    alone = patch.apply(x[2:3], area=(0.05, 0.3), rotation=45, seed=3)
    torch.testing.assert_close(alone, together[2:3])
    other = patch.apply(x, area=(0.05, 0.3), rotation=45, seed=4)
    assert ((other != together).flatten(1).any(1)).all()


def test_a_region_is_respected_exactly():
    x = images(40, 3, (24, 24))
    where = torch.zeros(40, 1, 24, 24, dtype=x.dtype)
    for i, region in enumerate(where):
        region[0, i % 8 : i % 8 + 14, 5:18] = 1
    patch = Patch(images(1, 3, (8, 8), seed=2)[0], circle(8).double())
    put = patch.apply(x, area=(0.05, 0.1), rotation=90, where=where)
    changed = (put != x).any(1, keepdim=True)
    assert not (changed & (where == 0)).any()
    assert changed.flatten(1).sum(1).min() > 20
    # One region for all, and a patch too large for it.
    put = patch.apply(x, area=0.05, where=where[:1])
    assert not ((put != x) & (where[:1] == 0)).any()
    with pytest.raises(ValueError, match=r"where: a patch of 40.00% .* does not fit .* 40 of 40"):
        patch.apply(x, area=0.4, where=where)
    # Where the largest does not fit, the largest that does takes its place.
    put = patch.apply(x, area=(0.05, 0.9), where=where)
    assert not ((put != x).any(1, keepdim=True) & (where == 0)).any()


def test_the_scale_is_uniform_between_its_ends():
    places = Places((20, 30), torch.ones(1, 4, 4), (0.04, 0.16), 0)
    scale = places.draw(torch.rand(4000, 4, generator=generator(0)).double()).scale
    assert scale.mean().item() == pytest.approx((places.low + places.high) / 2, rel=0.01)


def test_the_one_place_of_the_largest_patch_is_found():
    """The region has room for one place only; here the scale, times the reach, rounds up."""
    where = torch.zeros(1, 1, 65, 65)
    where[..., 2:59, 4:61] = 1
    places = Places((65, 65), circle(27), (1e-6, 1), where=where)
    places.low = places.fits.item()
    assert places.reach * places.low > places.distance.max()
    found = places.draw(torch.ones(1, 4, dtype=torch.float64))
    assert (65 * found.center).tolist() == [[32.5, 30.5]]


def test_no_image_wears_no_patch():
    patch = square(images(1, 1, (4, 4))[0])
    x = images(0)
    assert patch.apply(x, area=0.1).shape == x.shape
    assert patch.apply(x, area=0.1, where=torch.ones(1, 1, 6, 7)).shape == x.shape
    assert patch.apply_at(x, area=0.1).shape == x.shape


@pytest.mark.parametrize("frame", [(9, 24), (24, 9)])
def test_images_that_are_not_square_or_of_another_size_than_learned_on(frame):
    patch = square(torch.ones(1, 5, 5))
    put = patch.apply(torch.zeros(30, 1, *frame), area=0.1, rotation=45)
    torch.testing.assert_close(put.mean((1, 2, 3)), torch.full((30,), 0.1), rtol=0.03, atol=0)
    whole = patch.apply(torch.zeros(2, 1, 12, 12), area=1)
    assert (whole > 0.999).float().mean() > 0.65  # all but the soft edge


# What is learned ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0, 1])
def test_on_a_linear_model_the_best_patch_is_where_the_weights_say(target):
    """At a fixed place, of its own size: 1 where w favors the target, 0 where it does not."""
    model, x = BinaryLinear((2, 8, 8)), images(20, 2, (8, 8))
    y = torch.full((20,), 1 - target)
    settings = {"area": 16 / 64, "shape": "square", "size": 4, "center": (0.5, 0.5), "rotation": 0}
    best = (model.w[:, 2:6, 2:6] > 0).double()
    best = best if target == 1 else 1 - best
    for wanted in (target, None):
        patch = AdversarialPatch(target=wanted, steps=60, lr=0.2, **settings)(model, x, y)
        assert torch.equal(patch.pixels, best)
        assert patch.target == wanted


def test_only_the_patch_s_own_pixels_are_moved():
    model, x = small_cnn(3, (12, 12)), images(20, 3, (12, 12))
    attack = AdversarialPatch(target=1, area=(0.1, 0.3), steps=5)
    patch = attack(model, x, predict(model, x).clamp(0, 0))
    outside = (patch.mask == 0).expand_as(patch.pixels)
    assert (patch.pixels[outside] == 0.5).all()
    assert (patch.pixels[~outside] != 0.5).double().mean() > 0.9
    leaf = patch.pixels.clone().requires_grad_(True)
    places = Places((12, 12), patch.mask, (0.1, 0.2), 20)
    uniform = torch.rand(4, 4, dtype=torch.float64, generator=generator(0))
    put = places.put(x[:4], leaf, patch.mask, uniform)
    (gradient,) = torch.autograd.grad(put.sum(), leaf)
    assert (gradient[outside] == 0).all()
    assert (gradient[patch.mask.expand_as(gradient) == 1] > 0).all()


@pytest.fixture(scope="module")
def digits():
    found = data.load("mnist5k", device="cpu")
    return load_model("mnist-cnn"), *(t[:300] for t in found.train), *(t[:200] for t in found.test)


def test_most_unseen_digits_are_read_as_the_target(digits):
    model, x, y, unseen, truth = digits
    patch = AdversarialPatch(target=3, area=(0.1, 0.25), steps=60)(model, x, y)
    assert patch.pixels.shape == (1, 16, 16)
    scores = patch_curve(model, patch, unseen, truth, (0, 0.05, 0.25))
    assert scores[0].success == 0
    assert scores[0].confidence > 0.95
    assert scores[2].success > 0.35
    assert scores[0].confidence > scores[1].confidence > scores[2].confidence
    assert scores[2].images == ((predict(model, unseen) == truth) & (truth != 3)).sum()
    # What is not learned does much less: nothing, noise, a picture of the target class.
    gray = dataclasses.replace(patch, pixels=torch.full_like(patch.pixels, 0.5))
    picture = picture_patch(patch, x[y == 3][0])
    for control in (gray, noise_patch(patch), picture):
        control = patch_success(model, control, unseen, truth, area=0.25)
        assert control.success < 0.5 * scores[2].success


def test_untargeted_it_changes_more_answers_than_what_merely_covers(digits):
    model, x, y, unseen, truth = digits
    patch = AdversarialPatch(area=(0.1, 0.25), steps=60)(model, x, y)
    assert patch.target is None
    found = patch_success(model, patch, unseen, truth, area=0.25, draws=2)
    assert found.success > 0.6
    assert found.draws == 2
    for control in (noise_patch(patch), picture_patch(patch, x[0])):
        control = patch_success(model, control, unseen, truth, area=0.25)
        assert control.success < found.success - 0.2


def test_a_region_is_respected_while_learning(digits):
    model, x, y, *_ = digits
    seen = []
    watched = nn.Sequential(model)
    watched.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    where = torch.zeros(1, 1, 28, 28)
    where[..., :14, :14] = 1
    AdversarialPatch(area=0.05, steps=3, batch_size=300)(watched, x, y, where=where)
    originals = {zlib.crc32(image[:, 14:].numpy().tobytes()) for image in x}
    assert len(seen) == 3
    for batch in seen:
        assert {zlib.crc32(i[:, 14:].contiguous().numpy().tobytes()) for i in batch} <= originals


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dark(Transformation):
    """Half of the light, and what is drawn is counted."""

    def apply(self, x, draw):
        assert draw("uniform", ()).shape == (len(x),)
        return x / 2


def test_the_camera_stands_before_the_model(digits):
    model, x, y, *_ = digits
    seen = []
    watched = nn.Sequential(model)
    watched.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].max().item()))
    AdversarialPatch(steps=2, camera=Dark())(watched, x, y)
    assert max(seen) <= 0.5
    plain = AdversarialPatch(steps=2)(model, x, y)
    with_camera = AdversarialPatch(steps=2, camera=Dark())(model, x, y)
    assert not torch.equal(plain.pixels, with_camera.pixels)
    score = patch_success(watched, plain, x[:50], y[:50], area=0.1, camera=Dark())
    assert score.confidence < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deterministic_and_the_model_left_alone(dtype):
    model, x = small_cnn(3, (10, 12), 4, dtype).train(), images(12, 3, (10, 12), dtype)
    y = torch.arange(12) % 4
    before, given, state = copy.deepcopy(model.state_dict()), x.clone(), torch.get_rng_state()
    attack = AdversarialPatch(target=2, steps=4, batch_size=5, samples=2, area=(0.1, 0.3))
    patch = attack(model, x, y)
    assert patch.pixels.dtype == dtype
    assert not patch.pixels.requires_grad
    assert patch.pixels.min() >= 0
    assert patch.pixels.max() <= 1
    assert torch.equal(x, given)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values()))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(attack(model, x, y).pixels, patch.pixels)
    other = dataclasses.replace(attack, seed=1)(model, x, y)
    assert not torch.equal(other.pixels, patch.pixels)
    # Images of the target class teach nothing.
    assert torch.equal(attack(model, x[y != 2], y[y != 2]).pixels, patch.pixels)


def test_an_interrupt_keeps_the_patch():
    model, x, y = small_cnn(), images(12), torch.zeros(12, dtype=torch.int64)
    calls = []

    def stop(*_):
        calls.append(0)
        if len(calls) == 4:
            raise KeyboardInterrupt

    model.register_forward_pre_hook(stop)
    attack = AdversarialPatch(target=1, steps=6, area=0.3)
    with pytest.raises(PatchInterrupted, match=r"in \.patch") as caught:
        attack(model, x, y)
    kept = caught.value.patch
    assert (kept.pixels != 0.5).any()
    assert kept.target == 1
    assert not kept.pixels.requires_grad
    more = attack(model, x, y, start=kept)
    assert not torch.equal(more.pixels, kept.pixels)


def test_a_model_without_a_gradient():
    cnn = small_cnn()

    class Rounded(nn.Module):
        def forward(self, x):
            return cnn(x.round())

    with pytest.warns(GradientWarning, match="nothing was learned"):
        AdversarialPatch(steps=2, area=0.3)(Rounded(), images(4), torch.zeros(4).long())


def test_going_on_from_the_best_patch_is_no_lack_of_a_gradient(recwarn):
    model, x, y = BinaryLinear((1, 8, 8)), images(8, 1, (8, 8)), torch.zeros(8).long()
    attack = AdversarialPatch(
        target=1, area=16 / 64, shape="square", size=4, center=(0.5, 0.5), rotation=0, steps=60,
        lr=0.2,
    )  # fmt: skip
    best = attack(model, x, y)
    assert torch.equal(attack(model, x, y, start=best).pixels, best.pixels)
    assert not recwarn.list


def test_it_is_learned_in_inference_mode_too():
    model, x, y = small_cnn(), images(6), torch.zeros(6, dtype=torch.int64)
    attack, where = AdversarialPatch(target=1, area=0.1, steps=3), torch.ones(6, 1, 6, 7)
    expected = attack(model, x, y, where=where)
    with torch.inference_mode():
        found = attack(model, images(6), torch.zeros(6, dtype=torch.int64), where=where.clone())
    assert torch.equal(found.pixels, expected.pixels)


def test_each_place_of_an_image_has_its_own_photograph():
    """Of one image at one place, the camera's draws are all that differs."""
    model, x, y = small_cnn(), images(1), torch.zeros(1, dtype=torch.int64)
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Dimmed(Transformation):
        def apply(self, x, draw):
            return x * draw("uniform", (1, 1, 1))

    AdversarialPatch(
        target=1, area=0.2, center=(0.5, 0.5), rotation=0, steps=2, samples=5, camera=Dimmed()
    )(model, x, y)
    assert [len(batch) for batch in seen] == [5, 5]
    assert len({image.sum().item() for batch in seen for image in batch}) == 10


def test_the_steps_become_smaller_to_the_end():
    """The gradient always points the same way, so Adam's step is its size: lr (1 − t / steps)."""
    model, x = BinaryLinear((1, 8, 8)), images(5, 1, (8, 8))
    attack = AdversarialPatch(
        target=1, area=16 / 64, shape="square", size=4, center=(0.5, 0.5), rotation=0, steps=4,
        lr=0.1,
    )  # fmt: skip
    moved = (attack(model, x, torch.zeros(5).long()).pixels - 0.5).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * (1 + 0.75 + 0.5 + 0.25)),
                               rtol=0.02, atol=0)  # fmt: skip


def test_progress_only_when_asked(capfd):
    model, x, y = small_cnn(), images(4), torch.zeros(4, dtype=torch.int64)
    attack = AdversarialPatch(steps=3, area=0.3)
    attack(model, x, y)
    assert capfd.readouterr() == ("", "")
    attack(model, x, y, progress=True)
    assert "3/3" in capfd.readouterr().err


# How it is judged --------------------------------------------------------------------------------


def test_each_draw_has_its_own_places_and_photographs():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Dimmed(Transformation):
        def apply(self, x, draw):
            return x * draw("uniform", (1, 1, 1))

    model, x, seen = small_cnn(), images(8), []
    y, patch = predict(model, x), square(torch.ones(1, 3, 3))
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    for how in ({"area": 0.1}, {"area": 0, "camera": Dimmed()}):
        patch_success(model, patch, x, y, draws=3, **how)
        one, two, three = seen[-3:]
        assert ((one != two) & (two != three) & (one != three)).flatten(1).any(1).all()


def test_an_image_that_is_judged_keeps_its_own_region():
    model, x, seen = small_cnn(), images(8), []
    y, where = predict(model, x), torch.zeros(8, 1, 6, 7, dtype=torch.bool)
    y[::2] = (y[::2] + 1) % 3  # every other one is wrong, and its region is on the left
    where[::2, ..., :4] = where[1::2, ..., 3:] = True
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    score = patch_success(model, square(torch.ones(1, 3, 3)), x, y, area=0.1, where=where)
    assert score.images == 4
    changed = seen[-1] != x[1::2]
    assert changed.flatten(1).any(1).all()
    assert not changed[..., :3].any()


# On disk and on paper ----------------------------------------------------------------------------


def test_saved_and_loaded(tmp_path):
    for target in (None, 4):
        patch = Patch(images(1, 3, (9, 9), torch.float32)[0], circle(9), target)
        again = Patch.load(patch.save(tmp_path / "deep" / "patch.safetensors"))
        assert torch.equal(again.pixels, patch.pixels)
        assert torch.equal(again.mask, patch.mask)
        assert again.target == target
    path = tmp_path / "broken"
    path.write_bytes(b"no patch")
    with pytest.raises(ValueError, match="is damaged"):
        Patch.load(path)
    with pytest.raises(OSError, match="no patch at"):
        Patch.load(tmp_path / "missing")


def test_a_picture_of_it(tmp_path):
    patch = Patch(images(1, 3, (8, 8), torch.float32)[0], circle(8))
    with Image.open(patch.to_png(tmp_path / "patch.png", size=80)) as picture:
        assert picture.mode == "RGBA"
        assert picture.size == (80, 80)
        assert picture.getpixel((0, 0))[3] == 0
        wanted = (255 * patch.pixels[:, 4, 4]).round().int().tolist()
        assert list(picture.getpixel((45, 45))) == [*wanted, 255]


def page_of(path) -> tuple[list[float], str]:
    """The page's box, and what is drawn on it, of an uncomplicated PDF."""
    content = path.read_bytes()
    box = [float(v) for v in re.search(rb"/MediaBox \[([^\]]*)\]", content)[1].split()]
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    texts = []
    for stream in streams:
        try:
            texts.append(zlib.decompress(stream).decode("latin-1"))
        except zlib.error:
            continue
    return box, next(text for text in texts if " cm" in text and " Do" in text)


@pytest.mark.parametrize("width", [30.0, 50.0])
def test_the_page_has_the_patch_in_its_physical_size(width, tmp_path):
    patch = Patch(images(1, 3, (12, 12), torch.float32)[0], circle(12))
    box, drawn = page_of(patch.to_pdf(tmp_path / "patch.pdf", width_mm=width))
    point = 72 / 25.4  # a millimeter
    assert box == pytest.approx([0, 0, 210 * point, 297 * point], abs=0.01)
    # A PDF draws a picture into the unit square, which the matrices before it move and make larger.
    number = r"(-?[\d.]+)"
    found = re.findall(
        rf"1 0 0 1 {number} {number} cm\s+{number} 0 0\s+{number} 0 {number} cm\s+/\w+ Do", drawn
    )
    assert len(found) == 1
    left, bottom, wide, high, up = map(float, found[0])
    assert wide == pytest.approx(width * point, abs=0.02)
    assert abs(high) == pytest.approx(width * point, abs=0.02)
    assert left + wide / 2 == pytest.approx(105 * point, abs=0.02)
    assert bottom + up + high / 2 == pytest.approx(148.5 * point, abs=0.02)
    # The bar to check the print by: a line of 10 mm.
    lines = re.findall(rf"{number} {number} m\s+{number} {number} l", drawn)
    lengths = [math.dist(map(float, line[:2]), map(float, line[2:])) for line in lines]
    assert any(length == pytest.approx(10 * point, abs=0.02) for length in lengths)
    first = (tmp_path / "patch.pdf").read_bytes()
    assert patch.to_pdf(tmp_path / "again.pdf", width_mm=width).read_bytes() == first


@pytest.mark.parametrize("density", [1.0, 0.3])
def test_the_page_shows_a_faint_patch_too(density, tmp_path):
    patch = Patch(torch.ones(3, 8, 8), torch.full((1, 8, 8), density))
    _, drawn = page_of(patch.to_pdf(tmp_path / "patch.pdf"))
    clip = drawn[: drawn.index(" Do")].rpartition(" re W n")[2]
    assert clip.count(" l\n") >= 4, "what is shown lies inside of a line"


def test_the_page_shows_the_patch_the_right_way_up(tmp_path):
    """Red above, blue below; and a mask that is narrow above and wide below is cut so."""
    pixels, mask = torch.zeros(3, 8, 8), torch.ones(1, 8, 8)
    pixels[0, :4], pixels[2, 4:], mask[0, :4, :5] = 1, 1, 0
    path = Patch(pixels, mask).to_pdf(tmp_path / "patch.pdf")
    _, drawn = page_of(path)
    number = r"(-?[\d.]+)"
    clip = drawn[: drawn.index(" Do")].rpartition(" re W n")[2]
    points = [tuple(map(float, p)) for p in re.findall(rf"{number} {number} [ml]\n", clip)]
    middle, half = 148.5 * 72 / 25.4, 105 * 72 / 25.4
    assert min(u for u, v in points if v > middle + 10) > half
    assert min(u for u, v in points if v < middle - 10) < half - 60
    # A PDF's rows go from the top down, and a negative height turns them over. The picture has two
    # colors, and the first row's first pixel is the first bit after the row's filter.
    turned = float(re.search(rf" 0\s+{number} 0 {number} cm\s+/\w+ Do", drawn)[1]) < 0
    found = re.search(
        rb"/Indexed /DeviceRGB 1 \((.{6})\).*?stream\n(.*?)\nendstream",
        path.read_bytes(),
        re.DOTALL,
    )
    first = zlib.decompress(found[2])[1] >> 7
    assert found[1][3 * first :][:3] == (b"\0\0\xff" if turned else b"\xff\0\0")


# Bad input ---------------------------------------------------------------------------------------


def test_bad_input_is_refused(tmp_path):
    for change, message in [
        ({"area": 0}, "area: expected a fraction of the image"),
        ({"area": (0.3, 0.1)}, "area: expected a fraction of the image"),
        ({"area": 1.5}, "area: expected a fraction of the image"),
        ({"area": "large"}, "area: expected a fraction of the image"),
        ({"rotation": 200}, "rotation: expected a finite number"),
        ({"shape": "star"}, "shape: expected 'circle', 'square' or a mask"),
        ({"shape": torch.zeros(1, 4, 4)}, "mask: expected values from 0 to 1, and not 0"),
        ({"shape": torch.ones(4, 4)}, r"mask: expected \(1, h, w\)"),
        ({"shape": torch.ones(1, 0, 4)}, r"mask: expected \(1, h, w\)"),
        ({"size": 0}, "size: expected a whole number from 1"),
        ({"center": (0.5, 2)}, r"center: expected \(u, v\) from 0 to 1"),
        ({"center": 0.5}, r"center: expected \(u, v\) from 0 to 1"),
        ({"steps": 0}, "steps: expected a whole number from 1"),
        ({"samples": 0}, "samples: expected a whole number from 1"),
        ({"lr": 0}, "lr: expected a finite number"),
        ({"target": -1}, "target: expected a whole number from 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            AdversarialPatch(**change)
    with pytest.raises(TypeError, match="camera: expected a transformation"):
        AdversarialPatch(camera=print)
    model, x, y = small_cnn(), images(4), torch.tensor([0, 1, 1, 1])
    attack = AdversarialPatch(target=1, steps=1, area=0.1)
    with pytest.raises(ValueError, match="at least one image to learn from"):
        attack(model, x[1:], y[1:])
    with pytest.raises(ValueError, match="expected class numbers below 3"):
        AdversarialPatch(target=7, steps=1, area=0.1)(model, x, y)
    with pytest.raises(ValueError, match=r"where: expected \(1 or 4, 1, 6, 7\)"):
        attack(model, x, y, where=torch.ones(3, 1, 6, 7))
    with pytest.raises(ValueError, match="the patch has a fixed center"):
        AdversarialPatch(center=(0.5, 0.5))(model, x, y, where=torch.ones(1, 1, 6, 7))
    with pytest.raises(ValueError, match=r"area: a patch of 90% .* does not fit into 7 × 6"):
        AdversarialPatch(area=0.9, shape="square")(model, x, y)
    with pytest.raises(ValueError, match="start: expected a patch of 1 channels, found 3"):
        attack(model, x, y, start=square(torch.ones(3, 2, 2)))
    with pytest.raises(ValueError, match="pixels and mask: expected"):
        Patch(torch.ones(1, 4, 4), torch.ones(1, 5, 5))
    with pytest.raises(ValueError, match="pixels: expected values in"):
        square(torch.full((1, 4, 4), 2.0))
    patch = square(torch.ones(1, 4, 4))
    with pytest.raises(ValueError, match="x: expected images of 1 channels"):
        patch.apply(images(2, 3), area=0.1)
    with pytest.raises(ValueError, match="width_mm: expected a patch within 180 × 237 mm"):
        patch.to_pdf(tmp_path / "wide.pdf", width_mm=190)
    tall = Patch(torch.ones(1, 40, 4), torch.ones(1, 40, 4))
    with pytest.raises(ValueError, match=r"found 100 × 1000"):
        tall.to_pdf(tmp_path / "tall.pdf", width_mm=100)
    for degrees in (-1, 181, math.nan):
        with pytest.raises(ValueError, match="rotation: expected degrees from 0 to 180"):
            patch.apply(x, area=0.1, rotation=degrees)
    with pytest.raises(ValueError, match="rotation: expected finite degrees"):
        patch.apply_at(x, area=0.1, rotation=math.nan)
    for target in (-1, "cat"):
        with pytest.raises(ValueError, match="target: expected a whole number from 0"):
            square(torch.ones(1, 4, 4), target)
    with pytest.raises(ValueError, match="patch: expected a target below 3"):
        patch_success(model, square(torch.ones(1, 4, 4), 3), x, predict(model, x), area=0.1)
    with pytest.raises(ValueError, match="expected class numbers below 3"):
        patch_success(model, patch, x, y + 5, area=0.1)
    with pytest.raises(ValueError, match="expected 1 or 3 channels to print"):
        square(torch.ones(2, 4, 4)).to_png(tmp_path / "patch.png")
    with pytest.raises(ValueError, match="none of the 4 images can be judged on"):
        patch_success(model, patch, x, (predict(model, x) + 1) % 3, area=0.1)
    with pytest.raises(ValueError, match="draws: expected at least 1"):
        patch_success(model, patch, x, predict(model, x), area=0.1, draws=0)
    with pytest.raises(ValueError, match="draws: expected at least 1, a whole number, found 1"):
        patch_success(model, patch, x, predict(model, x), area=0.1, draws=1.5)
    with pytest.raises(ValueError, match=r"picture: expected \(1, H, W\)"):
        picture_patch(patch, images(1, 3))
