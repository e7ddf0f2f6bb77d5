"""Figure 1 of the lab: the game between the two networks, drawn with boxes and arrows."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def game_diagram(colours: dict[str, str]) -> Figure:
    """Boxes for noise, G, fake, real sample, D and its answer; dashed arrows for the gradients that train D and G.

    Args:
        colours: of "real", "fake" and "D", as `labutils.plots.ROLES` has them.
    """
    real, fake, judge = (colours[role] for role in ("real", "fake", "D"))
    figure, axes = plt.subplots(figsize=(10, 4))

    def box(x, y, text, colour, filled=False):
        style = {"boxstyle": "round,pad=0.6", "ec": colour, "fc": colour if filled else "white", "lw": 1.8}
        ink = "white" if filled else "black"
        axes.text(x, y, text, ha="center", va="center", bbox=style, color=ink, fontsize=11)

    def arrow(start, end, colour, dashed=False, bend=0.0):
        style = {"arrowstyle": "-|>", "color": colour, "lw": 1.8, "ls": "--" if dashed else "-"}
        style |= {"connectionstyle": f"arc3,rad={bend}", "mutation_scale": 16}
        axes.annotate("", end, start, arrowprops=style)

    arrow((1.1, 1), (2.1, 1), fake)
    arrow((3.3, 1), (4.3, 1), fake)
    arrow((5.6, 1.3), (6.55, 1.8), fake)
    arrow((5.6, 2.7), (6.55, 2.2), real)
    arrow((8.4, 2), (9.3, 2), judge)
    arrow((10.2, 2.5), (7.5, 2.5), judge, dashed=True, bend=0.4)
    arrow((10.2, 1.5), (2.7, 0.5), fake, dashed=True, bend=-0.3)
    box(0.5, 1, "noise\nz ~ p_z", fake)
    box(2.7, 1, "generator\nG", fake, filled=True)
    box(5, 1, "fake\nG(z) ~ p_g", fake)
    box(5, 3, "real sample\nx ~ p_data", real)
    box(7.45, 2, "discriminator\nD", judge, filled=True)
    box(10.2, 2, "probability\nthat it is real", judge)
    axes.text(8.85, 3.25, "gradient: D tells better", ha="center", color=judge)
    axes.text(6.7, -0.6, "gradient through D: G fools better", ha="center", color=fake)
    axes.set(xlim=(-0.2, 11.2), ylim=(-0.8, 3.6), title="Figure 1. A generative adversarial network")
    axes.set_axis_off()
    plt.close(figure)
    return figure
