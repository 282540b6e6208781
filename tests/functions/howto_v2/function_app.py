import os

import aiohttp
import azure.functions as func
import requests

PAGE = os.environ["PAGE"]

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="HttpTriggerAsync")
async def HttpTriggerAsync(req: func.HttpRequest) -> func.HttpResponse:
    await get_microsoft_page_async(PAGE)
    return func.HttpResponse("Microsoft Page Is Loaded", status_code=200)


async def get_microsoft_page_async(url: str):
    async with aiohttp.ClientSession() as client:
        async with client.get(url) as response:
            await response.text()  # text


@app.route(route="HttpTriggerSync")
def HttpTriggerSync(req: func.HttpRequest) -> func.HttpResponse:
    content = profile_get_request(PAGE)  # main_sync
    return func.HttpResponse(f"Microsoft Page Response Size: {len(content)}", status_code=200)


def profile_get_request(url: str):
    response = requests.get(url)  # get
    return response.content
