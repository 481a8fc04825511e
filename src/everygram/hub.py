"""Whether the Hugging Face hub answers. (Its libraries retry for half a minute.)"""

import os
import threading

# Seconds to wait for an answer.
PATIENCE = 3


def hub_missing() -> str | None:
    """Why the hub cannot be reached, and what to do; None if it answers, or is switched off.

    Takes at most `PATIENCE` seconds. Uses the proxies of the environment.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return None
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    reason = [f"no answer within {PATIENCE} seconds"]
    # (In a thread, because looking up a name has no time limit.)
    asking = threading.Thread(target=_ask, args=(endpoint, reason), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    if not reason[-1]:
        return None
    return (
        f"the hub ({endpoint}) cannot be reached: {reason[-1]}; is the network up, and HTTPS_PROXY "
        "set if there is a proxy? With HF_HUB_OFFLINE=1 only what is in the hub's cache here is "
        "used"
    )


def _ask(endpoint: str, reason: list[str]) -> None:
    """Append the reason why the hub does not answer; "" for any answer."""
    # Slow to import, and most commands do without.
    import ssl
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        urllib.request.urlopen(request, timeout=PATIENCE).close()
        reason.append("")
    except urllib.error.HTTPError:
        reason.append("")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        # (The hub's own libraries may trust other certificates.)
        reason.append("" if isinstance(why, ssl.SSLError) else str(why))
