"""The functions of ../waiting in the v2 model: each holds a block and never answers."""
import asyncio
import logging
import time

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="WaitingSync")
def WaitingSync(req: func.HttpRequest) -> func.HttpResponse:
    held = bytearray(1 << 20)  # held_sync
    logging.info("waiting")
    time.sleep(3600)
    return func.HttpResponse(str(len(held)))


@app.route(route="WaitingAsync")
async def WaitingAsync(req: func.HttpRequest) -> func.HttpResponse:
    held = bytearray(1 << 20)  # held_async
    logging.info("waiting")
    await asyncio.sleep(3600)
    return func.HttpResponse(str(len(held)))
