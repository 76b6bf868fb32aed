"""Policy versions: what a version discloses, and when a newer one asks for a new consent."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from harness.consent.modality import covers
from harness.consent.records import ChangeKind, Policy, PolicyChange
from harness.consent.request import Use


class Policies:
    """The versions of each policy in the order in which they came into force.

    Args:
        policies: all versions.
        changes: what is declared about neighbouring versions.
    """

    def __init__(self, policies: Iterable[Policy], changes: Iterable[PolicyChange]) -> None:
        self._versions: dict[str, list[Policy]] = defaultdict(list)
        for policy in sorted(policies, key=lambda p: (p.effective_from, p.version)):
            self._versions[policy.policy_id].append(policy)
        self._changes = {(c.policy_id, c.from_version, c.to_version): c for c in changes}

    def find(self, policy_id: str | None, version: str | None) -> Policy | None:
        """The version that a notice names, if the manifest holds it."""
        versions = self._versions.get(policy_id or "", [])
        return next((policy for policy in versions if policy.version == version), None)

    def faults(self, policy: Policy, use: Use) -> list[str]:
        """What is wrong with a consent that named this version, its date and digest apart."""
        current = self._in_force(policy, use)
        found = {
            "POLICY_NOT_IN_FORCE": use.now < policy.effective_from,
            "POLICY_NOT_COVERING": not all(_discloses(p, use) for p in (policy, current)),
            "POLICY_VERSION_SUPERSEDED": any(
                self._asks_anew(old, new, use) for old, new in self._way(policy, current)
            ),
        }
        return [code for code, holds in found.items() if holds]

    def _in_force(self, policy: Policy, use: Use) -> Policy:
        """The last version in force now; the named one itself where none is."""
        versions = self._versions[policy.policy_id]
        return next((p for p in reversed(versions) if p.effective_from <= use.now), policy)

    def _way(self, policy: Policy, current: Policy) -> Iterable[tuple[Policy, Policy]]:
        versions = self._versions[policy.policy_id]
        return pairwise(versions[versions.index(policy) : versions.index(current) + 1])

    def _asks_anew(self, old: Policy, new: Policy, use: Use) -> bool:
        """An undeclared change is a widening, and a widening that lists nothing adds everything."""
        change = self._changes.get((old.policy_id, old.version, new.version))
        if change is None:
            return True
        if change.kind is not ChangeKind.WIDENING:
            return False
        return not (change.operations or change.purposes or change.modalities) or (
            covers(change.operations, use.operation)
            or use.request.purpose in change.purposes
            or use.modality in change.modalities
        )


def _discloses(policy: Policy, use: Use) -> bool:
    return use.is_disclosed(policy.operations, policy.purposes, policy.modalities) and (
        {*use.request.recipients} <= {*policy.recipients}
    )
