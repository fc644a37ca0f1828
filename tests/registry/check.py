"""produce: values by Confluent's serialisers, whose schemas go into the registry. compare: what the worker made of them."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

BROKERS = os.environ["MILLRACE_KAFKA__BROKERS"]
FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "schemas"
GOLDEN = json.loads((FIXTURES / "golden.json").read_text())
NAMES = {"subject.name.strategy": topic_subject_name_strategy}
MONEY = {"type": "record", "name": "Money", "namespace": "shop.parts", "fields": [{"name": "amount", "type": "double"}]}
ORDER = {"type": "record", "name": "Order", "namespace": "shop", "fields": [{"name": "id", "type": "string"}, {"name": "owes", "type": "shop.parts.Money"}]}
FIRST = {"type": "record", "name": "Payment", "namespace": "shop", "fields": [{"name": "id", "type": "string"}, {"name": "amount", "type": "double"}]}
SECOND = {**FIRST, "fields": FIRST["fields"] + [{"name": "currency", "type": "string", "default": "EUR"}]}
AVRO = [
    {"id": "a-1", "amount": 1.5},
    {"id": "a-2", "amount": 2.5, "currency": "USD"},
    {"id": "a-3", "owes": {"amount": 7.25}},
]


def order():
    """The golden message, made by protoc's own classes out of its bytes."""
    folder = tempfile.mkdtemp()
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{FIXTURES}", f"--python_out={folder}", "shop/order.proto", "shop/money.proto"], check=True)
    sys.path.insert(0, folder)
    from shop import order_pb2
    import base64

    return order_pb2.Order.FromString(base64.b64decode(GOLDEN["protobuf"][0]["datum"]))


class Texts:
    """Registers the text where the serialiser has a descriptor: a registry of text alone takes nothing else."""

    def __init__(self, client):
        self.client = client

    def __getattr__(self, name):
        def call(subject, schema, *args, **more):
            main = "money" not in subject
            text = (FIXTURES / ("shop/order.proto" if main else "shop/money.proto")).read_text()
            references = [SchemaReference("shop/money.proto", "shop/money.proto", 1)] if main else []
            return getattr(self.client, name)(subject, Schema(text, "PROTOBUF", references), *args, **more)

        return call if name in ("register_schema", "register_schema_full_response", "lookup_schema") else getattr(self.client, name)


def produce():
    client = SchemaRegistryClient({"url": os.environ["MILLRACE_SCHEMA_REGISTRY__URL"]})
    producer = Producer({"bootstrap.servers": BROKERS})

    def send(topic, serializer, value):
        producer.produce(topic, serializer(value, SerializationContext(topic, MessageField.VALUE)))

    for schema, value in zip((FIRST, SECOND), AVRO):
        send("written.avro", AvroSerializer(client, json.dumps(schema), conf=NAMES), value)
    client.register_schema("money", Schema(json.dumps(MONEY), "AVRO"))
    referring = Schema(json.dumps(ORDER), "AVRO", [SchemaReference("shop.parts.Money", "money", 1)])
    # Another record is no newer version of the first: it has a subject of its own.
    by_record = {"subject.name.strategy": lambda _, name: f"{name}-value"}
    send("written.avro", AvroSerializer(client, referring, conf=by_record), AVRO[2])
    client.register_schema("shop/money.proto", Schema((FIXTURES / "shop/money.proto").read_text(), "PROTOBUF"))
    send("written.protobuf", ProtobufSerializer(type(order()), Texts(client), {"use.deprecated.format": False, **NAMES}), order())
    ping = {"title": "Ping", "type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}}
    send("written.json", JSONSerializer(json.dumps(ping), client, conf=NAMES), {"id": "j-1", "n": 5})
    assert producer.flush(30) == 0


def compare():
    wanted = {"avro.out": AVRO, "protobuf.out": [GOLDEN["protobuf"][0]["json"]], "json.out": [{"id": "j-1", "n": 5}]}
    found = {topic: [] for topic in wanted}
    consumer = Consumer({"bootstrap.servers": BROKERS, "group.id": "compare", "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
    consumer.subscribe([*wanted, "written.dead"])
    until = time.monotonic() + 90
    while any(len(found[topic]) < len(wanted[topic]) for topic in wanted):
        assert time.monotonic() < until, f"only {found}"
        message = consumer.poll(1)
        if message is None:
            continue
        assert message.error() is None, message.error()
        value = json.loads(message.value())
        assert message.topic() != "written.dead", value["reason"]
        found[message.topic()].append(value["event"])
    consumer.close()
    for topic, events in wanted.items():
        assert found[topic] == events, f"{topic}: {found[topic]} is not {events}"


{"produce": produce, "compare": compare}[sys.argv[1]]()
