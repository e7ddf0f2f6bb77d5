"""A GAN played by hand: a step of D, a step of G, k of each, back to the start; densities or samples, and norms, move.

`play_line` is for networks of one number (notebook 01), `play_digits` for those of images (notebook 05).
"""

import contextlib
import copy
from collections.abc import Callable, Iterator

import ipywidgets
import matplotlib.pyplot as plt
import torch
from IPython.display import display
from matplotlib.figure import Figure
from torch import Tensor, nn

from labutils.models import sample
from labutils.plots import ROLES
from labutils.training import STEPS


class Game:
    """Copies of two networks, an Adam each, and the steps that move them; the caller's random state is left alone.

    Args:
        generator, discriminator: z (N, z_dim) -> x; `discriminator.logits(x)` is (N, 1), `discriminator(x)` D(x).
        real: n -> n real samples.
        steps: the D step and the G step, called and returning as those of `labutils.training`.
    """

    def __init__(self, generator, discriminator, real: Callable[[int], Tensor], z_dim: int, steps=STEPS, lr=2e-4):
        self.generator, self.discriminator = copy.deepcopy(generator).train(), copy.deepcopy(discriminator).train()
        self.real, self.z_dim, self.steps, self.batch = real, z_dim, steps, 128
        self.optimizers = [torch.optim.Adam(net.parameters(), lr, betas=(0.5, 0.999)) for net in self._players()]
        self._random = torch.Generator().manual_seed(0).get_state()
        with self._own_random():
            self.shown_real, self.shown_noise = real(1000), torch.randn(1000, z_dim)
        self._start = copy.deepcopy([part.state_dict() for part in (*self._players(), *self.optimizers)]), self._random
        self.back()

    def back(self) -> None:
        """To the start: weights, moments, random state; no step made."""
        states, self._random = copy.deepcopy(self._start[0]), self._start[1]
        for part, state in zip((*self._players(), *self.optimizers), states, strict=True):
            part.load_state_dict(state)
        self.norms = {"D": [], "G": []}  # of the gradient, after each step of that player: [(steps so far, norm)]
        self.losses = {}

    def step(self, player: str) -> None:
        """One step of "D" or of "G", on new noise and, for D, new real samples."""
        which = "DG".index(player)
        with self._own_random():
            fake = self.generator(torch.randn(self.batch, self.z_dim))
            given = (fake,) if which else (self.real(self.batch), fake)
            out = self.steps[which](self.discriminator, self.optimizers[which], *given)
        self.losses[player] = float(out[0] if isinstance(out, tuple) else out)
        gradients = [p.grad.norm() for p in self._players()[which].parameters() if p.grad is not None]
        norm = float(torch.stack(gradients).norm()) if gradients else 0.0
        self.norms[player].append((1 + sum(map(len, self.norms.values())), norm))

    def turns(self, k: int) -> None:
        """k times a step of D and one of G."""
        for _ in range(k):
            self.step("D")
            self.step("G")

    def _players(self) -> tuple[nn.Module, nn.Module]:
        return self.discriminator, self.generator

    @contextlib.contextmanager
    def _own_random(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._random)
            yield
            self._random = torch.get_rng_state()


def play_line(generator, discriminator, real: Callable[[int], Tensor], steps=STEPS, lr: float = 1e-3) -> Game:
    """Buttons beneath the densities of data and fakes, D(x), and the gradients' norms, in one dimension.

    Both networks are (N, 1) -> (N, 1), the discriminator's output being a logit; `real(n)` gives n samples (n, 1).
    """
    game = Game(generator, _OfLogits(discriminator), real, 1, steps, lr)
    x = torch.linspace(-5, 5, 201)
    grid = x.numpy()

    def density(samples: Tensor):  # (N, 1) -> (201,), by a narrow Gaussian on each
        return (torch.exp(-0.5 * ((x - samples) / 0.15) ** 2).mean(0) / (0.15 * (2 * torch.pi) ** 0.5)).numpy()

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(1, 2, 1)
        axes.fill_between(grid, density(game.shown_real), color=ROLES["real"], alpha=0.3, label="real samples")
        axes.plot(grid, density(sample(game.generator, game.shown_noise)), "--", color=ROLES["fake"], label="fakes")
        axes.plot(grid, sample(game.discriminator, x[:, None])[:, 0].numpy(), color=ROLES["D"], label="D(x)")
        axes.set(ylim=(0, 1.02), xlabel="x", ylabel="density; probability")
        axes.legend(fontsize=8, loc="upper right")

    return _show(game, draw)


def play_digits(generator, discriminator, images: Tensor, steps=STEPS, lr: float = 2e-4) -> Game:
    """Buttons beneath 64 samples, D's outputs on real and generated images, and the gradients' norms.

    The networks are those of `labutils.models` or yours of the same shapes, `images` (N, 1, 28, 28) in [-1, 1].
    """
    game = Game(generator, discriminator, lambda n: images[torch.randint(len(images), (n,))], 100, steps, lr)

    def draw(figure: Figure) -> None:
        fakes = sample(game.generator, game.shown_noise)  # (1000, 1, 28, 28)
        axes = figure.add_subplot(1, 3, 1)
        tiles = fakes[:64].reshape(8, 8, 28, 28).transpose(1, 2).reshape(224, 224).numpy()
        axes.imshow(tiles, cmap="gray", vmin=-1, vmax=1)
        axes.set_axis_off()
        axes = figure.add_subplot(1, 3, 2)
        for name, seen, role in (("real", game.shown_real, "real"), ("generated", fakes, "fake")):
            outputs = sample(game.discriminator, seen)[:, 0].numpy()  # (1000,)
            said = f"{name}: {outputs.mean():.2f}"
            axes.hist(outputs, bins=40, range=(0, 1), color=ROLES[role], alpha=0.6, label=said)
        axes.set(xlabel="D's output", ylabel="images of 1,000", yscale="symlog", ylim=(0, 1000))
        axes.legend(fontsize=8, title="mean on", loc="upper center")

    return _show(game, draw)


def plain_epoch(generator, discriminator, g_optimizer, d_optimizer, images, batch_size, d_step, g_step) -> list:
    """Algorithm 1 once over images (N, 1, 28, 28), in a new order; returns (L_D, L_G) of each batch. z is (N, 100)."""
    losses = []
    for batch in torch.randperm(len(images)).split(batch_size):
        fake = generator(torch.randn(len(batch), 100))
        d_loss = d_step(discriminator, d_optimizer, images[batch], fake)[0]
        losses.append((d_loss, g_step(discriminator, g_optimizer, fake)))
    return losses


class _OfLogits(nn.Module):
    """A network of logits as a discriminator: its output is D(x)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.logits = network

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(x))


def _show(game: Game, draw: Callable[[Figure], None]) -> Game:
    """The picture as an ordinary output, which stays where no kernel runs, and beneath it the buttons."""

    def picture() -> Figure:
        figure = plt.figure(figsize=(10, 3.2), layout="constrained")
        draw(figure)
        axes = figure.add_subplot(1, len(figure.axes) + 1, len(figure.axes) + 1)
        for player in "DG":
            steps, norms = zip(*game.norms[player][-200:] or [(0, float("nan"))], strict=True)
            axes.plot(steps, norms, ".-", color=ROLES[player], label=f"{player}: {len(game.norms[player])} steps")
        axes.set(xlabel="step", ylabel="norm of the gradient", ylim=(0, None))
        axes.legend(fontsize=8, loc="upper left")
        plt.close(figure)  # shown once, by its display
        return figure

    def press(button: ipywidgets.Button) -> None:
        try:
            actions[button]()
            said.value = ", ".join(f"L_{player} {loss:.3f}" for player, loss in game.losses.items()) or "At the start."
        except Exception as error:  # of the student's step: a widget would lose it in a log
            said.value = f"The step raised {type(error).__name__}: {error}"
        shown.update(picture())

    shown, said = display(picture(), display_id=True), ipywidgets.Label("At the start.")
    k = ipywidgets.BoundedIntText(10, min=1, max=1000, layout={"width": "5em"})
    names = {"one D step": lambda: game.step("D"), "one G step": lambda: game.step("G")}
    names |= {"k of each": lambda: game.turns(k.value), "back to the start": game.back}
    actions = {ipywidgets.Button(description=name): action for name, action in names.items()}
    for button in actions:
        button.on_click(press)
    row = ipywidgets.HBox([*actions, ipywidgets.Label("k ="), k])
    without_kernel = {"text/plain": f"(buttons: {', '.join(names)}; run the cell to press them)"}
    display(ipywidgets.VBox([row, said])._repr_mimebundle_() | without_kernel, raw=True)
    game.buttons, game.said = {button.description: button for button in actions}, said
    return game
