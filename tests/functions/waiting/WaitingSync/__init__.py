"""Holds a block and never answers."""
import logging
import time

import azure.functions as func


def main(req: func.HttpRequest) -> func.HttpResponse:
    held = bytearray(1 << 20)  # held_sync
    logging.info("waiting")
    time.sleep(3600)
    return func.HttpResponse(str(len(held)))
