"""Ensemble adversarial training: who is attacked, how often, and who learns nothing from it."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlab.attacks import FGSM
from advlab.defenses import EnsembleTraining, FGSMMix
from advlab.models import accuracy
from advlab.training import fit


def linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))


@pytest.fixture
def sources(device):
    return {"one": linear(1).to(device), "two": linear(2).to(device)}


def test_all_sources_and_the_model_itself_are_drawn_alike_often(sources, small_model):
    objective = EnsembleTraining(sources=sources)
    torch.manual_seed(0)
    drawn = [objective.draw(small_model) for _ in range(600)]
    count = Counter(map(id, drawn))
    assert set(count) == {id(small_model), *map(id, sources.values())}
    assert all(160 < times < 240 for times in count.values()), "200 each, but for chance"
    torch.manual_seed(0)
    again = [objective.draw(small_model) for _ in range(600)]
    assert list(map(id, again)) == list(map(id, drawn)), "the global random state decides"


def test_the_images_are_fgsm_on_the_network_drawn(sources, small_model, small_images):
    x, y = small_images
    objective = EnsembleTraining(sources=sources, eps=0.1, alpha=0.3, label="true")
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        drawn = objective.draw(small_model)
        seen.add(id(drawn))
        torch.manual_seed(seed)
        loss = objective(small_model, x, y)
        x_adv = FGSM(eps=0.1)(drawn, x, y)
        wanted = 0.3 * F.cross_entropy(small_model(x), y)
        wanted = wanted + 0.7 * F.cross_entropy(small_model(x_adv), y)
        torch.testing.assert_close(loss, wanted)
    assert len(seen) == 3


def test_by_default_the_network_drawn_decides_on_the_label(sources, small_model, small_images):
    x, y = small_images
    torch.manual_seed(3)
    drawn = EnsembleTraining(sources=sources).draw(small_model)
    torch.manual_seed(3)
    x_adv = EnsembleTraining(sources=sources, eps=0.1).adversarial(small_model, x, y)
    assert torch.equal(x_adv, FGSM(eps=0.1)(drawn, x, drawn(x).argmax(1)))


def test_the_sources_stay_as_they_are(sources, small_model, small_images):
    x, y = small_images
    sources["one"].train()
    before = {name: [p.clone() for p in s.parameters()] for name, s in sources.items()}
    objective = EnsembleTraining(sources=sources, eps=0.1)
    fit(small_model, (x, y), objective=objective, epochs=6, batch_size=3, progress=False)
    for name, network in sources.items():
        assert all(p.grad is None and p.requires_grad for p in network.parameters())
        assert all(torch.equal(p, b) for p, b in zip(network.parameters(), before[name]))
    assert sources["one"].training
    assert not any(p is q for p in small_model.parameters() for q in sources["one"].parameters())


def test_it_withstands_the_sources_better_than_training_on_its_own_attacks():
    """The images' classes differ in a brittle way, which the source's attack takes away."""
    random = torch.Generator().manual_seed(5)
    y = torch.arange(300) % 5
    x = 0.4 + 0.1 * torch.rand(300, 1, 8, 8, generator=random)
    for k in range(5):
        x[y == k, 0, k] += 0.08
        x[y == k, 0, 7, k] += 0.45
    source = linear(4)
    fit(source, (x, y), epochs=20, lr=0.02, progress=False)
    attack = FGSM(eps=0.1)
    x_adv = attack(source, x, y)
    assert accuracy(source, x_adv, y) < 0.2

    def robust(objective) -> float:
        model = linear(6)
        fit(model, (x, y), objective=objective, epochs=20, lr=0.02, progress=False)
        return accuracy(model, x_adv, y)

    plain = robust(None)
    ensemble = robust(EnsembleTraining(sources={"a": source}, eps=0.1, label="true"))
    assert ensemble > max(plain + 0.3, 0.9)


def test_a_card_names_the_sources_and_holds_no_weights(sources):
    said = repr(EnsembleTraining(sources=sources, eps=0.2))
    assert "names=('one', 'two')" in said
    assert "Linear" not in said
    assert "eps=0.2" in said


@pytest.mark.parametrize(
    ("bad", "error", "told"),
    [
        ({"sources": {}}, ValueError, "sources: expected at least one trained network"),
        ({"sources": [linear(1)]}, TypeError, "expected a mapping of names to networks, found li"),
        ({"sources": {"a": "mnist-cnn"}}, TypeError, "expected a torch.nn.Module, found str"),
        ({"sources": {"a": linear(1)}, "eps": -1}, ValueError, "eps: .* found -1"),
        ({"sources": {"a": linear(1)}, "label": "guess"}, ValueError, "label: found 'guess'"),
    ],
)
def test_bad_input_is_refused(bad, error, told):
    with pytest.raises(error, match=told):
        EnsembleTraining(**bad)


def test_it_is_the_fgsm_mix_but_for_the_one_attacked(small_model, small_images):
    """With the model itself as the only source there is nothing left to draw."""
    x, y = small_images
    alone = EnsembleTraining(sources={"itself": small_model}, eps=0.1)
    mix = FGSMMix(eps=0.1, label="predicted")
    torch.testing.assert_close(alone(small_model, x, y), mix(small_model, x, y))


def test_a_source_is_moved_to_where_the_images_are(small_model, small_images):
    x, y = small_images
    moves = []

    class Moved(nn.Sequential):
        def to(self, *where):
            moves.append(where)
            return super().to(*where)

    source = Moved(nn.Flatten(), nn.Linear(64, 5))
    objective = EnsembleTraining(sources={"a": source})
    for seed in range(6):
        torch.manual_seed(seed)
        objective.adversarial(small_model, x, y)
    assert set(moves) == {(x.device,)}
