"""A service does not answer: restart it, and tell somebody either way."""

from runbook_ranger import runbook

custom_recovery = (
    runbook("custom-recovery")
    .named("Custom service recovery")
    .risk("medium")
    .input("host", from_="${{ alert.labels.host }}")
    .trigger("service_down", severity=["high", "critical"])
    .verify(alert="resolved", within="2m")
    .deadline("15m")
    .check(
        "health-check", "Check service health", "http.request",
        with_={"url": "https://${{ inputs.host }}/healthz"},
        expect="outputs.status == 200",
    )
    .on_success("notify-ok")
    .on_failure("restart-service")
    .action(
        "restart-service", "Restart the service", "http.request",
        with_={"method": "POST", "url": "https://${{ inputs.host }}/restart"},
        effect="keyed",
        resource="service/${{ inputs.host }}",
        target={"tags": {"url": "https://${{ inputs.host }}/tags"}},
    )
    .timeout("20s")
    .retry(3, delay="2s")
    .on_success("notify-ok")
    .on_failure("page")
    .notify("page", "Page somebody", "${{ inputs.host }} did not restart, look at it now.", channel="on-call")
    .on_success("end")
    .notify("notify-ok", "Service is healthy", "${{ inputs.host }} is healthy.", channel="ops")
)  # fmt: skip
