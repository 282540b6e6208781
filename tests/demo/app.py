"""A small program that does what programs do: it loads orders, stores them, fetches quotes, and reports.

Uses the standard library alone. Some of its lines grow, some shrink, one forgets to: the report shows which.
"""
import asyncio
import json
import random
import sqlite3
import threading

CUSTOMERS = 200
ORDERS = 20_000

history = []


def make_orders(count):
    rng = random.Random(1)
    orders = []
    for number in range(count):
        orders.append({
            "number": number,
            "customer": rng.randrange(CUSTOMERS),
            "items": [rng.randrange(1000) for _ in range(5)],
            "note": "order %d" % number,
        })
    return orders


def through_json(orders):
    text = json.dumps(orders)
    parsed = json.loads(text)
    del text
    return parsed


def store(orders):
    database = sqlite3.connect(":memory:")
    database.execute("create table orders (number integer primary key, customer integer, note text)")
    rows = [(order["number"], order["customer"], order["note"]) for order in orders]
    database.executemany("insert into orders values (?, ?, ?)", rows)
    return database


def totals(database):
    query = "select customer, count(*) from orders group by customer order by customer"
    return dict(database.execute(query).fetchall())


async def fetch_quote(customer):
    reply = bytearray(64 * 1024)
    await asyncio.sleep(0.001)
    history.append(reply)  # every reply is kept: a leak
    return customer, len(reply)


async def fetch_quotes():
    quotes = await asyncio.gather(*[fetch_quote(customer) for customer in range(CUSTOMERS)])
    return dict(quotes)


def resize(name, results):
    canvas = bytearray(8 << 20)
    thumbnail = bytes(canvas[:256 << 10])
    del canvas
    results[name] = thumbnail


def in_threads():
    results = {}
    threads = [threading.Thread(target=resize, args=("picture %d" % n, results)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def main():
    orders = through_json(make_orders(ORDERS))
    database = store(orders)
    del orders
    per_customer = totals(database)
    quotes = asyncio.run(fetch_quotes())
    pictures = in_threads()
    print("%d customers, %d quotes, %d pictures" % (len(per_customer), len(quotes), len(pictures)))


if __name__ == "__main__":
    main()
