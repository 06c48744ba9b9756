from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from async_endpoint.errors import CredentialsDiffer, ForeignHost, ForeignOrigin, Unauthorized
from async_endpoint.web.auth import Gatekeeper


def get(path: str = "/", **headers: str) -> Any:
    return make_mocked_request(
        "GET", path, {name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"Authorization": "Bearer s3cret"}),
        ("/", {"Authorization": "bEaReR  s3cret"}),
        ("/", {"X_Api_Key": "s3cret"}),
        ("/?token=s3cret", {}),
        ("/?token=s3cret", {"Authorization": "Basic abc"}),
        ("/?token=other", {"X_Api_Key": "s3cret"}),
        ("/?token=s3cret", {"Authorization": "Bearer s3cret"}),
    ],
)
def test_the_token_opens_in_every_place(path: str, headers: dict[str, str]) -> None:
    Gatekeeper("s3cret", loopback=False).check(get(path, **headers))


@pytest.mark.parametrize(
    ("path", "headers", "error"),
    [
        ("/", {}, Unauthorized),
        ("/?token=", {}, Unauthorized),
        ("/", {"Authorization": "Bearer"}, Unauthorized),
        ("/", {"Authorization": "s3cret"}, Unauthorized),
        ("/?token=s3cret", {"X_Api_Key": "other"}, Unauthorized),
        ("/?token=other", {"Authorization": "Bearer s3cret"}, CredentialsDiffer),
    ],
)
def test_anything_else_does_not(path: str, headers: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        Gatekeeper("s3cret", loopback=False).check(get(path, **headers))


def test_without_a_token_foreign_pages_stay_out() -> None:
    loopback, public = Gatekeeper(None, loopback=True), Gatekeeper(None, loopback=False)
    for host in ("localhost:4321", "127.0.0.1", "[::1]:4321"):
        loopback.check(get(Host=host, Origin=f"http://{host}"))
    public.check(get(Host="example.com"))
    with pytest.raises(ForeignHost):
        loopback.check(get(Host="rebound.example"))
    for origin in ("http://evil.example", "null"):
        with pytest.raises(ForeignOrigin):
            public.check(get(Host="example.com", Origin=origin))


@pytest.mark.parametrize("token", ["tökén", "\udcff", "a b", "x" * 10_000])
def test_any_token_is_compared_whole(token: str) -> None:
    """Also bytes that are no UTF-8, which arrive as surrogates."""
    gatekeeper = Gatekeeper(token, loopback=False)

    def check(given: str) -> None:
        gatekeeper.check(SimpleNamespace(headers={"X-Api-Key": given}))  # type: ignore[arg-type]

    check(token)
    for other in (token[:-1], f"{token}x", "\udcfe"):
        with pytest.raises(Unauthorized):
            check(other)


@pytest.mark.parametrize("host", ["", "[::1", "localhost.evil.example", "127.0.0.1@evil.example", "0x7f.1"])
def test_a_host_that_only_looks_like_this_machine_is_foreign(host: str) -> None:
    with pytest.raises(ForeignHost):
        Gatekeeper(None, loopback=True).check(get(Host=host))
