"""A drive in one process on a virtual clock: the same car, the same messages and the same pipeline as live, and the same result each time.

What a network and a machine would take is modelled: every message travels for ``TRANSPORT_NS``, a command leaves ``PROCESSING_NS`` after
the scan that it answers arrived, and travels back.
"""

from collections.abc import Callable
from pathlib import Path

from edge.build import load
from edge.cli.demo.collision.car import STEP_S, TOPICS, Car, Record
from edge.messages import Outgoing, RawMessage
from edge.pipeline.recipe import Pipeline
from firmware_bridge.simulator import PRESETS, Scenario, World

TRANSPORT_NS = 15_000_000
PROCESSING_NS = 30_000_000


def drive(
    pipeline: Path | None, scenario: Scenario, sensor: str = "spin40", seed: int = 0, watch: Callable[[Car, Pipeline], None] | None = None
) -> Record:
    """Drive until it is decided.

    Args:
        pipeline: file; None: without the runtime.
        scenario: where.
        sensor: name of a preset.
        seed: of the sensor's noise.
        watch: called after every scan that the pipeline has taken.

    Raises:
        ConfigError: the file is wrong.
    """
    car = Car(World(scenario, PRESETS[sensor], seed=seed))
    if pipeline is None:
        while not car.is_decided:
            car.step()
        return car.record
    runtime = load(pipeline, boot_id="drive")
    link = Link(runtime)
    while not car.is_decided:
        had = car.turn
        for topic, payload in car.messages():
            link.send(topic, payload, car.world.now_ns)
        for payload in link.arrived(car.world.now_ns):
            car.obey(payload, car.world.now_ns)
        if watch is not None and car.turn is not had:
            watch(car, runtime)
        car.step(STEP_S)
    return car.record


class Link:
    """Carries messages to a pipeline and its brake commands back, both with a delay.

    Args:
        runtime: a pipeline that processes in no time.
    """

    def __init__(self, runtime: Pipeline) -> None:
        self._runtime = runtime
        self._back: list[tuple[int, bytes]] = []

    def send(self, topic: str, payload: bytes, now_ns: int) -> None:
        """Give a message to the pipeline, as received after its way there."""
        self._answer(self._runtime.step(RawMessage(topic, payload, now_ns + TRANSPORT_NS)), now_ns)
        self._answer(self._runtime.flush_scans(), now_ns)

    def arrived(self, now_ns: int) -> list[bytes]:
        """Commands whose way back is over."""
        arrived = [payload for due_ns, payload in self._back if due_ns <= now_ns]
        self._back = [(due_ns, payload) for due_ns, payload in self._back if due_ns > now_ns]
        return arrived

    def _answer(self, messages: list[Outgoing], now_ns: int) -> None:
        due_ns = now_ns + 2 * TRANSPORT_NS + PROCESSING_NS
        self._back += [(due_ns, message.payload) for message in messages if message.kind == "command" and message.topic == TOPICS.brake]
