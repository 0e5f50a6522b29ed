"""Limits of one client's use of the service: places, seconds, bytes, connections."""

from __future__ import annotations

from pydantic import Field

from interlingua.config import Config


class ServeLimits(Config):
    """Limits of ``interlingua serve``; all of them can be set on the command line."""

    queue: int = Field(default=16, ge=0)
    """requests that may wait for the model; one more is answered 429 at once"""
    deadline_s: float = Field(default=30.0, gt=0)
    """a request that is not answered after so many seconds, waiting included, is given up and answered 503"""
    drain_s: float = Field(default=10.0, ge=0)
    """after SIGTERM the request in work may take so long; those that wait are answered 503 at once"""
    max_body: int = Field(default=1 << 20, ge=1)
    """bytes of a request's body; more is answered 413 without being read"""
    head_s: float = Field(default=10.0, gt=0)
    """a connection that has not sent a whole request line and headers after so long is closed"""
    body_s: float = Field(default=10.0, gt=0)
    """a body that is not there after so long is answered 408"""
    idle_s: float = Field(default=5.0, gt=0)
    """an idle connection is closed after so long, and one whose answer nobody reads"""
    connections: int = Field(default=512, ge=8)
    """open connections; where one more comes, the one that has been without a request for longest is closed"""
