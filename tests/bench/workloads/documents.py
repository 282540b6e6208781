"""Documents to JSON and back: by the encoder in C, by the one in Python (it is used for indented text), and parsed."""
import json
import sys


def order(number):
    return {
        "id": number * 7919,
        "customer": {"name": "Customer No. %d" % number, "mail": "c%d@example.org" % number, "city": "K\u00f6ln"},
        "paid": number % 3 == 0,
        "discount": None if number % 2 else number / 8,
        "items": [{"article": "A-%06d" % (number * 31 + i), "count": i + 1, "price": (number + i) * 1.37,
                   "tags": ["new", "sale", "tag %d" % i][:i]} for i in range(4)],
    }


def round_trip(document):
    text = json.dumps(document, sort_keys=True)
    back = json.loads(text)
    return len(text) + len(json.dumps(back, indent=2))


def main(scale):
    orders = [order(number) for number in range(60)]
    return sum(round_trip(orders) for _ in range(max(1, int(scale * 420))))


if __name__ == "__main__":
    print("checksum", main(float(sys.argv[1])))
