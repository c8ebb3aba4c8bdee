"""A check for the run without a token: only /livez and /readyz answer anything but 401."""

import schemathesis


@schemathesis.check
def nothing_answers_without_a_token(ctx, response, case):
    if case.operation.path in ("/livez", "/readyz"):
        return
    # The service rejects malformed HTTP before it authenticates the client.
    assert response.status_code == 401 or (response.status_code == 400 and not response.content), response.status_code
