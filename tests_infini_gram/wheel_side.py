"""infini-gram's engines in a process of their own: run by the Python that has infini-gram.

Reads lines of JSON, writes one line for each: {"answer": …} or {"raised": the type's name}. Answers
are written as Python writes them, since JSON would make lists of tuples and strings of ids. The
process ends where an assertion of infini-gram's fails.
"""

import json
import os
import sys


def main() -> None:
    from infini_gram import engine as engines

    # What infini-gram prints must not be mixed with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    engine = None
    for line in sys.stdin:
        request = json.loads(line)
        arguments, named = request.get("arguments", []), request.get("named", {})
        try:
            if "open" in request:
                engine = getattr(engines, request["open"])(*arguments, **named)
                answer = None
            else:
                answer = getattr(engine, request["call"])(*arguments, **named)
            said = {"answer": repr(answer)}
        except Exception as error:
            said = {"raised": type(error).__name__}
        print(json.dumps(said), file=answers)


if __name__ == "__main__":
    main()
