"""Where a click leads: the boards of the same cluster and time, and of one broker, group or topic."""

from __future__ import annotations

from typing import Final

_KEPT: Final = "?${datasource:queryparam}&${cluster:queryparam}&${__url_time_range}"

CLUSTER: Final = f"/d/klaxon-cluster/{_KEPT}"
BROKERS: Final = f"/d/klaxon-brokers/{_KEPT}"
GROUPS: Final = f"/d/klaxon-consumer-groups/{_KEPT}"

BROKER: Final = f"{BROKERS}&var-broker=${{__value.raw}}"
GROUP: Final = f"{GROUPS}&var-consumergroup=${{__value.raw:percentencode}}"
TOPIC: Final = f"{GROUPS}&var-topic=${{__value.raw:percentencode}}"
