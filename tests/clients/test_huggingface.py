"""The client of Hugging Face against the bare shape, /hf/NAME. What the tiny models must answer is what transformers answers."""

import json
import unittest

import numpy
from huggingface_hub import (
    ChatCompletionOutput,
    FillMaskOutputElement,
    InferenceClient,
    QuestionAnsweringOutputElement,
    SummarizationOutput,
    TextClassificationOutputElement,
    TextGenerationOutput,
    TextGenerationStreamOutput,
    TokenClassificationOutputElement,
    ZeroShotClassificationOutputElement,
)
from huggingface_hub.errors import HfHubHTTPError, ValidationError

from worker import URL, plain, truth

ASK = [{"role": "user", "content": "Where is my parcel?"}]


def client(name):
    return InferenceClient(model=f"{URL}/hf/{name}", token="none", timeout=60)


class HuggingFace(unittest.TestCase):
    def same(self, found, expected, kind):
        """Of the client's class, and the numbers of transformers."""
        self.assertIsInstance(found, list)
        self.assertEqual(len(found), len(expected))
        for one, wanted in zip(found, expected):
            self.assertIsInstance(one, kind)
            one = plain(one)
            self.assertAlmostEqual(one.pop("score"), wanted["score"], delta=1e-4)
            for name, value in one.items():
                self.assertEqual(value, wanted[name], name)
            self.assertLessEqual(set(one), set(wanted))

    def test_text_classification(self):
        asked = 0
        for case in truth("one"):
            if not isinstance(case["inputs"], str) or set(case["parameters"]) - {"top_k", "function_to_apply"}:
                continue
            # The client leaves out what is None, and all labels are asked for by a large number.
            parameters = {name: 100 if value is None else value for name, value in case["parameters"].items()}
            found = client("intent").text_classification(case["inputs"], **parameters)
            self.same(found, case["output"], TextClassificationOutputElement)
            asked += 1
        self.assertGreater(asked, 4)
        mood = client("mood").text_classification("This is wonderful, I love it.")
        self.assertEqual(mood[0].label, "positive")
        self.assertGreater(mood[0].score, 0.9)

    def test_zero_shot_classification(self):
        asked = 0
        for case in truth("nli"):
            if not isinstance(case["inputs"], str):
                continue
            found = client("zero-shot").zero_shot_classification(case["inputs"], **case["parameters"])
            self.same(found, case["output"], ZeroShotClassificationOutputElement)
            asked += 1
        self.assertGreater(asked, 4)
        # With the labels of the pipeline it is a classifier of its own.
        own = client("zero-shot").text_classification("good film", top_k=2)
        self.assertEqual({one.label for one in own}, {"sport", "food"})

    def test_token_classification(self):
        asked = 0
        for case in truth("tag"):
            if not isinstance(case["inputs"], str):
                continue
            found = client("names").token_classification(case["inputs"], **case["parameters"])
            expected = [{name: value for name, value in one.items() if name != "index"} for one in case["output"]]
            self.assertEqual([one.start for one in found], [one["start"] for one in expected])
            self.assertEqual([one.entity or one.entity_group for one in found], [one.get("entity") or one["entity_group"] for one in expected])
            for one, wanted in zip(found, expected, strict=True):
                self.assertIsInstance(one, TokenClassificationOutputElement)
                self.assertAlmostEqual(one.score, wanted["score"], delta=1e-4)
                # Words stand here as they stand in the text.
                self.assertEqual(one.word, case["inputs"][one.start : one.end])
            asked += 1
        self.assertGreater(asked, 4)

    def test_question_answering(self):
        # `faq` scores as the pipeline of transformers does.
        asked = 0
        for case in truth("answer"):
            found = client("faq").question_answering(**case["inputs"], **case["parameters"])
            if case["parameters"].get("top_k", 1) == 1:
                found = [found]
            # The pipeline fills up with spans of no probability, such as one that ends before it starts.
            likely = [one for one in case["output"] if one["score"] > 0]
            self.same(found, likely, QuestionAnsweringOutputElement)
            asked += 1
        self.assertEqual(asked, 16)
        # Beside it, a question has one answer, and with another normalisation.
        own = client("faq-own").question_answering("who works in Paris?", "Anna works in Paris.")
        self.assertIsInstance(own, QuestionAnsweringOutputElement)
        self.assertEqual(own.answer, "Anna works in Paris."[own.start : own.end])
        self.assertTrue(0 < own.score <= 1)

    def test_feature_extraction(self):
        vectors = client("vectors")
        one = vectors.feature_extraction("I lost my card.")
        many = vectors.feature_extraction(["I lost my card.", "What is the exchange rate?"], normalize=True)
        self.assertEqual((one.shape, many.shape, one.dtype), ((1, 384), (2, 384), numpy.dtype("float32")))
        self.assertTrue(numpy.allclose(one[0], many[0], atol=1e-5))
        self.assertAlmostEqual(float(numpy.linalg.norm(many[1])), 1, delta=1e-5)
        self.assertLess(float(many[0] @ many[1]), 0.5)
        for more in [{"truncation_direction": "left"}, {"prompt_name": "query"}, {"dimensions": 4096}]:
            (name,) = more
            with self.assertRaises(HfHubHTTPError) as caught:
                vectors.feature_extraction("a", **more)
            self.assertEqual(caught.exception.response.status_code, 400, more)
            self.assertIn(f"`{name}`", str(caught.exception))
        same = vectors.feature_extraction("I lost my card.", truncate=True, truncation_direction="right", dimensions=384)
        self.assertTrue(numpy.array_equal(same, one))

    def test_sentence_similarity(self):
        scores = client("likeness").sentence_similarity("I lost my card.", ["My card is missing.", "What is the exchange rate?"])
        self.assertEqual([type(one) for one in scores], [float, float])
        self.assertGreater(scores[0], 0.8)
        self.assertLess(scores[1], 0.5)

    def test_summarization(self):
        text = "The parcel came late. It was also broken. Nobody answered the phone. I want my money back. " * 2
        found = client("digest").summarization(text, clean_up_tokenization_spaces=True)
        self.assertIsInstance(found, SummarizationOutput)
        self.assertTrue(found.summary_text and len(found.summary_text) < len(text))
        self.assertIn(found.summary_text.split(". ")[0], text)

    def test_fill_mask(self):
        asked = 0
        for case in truth("fill"):
            if not isinstance(case["inputs"], str) or case["inputs"].count("[MASK]") != 1:
                continue
            found = client("blanks").fill_mask(case["inputs"], **case["parameters"])
            self.assertEqual([one.token for one in found], [one["token"] for one in case["output"]])
            for one, wanted in zip(found, case["output"], strict=True):
                self.assertIsInstance(one, FillMaskOutputElement)
                self.assertAlmostEqual(one.score, wanted["score"], delta=1e-4)
                self.assertEqual((one.token_str, one.sequence), (wanted["token_str"], wanted["sequence"]))
            asked += 1
        self.assertGreater(asked, 2)

    def test_text_generation(self):
        chat = client("chat")
        text = chat.text_generation("The film", max_new_tokens=8)
        self.assertTrue(isinstance(text, str) and text)
        self.assertEqual(chat.text_generation("The film", max_new_tokens=8, do_sample=False, return_full_text=False), text)
        self.assertEqual(chat.text_generation("The film", max_new_tokens=8, return_full_text=True), "The film" + text)
        whole = chat.text_generation("The film", max_new_tokens=8, details=True, best_of=1, watermark=False)
        self.assertIsInstance(whole, TextGenerationOutput)
        self.assertEqual(whole.generated_text, text)
        self.assertEqual((whole.details.finish_reason, whole.details.generated_tokens), ("length", 8))
        self.assertEqual((len(whole.details.tokens), whole.details.prefill), (8, []))
        self.assertEqual("".join(token.text for token in whole.details.tokens if not token.special)[:4], text[:4])
        self.assertTrue(all(token.logprob <= 0 and isinstance(token.id, int) for token in whole.details.tokens))
        sampled = [chat.text_generation("The film", max_new_tokens=12, do_sample=True, temperature=1.5, seed=seed) for seed in (1, 1, 2)]
        self.assertEqual(sampled[0], sampled[1])
        self.assertNotEqual(sampled[0], sampled[2])
        plainly = chat.text_generation("The film", max_new_tokens=12, do_sample=True, seed=3)
        self.assertNotEqual(plainly, chat.text_generation("The film", max_new_tokens=12))
        stop = text[len(text) // 2 :][:2]
        ended = chat.text_generation("The film", max_new_tokens=8, stop=[stop], details=True)
        self.assertEqual((ended.generated_text, ended.details.finish_reason), (text[: text.index(stop)], "stop_sequence"))

    def test_text_generation_in_pieces(self):
        chat = client("chat")
        text = chat.text_generation("The film", max_new_tokens=8)
        pieces = list(chat.text_generation("The film", max_new_tokens=8, stream=True))
        self.assertEqual("".join(pieces), text)
        self.assertGreater(len(pieces), 2)
        events = list(chat.text_generation("The film", max_new_tokens=8, stream=True, details=True))
        self.assertTrue(all(isinstance(event, TextGenerationStreamOutput) for event in events))
        self.assertEqual([event.index for event in events], list(range(1, len(events) + 1)))
        self.assertEqual("".join(event.token.text for event in events), text)
        last = events[-1]
        self.assertEqual((last.generated_text, last.details.finish_reason, last.details.generated_tokens), (text, "length", 8))
        self.assertTrue(all(event.generated_text is None and event.details is None for event in events[:-1]))

    def test_text_held_to_a_schema(self):
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
        text = client("chat").text_generation("a", max_new_tokens=40, grammar={"type": "json", "value": schema})
        self.assertIsInstance(json.loads(text)["ok"], bool)

    def test_chat_completion(self):
        # By the path of a pipeline, by the root, and by a name.
        chat = client("chat")
        named = chat.chat_completion(ASK, max_tokens=8)
        self.assertIsInstance(named, ChatCompletionOutput)
        self.assertEqual((named.choices[0].message.role, named.choices[0].finish_reason), ("assistant", "length"))
        root = InferenceClient(base_url=URL, token="none")
        by_name = InferenceClient(base_url=URL + "/v1", token="none")
        text = named.choices[0].message.content
        self.assertTrue(text)
        self.assertEqual(root.chat_completion(ASK, max_tokens=8).choices[0].message.content, text)
        self.assertEqual(by_name.chat_completion(ASK, model="chat", max_tokens=8).choices[0].message.content, text)
        # A client that nobody holds closes its stream.
        pieces = chat.chat_completion(ASK, max_tokens=8, stream=True)
        self.assertEqual("".join(piece.choices[0].delta.content or "" for piece in pieces), text)
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        held = client("chat").chat_completion(ASK, max_tokens=40, response_format=form)
        self.assertIsInstance(json.loads(held.choices[0].message.content)["ok"], bool)
        with self.assertRaises(HfHubHTTPError) as caught:
            client("intent").chat_completion(ASK)
        self.assertEqual(caught.exception.response.status_code, 404)

    def test_refusals_are_sentences(self):
        for call, status, said in [
            (lambda: client("nobody").text_classification("a"), 404, "there is no pipeline or function `nobody`"),
            (lambda: client("intent").text_classification(" "), 422, "input 0 (model one@"),
            (lambda: client("intent").text_classification("a " * 30_000), 413, "20000 tokens"),
            (lambda: client("intent").text_classification("a", top_k=-1), 400, "top_k"),
            (lambda: client("likeness").sentence_similarity("a", []), 422, "the list is empty"),
            (lambda: client("digest").summarization("a", generate_parameters={"x": 1}), 400, "the method `generate`"),
            (lambda: client("chat").text_generation("a", grammar={"type": "regex", "value": "a"}), 400, "grammar"),
        ]:
            with self.assertRaises((HfHubHTTPError, ValidationError)) as caught:
                call()
            error = caught.exception
            response = getattr(error, "response", None) or error.__cause__.response
            self.assertEqual(response.status_code, status)
            self.assertIn(said, str(error))
            self.assertNotIn("{'", str(error), "a sentence, not a dictionary")
