#!/bin/sh
# Installs the peers that bench/ compares with into an environment of their own: infini-gram and
# tokengrams pin nothing, and everygram must not see what they need.
#
# usage: bench/peers.sh [VENV]        (default: bench/.peers; PYTHON=python3.11 chooses the Python)
set -eu

venv=${1:-$(dirname "$0")/.peers}
"${PYTHON:-python3}" -m venv "$venv"
# transformers is what infini-gram's indexer tokenizes with, zstandard what it reads .zst with, flask
# what its API server is made of; it declares none of them. tokengrams 0.3.3 has a wheel for Python
# 3.11, none for 3.12 and 3.13. datatrove's filter of n-grams needs spacy, xxhash before 3.6 and orjson.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    infini-gram==2.6.0 tokengrams==0.3.3 numpy transformers zstandard flask \
    datatrove==0.10.1 spacy xxhash==3.5.0 orjson
"$venv/bin/python" -m pip list --disable-pip-version-check |
    grep -Ei '^(infini-gram|tokengrams|numpy|transformers|tokenizers|zstandard|flask|datatrove) '
echo "peers are in $venv"
