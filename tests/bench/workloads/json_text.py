"""Documents to JSON and back."""
import json
import sys

document = {"rows": [{"id": i, "name": "row %d" % i, "tags": ["a", "b", str(i)], "value": i / 7} for i in range(1000)]}
for _ in range(int(float(sys.argv[1]) * 120)):
    assert json.loads(json.dumps(document)) == document
