"""The small package beneath the GAN notebooks; import what you need: `from labutils.data import load_mnist`."""

__version__ = "1.0.0"
