"""A coroutine. Answers are cached by a key that no request repeats."""
import asyncio

import azure.functions as func

cache = {}


async def main(req: func.HttpRequest) -> func.HttpResponse:
    answer = await look_up(req.params["number"])
    return func.HttpResponse(str(len(answer)))


async def look_up(key: str) -> bytes:
    if key not in cache:
        reply = await fetch()
        cache[key] = bytes(reply)  # cache
        del reply
    return cache[key]


async def fetch() -> bytearray:
    reply = bytearray(60_000)  # cache_reply
    await asyncio.sleep(0.005)
    return reply
