"""Versions of a model on one device: which are there, which one runs, and what was done to them."""

from edge.inference.choice import Candidate, Entry, RegistryState
from edge.store.registry.proof import Wanted
from edge.store.registry.registry import Registry

__all__ = ["Candidate", "Entry", "Registry", "RegistryState", "Wanted"]
