"""/openapi.json as tools for OpenAPI read it."""

import json
import unittest
import urllib.error
import urllib.request

import jsonschema
from openapi_spec_validator import OpenAPIV31SpecValidator

from worker import URL


def fetched(path):
    with urllib.request.urlopen(URL + path, timeout=60) as answer:
        return json.load(answer)


def posted(path, body, accept="application/json"):
    headers = {"content-type": "application/json", "accept": accept}
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def resolved(value, document):
    """The same with every reference replaced by what it leads to."""
    if isinstance(value, dict):
        if "$ref" in value:
            place = document
            for name in value["$ref"].removeprefix("#/").split("/"):
                place = place[name]
            return resolved(place, document)
        return {name: resolved(one, document) for name, one in value.items()}
    if isinstance(value, list):
        return [resolved(one, document) for one in value]
    return value


# What a path that is read must be asked with.
QUERIES = {"/v1/records": "?event=nobody"}


class OpenApi(unittest.TestCase):
    def setUp(self):
        self.document = fetched("/openapi.json")

    def test_the_document_is_valid(self):
        errors = [f"{list(error.absolute_path)}: {error.message}" for error in OpenAPIV31SpecValidator(self.document).iter_errors()]
        self.assertEqual(errors, [])

    def test_every_example_is_answered_as_the_schema_says(self):
        asked = 0
        for path, item in self.document["paths"].items():
            if "post" not in item:
                continue
            body = resolved(item["post"]["requestBody"]["content"]["application/json"], self.document)
            jsonschema.Draft202012Validator.check_schema(body["schema"])
            jsonschema.validate(body["example"], body["schema"], jsonschema.Draft202012Validator)
            status, answer = posted(path, body["example"])
            if path.startswith("/v1/pipelines/"):  # It changes something, and this worker has no token.
                self.assertEqual(status, 403, f"{path}: {answer}")
                jsonschema.validate(answer, resolved(self.document["components"]["schemas"]["Error"], self.document))
                continue
            self.assertEqual(status, 200, f"{path}: {answer}")
            content = resolved(item["post"]["responses"]["200"], self.document)["content"]
            jsonschema.validate(answer, content["application/json"]["schema"], jsonschema.Draft202012Validator)
            if "application/vnd.huggingface+json" in content:
                status, answer = posted(path, body["example"], "application/vnd.huggingface+json")
                self.assertEqual(status, 200, f"{path}: {answer}")
                jsonschema.validate(answer, content["application/vnd.huggingface+json"]["schema"], jsonschema.Draft202012Validator)
            asked += 1
        pipelines = len(fetched("/v1/functions"))
        self.assertEqual(asked, 2 * pipelines + 3, "two a pipeline, chat beside one, embeddings and chat for all")

    def test_what_is_read_is_as_the_schema_says(self):
        for path, item in self.document["paths"].items():
            responses = item.get("get", {}).get("responses", {})
            content = resolved(responses.get("200", {}), self.document).get("content", {})
            if "application/json" in content and "{" not in path:
                jsonschema.validate(fetched(path + QUERIES.get(path, "")), content["application/json"]["schema"], jsonschema.Draft202012Validator)

    def test_refusals_are_as_the_schema_says(self):
        schema = resolved(self.document["components"]["schemas"]["Error"], self.document)
        for path, body, status in [
            ("/v1/functions/intent", {"inputs": ["a"], "parameters": {"nonsense": 1}}, 400),
            ("/v1/functions/intent", {"inputs": " "}, 422),
            ("/v1/functions/nobody", {"inputs": "a"}, 404),
            ("/v1/embeddings", {"input": [1]}, 400),
            ("/v1/chat/completions", {"messages": []}, 400),
            ("/v1/nothing", {}, 404),
            ("/v1/models", {}, 405),
        ]:
            found, answer = posted(path, body)
            self.assertEqual(found, status, f"{path}: {answer}")
            jsonschema.validate(answer, schema, jsonschema.Draft202012Validator)
