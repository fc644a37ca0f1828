"""Trains the models that `risk-credit.toml` is evaluated with, one a fold, on the clients of the other folds.

    pip install lightgbm==4.7.0 scikit-learn pandas && python risk-credit-train.py FOLDER OUT

FOLDER holds default_of_credit_card_clients.csv.gz and folds.csv.gz; OUT gets lgb_fold0.txt and so on.
"""

import pathlib
import sys

import lightgbm
import pandas

folder, out = map(pathlib.Path, sys.argv[1:])
clients = pandas.read_csv(folder / "default_of_credit_card_clients.csv.gz")
folds = pandas.read_csv(folder / "folds.csv.gz").fold
rows, bad = clients.drop(columns=["client_id", "has_default"]), clients.has_default
for fold in sorted(folds.unique()):
    model = lightgbm.LGBMClassifier(
        n_estimators=200, learning_rate=0.03, num_leaves=15, random_state=0, n_jobs=2, deterministic=True, force_row_wise=True, verbosity=-1
    )
    model.fit(rows[folds != fold], bad[folds != fold])
    model.booster_.save_model(out / f"lgb_fold{fold}.txt")
