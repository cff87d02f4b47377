//! What a row of the table of operations is. The rows themselves stand beside their handlers; the `table` is made of them.

use std::{future::Future, pin::Pin};

use proxy::Method;

use super::{
    Api, Problem, Reply, Request,
    auth::Capability,
    schema::{Object, Schema},
};
use crate::settings::Scope;

/// What a handler answers.
pub type Answer<'r> = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send + 'r>>;
/// What answers a request: `handler: |api, request| Box::pin(list(api, request))`.
pub type Handler = for<'r> fn(&'r Api, &'r Request) -> Answer<'r>;

/// One operation.
#[derive(Debug)]
pub struct Route {
    /// Method. `HEAD` follows from `GET`.
    pub method: Method,
    /// Another method that means the same.
    pub or: Option<Method>,
    /// Path; `{id}` stands for one segment.
    pub path: &'static str,
    /// Other paths that mean the same.
    pub aliases: &'static [&'static str],
    /// What callers must be allowed.
    pub capability: Capability,
    /// Its name in the document: unique, camelCase.
    pub operation: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The chapter that it belongs to.
    pub tag: &'static str,
    /// Its query parameters; others are refused.
    pub query: &'static [Param],
    /// Whether parameters that are not among them are left aside instead: where others call that add what they like.
    pub any_query: bool,
    /// Its body.
    pub body: Body,
    /// Longest body in bytes.
    pub body_bytes: usize,
    /// Its answers that are no errors: status and content.
    pub replies: &'static [(u16, Content)],
    /// Statuses of errors besides those that follow from the rest of the row.
    pub errors: &'static [u16],
    /// Whether it heeds `If-Match`, and answers with an `ETag`.
    pub versioned: bool,
    /// Whether it changes anything. `POST` that only asks for something does not.
    pub changes: bool,
    /// What answers.
    pub handler: Handler,
}

/// A query parameter. Parameters are texts; the schema is that of the value they stand for.
#[derive(Debug)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// The form of its value.
    pub schema: Schema,
    /// What it means.
    pub help: &'static str,
}

/// The body of a request.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// None; one that is sent is not looked at.
    None,
    /// JSON of that form.
    Json(&'static Object),
    /// JSON of that form, or nothing, which stands for an empty object.
    Optional(&'static Object),
    /// Any part of that form, to be merged (RFC 7396).
    Merge(&'static Object),
    /// The same with a form that is made when it is first wanted.
    Made(fn() -> &'static Object),
    /// JSON of that form, which need not be an object.
    Value(&'static Schema),
    /// JSON of that form which the handler reads itself, from [`Request::bytes`]: a list too long for a tree.
    Long(&'static Schema),
}

/// The content of an answer.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// None.
    Empty,
    /// JSON.
    Json(Schema),
    /// Something else, by its media type.
    Other(&'static [&'static str]),
    /// Server-sent events.
    Events,
}

/// Longest body where nothing else is said: 1 MiB.
pub const BODY_BYTES: usize = 1 << 20;

/// What most routes have in common: administrators read something.
pub const ROUTE: Route = Route {
    method: Method::GET,
    or: None,
    path: "",
    aliases: &[],
    capability: ADMIN,
    operation: "",
    summary: "",
    tag: "",
    query: &[],
    any_query: false,
    body: Body::None,
    body_bytes: BODY_BYTES,
    replies: &[(200, Content::Json(Schema::Any))],
    errors: &[],
    versioned: false,
    changes: false,
    handler: |_, _| Box::pin(async { Err(Problem::internal()) }),
};

/// Only for administrators.
pub const ADMIN: Capability = Capability::Scope(Scope::Admin);
/// For those who may see usage.
pub const USAGE: Capability = Capability::Scope(Scope::UsageRead);

impl Route {
    /// Its paths.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.path).chain(self.aliases.iter().copied())
    }

    /// Its methods, without `HEAD`.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        std::iter::once(&self.method).chain(&self.or)
    }

    /// Statuses of the errors that it may answer with, ascending.
    pub fn problems(&self) -> Vec<u16> {
        // Every request may break a rule, come too often, or meet a fault of ours.
        let mut all = vec![400, 403, 429, 500, 503];
        let guarded = !matches!(self.capability, Capability::Public);
        let takes_body = !matches!(self.body, Body::None);
        for (when, statuses) in [
            (guarded, &[401][..]),
            (self.path.contains('{'), &[404]),
            (takes_body, &[408, 413, 415, 422]),
            (self.changes, &[409, 422, 423]),
            (self.versioned && self.method != Method::GET, &[412]),
        ] {
            if when {
                all.extend(statuses);
            }
        }
        all.extend(self.errors);
        all.sort_unstable();
        all.dedup();
        all
    }
}
