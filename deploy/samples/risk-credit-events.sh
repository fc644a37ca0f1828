#!/usr/bin/env bash
# The UCI table of credit card clients as one log for `millrace eval risk`: statements in the order of their months, then the
# applications of October 2005, each with its label, its fold, and the probability that was foretold for it.
#
#   deploy/samples/risk-credit-events.sh FOLDER > credit.csv
#
# FOLDER holds statement_events.csv.gz, applications.csv.gz, folds.csv.gz and golden/oof_predictions.csv.gz; the last three have a
# line a client, in the same order. A line that is of another client ends it with 1.
set -euo pipefail
[ -d "${1:-}" ] || { echo "usage: $0 FOLDER > credit.csv" >&2; exit 2; }
echo id,kind,time,client_id,pay_status,bill_amt,pay_amt,limit_bal,sex,education,marriage,age,has_default,fold,expected
gzip -dc "$1/statement_events.csv.gz" | awk -F, 'NR > 1 { print "s" $1 ",statement," $2 "-01T00:00:00Z," $3 "," $4 "," $5 "," $6 ",,,,,,,," }'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in folds golden/oof_predictions; do gzip -dc "$1/$name.csv.gz" > "$work/$(basename "$name")"; done
gzip -dc "$1/applications.csv.gz" | paste -d, - "$work/folds" "$work/oof_predictions" | awk -F, 'NR > 1 {
  if ($1 != $8 || $1 != $10 || $9 != $11) { print "line " NR ": the files are not in the same order" > "/dev/stderr"; exit 1 }
  print "a" $1 ",application,2005-10-01T00:00:00Z," $1 ",,,," $2 "," $3 "," $4 "," $5 "," $6 "," $7 "," $9 "," $13 }'
