from dataclasses import replace
from typing import Any

import pytest

from core.errors import ConfigurationError, ContractError, LimitError
from core.keys import RowKey
from core.settings import DocumentSettings
from core.state import Json, StateRow
from embed.model import Document, Removal
from embed.render import Renderer

COLUMNS: dict[str, Json] = {
    "id": 7,
    "title": "Returns ",
    "body": "Thirty\u200b days.",
    "published": True,
    "tenant_id": 3,
    "groups": ["staff", "admin", "staff"],
    "category": "help",
    "tags": ["a", "b"],
    "note": None,
}


def row(*, deleted: bool = False, **columns: Json) -> StateRow:
    return StateRow(RowKey.of({"id": 7}), 11, {**COLUMNS, **columns}, deleted, None, "0/1", 5)


def settings(**more: Any) -> DocumentSettings:
    return DocumentSettings.model_validate(
        {"table": "shop.public.articles", "title": "{{ title }}", "text": "{{ body }}", **more}
    )


def rendered(found: StateRow | None = None, /, **more: Any) -> Document:
    made = Renderer("articles", settings(**more), COLUMNS).render(found or row())
    assert isinstance(made, Document)
    return made


def test_a_row_becomes_a_document() -> None:
    made = rendered(
        where="published",
        tenant="tenant_id",
        acl="groups",
        metadata=["category", "tags"],
        url="https://shop.example/{{ id }}",
    )
    assert made == Document(
        name="articles",
        key="7",
        canonical=RowKey.of({"id": 7}).canonical,
        version=11,
        title="Returns",
        text="Thirty days.",
        url="https://shop.example/7",
        tenant="3",
        groups=("admin", "staff"),
        metadata={"category": "help", "tags": ["a", "b"]},
        position="0/1",
        committed_at=5,
    )


def test_without_options_there_is_no_tenant_list_or_address() -> None:
    made = rendered()
    assert (made.tenant, made.groups, made.url, made.metadata) == (None, None, None, {})


def test_deleted_or_unwanted_rows_are_removals() -> None:
    renderer = Renderer("articles", settings(where="published", tenant="tenant_id"))
    gone = Removal("articles", "7", RowKey.of({"id": 7}).canonical, 11, "3", "0/1", 5)
    assert renderer.render(row(deleted=True)) == gone
    assert renderer.render(row(published=False)) == gone
    bare = StateRow(RowKey.of({"id": 7}), 11, {}, deleted=True)
    assert isinstance(renderer.render(bare), Removal)


@pytest.mark.parametrize("where", ["category", "note", "tags", "id"])
def test_where_must_be_true_or_false(where: str) -> None:
    with pytest.raises(ContractError, match="articles, row 7: where"):
        rendered(where=where)
    assert rendered(where=f"{where} != 'x'").text


@pytest.mark.parametrize("character", ["\U000e0041", "\ufe0f", "\u200b", "\u200d", "\u2060", "\ufeff"])
def test_invisible_characters_are_stripped(character: str) -> None:
    made = rendered(row(title=f"A{character}b", body=f"{character}c{character}"))
    assert (made.title, made.text) == ("Ab", "c")


def test_null_is_empty_text_and_markup_stays() -> None:
    assert rendered(text="[{{ note }}] {{ '<b>' }}").text == "[] <b>"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("text", "{{ bdy }}"),
        ("title", "{{ bdy }}"),
        ("url", "{{ bdy }}"),
        ("where", "bdy == 1"),
        ("tenant", "bdy"),
        ("acl", "bdy"),
        ("metadata", ["bdy"]),
    ],
)
def test_an_unknown_column_is_refused_by_name_at_the_start_and_later(place: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"documents\.articles\.{place}.*'bdy'.*body, category"):
        rendered(**{place: value})
    late = Renderer("articles", settings(**{place: value}))
    with pytest.raises(ContractError, match=r"articles, row 7.*bdy"):
        late.render(row())


@pytest.mark.parametrize("place", ["text", "where"])
def test_a_broken_template_is_a_configuration_error(place: str) -> None:
    with pytest.raises(ConfigurationError, match=f"articles.{place}"):
        rendered(**{place: "{{ body"})


@pytest.mark.parametrize(
    "text",
    ["{{ id / 0 }}", "{{ id + body }}", "{{ ().__class__.__bases__ }}", "{{ tags[9] }}", "{{ now() }}"],
)
def test_a_failing_template_blames_the_row(text: str) -> None:
    with pytest.raises(ContractError, match="articles, row 7: text"):
        Renderer("articles", settings(text=text)).render(row())


def test_chance_is_not_to_be_had() -> None:
    with pytest.raises(ConfigurationError, match="random"):
        rendered(text="{{ tags | random }}")


@pytest.mark.parametrize("value", [None, True, 1.5, ["a"], {"a": 1}])
def test_a_tenant_is_text_or_a_whole_number(value: Json) -> None:
    with pytest.raises(ContractError, match="tenant"):
        rendered(row(tenant_id=value), tenant="tenant_id")


def test_an_access_list_is_text_or_texts_and_null_is_nobody() -> None:
    assert rendered(row(groups=None), acl="groups").groups == ()
    assert rendered(row(groups=[]), acl="groups").groups == ()
    assert rendered(row(groups="staff"), acl="groups").groups == ("staff",)
    values: list[Json] = [3, {"a": 1}, ["a", None], ["a", 3]]
    for value in values:
        with pytest.raises(ContractError, match="acl"):
            rendered(row(groups=value), acl="groups")


@pytest.mark.parametrize("value", [{"a": 1}, [["a"]], [{"a": 1}]])
def test_metadata_is_plain(value: Json) -> None:
    with pytest.raises(ContractError, match="metadata"):
        rendered(row(category=value), metadata=["category"])


@pytest.mark.parametrize("value", ["x" * 1025, ["short", "x" * 1025], list(range(101))])
def test_metadata_is_short_since_every_chunk_carries_it(value: Json) -> None:
    with pytest.raises(LimitError, match=r"row 7: metadata: column 'category' .* each chunk .* 100 values"):
        rendered(row(category=value), metadata=["category"])


@pytest.mark.parametrize("value", ["x" * 1024, ["x" * 1024, 7, None], list(range(100))])
def test_metadata_up_to_its_limit_is_carried(value: Json) -> None:
    assert rendered(row(category=value), metadata=["category"]).metadata == {"category": value}


@pytest.mark.parametrize("value", [[f"g{n}" for n in range(1001)], ["staff", "x" * 1025], "x" * 1025])
def test_an_access_list_is_short_for_the_same_reason(value: Json) -> None:
    with pytest.raises(LimitError, match=r"row 7: acl: column 'groups' .* each chunk .* 1000 groups of"):
        rendered(row(groups=value), acl="groups")


def test_an_access_list_up_to_its_limit_is_carried_and_counts_each_group_once() -> None:
    groups = ["x" * 1024, *(f"g{n:03}" for n in range(999))]
    assert rendered(row(groups=[*groups, *groups]), acl="groups").groups == tuple(sorted(groups))


def test_a_tenant_is_short_for_the_same_reason_and_its_row_can_be_removed_all_the_same() -> None:
    with pytest.raises(LimitError, match=r"row 7: tenant: column 'tenant_id' .* each chunk .* 1024 \w+;"):
        rendered(row(tenant_id="x" * 1025), tenant="tenant_id")
    assert rendered(row(tenant_id="x" * 1024), tenant="tenant_id").tenant == "x" * 1024
    gone = Renderer("articles", settings(tenant="tenant_id")).render(row(deleted=True, tenant_id="x" * 1025))
    assert isinstance(gone, Removal)


def test_a_column_may_have_any_name() -> None:
    odd: dict[str, Json] = {"self": 1, "args": 2, "class": 3, "not a name": 4}
    made = replace(row(), columns={**COLUMNS, **odd})
    assert rendered(made, where="published").text


def test_columns_are_all_that_the_document_is_made_of() -> None:
    made = Renderer(
        "articles",
        settings(
            text="{% for tag in tags %}{{ tag }}{% endfor %}",
            where="published",
            tenant="tenant_id",
            acl="groups",
            metadata=["category"],
            url="{{ id }}",
        ),
    )
    assert made.columns() == {"title", "tags", "published", "tenant_id", "groups", "category", "id"}
