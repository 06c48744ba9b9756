"""The paths and methods of the platform's published API: what is not served here (501) is not unknown (404).

A path is written without the prefix `/v2/`; `*` stands for one segment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_STORAGES_OF_A_RUN = """
dataset                               GET PUT DELETE
dataset/items                         GET HEAD POST
dataset/statistics                    GET
key-value-store                       GET PUT DELETE
key-value-store/keys                  GET
key-value-store/records               GET
key-value-store/records/*             GET HEAD PUT POST DELETE
request-queue                         GET PUT DELETE
request-queue/head                    GET
request-queue/head/lock               POST
request-queue/requests                GET POST
request-queue/requests/batch          POST DELETE
request-queue/requests/unlock         POST
request-queue/requests/*              GET PUT DELETE
request-queue/requests/*/lock         PUT DELETE
log                                   GET
abort                                 POST
metamorph                             POST
reboot                                POST
resurrect                             POST
charge                                POST
"""

_RUNNABLE = """
*                                     GET PUT DELETE
*/runs                                GET POST
*/runs/last                           GET
*/runs/last/+                         RUN
*/run-sync                            GET POST
*/run-sync-get-dataset-items          GET POST
*/webhooks                            GET
"""

_PATHS = """
acts                                  GET POST
acts/+                                RUNNABLE
acts/*/runs/*                         GET
acts/*/runs/*/abort                   POST
acts/*/runs/*/metamorph               POST
acts/*/runs/*/resurrect               POST
acts/*/validate-input                 POST
acts/*/builds                         GET POST
acts/*/builds/default                 GET
acts/*/builds/*                       GET
acts/*/builds/*/abort                 POST
acts/*/builds/*/openapi.json          GET
acts/*/versions                       GET POST
acts/*/versions/*                     GET PUT POST DELETE
acts/*/versions/*/env-vars            GET POST
acts/*/versions/*/env-vars/*          GET PUT POST DELETE
actor-tasks                           GET POST
actor-tasks/+                         RUNNABLE
actor-tasks/*/input                   GET PUT
actor-tasks/*/publish                 POST
actor-tasks/*/unpublish               POST
actor-runs                            GET
actor-runs/*                          GET PUT DELETE
actor-runs/*/+                        RUN
actor-builds                          GET
actor-builds/*                        GET DELETE
actor-builds/*/abort                  POST
actor-builds/*/log                    GET
actor-builds/*/openapi.json           GET
datasets                              GET POST
datasets/*                            GET PUT DELETE
datasets/*/items                      GET HEAD POST
datasets/*/statistics                 GET
key-value-stores                      GET POST
key-value-stores/*                    GET PUT DELETE
key-value-stores/*/keys               GET
key-value-stores/*/records            GET
key-value-stores/*/records/*          GET HEAD PUT POST DELETE
request-queues                        GET POST
request-queues/*                      GET PUT DELETE
request-queues/*/head                 GET
request-queues/*/head/lock            POST
request-queues/*/requests             GET POST
request-queues/*/requests/batch       POST DELETE
request-queues/*/requests/unlock      POST
request-queues/*/requests/*           GET PUT DELETE
request-queues/*/requests/*/lock      PUT DELETE
webhooks                              GET POST
webhooks/*                            GET PUT DELETE
webhooks/*/test                       POST
webhooks/*/dispatches                 GET
webhook-dispatches                    GET
webhook-dispatches/*                  GET
schedules                             GET POST
schedules/*                           GET PUT DELETE
schedules/*/log                       GET
store                                 GET
logs/*                                GET
users/me                              GET
users/me/usage/monthly                GET
users/me/limits                       GET PUT
users/*                               GET
tools/browser-info                    GET POST PUT DELETE
tools/encode-and-sign                 POST
tools/decode-and-verify               POST
"""


class PublishedPath(NamedTuple):
    """One path, in segments, and the methods published for it."""

    segments: tuple[str, ...]
    methods: frozenset[str]

    def match(self, segments: tuple[str, ...]) -> tuple[str, ...] | None:
        """What stands for each `*`, or None when the path is another one."""
        if len(segments) != len(self.segments):
            return None
        pairs = list(zip(self.segments, segments, strict=True))
        if not all(segments) or any(expected not in ("*", actual) for expected, actual in pairs):
            return None
        return tuple(actual for expected, actual in pairs if expected == "*")


def _expand(table: str, prefix: str = "") -> Iterator[PublishedPath]:
    groups = {"RUN": _STORAGES_OF_A_RUN, "RUNNABLE": _RUNNABLE}
    for line in table.strip().splitlines():
        path, *methods = line.split()
        if path.endswith("+"):
            yield from _expand(groups[methods[0]], prefix + path.removesuffix("+"))
        else:
            yield PublishedPath(tuple((prefix + path).split("/")), frozenset(methods))


PUBLISHED = tuple(_expand(_PATHS))
"""Every published path. One without `*` stands before the one with it, so the first match is right."""
