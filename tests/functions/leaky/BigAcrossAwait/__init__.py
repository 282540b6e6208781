"""A coroutine that holds much while others run, and leaks nothing."""
import asyncio

import azure.functions as func


async def main(req: func.HttpRequest) -> func.HttpResponse:
    big = bytearray(8 << 20)  # await_big
    await asyncio.sleep(0.01)
    half = big[:len(big) // 2]  # await_half
    await asyncio.sleep(0.01)
    return func.HttpResponse(str(len(half)))
