//! How a dashboard speaks and looks: the settings `locale`, `timezone` and `theme` in one document, and the texts that the
//! program has for people, by language. So far there is English only, which stands in for every other language.

use std::sync::LazyLock;

use proxy::Method;
use serde_json::{Map, Value, json};

use super::settings;
use crate::{
    api::{
        Api, Problem, Reply, Request,
        route::{Body, Content, Param, ROUTE, Route},
        schema::{Object, Schema, TEXT, TEXTS, line, needed, optional},
    },
    settings::{TABLE, table::THEMES},
};

/// The language of the texts.
const ENGLISH: &str = "en";

const LOCALE: Object = Object {
    name: "Locale",
    members: &[
        needed("locale", TEXT, "language and region, such as en or de-CH"),
        needed("timezone", TEXT, "in which days begin; empty = the system's"),
        needed("theme", Schema::Word(&THEMES), ""),
    ],
};
const WRITE: Object = Object {
    name: "LocaleWrite",
    members: &[
        optional(
            "locale",
            line(35),
            "language and region, such as en or de-CH; null for the default, as in all members",
        ),
        optional("timezone", line(64), "such as Europe/Berlin"),
        optional("theme", Schema::Word(&THEMES), ""),
    ],
};
const CATALOG: Object = Object {
    name: "Catalog",
    members: &[
        needed("tag", TEXT, "the language of the texts"),
        needed("availableTags", TEXTS, ""),
        needed("strings", Schema::Map(&TEXT), "settings.NAME and operations.NAME: what they are for"),
    ],
};

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/locale",
        operation: "getLocale",
        summary: "Language, time zone and colours of the dashboard",
        tag: "settings",
        replies: &[(200, Content::Json(Schema::Object(&LOCALE)))],
        versioned: true,
        handler: |api, request| Box::pin(get(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::PATCH,
        or: Some(Method::PUT),
        path: "/api/locale",
        operation: "updateLocale",
        summary: "Changes what is named of language, time zone and colours",
        tag: "settings",
        body: Body::Merge(&WRITE),
        replies: &[(200, Content::Json(Schema::Object(&LOCALE)))],
        versioned: true,
        changes: true,
        handler: |api, request| Box::pin(update(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/locale/catalog",
        operation: "getCatalog",
        summary: "Texts for people in a language; English where there is no such",
        tag: "settings",
        query: &[Param { name: "tag", schema: line(35), help: "the language; the configured one unless said" }],
        replies: &[(200, Content::Json(Schema::Object(&CATALOG)))],
        handler: |_, _| {
            Box::pin(async {
                Ok(Reply::json(json!({"tag": ENGLISH, "availableTags": [ENGLISH], "strings": *STRINGS})))
            })
        },
        ..ROUTE
    },
];

/// All texts.
static STRINGS: LazyLock<Value> = LazyLock::new(|| {
    let settings = TABLE.iter().map(|row| (format!("settings.{}", settings::name_of(row)), row.help.into()));
    let operations =
        crate::api::routes().map(|route| (format!("operations.{}", route.operation), route.summary.into()));
    Value::Object(settings.chain(operations).collect::<Map<_, _>>())
});

fn answer(api: &Api) -> Reply {
    let snapshot = api.live().snapshot();
    let settings = &snapshot.settings;
    let document = json!({"locale": settings.locale, "timezone": settings.timezone, "theme": settings.theme});
    Reply::json(document).with("etag", settings::etag(api))
}

async fn get(api: &Api, _: &Request) -> Result<Reply, Problem> {
    Ok(answer(api))
}

async fn update(api: &Api, request: &Request) -> Result<Reply, Problem> {
    settings::change(api, request).await?;
    Ok(answer(api))
}
