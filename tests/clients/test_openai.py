"""OpenAI's own client against /v1."""

import asyncio
import base64
import json
import math
import struct
import unittest

import openai
from pydantic import BaseModel

from worker import URL

ASK = [{"role": "user", "content": "Where is my parcel?"}]


class Answer(BaseModel):
    good: bool
    stars: int


class OpenAI(unittest.TestCase):
    def setUp(self):
        # Without tries again, so that no failure hides behind a second request.
        self.client = openai.OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=60)
        self.addCleanup(self.client.close)

    def chat(self, **more):
        return self.client.chat.completions.create(**{"model": "chat", "messages": ASK, **more})

    def refused(self, kind, call):
        with self.assertRaises(kind) as caught:
            call()
        return caught.exception

    # Models

    def test_models_are_those_that_these_paths_run(self):
        models = list(self.client.models.list())
        self.assertEqual([model.id for model in models], ["chat", "vectors"])
        for model in models:
            self.assertEqual((model.object, model.owned_by), ("model", "millrace"))
            self.assertGreater(model.created, 1_700_000_000)
            self.assertEqual(self.client.models.retrieve(model.id), model)
        answered = self.client.embeddings.create(model=models[1].id, input="a").model
        self.assertEqual(self.client.models.retrieve(answered).id, "vectors", "the name in an answer is a name too")

    def test_an_unknown_model_is_not_found(self):
        for call in [
            lambda: self.client.models.retrieve("gpt-4"),
            lambda: self.chat(model="gpt-4"),
            lambda: self.chat(model="gpt-4", stream=True),
            lambda: self.client.embeddings.create(model="gpt-4", input="a"),
            lambda: self.client.embeddings.create(model="chat", input="a"),
        ]:
            error = self.refused(openai.NotFoundError, call)
            self.assertEqual((error.type, error.param, error.code), ("not_found", "model", "model_not_found"))
            self.assertRegex(error.body["message"], "known: (chat|vectors|chat, vectors)$")

    def test_an_unknown_path_is_told(self):
        error = self.refused(openai.NotFoundError, lambda: self.client.completions.create(model="chat", prompt="a"))
        self.assertIn("/v1/completions", error.body["message"])
        self.assertIn("/openapi.json", error.body["message"])

    # Embeddings

    def test_vectors_are_the_same_in_both_encodings(self):
        texts = ["I lost my card.", "My card is missing.", "What is the exchange rate?"]
        floats = self.client.embeddings.create(model="vectors", input=texts, encoding_format="float")
        packed = self.client.embeddings.create(model="vectors", input=texts, encoding_format="base64")
        # Without a word about it the client asks for base64 and unpacks it itself.
        default = self.client.embeddings.create(model="vectors", input=texts)
        self.assertEqual([one.index for one in floats.data], [0, 1, 2])
        self.assertTrue(floats.model.startswith("minilm@"))
        self.assertEqual(floats.usage.prompt_tokens, floats.usage.total_tokens)
        self.assertGreater(floats.usage.total_tokens, 12)
        for number, base64ed, own in zip(floats.data, packed.data, default.data, strict=True):
            self.assertEqual(len(number.embedding), 384)
            raw = base64.b64decode(base64ed.embedding)
            unpacked = struct.unpack(f"<{len(raw) // 4}f", raw)
            self.assertEqual(list(own.embedding), list(unpacked))
            for a, b in zip(number.embedding, unpacked, strict=True):
                self.assertAlmostEqual(a, b, delta=1e-6)
        near, far = (sum(a * b for a, b in zip(floats.data[0].embedding, floats.data[i].embedding, strict=True)) for i in (1, 2))
        self.assertGreater(near, 0.8)
        self.assertLess(far, 0.5)
        one = self.client.embeddings.create(model="vectors", input=texts[1], encoding_format="float", dimensions=384)
        for a, b in zip(one.data[0].embedding, floats.data[1].embedding, strict=True):
            self.assertAlmostEqual(a, b, delta=1e-5)

    def test_what_was_cut_is_told(self):
        raw = self.client.embeddings.with_raw_response.create(model="vectors", input=["a", "word " * 1000])
        self.assertEqual(raw.headers["x-millrace-truncated"], "1")
        self.assertEqual(raw.parse().truncated, [1])

    def test_what_cannot_be_embedded_is_told(self):
        embed = lambda **more: self.client.embeddings.create(**{"model": "vectors", "input": "a", **more})
        error = self.refused(openai.BadRequestError, lambda: embed(dimensions=4096))
        self.assertEqual(error.param, "dimensions")
        self.assertIn("384", error.body["message"])
        error = self.refused(openai.BadRequestError, lambda: embed(input=[[1, 2]]))
        self.assertEqual(error.param, "input")
        error = self.refused(openai.UnprocessableEntityError, lambda: embed(input=["a", " "]))
        self.assertEqual(error.param, "input.1")
        error = self.refused(openai.APIStatusError, lambda: embed(input=["a"] * 257))
        self.assertEqual((error.status_code, error.param), (413, "input"))
        self.assertIn("256", error.body["message"])

    # Chat

    def test_an_answer(self):
        answer = self.chat(max_tokens=6)
        self.assertEqual((answer.object, len(answer.choices)), ("chat.completion", 1))
        self.assertTrue(answer.id.startswith("chatcmpl-") and answer.model.startswith("tiny@"))
        choice = answer.choices[0]
        self.assertEqual((choice.index, choice.message.role, choice.finish_reason), (0, "assistant", "length"))
        self.assertTrue(choice.message.content)
        self.assertIsNone(choice.logprobs)
        self.assertIsNone(choice.message.refusal)
        usage = answer.usage
        self.assertEqual(usage.completion_tokens, 6)
        self.assertEqual(usage.prompt_tokens + 6, usage.total_tokens)
        self.assertEqual(self.chat(max_completion_tokens=6).choices[0].message.content, choice.message.content, "greedy")
        parts = [{"role": "user", "content": [{"type": "text", "text": "Where is "}, {"type": "text", "text": "my parcel?"}]}]
        self.assertEqual(self.chat(max_tokens=6, messages=parts).choices[0].message.content, choice.message.content)

    def test_a_stream_is_the_same_answer(self):
        for more in [{"max_tokens": 8}, {"max_tokens": 8, "temperature": 1.2, "seed": 5}]:
            whole = self.chat(**more)
            chunks = list(self.chat(**more, stream=True, stream_options={"include_usage": True}))
            self.assertEqual(len({chunk.id for chunk in chunks}), 1)
            self.assertTrue(all(chunk.object == "chat.completion.chunk" for chunk in chunks))
            self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            self.assertEqual(text, whole.choices[0].message.content)
            self.assertEqual(chunks[-1].choices, [])
            self.assertEqual(chunks[-1].usage, whole.usage)
            ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
            self.assertEqual(ends, [whole.choices[0].finish_reason])
            self.assertGreater(len(chunks), 3)
        quiet = list(self.chat(max_tokens=4, stream=True))
        self.assertTrue(all(chunk.choices and chunk.usage is None for chunk in quiet))

    def test_the_helper_for_streams(self):
        # It takes an answer that was cut off for an error; one of labels ends by itself.
        more = {"model": "chat", "messages": ASK, "extra_body": {"labels": ["refund", "delivery"]}}
        with self.client.chat.completions.stream(**more) as stream:
            done = [event.content for event in stream if event.type == "content.done"]
            said = stream.get_final_completion().choices[0].message.content
        self.assertEqual(done, [said])
        self.assertEqual(said, self.client.chat.completions.create(**more).choices[0].message.content)

    def test_the_asynchronous_client(self):
        async def texts():
            async with openai.AsyncOpenAI(base_url=URL + "/v1", api_key="none", max_retries=0) as client:
                stream = await client.chat.completions.create(model="chat", messages=ASK, max_tokens=8, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        self.assertEqual(asyncio.run(texts()), self.chat(max_tokens=8).choices[0].message.content)

    def test_a_seed_is_kept_and_chance_is_not(self):
        free = {"temperature": 1.5, "max_tokens": 12}
        text = lambda **more: self.chat(**free, **more).choices[0].message.content
        self.assertEqual(text(seed=7), text(seed=7))
        self.assertNotEqual(text(seed=7), text(seed=8))
        self.assertEqual(len({text() for _ in range(4)}), 4)

    def test_log_probabilities(self):
        answer = self.chat(max_tokens=5, logprobs=True, top_logprobs=3)
        content = answer.choices[0].logprobs.content
        self.assertEqual(len(content), 5)
        for token in content:
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(len(token.top_logprobs), 3)
            best = [top.logprob for top in token.top_logprobs]
            self.assertEqual(best, sorted(best, reverse=True))
            # Greedy: the token is the first of the most probable ones.
            self.assertEqual((token.token, token.logprob), (token.top_logprobs[0].token, best[0]))
            self.assertLess(sum(math.exp(one) for one in best), 1.0001)
        alone = self.chat(max_tokens=5, logprobs=True).choices[0].logprobs.content
        self.assertEqual([token.logprob for token in alone], [token.logprob for token in content])
        # The bytes of the tokens are those of the answer, also where a letter has several tokens.
        written = b"".join(bytes(token.bytes or []) for token in content)
        self.assertEqual(written.decode("utf-8", "replace"), answer.choices[0].message.content)

    def test_log_probabilities_in_a_stream(self):
        for more in [{"max_tokens": 6}, {"max_tokens": 20, "temperature": 1.4, "seed": 3}, {"extra_body": {"labels": ["refund", "delivery"]}}]:
            whole = self.chat(logprobs=True, top_logprobs=2, **more).choices[0].logprobs.content
            chunks = list(self.chat(logprobs=True, top_logprobs=2, stream=True, **more))
            parts = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
            self.assertEqual([token for part in parts for token in part.content], whole)
            self.assertGreater(len(parts), 1)
        with self.client.chat.completions.stream(
            model="chat", messages=ASK, logprobs=True, extra_body={"labels": ["refund", "delivery"]}
        ) as stream:
            deltas = [event for event in stream if event.type == "logprobs.content.delta"]
            done = stream.get_final_completion().choices[0].logprobs.content
        self.assertGreater(len(deltas), 1)
        self.assertEqual(deltas[-1].snapshot, done)
        plain = list(self.chat(max_tokens=4, stream=True))
        self.assertTrue(all(chunk.choices[0].logprobs is None for chunk in plain))

    def test_a_stop_ends_the_answer(self):
        text = self.chat(max_tokens=12).choices[0].message.content
        stop = text[len(text) // 2 :][:2]
        for stops in (stop, [stop, "never"]):
            answer = self.chat(max_tokens=12, stop=stops)
            self.assertEqual(answer.choices[0].message.content, text[: text.index(stop)])
            self.assertEqual(answer.choices[0].finish_reason, "stop")
        streamed = self.chat(max_tokens=12, stop=stop, stream=True)
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in streamed), text[: text.index(stop)])

    def test_an_answer_in_a_schema(self):
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}}
        value = json.loads(self.chat(max_tokens=40, response_format=form).choices[0].message.content)
        self.assertEqual((set(value), type(value["ok"])), ({"ok"}, bool))
        parsed = self.client.chat.completions.parse(model="chat", messages=ASK, max_tokens=50, response_format=Answer)
        self.assertIsInstance(parsed.choices[0].message.parsed, Answer)

    def test_json_of_any_shape(self):
        form = {"type": "json_object"}
        for seed in range(8):
            for most in (2, 5, 30):
                answer = self.chat(max_tokens=most, response_format=form, temperature=1.5, seed=seed).choices[0]
                self.assertIsInstance(json.loads(answer.message.content), dict)
                self.assertEqual(answer.finish_reason, "stop")
        streamed = self.chat(max_tokens=20, response_format=form, stream=True)
        self.assertIsInstance(json.loads("".join(chunk.choices[0].delta.content or "" for chunk in streamed)), dict)
        for name in ("max_tokens", "max_completion_tokens"):
            error = self.refused(openai.BadRequestError, lambda name=name: self.chat(response_format=form, **{name: 1}))
            self.assertEqual(error.param, name)
            self.assertIn("may need 2", error.body["message"])

    def test_a_choice_of_labels(self):
        answer = self.chat(extra_body={"labels": ["refund", "delivery"]}, logprobs=True)
        self.assertIn(answer.choices[0].message.content, ["refund", "delivery"])
        self.assertEqual(answer.choices[0].finish_reason, "stop")

    def test_what_is_not_done_is_told(self):
        for param, more in {
            "n": {"n": 2},
            "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
            "temperature": {"temperature": 9000},
            "top_logprobs": {"logprobs": True, "top_logprobs": 21},
            "nonsense": {"extra_body": {"nonsense": 1}},
            "messages.0": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "response_format": {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
        }.items():
            error = self.refused(openai.BadRequestError, lambda more=more: self.chat(**more))
            self.assertEqual((error.type, error.param), ("invalid_request", param))
        for stream in (False, True):
            empty = [{"role": "user", "content": " "}]
            error = self.refused(openai.UnprocessableEntityError, lambda stream=stream: self.chat(messages=empty, stream=stream))
            self.assertEqual(error.param, "messages")
