"""The functions of ../leaky in the v2 model: one file, with decorators."""
import asyncio
import time

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

history = []
cache = {}
callbacks = []


@app.route(route="LeakingList")
def LeakingList(req: func.HttpRequest) -> func.HttpResponse:
    history.append(bytearray(100_000))  # list
    big = bytearray(4 << 20)  # list_big
    time.sleep(0.005)
    return func.HttpResponse(str(len(big)))


@app.route(route="LeakingCache")
async def LeakingCache(req: func.HttpRequest) -> func.HttpResponse:
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


def on_shutdown(callback):
    callbacks.append(callback)


@app.route(route="LeakingClosure")
def LeakingClosure(req: func.HttpRequest) -> func.HttpResponse:
    state = bytearray(80_000)  # closure
    on_shutdown(lambda: state.clear())
    time.sleep(0.005)
    return func.HttpResponse(str(len(state)))


@app.route(route="BigAcrossAwait")
async def BigAcrossAwait(req: func.HttpRequest) -> func.HttpResponse:
    big = bytearray(8 << 20)  # await_big
    await asyncio.sleep(0.01)
    half = big[:len(big) // 2]  # await_half
    await asyncio.sleep(0.01)
    return func.HttpResponse(str(len(half)))
