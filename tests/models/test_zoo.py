"""The zoo: what the cards say is what the weights do."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch

from advlab.data import load
from advlab.models import CNN, accuracy, count_parameters, load_model, read_card, zoo

AT_LEAST = {
    "mnist-cnn": 0.97,
    "mnist-resnet": 0.97,
    "mnist-mlp": 0.93,
    "mnist-logistic": 0.90,
    "mnist-cnn-full": 0.992,
}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The zoo in a folder where it may be changed."""
    folder = tmp_path / "weights"
    shutil.copytree(zoo.WEIGHTS, folder)
    monkeypatch.setattr(zoo, "WEIGHTS", folder)
    return folder


def test_every_recipe_has_weights_and_every_card_a_recipe():
    assert set(zoo.names()) == set(zoo.RECIPES)
    files = {path.name for path in zoo.WEIGHTS.iterdir()}
    assert files == {f"{name}.{end}" for name in zoo.RECIPES for end in ("json", "safetensors")}


@pytest.mark.parametrize("name", sorted(zoo.RECIPES))
def test_cards_describe_their_recipes(name):
    card, recipe = read_card(name), zoo.RECIPES[name]
    assert card.model == recipe.build.__name__
    assert card.data == recipe.data
    assert card.seed == recipe.seed
    assert card.settings == {key: repr(value) for key, value in recipe.settings().items()}
    assert card.parameters == count_parameters(load_model(name)) <= 300_000


@pytest.mark.parametrize("name", sorted(n for n, r in zoo.RECIPES.items() if r.data == "mnist5k"))
def test_accuracy_is_the_cards(name, device):
    model = load_model(name, device=device)
    assert not model.training
    card = read_card(name)
    found = accuracy(model, *load(card.data).test.to(device))
    assert found == pytest.approx(card.accuracy, abs=2.5 / card.tested_on)
    assert found >= AT_LEAST[name]


def test_the_network_of_full_mnist_knows_digits_it_was_trained_on():
    # Its card's accuracy is on MNIST's own test set, which is not installed here; the embedded
    # images are all among those that it was trained on.
    assert read_card("mnist-cnn-full").accuracy >= AT_LEAST["mnist-cnn-full"]
    assert accuracy(load_model("mnist-cnn-full"), *load("mnist5k").test) >= 0.99


def test_one_changed_byte_is_refused(copy):
    path = copy / "mnist-mlp.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    for use in (load_model, zoo.verify):
        with pytest.raises(ValueError, match="SHA-256.*advlab zoo train mnist-mlp") as error:
            use("mnist-mlp")
        assert str(path) in str(error.value)


def test_verify_measures_again(copy):
    assert "90.70% of 1,000" in zoo.verify("mnist-logistic")
    path = copy / "mnist-logistic.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"accuracy": 0.95}))
    with pytest.raises(ValueError, match=r"accuracy is 90\.\d+%.*its card says 95.00%"):
        zoo.verify("mnist-logistic")


def test_verify_says_that_the_data_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path))
    assert "hash right; accuracy not measured: mnist is not on" in zoo.verify("mnist-cnn-full")


def test_training_makes_the_same_weights_each_time(copy, monkeypatch):
    recipe = zoo.RECIPES["mnist-logistic"]
    monkeypatch.setitem(
        zoo.RECIPES, "new", dataclasses.replace(recipe, settings=lambda: {"epochs": 2})
    )
    torch.manual_seed(5)
    first = zoo.train("new", progress=False)
    torch.manual_seed(6)
    again = zoo.train("new", progress=False)
    assert first.sha256 == again.sha256
    assert zoo.read_card("new") == again
    assert again.command == "advlab zoo train new"
    found = accuracy(load_model("new"), *load("mnist5k").test)
    assert found == pytest.approx(again.accuracy, abs=1e-6)


def test_unknown_names_are_answered_with_the_known():
    with pytest.raises(ValueError, match="'mnist-cn', expected one of mnist-cnn, mnist-cnn-full"):
        load_model("mnist-cn")
    with pytest.raises(ValueError, match="expected one of mnist-cnn, mnist-resnet"):
        zoo.train("mnist-cn")


def test_loading_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    load_model("mnist-logistic")
    assert torch.equal(torch.get_rng_state(), state)


def test_another_network_does_not_fit(copy, monkeypatch):
    monkeypatch.setitem(
        zoo.RECIPES,
        "mnist-logistic",
        dataclasses.replace(zoo.RECIPES["mnist-logistic"], build=CNN),
    )
    with pytest.raises(ValueError, match="mnist-logistic.*does not fit"):
        load_model("mnist-logistic")
