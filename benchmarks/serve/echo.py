"""A bare FastAPI application that answers with a text of a given size: what the frameworks alone can do."""

from __future__ import annotations

import os

from fastapi import FastAPI
from pydantic import BaseModel


class Question(BaseModel):
    """As small as a question can be."""

    user_id: str | None = None
    k: int = 10


class Answer(BaseModel):
    """As plain as an answer can be."""

    text: str


app = FastAPI()
TEXT = "x" * max(int(os.environ.get("ECHO_BYTES", "1000")) - len('{"text":""}'), 0)


@app.post("/echo")
async def echo(question: Question) -> Answer:
    """The same number of bytes for everybody."""
    return Answer(text=TEXT)
