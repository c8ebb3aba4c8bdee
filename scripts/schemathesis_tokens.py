"""For the run without a token against a server that wants one: nothing answers but /livez and /readyz."""

import schemathesis


@schemathesis.check
def nothing_answers_without_a_token(ctx, response, case):
    if case.operation.path in ("/livez", "/readyz"):
        return
    # What is no HTTP at all is refused before anybody asks who sends it.
    assert response.status_code == 401 or (response.status_code == 400 and not response.content), response.status_code
