"""What `init_from` in the config does; only a config that has it takes this file."""

from utils import UserError
from utils.checkpoint import load, set_weights, weights_to_use, without_prefixes


def init_weights(model, path, strict):
    """Load the weights alone; without `strict`, those that fit. Returns a line that says which."""
    weights = without_prefixes(weights_to_use(load(path)))
    if strict:
        set_weights(model, weights, path)
        return f"{path}: all {len(weights)} weights taken"
    own = model.state_dict()
    fitting = {k: w for k, w in weights.items() if k in own and w.shape == own[k].shape}
    if not fitting:
        raise UserError(f"{path}: none of its {len(weights)} weights fits {type(model).__name__}")
    model.load_state_dict(fitting, strict=False)
    left = [key for key in [*own, *weights] if key not in fitting]
    others = ", ".join(dict.fromkeys(left)) or "none"
    return f"{path}: {len(fitting)} of {len(own)} weights taken; not taken: {others}"
