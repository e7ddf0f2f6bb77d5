"""TrainConfig: all that decides how a run comes out, a line a setting, with its rule and its reason beside it."""

from dataclasses import dataclass, fields

from torch import nn

from labutils.engine.machine import DEVICES, PRECISIONS
from labutils.engine.settings import check, off_or_positive, one_of, positive, share, whole
from labutils.losses import LOSSES
from labutils.models import BATCH_NORM, INITIALISATIONS, MAX_Z_DIM, MODELS, NETWORK_SETTINGS, build
from labutils.presets import PRESETS, preset_name

# The presets' settings. Of the original MLP's runs some die; larger steps are the least change found to live. An
# average of G has no influence on the game, and draws the pictures. No run of the DCGAN has died: it keeps its steps.
TAMED = {"mlp": {"lr": 1e-3, "ema": 0.998, "ema_warmup": True}, "dcgan": {"ema": 0.998, "ema_warmup": True}}


@dataclass(frozen=True)
class TrainConfig:
    """The defaults are the original report's settings; a bad value raises ValueError with a sentence."""

    model: str = one_of("mlp", *MODELS)  # "mlp": fully connected; "dcgan": convolutional; "hybrid": between
    epochs: int = whole(100, least=1)  # the original report's; passes over the images
    images: int | None = whole(None, least=2)  # how many of the images to train on, the first ones; None: all
    batch_size: int = whole(128, least=2)  # small enough for many steps an epoch, large enough for a steady batch norm
    z_dim: int = whole(100, least=1, most=MAX_Z_DIM)  # width of the prior noise z ~ N(0, I)
    lr: float = positive(2e-4, such="2e-4")  # Adam's learning rate, both networks (Radford et al. 2016)
    beta1: float = share(0.5)  # Adam's momentum; 0.9 makes GANs oscillate (Radford et al. 2016)
    init: str = one_of("weights_init", *INITIALISATIONS)  # N(0, 0.02), the original report's; "default": PyTorch's own
    loss: str = one_of("nonsaturating", *LOSSES)  # a name in labutils.losses.LOSSES
    discriminator: str | None = one_of(None, None, *MODELS)  # "mlp" or "dcgan", if not that of `model`
    batch_norm: str = one_of("both", *BATCH_NORM)  # where DCGAN has it; a penalty wants D without: "generator"
    dropout: float = share(0.3)  # of the units of the MLP's D in a step (Srivastava et al. 2014)
    spectral_norm: bool = one_of(False, False, True)  # of D's weights (Miyato et al. 2018)
    d_lr: float | None = positive(None, such="5e-5")  # D's own rate (two time scales, Heusel et al. 2017); None: lr
    d_steps: int = whole(1, least=1)  # D steps a G step; 5 in WGAN (Arjovsky et al. 2017)
    clip: float = off_or_positive(0, such="0.01")  # D's weights are kept in [-clip, clip]; 0.01 in WGAN
    gradient_penalty: float = off_or_positive(0, such="10")  # weight of WGAN-GP's penalty (Gulrajani et al. 2017)
    r1: float = off_or_positive(0, such="10")  # weight gamma of the R1 penalty (Mescheder et al. 2018)
    penalty_every: int = whole(1, least=1)  # once in so many D steps, as many times as strong (Karras et al. 2020)
    anneal: int = whole(0, least=0)  # epochs along which the rates fall to 0, half a cosine (Loshchilov 2017); 0: off
    ema: float = share(0, such="0.999")  # decay of an average of G (Yazici et al. 2019); 0: none is made
    ema_warmup: bool = one_of(False, False, True)  # after t steps a decay of at most (1 + t) / (10 + t)
    seed: int = whole(0, least=0, most=2**63 - 1)  # set before the networks are built
    device: str = one_of("auto", *DEVICES)  # "auto": LABUTILS_DEVICE, else cuda, else mps, else cpu
    precision: str = one_of("auto", *PRECISIONS)  # "auto": the fastest here; "float32": on a CPU the plain loop's bits
    threads: int | None = whole(None, least=1, most=1024)  # of the CPU; None: PyTorch's, or 1 where that is faster

    def __post_init__(self):
        check(self)

    @classmethod
    def preset(cls, model: str = "mlp", **changes) -> "TrainConfig":
        """The tamed recipe in the size of the preset in force; `changes` go on top."""
        sizes = PRESETS[preset_name()].get(model, {})
        return cls(**({"model": model} | TAMED.get(model, {}) | sizes | changes))

    @property
    def name(self) -> str:
        """The run's folder name: the model and whatever differs from the defaults, but not the number of epochs."""
        settings = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return "-".join([self.model, *(f"{k}={v}" for k, v in settings.items() if k not in ("model", "epochs"))])

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """A new (generator, discriminator) pair: see `labutils.models.build`."""
        return build(**{name: getattr(self, name) for name in NETWORK_SETTINGS})
