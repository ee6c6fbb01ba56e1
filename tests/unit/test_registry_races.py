"""What was true when a change was asked for and is not any more when it could be written: refused, under the lock."""

import pytest

from edge.errors import BundleError
from edge.store.registry import Registry
from tests.unit.registry_bundles import NAME, bundle, unproved


@pytest.fixture
def registry(tmp_path):
    made = Registry(tmp_path / "device" / NAME, proof=unproved, wait_s=0.1)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        made.install(bundle(tmp_path / "source", version), "test")
    made.note_settled()
    return made


def while_proved(registry, change):
    """A writer whose proof takes so long that another one writes meanwhile."""

    def proof(*_):
        change(registry)

    return Registry(registry.folder, proof=proof, wait_s=0.1)


def test_a_trial_that_was_ended_while_its_promotion_was_proved_is_not_promoted(registry):
    registry.set_candidate("1.1.0", "shadow")
    with pytest.raises(BundleError, match=r"no version is on trial by now, not 1\.1\.0"):
        while_proved(registry, lambda other: other.clear_candidate("ann", "looks wrong")).promote("daemon")
    assert registry.state().active == "1.0.0"


def test_a_version_that_a_person_activated_while_a_promotion_was_proved_stays(registry):
    registry.set_candidate("1.1.0", "shadow")
    with pytest.raises(BundleError, match=r"1\.2\.0 is active by now, not 1\.0\.0"):
        while_proved(registry, lambda other: other.activate("1.2.0", "ann")).promote("daemon")
    assert registry.state().active == "1.2.0"


def test_only_the_expected_version_is_promoted_rolled_back_or_taken_from_its_trial(registry):
    registry.activate("1.1.0", "test")
    registry.set_candidate("1.2.0", "shadow")
    with pytest.raises(BundleError, match=r"1\.2\.0 is on trial by now, not 1\.0\.0"):
        registry.promote("daemon", expect="1.0.0")
    with pytest.raises(BundleError, match=r"1\.1\.0 is active by now, not 1\.2\.0"):
        registry.rollback("daemon", expect="1.2.0")
    registry.clear_candidate("daemon", expect="1.0.0")
    state = registry.state()
    assert (state.active, state.rejected, state.candidate and state.candidate.version) == ("1.1.0", [], "1.2.0")
    registry.clear_candidate("daemon", expect="1.2.0")
    assert registry.rollback("daemon", expect="1.1.0") == "1.0.0"
