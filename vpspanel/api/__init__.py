"""The REST API at `/api/v1`, in the shape that hcloud clients speak: shapes only, no rules.

Each write is one call of the same service function that the page calls.
"""
