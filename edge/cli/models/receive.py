"""`edge models receive`: takes versions and orders for a registry from MQTT. A process of its own, never the one that infers.

Nothing in a message is a path or a topic: ids are hex, versions are checked by the registry, replies go to fixed topics. What is old,
retained or from the future is refused. Who may send is the broker's to say (its ACL).
"""

import logging
import re
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edge.cli.models.post import Dated, DatedOffer, Post, Reply, check_age, topics
from edge.cli.run import set_up_logging
from edge.errors import BundleError, EdgeError
from edge.messages import RawMessage
from edge.store.registry import Registry
from edge.store.registry.upload import MOST_BYTES, Offer, Upload, expire
from edge.transport.link import Settings

WINDOW = 32  # pieces asked for at once
_ASK_AGAIN_S = 1.0
_GIVE_UP_S = 30.0  # without a piece: no more asking; the next offer goes on
_ECHO_S = 5.0  # an offer that comes so soon after its install ended was on its way by then
_MOST_JOBS = 8
_REMEMBERED = 256
_REQUEST = re.compile(r"\[([0-9a-f]{16,64})\]$")

_log = logging.getLogger(__name__)


class Request(Dated, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order.

    Args:
        id: hex; the answer goes to ``edge/<name>/models/answer/<id>``.
        what: to do.
        version: to do it to; for those that need one.
        share: of a canary.
        who, why: for the history.
    """

    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{16,64}$")]
    what: Literal["activate", "rollback", "pin", "unpin", "promote", "shadow", "canary", "remove", "list", "history"]
    who: Annotated[str, Meta(min_length=1, max_length=500)]
    version: Annotated[str, Meta(max_length=64)] = ""
    share: float = 0.1
    why: Annotated[str, Meta(max_length=1000)] = ""


def obey(registry: Registry, request: Request) -> dict[str, Any]:
    """Do what is asked.

    Raises:
        BundleError: refused.
    """
    who, why, version = f"{request.who} [{request.id}]", request.why, request.version
    match request.what:
        case "activate":
            registry.activate(version, who, why)
        case "rollback":
            registry.rollback(who, why)
        case "pin" | "unpin":
            registry.pin(version if request.what == "pin" else None, who, why)
        case "promote":
            registry.promote(who, why)
        case "shadow" | "canary":
            registry.set_candidate(version, request.what, request.share, who, why)
        case "remove":
            registry.remove(version, who, why)
        case "history":
            return {"history": registry.history()[-100:]}
    return {"state": registry.state(), "versions": registry.versions()}


class Receiver:
    """What came for one registry, and what is answered.

    Args:
        registry: to change.
        name: in the topics.
        limit: most bytes of an archive.

    Attributes:
        post: the link; given later, because it needs ``take``.
    """

    def __init__(self, registry: Registry, name: str, limit: int = MOST_BYTES) -> None:
        self.topics = topics(name)
        self.post: Post | None = None
        self._registry, self._limit = registry, limit
        self._uploads: dict[str, Upload] = {}
        self._asked: dict[str, tuple[float, float, int]] = {}  # id to when asked, when a piece came, how many pieces are still due
        self._ended: dict[str, tuple[float, bytes]] = {}  # id to when and how it ended
        self._worker = ThreadPoolExecutor(1, "edge-registry")
        self._jobs: dict[str, Future[tuple[str, bytes]]] = {}
        done = [found[1] for entry in registry.history()[-_REMEMBERED:] if (found := _REQUEST.search(entry.who))]
        again = msgspec.json.encode({"ok": True, "again": True})
        self._answers: OrderedDict[str, bytes] = OrderedDict((request, again) for request in done)

    @property
    def filters(self) -> list[str]:
        """What to subscribe to."""
        return [self.topics["offer"], self.topics["piece"], self.topics["control"]]

    def take(self, raw: RawMessage) -> None:
        """A message came; whatever is in it, this does not raise."""
        try:
            if raw.is_retained:
                raise BundleError("is retained, and of unknown age")
            if raw.topic == self.topics["control"]:
                self._take_request(msgspec.json.decode(raw.payload, type=Request))
            elif raw.topic == self.topics["offer"]:
                self._take_offer(msgspec.json.decode(raw.payload, type=DatedOffer))
            else:
                self._take_piece(raw.topic.rsplit("/", 1)[-1], raw.payload)
        except (EdgeError, ValueError, RecursionError) as e:
            _log.warning("%s: refused: %s", raw.topic, e)

    def turn(self) -> None:
        """Ask again for what did not come, send what is done, throw away what expired."""
        now_s = time.monotonic()
        for upload_id, upload in list(self._uploads.items()):
            asked_s, came_s, due = self._asked[upload_id]
            if upload_id in self._jobs:
                continue
            if now_s - came_s > _GIVE_UP_S:
                del self._uploads[upload_id]
                _log.warning("%s: its sender is silent; what came is kept for a while", upload_id)
            elif due <= 0 or now_s - asked_s > _ASK_AGAIN_S:
                self._ask(upload)
        for job_id, job in list(self._jobs.items()):
            if job.done():
                del self._jobs[job_id]
                topic, payload = job.result()
                if self._uploads.pop(job_id, None) is not None:
                    self._ended[job_id] = now_s, payload
                self._send(topic, payload)
        self._ended = {one: end for one, end in self._ended.items() if now_s - end[0] < _ECHO_S}
        while len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)

    def expire(self, older_s: float) -> None:
        """Throw away uploads whose sender did not come back."""
        for gone in expire(self._registry.folder, older_s, self._uploads):
            _log.warning("%s: did not go on for %g s and was thrown away", gone, older_s)

    def close(self) -> None:
        """Wait for the job at work."""
        self._worker.shutdown(cancel_futures=True)

    # -- installs ------------------------------------------------------------------------------------------------------------

    def _take_offer(self, dated: DatedOffer) -> None:
        offer = msgspec.convert(msgspec.to_builtins(dated), Offer)
        if offer.id in self._jobs:
            self._reply(Reply(id=offer.id, state="proving"))
            return
        if (end := self._ended.get(offer.id)) is not None and offer.id not in self._uploads:
            self._send(self.topics["reply"].replace("+", offer.id), end[1])
            return
        try:
            check_age(dated)
            upload = self._uploads[offer.id] = Upload(self._registry.folder, offer, self._limit)
        except BundleError as e:
            self._refuse(offer.id, str(e))
            return
        now_s = time.monotonic()
        self._asked[offer.id] = (now_s, now_s, 0)
        self._ask(upload)

    def _take_piece(self, upload_id: str, payload: bytes) -> None:
        upload = self._uploads.get(upload_id)
        if upload is None or upload_id in self._jobs or len(payload) < 8:
            return
        try:
            if upload.add(int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big"), payload[8:]):
                asked_s, _, due = self._asked[upload_id]
                self._asked[upload_id] = (asked_s, time.monotonic(), due - 1)
        except BundleError as e:
            upload.drop()
            del self._uploads[upload_id]
            self._ended[upload_id] = time.monotonic(), msgspec.json.encode(Reply(id=upload_id, state="refused", error=str(e)))
            self._refuse(upload_id, str(e))

    def _ask(self, upload: Upload) -> None:
        offer, now_s = upload.offer, time.monotonic()
        wanted = upload.missing(WINDOW)
        self._asked[offer.id] = (now_s, self._asked[offer.id][1], len(wanted))
        if wanted:
            self._reply(Reply(id=offer.id, state="want", pieces=wanted, have=len(upload.have)))
            return
        self._reply(Reply(id=offer.id, state="proving", have=len(upload.have)))
        self._jobs[offer.id] = self._worker.submit(self._install, upload)

    def _install(self, upload: Upload) -> tuple[str, bytes]:
        """In the worker."""
        offer = upload.offer
        try:
            version = self._registry.install(upload.verified(), f"{offer.who} [{offer.id}]", offer.why)
            reply = Reply(id=offer.id, state="installed", version=version)
            _log.info("%s %s is installed for %s", offer.name, version, offer.who)
        except (EdgeError, OSError) as e:
            reply = Reply(id=offer.id, state="refused", error=str(e))
            _log.warning("%s %s of %s: %s", offer.name, offer.version, offer.who, e)
        upload.drop()
        return self.topics["reply"].replace("+", offer.id), msgspec.json.encode(reply)

    def _refuse(self, offer_id: str, error: str) -> None:
        _log.warning("%s: refused: %s", offer_id, error)
        self._reply(Reply(id=offer_id, state="refused", error=error))

    def _reply(self, reply: Reply) -> None:
        self._send(self.topics["reply"].replace("+", reply.id), msgspec.json.encode(reply))

    # -- orders --------------------------------------------------------------------------------------------------------------

    def _take_request(self, request: Request) -> None:
        topic = self.topics["answer"].replace("+", request.id)
        if request.id in self._jobs:
            return
        if (answer := self._answers.get(request.id)) is not None:  # it came twice: done once
            self._send(topic, answer)
            return
        try:
            check_age(request)
            if len(self._jobs) >= _MOST_JOBS:
                raise BundleError("too much is under way; ask again later")
        except BundleError as e:
            self._send(topic, msgspec.json.encode({"id": request.id, "ok": False, "error": str(e)}))
            return
        self._jobs[request.id] = self._worker.submit(self._obey, topic, request)

    def _obey(self, topic: str, request: Request) -> tuple[str, bytes]:
        """In the worker."""
        try:
            answer: dict[str, Any] = {"id": request.id, "ok": True} | obey(self._registry, request)
        except (EdgeError, OSError) as e:
            answer = {"id": request.id, "ok": False, "error": str(e)}
        _log.info("%s %s for %s: %s", request.what, request.version, request.who, answer.get("error", "done"))
        payload = msgspec.json.encode(answer)
        self._answers[request.id] = payload
        return topic, payload

    def _send(self, topic: str, payload: bytes) -> None:
        if self.post is not None:
            self.post.send(topic, payload)


def serve(registry: Registry, name: str, settings: Settings, most_bytes: int, expire_s: float) -> None:
    """Take what comes until SIGINT or SIGTERM.

    Args:
        registry: to change.
        name: in the topics.
        settings: of the link.
        most_bytes: of an archive.
        expire_s: for how long half an upload is kept.
    """
    set_up_logging("info")
    receiver = Receiver(registry, name, most_bytes)
    receiver.post = post = Post(settings, receiver.filters, receiver.take)
    expire_at_s = 0.0
    with post.open():
        while not post.is_stopping:
            post.turn()
            receiver.turn()
            if time.monotonic() >= expire_at_s:
                receiver.expire(expire_s)
                expire_at_s = time.monotonic() + min(60.0, expire_s)
    receiver.close()
