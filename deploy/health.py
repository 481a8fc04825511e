"""Whether the service in this container answers queries: exit code 0 if so, else 1."""

import os
import ssl
import sys
import urllib.request


def main() -> int:
    """Ask /health/ready where the EVERYGRAM_* variables say that the service listens."""
    port = os.environ.get("EVERYGRAM_PORT") or "8000"
    secure = bool(os.environ.get("EVERYGRAM_TLS_CERTIFICATE"))
    context = ssl.create_default_context()
    # The certificate is for the service's public name, not for this address.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    url = f"http{'s' if secure else ''}://127.0.0.1:{port}/health/ready"
    # (No proxy of the environment stands in between.)
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=4):
            return 0
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
