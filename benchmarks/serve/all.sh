#!/usr/bin/env bash
# all.sh RUNS_FOLDER [SECONDS] [MINUTES]: every figure of docs/results/serving.md, into benchmarks/serve/results
set -eu
cd "$(dirname "$0")/../.."
python benchmarks/serve/rates.py --runs "$1" --seconds "${2:-5}" --out benchmarks/serve/results/rates.json
python benchmarks/serve/batches.py --runs "$1" --seconds "$(( ${2:-5} * 4 ))" --out benchmarks/serve/results/batches.json
run=$(ls -d "$1"/textknn/evaluate-* 2>/dev/null | head -1)
[ -n "$run" ] || { interlingua run textknn --data planted --out "$1/textknn"; run=$(ls -d "$1"/textknn/evaluate-* | head -1); }
python benchmarks/serve/crash.py --run "$run" --out benchmarks/serve/results/crash.json
run=$(ls -d "$1"/itemknn/evaluate-* | head -1)
python benchmarks/serve/soak.py --run "$run" --minutes "${3:-10}" --out benchmarks/serve/results/soak.json
