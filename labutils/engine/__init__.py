"""The engine beneath the models and the loop: layers, machine, files, settings, sums; it imports nothing of ours."""
