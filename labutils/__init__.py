"""labutils: the small package beneath the GAN notebooks. Import the modules you need, e.g. `from labutils.data import load_mnist`."""

__version__ = "1.0.0"
