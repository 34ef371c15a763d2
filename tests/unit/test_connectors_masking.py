"""What is shown of a configuration: references yes, secrets never, by name, type or value."""

import pytest

from connectors.masking import MASK, holds_secret, is_reference, is_secret_key, masked_config, masked_text
from tests.unit.connect_world import CANARY


@pytest.mark.parametrize(
    "key",
    [
        "database.password",
        "mongodb.password",
        "ssl.key.password",
        "ssl.keystore.key",
        "producer.override.ssl.keystore.key",
        "schema.history.internal.consumer.ssl.keystore.key",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.client.credentials.client.secret",
        "schema.history.internal.producer.sasl.jaas.config",
        "producer.override.sasl.jaas.config",
        "basic.auth.credentials",
        "basic.auth.user.info",
        "aws.secret.access.key",
        "some.api-key",
        "oauth.client.secret",
    ],
)
def test_secrets_are_known_by_their_key(key: str) -> None:
    assert is_secret_key(key)
    assert masked_config({key: CANARY}) == {key: MASK}


@pytest.mark.parametrize(
    "key",
    [
        "ssl.truststore.certificates",
        "ssl.keystore.location",
        "ssl.keystore.certificate.chain",
        "sasl.oauthbearer.assertion.private.key.file",
        "ssl.truststore.location",
        "sasl.oauthbearer.token.endpoint.url",
        "token.refresh.ms",
        "column.list",
    ],
)
def test_keys_about_secrets_are_no_secrets(key: str) -> None:
    assert masked_config({key: "shown"}) == {key: "shown"}


def test_a_type_of_the_plugin_makes_a_secret_and_its_value_is_masked_everywhere() -> None:
    config = {"odd": CANARY, "note": f"the {CANARY} of the house", "plain": "x"}
    assert masked_config(config, password_keys={"odd"}) == {
        "odd": MASK,
        "note": f"the {MASK} of the house",
        "plain": "x",
    }


def test_what_was_filled_in_is_masked_under_any_key() -> None:
    config = {"database.hostname": f"{CANARY}.example", "database.user": "ab", "a": "abc"}
    shown = masked_config(config, secrets={CANARY, "ab"})
    assert shown == {"database.hostname": f"{MASK}.example", "database.user": MASK, "a": "abc"}


def test_a_short_secret_is_masked_where_it_stands_alone_and_tears_no_holes() -> None:
    assert masked_config({"database.password": "x", "note": "x y x"}) == {
        "database.password": MASK,
        "note": "x y x",
    }


def test_a_secret_that_is_a_part_of_another_leaves_nothing_of_it() -> None:
    assert masked_text("longer-secret-tail", secrets=["secret", "longer-secret-tail"]) == MASK


@pytest.mark.parametrize(
    "text",
    [
        f"FATAL: password authentication failed: password={CANARY}",
        f'{{"database.password": "{CANARY}"}}',
        f"could not reach postgresql://debezium:{CANARY}@db/shop",
        f"could not reach redis://:{CANARY}@db/0",
        f"value {CANARY} is not allowed",
        f"token: {CANARY}",
    ],
)
def test_foreign_text_is_masked(text: str) -> None:
    assert CANARY not in masked_text(text, {"database.password": CANARY})
    assert CANARY not in masked_text(text, {"odd": CANARY}, password_keys={"odd"})
    assert CANARY not in masked_text(text, secrets=[CANARY])


@pytest.mark.parametrize("reference", ["${file:/x:y}", "${env:NAME}", "$${env:NAME}", "${vault:kv/a:b}"])
def test_references_are_shown(reference: str) -> None:
    assert is_reference(reference)
    assert masked_config({"database.password": reference}) == {"database.password": reference}
    assert masked_text(f"database.password: {reference}") == f"database.password: {reference}"


@pytest.mark.parametrize("text", ["x${env:NAME}", "${env:NAME}x", "${NAME}", "${:x}", ""])
def test_what_only_holds_a_reference_is_none(text: str) -> None:
    assert not is_reference(text)


PEM = f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{CANARY}\n-----END ENCRYPTED PRIVATE KEY-----"


def test_a_private_key_is_a_secret_wherever_it_stands() -> None:
    for text in (PEM, PEM.replace("\n", " "), f"-----BEGIN RSA PRIVATE KEY----- {CANARY} cut off"):
        assert holds_secret(text)
        assert CANARY not in masked_text(f"refused: {text}")
        assert CANARY not in str(masked_config({"odd": text}))
    assert not holds_secret("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----")


@pytest.mark.parametrize(
    "text",
    [
        f'jaas: \\"u\\" password=\\"{CANARY}\\";',
        f"Endpoint=sb://x/;SharedAccessKey={CANARY}",
        f"AccountKey={CANARY}",
    ],
)
def test_what_is_assigned_is_masked_in_its_spellings(text: str) -> None:
    assert CANARY not in masked_text(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"login failed, pwd={CANARY}", f"login failed, pwd={MASK}"),
        (f"Uid=sa;Pwd={CANARY};Database=d", f"Uid=sa;Pwd={MASK};Database=d"),
        (f"passwd: {CANARY}", f"passwd: {MASK}"),
        (f"password=ab,cd{CANARY}", f"password={MASK}"),
        (f"password=ab;c,{CANARY}, user=u", f"password={MASK}, user=u"),
        (f"{{password=ab&{CANARY}}}", f"{{password={MASK}}}"),
        (f'"password": "ab,c d {CANARY}", "user": "u"', f'"password": "{MASK}", "user": "u"'),
        (f"password='ab \\'{CANARY}' user='u'", f"password='{MASK}' user='u'"),
        (f'jaas: user=\\"u\\" password=\\"a b{CANARY}\\";', f'jaas: user=\\"u\\" password=\\"{MASK}\\";'),
        (f"password=ab,ssl=true&token={CANARY}", f"password={MASK},ssl=true&token={MASK}"),
    ],
)
def test_what_is_assigned_is_masked_to_its_end_and_no_further(text: str, shown: str) -> None:
    assert masked_text(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"at postgresql://u:pa/{CANARY}@h/d", f"at postgresql://u:{MASK}@h/d"),
        (f"at postgresql://u:p@{CANARY}@h/d, then", f"at postgresql://u:{MASK}@h/d, then"),
        (f"--url=-x-amqp://u:{CANARY}@h", f"--url=-x-amqp://u:{MASK}@h"),
    ],
)
def test_a_password_in_a_url_is_masked_whatever_signs_are_in_it(text: str, shown: str) -> None:
    assert masked_text(text) == shown
    assert holds_secret(text)


def test_a_password_in_a_url_that_is_a_reference_is_none() -> None:
    assert not holds_secret("mongodb://${file:/a:user}:${file:/a:password}@h/d")
    for half in (f"mongodb://${{file:/a:user}}:{CANARY}@h", f"mongodb://u:{CANARY}${{file:/a:b}}@h"):
        assert holds_secret(half)


@pytest.mark.parametrize(
    "text", ["http://registry:8081/subjects/a@1", "http://a:8083,http://b:8083", "h:1/x@y"]
)
def test_a_port_is_no_password(text: str) -> None:
    assert masked_text(text) == text
    assert not holds_secret(text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", ["a" * 300_000, "password" * 40_000, "a." * 150_000], ids=["a", "word", "dots"]
)
def test_a_long_text_is_masked_in_a_moment(text: str) -> None:
    """What grows with the square of a word's length takes minutes for this."""
    assert masked_text(text) == text
