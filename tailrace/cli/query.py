"""`tailrace query`."""

from typing import Annotated, Any

import typer

from tailrace.cli.options import DEFAULT_CONFIG, Config, Json, Url
from tailrace.cli.output import lag, put, put_json, say, table

NOT_FRESH = 3


def query(
    question: Annotated[str, typer.Argument(help="The question.")],
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="The only profile by default.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", "-s", help="VIEW=KEY of a state entry to join; repeatable.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Passages at most.")] = None,
    min_position: Annotated[
        str | None, typer.Option("--min-position", help="Wait for this position of the only source.")
    ] = None,
    no_llm: Annotated[bool, typer.Option("--no-llm", help="Only search: no answer.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Channels, fusion, manifests, joined rows and the exact prompt.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Ask the running service.

    tailrace query "Can I return a tent?"

    tailrace query "Where is my order?" --state orders_by_customer=42 --explain

    Exit 3 if --min-position was not reached in time: the answer is of before.
    """
    from tailrace.cli.client import call, service_url

    address = service_url(url, config)
    extra: dict[str, Any] = {"state": dict(_pair(text) for text in state or [])}
    if top_k is not None:
        extra["top_k"] = top_k
    if min_position is not None:
        extra["min_position"] = min_position
    name = profile or _only_profile(call(address, "GET", "/v1/models"))
    search = {"query": question, "profile": name, **extra}
    if explain:
        found = call(address, "POST", "/v1/explain", search)
        put_json(found) if as_json else _show_explanation(found)
    elif no_llm:
        found = call(address, "POST", "/v1/search", search)
        put_json(found) if as_json else _show_hits(found)
    else:
        body = {"model": name, "messages": [{"role": "user", "content": question}], "tailrace": extra}
        found = call(address, "POST", "/v1/chat/completions", body, timeout=120.0)
        put_json(found) if as_json else _show_answer(found)
    said = found.get("tailrace", found)["freshness"]
    if said["reached_min_position"] is False:
        raise typer.Exit(NOT_FRESH)


def _pair(text: str) -> tuple[str, str]:
    view, equals, key = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r}: write VIEW=KEY, say orders_by_customer=42")
    return view, key


def _only_profile(models: dict[str, Any]) -> str:
    names = [model["id"] for model in models["data"]]
    if len(names) != 1:
        raise typer.BadParameter(f"name one with --profile: {', '.join(names) or '(none defined)'}")
    return str(names[0])


def _show_answer(found: dict[str, Any]) -> None:
    put(found["choices"][0]["message"]["content"])
    extra = found["tailrace"]
    cited = [
        f"[{citation['n']}] {citation['document']}/{citation['key']}  {citation['url'] or ''}".rstrip()
        for citation in extra.get("citations", [])
    ]
    for line in dict.fromkeys(cited):
        say(line)
    _say_freshness(extra["freshness"])


def _show_hits(found: dict[str, Any]) -> None:
    for number, hit in enumerate(found["hits"], 1):
        mark = "  (the row has changed since)" if hit.get("stale") else ""
        place = f"{hit['document']}/{hit['key']} #{hit['ordinal']}"
        put(f"[{number}] {place} {hit['title']}{mark}\n{hit['text']}\n")
    for view, rows in found["state"].items():
        put(f"{view}:")
        put_json(rows)
    _say_freshness(found["freshness"])


def _show_explanation(found: dict[str, Any]) -> None:
    explanation = found["explanation"]
    put("Channels")
    put(
        table(
            ["channel", "rank", "score", "document", "key", "chunk"],
            [
                [c["channel"], str(c["rank"]), f"{c['score']:.4f}", c["document"], c["key"], c["chunk_id"]]
                for c in explanation["channels"]
            ],
        )
    )
    put("\nFused")
    put(table(["chunk", "score"], [[chunk, f"{score:.5f}"] for chunk, score in explanation["fused"]]))
    put("\nDid not count")
    put(table(["chunk", "reason"], explanation["dropped"]) if explanation["dropped"] else "none")
    put("\nHits, joined with the latest rows")
    _show_hits(found)
    put(f"\nPrompt ({found['prompt_tokens']} tokens)")
    for message in found["prompt"]:
        put(f"--- {message['role']}\n{message['content']}")
    put("\nTimings (ms)")
    put(table(["step", "ms"], [[k, f"{v:.2f}"] for k, v in explanation["timings_ms"].items()]))


def _say_freshness(freshness: dict[str, Any]) -> None:
    positions = ", ".join(f"{name} {as_of['position']}" for name, as_of in freshness["as_of"].items())
    say(f"as of {positions or 'unknown'}; index lag {lag(freshness['index_lag_ms'])}")
    for source, status in freshness["source_status"].items():
        if status == "unreachable":
            say(f"{source} cannot be asked: what it has changed since may be missing")
    if freshness.get("reached_min_position") is False:
        say("the position asked for was not reached in time")
