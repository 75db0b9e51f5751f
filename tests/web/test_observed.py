"""What is written down about requests: ids, log lines, figures; and what is not."""

import json

from tests.web.toy_routes import ROUTES, SEND, V3


async def test_a_trusted_proxys_request_id_is_kept_and_others_are_not(serve):
    trusting = await serve(*ROUTES, trusted_proxies=["127.0.0.1"])
    response = await trusting.request("GET", "/nothing", headers={"X-Request-ID": "proxy-1"})
    assert response.headers["X-Request-ID"] == "proxy-1"
    for bad in ("x" * 65, "a b", 'a"b'):
        response = await trusting.request("GET", "/nothing", headers={"X-Request-ID": bad})
        assert response.headers["X-Request-ID"] != bad
    other = await serve(*ROUTES)
    ids = {
        (await other.request("GET", "/nothing", headers={"X-Request-ID": "mine"})).headers["X-Request-ID"]
        for _ in range(3)
    }
    assert len(ids) == 3 and "mine" not in ids


async def test_each_request_is_one_log_line_without_path_query_token_or_content(serve):
    server = await serve(*ROUTES, policy={"accept_query_tokens": True})
    response = await server.request("PUT", SEND + "?access_token=guest-token&x=secret", data=b'{"body":"secret"}')
    await server.request("GET", "/secret/path", token=None)
    line, unknown = server.log
    assert line | {"duration_ms": 0} == {
        "level": "info",
        "event": "request",
        "method": "PUT",
        "route": f"{V3}/rooms/{{roomId}}/send/{{eventType}}/{{txnId}}",
        "status": 200,
        "duration_ms": 0,
        "user": "@alice:example.org",
        "client_address": "127.0.0.1",
        "request_id": response.headers["X-Request-ID"],
    }
    assert 0 < line["duration_ms"] < 5000
    assert (unknown["route"], unknown["status"], unknown["user"]) == ("(unknown)", 404, None)
    text = json.dumps(server.log)
    assert "secret" not in text and "token" not in text and "!r" not in text


async def test_the_line_of_a_bug_carries_the_id_that_the_client_saw(serve, captured_log):
    server = await serve(*ROUTES)
    response = await server.request("GET", f"{V3}/fail?how=bug", token=None)
    assert server.log[0]["request_id"] == response.headers["X-Request-ID"]
    assert server.log[0]["status"] == 500
    assert [event["event"] for event in captured_log] == ["unexpected_error"]


async def test_metrics_count_by_route_template(serve):
    server = await serve(*ROUTES)
    for number in range(3):
        await server.request("PUT", SEND + str(number), data=b"{}")
    await server.request("GET", "/secret")
    await server.request("PROPFIND", "/secret")
    status, body = await server.health("/metrics")
    text = body.decode()
    assert status == 200
    route = f"{V3}/rooms/{{roomId}}/send/{{eventType}}/{{txnId}}"
    assert f'request_duration_seconds_count{{method="PUT",route="{route}",status="200"}} 3.0' in text
    assert 'request_duration_seconds_count{method="OTHER",route="(unknown)",status="404"} 1.0' in text
    assert "tim_http_requests_in_flight 0.0" in text
    assert "secret" not in text and "alice" not in text


async def test_health_means_that_the_process_lives(serve):
    async def down():
        raise OSError

    server = await serve(*ROUTES, checks={"database": down})
    assert await server.health("/health") == (200, b'{"status":"ok"}')
    assert (await server.health("/other"))[0] == 404


async def test_ready_asks_the_checks_and_names_what_fails(serve, captured_log):
    state = {"is_up": True}

    async def database():
        if not state["is_up"]:
            raise OSError("postgresql://user:secret@host")

    async def media():
        pass

    server = await serve(*ROUTES, checks={"database": database, "media": media})
    status, body = await server.health("/ready")
    assert (status, json.loads(body)) == (200, {"status": "ok", "database": "ok", "media": "ok"})
    state["is_up"] = False
    for _ in range(2):
        status, body = await server.health("/ready")
        assert (status, json.loads(body)) == (503, {"status": "not ready", "database": "failing", "media": "ok"})
    state["is_up"] = True
    assert (await server.health("/ready"))[0] == 200
    assert [event["failing"] for event in captured_log] == [["database"], []]


async def test_the_operators_pages_are_not_on_the_public_listener(serve):
    server = await serve(*ROUTES)
    for path in ("/health", "/ready", "/metrics"):
        assert await server.error("GET", path) == (404, "M_UNRECOGNIZED")
