"""All dashboards, in the order of Grafana's list."""

from deploy.grafana.boards.infrastructure import INFRASTRUCTURE
from deploy.grafana.boards.jobs import JOBS
from deploy.grafana.boards.overview import OVERVIEW
from deploy.grafana.boards.tenants import TENANTS
from deploy.grafana.boards.upstream import UPSTREAM
from deploy.grafana.boards.webhooks import WEBHOOKS

DASHBOARDS = (OVERVIEW, JOBS, UPSTREAM, TENANTS, WEBHOOKS, INFRASTRUCTURE)
