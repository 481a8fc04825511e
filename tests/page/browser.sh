#!/usr/bin/env bash
# Install the browser that the tests of the page drive, where there is none: Debian's, as root;
# elsewhere Playwright's own, into the user's cache.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" > /dev/null; then
        echo "the tests of the page use $(command -v "$name")"
        exit
    fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --no-install-recommends chromium fonts-dejavu-core
else
    "$(dirname "$0")/../../.venv/bin/python" -m playwright install chromium
fi
