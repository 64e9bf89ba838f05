"""What `trainer.non_finite` asks for: losses and gradients that are not finite change no weight."""

from cmath import isfinite  # of complex numbers too
from collections import deque
from itertools import islice

import torch

from utils import checkpoint, distributed
from utils.device import to_device
from utils.errors import NotFinite, RunError


class Guard:
    """Looks at each step of a trainer, leaves out a bad one, and puts a bad one into a black box.

    On the CPU NotFinite is raised before the step. On a GPU that would wait for the device, so a
    fused optimizer is told there to leave out this step and all that follow, and `look` tells of
    it, whenever somebody waits for the device anyway.
    """

    def __init__(self, trainer):
        self.policy = trainer.config.settings.trainer.non_finite
        can_go_back = hasattr(trainer.data_loader, "set_epoch")
        is_late = trainer.device.type == "cuda" and self.policy == "stop" and can_go_back
        self.may_wait = not is_late
        self.n_skipped = 0
        self._found, self._one = torch.zeros(()), torch.ones(())
        self._seen_at = None  # on the device: the first step left out, -1 while there is none
        # Where the newest steps begin, as far back as `look` may have to go
        self.newest = deque(maxlen=trainer.log_step if is_late else 1)

    def watch(self, trainer, groups):
        """The same batches, each group of which makes a step."""
        while True:
            mark = trainer.stream.mark
            if (batches := next(groups, None)) is None:
                return
            self.newest.append((trainer.batch_idx, mark, get_torch_state(trainer.device)))
            yield batches

    def check(self, trainer, loss, parameters, optimizer, norms=None):
        """Look at a loss and at the gradients of the parameters, or at these norms of them."""
        if trainer.scaler.is_enabled():
            faults = []  # it leaves out a step whose gradients overflow by itself
        elif norms is None:
            faults = self._look_at([grad for p in parameters if (grad := p.grad) is not None])
        else:
            faults = [~norm.isfinite() for norm in norms]
        if self.may_wait or not getattr(optimizer, "_step_supports_amp_scaling", False):
            fault = "a gradient is not finite" if any(one.item() for one in faults) else None
            if not isfinite(value := loss.item()):
                fault = f"the loss is {value}"
            is_shared = self.policy == "skip"  # all of several processes leave out the step
            if is_shared and any(distributed.Votes().cast(fault is not None, wait=True)):
                fault = fault or "the loss of another process is not finite"
            if fault is not None:
                self._found.zero_()
                raise NotFinite(fault)
            return
        is_bad = sum(faults, ~loss.detach().isfinite().reshape(())) > 0
        if self._seen_at is None:
            self._seen_at = is_bad.new_full((), -1, dtype=torch.float)
        step = float(trainer.step)
        self._seen_at = torch.where((self._seen_at < 0) & is_bad, step, self._seen_at)
        optimizer.found_inf = (self._seen_at >= 0).float()  # torch's own name, for its GradScaler

    def _look_at(self, gradients):
        """Numbers of which one is not zero exactly if a gradient is not finite."""
        if not gradients:
            return []
        if distributed.size() > 1 and hasattr(gradients[0], "to_local"):
            # Of sharded weights: one decision for all processes
            local = torch._foreach_norm([gradient.to_local() for gradient in gradients])
            return [~distributed.add_up(torch.stack(local).sum()).isfinite()]
        if gradients[0].is_cpu:
            try:  # what GradScaler calls: of all ways the one that takes the least time
                torch._amp_foreach_non_finite_check_and_unscale_(gradients, self._found, self._one)
                return [self._found]
            except RuntimeError:  # for sparse and for complex numbers
                pass
        gradients = [g.coalesce().values() if g.is_sparse else g for g in gradients]
        return [~torch.stack(torch._foreach_norm(gradients)).sum().isfinite()]

    def leave_out(self, trainer, error, batches):
        """Go on without a step, made of these batches, that is not finite, or stop."""
        self.n_skipped += 1
        limit = trainer.config.settings.trainer.max_skipped
        if self.policy != "skip" or self.n_skipped > limit:
            self._stop(trainer, error, trainer.step, batches)
        line = "step %d skipped, number %d: %s"
        trainer.logger.warning(line, trainer.step, self.n_skipped, error)

    def look(self, trainer):
        """Stop where steps were left out on the device. Waits for it."""
        step = -1 if self._seen_at is None else int(self._seen_at.item())
        if step >= 0:
            if not self.newest:  # in a loop of one's own
                raise RunError(f"the loss or a gradient is not finite; step {step} was not taken")
            trainer.batch_idx, mark, _ = self.newest[step - trainer.step]
            trainer.stream.begin(trainer.stream.place_of(mark))
            batches = [*islice(trainer._batches(), trainer.accumulate_steps)]
            self._stop(trainer, "the loss or a gradient is not finite", step, batches)

    def _stop(self, trainer, reason, step, batches):
        which = "" if distributed.is_main() else f"_rank{distributed.rank()}"
        path = trainer.checkpoint_dir / f"black_box_step{step}{which}.pt"
        _, mark, torch_random = self.newest[step - trainer.step or -1]
        state = trainer._state(trainer.epoch - 1) | {
            "step": step,
            "place": [*trainer.stream.place_of(mark)],
            "torch_random": torch_random,
            "batches": to_device(batches, "cpu"),
        }
        checkpoint.save(state, path)
        repeat = f"python train.py --replay {path}"
        raise RunError(f"{reason}; the step was not taken. To repeat it: {repeat}") from None


def get_torch_state(device):
    """What torch draws from on the CPU and on `device`, for `set_torch_state`; does not wait."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.default_generator.get_state(), cuda


def set_torch_state(state, device):
    torch.set_rng_state(state[0])
    if state[1] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
