"""Start moto with the gaps closed that this deployment meets.

moto stands in for AWS on a laptop. Where it differs from AWS in something that `terraform apply`,
a second plan, a change or a destroy runs into, it is patched here, each patch naming the gap.
Nothing is added that AWS would refuse, but the action by which `local.glue` tells how a run went.
The patches reach into moto's internals, so moto is pinned.

Use: ``python local/moto_server.py -H 127.0.0.1 -p 5123``, or ``patch()`` before starting moto by
other means.
"""

import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

from flask import request
from moto.athena.models import AthenaBackend
from moto.athena.responses import AthenaResponse
from moto.cloudwatch.models import Alarm, CloudWatchBackend, MetricDatum, MetricDatumBase
from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.events.models import Rule
from moto.glue.models import (
    FakeConnection,
    FakeCrawl,
    FakeCrawler,
    FakeJobRun,
    FakeTrigger,
    FakeWorkflowRun,
)
from moto.glue.responses import GlueResponse
from moto.glue.utils import Action, Predicate
from moto.s3.models import FakeBucket, FakeDeleteMarker
from moto.server import main
from moto.sns.models import sns_backends
from moto.utilities.arns import parse_arn
from werkzeug.exceptions import NotImplemented as NotImplementedByServer


def patch() -> None:
    """Close the gaps, in this process, before a server is started."""
    _answer_missing_actions()
    _ignore_conditional_bucket_policies()
    _dispose_delete_markers()
    _update_glue()
    _record_runs()
    _keep_connections()
    _change_athena()
    _deliver_events_to_topics()
    _evaluate_alarms()
    _describe_security_group_rules()


def _answer_missing_actions() -> None:
    """Gap: an action that moto lacks is a 500, which clients retry for minutes. Say 501 at once."""
    call = BaseResponse.call_action

    def call_action(self: BaseResponse) -> Any:
        try:
            return call(self)
        except NotImplementedError as error:
            raise NotImplementedByServer(str(error)) from error

    BaseResponse.call_action = call_action  # type: ignore[method-assign]


def _ignore_conditional_bucket_policies() -> None:
    """Gap: a bucket policy's conditions are not evaluated, so "deny without TLS" denies all.

    Of the deployment's conditions, that manifests are only ever created is evaluated here.
    """
    permission = FakeBucket.get_permission

    def get_permission(self: FakeBucket, action: str, resource: str) -> Any:
        whole = self.policy
        if whole is None:
            return permission(self, action, resource)
        policy = json.loads(whole)
        policy["Statement"] = [
            {name: value for name, value in statement.items() if name != "Condition"}
            for statement in policy["Statement"]
            if _holds(statement.get("Condition"))
        ]
        self.policy = json.dumps(policy).encode() if policy["Statement"] else None
        try:
            return permission(self, action, resource)
        finally:
            self.policy = whole

    FakeBucket.get_permission = get_permission  # type: ignore[method-assign]


def _holds(condition: Mapping[str, Any] | None) -> bool:
    """Whether a statement holds for this request: it has no condition, or the one known here."""
    created_only = {
        "Null": {"s3:if-none-match": "true"},
        "Bool": {"s3:ObjectCreationOperation": "true"},
    }
    return condition is None or (
        condition == created_only and "If-None-Match" not in request.headers
    )


def _dispose_delete_markers() -> None:
    """Gap: a versioned bucket that holds a delete marker cannot be emptied."""

    def dispose(self: FakeDeleteMarker, garbage: bool = False) -> None:
        """A marker holds no content to let go of."""

    FakeDeleteMarker.dispose = dispose  # type: ignore[attr-defined]


def _update_glue() -> None:
    """Gap: UpdateJob, UpdateCrawler and UpdateTrigger are missing."""

    def update_job(self: GlueResponse) -> ActionResult:
        job = self.glue_backend.get_job(self._get_param("JobName"))
        # An update overwrites the whole definition: what it does not name is gone.
        kept = ("Name", "CreatedOn", "LastModifiedOn")
        empty: dict[str, Any] = {key: None for key in job.as_dict() if key not in kept}
        empty |= {"ExecutionProperty": {}, "DefaultArguments": {}}
        _set(job, {**empty, **self._get_param("JobUpdate")})
        return ActionResult({"JobName": job.name})

    def update_crawler(self: GlueResponse) -> ActionResult:
        crawler: FakeCrawler = self.glue_backend.get_crawler(self._get_param("Name"))
        _set(crawler, {k: v for k, v in self.parameters.items() if k not in ("Name", "Tags")})
        crawler.version += 1
        return EmptyResult()

    def update_trigger(self: GlueResponse) -> ActionResult:
        trigger: FakeTrigger = self.glue_backend.get_trigger(self._get_param("Name"))
        new = dict(self._get_param("TriggerUpdate"))
        new.pop("Name", None)
        if "Predicate" in new:
            new["Predicate"] = Predicate(new["Predicate"])
        new["Actions"] = [Action(action) for action in new.get("Actions", [])]
        _set(trigger, new)
        return ActionResult({"Trigger": trigger.as_dict()})

    _add(GlueResponse, update_job, update_crawler, update_trigger)


def _record_runs() -> None:
    """Gap: nothing runs, every job has succeeded at once, and a workflow never ends.

    What does run them (`local.glue`) tells how they went, by an action that AWS does not have.
    """

    def record_run(self: GlueResponse) -> str:
        given, backend = self.parameters, self.glue_backend
        run: FakeJobRun | FakeWorkflowRun | FakeCrawl
        if "Job" in given:
            run = backend.get_job_run(given["Job"], given["RunId"])
            run._transitions = []  # noqa: SLF001  its state is what it is told
        elif "Workflow" in given:
            run = backend.workflows[given["Workflow"]].get_run(given["RunId"])
        else:
            run = backend.get_crawler(given["Crawler"]).crawls[-1]
        facts = dict(given["Facts"])
        over = facts.get("CompletedOn")
        facts["CompletedOn"] = over and datetime.fromtimestamp(over, UTC)
        state = facts.get("JobRunState") or facts["Status"]
        run.status = "COMPLETED" if isinstance(run, FakeCrawl) and state == "SUCCEEDED" else state
        run.told = facts  # type: ignore[union-attr]
        return "{}"

    def overlay(kind: type[FakeJobRun] | type[FakeWorkflowRun]) -> None:
        as_dict = kind.as_dict

        def told(self: Any) -> dict[str, Any]:
            whole = {**as_dict(self), **getattr(self, "told", {})}
            return {name: value for name, value in whole.items() if value is not None}

        kind.as_dict = told  # type: ignore[method-assign]

    describe = FakeCrawler.as_dict

    def as_dict(self: FakeCrawler) -> dict[str, Any]:
        whole = describe(self)
        if self.crawls:
            told = getattr(self.crawls[-1], "told", {})
            known = ("Status", "ErrorMessage")
            whole["LastCrawl"] |= {name: told[name] for name in known if name in told}
        return whole

    overlay(FakeJobRun)
    overlay(FakeWorkflowRun)
    FakeCrawler.as_dict = as_dict  # type: ignore[method-assign]
    _add(GlueResponse, record_run)


def _keep_connections() -> None:
    """Gap: GetConnection leaves the type out; DeleteConnection and UpdateConnection are missing."""
    as_dict = FakeConnection.as_dict

    def with_type(self: FakeConnection, hide_password: bool = False) -> dict[str, Any]:
        given = self.connection_input
        return {**as_dict(self, hide_password), "ConnectionType": given.get("ConnectionType")}

    def delete_connection(self: GlueResponse) -> ActionResult:
        self.glue_backend.connections.pop(self._get_param("ConnectionName"), None)
        return EmptyResult()

    def update_connection(self: GlueResponse) -> ActionResult:
        backend = self.glue_backend
        name = str(self._get_param("Name"))
        old = backend.get_connection("", name, "")
        new = FakeConnection(backend, old.catalog_id, self._get_param("ConnectionInput"), {})
        backend.connections[name] = new
        return EmptyResult()

    FakeConnection.as_dict = with_type  # type: ignore[method-assign]
    _add(GlueResponse, delete_connection, update_connection)


def _change_athena() -> None:
    """Gap: UpdateWorkGroup, DeleteNamedQuery and UpdateNamedQuery are missing."""

    def update_work_group(self: AthenaResponse) -> str:
        group = _athena(self).work_groups[self._get_param("WorkGroup")]
        group.state = self._get_param("State") or group.state
        group.description = self._get_param("Description") or group.description
        changes = dict(self._get_param("ConfigurationUpdates") or {})
        results = changes.pop("ResultConfigurationUpdates", None)
        if results is not None:
            changes["ResultConfiguration"] = results
        group.configuration.update(changes)
        return "{}"

    def delete_named_query(self: AthenaResponse) -> str:
        _athena(self).named_queries.pop(self._get_param("NamedQueryId"), None)
        return "{}"

    def update_named_query(self: AthenaResponse) -> str:
        query = _athena(self).named_queries[self._get_param("NamedQueryId")]
        query.name = self._get_param("Name")
        query.description = self._get_param("Description") or ""
        query.query_string = self._get_param("QueryString")
        return "{}"

    _add(AthenaResponse, update_work_group, delete_named_query, update_named_query)


def _athena(response: AthenaResponse) -> AthenaBackend:
    return response.athena_backend


def _deliver_events_to_topics() -> None:
    """Gap: an EventBridge rule whose target is an SNS topic makes PutEvents fail."""
    send = Rule.send_to_targets

    def send_to_targets(self: Rule, original_event: Any, transform_input: bool = True) -> None:
        topics = [t for t in self.targets if parse_arn(t["Arn"]).service == "sns"]
        for target in topics if self.event_pattern.matches_event(original_event) else []:
            backend = sns_backends[self.account_id][self.region_name]
            if _lets_events_in(json.loads(backend.get_topic(target["Arn"]).policy)):
                backend.publish(message=_text(target, original_event), arn=target["Arn"])
        everything = self.targets
        self.targets = [target for target in everything if target not in topics]
        try:
            send(self, original_event, transform_input)
        finally:
            self.targets = everything

    Rule.send_to_targets = send_to_targets  # type: ignore[method-assign]


def _lets_events_in(policy: Mapping[str, Any]) -> bool:
    """Whether a topic takes what EventBridge publishes, which no condition ever holds for."""
    return any(
        statement["Effect"] == "Allow"
        and "Condition" not in statement
        and "events.amazonaws.com" in statement["Principal"].get("Service", ())
        for statement in policy["Statement"]
    )


def _evaluate_alarms() -> None:
    """Gap: metrics are never looked at and no alarm acts. All are looked at when a figure comes."""
    put, update_state = CloudWatchBackend.put_metric_data, Alarm.update_state

    def put_metric_data(
        self: CloudWatchBackend, namespace: str, metric_data: list[dict[str, Any]]
    ) -> None:
        put(self, namespace, metric_data)
        for alarm in self.alarms.values():
            state = _state(alarm, self.metric_data)
            if state != alarm.state_value:
                alarm.update_state("by its newest figures", "{}", state)

    def act(self: Alarm, reason: str, reason_data: str, state_value: str) -> None:
        old = self.state_value
        update_state(self, reason, reason_data, state_value)
        actions = {"ALARM": self.alarm_actions, "OK": self.ok_actions}.get(state_value, [])
        told = {
            "AlarmName": self.name,
            "AlarmDescription": self.description,
            "NewStateValue": state_value,
            "NewStateReason": reason,
            "OldStateValue": old,
        }
        for topic in actions if self.actions_enabled and old != state_value else []:
            backend = sns_backends[parse_arn(topic).account][self.region_name]
            backend.publish(message=json.dumps(told), arn=topic)

    CloudWatchBackend.put_metric_data = put_metric_data  # type: ignore[method-assign]
    Alarm.update_state = act  # type: ignore[method-assign]


def _state(alarm: Alarm, figures: Iterable[MetricDatumBase]) -> str:
    """An alarm's state, for the one period and the one comparison that this deployment has."""
    wanted = {(it.name, it.value) for it in alarm.dimensions}
    start = datetime.now(UTC) - timedelta(seconds=alarm.period)
    values = [
        it.value
        for it in figures
        if isinstance(it, MetricDatum)
        and (it.namespace, it.name) == (alarm.namespace, alarm.metric_name)
        and {(dimension.name, dimension.value) for dimension in it.dimensions} == wanted
        and it.timestamp.replace(tzinfo=UTC) >= start
    ]
    if not values:
        return "ALARM" if alarm.treat_missing_data == "breaching" else "OK"
    statistics: dict[str, Callable[[list[float]], float]] = {"Maximum": max, "Sum": sum}
    figure = statistics[alarm.statistic](values)
    return "ALARM" if figure >= alarm.threshold else "OK"


def _describe_security_group_rules() -> None:
    """Gap: a rule that refers to a security group answers without its description."""

    def description(self: SecurityGroupRule) -> str | None:
        text = self.ip_range.get("Description") or self.source_group.get("Description")
        return None if text is None else str(text)

    SecurityGroupRule.description = property(description)  # type: ignore[method-assign, assignment]


def _text(target: dict[str, Any], event: dict[str, Any]) -> str:
    """An event as its target's input transformer words it: a quoted template with <names>."""
    transformer = target.get("InputTransformer")
    if transformer is None:
        return json.dumps(event)
    text: str = json.loads(transformer["InputTemplate"])
    for name, path in transformer["InputPathsMap"].items():
        value: Any = event
        for step in path.removeprefix("$.").split("."):
            value = value.get(step, "") if isinstance(value, dict) else ""
        text = text.replace(f"<{name}>", str(value))
    return text


def _add(response: type[BaseResponse], *actions: Callable[..., Any]) -> None:
    for action in actions:
        setattr(response, action.__name__, action)


def _set(thing: Any, values: dict[str, Any]) -> None:
    """Set attributes by the API's names: ``MaxRetries`` is ``max_retries``."""
    for key, value in values.items():
        name = "".join(f"_{c.lower()}" if c.isupper() else c for c in key).lstrip("_")
        setattr(thing, name, value)


def _end_with_parent() -> None:
    """End when standard input does: a parent that holds it open takes this server along."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        Thread(target=_end_with_parent, daemon=True).start()
    patch()
    main()
