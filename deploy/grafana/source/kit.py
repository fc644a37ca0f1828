"""The words that dashboards are written in: a board has rows, a row has panels, a panel has queries."""

PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
POSTGRES = {"type": "grafana-postgresql-datasource", "uid": "${datasource}"}
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
WIDTH = 24


def steps(*bounds):
    """Thresholds: green below the first bound, then the colour of each `(bound, colour)`."""
    return {"mode": "absolute", "steps": [{"color": GREEN, "value": None}] + [{"color": colour, "value": at} for at, colour in bounds]}


def falling(*bounds):
    """Thresholds of what is bad when it is low: red below the first bound."""
    return {"mode": "absolute", "steps": [{"color": RED, "value": None}] + [{"color": colour, "value": at} for at, colour in bounds]}


def prom(expr, legend="", instant=False):
    """A query of Prometheus."""
    query = {"datasource": PROMETHEUS, "editorMode": "code", "expr": " ".join(expr.split()), "legendFormat": legend or "__auto"}
    return query | ({"instant": True, "range": False, "format": "table"} if instant else {"instant": False, "range": True})


def heat(expr):
    """The buckets of a histogram over time."""
    return prom(expr, "{{le}}") | {"format": "heatmap"}


def sql(text, series=False):
    """A query of Postgres: rows, or series over a column `time`."""
    return {
        "datasource": POSTGRES,
        "editorMode": "code",
        "rawQuery": True,
        "rawSql": text.strip(),
        "format": "time_series" if series else "table",
    }


def panel(kind, title, description, queries, unit=None, w=8, h=8, runbook=None, options=None, defaults=None, overrides=None, more=None):
    """One panel; `runbook` is the name of the page that says what to do when it looks bad."""
    queries = queries if isinstance(queries, list) else [queries]
    targets = [{"refId": chr(ord("A") + n)} | query for n, query in enumerate(queries)]
    made = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": targets[0]["datasource"],
        "gridPos": {"w": w, "h": h},
        "targets": targets,
        "fieldConfig": {"defaults": ({"unit": unit} if unit else {}) | (defaults or {}), "overrides": overrides or []},
        "options": options or {},
    }
    if runbook:
        made["links"] = [{"title": f"Runbook: {runbook}", "url": "${runbooks}/" + runbook + ".md", "targetBlank": True}]
    return made | (more or {})


def graph(title, description, queries, unit="short", stack=False, thresholds=None, floor=0, ceiling=None, bars=False, **more):
    """Lines over time."""
    custom = {
        "drawStyle": "bars" if bars else "line",
        "lineWidth": 1,
        "fillOpacity": 70 if bars else 25 if stack else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stack else "none", "group": "A"},
    }
    defaults = {"custom": custom}
    if thresholds:
        custom["thresholdsStyle"] = {"mode": "line"}
        defaults["thresholds"] = thresholds
    if floor is not None:
        defaults["min"] = floor
    if ceiling is not None:
        defaults["max"] = ceiling
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, description, queries, unit, options=options, defaults=defaults, **more)


def stat(title, description, queries, unit="short", thresholds=None, w=4, h=4, reduce="lastNotNull", **more):
    """One number."""
    options = {
        "reduceOptions": {"calcs": [reduce], "fields": "", "values": False},
        "colorMode": "background" if thresholds else "value",
        "graphMode": "area",
        "textMode": "auto",
        "justifyMode": "auto",
    }
    defaults = {"thresholds": thresholds or steps(), "noValue": "–"}
    return panel("stat", title, description, queries, unit, w=w, h=h, options=options, defaults=defaults, **more)


def heatmap(title, description, query, unit, **more):
    """A histogram over time, from the buckets that it has."""
    options = {
        "calculate": False,
        "yAxis": {"unit": unit},
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "cellGap": 1,
        "tooltip": {"mode": "single", "yHistogram": True},
        "legend": {"show": True},
    }
    return panel("heatmap", title, description, query, options=options, **more)


def states(title, description, query, unit, thresholds, **more):
    """A row a series and a colour a value: what a heat map is for things that have names."""
    custom = {"fillOpacity": 80, "lineWidth": 0}
    options = {"mergeValues": True, "showValue": "never", "rowHeight": 0.9, "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}}
    defaults = {"custom": custom, "color": {"mode": "thresholds"}, "thresholds": thresholds}
    return panel("state-timeline", title, description, query, unit, options=options, defaults=defaults, **more)


def table(title, description, queries, columns=None, hide=(), merge=False, w=WIDTH, h=10, **more):
    """Rows; `columns` gives a column its heading, and a unit and thresholds where it has some."""
    overrides = []
    for name, column in (columns or {}).items():
        heading, unit, thresholds = (column + (None, None))[:3] if isinstance(column, tuple) else (column, None, None)
        properties = [{"id": "displayName", "value": heading}]
        if unit:
            properties.append({"id": "unit", "value": unit})
        if thresholds:
            properties += [
                {"id": "thresholds", "value": thresholds},
                {"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}},
            ]
        overrides.append({"matcher": {"id": "byName", "options": name}, "properties": properties})
    changes = [{"id": "merge", "options": {}}] if merge else []
    if hide:
        changes.append({"id": "organize", "options": {"excludeByName": {name: True for name in hide}, "indexByName": {}, "renameByName": {}}})
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""}}
    more = {"more": {"transformations": changes}} | more if changes else more
    return panel("table", title, description, queries, w=w, h=h, options=options, overrides=overrides, **more)


def bars(title, description, query, unit="short", horizontal=False, **more):
    """A bar a row of a query: the first column names it."""
    options = {
        "orientation": "horizontal" if horizontal else "auto",
        "showValue": "auto",
        "xTickLabelRotation": 0,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    defaults = {"min": 0, "custom": {"fillOpacity": 80, "lineWidth": 0}}
    return panel("barchart", title, description, query, unit, options=options, defaults=defaults, **more)


def choice(name, label, query, datasource, all_value=None):
    """A variable that is asked of the datasource; several may be chosen, or all."""
    made = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": datasource,
        "query": query,
        "definition": query if isinstance(query, str) else query["query"],
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }
    return made | ({"allValue": all_value} if all_value else {})


def labels(metric, label):
    """The values of a label, as a query of a variable."""
    return {"qryType": 1, "query": f"label_values({metric}, {label})", "refId": "PrometheusVariableQueryEditor-VariableQuery"}


def source(kind):
    """The variable that chooses the datasource."""
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": kind, "refresh": 1, "current": {}}


# deploy/compose.yaml has Grafana itself serve them there.
RUNBOOKS = {
    "name": "runbooks",
    "label": "Runbooks at",
    "description": "Where the folder docs/runbooks is served, as an address or a path on this Grafana: links to runbooks begin with it.",
    "type": "textbox",
    "query": "/public/runbooks",
    "current": {"text": "/public/runbooks", "value": "/public/runbooks"},
}
SCRAPED = [
    source("prometheus"),
    choice("pipeline", "Pipeline", labels("millrace_partitions", "pipeline"), PROMETHEUS, ".*"),
    choice("instance", "Worker", labels('millrace_partitions{pipeline=~"$pipeline"}', "instance"), PROMETHEUS, ".*"),
    RUNBOOKS,
]


# Rows of replays stand beside those of the pipelines, under names of their own.
LIVE = "pipeline NOT IN (SELECT name FROM millrace.replay)"
# Which rows a board over Postgres is about.
CHOSEN = "pipeline = ANY (ARRAY[${pipeline:sqlstring}]::text[]) AND " + LIVE
# The same within the time range: every row of it is read.
DECIDED = f"$__timeFilter(decided_at) AND {CHOSEN}"
STORED = [
    source(POSTGRES["type"]),
    # One row a partition, where the records are many.
    choice("pipeline", "Pipeline", f"SELECT DISTINCT pipeline FROM millrace.stream_partition WHERE {LIVE} ORDER BY 1", POSTGRES),
    RUNBOOKS,
]


def stored(uid, title, description, rows):
    """A board over Postgres. Its queries read every record of the time range: so a short one, seldom."""
    return board(uid, title, description, STORED, rows, since="now-1h", refresh="5m")


def board(uid, title, description, variables, rows, since="now-6h", refresh="30s"):
    """The whole; `rows` is a list of headings, each with its panels, which flow from left to right."""
    panels, number, y = [], 0, 0
    for heading, row in rows:
        number += 1
        panels.append({"id": number, "type": "row", "title": heading, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}})
        x, y, height = 0, y + 1, 0
        for made in row:
            w, h = made["gridPos"]["w"], made["gridPos"]["h"]
            if x + w > WIDTH:
                x, y, height = 0, y + height, 0
            number += 1
            panels.append({"id": number} | made | {"gridPos": {"x": x, "y": y, "w": w, "h": h}})
            x, height = x + w, max(height, h)
        y += height
    link = {"type": "dashboards", "title": "Millrace", "tags": ["millrace"], "asDropdown": True, "includeVars": True, "keepTime": True, "icon": "external link"}
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["millrace"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": since, "to": "now"},
        "refresh": refresh,
        "links": [link],
        "annotations": {"list": []},
        "templating": {"list": variables},
        "panels": panels,
    }
