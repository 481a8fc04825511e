"""The service keeps to its own description: schemathesis makes up requests from it.

What it makes up is fixed by a seed, so that a failure stays until its reason is gone.
"""



