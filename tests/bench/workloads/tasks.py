"""asyncio: thousands of short tasks that hand each other small buffers, so that the stack changes with every event."""
import asyncio
import sys

TASKS = 1000


async def send(queue, number):
    for i in range(4):
        await queue.put(bytearray(100 + (number + i) % 100))
        await asyncio.sleep(0)


async def receive(queue, count):
    size = 0
    for _ in range(count):
        part = await queue.get()
        size += len(bytes(part) + b"end")
    return size


async def batch():
    queue = asyncio.Queue(50)
    reader = asyncio.ensure_future(receive(queue, TASKS * 4))
    await asyncio.gather(*[send(queue, number) for number in range(TASKS)])
    return await reader


async def batches(count):
    return sum([await batch() for _ in range(count)])


def main(scale):
    return asyncio.run(batches(max(1, int(scale * 45))))


if __name__ == "__main__":
    print("checksum", main(float(sys.argv[1])))
