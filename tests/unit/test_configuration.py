"""`tailrace.yaml` is read, overridden and refused with file, line, key and what to write."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.secret import Secret
from core.settings import KafkaLog
from tailrace.configuration import load

GOOD = """\
app: shop
log: {kind: kafka, brokers: ["localhost:9092"]}
sources:
  shop: {prefix: shop, tables: [public.articles, public.orders]}
documents:
  articles:
    table: shop.public.articles
    text: "{{ body }}"
state:
  orders_by_customer: {table: shop.public.orders, by: [customer_id]}
llms:
  - {name: main, base_url: "http://localhost:1/v1", model: m, api_key: "${env:KEY}"}
profiles:
  support: {documents: [articles], state: [orders_by_customer], llm: main}
serve: {port: 8000}
"""


def _file(folder: Path, text: str) -> Path:
    file = folder / "tailrace.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_good_file_is_read_with_the_origin_of_each_value(tmp_path: Path) -> None:
    loaded = load(_file(tmp_path, GOOD), {"TAILRACE_SERVE__PORT": "9000"})
    assert isinstance(loaded.settings.log, KafkaLog)
    assert loaded.settings.serve.port == 9000
    assert loaded.origins["serve.port"] == "environment TAILRACE_SERVE__PORT"
    assert loaded.origins["documents.articles.text"].endswith("tailrace.yaml:8")
    assert "serve.host" not in loaded.origins


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    loaded = load(_file(tmp_path, GOOD + "index: {kind: edge, path: data}\n"), {})
    assert loaded.settings.index.path == tmp_path / "data"  # type: ignore[union-attr]


def test_a_list_entry_and_a_name_with_a_dash_can_be_overridden(tmp_path: Path) -> None:
    changed = {"TAILRACE_LLMS__0__MODEL": "other", "TAILRACE_LOG__BROKERS": '["a:1", "b:2"]'}
    settings = load(_file(tmp_path, GOOD), changed).settings
    assert settings.llms[0].model == "other"
    assert settings.log.brokers == ["a:1", "b:2"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("text:", "txt:", r"tailrace\.yaml:8: documents\.articles\.txt: unknown key; did you mean `text`\?"),
        ("port: 8000", "port: many", r"tailrace\.yaml:15: serve\.port: Input should be a valid integer"),
        (
            "table: shop.public.articles",
            "table: shop.public.articlez",
            r"documents\.articles\.table: shop\.p",
        ),
        ("llm: main", "llm: mein", r"profiles\.support: 'mein' is not in llms: write one of main"),
        ("app: shop", "app: Shop!", r"tailrace\.yaml:1: app: String should match"),
        ("app: shop", "ap: shop", r"app: is missing"),
        ("app: shop", "app: [", "is no YAML"),
        ("app: shop", "app: shop\napp: two", r"tailrace\.yaml:2: app stands twice"),
        ("  articles:", "  articles-g1:", r"documents\.articles-g1: .* of another document in the index"),
        ("[customer_id]", "[]", r"tailrace\.yaml:10: state\.orders_by_customer\.by"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigurationError, match=said):
        load(_file(tmp_path, GOOD.replace(old, new)), {})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("title: '{{ title '", "tailrace.yaml:8: documents.articles.title: unexpected end of template"),
        ("where: 'published =='", "tailrace.yaml:8: documents.articles.where: unexpected"),
        ("url: '{% nonsense %}'", "tailrace.yaml:8: documents.articles.url: Encountered unknown tag"),
    ],
)
def test_a_template_that_is_none_is_refused_before_anything_records_it(
    tmp_path: Path, line: str, said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(
            _file(
                tmp_path, GOOD.replace('    text: "{{ body }}"', f'    {line}\n    text: "{{{{ body }}}}"')
            ),
            {},
        )
    assert said in str(caught.value)


def test_a_literal_secret_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="never written here") as caught:
        load(_file(tmp_path, GOOD.replace("${env:KEY}", "sk-verysecret")), {})
    assert "sk-verysecret" not in str(caught.value)


def test_a_secret_prints_as_its_reference_and_a_missing_one_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = load(_file(tmp_path, GOOD), {}).settings.llms[0].api_key
    assert isinstance(key, Secret)
    assert str(key) == "${env:KEY}"
    monkeypatch.delenv("KEY", raising=False)
    with pytest.raises(ConfigurationError, match="variable KEY is not set"):
        key.reveal()
    monkeypatch.setenv("KEY", "value")
    assert key.reveal() == "value"


def test_a_variable_of_an_unknown_section_is_an_error_and_a_foreign_one_is_not(tmp_path: Path) -> None:
    load(_file(tmp_path, GOOD), {"TAILRACE_STACK_DIR": "elsewhere"})
    with pytest.raises(ConfigurationError, match="there is no section 'serv'"):
        load(_file(tmp_path, GOOD), {"TAILRACE_SERV__PORT": "1"})


def test_a_missing_file_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="tailrace init"):
        load(tmp_path / "none.yaml", {})
