"""How good and how varied digits are: `score` measures images, `verdict` finds faults, `sentences` says them.

Every number is taken from 64 features of a small classifier, made for digits as Inception's are for photographs:
compare it with others from here, never with a published FID.
"""

from labutils.quality.classifier import CLASSIFIER, Classifier, classifier_folder, digit_classifier, train_classifier
from labutils.quality.defects import defects
from labutils.quality.metrics import frechet_distance, kernel_distance, neighbourhoods
from labutils.quality.score import Quality, real_against_real, real_digits, sample_many, score, truncated
from labutils.quality.verdict import RARE, Finding, sentences, verdict

# Here `score`, `verdict` and `defects` are the functions; `from labutils.quality.score import ...` reaches a module.
__all__ = ["CLASSIFIER", "RARE", "Classifier", "Finding", "Quality", "classifier_folder", "defects"]
__all__ += ["digit_classifier", "frechet_distance", "kernel_distance", "neighbourhoods", "real_against_real"]
__all__ += ["real_digits", "sample_many", "score", "sentences", "train_classifier", "truncated", "verdict"]
