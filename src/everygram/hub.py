"""Is the Hugging Face hub there? Its libraries need half a minute of retries to say no."""

import os
import threading

# Seconds in which it must answer.
PATIENCE = 3


def hub_missing() -> str | None:
    """Why the hub cannot be asked, and what to do; None if it answers, or is not to be asked.

    Takes `PATIENCE` seconds at most. Proxies of the environment are asked, too.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return None
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    reason = [f"no answer within {PATIENCE} seconds"]
    # (The name server has no time limit of its own.)
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
    """Append why the hub does not answer; "" if it does, whatever it says."""
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
        # Of certificates the hub's own libraries judge: they may know others.
        reason.append("" if isinstance(why, ssl.SSLError) else str(why))
