"""A check for the run without a token: only the probes and the documentation answer anything but 401."""

import schemathesis

PUBLIC = ("/livez", "/readyz", "/", "/openapi.json", "/swagger.json", "/swagger")


@schemathesis.check
def nothing_answers_without_a_token(ctx, response, case):
    if case.operation.path in PUBLIC:
        return
    # The service rejects malformed HTTP before it authenticates the client.
    assert response.status_code == 401 or (response.status_code == 400 and not response.content), response.status_code
