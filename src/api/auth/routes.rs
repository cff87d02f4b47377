//! Rows of the API's table: logging in, and who has.

use proxy::Method;

use super::{Capability, Login, LoginRules, oidc};
use crate::api::{
    Problem, Request,
    route::{Body, Content, Param, ROUTE, Route},
    schema::{COUNT, Object, Schema, TEXT, TEXT_OR_NULL, TEXTS, TIME, line, needed, optional, text},
};

/// The chapter of these routes.
const TAG: &str = "Auth";

const MODES: Schema = Schema::Word(&["none", "password", "oidc"]);

/// A list of names that somebody typed.
const NAMES: Schema = Schema::Nullable(&Schema::List(&line(320), 1000));

const LOGIN: Object = Object {
    name: "Login",
    members: &[
        needed("password", text(1024), "The password"),
        optional("username", Schema::Nullable(&line(200)), "`admin`, or nothing: there is one user"),
    ],
};

const LOGGED_IN: Object = Object {
    name: "LoggedIn",
    members: &[
        needed("expiresAt", TIME, "When the session ends at the latest"),
        optional("token", TEXT, "The session's token; only with `?token=1`"),
    ],
};

const SESSION: Object = Object {
    name: "OwnSession",
    members: &[
        needed("userId", TEXT, "Who it is"),
        needed("createdAt", TIME, "When it began"),
        needed("expiresAt", TIME, "When it ends at the latest"),
    ],
};

const STATUS: Object = Object {
    name: "AuthStatus",
    members: &[
        needed("authenticated", Schema::Bool, "Whether the caller may manage or is known by a key"),
        needed("principal", Schema::Word(&["none", "local", "session", "key", "token"]), "What the caller is known as"),
        needed("requireLogin", Schema::Bool, "Whether a login is asked for on this machine too"),
        needed("authMode", MODES, "How people log in"),
        optional("session", Schema::Object(&SESSION), "The caller's session"),
    ],
};

const SESSIONS: Object = Object {
    name: "Sessions",
    members: &[
        needed("data", Schema::List(&Schema::Object(&ONE_SESSION), 1000), "The youngest first"),
        needed("count", COUNT, ""),
        needed("total", COUNT, ""),
        needed("nextCursor", TEXT_OR_NULL, "Always null"),
    ],
};

const ONE_SESSION: Object = Object {
    name: "Session",
    members: &[
        needed("id", TEXT, "Its name: nothing that lets in"),
        needed("userId", TEXT, "Who it is"),
        needed("method", Schema::Word(&["password", "oidc"]), "How it began"),
        needed("createdAt", TIME, "When it began"),
        needed("expiresAt", TIME, "When it ends at the latest"),
        needed("lastSeenAt", TIME, "When it was used last"),
        needed("ip", TEXT_OR_NULL, "Where it began"),
        needed("userAgent", TEXT_OR_NULL, "What the browser said of itself"),
        needed("current", Schema::Bool, "Whether it is the caller's own"),
    ],
};

const OIDC: Object = Object {
    name: "OidcStatus",
    members: &[
        needed("authMode", MODES, "How people log in"),
        needed("issuer", TEXT, "The identity provider"),
        needed("clientId", TEXT, "Our name there"),
        needed("redirectUri", TEXT_OR_NULL, "Where it has to send people back to; null where `public_url` is missing"),
        needed("scopes", TEXTS, "What is asked for"),
        needed("configured", Schema::Bool, "Whether nothing is missing"),
        needed("startUrl", TEXT, "Where a login begins"),
    ],
};

const DEPARTURE: Object = Object {
    name: "OidcStart",
    members: &[
        needed("authUrl", TEXT, "The page to open in the browser"),
        needed("state", TEXT_OR_NULL, "What the answer will carry; null if the page is one of ours"),
    ],
};

const PROVIDER: Object = Object {
    name: "OidcProvider",
    members: &[
        needed("issuer", TEXT, ""),
        needed("authorizationEndpoint", TEXT, ""),
        needed("tokenEndpoint", TEXT, ""),
        needed("jwksUri", TEXT, ""),
    ],
};

const RULES: Object = Object {
    name: "LoginRules",
    members: &[
        optional("requireLogin", Schema::Bool, "Whether a login is asked for on this machine too"),
        optional("authMode", MODES, "How people log in"),
        optional(
            "password",
            Schema::Nullable(&text(1024)),
            "A new password, of 10 characters or more; null removes it",
        ),
        optional("oidcConfig", Schema::Object(&OIDC_RULES), "The identity provider; null clears a member"),
    ],
};

const OIDC_RULES: Object = Object {
    name: "OidcRules",
    members: &[
        optional("issuer", Schema::Nullable(&line(2000)), "Its address"),
        optional("clientId", Schema::Nullable(&line(500)), "Our name there"),
        optional("clientSecret", Schema::Nullable(&line(2000)), "Our secret there; it is never shown again"),
        optional("scopes", NAMES, "What is asked for"),
        optional("allowedEmails", NAMES, "Verified addresses that are let in"),
        optional("allowedDomains", NAMES, "Domains of verified addresses that are let in"),
        optional("allowedSubjects", NAMES, "Subjects that are let in"),
        optional("roleClaim", Schema::Nullable(&line(500)), "A claim that lets in, such as `groups=ops`"),
        optional("oidcOnly", Schema::Nullable(&Schema::Bool), "Whether the password is refused on this machine too"),
    ],
};

const RULES_SHOWN: Object = Object {
    name: "LoginRulesShown",
    members: &[
        needed("requireLogin", Schema::Bool, "Whether a login is asked for on this machine too"),
        needed("authMode", MODES, "How people log in"),
        needed("passwordSet", Schema::Bool, "Whether there is a password"),
        needed("oidcConfigured", Schema::Bool, "Whether nothing is missing of the identity provider"),
    ],
};

const LOGINS: Route = Route { tag: TAG, capability: Capability::Login, ..ROUTE };

/// All of them.
pub const ROUTES: &[Route] = &[
    Route {
        path: "/api/auth/status",
        operation: "getAuthStatus",
        summary: "Who the caller is, and how to log in",
        replies: &[(200, Content::Json(Schema::Object(&STATUS)))],
        handler: |api, request| Box::pin(async { Ok(api.auth().status_page(&request.visit(api))) }),
        ..LOGINS
    },
    Route {
        method: Method::POST,
        path: "/api/auth/login",
        operation: "login",
        summary: "Log in with the password; browsers get a cookie",
        query: &[Param {
            name: "token",
            schema: Schema::Word(&["1", "true", "0", "false", ""]),
            help: "Whether to show the token, for programs",
        }],
        body: Body::Json(&LOGIN),
        body_bytes: 16 << 10,
        replies: &[(200, Content::Json(Schema::Object(&LOGGED_IN)))],
        handler: |api, request| {
            Box::pin(async {
                let body: Login = body(request)?;
                api.auth().login_page(&request.visit(api), body, request.flag("token")).await
            })
        },
        ..LOGINS
    },
    Route {
        method: Method::POST,
        path: "/api/auth/logout",
        operation: "logout",
        summary: "End the caller's session",
        replies: &[(204, Content::Empty)],
        handler: |api, request| Box::pin(async { Ok(api.auth().logout_page(&request.visit(api)).await) }),
        ..LOGINS
    },
    Route {
        path: "/api/auth/sessions",
        operation: "listSessions",
        summary: "Who is logged in",
        tag: TAG,
        replies: &[(200, Content::Json(Schema::Object(&SESSIONS)))],
        handler: |api, request| Box::pin(async { Ok(api.auth().sessions_page(&request.visit(api))) }),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/auth/sessions",
        operation: "endSessions",
        summary: "End all sessions but the caller's own",
        tag: TAG,
        replies: &[(204, Content::Empty)],
        changes: true,
        handler: |api, request| Box::pin(async { api.auth().end_sessions_page(&request.visit(api), None).await }),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/auth/sessions/{id}",
        operation: "endSession",
        summary: "End a session",
        tag: TAG,
        replies: &[(204, Content::Empty)],
        changes: true,
        handler: |api, request| {
            Box::pin(async { api.auth().end_sessions_page(&request.visit(api), Some(request.param("id"))).await })
        },
        ..ROUTE
    },
    Route {
        path: "/api/auth/oidc",
        operation: "getOidc",
        summary: "The identity provider, and where it sends people back to",
        replies: &[(200, Content::Json(Schema::Object(&OIDC)))],
        handler: |api, request| Box::pin(async { Ok(api.auth().oidc_page(&request.visit(api))) }),
        ..LOGINS
    },
    Route {
        path: oidc::START,
        aliases: &["/api/auth/oidc/init"],
        operation: "startOidc",
        summary: "Begin a login at the identity provider: browsers are sent there",
        replies: &[(302, Content::Empty), (200, Content::Json(Schema::Object(&DEPARTURE)))],
        errors: &[422, 502],
        handler: |api, request| Box::pin(async { api.auth().oidc_start_page(&request.visit(api), api.ways()).await }),
        ..LOGINS
    },
    Route {
        path: oidc::CALLBACK,
        operation: "finishOidc",
        summary: "Where the identity provider sends people back to",
        query: &[
            Param { name: "code", schema: TEXT, help: "Worth an id token, once" },
            Param { name: "state", schema: TEXT, help: "Which login it is" },
            Param { name: "iss", schema: TEXT, help: "Who answers" },
            Param { name: "error", schema: TEXT, help: "Why there is no code" },
        ],
        // Providers add what they like, such as `session_state`.
        any_query: true,
        replies: &[(302, Content::Empty)],
        handler: |api, request| {
            Box::pin(async { Ok(api.auth().oidc_callback_page(&request.visit(api), api.ways()).await) })
        },
        ..LOGINS
    },
    Route {
        path: "/api/auth/oidc/test",
        operation: "testOidc",
        summary: "Ask the identity provider anew what it says of itself",
        tag: TAG,
        replies: &[(200, Content::Json(Schema::Object(&PROVIDER)))],
        errors: &[502],
        handler: |api, request| Box::pin(async { api.auth().oidc_test_page(&request.visit(api), api.ways()).await }),
        ..ROUTE
    },
    Route {
        path: "/api/settings/require-login",
        operation: "getLoginRules",
        summary: "The rules of the login",
        tag: TAG,
        replies: &[(200, Content::Json(Schema::Object(&RULES_SHOWN)))],
        handler: |api, request| Box::pin(async { Ok(api.auth().rules_page(&request.visit(api))) }),
        ..ROUTE
    },
    Route {
        method: Method::PUT,
        or: Some(Method::PATCH),
        path: "/api/settings/require-login",
        operation: "setLoginRules",
        summary: "Change the rules of the login, all at once; sessions that no longer rest upon them end",
        tag: TAG,
        body: Body::Merge(&RULES),
        body_bytes: 64 << 10,
        replies: &[(200, Content::Json(Schema::Object(&RULES_SHOWN)))],
        changes: true,
        handler: |api, request| {
            Box::pin(async {
                let body: LoginRules = body(request)?;
                api.auth().set_rules_page(&request.visit(api), body).await
            })
        },
        ..ROUTE
    },
];

/// The body, whose form has been checked.
fn body<T: serde::de::DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    T::deserialize(&request.body).map_err(|error| Problem::invalid("", error.to_string()))
}
