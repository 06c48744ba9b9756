"""The routes of the Apify API that a run uses, over the storage of the stand-in."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.platform.storage import MAX_PAYLOAD, Storage

RUN_ID = "run0000000000001"
STORE_ID = "store00000000001"
DATASET_ID = "dataset000000001"
_NOW = "2026-01-02T03:04:05.678Z"
_STORAGE_TIMES = {"userId": "user", "createdAt": _NOW, "modifiedAt": _NOW, "accessedAt": _NOW}
_RUN = {
    "id": RUN_ID,
    "actId": "actor",
    "userId": "user",
    "startedAt": _NOW,
    "meta": {"origin": "API"},
    "stats": {},
    "buildId": "build",
    "defaultKeyValueStoreId": STORE_ID,
    "defaultDatasetId": DATASET_ID,
    "defaultRequestQueueId": "queue",
}
_OPTIONS = {"build": "latest", "timeoutSecs": 0, "memoryMbytes": 1024, "diskMbytes": 2048}
_EVENT = {"eventTitle": "Job", "eventDescription": "A completed job.", "eventPriceUsd": 0.01}
PRICING = {
    "pricingModel": "PAY_PER_EVENT",
    "apifyMarginPercentage": 0.2,
    "createdAt": _NOW,
    "startedAt": _NOW,
    "pricingPerEvent": {"actorChargeEvents": {"completed-job": _EVENT}},
}


class RunApi:
    """One run, its default storages and its charges as the API shows them.

    Attributes:
        lag: seconds by which lists of keys and dataset reads stay behind writes.
        status: of the run.
        migrating: whether the run has been told so since its container was started.
        pricing: the run's pricing information, or None for an Actor without events.
        status_messages: (monotonic seconds, text) of every status message set.
    """

    def __init__(self, *, lag: float = 0.0) -> None:
        self.lag = lag
        self.storage = Storage()
        self.pricing: dict[str, Any] | None = None
        self.max_charge_usd: float | None = None
        self.status = "RUNNING"
        self.status_messages: list[tuple[float, str]] = []
        self.reboots = 0
        self.migrating = False

    def routes(self) -> list[web.RouteDef]:
        """All routes; a route's name is what its calls are counted under."""
        run = f"/v2/actor-runs/{RUN_ID}"
        store = f"/v2/key-value-stores/{STORE_ID}"
        data = f"/v2/datasets/{DATASET_ID}"
        return [
            web.get("/v2/users/me", self._user, name="user"),
            web.get(run, self._get_run, name="run"),
            web.put(run, self._update_run, name="status"),
            web.post(run + "/charge", self._charge, name="charge"),
            web.post(run + "/reboot", self._reboot, name="reboot"),
            web.get(store, self._get_store, name="store"),
            web.get(store + "/keys", self._list_keys, name="keys"),
            web.get(store + "/records/{key}", self._get_record, name="get-record"),
            web.put(store + "/records/{key}", self._put_record, name="put-record"),
            web.delete(store + "/records/{key}", self._delete_record, name="delete-record"),
            web.get(data, self._get_dataset, name="dataset"),
            web.get(data + "/items", self._list_items, name="list-items"),
            web.post(data + "/items", self._push_items, name="push"),
        ]

    async def _user(self, _: web.Request) -> web.Response:
        return envelope({"id": "user", "username": "standin", "profile": {}, "proxy": {}})

    # The run

    async def _get_run(self, _: web.Request) -> web.Response:
        return envelope(self._run())

    def _run(self) -> dict[str, Any]:
        run = _RUN | {"status": self.status, "chargedEventCounts": dict(self.storage.charged)}
        limit = {} if self.max_charge_usd is None else {"maxTotalChargeUsd": self.max_charge_usd}
        return run | {"options": _OPTIONS | limit} | ({"pricingInfo": self.pricing} if self.pricing else {})

    async def _update_run(self, request: web.Request) -> web.Response:
        self.status_messages.append((time.monotonic(), (await request.json())["statusMessage"]))
        return envelope(self._run())

    async def _charge(self, request: web.Request) -> web.Response:
        body = await request.json()
        priced = self.pricing["pricingPerEvent"]["actorChargeEvents"] if self.pricing else {}
        if body["eventName"] not in priced:
            return error(400, "invalid-input")
        self.storage.charge(body["eventName"], body["count"], request.headers["idempotency-key"])
        return web.json_response({}, status=201)

    async def _reboot(self, _: web.Request) -> web.Response:
        self.reboots += 1
        return envelope(self._run())

    # Key-value store

    async def _get_store(self, _: web.Request) -> web.Response:
        return envelope({"id": STORE_ID, "stats": {}} | _STORAGE_TIMES)

    async def _list_keys(self, request: web.Request) -> web.Response:
        limit = min(int(request.query.get("limit", 1000)), 1000)
        start, prefix = request.query.get("exclusiveStartKey", ""), request.query.get("prefix", "")
        found = [
            (k, n) for k, n in self.storage.sizes(self.lag).items() if k > start and k.startswith(prefix)
        ]
        page = [{"key": k, "size": n, "recordPublicUrl": f"http://127.0.0.1/{k}"} for k, n in found[:limit]]
        more = len(found) > limit
        following = page[-1]["key"] if more else None
        marks = {"isTruncated": more, "exclusiveStartKey": start or None, "nextExclusiveStartKey": following}
        return envelope({"items": page, "count": len(page), "limit": limit} | marks)

    async def _get_record(self, request: web.Request) -> web.Response:
        record = self.storage.record(unquote(request.match_info["key"]))
        if record is None:
            return error(404, "record-not-found")
        return web.Response(body=record[0], headers={"Content-Type": record[1]})

    async def _put_record(self, request: web.Request) -> web.Response:
        body = await request.read()
        if len(body) > MAX_PAYLOAD:
            return error(413, "request-entity-too-large")
        self.storage.put(unquote(request.match_info["key"]), body, request.headers.get("Content-Type", ""))
        return web.json_response({}, status=201)

    async def _delete_record(self, request: web.Request) -> web.Response:
        self.storage.put(unquote(request.match_info["key"]), None)
        return web.Response(status=204)

    # Dataset

    async def _get_dataset(self, _: web.Request) -> web.Response:
        count = len(self.storage.visible_items(self.lag))
        counts = {"itemCount": count, "cleanItemCount": count}
        origin = {"id": DATASET_ID, "actId": "actor", "actRunId": RUN_ID, "consoleUrl": "http://127.0.0.1/"}
        return envelope(origin | counts | _STORAGE_TIMES)

    async def _list_items(self, request: web.Request) -> web.Response:
        items = self.storage.visible_items(self.lag)
        desc = request.query.get("desc") in ("1", "true")
        offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 250_000))
        page = (items[::-1] if desc else items)[offset : offset + limit]
        if "fields" in request.query:
            fields = request.query["fields"].split(",")
            page = [{name: item[name] for name in fields if name in item} for item in page]
        numbers = {"Offset": offset, "Limit": limit, "Count": len(page), "Total": len(items), "Desc": desc}
        headers = {f"X-Apify-Pagination-{name}": str(value).lower() for name, value in numbers.items()}
        return web.json_response(page, headers=headers)

    async def _push_items(self, request: web.Request) -> web.Response:
        if len(await request.read()) > MAX_PAYLOAD:
            return error(413, "request-entity-too-large")
        body = json.loads(await request.read())
        now = time.monotonic()
        self.storage.items.extend((now, item) for item in (body if isinstance(body, list) else [body]))
        return web.json_response({}, status=201)


def envelope(data: dict[str, Any]) -> web.Response:
    """A successful answer as the API wraps it."""
    return web.json_response({"data": data})


def error(status: int, kind: str) -> web.Response:
    """An error as the API words it."""
    return web.json_response({"error": {"type": kind, "message": f"stand-in: {kind}"}}, status=status)
