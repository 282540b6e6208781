"""The messages that a Functions host and its workers exchange, as protocol buffers on the wire.

A message is a dict of its fields; one that is not set is not there. Written from the field numbers of the service
AzureFunctionsRpcMessages.FunctionRpc, as far as the host in host.py speaks it; other fields are passed over. Wire types
0 (varint) and 2 (counted bytes) are all that these messages use; 1 and 5 (fixed) are known in order to pass over them.
"""

SERVICE = "AzureFunctionsRpcMessages.FunctionRpc"
STREAM = "EventStream"

# Kinds of fields: what bytes of wire type 2 hold, or NUMBER for wire type 0 (integers, flags and enums).
TEXT, BYTES, NUMBER = "text", "bytes", "number"


class Repeated:
    def __init__(self, kind):
        self.kind = kind


class Map:
    """From texts to values of a kind. On the wire: repeated messages of a key (1) and a value (2)."""

    def __init__(self, kind):
        self.kind = kind


# By message: number of a field -> its name and kind. A kind that is none of the above is the name of a message.
MESSAGES = {
    "StreamingMessage": {
        1: ("request_id", TEXT),
        2: ("rpc_log", "RpcLog"),
        4: ("invocation_request", "InvocationRequest"),
        5: ("invocation_response", "InvocationResponse"),
        8: ("function_load_request", "FunctionLoadRequest"),
        9: ("function_load_response", "FunctionLoadResponse"),
        12: ("worker_status_request", "Empty"),
        13: ("worker_status_response", "Empty"),
        16: ("worker_init_response", "WorkerInitResponse"),
        17: ("worker_init_request", "WorkerInitRequest"),
        20: ("start_stream", "StartStream"),
        29: ("functions_metadata_request", "FunctionsMetadataRequest"),
        30: ("function_metadata_response", "FunctionMetadataResponse"),
    },
    "Empty": {},
    "StartStream": {2: ("worker_id", TEXT)},
    "WorkerInitRequest": {1: ("host_version", TEXT), 2: ("capabilities", Map(TEXT)), 4: ("worker_directory", TEXT),
                          5: ("function_app_directory", TEXT)},
    "WorkerInitResponse": {2: ("capabilities", Map(TEXT)), 3: ("result", "StatusResult")},
    "StatusResult": {1: ("result", TEXT), 2: ("exception", "RpcException"), 4: ("status", NUMBER)},
    "RpcException": {1: ("stack_trace", TEXT), 2: ("message", TEXT), 3: ("source", TEXT)},
    "RpcLog": {1: ("invocation_id", TEXT), 2: ("category", TEXT), 3: ("level", NUMBER), 4: ("message", TEXT),
               8: ("log_category", NUMBER)},
    "FunctionsMetadataRequest": {1: ("function_app_directory", TEXT)},
    "FunctionMetadataResponse": {1: ("function_metadata_results", Repeated("RpcFunctionMetadata")),
                                 2: ("result", "StatusResult"), 3: ("use_default_metadata_indexing", NUMBER)},
    "RpcFunctionMetadata": {1: ("directory", TEXT), 2: ("script_file", TEXT), 3: ("entry_point", TEXT),
                            4: ("name", TEXT), 6: ("bindings", Map("BindingInfo")), 9: ("language", TEXT),
                            10: ("raw_bindings", Repeated(TEXT)), 13: ("function_id", TEXT),
                            16: ("properties", Map(TEXT))},
    "BindingInfo": {2: ("type", TEXT), 3: ("direction", NUMBER), 4: ("data_type", NUMBER)},
    "FunctionLoadRequest": {1: ("function_id", TEXT), 2: ("metadata", "RpcFunctionMetadata")},
    "FunctionLoadResponse": {1: ("function_id", TEXT), 2: ("result", "StatusResult")},
    "InvocationRequest": {1: ("invocation_id", TEXT), 2: ("function_id", TEXT),
                          3: ("input_data", Repeated("ParameterBinding"))},
    "InvocationResponse": {1: ("invocation_id", TEXT), 2: ("output_data", Repeated("ParameterBinding")),
                           3: ("result", "StatusResult"), 4: ("return_value", "TypedData")},
    "ParameterBinding": {1: ("name", TEXT), 2: ("data", "TypedData")},
    "TypedData": {1: ("string", TEXT), 2: ("json", TEXT), 3: ("bytes", BYTES), 4: ("stream", BYTES),
                  5: ("http", "RpcHttp")},
    "RpcHttp": {1: ("method", TEXT), 2: ("url", TEXT), 3: ("headers", Map(TEXT)), 4: ("body", "TypedData"),
                12: ("status_code", TEXT), 15: ("query", Map(TEXT))},
}

# Of BindingInfo.direction and StatusResult.status.
DIRECTIONS = {"in": 0, "out": 1, "inout": 2}
SUCCESS = 1


def encode_varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def counted(number, data):
    return encode_varint(number << 3 | 2) + encode_varint(len(data)) + data


def encode_field(number, kind, value):
    if isinstance(kind, Repeated):
        return b"".join(encode_field(number, kind.kind, each) for each in value)
    if isinstance(kind, Map):
        return b"".join(counted(number, encode_field(1, TEXT, key) + encode_field(2, kind.kind, each))
                        for key, each in value.items())
    if kind == NUMBER:
        return encode_varint(number << 3) + encode_varint(value)
    if kind == TEXT:
        return counted(number, value.encode())
    return counted(number, bytes(value) if kind == BYTES else encode(kind, value))


def encode(name, message):
    fields = {field: (number, kind) for number, (field, kind) in MESSAGES[name].items()}
    return b"".join(encode_field(*fields[field], value) for field, value in message.items())


def decode_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def split(data):
    """Gives (number, value) of each field of a message: an int or bytes."""
    at = 0
    while at < len(data):
        key, at = decode_varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = decode_varint(data, at)
        else:
            length, at = decode_varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = bytes(data[at:at + length]), at + length
        yield key >> 3, value


def decode_value(kind, value):
    if kind == TEXT:
        return value.decode()
    return value if kind in (BYTES, NUMBER) else decode(kind, value)


def decode(name, data):
    message = {}
    for number, value in split(data):
        field, kind = MESSAGES[name].get(number, (None, None))
        if isinstance(kind, Repeated):
            message.setdefault(field, []).append(decode_value(kind.kind, value))
        elif isinstance(kind, Map):
            entry = dict(split(value))
            text = decode_value(kind.kind, entry[2]) if 2 in entry else decode_value(kind.kind, b"")
            message.setdefault(field, {})[entry.get(1, b"").decode()] = text
        elif field:
            message[field] = decode_value(kind, value)
    return message


def content(message):
    """The name and the value of what a StreamingMessage carries."""
    (name,) = [field for field in message if field != "request_id"]
    return name, message[name]
