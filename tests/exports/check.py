"""Folders that `millrace train` writes, loaded by transformers: each must answer as Millrace does.

    python check.py PROGRAM

needs torch and transformers (4.57 or 5). Small networks are drawn and trained for each head and for a causal model, with and without
adapters. It ends with 1 when a number differs by more than 1e-4.
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers

PROGRAM = sys.argv[1]
BOUND = 1e-4
NEW = "layers=2,hidden=32,heads=2"
THINGS = ["card", "parcel", "order", "phone", "shoes", "ticket", "book", "lamp", "coat", "chair", "watch", "bag"]


def millrace(*args, given=None):
    done = subprocess.run([PROGRAM, *map(str, args)], input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"millrace {' '.join(map(str, args))}: {done.stderr}")
    return done.stdout


def call(function, folder, inputs, **options):
    lines = "".join(json.dumps(one) + "\n" for one in inputs)
    said = millrace("call", function, "--model", folder, "--options", json.dumps(options), given=lines)
    return [json.loads(line) for line in said.splitlines()]


def train(work, name, rows, *more):
    data, out = work / f"{name}.jsonl", work / name
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    millrace("train", "--new", NEW, "--tokenizer", "bpe:300", "--train", data, "--dev", data, "--out", out, "--epochs", 12, "--batch", 8, "--lr", "3e-3", *more)
    return out


class Loaded:
    def __init__(self, folder, auto):
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.network, told = auto.from_pretrained(folder, output_loading_info=True)
        for kind in ["missing_keys", "unexpected_keys", "mismatched_keys"]:
            if told[kind]:
                sys.exit(f"{folder.name}: transformers tells of {kind}: {sorted(told[kind])}")
        self.network.eval()

    def __call__(self, *texts):
        with torch.no_grad():
            return self.network(**self.tokenizer(*texts, return_tensors="pt"))


def compare(name, pairs):
    pairs = list(pairs)
    if not pairs:
        sys.exit(f"{name}: nothing to compare")
    worst = max(abs(a - b) for a, b in pairs)
    ours = [a for a, _ in pairs]
    print(f"{name}: {len(pairs)} numbers from {min(ours):.3f} to {max(ours):.3f}, at most {worst:.1e} apart", flush=True)
    # Numbers that are all the same would say nothing.
    return worst <= BOUND and max(ours) - min(ours) > 10 * BOUND


def texts(kind, work):
    sentences = {thing: [f"where is my {thing}? it has not come", f"I want my money back for the {thing}", f"thank you, the {thing} is fine"] for thing in THINGS}
    if kind == "label":
        rows = [{"text": text, "label": label} for group in sentences.values() for text, label in zip(group, ["late", "refund", "praise"])]
    else:
        rows = [{"text": text, "labels": labels} for group in sentences.values() for text, labels in zip(group, [["late", "ask"], ["ask"], []])]
    folder = train(work, kind, rows, "--task", kind)
    theirs, asked = Loaded(folder, transformers.AutoModelForSequenceClassification), [row["text"] for row in rows[:6]]
    ours = call("classify", folder, asked, function_to_apply="none", top_k=None)
    numbers = []
    for text, said in zip(asked, ours):
        scores = said.get("scores") or {one["label"]: one["score"] for one in said["labels"]}
        logits = theirs(text).logits[0]
        numbers += [(scores[label], float(logits[index])) for index, label in theirs.network.config.id2label.items()]
    return compare(kind, numbers)


def pairs(kind, work):
    """Two texts a row: a label or a number that follows from both. Some are longer than the network sees, and cut."""
    rows = []
    for thing in THINGS:
        for first, mood in enumerate(["bad", "good"]):
            for second, like in enumerate(["hate", "like"]):
                label = ["contradiction", "neutral", "entailment"][first + second] if kind == "label" else 10.5 + 20 * first + 9 * second
                rows.append({"text": f"the {thing} is {mood}", "text_pair": f"people {like} it", "label": label})
    folder = train(work, f"pairs-{kind}", rows * 4, "--task", kind, "--max-tokens", 48)
    theirs = Loaded(folder, transformers.AutoModelForSequenceClassification)
    asked = rows[:8] + [{"text": rows[i]["text"] * 4, "text_pair": rows[i]["text_pair"] * (2 + 3 * i)} for i in range(3)]
    ours = call("classify", folder, [{"text": row["text"], "text_pair": row["text_pair"]} for row in asked], function_to_apply="none", top_k=None)
    numbers = []
    for row, said in zip(asked, ours):
        encoded = theirs.tokenizer(row["text"], row["text_pair"], truncation="longest_first", return_tensors="pt")
        with torch.no_grad():
            logits = theirs.network(**encoded).logits[0]
        scores = {one["label"]: one["score"] for one in said["labels"]}
        numbers += [(scores[label], float(logits[index])) for index, label in theirs.network.config.id2label.items()]
    return compare(f"pairs, {kind}", numbers)


def numbers_of_texts(work):
    rows = [{"text": f"the {thing} is {mood}", "stars": 1 + 2 * stars} for thing in THINGS for stars, mood in enumerate(["bad", "fair", "good"])]
    folder = train(work, "stars", rows, "--task", "score")
    theirs, asked = Loaded(folder, transformers.AutoModelForSequenceClassification), [row["text"] for row in rows[:6]]
    if theirs.network.config.problem_type != "regression":
        sys.exit(f"stars: transformers takes it for {theirs.network.config.problem_type}")
    ours = call("classify", folder, asked)
    return compare("stars", [(said["score"], float(theirs(text).logits[0, 0])) for text, said in zip(asked, ours)])


def tags(work):
    rows = []
    for thing in THINGS:
        end = len("where is my ") + len(thing)
        rows.append({"text": f"where is my {thing} today", "spans": [[12, end, "THING"], [end + 1, end + 6, "TIME"]]})
    folder = train(work, "tag", rows, "--task", "tag")
    theirs, asked = Loaded(folder, transformers.AutoModelForTokenClassification), [row["text"] for row in rows[:4]]
    ours = call("tag", folder, asked, aggregation_strategy="none", ignore_labels=[])
    numbers = []
    for text, said in zip(asked, ours):
        best = theirs(text).logits[0].softmax(-1).max(-1).values[1:-1]
        entities = said["entities"]
        if len(entities) != len(best):
            sys.exit(f"tag: {len(entities)} tokens, transformers has {len(best)}")
        numbers += [(entity["score"], float(score)) for entity, score in zip(entities, best)]
    return compare("tag", numbers)


def answers(work):
    rows = [
        {"context": f"The {thing} lies in the {place}. It is new.", "question": f"Where is the {thing}?", "answers": {"text": [place], "answer_start": [len(f"The {thing} lies in the ")]}, "id": thing}
        for thing, place in zip(THINGS, reversed(THINGS))
    ]
    folder = train(work, "answer", rows, "--task", "answer", "--max-tokens", 96)
    theirs = Loaded(folder, transformers.AutoModelForQuestionAnswering)
    asked = [{"question": row["question"], "context": row["context"]} for row in rows[:4]]
    ours = call("answer", folder, asked, max_answer_len=1, hf_compatible=True, align_to_words=False)
    numbers = []
    for one, said in zip(asked, ours):
        encoded = theirs.tokenizer(one["question"], one["context"], return_tensors="pt")
        with torch.no_grad():
            out = theirs.network(**encoded)
        # A span of one token: the product of both probabilities over the first token, which is "no answer", and those of the context.
        context = torch.tensor([part == 1 for part in encoded.sequence_ids(0)])
        seen = context | (torch.arange(len(context)) == 0)
        start, end = (logits[0].masked_fill(~seen, -math.inf).softmax(-1) for logits in (out.start_logits, out.end_logits))
        numbers.append((said["score"], float((start * end)[context].max())))
    return compare("answer", numbers)


def causal(work):
    data = work / "text.txt"
    data.write_text("".join(f"where is my {thing}? the {thing} is late, the {other} is not.\n" for thing in THINGS for other in THINGS), encoding="utf-8")
    good = True
    whole, merged = work / "causal", work / "merged"
    small = ["--context", 64, "--batch", 4, "--epochs", 1]
    millrace("train", "generate", "--train", data, "--tokenizer", "characters", "--layers", 2, "--hidden", 32, "--heads", 2, "--out", whole, *small)
    millrace("train", "generate", "--train", data, "--from", whole, "--lora-rank", 2, "--out", merged, *small)
    for folder in [whole, merged]:
        network = Loaded(folder, transformers.AutoModelForCausalLM).network
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        prompts, numbers = ["where is my ca", "the parcel is "], []
        for prompt, said in zip(prompts, call("generate", folder, prompts, max_new_tokens=8, temperature=0, logprobs=True)):
            ids = tokenizer(prompt).input_ids
            if len(ids) != said["prompt_tokens"]:
                sys.exit(f"{folder.name}: {said['prompt_tokens']} tokens of a prompt, transformers has {len(ids)}")
            for token in said["tokens"]:
                with torch.no_grad():
                    scores = network(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
                numbers.append((token["logprob"], float(scores.max())))
                ids.append(token["id"])
        good &= compare(folder.name, numbers)
    return good


def main():
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        good = [texts("label", work), texts("labels", work), pairs("label", work), pairs("score", work), numbers_of_texts(work), tags(work), answers(work), causal(work)]
    sys.exit(0 if all(good) else 1)


main()
