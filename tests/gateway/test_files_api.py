"""Files by the official client and by hand: kept as they came, judged before they are kept, bounded on the way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from catalog.run_life import CancelRequested, Run
from catalog.runs import RunStore
from catalog.settings import Settings
from gateway import files
from gateway.border import UPLOAD_BYTES_PER_S
from tests.gateway.scripted import BASE, ScriptedEngine
from tests.gateway.serving import Reply, Served, served
from tests.gateway.test_run_stream import PLAN

BOUNDARY = "xyz"
SMALL_UPLOAD_BYTES = 64 * 1024


@pytest.fixture
def gateway(tmp_path: Path, engine: ScriptedEngine) -> Iterator[Served]:
    with served(tmp_path / "home", engine) as running:
        yield running


def rows(count: int = 3) -> bytes:
    turns = [[{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}] for n in range(count)]
    return b"".join(json.dumps({"messages": messages}).encode() + b"\n" for messages in turns)


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def send(gateway: Served, body: bytes) -> Any:
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return gateway.call("POST", "/v1/files", body, headers)


def left_behind(gateway: Served) -> list[str]:
    return [path.name for path in (gateway.context.home / "data" / "files").glob(".*")]


def test_the_official_client_uploads_lists_reads_and_deletes(gateway: Served) -> None:
    client = gateway.client()
    made = client.files.create(file=("facts.jsonl", rows()), purpose="fine-tune")
    assert (made.object, made.filename, made.purpose, made.status) == ("file", "facts.jsonl", "fine-tune", "processed")
    assert made.bytes == len(rows())
    assert client.files.retrieve(made.id) == made
    assert client.files.wait_for_processing(made.id) == made
    assert client.files.content(made.id).read() == rows()
    assert [file.id for file in client.files.list()] == [made.id]
    gone = client.files.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "file")
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)
    assert left_behind(gateway) == []


def test_lists_come_in_pages_by_purpose_and_order(gateway: Served) -> None:
    client = gateway.client()
    made = {client.files.create(file=(f"{n}.jsonl", rows()), purpose="fine-tune").id for n in range(5)}
    other = client.files.create(file=("notes.txt", b"anything"), purpose="user_data").id
    page = client.files.list(limit=2)
    assert len(page.data) == 2 and page.has_more
    every = [file.id for file in client.files.list(limit=2)]
    assert sorted(every) == sorted({*made, other}) and len(every) == len(set(every))
    assert {file.id for file in client.files.list(purpose="fine-tune")} == made
    assert [file.id for file in client.files.list(order="asc")] == every[::-1]
    reply = gateway.call("GET", "/v1/files?after=file-none")
    assert (reply.status, reply.error["param"]) == (400, "after")


def test_a_bad_dataset_is_refused_with_every_defect_at_line_and_field(gateway: Served) -> None:
    bad = b'{"messages": [{"role": "asistant", "content": "a"}]}\n'
    with pytest.raises(openai.BadRequestError) as caught:
        gateway.client().files.create(file=("facts.jsonl", rows(2) + bad + rows(1) + b"{\n"), purpose="fine-tune")
    assert (caught.value.code, caught.value.param) == ("invalid_file_format", "file")
    assert "facts.jsonl:3: messages[0].role: 'asistant' is not one of" in str(caught.value)
    assert [line.split(": ")[0] for line in caught.value.body["defects"]] == ["facts.jsonl:3", "facts.jsonl:5"]  # type: ignore[index]
    assert gateway.client().files.list().data == []
    assert left_behind(gateway) == []


@pytest.mark.parametrize("purpose", ["assistants", "batch", "vision", "evals", "", "fine-tune-results"])
def test_a_purpose_that_nothing_here_serves_is_refused_by_name(gateway: Served, purpose: str) -> None:
    reply = send(gateway, form(part("purpose", purpose.encode()), part("file", rows(), "a.jsonl")))
    assert (reply.status, reply.error["param"]) == (400, "purpose")


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([part("purpose", b"fine-tune")], "file"),
        ([part("file", rows(), "a.jsonl")], "purpose"),
        ([part("purpose", b"fine-tune"), part("file", rows())], "file"),
        ([part("purpose", b"x" * 2000), part("file", rows(), "a.jsonl")], "purpose"),
        ([part("file", rows(), "a.jsonl"), part("file", rows(), "b.jsonl")], "file"),
        ([part("purpose", b"fine-tune"), part("purpose", b"user_data"), part("file", rows(), "a")], "purpose"),
        ([part("purpose", b"fine-tune"), part("path", b"/etc"), part("file", rows(), "a.jsonl")], "path"),
        ([part("purpose", b"fine-tune"), part("file", b"", "a.jsonl")], "file"),
        ([part("purpose", b"fine-tune"), part("file", rows(), "")], "file"),
    ],
)
def test_a_form_with_a_fault_is_400_with_the_fields_name(gateway: Served, parts: list[bytes], param: str) -> None:
    reply = send(gateway, form(*parts))
    assert (reply.status, reply.error["param"]) == (400, param), reply.body
    assert gateway.client().files.list().data == []
    assert left_behind(gateway) == []


def test_a_form_cut_anywhere_keeps_nothing(gateway: Served) -> None:
    whole = form(part("purpose", b"fine-tune"), part("file", rows(1), "a.jsonl"))
    for cut in range(0, len(whole) - 4, 7):
        assert send(gateway, whole[:cut]).status == 400, cut
    assert gateway.client().files.list().data == []
    assert left_behind(gateway) == []
    assert send(gateway, whole).status == 200


def test_a_form_without_a_boundary_is_400_and_json_415(gateway: Served) -> None:
    reply = gateway.call("POST", "/v1/files", b"x", {"content-type": "multipart/form-data"})
    assert (reply.status, reply.error["code"]) == (400, "malformed_form")
    assert gateway.call("POST", "/v1/files", {}).status == 415
    assert gateway.call("POST", "/v1/chat/completions", b"x", {"content-type": "multipart/form-data"}).status == 415


def test_expiry_is_honoured_and_bounded(gateway: Served) -> None:
    client = gateway.client()
    expires: Any = {"anchor": "created_at", "seconds": 3600}
    made = client.files.create(file=("a.jsonl", rows()), purpose="fine-tune", expires_after=expires)
    assert made.expires_at == made.created_at + 3600
    for faulty in ({"anchor": "created_at", "seconds": 60}, {"anchor": "now", "seconds": 3600}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.files.create(file=("a.jsonl", rows()), purpose="fine-tune", expires_after=faulty)  # type: ignore[arg-type]
        assert str(caught.value.param).startswith("expires_after[")


def test_an_upload_may_be_larger_than_a_body_but_not_than_its_own_bound(tmp_path: Path, engine: ScriptedEngine) -> None:
    bounds = Settings().gateway.model_copy(update={"max_body_bytes": 2048, "max_upload_bytes": SMALL_UPLOAD_BYTES})
    with served(tmp_path / "home", engine, Settings(gateway=bounds)) as gateway:
        client = gateway.client()
        made = client.files.create(file=("big.txt", b"x" * 40_000), purpose="user_data")
        assert client.files.content(made.id).read() == b"x" * 40_000
        with pytest.raises(openai.APIStatusError) as caught:
            client.files.create(file=("big.txt", b"x" * SMALL_UPLOAD_BYTES), purpose="user_data")
        assert caught.value.status_code == 413
        body = form(part("purpose", b"user_data"), part("file", b"x" * SMALL_UPLOAD_BYTES, "big.txt"))
        chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        answer = gateway.raw(
            b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n"
            + f"content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode(),
            chunk,
        )
        assert answer.startswith(b"HTTP/1.1 413")
        assert len(client.files.list().data) == 1
        assert left_behind(gateway) == []


def test_an_upload_that_stops_is_ended_and_one_that_goes_on_earns_time(tmp_path: Path, engine: ScriptedEngine) -> None:
    """64 KiB earn a second beyond the deadline for any body."""
    bounds = Settings().gateway.model_copy(update={"body_deadline_s": 0.2})
    with served(tmp_path / "home", engine, Settings(gateway=bounds)) as gateway:
        head = (
            b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n"
            + f"content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode()
        )
        begun = part("purpose", b"user_data") + part("file", b"", "big.txt")

        def taken_s(sent: bytes) -> float:
            began = time.monotonic()
            assert gateway.raw(head, sent).startswith(b"HTTP/1.1 408")
            return time.monotonic() - began

        assert 0.2 <= min(taken_s(begun) for _ in range(3)) < 1.0
        assert taken_s(begun + b"x" * UPLOAD_BYTES_PER_S) >= 1.0
        assert left_behind(gateway) == []


def test_a_file_that_a_run_needs_stays_until_the_run_has_ended(gateway: Served) -> None:
    made = gateway.client().files.create(file=("a.jsonl", rows()), purpose="fine-tune")
    path = str(gateway.context.files.content_path(made.id))
    run = gateway.context.runs.create("default", PLAN.model_copy(update={"dataset_path": path}))
    reply = gateway.call("DELETE", f"/v1/files/{made.id}")
    assert (reply.status, reply.error["code"]) == (409, "file_in_use")
    gateway.context.runs.apply(run.run_id, CancelRequested())
    assert gateway.call("DELETE", f"/v1/files/{made.id}").status == 200


class _Meanwhile(RunStore):
    """Lets somebody else act once while it is being looked at, for as long as that takes or a second."""

    act: threading.Thread | None = None

    def list(self, scope: str | None = None, limit: int | None = None) -> list[Run]:
        found, act, self.act = super().list(scope, limit), self.act, None
        if act is not None:
            act.start()
            act.join(1)
        return found


def test_a_run_that_is_begun_while_its_file_is_deleted_has_it_or_is_not_begun(gateway: Served) -> None:
    made = gateway.client().files.create(file=("a.jsonl", rows(20)), purpose="fine-tune")
    replies: list[Reply] = []
    asked = {"dataset_path": made.id, "base": BASE}
    store = _Meanwhile(gateway.context.home)
    store.act = act = threading.Thread(
        target=lambda: replies.append(gateway.call("POST", "/api/agent/train/start", asked))
    )
    files.delete(made.id, gateway.context.files, store)
    act.join()
    assert [reply.status for reply in replies] == [404], replies
    assert gateway.context.runs.list() == []


@pytest.mark.parametrize("path", ["/v1/files/file-none", "/v1/files/file-none/content", "/v1/files/..%2f..%2fx"])
def test_what_is_no_file_is_refused(gateway: Served, path: str) -> None:
    assert gateway.call("GET", path).status in (400, 404)
