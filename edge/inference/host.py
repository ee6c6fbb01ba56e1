"""The models at work in the hot process: the active one, a canary on some lanes, the former one kept warm, and what changes between them.

Owns which model answers a lane and every switch from one to another. Loads nothing, reads no clock and no file; a switch is one
assignment between two frames. What happened is noted in ``events``, for those who tell and write it down.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge.inference.guard import Guard, Limits, Trouble
from edge.inference.variants import Inference
from edge.messages import Origin

_SHARES = 10_000
Feed = Callable[[int, int, int, Sequence[float], npt.NDArray[np.float32]], None]


class Event(msgspec.Struct, frozen=True):
    """A switch.

    Args:
        kind: ``swapped``: a new version is active. ``rolled_back``: the former one is active again. ``off``: no model is at work, since
            there was none to go back to. ``canary``: a version began on a share of lanes. ``canary_ended``: it no longer acts.
            ``refused``: a version that asked for other features could not be run.
        version: that it is about: the new one, or the one that had to stop.
        to: version that is active now; "" for none.
        deployment: that is active now, or the canary's.
        trouble: why, where there was trouble.
    """

    kind: Literal["swapped", "rolled_back", "off", "canary", "canary_ended", "refused"]
    version: str
    to: str
    deployment: str
    trouble: Trouble | None = None


class Deployment:
    """One model at work, under an id that is in everything it leads to.

    Args:
        id: unique in a run.
        model: admitted and warm.
        budget_ns: of one run, by the manifest; 0: only the limits' holds.
    """

    __slots__ = ("admitted_ns", "budget_ns", "guard", "id", "made", "model", "origins")

    def __init__(self, id: str, model: Inference, budget_ns: int) -> None:  # noqa: A002
        self.id, self.model, self.budget_ns = id, model, budget_ns
        self.guard: Guard | None = None
        self.origins = {variant.name: Origin(model.name, model.version, variant.name, id) for variant in model.variants}
        self.admitted_ns = min(variant.best_ns for variant in model.variants)
        self.made = 0

    def hold(self, limits: Limits | None) -> None:
        """Say what it is held to from now on; None: nothing."""
        if limits is None:
            self.guard = None
            return
        budget_ns = min(limits.budget_ns, self.budget_ns or limits.budget_ns)
        self.guard = Guard(msgspec.structs.replace(limits, budget_ns=budget_ns))


class Host:
    """What computes scores.

    Args:
        model: at first; None when rules act on features alone.
        boot_id: of this run; the first part of every deployment's id.
        devices: name of the device on each lane; read whenever a canary needs it.

    Attributes:
        active: None: there is no model, or it is off.
        former: to go back to; None: there is none.
        canary: acts on its share of lanes.
        is_off: a model belongs here, and none is fit to act.
        labels: of every model that was and will be here.
        events: not yet told.
        retired: models that are kept no longer, to be freed by another thread; whoever lets models change must empty it.
        feed: told of every vector of the active model: lane, how often it began anew, stamp, scores (NaN where it gave none), vector.
    """

    def __init__(self, model: Inference | None, boot_id: str, devices: Sequence[str]) -> None:
        self._boot_id, self._devices, self._count = boot_id, devices, 0
        self.labels: tuple[str, ...] = model.labels if model is not None else ()
        self.active: Deployment | None = None
        self.former: Deployment | None = None
        self.canary: Deployment | None = None
        self.is_off = False
        self.events: list[Event] = []
        self.retired: list[Inference] = []
        self.feed: Feed | None = None
        self._limits: Limits | None = None
        self._share = 0
        self._is_canary: dict[int, bool] = {}
        self._may_go_back = True
        if model is not None:
            self.active = self._deploy(model, 0)

    # -- every frame -----------------------------------------------------------------------------------------------------------

    def at(self, lane: int) -> Deployment | None:
        """Who answers a lane."""
        if self.canary is None:
            return self.active
        is_canary = self._is_canary.get(lane)
        if is_canary is None:
            is_canary = self._is_canary[lane] = place(self._devices[lane]) < self._share
        return self.canary if is_canary else self.active

    def ran(self, deployment: Deployment, took_ns: int, scores: list[float], vector: npt.NDArray[np.float32], lane: int = 0) -> None:
        """A run gave scores; see Guard.ran."""
        deployment.made += 1
        if deployment.guard is not None and (trouble := deployment.guard.ran(took_ns, scores, vector, lane)):
            self.stop(deployment, trouble)

    def skipped(self, deployment: Deployment, remaining_ns: int) -> None:
        """A frame was given to no variant; held against the model if there was the time that it needed when it was admitted."""
        if remaining_ns >= deployment.admitted_ns and deployment.guard is not None and (trouble := deployment.guard.skipped()):
            self.stop(deployment, trouble)

    def fault(self, deployment: Deployment, kind: Literal["failed", "not_finite"], why: str, vector: npt.NDArray[np.float32]) -> None:
        """A run gave nothing that can be used; held against the model unless the vector itself was not finite."""
        if deployment.guard is None or not math.isfinite(float(vector.sum(dtype=np.float64))):
            return
        if trouble := deployment.guard.fault(kind, why):
            self.stop(deployment, trouble)

    def forget(self, lane: int) -> None:
        """Another device will have this lane."""
        self._is_canary.pop(lane, None)
        for deployment in (self.active, self.canary):
            if deployment is not None and deployment.guard is not None:
                deployment.guard.forget(lane)

    # -- between two frames ----------------------------------------------------------------------------------------------------

    def watch(self, limits: Limits, budget_ns: int = 0) -> None:
        """Hold the model at work, and what comes after it, to limits.

        Args:
            limits: see Limits.
            budget_ns: of one run of the model that is at work now, by its manifest; 0: only the limits' holds.
        """
        self._limits = limits
        if self.active is not None:
            self.active.budget_ns = budget_ns
        for deployment in (self.active, self.former, self.canary):
            if deployment is not None:
                deployment.hold(limits)

    def keep_warm(self, model: Inference, budget_ns: int = 0) -> None:
        """A version to go back to, where there is none yet."""
        if self.former is None:
            self.former = self._deploy(model, budget_ns)
        else:
            self.retired.append(model)

    def swap(self, model: Inference, good: str = "", budget_ns: int = 0) -> Inference | None:
        """Let a new version act from the next frame on; the one that acted is kept warm, unless the one kept so far is better.

        Args:
            model: with the labels of the one before; admitted and warm.
            good: the version that ran well last, if that is known.
            budget_ns: of one run, by its manifest; 0: only the limits' holds.

        Returns:
            What is kept no longer, to be freed elsewhere.

        Raises:
            ValueError: it has other labels: the rules would read the wrong scores.
        """
        self._check(model)
        retired = None
        if self.active is not None:
            keeps = self.former is not None and self.former.model.version == good != model.version
            gone = self.active if keeps else self.former
            retired = gone.model if gone is not None else None
            self.former = self.former if keeps else self.active
        if self.canary is not None and self.canary.model.version == model.version:
            self._end_canary()
        self.active = self._deploy(model, budget_ns)
        self.is_off, self._may_go_back = False, True
        self.events.append(Event("swapped", model.version, model.version, self.active.id))
        return retired

    def begin_canary(self, model: Inference, share: float, budget_ns: int = 0) -> None:
        """Let a version act on a share of lanes, chosen by the devices' names.

        Args:
            model: with the labels of the active one; admitted and warm.
            share: 0 to 1.
            budget_ns: as for ``swap``.

        Raises:
            ValueError: it has other labels.
        """
        self._check(model)
        self._retire(self.canary)
        if self.is_off:  # it turned off while the canary was loaded
            self.canary = None
            self.retired.append(model)
            self.events.append(Event("canary_ended", model.version, "", ""))
            return
        self.canary, self._share = self._deploy(model, budget_ns), round(share * _SHARES)
        self._is_canary.clear()
        self.events.append(Event("canary", model.version, self._version, self.canary.id))

    def end_canary(self) -> None:
        """Give the canary's lanes back to the active model, for no fault of it."""
        if self.canary is not None:
            version = self.canary.model.version
            self._end_canary()
            self.events.append(Event("canary_ended", version, self._version, self.active.id if self.active is not None else ""))

    def begin_off(self, labels: tuple[str, ...], version: str, trouble: Trouble) -> None:
        """Start without a model where one belongs.

        Args:
            labels: that it would have.
            version: that may not act.
            trouble: why.
        """
        self.labels = labels
        self.turn_off(version, trouble)

    def turn_off(self, version: str, trouble: Trouble) -> None:
        """No model may act, a canary neither: rules on scores are silent from now on."""
        self._retire(self.active)
        self.active, self.is_off = None, True
        self.end_canary()
        self.events.append(Event("off", version, "", "", trouble))

    def stop(self, deployment: Deployment, trouble: Trouble) -> None:
        """A model must not act any longer: the active one gives way to the former one, once, then to none; a canary to the active one."""
        version = deployment.model.version
        if deployment is self.canary:
            self._end_canary()
            self.events.append(Event("canary_ended", version, self._version, self.active.id if self.active is not None else "", trouble))
            return
        if deployment is not self.active:
            return
        former, self.former = self.former, None
        if former is None or not self._may_go_back:
            self._retire(former)
            self.turn_off(version, trouble)
            return
        self._may_go_back = False
        self._retire(deployment)
        self.active = self._deploy(former.model, former.budget_ns)
        self._reset_states(self.active, range(len(self._devices)))
        self.events.append(Event("rolled_back", version, former.model.version, self.active.id, trouble))

    @property
    def _version(self) -> str:
        return self.active.model.version if self.active is not None else ""

    def _deploy(self, model: Inference, budget_ns: int) -> Deployment:
        self._count += 1
        deployment = Deployment(f"{self._boot_id}-m{self._count}", model, budget_ns)
        deployment.hold(self._limits)
        return deployment

    def _check(self, model: Inference) -> None:
        if self.labels and model.labels != self.labels:
            raise ValueError(f"{model.name} {model.version} has the labels {', '.join(model.labels)}; {', '.join(self.labels)} are at work")

    def _end_canary(self) -> None:
        lanes = [lane for lane, is_canary in self._is_canary.items() if is_canary]
        self._retire(self.canary)
        self.canary = None
        self._is_canary.clear()
        if self.active is not None:
            self._reset_states(self.active, lanes)

    def _retire(self, deployment: Deployment | None) -> None:
        """Freeing a session takes milliseconds: somebody else does it."""
        if deployment is not None:
            self.retired.append(deployment.model)

    def _reset_states(self, deployment: Deployment, lanes: Sequence[int]) -> None:
        """What a model carried on before others answered its lanes belongs to another time."""
        if deployment.model.states is not None:
            for lane in lanes:
                deployment.model.states.reset(lane)


def place(device: str) -> int:
    """Where a device stands in the order in which devices come under a growing share: 0 to 9999, the same everywhere and always."""
    return zlib.crc32(device.encode("utf-8", "surrogatepass")) % _SHARES
