"""ClickHouse as every part uses it: client, queries, migrations, and where a running sink listens."""
