//! What was used: sums, charts, key figures. Single requests are in `requests`.

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Map, Value, json};

use super::{
    ids,
    time::{FROM, Period, TO, TZ, period, zone},
};
use crate::{
    api::{
        Api, Problem, Reply, Request, or_null,
        page::{CURSOR_PARAM, LIMIT_PARAM, Page},
        route::{Content, Param, ROUTE, Route, USAGE},
        schema::{
            COUNT, COUNT_OR_NULL, NUMBER_OR_NULL, Object, Schema, TEXT, TEXT_OR_NULL, TIME, TIME_OR_NULL, line, needed,
            optional,
        },
    },
    store::{
        Connection,
        usage::{self, By, Chart, Group, Percentiles, Series, Step, Sum, Sums},
    },
    usage::{ledger::usd, live::rfc3339},
};

/// Where nothing is said, sums go back so far: 30 days.
const PERIOD_MS: i64 = 30 * 86_400_000;
/// Days of a chart at most, and of one by hours.
const DAYS_MAX: i64 = 1_826;
const HOURLY_DAYS_MAX: i64 = 60;
/// Lines of a chart at most; those with the fewest requests are added up behind them.
const LINES: usize = 50;

/// The members of sums.
macro_rules! sums {
    ($name:literal $(, $more:expr)* $(,)?) => {
        Object {
            name: $name,
            members: &[
                $($more,)*
                needed("requestCount", COUNT, "requests, by their last attempt"),
                needed("errorCount", COUNT, "those that failed; clients that left are not among them"),
                needed("retriedCount", COUNT, "attempts after which another followed"),
                needed("promptTokens", COUNT, "input, caches included"),
                needed("completionTokens", COUNT, "output, reasoning included"),
                needed("cacheReadTokens", COUNT, ""),
                needed("cacheWriteTokens", COUNT, ""),
                needed("reasoningTokens", COUNT, ""),
                needed("costUsd", NUMBER_OR_NULL, "what is known of it; null where no price is known"),
                needed("unpricedCount", COUNT, "attempts without a known price: the cost is too low by them"),
                needed("avgLatencyMs", COUNT_OR_NULL, ""),
                needed("avgTtftMs", COUNT_OR_NULL, "time to the first content"),
            ],
        }
    };
}

const TOTALS: Object = sums!("UsageTotals");
const GROUP: Object = sums!(
    "UsageGroup",
    optional("day", TEXT, "2026-01-31; where grouped by day"),
    optional("hour", TIME, "begin of the hour; where grouped by hour"),
    optional("provider", TEXT_OR_NULL, "likewise, as are all below"),
    optional("model", TEXT_OR_NULL, ""),
    optional("key", TEXT_OR_NULL, ""),
    optional("endpoint", TEXT_OR_NULL, ""),
    optional("combo", TEXT_OR_NULL, "the alias or combo"),
    optional("client", TEXT_OR_NULL, ""),
);
const POINT: Object = sums!("UsagePoint", needed("start", TIME, ""));
const BY_PROVIDER: Object = sums!(
    "UsageOfProvider",
    needed("provider", TEXT_OR_NULL, ""),
    needed("lastSeen", TIME_OR_NULL, "when it was last asked"),
);
const GROUPS: Object = Object {
    name: "UsageGroups",
    members: &[
        needed("data", Schema::List(&Schema::Object(&GROUP), usize::MAX), "by time and names"),
        needed("count", COUNT, "how many are in this answer"),
        needed("total", COUNT_OR_NULL, "how many there are in all"),
        needed("nextCursor", TEXT_OR_NULL, "`cursor` of the next page; null on the last one"),
        needed("from", TIME, ""),
        needed("to", TIME, ""),
        needed("timezone", TEXT, ""),
    ],
};
const TODAY: Object = sums!("UsageToday", needed("day", TEXT, ""), needed("timezone", TEXT, ""));
const CHART: Object = Object {
    name: "UsageChart",
    members: &[
        needed(
            "series",
            Schema::List(
                &Schema::Object(&Object {
                    name: "UsageSeries",
                    members: &[
                        needed("name", TEXT_OR_NULL, "of what; null for all together, and for what has no name"),
                        needed("isRest", Schema::Bool, "whether it is the sum of those with the fewest requests"),
                        needed("points", Schema::List(&Schema::Object(&POINT), usize::MAX), "one for each interval"),
                    ],
                }),
                usize::MAX,
            ),
            "",
        ),
        needed("days", COUNT, ""),
        needed("granularity", Schema::Word(&["hour", "day"]), ""),
        needed("timezone", TEXT, ""),
    ],
};
const PERCENTILES: Object = Object {
    name: "Percentiles",
    members: &[needed("p50", COUNT_OR_NULL, ""), needed("p95", COUNT_OR_NULL, ""), needed("p99", COUNT_OR_NULL, "")],
};
const STATS: Object = Object {
    name: "UsageStats",
    members: &[
        needed("from", TIME, ""),
        needed("to", TIME, ""),
        needed("totals", Schema::Object(&TOTALS), ""),
        needed("previous", Schema::Object(&TOTALS), "the period of the same length before"),
        needed("successRate", NUMBER_OR_NULL, "from 0 to 1"),
        needed("cacheHitRate", NUMBER_OR_NULL, "part of the input that came from a cache, from 0 to 1"),
        needed("latencyMs", Schema::Object(&PERCENTILES), "of requests that ended well"),
        needed("ttftMs", Schema::Object(&PERCENTILES), ""),
        needed("tokensPerSecond", NUMBER_OR_NULL, "of streams"),
    ],
};
const PROVIDERS: Object = Object {
    name: "UsageProviders",
    members: &[needed("data", Schema::List(&Schema::Object(&BY_PROVIDER), usize::MAX), ""), needed("count", COUNT, "")],
};
const PROVIDER: Param =
    Param { name: "provider", schema: line(128), help: "only this provider's; * stands for any text" };

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/usage",
        capability: USAGE,
        operation: "sumUsage",
        summary: "Sums of a period, by group",
        tag: "usage",
        query: &[
            FROM,
            TO,
            TZ,
            PROVIDER,
            LIMIT_PARAM,
            CURSOR_PARAM,
            Param {
                name: "groupBy",
                schema: line(100),
                help: "of day, hour, provider, model, key, endpoint, combo, client; with commas. day unless said",
            },
        ],
        replies: &[(200, Content::Json(Schema::Object(&GROUPS)))],
        errors: &[504],
        handler: |api, request| Box::pin(sum(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/usage/today",
        capability: USAGE,
        operation: "sumUsageToday",
        summary: "Sums of the day so far",
        tag: "usage",
        query: &[TZ],
        replies: &[(200, Content::Json(Schema::Object(&TODAY)))],
        errors: &[504],
        handler: |api, request| Box::pin(today(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/usage/chart",
        capability: USAGE,
        operation: "getUsageChart",
        summary: "Sums over time, with zeros where nothing was",
        tag: "usage",
        query: &[
            Param { name: "days", schema: Schema::Integer(1, DAYS_MAX), help: "7 unless said" },
            Param {
                name: "period",
                schema: Schema::Word(&["24h", "7d", "30d", "60d", "all"]),
                help: "in the place of days",
            },
            Param {
                name: "granularity",
                schema: Schema::Word(&["hour", "day"]),
                help: "hour up to two days unless said, else day",
            },
            Param {
                name: "split",
                schema: Schema::Word(&["provider", "model", "key", "none"]),
                help: "a line for each",
            },
            PROVIDER,
            TZ,
        ],
        replies: &[(200, Content::Json(Schema::Object(&CHART)))],
        errors: &[504],
        handler: |api, request| Box::pin(chart(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/usage/stats",
        capability: USAGE,
        operation: "getUsageStats",
        summary: "Key figures of a period",
        tag: "usage",
        query: &[FROM, TO, TZ, PROVIDER],
        replies: &[(200, Content::Json(Schema::Object(&STATS)))],
        errors: &[504],
        handler: |api, request| Box::pin(stats(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/usage/providers",
        capability: USAGE,
        operation: "sumUsageByProvider",
        summary: "Sums of a period for each provider",
        tag: "usage",
        query: &[FROM, TO, TZ],
        replies: &[(200, Content::Json(Schema::Object(&PROVIDERS)))],
        errors: &[504],
        handler: |api, request| Box::pin(providers(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/usage/{connectionId}",
        capability: USAGE,
        operation: "sumUsageOfProvider",
        summary: "Sums of a period for one provider, by its id or name",
        tag: "usage",
        query: &[FROM, TO, TZ],
        replies: &[(200, Content::Json(Schema::Object(&BY_PROVIDER)))],
        errors: &[504],
        handler: |api, request| Box::pin(provider(api, request)),
        ..ROUTE
    },
];

/// Sums by the names of the API.
fn sums_into(sums: &Sums, document: &mut Map<String, Value>) {
    let prompt = sums.tokens_in + sums.tokens_cache_read + sums.tokens_cache_write;
    for (name, value) in [
        ("requestCount", sums.requests.into()),
        ("errorCount", sums.errors.into()),
        ("retriedCount", sums.retried.into()),
        ("promptTokens", prompt.into()),
        ("completionTokens", sums.tokens_out.into()),
        ("cacheReadTokens", sums.tokens_cache_read.into()),
        ("cacheWriteTokens", sums.tokens_cache_write.into()),
        ("reasoningTokens", sums.tokens_reasoning.into()),
        ("costUsd", or_null(cost(sums))),
        ("unpricedCount", sums.unpriced.into()),
        ("avgLatencyMs", or_null(sums.mean_duration_ms())),
        ("avgTtftMs", or_null(sums.mean_ttft_ms())),
    ] {
        document.insert(name.to_owned(), value);
    }
}

/// The known cost. Where nothing has a price there is none: that is not zero.
fn cost(sums: &Sums) -> Option<f64> {
    (sums.cost != 0 || sums.unpriced == 0).then(|| usd(sums.cost.max(0)))
}

fn totals(sums: &Sums) -> Value {
    let mut document = Map::new();
    sums_into(sums, &mut document);
    Value::Object(document)
}

/// What to sum: the period of a request, ended now unless said otherwise.
fn wanted(request: &Request, by: Vec<By>, step: Option<Step>) -> Result<Sum, Problem> {
    let zone = zone(request)?;
    let Period { from_ms, to_ms } = period(request, &zone)?;
    let to_ms = to_ms.unwrap_or(request.now_ms + 1);
    let from_ms = from_ms.unwrap_or(to_ms.saturating_sub(PERIOD_MS));
    if from_ms >= to_ms {
        return Err(Problem::query("from", "`from` must be before `to`"));
    }
    Ok(Sum { from_ms, to_ms, by, step, zone, provider: request.query("provider").map(str::to_owned) })
}

async fn sum(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (mut by, mut step) = (Vec::new(), None);
    for word in request.query("groupBy").unwrap_or("day").split(',').map(str::trim) {
        let one = match word {
            "day" => {
                step = Some(Step::Day);
                continue;
            }
            "hour" => {
                step = Some(Step::Hour);
                continue;
            }
            "provider" => By::Provider,
            "model" => By::Model,
            "key" => By::Key,
            "endpoint" => By::Endpoint,
            "combo" | "alias" => By::Alias,
            "client" => By::Client,
            _ => {
                let message = format!(
                    "`{word}` is nothing to group by: use day, hour, provider, model, key, endpoint, combo or client"
                );
                return Err(Problem::query("groupBy", message));
            }
        };
        if !by.contains(&one) {
            by.push(one);
        }
    }
    let (what, page) = (wanted(request, by, step)?, Page::of(request)?);
    check_intervals(&what, "from")?;
    let (from, to, zone) = (what.from_ms, what.to_ms, what.zone.clone());
    let asked = what.clone();
    let found = api.live().store().read(move |conn| Ok(usage::sums(conn, &asked)?)).await?;
    let entries = found.iter().map(|(group, sums)| (place(&what, group), grouped(&what, group, sums)));
    let mut document = page.cut(entries.collect());
    document["from"] = rfc3339(from).into();
    document["to"] = rfc3339(to).into();
    document["timezone"] = name_of(&zone).into();
    Ok(Reply::json(document))
}

/// What groups are ordered by.
fn place(what: &Sum, group: &Group) -> String {
    let mut place = format!("{:016}", group.start_ms.unwrap_or_default());
    for by in &what.by {
        place.push('\n');
        place.push_str(name(group, *by).unwrap_or_default());
    }
    place
}

fn name(group: &Group, by: By) -> Option<&str> {
    let name = match by {
        By::Provider => &group.provider,
        By::Model => &group.model,
        By::Key => &group.key,
        By::Endpoint => &group.endpoint,
        By::Alias => &group.alias,
        By::Client => &group.client,
    };
    name.as_deref()
}

/// Refuses more intervals than an answer may have.
fn check_intervals(what: &Sum, param: &str) -> Result<(), Problem> {
    let days = (what.to_ms.saturating_sub(what.from_ms)) / 86_400_000;
    let most = match what.step {
        None => return Ok(()),
        Some(Step::Hour) => HOURLY_DAYS_MAX,
        Some(Step::Day) => DAYS_MAX,
    };
    if days <= most {
        return Ok(());
    }
    let unit = if what.step == Some(Step::Hour) { "hour" } else { "day" };
    Err(Problem::query(param, format!("by the {unit}, a period may have {most} days at most")))
}

fn name_of(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("UTC").to_owned()
}

fn grouped(what: &Sum, group: &Group, sums: &Sums) -> Value {
    let mut document = Map::new();
    if let Some(start) = group.start_ms {
        match what.step {
            Some(Step::Hour) => document.insert("hour".to_owned(), rfc3339(start).into()),
            _ => document.insert("day".to_owned(), day(start, &what.zone).into()),
        };
    }
    for by in &what.by {
        let member = match by {
            By::Provider => "provider",
            By::Model => "model",
            By::Key => "key",
            By::Endpoint => "endpoint",
            By::Alias => "combo",
            By::Client => "client",
        };
        document.insert(member.to_owned(), or_null(name(group, *by)));
    }
    sums_into(sums, &mut document);
    Value::Object(document)
}

fn day(ms: i64, zone: &TimeZone) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or_default();
    time.to_zoned(zone.clone()).date().to_string()
}

async fn today(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let zone = zone(request)?;
    let now = Timestamp::from_millisecond(request.now_ms).unwrap_or_default().to_zoned(zone.clone());
    let begin = now.start_of_day().map_err(|_| Problem::internal())?.timestamp().as_millisecond();
    let to_ms = request.now_ms + 1;
    let what = Sum { from_ms: begin, to_ms, by: Vec::new(), step: None, zone: zone.clone(), provider: None };
    let found = api.live().store().read(move |conn| Ok(usage::sums(conn, &what)?)).await?;
    let mut document = Map::new();
    document.insert("day".to_owned(), now.date().to_string().into());
    document.insert("timezone".to_owned(), name_of(&zone).into());
    sums_into(&found.first().map(|(_, sums)| *sums).unwrap_or_default(), &mut document);
    Ok(Reply::json(Value::Object(document)))
}

async fn chart(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let zone = zone(request)?;
    let to_ms = request.now_ms + 1;
    let days = match request.query("period") {
        Some("24h") => 1,
        Some("7d") => 7,
        Some("30d") => 30,
        Some("60d") => 60,
        Some(_) => {
            let first = api.live().store().read(|conn| Ok(usage::first_ms(conn)?)).await?;
            // The first day may have begun within the last one of these.
            let days = first.map_or(1, |first| (to_ms - first) / 86_400_000 + 2);
            days.clamp(1, DAYS_MAX)
        }
        None => request.number("days").unwrap_or(7),
    };
    let step = match request.query("granularity") {
        Some("hour") => Step::Hour,
        None if days <= 2 => Step::Hour,
        _ => Step::Day,
    };
    let by = match request.query("split") {
        Some("provider") => vec![By::Provider],
        Some("model") => vec![By::Model],
        Some("key") => vec![By::Key],
        _ => Vec::new(),
    };
    let from_ms = match step {
        // So many hours, the one that runs included.
        Step::Hour => to_ms - (days * 24 - 1) * 3_600_000,
        // So many days by the calendar, today included.
        Step::Day => {
            let today = Timestamp::from_millisecond(to_ms).unwrap_or_default().to_zoned(zone.clone());
            let first = today.checked_sub((days - 1).days()).map_err(|_| Problem::internal())?;
            first.timestamp().as_millisecond()
        }
    };
    let provider = request.query("provider").map(str::to_owned);
    let what = Sum { from_ms, to_ms, by, step: Some(step), zone: zone.clone(), provider };
    check_intervals(&what, "days")?;
    let Chart { starts_ms, series } = api.live().store().read(move |conn| Ok(usage::chart(conn, &what)?)).await?;
    let starts: Vec<String> = starts_ms.iter().map(|start| rfc3339(*start)).collect();
    let (lines, rest) = cut(series, LINES);
    let series: Vec<Value> = lines
        .iter()
        .map(|series| (series, false))
        .chain(rest.iter().map(|series| (series, true)))
        .map(|(series, is_rest)| {
            let points = starts.iter().zip(&series.points).map(|(start, sums)| {
                let mut point = Map::new();
                point.insert("start".to_owned(), start.as_str().into());
                sums_into(sums, &mut point);
                Value::Object(point)
            });
            json!({"name": series.name.as_deref(), "isRest": is_rest, "points": points.collect::<Vec<_>>()})
        })
        .collect();
    let granularity = if step == Step::Hour { "hour" } else { "day" };
    Ok(Reply::json(json!({"series": series, "days": days, "granularity": granularity, "timezone": name_of(&zone)})))
}

/// The `most` lines with the most requests, in their order, and the sum of the others.
fn cut(mut series: Vec<Series>, most: usize) -> (Vec<Series>, Option<Series>) {
    if series.len() <= most {
        return (series, None);
    }
    let requests = |series: &Series| series.points.iter().map(|point| point.requests).sum::<u64>();
    series.sort_by_key(|series| std::cmp::Reverse(requests(series)));
    let mut others = series.split_off(most).into_iter();
    series.sort_by(|a, b| a.name.cmp(&b.name));
    let mut rest = others.next();
    if let Some(rest) = &mut rest {
        rest.name = None;
        for other in others {
            rest.points.iter_mut().zip(other.points).for_each(|(sum, point)| *sum += point);
        }
    }
    (series, rest)
}

async fn stats(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let what = wanted(request, Vec::new(), None)?;
    let (from, to) = (what.from_ms, what.to_ms);
    let found = api.live().store().read(move |conn| Ok(usage::stats(conn, &what)?)).await?;
    let percentiles = |values: Percentiles| json!({"p50": values.p50, "p95": values.p95, "p99": values.p99});
    let sums = &found.totals;
    let success =
        (sums.requests > 0).then(|| (sums.requests - sums.errors.min(sums.requests)) as f64 / sums.requests as f64);
    Ok(Reply::json(json!({
        "from": rfc3339(from),
        "to": rfc3339(to),
        "totals": totals(sums),
        "previous": totals(&found.previous),
        "successRate": success,
        "cacheHitRate": sums.cache_hit(),
        "latencyMs": percentiles(found.duration_ms),
        "ttftMs": percentiles(found.ttft_ms),
        "tokensPerSecond": found.tokens_per_second,
    })))
}

async fn providers(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let what = wanted(request, vec![By::Provider], None)?;
    let read = move |conn: &Connection| {
        let mut rows = Vec::new();
        for (group, sums) in usage::sums(conn, &what)? {
            let seen = match &group.provider {
                Some(name) => usage::last_seen(conn, name)?,
                None => None,
            };
            rows.push((group.provider, sums, seen));
        }
        Ok(rows)
    };
    let rows = api.live().store().read(read).await?;
    let data: Vec<Value> = rows.iter().map(|(name, sums, seen)| of_provider(name.as_deref(), sums, *seen)).collect();
    Ok(Reply::json(json!({"count": data.len(), "data": data})))
}

fn of_provider(name: Option<&str>, sums: &Sums, seen: Option<i64>) -> Value {
    let mut document = Map::new();
    document.insert("provider".to_owned(), or_null(name));
    document.insert("lastSeen".to_owned(), or_null(seen.map(rfc3339)));
    sums_into(sums, &mut document);
    Value::Object(document)
}

async fn provider(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let id = request.param("connectionId");
    let snapshot = api.live().snapshot();
    // One that is gone is still known to the log by its name.
    let known = snapshot.settings.providers.iter().find(|provider| ids::is(id, &provider.id, &provider.name));
    let name = known.map_or_else(|| id.strip_prefix("name:").unwrap_or(id).to_owned(), |known| known.name.clone());
    let what = Sum { provider: Some(name.clone()), ..wanted(request, Vec::new(), None)? };
    let wanted = name.clone();
    let read = move |conn: &Connection| {
        let sums = usage::sums(conn, &what)?;
        Ok((sums.first().map(|(_, sums)| *sums).unwrap_or_default(), usage::last_seen(conn, &wanted)?))
    };
    let (sums, seen) = api.live().store().read(read).await?;
    if known.is_none() && seen.is_none() && sums == Sums::default() {
        return Err(Problem::not_found(format!("provider {id}, and the log has none of that name")));
    }
    Ok(Reply::json(of_provider(Some(&name), &sums, seen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_that_nobody_knows_is_not_zero() {
        let sums = |cost, unpriced| Sums { cost, unpriced, ..Sums::default() };
        assert_eq!(cost(&sums(0, 0)), Some(0.0));
        assert_eq!(cost(&sums(0, 1)), None);
        assert_eq!(cost(&sums(1_500_000_000, 1)), Some(1.5));
    }

    #[test]
    fn lines_of_the_few_are_added_up() {
        let line = |name: &str, requests: &[u64]| Series {
            name: Some(name.into()),
            points: requests.iter().map(|n| Sums { requests: *n, ..Sums::default() }).collect(),
        };
        let all = vec![line("a", &[1, 2]), line("b", &[9, 0]), line("c", &[0, 1]), line("d", &[5, 5])];
        let (lines, rest) = cut(all.clone(), 2);
        assert_eq!(lines, [line("b", &[9, 0]), line("d", &[5, 5])]);
        assert_eq!(rest, Some(Series { name: None, ..line("", &[1, 3]) }));
        assert_eq!(cut(all.clone(), 4), (all, None));
    }

    #[test]
    fn groups_are_ordered_by_time_and_then_by_names() {
        let what = |by| Sum { from_ms: 0, to_ms: 1, by, step: None, zone: TimeZone::UTC, provider: None };
        let group =
            |start_ms, model: Option<&str>| Group { start_ms, model: model.map(Into::into), ..Group::default() };
        let place = |start_ms, model| place(&what(vec![By::Model]), &group(start_ms, model));
        assert!(place(Some(9), Some("z")) < place(Some(10), None));
        assert!(place(Some(10), None) < place(Some(10), Some("a")));
    }
}
