"""What each change does to the state, as pure functions."""

from msgspec.structs import replace

from edge.inference.choice import Candidate, RegistryState

MOST_REMEMBERED = 16  # versions in each list


def activated(state: RegistryState, version: str) -> RegistryState:
    """Another version runs from now on. What ran before any run was known to be good is what there is to go back to."""
    if version == state.active:
        return replace(state, rejected=_without(state.rejected, version), candidate=_trial(state, version))
    good = state.last_known_good or state.active
    return replace(
        state,
        active=version,
        last_known_good=good,
        rejected=_without(state.rejected, version),
        candidate=_trial(state, version),
        unsettled_starts=0,
    )


def known_good(state: RegistryState) -> RegistryState:
    """The active version ran well."""
    earlier = [*_without(state.earlier_good, state.active), state.last_known_good]
    earlier = [version for version in dict.fromkeys(earlier) if version and version != state.active]
    return replace(state, last_known_good=state.active, earlier_good=earlier[-MOST_REMEMBERED:])


def rollback_targets(state: RegistryState, complete: list[str]) -> list[str]:
    """Versions to go back to, the best first."""
    good = [state.last_known_good, *reversed(state.earlier_good)]
    return [v for v in dict.fromkeys(good) if v in complete and v != state.active and v not in state.rejected]


def rolled_back(state: RegistryState, version: str) -> RegistryState:
    """Back to a version that is known to be good."""
    bad = state.active
    earlier = [good for good in state.earlier_good if good not in (bad, version)]
    rejected = [*_without(state.rejected, bad), bad] if bad else state.rejected
    return replace(
        state,
        active=version,
        last_known_good=version,
        earlier_good=earlier,
        rejected=rejected[-MOST_REMEMBERED:],
        pinned="",
        candidate=_trial(state, bad, version),
        unsettled_starts=0,
    )


def removed(state: RegistryState, version: str) -> RegistryState:
    """A version is gone from the disk."""
    return replace(state, earlier_good=_without(state.earlier_good, version), rejected=_without(state.rejected, version))


def use(state: RegistryState, version: str) -> str:
    """What a version is needed for, or ""."""
    names = {
        "active": state.active,
        "pinned": state.pinned,
        "the last known good one": state.last_known_good,
        "on trial": state.candidate.version if state.candidate else "",
    }
    return " and ".join(name for name, holder in names.items() if holder == version)


def _without(names: list[str], name: str) -> list[str]:
    return [other for other in names if other != name]


def _trial(state: RegistryState, *ended: str) -> Candidate | None:
    """The trial that goes on, if it is of none of these."""
    return None if state.candidate and state.candidate.version in ended else state.candidate
