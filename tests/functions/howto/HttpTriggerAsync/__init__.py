import os

import aiohttp
import azure.functions as func

PAGE = os.environ["PAGE"]


async def main(req: func.HttpRequest) -> func.HttpResponse:
    await get_microsoft_page_async(PAGE)
    return func.HttpResponse("Microsoft Page Is Loaded", status_code=200)


async def get_microsoft_page_async(url: str):
    async with aiohttp.ClientSession() as client:
        async with client.get(url) as response:
            await response.text()  # text
