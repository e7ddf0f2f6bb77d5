"""The checks of the notebooks' exercises: each says what is wrong with an answer, not only that it is wrong."""

from labutils.exercises.answer import EXERCISES, Result
from labutils.exercises.data import epoch, normalise, to_pixels
from labutils.exercises.dcgan import class_kl, sample_quietly, transposed_size
from labutils.exercises.graphs import frozen, leaves, receive
from labutils.exercises.models import dropout, mlp_parameters
from labutils.exercises.stable_gans import average_step, best_smoothed, conditioning
from labutils.exercises.theory import best_discriminator, nonsaturating_step, saturating_gradient
from labutils.exercises.training import epoch_mean, generator_step_loss, slerp

__all__ = ["EXERCISES", "Result"]
__all__ += ["best_discriminator", "nonsaturating_step", "saturating_gradient"]
__all__ += ["epoch", "normalise", "to_pixels"]
__all__ += ["dropout", "mlp_parameters"]
__all__ += ["frozen", "leaves", "receive"]
__all__ += ["epoch_mean", "generator_step_loss", "slerp"]
__all__ += ["class_kl", "sample_quietly", "transposed_size"]
__all__ += ["average_step", "best_smoothed", "conditioning"]
