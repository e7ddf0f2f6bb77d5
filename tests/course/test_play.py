"""The stepper: each button makes its steps, on copies of the student's networks and by his own functions."""

import matplotlib.pyplot as plt
import tiny
import torch
from torch import nn

from labutils.course import play
from labutils.training import STEPS


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def networks():
    torch.manual_seed(0)
    return tiny.TinyGenerator(100), tiny.TinyDiscriminator()


def game(**settings):
    return play.play_digits(*networks(), tiny.images(16), **settings)


def test_each_button_moves_its_player(shown):
    digits = game()
    before = [weights(net) for net in (digits.generator, digits.discriminator)]
    for name, moved in (
        ("one D step", (False, True)),
        ("one G step", (True, True)),
        ("back to the start", (False,) * 2),
    ):
        digits.buttons[name].click()
        now = [weights(net) for net in (digits.generator, digits.discriminator)]
        assert tuple(not torch.equal(a, b) for a, b in zip(before, now, strict=True)) == moved
    assert len(shown.pictures) == 4
    assert plt.get_fignums() == []
    assert "run the cell to press them" in shown.bundles[0]["text/plain"]


def test_k_of_each_and_the_same_way_again_from_the_start(shown):
    digits = game()
    digits.buttons["k of each"].click()
    once, norms = weights(digits.generator), digits.norms
    assert [len(norms[player]) for player in "DG"] == [10, 10]
    assert digits.said.value.startswith("L_D ")
    digits.buttons["back to the start"].click()
    assert digits.norms == {"D": [], "G": []}
    assert digits.said.value == "At the start."
    digits.buttons["k of each"].click()
    assert torch.equal(once, weights(digits.generator))
    assert digits.norms == norms


def test_the_student_s_networks_and_random_state_are_left_alone(shown):
    generator, discriminator = networks()
    before, random = (weights(generator), weights(discriminator)), torch.get_rng_state()
    play.play_digits(generator, discriminator, tiny.images(16)).turns(2)
    assert torch.equal(before[0], weights(generator))
    assert torch.equal(before[1], weights(discriminator))
    assert torch.equal(random, torch.get_rng_state())


def test_the_student_s_own_steps_are_taken_and_their_errors_are_a_sentence(shown):
    calls = []

    def own_d_step(discriminator, optimizer, real, fake):
        calls.append((real.shape, fake.shape))
        return STEPS[0](discriminator, optimizer, real, fake)

    def broken(discriminator, optimizer, fake):
        raise ValueError("no step yet")

    digits = game(steps=(own_d_step, broken))
    digits.buttons["one D step"].click()
    assert calls == [((128, 1, 28, 28),) * 2]
    digits.buttons["one G step"].click()
    assert digits.said.value == "The step raised ValueError: no step yet"


def test_in_one_dimension_the_discriminator_is_a_network_of_logits(shown):
    torch.manual_seed(0)
    generator, discriminator = (nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1)) for _ in range(2))
    line = play.play_line(generator, discriminator, lambda n: torch.randn(n, 1) + 2)
    line.buttons["k of each"].click()
    assert all(norm > 0 for steps in line.norms.values() for _, norm in steps)
    assert [axes.get_ylabel() for axes in shown.pictures[-1].axes] == ["density; probability", "norm of the gradient"]
