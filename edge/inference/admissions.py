"""What was admitted by this process, for the next time that it is asked for.

A reload measures on a device that is busy with the very model it measures: the 99th percentile of a model that runs well came out over
its budget, and the reload was refused or a variant was lost. What was proved and timed once needs neither again.
"""

from collections.abc import Sequence

import msgspec

from edge.inference.admission import admit
from edge.inference.bundle import Bundle
from edge.inference.manifest import Manifest
from edge.inference.session import Run
from edge.inference.states import States
from edge.inference.variants import BoundVariant, Inference

KEPT = 2  # the model that runs, and the one of a reload that was refused for another reason


class _Admitted(msgspec.Struct, frozen=True):
    """One admission: of what, within which budget, and each variant as it was measured."""

    manifest: Manifest
    feature_hash: str
    budget_ns: int
    lanes: int
    variants: list[tuple[str, Run, int]]
    states: States | None

    def fitting(self, budget_ns: int) -> list[BoundVariant]:
        """The variants within a budget, as they were measured; none where one that was excluded could fit now."""
        if budget_ns > self.budget_ns and len(self.variants) < len(self.manifest.variants):
            return []
        return [BoundVariant(name, run, p99_ns) for name, run, p99_ns in self.variants if p99_ns <= budget_ns]


class Admissions:
    """Admits models, each but once."""

    def __init__(self) -> None:
        self._kept: list[_Admitted] = []

    def admit(self, bundle: Bundle, feature_names: Sequence[str], feature_hash: str, budget_ns: int, lanes: int = 1) -> Inference:
        """See edge.inference.admission.admit. Sessions and states are shared with what runs; what was learnt about their latency is not.

        The manifest lists the hash of every file, and the bundle's bytes agree with it: equal manifests are equal models.
        """
        manifest = bundle.manifest
        within_ns = min(manifest.budget_ns, budget_ns)
        for kept in self._kept:
            is_same = (kept.manifest, kept.feature_hash) == (manifest, feature_hash) and (kept.states is None or kept.lanes == lanes)
            if is_same and (variants := kept.fitting(within_ns)):
                features = [feature.name for feature in manifest.features]
                return Inference(manifest.name, manifest.version, manifest.labels, features, variants, kept.states)
        model = admit(bundle, feature_names, feature_hash, budget_ns, lanes=lanes)
        measured = [(variant.name, variant.run, variant.p99_ns) for variant in model.variants]
        self._kept = [_Admitted(manifest, feature_hash, within_ns, lanes, measured, model.states), *self._kept][:KEPT]
        return model
