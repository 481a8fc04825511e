"""infini-gram's engine behind Flask, as its own API server has it. `serve.py` starts it.

usage: python serve_peer.py INDEX TOKENIZER.json VOCAB_SIZE LOG WAY PORT

Like that server: no prefetch; `POST /` with `query_type` and `query_ids`; a line of the log for
each request; the answer with latency, tokens, the token of each id and the longest suffix as text.
WAY `processes`: a process for each request, as there, up to PROCESSES (its 10 would make some of 16
connections wait); `threads`: a thread for each connection.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from flask import Flask, jsonify, request
from infini_gram.engine import InfiniGramEngine
from transformers import PreTrainedTokenizerFast

PROCESSES = 17


def main() -> None:
    index, tokenizer_file, vocab_size, log_file, way, port = sys.argv[1:]
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=tokenizer_file)
    engine = InfiniGramEngine(
        index_dir=index,
        eos_token_id=int(vocab_size) - 1,
        vocab_size=int(vocab_size),
        token_dtype="u16",
        ds_prefetch_depth=0,
        sa_prefetch_depth=0,
        od_prefetch_depth=0,
    )
    app = Flask(__name__)

    def token(number: int) -> str:
        return tokenizer.convert_ids_to_tokens([number])[0].replace("Ġ", " ")

    def asked(kind: str, ids: list[int]) -> dict[str, Any]:
        if kind == "count":
            return engine.count(input_ids=ids)
        if kind == "infgram_prob":
            found = engine.infgram_prob(prompt_ids=ids[:-1], cont_id=ids[-1])
            known = ids[: len(ids) - 1]
        else:
            found = getattr(engine, kind)(prompt_ids=ids)
            for number, entry in found["result_by_token_id"].items():
                entry["token"] = token(number)
            known = ids
        if "suffix_len" in found:
            suffix = known[len(known) - found["suffix_len"] :]
            found["longest_suffix"] = tokenizer.decode(suffix, skip_special_tokens=False)
        return found

    @app.post("/")
    def query() -> Any:
        body = request.json
        log.write(json.dumps(body) + "\n")
        log.flush()
        if body["query_type"] not in ("count", "infgram_prob", "ntd", "infgram_ntd"):
            return jsonify({"error": f"unknown query_type: {body['query_type']}"}), 400
        ids = body["query_ids"]
        tokens = tokenizer.convert_ids_to_tokens(ids)
        start = time.time()
        result = asked(body["query_type"], ids)
        result |= {"latency": 1e3 * (time.time() - start), "token_ids": ids, "tokens": tokens}
        return jsonify(result), 200

    ways: dict[str, dict[str, Any]] = {
        "processes": {"threaded": False, "processes": PROCESSES},
        "threads": {"threaded": True},
    }
    with Path(log_file).open("a") as log:
        app.run(host="127.0.0.1", port=int(port), **ways[way])


if __name__ == "__main__":
    main()
