"""How large everything is: sizes by the preset in force, which the environment variable LABUTILS_PRESET names."""

import os

# Sizes only, never another code path: what a TrainConfig gets from each preset.
PRESETS = {
    "smoke": {"mlp": {"epochs": 2, "images": 640}, "dcgan": {"epochs": 2, "images": 384}},
    "quick": {"mlp": {"epochs": 8}, "dcgan": {"epochs": 2}},
    "full": {"mlp": {"epochs": 100}, "dcgan": {"epochs": 100}},
}


def preset_name() -> str:
    """The preset in force: "smoke", "quick" (the default) or "full"; ValueError if LABUTILS_PRESET names another."""
    name = os.environ.get("LABUTILS_PRESET") or "quick"
    if name not in PRESETS:
        raise ValueError(f"LABUTILS_PRESET is {name!r}, which is no preset; use one of {', '.join(PRESETS)}.")
    return name


def by_preset(smoke, quick, full):
    """One of three values, whichever belongs to the preset in force: `steps = by_preset(50, 2000, 5000)`."""
    return {"smoke": smoke, "quick": quick, "full": full}[preset_name()]


def describe() -> str:
    """A line for the top of a notebook: which preset runs, what to expect of it, and how to choose another."""
    expect = by_preset(
        "only the code is tried, so small that figures and numbers do not show what the text says",
        "sizes for a lesson; where the text gives numbers, yours may differ a little",
        "the original report's sizes, hours on a laptop; numbers may be better than those in the text",
    )
    return f"Preset {preset_name()}: {expect}. (LABUTILS_PRESET chooses: {', '.join(PRESETS)}.)"
