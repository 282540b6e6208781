"""Holds a block and never answers."""
import asyncio
import logging

import azure.functions as func


async def main(req: func.HttpRequest) -> func.HttpResponse:
    held = bytearray(1 << 20)  # held_async
    logging.info("waiting")
    await asyncio.sleep(3600)
    return func.HttpResponse(str(len(held)))
