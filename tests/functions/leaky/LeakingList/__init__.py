"""Runs in a thread of the worker's pool. Each invocation adds to a list of the module."""
import time

import azure.functions as func

history = []


def main(req: func.HttpRequest) -> func.HttpResponse:
    history.append(bytearray(100_000))  # list
    big = bytearray(4 << 20)  # list_big
    time.sleep(0.005)
    return func.HttpResponse(str(len(big)))
