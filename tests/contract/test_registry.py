"""The registry of topics is consistent in itself."""

from __future__ import annotations

import re

import pytest

from schemas.registry import CONTRACTS, DEBTOR_SOURCES, TOPIC_OF_TYPE, TOPICS, Topic

TYPE = re.compile(r"duewatch\.[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*\.v[1-9][0-9]*")


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_topic_keyed_by_customer_carries_customers_only(topic: Topic) -> None:
    if topic.key == "customer":
        assert all("customer_id" in c.model_fields or topic.name == "training-examples" for c in topic.contracts.values())


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_topic_without_a_key_has_one_partition(topic: Topic) -> None:
    assert topic.partitions in {None, 1}
    assert topic.partitions == 1 or topic.key != "none"


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_topic_says_what_it_is_and_has_a_legal_name(topic: Topic) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", topic.name)
    assert topic.about


@pytest.mark.parametrize("name", ["limit-changes", "dead-letters", "training-examples"])
def test_what_must_be_kept_is_kept_for_ever(name: str) -> None:
    assert TOPICS[name].broker_config()["retention.ms"] == "-1"


def test_compacted_topics_have_no_retention() -> None:
    for topic in TOPICS.values():
        assert ("retention.ms" in topic.broker_config()) == (topic.cleanup == "delete")


def test_master_data_that_was_replaced_is_kept_as_long_as_what_was_judged_by_it() -> None:
    lag = int(TOPICS["customers"].broker_config()["min.compaction.lag.ms"])
    retentions = [
        TOPICS[name].broker_config()["retention.ms"] for name in (*DEBTOR_SOURCES, "journal", "clock") if name != "customers"
    ]
    assert {lag} == set(map(int, retentions))


@pytest.mark.parametrize("event_type", CONTRACTS)
def test_type_is_noun_verb_version(event_type: str) -> None:
    assert TYPE.fullmatch(event_type)


def test_a_type_means_one_contract_and_outside_one_topic() -> None:
    for topic in TOPICS.values():
        for event_type, contract in topic.contracts.items():
            assert CONTRACTS[event_type] is contract
            assert topic.direction == "internal" or TOPIC_OF_TYPE[event_type] == topic.name


def test_sources_of_the_debtor_agent_are_equal_in_partitions_and_key() -> None:
    sources = [TOPICS[name] for name in DEBTOR_SOURCES]
    assert {(topic.partitions, topic.key, topic.direction) for topic in sources} == {(None, "customer", "in")}


def test_clock_topics_carry_the_same() -> None:
    assert TOPICS["clock"].contracts == TOPICS["clock-single"].contracts
