"""Trains the starter risk model, and measures it on another seed's later days.

    cargo build --release --locked
    python3 -m venv VENV && VENV/bin/pip install -r models/risk-starter/requirements.txt
    VENV/bin/python models/risk-starter/train.py

Millrace makes the payments (`millrace demo --print-transactions`) and folds them into features (`millrace call risk`), as it does on a
stream: what is trained on and what is scored cannot differ.
"""

import json
import pathlib
import subprocess
import tomllib

import numpy as np
import xgboost
from sklearn.metrics import average_precision_score, roc_auc_score

HERE = pathlib.Path(__file__).parent
MILLRACE = HERE.parent.parent / "target" / "release" / "millrace"
TRAIN_SEEDS, TEST_SEEDS = range(1001, 1013), range(2001, 2005)
# The first days fill the windows. Of the last ones not every fraud is reported yet.
TRAIN_DAYS, TEST_DAYS, UNREPORTED_DAYS = (30, 90), (90, 120), 6
# A model takes its features in the order in which the config declares them.
NAMES = [feature["name"] for feature in tomllib.loads((HERE / "features.toml").read_text())["pipeline"][0]["risk"]["feature"]]
SETTINGS = dict(
    n_estimators=150, max_depth=5, learning_rate=0.1, min_child_weight=5, subsample=0.8, colsample_bytree=0.8,
    tree_method="hist", n_jobs=2, random_state=1,
)


def rows(seed, first_day, last_day):
    """The features of each payment, and the scenario by which it is fraud, or nothing."""
    days = str(last_day + UNREPORTED_DAYS)
    made = subprocess.run(
        [MILLRACE, "demo", "--print-transactions", days, "--seed", str(seed)], check=True, capture_output=True, text=True
    ).stdout
    command = [MILLRACE, "call", "risk", "--config", HERE / "features.toml"]
    answers = subprocess.run(command, input=made, check=True, capture_output=True, text=True).stdout
    events = [json.loads(line) for line in made.splitlines()]
    answers = [json.loads(line) for line in answers.splitlines()]
    assert len(events) == len(answers)
    reported = {event["event_id"]: event["scenario"] for event in events if event["kind"] == "label"}
    begin = np.datetime64(events[0]["time"][:10])
    features, scenarios = [], []
    for event, answer in zip(events, answers):
        day = (np.datetime64(event["time"][:10]) - begin).astype(int)
        if event["kind"] == "payment" and first_day <= day < last_day:
            features.append(answer["features"])
            scenarios.append(reported.get(event["id"], ""))
    table = [[np.nan if row[name] is None else row[name] for name in NAMES] for row in features]
    return np.array(table, dtype=np.float32), np.array(scenarios)


def several(seeds, days):
    parts = [rows(seed, *days) for seed in seeds]
    return np.vstack([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def tell(name, truth, score):
    print(f"{name}: AUC {roc_auc_score(truth, score):.4f}, AP {average_precision_score(truth, score):.4f}")


table, scenarios = several(TRAIN_SEEDS, TRAIN_DAYS)
print(f"training: {len(table)} payments, {(scenarios != '').sum()} frauds, {len(NAMES)} features")
model = xgboost.XGBClassifier(**SETTINGS).fit(table, scenarios != "")
booster = model.get_booster()
booster.feature_names = NAMES
booster.save_model(HERE / "model.json")
print(f"model.json: {(HERE / 'model.json').stat().st_size} bytes")

held_out, scenarios = several(TEST_SEEDS, TEST_DAYS)
truth, score = scenarios != "", model.predict_proba(held_out)[:, 1]
print(f"held out: {len(truth)} payments, {truth.sum()} frauds")
tell("model", truth, score)
tell("amount alone", truth, held_out[:, NAMES.index("amount")])
tell("reports of the terminal alone", truth, held_out[:, NAMES.index("terminal_fraud_7d")])
for least in (100, 300, 700, 900):
    taken = np.floor(score * 1000 + 0.5) >= least
    found = ", ".join(f"{name} {taken[scenarios == name].mean():.2f}" for name in ("large", "terminal", "stolen"))
    print(
        f"score >= {least}: {taken.mean():.2%} of payments, precision {truth[taken].mean():.3f}, "
        f"recall {taken[truth].mean():.3f} ({found})"
    )
