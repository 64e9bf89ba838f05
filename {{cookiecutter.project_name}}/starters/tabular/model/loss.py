"""Losses of your own: functions of (output, target), or classes that make one.

Those of torch need not be here: "smooth_l1_loss" or {"type": "SmoothL1Loss", "args": {...}} in
the config finds them in torch.nn.functional and torch.nn.
"""
