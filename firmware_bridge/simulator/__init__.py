"""A world for a LIDAR: sensors, scenes and a vehicle to drive in them, for training and for tests of the closed loop.

It owns no clock, no file and no socket, and imports nothing of ``edge``. SI units; x forward, y left, z up.
"""

from firmware_bridge.simulator.cast import EgoPose
from firmware_bridge.simulator.ground import Ground
from firmware_bridge.simulator.scenarios import SCENARIOS, scenario
from firmware_bridge.simulator.scene import Scene, Thing, Track
from firmware_bridge.simulator.scenes import KINDS, random_ego, random_scene
from firmware_bridge.simulator.sense import LABEL_GROUND, LABEL_OTHER, LABEL_VEHICLE, LABEL_VULNERABLE, Turn, scan
from firmware_bridge.simulator.sensor import PRESETS, Mount, SensorModel, vary, vary_mount
from firmware_bridge.simulator.vehicle import Path, Vehicle, VehicleModel
from firmware_bridge.simulator.world import Scenario, World

__all__ = [
    "KINDS", "LABEL_GROUND", "LABEL_OTHER", "LABEL_VEHICLE", "LABEL_VULNERABLE", "PRESETS", "SCENARIOS", "EgoPose", "Ground", "Mount",
    "Path", "Scenario", "Scene", "SensorModel", "Thing", "Track", "Turn", "Vehicle", "VehicleModel", "World", "random_ego",
    "random_scene", "scan", "scenario", "vary", "vary_mount",
]  # fmt: skip
