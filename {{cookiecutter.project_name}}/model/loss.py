"""Losses of your own: functions of (output, target), or classes that make one.

Those of torch need not be here: "cross_entropy" or {"type": "CrossEntropyLoss", "args": {...}} in
the config finds them in torch.nn.functional and torch.nn.
"""
